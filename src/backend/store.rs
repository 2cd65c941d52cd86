//! What every store offers.

use super::request::{BackendError, Completion, ErrorKind, Request, Submitted};
use crate::base::buffer::Pool;
use crate::base::clock::Instant;
use crate::ring::{self, Ring};
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Names a channel among all of its reactor, so that completions of the reactor's ring find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelId(pub u16);

/// The channel that a completion of [`ring::Owner::Backend`] belongs to: whoever drains the ring
/// hands it to that channel's [`Channel::completed`].
#[must_use]
pub const fn channel_of(token: ring::Token) -> ChannelId {
    let [high, low, ..] = token.value.to_be_bytes();
    ChannelId(u16::from_be_bytes([high, low]))
}

/// Called from any thread when a channel has something to be polled for: wakes its reactor. It must
/// reach a reactor that polled its channels before and announces only now that it sleeps, so it is
/// [`Doorbell::wake`](crate::base::doorbell::Doorbell::wake); `ring` will do only for a reactor that
/// polls its channels once more after `arm`.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// One volume's bytes.
pub trait Store: Send + Sync + Debug {
    /// What the store is like; it does not change while it is open.
    fn properties(&self) -> Properties;

    /// Bytes that can be read and written.
    fn size_bytes(&self) -> u64;

    /// The way that bytes take to the medium, for people: what is used, and why not something faster.
    fn route(&self) -> String;

    /// Makes the store larger; the new part reads as zeros. Blocks, so it is not for a reactor.
    ///
    /// # Errors
    /// When the store cannot be that large, or would shrink.
    fn grow(&self, size_bytes: u64) -> Result<(), BackendError>;

    /// Passes if what holds the bytes is still there, and as large as it should be. Blocks, so it is not
    /// for a reactor.
    ///
    /// # Errors
    /// What has happened to it.
    fn look_after(&self) -> Result<(), Harm> {
        Ok(())
    }

    /// What another process needs to serve the store in this one's place. Nothing may be in flight, and
    /// after the other has begun this one must not touch the store again.
    ///
    /// # Errors
    /// When descriptors run out, or what was written can't be vouched for.
    fn bequest(&self) -> io::Result<Bequest>;

    /// A way in for the reactor of the calling thread. `id` must be unique among the channels that
    /// are open on that reactor.
    fn channel(self: Arc<Self>, id: ChannelId, waker: Waker) -> Box<dyn Channel>;
}

/// What has happened behind a store's back to what holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Harm {
    /// The file has been removed. Its content is there for as long as it is open, and gone then.
    #[error("its file has been removed")]
    Removed,
    /// The file has been made shorter, and what lay behind is lost.
    #[error("its file has been cut to {found} bytes, and the volume has {expected}")]
    Cut {
        /// Bytes of the volume.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
}

/// What a process leaves of a store to another one.
#[derive(Debug)]
pub enum Bequest {
    /// Nothing is needed: the store keeps nothing.
    Nothing,
    /// The open file or device, and with it the lock on it and the hold that it has, which belong to the
    /// open file description.
    File(OwnedFd),
    /// The bytes are in this process's memory and can't be passed on.
    Memory,
}

/// What a request may use of its reactor.
pub struct Io<'a> {
    /// The reactor's ring, if it has one. A channel sees always one or never.
    pub ring: Option<&'a mut Ring>,
    /// The reactor's buffers.
    pub pool: &'a mut Pool,
    /// Now.
    pub now: Instant,
}

/// One reactor's way into a store. It is dropped only when nothing is in flight.
pub trait Channel {
    /// Starts a request. A channel never refuses one: what finds no room waits inside for
    /// [`Channel::poll`]. The caller bounds how many it has in flight.
    fn submit(&mut self, request: Request, io: &mut Io<'_>) -> Submitted;

    /// Takes a completion of the ring that [`channel_of`] says is this channel's.
    fn completed(
        &mut self,
        completion: ring::Completion,
        io: &mut Io<'_>,
        out: &mut Vec<Completion>,
    );

    /// Appends to `out` what completed otherwise, and starts what waited. To be called every tick
    /// in which [`Channel::in_flight`] is not zero.
    fn poll(&mut self, io: &mut Io<'_>, out: &mut Vec<Completion>);

    /// Requests whose completion is still to come.
    fn in_flight(&self) -> usize;

    /// Whether [`Channel::submit`] is always done with a read or a write when it returns.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Whether [`Channel::expect_read`] and [`Channel::expect_write`] are worth a call.
    fn fetches_ahead(&self) -> bool {
        false
    }

    /// These bytes are likely to be read soon: what can be fetched meanwhile is. A hint, which need not be
    /// true, and waits for nothing.
    fn expect_read(&self, _offset: u64, _length: u64) {}

    /// As [`Channel::expect_read`], of bytes that are likely to be written.
    fn expect_write(&self, _offset: u64, _length: u64) {}

    /// The bytes of a range where they lie, as a read at this moment would find them. `None` where they
    /// lie nowhere, or the range is not in the store.
    fn bytes(&self, _offset: u64, _length: u64) -> Option<&[u8]> {
        None
    }

    /// Writes bytes from where they lie, as an [`Op::Write`](super::Op::Write) at this moment would,
    /// durable or not. Only for a channel that [answers at once](Channel::answers_at_once): its store
    /// is memory, for which both are the same. It goes well with a hint by [`Channel::expect_write`] before.
    ///
    /// # Errors
    /// When the range is not in the store; nothing is written then.
    fn put(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), BackendError> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Whether [`Channel::bytes`] are likely to lie in no cache, so that a copy which is saved is worth
    /// some effort.
    fn is_cold(&self) -> bool {
        false
    }

    /// When [`Channel::poll`] wants to be called even if nothing wakes the reactor before.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}

/// What a store is like, as far as an initiator or its caller must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// A completed write that is neither durable nor flushed can be lost by a power cut while
    /// flushed ones survive it. False for memory, which loses all alike: no flush would help.
    pub volatile_cache: bool,
    /// Space is allocated as it is written.
    pub thin: bool,
    /// [`Op::Deallocate`](super::Op::Deallocate) gives space back.
    pub can_deallocate: bool,
    /// What was deallocated reads as zeros.
    pub zeros_after_deallocate: bool,
    /// [`Op::WriteZeros`](super::Op::WriteZeros) is likely to be supported, and cheaper than writing.
    pub can_write_zeros: bool,
    /// [`Op::Extents`](super::Op::Extents) tells real extents; otherwise all is reported as mapped.
    pub knows_extents: bool,
    /// Durable writes are done as such, by forced unit access or a flush of their own.
    pub durable_writes: bool,
    /// Every read yields zeros and needs no buffer: see [`Done::Zeros`](super::Done::Zeros).
    pub always_zero: bool,
    /// The medium has heads to move.
    pub rotational: bool,
    /// Reads and writes begin and end at multiples of that many bytes.
    pub logical_block_bytes: u32,
    /// Writes that begin and end at multiples of that many bytes need no read-modify-write.
    pub physical_block_bytes: u32,
    /// A write of at most that many bytes, aligned as its length, takes effect as a whole or not at all,
    /// whatever happens.
    pub atomic_write_bytes: u32,
    /// Requests of a multiple of that many bytes suit the medium best, such as a stripe; zero where
    /// it does not care.
    pub optimal_io_bytes: u32,
}

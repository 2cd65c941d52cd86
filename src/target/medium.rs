//! The medium as a procedure sees it: byte ranges of one volume, over however many shards.

use super::core::{Core, Turn};
use super::failure::Failure;
use super::local::{Local, MediumDone, Request};
use super::message::{Call, LockId, Origin, Piece};
use super::volume::Volume;
use crate::backend::{self, Done, Extent};
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::limits::BUFFER_BYTES_MAX;
use crate::base::rate::Cost;
use crate::base::rcu;
use crate::base::slots::SlotKey;
use crate::reservation::{Access, NexusIndex};
use futures_channel::oneshot;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Shards that one request for extents asks; whoever wants more asks on from there.
const EXTENT_PIECES_MAX: usize = 64;

/// How soon a request that waits for limits notices that it has been aborted.
const ABORT_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// One volume's medium, under somebody's rights or the target's own.
#[derive(Clone)]
pub(crate) struct Medium {
    local: Local,
    volume: Arc<Volume>,
    check: Option<(NexusIndex, Access)>,
    lock: Option<LockId>,
    aborted: Option<Rc<Cell<bool>>>,
    paced: bool,
}

impl Medium {
    /// The medium with the target's own rights.
    pub(crate) fn new(local: &Local, volume: &Arc<Volume>) -> Self {
        Self {
            local: local.clone(),
            volume: Arc::clone(volume),
            check: None,
            lock: None,
            aborted: None,
            paced: false,
        }
    }

    /// Every request is charged to the volume's limits, and waits for them.
    pub(crate) fn paced(mut self) -> Self {
        self.paced = true;
        self
    }

    /// Every request is checked against the reservation as it is then.
    pub(crate) fn checked(mut self, nexus: NexusIndex, access: Access) -> Self {
        self.check = Some((nexus, access));
        self
    }

    /// Every request fails once the flag is set.
    pub(crate) fn abortable(mut self, aborted: &Rc<Cell<bool>>) -> Self {
        self.aborted = Some(Rc::clone(aborted));
        self
    }

    /// Reads `length` bytes, at most one buffer's worth.
    pub(crate) async fn read(&self, offset: u64, length: u64) -> Result<Buffer, Failure> {
        let mut whole = self.local.allocate(bytes_of(length)).await?;
        let end = offset + length;
        if self.volume.shards.is_whole(offset, length) {
            let done = self
                .piece(backend::Op::Read, offset..end, Some(whole))
                .await?;
            return zeroed_if_asked(done);
        }
        for (_, range) in self.volume.shards.pieces(offset..end) {
            let at = bytes_of(range.start - offset);
            let part = self
                .local
                .allocate(bytes_of(range.end - range.start))
                .await?;
            let part = zeroed_if_asked(self.piece(backend::Op::Read, range, Some(part)).await?)?;
            whole[at..at + part.len()].copy_from_slice(&part);
        }
        Ok(whole)
    }

    /// Writes a buffer and hands it back.
    pub(crate) async fn write(
        &self,
        offset: u64,
        buffer: Buffer,
        durable: bool,
    ) -> Result<Buffer, Failure> {
        let end = offset + buffer.len() as u64;
        let op = backend::Op::Write { durable };
        if self.volume.shards.is_whole(offset, buffer.len() as u64) {
            return buffer_of(self.piece(op, offset..end, Some(buffer)).await?);
        }
        for (_, range) in self.volume.shards.pieces(offset..end) {
            let at = bytes_of(range.start - offset);
            let mut part = self
                .local
                .allocate(bytes_of(range.end - range.start))
                .await?;
            let length = part.len();
            part.copy_from_slice(&buffer[at..at + length]);
            self.piece(op, range, Some(part)).await?;
        }
        Ok(buffer)
    }

    /// Makes what has been written durable, on every shard's reactor.
    pub(crate) async fn flush(&self) -> Result<(), Failure> {
        // One store lies behind all shards, and a flush covers all of it.
        self.piece_at(self.volume.home, backend::Op::Flush, 0..0, None)
            .await
            .map(drop)
    }

    /// Makes what was written durable where the volume allows no write cache (WCE = 0).
    pub(crate) async fn settle_cache(&self) -> Result<(), Failure> {
        let cached = self.volume.unit.load(&rcu::pin()).modes.current.write_cache;
        if cached { Ok(()) } else { self.flush().await }
    }

    /// Gives the range's space back.
    pub(crate) async fn deallocate(&self, range: Range<u64>) -> Result<(), Failure> {
        for (reactor, range) in self.volume.shards.pieces(range) {
            self.piece_at(reactor, backend::Op::Deallocate, range, None)
                .await?;
        }
        Ok(())
    }

    /// Makes the range read as zeros, by whatever way the store has.
    pub(crate) async fn write_zeros(
        &self,
        range: Range<u64>,
        may_deallocate: bool,
    ) -> Result<(), Failure> {
        let properties = self.volume.store.properties();
        let deallocates = may_deallocate && properties.can_deallocate;
        if !properties.can_write_zeros && !deallocates {
            let mut zeros = self.local.allocate(BUFFER_BYTES_MAX).await?;
            zeros.fill(0);
            return self.fill(range, zeros, false).await;
        }
        let op = backend::Op::WriteZeros { may_deallocate };
        for (reactor, range) in self.volume.shards.pieces(range) {
            self.piece_at(reactor, op, range, None).await?;
        }
        Ok(())
    }

    /// Writes the buffer over the range again and again; the range is a multiple of the pattern
    /// that fills the buffer.
    pub(crate) async fn fill(
        &self,
        range: Range<u64>,
        mut pattern: Buffer,
        durable: bool,
    ) -> Result<(), Failure> {
        let mut offset = range.start;
        while offset < range.end {
            let bytes = bytes_of((range.end - offset).min(pattern.len() as u64));
            pattern.set_len(bytes);
            pattern = self.write(offset, pattern, durable).await?;
            offset += bytes as u64;
        }
        Ok(())
    }

    /// Which parts of the range are allocated, as far as one answer goes.
    pub(crate) async fn extents(&self, range: Range<u64>) -> Result<Vec<Extent>, Failure> {
        let mut extents: Vec<Extent> = Vec::new();
        for (reactor, range) in self.volume.shards.pieces(range).take(EXTENT_PIECES_MAX) {
            let done = self
                .piece_at(reactor, backend::Op::Extents, range.clone(), None)
                .await?;
            let Ok(Done::Extents(more)) = done.result else {
                break;
            };
            let reached = more
                .last()
                .map_or(range.start, |last| last.offset + last.length);
            for extent in more {
                match extents.last_mut() {
                    Some(last) if last.state == extent.state => last.length += extent.length,
                    _ => extents.push(extent),
                }
            }
            if reached < range.end {
                break;
            }
        }
        Ok(extents)
    }

    /// Keeps everybody else out of the range until the lock is dropped.
    pub(crate) async fn lock(&self, range: Range<u64>) -> Result<RangeLock, Failure> {
        let mut pieces: Vec<_> = self.volume.shards.pieces(range).collect();
        pieces.sort_by_key(|(reactor, range)| (*reactor, range.start));
        self.lock_pieces(pieces, None).await
    }

    /// Keeps everybody out of all of the volume until the lock is dropped.
    pub(crate) async fn lock_whole(&self, deadline: Instant) -> Result<RangeLock, Failure> {
        let owners = self.volume.shards.owners();
        let pieces = owners.map(|reactor| (reactor, 0..u64::MAX));
        self.lock_pieces(pieces, Some(deadline)).await
    }

    /// Locks pieces in ascending order, so that two locks over the same shards can't wait for each
    /// other.
    async fn lock_pieces(
        &self,
        pieces: impl IntoIterator<Item = (usize, Range<u64>)>,
        deadline: Option<Instant>,
    ) -> Result<RangeLock, Failure> {
        let id = LockId {
            reactor: self.local.reactor(),
            serial: self.local.next_serial(),
        };
        let mut held = RangeLock {
            medium: Self {
                lock: Some(id),
                ..self.clone()
            },
            reactors: Vec::new(),
            id,
        };
        for (reactor, range) in pieces {
            held.reactors.push(reactor);
            let call = Call::Lock {
                volume: self.volume.index,
                range,
                id,
            };
            self.local.call(reactor, call, deadline).await?;
        }
        Ok(held)
    }

    async fn piece(
        &self,
        op: backend::Op,
        range: Range<u64>,
        buffer: Option<Buffer>,
    ) -> Result<MediumDone, Failure> {
        self.piece_at(self.volume.shards.owner(range.start), op, range, buffer)
            .await
    }

    async fn piece_at(
        &self,
        reactor: usize,
        op: backend::Op,
        range: Range<u64>,
        buffer: Option<Buffer>,
    ) -> Result<MediumDone, Failure> {
        if self.paced {
            self.pace(op, range.end - range.start).await?;
        }
        if self.is_aborted() {
            return Err(Failure::aborted());
        }
        let piece = Piece {
            volume: self.volume.index,
            op,
            offset: range.start,
            length: range.end - range.start,
            buffer,
            check: self.check,
            lock: self.lock,
            reactor: self.local.reactor(),
            origin: Origin::Procedure(SlotKey::from_bits(0)),
        };
        let (reply, receiver) = oneshot::channel();
        self.local.post(Request::Medium {
            reactor,
            piece,
            reply,
        });
        let done = receiver.await.map_err(|_| Failure::BUSY)?;
        match done.result {
            Err(failure) => Err(failure),
            Ok(_) => Ok(done),
        }
    }

    fn is_aborted(&self) -> bool {
        self.aborted.as_ref().is_some_and(|aborted| aborted.get())
    }

    /// Waits until a request may be made by the volume's limits, or is aborted. Its reservation is
    /// checked afterwards.
    async fn pace(&self, op: backend::Op, length: u64) -> Result<(), Failure> {
        let bytes = match op {
            backend::Op::Read | backend::Op::Write { .. } => length,
            backend::Op::Deallocate | backend::Op::WriteZeros { .. } => 0,
            backend::Op::Flush | backend::Op::Extents => return Ok(()),
        };
        let cost = Cost {
            operations: 1,
            bytes,
        };
        let volume = self.volume.index;
        let charge = move |core: &mut Core, turn: &mut Turn<'_, '_>| {
            let now = turn.now();
            core.charge(volume, cost, now).map(|due| due.since(now))
        };
        let mut left = self.local.with_core(charge).await?.unwrap_or_default();
        while !left.is_zero() && !self.is_aborted() {
            let delay = left.min(ABORT_CHECK_INTERVAL);
            self.local.sleep(delay).await;
            left -= delay;
        }
        Ok(())
    }
}

/// A range that nobody else reads or writes.
pub(crate) struct RangeLock {
    medium: Medium,
    reactors: Vec<usize>,
    id: LockId,
}

impl RangeLock {
    /// The medium for the one who holds the lock.
    pub(crate) fn medium(&self) -> &Medium {
        &self.medium
    }
}

impl Drop for RangeLock {
    fn drop(&mut self) {
        self.reactors.dedup();
        for reactor in self.reactors.drain(..) {
            let call = Call::Unlock {
                volume: self.medium.volume.index,
                id: self.id,
            };
            self.medium.local.post(Request::Tell { reactor, call });
        }
    }
}

fn buffer_of(done: MediumDone) -> Result<Buffer, Failure> {
    done.buffer
        .ok_or_else(|| Failure::target("a buffer went missing"))
}

fn zeroed_if_asked(done: MediumDone) -> Result<Buffer, Failure> {
    let zeros = matches!(done.result, Ok(Done::Zeros));
    let mut buffer = buffer_of(done)?;
    if zeros {
        buffer.fill(0);
    }
    Ok(buffer)
}

fn bytes_of(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

//! The store in memory: one thin mapping, shared by all reactors without a lock.

mod copy;
mod headroom;
mod mapping;
mod prefault;
mod written;

use super::request::{
    BackendError, Completion, Done, ErrorKind, Extent, ExtentState, Op, Request, Submitted,
    check_range, push_extent,
};
use super::store::{Bequest, Channel, ChannelId, Io, Properties, Store, Waker};
use crate::base::clock::Instant;
use crate::base::limits::{ATOMIC_WRITE_BYTES_MAX, VOLUME_BYTES_MAX};
use crate::ring;
use mapping::Mapping;
use prefault::Progress;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use written::{GRAIN_BYTES, Written};

/// A store grows within the address space reserved for it: that many times its first size.
const GROWTH_FACTOR: u64 = 16;
/// Longer reads and writes are not fetched ahead: the caches are better used otherwise.
const FETCH_BYTES_MAX: u64 = 16 << 10;
/// Bytes that one step of a long deallocation covers, so that others get their turn.
const STEP_BYTES: u64 = 64 << 20;

/// Memory that reads as zeros until it is written. It is empty again after every start.
#[derive(Debug)]
pub struct RamStore {
    /// This store, for the thread that finds its memory.
    this: Weak<Self>,
    progress: Progress,
    mapping: Mapping,
    written: Written,
    size_bytes: AtomicU64,
}

impl RamStore {
    /// Whether it has all of these bytes.
    fn holds(&self, offset: u64, length: u64) -> bool {
        let end = offset.checked_add(length);
        end.is_some_and(|end| end <= self.size_bytes())
    }

    /// An empty store of `size_bytes` bytes. Memory is taken as it is written.
    ///
    /// # Errors
    /// When the system grants no address space.
    pub fn new(size_bytes: u64) -> Result<Arc<Self>, BackendError> {
        let roomy = size_bytes
            .saturating_mul(GROWTH_FACTOR)
            .min(VOLUME_BYTES_MAX)
            .max(size_bytes);
        // Where memory is accounted strictly there may be room for the store and not for its growth.
        let mapping =
            Mapping::new(position(roomy)).or_else(|_| Mapping::new(position(size_bytes)))?;
        let written = Written::new(mapping.len());
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            progress: Progress::default(),
            mapping,
            written,
            size_bytes: AtomicU64::new(size_bytes),
        }))
    }

    /// Finds the memory behind all of the store now, and behind what it will grow by: as much as
    /// leaves enough to others. Blocks for a little while; what takes longer goes on behind.
    pub fn prefault(&self) {
        self.prefault_range(0, self.size_bytes());
    }

    fn prefault_range(&self, start: u64, end: u64) {
        let start = position(start) / GRAIN_BYTES * GRAIN_BYTES;
        if let Some(this) = self.this.upgrade() {
            prefault::start(&this, start..position(end));
        }
    }

    /// Copies bytes out. The range must be in the store.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) {
        self.mapping.read(position(offset), bytes);
    }

    /// Copies bytes in. The range must be in the store.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        self.mapping.write(position(offset), bytes);
        self.written.set(position(offset), bytes.len());
    }

    /// Makes the range zeros; its whole pages go back to the system.
    fn discard(&self, offset: u64, length: u64) {
        let (start, end) = (position(offset), position(offset + length));
        let (first, last) = (
            start.next_multiple_of(GRAIN_BYTES),
            end / GRAIN_BYTES * GRAIN_BYTES,
        );
        if first >= last {
            self.zero(start, end);
            return;
        }
        self.zero(start, first);
        self.zero(last, end);
        self.mapping.discard(first, last - first);
        self.written.clear(first, last - first);
    }

    /// Zeroes part of a page, unless it is zeros anyway.
    fn zero(&self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let (written, stop) = self.written.run(at, end);
            if written {
                self.mapping.zero(at, stop - at);
            }
            at = stop;
        }
    }

    fn extents(&self, offset: u64, length: u64) -> Vec<Extent> {
        let mut extents = Vec::new();
        let end = position(offset + length);
        let mut at = position(offset);
        while at < end {
            let (written, stop) = self.written.run(at, end);
            let state = if written {
                ExtentState::Mapped
            } else {
                ExtentState::Deallocated
            };
            let extent = Extent {
                offset: at as u64,
                length: (stop - at) as u64,
                state,
            };
            if !push_extent(&mut extents, extent) {
                break;
            }
            at = stop;
        }
        extents
    }
}

/// A byte's place in the mapping, which is as large as addresses can be.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a usize has 64 bits, as asserted in `mapping`"
)]
const fn position(offset: u64) -> usize {
    offset as usize
}

/// Whether the system grants transparent huge pages: the choice in brackets.
fn huge_pages() -> Option<String> {
    let told = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, chosen) = told.split_once('[')?;
    chosen.split_once(']').map(|(chosen, _)| chosen.to_owned())
}

impl Store for RamStore {
    /// A power cut takes all, flushed or not, so there is nothing that a flush could save: the cache
    /// is not volatile in the sense of the Caching mode page, the whole medium is.
    fn properties(&self) -> Properties {
        Properties {
            volatile_cache: false,
            thin: true,
            can_deallocate: true,
            zeros_after_deallocate: true,
            can_write_zeros: true,
            knows_extents: true,
            durable_writes: true,
            always_zero: false,
            rotational: false,
            logical_block_bytes: 1,
            physical_block_bytes: 4096,
            // With the process, all of it is gone.
            atomic_write_bytes: ATOMIC_WRITE_BYTES_MAX,
            optimal_io_bytes: 0,
        }
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    fn bequest(&self) -> std::io::Result<Bequest> {
        Ok(Bequest::Memory)
    }

    fn grow(&self, size_bytes: u64) -> Result<(), BackendError> {
        if size_bytes < self.size_bytes() {
            return Err(ErrorKind::OutOfRange.into());
        }
        if size_bytes > self.mapping.len() as u64 {
            return Err(ErrorKind::SpaceExhausted.into());
        }
        let before = self.size_bytes.swap(size_bytes, Ordering::AcqRel);
        if self.progress.is_wanted() {
            self.prefault_range(before, size_bytes);
        }
        Ok(())
    }

    fn route(&self) -> String {
        let pages = match huge_pages().as_deref() {
            Some("never") => "small pages (transparent huge pages are switched off)",
            _ => "transparent huge pages",
        };
        format!("memory on {pages}, {}", self.progress)
    }

    fn channel(self: Arc<Self>, _id: ChannelId, _waker: Waker) -> Box<dyn Channel> {
        Box::new(RamChannel {
            store: self,
            long: VecDeque::new(),
        })
    }
}

/// Everything is done at once but long deallocations, which go on a step at every poll.
struct RamChannel {
    store: Arc<RamStore>,
    long: VecDeque<Request>,
}

impl RamChannel {
    /// Does one step of a deallocation or zeroing. The request, shortened, if some is left.
    fn step(&self, mut request: Request) -> Result<Completion, Request> {
        let length = request.length.min(STEP_BYTES);
        self.store.discard(request.offset, length);
        if request.op
            == (Op::WriteZeros {
                may_deallocate: false,
            })
        {
            self.store
                .written
                .set(position(request.offset), position(length));
        }
        request.offset += length;
        request.length -= length;
        if request.length == 0 {
            Ok(request.answer(Ok(Done::Completed)))
        } else {
            Err(request)
        }
    }
}

impl Channel for RamChannel {
    fn submit(&mut self, mut request: Request, _io: &mut Io<'_>) -> Submitted {
        if let Err(error) = request.check(self.store.size_bytes(), 1) {
            return Submitted::Done(request.answer(Err(error)));
        }
        let done = match (request.op, &mut request.buffer) {
            (Op::Read, Some(buffer)) => {
                self.store.read(request.offset, buffer);
                Done::Completed
            }
            (Op::Write { .. }, Some(buffer)) => {
                self.store.write(request.offset, buffer);
                Done::Completed
            }
            (Op::Deallocate | Op::WriteZeros { .. }, _) => {
                return match self.step(request) {
                    Ok(completion) => Submitted::Done(completion),
                    Err(rest) => {
                        self.long.push_back(rest);
                        Submitted::Pending
                    }
                };
            }
            (Op::Extents, _) => Done::Extents(self.store.extents(request.offset, request.length)),
            (Op::Flush | Op::Read | Op::Write { .. }, _) => Done::Completed,
        };
        Submitted::Done(request.answer(Ok(done)))
    }

    fn completed(&mut self, _: ring::Completion, _: &mut Io<'_>, _: &mut Vec<Completion>) {}

    fn poll(&mut self, _io: &mut Io<'_>, out: &mut Vec<Completion>) {
        let Some(request) = self.long.pop_front() else {
            return;
        };
        match self.step(request) {
            Ok(completion) => out.push(completion),
            Err(rest) => self.long.push_back(rest),
        }
    }

    fn in_flight(&self) -> usize {
        self.long.len()
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn fetches_ahead(&self) -> bool {
        copy::FETCHES_AHEAD
    }

    fn expect_read(&self, offset: u64, length: u64) {
        let length = length.min(copy::READ_AHEAD_BYTES);
        if self.store.holds(offset, length) {
            let (offset, length) = (position(offset), position(length));
            self.store.mapping.expect_read(offset, length);
        }
    }

    fn expect_write(&self, offset: u64, length: u64) {
        if length <= FETCH_BYTES_MAX && self.store.holds(offset, length) {
            let (offset, length) = (position(offset), position(length));
            self.store.mapping.expect_write(offset, length);
        }
    }

    fn is_cold(&self) -> bool {
        true
    }

    fn bytes(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let whole = self.store.holds(offset, length);
        // Whoever writes them needs this channel for that, which is borrowed as long as they are.
        whole.then(|| self.store.mapping.bytes(position(offset), position(length)))
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BackendError> {
        let length = bytes.len() as u64;
        check_range(offset, length, self.store.size_bytes())?;
        if length > FETCH_BYTES_MAX {
            self.store.write(offset, bytes);
        } else {
            let offset = position(offset);
            self.store.mapping.write_expected(offset, bytes);
            self.store.written.set(offset, bytes.len());
        }
        Ok(())
    }

    /// At once, if there is another step to do.
    fn next_deadline(&self) -> Option<Instant> {
        (!self.long.is_empty()).then_some(Instant::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_may_be_anything() {
        let store = RamStore::new(1 << 20).unwrap();
        let channel = Arc::clone(&store).channel(ChannelId(0), Arc::new(|| ()));
        for offset in [0, 4096, (1 << 20) - 1, 1 << 20, u64::MAX] {
            for length in [0, 1, 4096, FETCH_BYTES_MAX + 1, u64::MAX] {
                channel.expect_read(offset, length);
                channel.expect_write(offset, length);
            }
        }
        let mut bytes = [0xee; 4096];
        store.read(0, &mut bytes);
        assert_eq!(bytes, [0; 4096], "nothing was changed");
    }

    #[test]
    fn bytes_are_put_where_they_belong_or_not_at_all() {
        let store = RamStore::new(1 << 20).unwrap();
        let mut channel = Arc::clone(&store).channel(ChannelId(0), Arc::new(|| ()));
        channel.put(4096, &[7; 512]).unwrap();
        let mut bytes = [0xee; 1024];
        store.read(4096, &mut bytes);
        assert_eq!(bytes, [[7; 512], [0; 512]].concat()[..]);
        let [extent, ..] = store.extents(4096, 8192)[..] else {
            panic!("extents")
        };
        assert_eq!((extent.length, extent.state), (4096, ExtentState::Mapped));
        for offset in [(1 << 20) - 511, 1 << 20, u64::MAX] {
            let error = channel.put(offset, &[7; 512]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
        }
        store.read((1 << 20) - 1024, &mut bytes);
        assert_eq!(bytes, [0; 1024], "nothing is written in part");
    }

    #[test]
    fn bytes_are_found_where_they_lie() {
        let store = RamStore::new(1 << 20).unwrap();
        let channel = Arc::clone(&store).channel(ChannelId(0), Arc::new(|| ()));
        store.write(4096, &[7; 512]);
        let expected = [[0; 96].as_slice(), &[7; 104]].concat();
        assert_eq!(channel.bytes(4000, 200), Some(expected.as_slice()));
        for (offset, length) in [((1 << 20) - 1, 2), (u64::MAX, 1), (0, u64::MAX)] {
            assert_eq!(channel.bytes(offset, length), None);
        }
    }
}

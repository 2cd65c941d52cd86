//! The store that keeps nothing: reads are zeros, writes vanish. It measures everything else.

use super::request::{
    BackendError, Completion, Done, ErrorKind, Extent, ExtentState, Op, Request, Submitted,
    check_range,
};
use super::store::{Bequest, Channel, ChannelId, Io, Properties, Store, Waker};
use crate::base::limits::{ATOMIC_WRITE_BYTES_MAX, BUFFER_BYTES_MAX, VOLUME_BYTES_MAX};
use crate::ring;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// As many zeros as a buffer holds, to be sent for [`Done::Zeros`]. Memory is spent on them only
/// where a kernel without a zero page would.
#[must_use]
pub fn zeros() -> &'static [u8] {
    static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; BUFFER_BYTES_MAX]);
    &ZEROS
}

/// A store of which every byte is zero, whatever is written.
#[derive(Debug)]
pub struct NullStore {
    size_bytes: AtomicU64,
}

impl NullStore {
    /// `size_bytes` bytes of nothing.
    #[must_use]
    pub fn new(size_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            size_bytes: AtomicU64::new(size_bytes),
        })
    }

    fn answer(&self, request: &mut Request) -> Result<Done, BackendError> {
        let bufferless_read = request.op == Op::Read && request.buffer.is_none();
        match request.check(self.size_bytes(), 1) {
            Err(error) if !(bufferless_read && error.kind() == ErrorKind::InvalidRequest) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(match (request.op, &mut request.buffer) {
            (Op::Read, None) => Done::Zeros,
            (Op::Read, Some(buffer)) => {
                buffer.fill(0);
                Done::Completed
            }
            (Op::Extents, _) if request.length > 0 => {
                let (offset, length) = (request.offset, request.length);
                Done::Extents(vec![Extent {
                    offset,
                    length,
                    state: ExtentState::Deallocated,
                }])
            }
            (Op::Extents, _) => Done::Extents(Vec::new()),
            _ => Done::Completed,
        })
    }
}

impl Store for NullStore {
    /// Nothing is kept, so nothing can be lost, flushed or not: the cache is not volatile.
    fn properties(&self) -> Properties {
        Properties {
            volatile_cache: false,
            thin: true,
            can_deallocate: true,
            zeros_after_deallocate: true,
            can_write_zeros: true,
            knows_extents: true,
            durable_writes: true,
            always_zero: true,
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

    fn route(&self) -> String {
        "nowhere: reads are zeros, writes vanish".to_owned()
    }

    fn bequest(&self) -> std::io::Result<Bequest> {
        Ok(Bequest::Nothing)
    }

    fn grow(&self, size_bytes: u64) -> Result<(), BackendError> {
        if size_bytes < self.size_bytes() || size_bytes > VOLUME_BYTES_MAX {
            return Err(ErrorKind::OutOfRange.into());
        }
        self.size_bytes.store(size_bytes, Ordering::Release);
        Ok(())
    }

    fn channel(self: Arc<Self>, _id: ChannelId, _waker: Waker) -> Box<dyn Channel> {
        Box::new(NullChannel { store: self })
    }
}

struct NullChannel {
    store: Arc<NullStore>,
}

impl Channel for NullChannel {
    fn submit(&mut self, mut request: Request, _io: &mut Io<'_>) -> Submitted {
        let result = self.store.answer(&mut request);
        Submitted::Done(request.answer(result))
    }

    fn completed(&mut self, _: ring::Completion, _: &mut Io<'_>, _: &mut Vec<Completion>) {}

    fn poll(&mut self, _io: &mut Io<'_>, _out: &mut Vec<Completion>) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BackendError> {
        check_range(offset, bytes.len() as u64, self.store.size_bytes())
    }

    fn bytes(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let end = offset.checked_add(length)?;
        let bytes = zeros().get(..usize::try_from(length).ok()?)?;
        (end <= self.store.size_bytes()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_bytes_are_zeros() {
        let store = NullStore::new(1 << 30);
        let channel = store.channel(ChannelId(0), Arc::new(|| ()));
        assert_eq!(channel.bytes(4000, 200), Some([0; 200].as_slice()));
        for (offset, length) in [
            ((1 << 30) - 1, 2),
            (u64::MAX, 1),
            (0, u64::MAX),
            (0, 1 << 29),
        ] {
            assert_eq!(channel.bytes(offset, length), None);
        }
    }
}

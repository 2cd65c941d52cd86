//! Receive buffers: few and large, shared by all sockets of a reactor.
//!
//! A socket that is received from directly gets the largest, so that long PDUs come in by one call and
//! few are cut where a buffer ends. All such sockets use the same one in turn, so that what they fill
//! of it stays in the caches.

use crate::base::buffer::{Buffer, Pool};
use std::io;
use std::ops::Deref;

/// Bytes that one receive into a lent buffer takes at most, and about as many as are best taken at once:
/// with more, the answers to a burst leave later, and its peer has nothing to do meanwhile.
pub const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes that one receive takes at most where it is direct, for a PDU that is as long.
pub const RECEIVE_BYTES_MAX: usize = 256 << 10;
/// The arena of receive buffers is not one of those registered with rings.
const ARENA_INDEX: u16 = u16::MAX;

/// Received bytes. They are best given back with [`Net::recycle`](super::Net::recycle) within the
/// tick; dropping them anywhere is safe.
#[derive(Debug)]
pub struct RecvBuffer(Buffer);

impl RecvBuffer {
    /// `buffer` must be cut to what was received.
    pub(super) const fn new(buffer: Buffer) -> Self {
        Self(buffer)
    }
}

impl Deref for RecvBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The buffers of one reactor. The last one given back is the next one used, while it is still in
/// the cache.
#[derive(Debug)]
pub(super) struct ReceivePool {
    pool: Pool,
    /// Cut from the pool before, and free.
    free: Vec<Buffer>,
    /// The large one for direct receives, between two of them.
    direct: Option<Buffer>,
}

impl ReceivePool {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let pool = Pool::new(bytes, ARENA_INDEX)?;
        // As many as there can be, so that giving one back allocates nothing.
        let free = Vec::with_capacity(pool.arena().len() / RECEIVE_BYTES);
        Ok(Self {
            pool,
            free,
            direct: None,
        })
    }

    #[inline]
    pub(super) fn allocate(&mut self) -> Option<Buffer> {
        let Some(mut buffer) = self.free.pop() else {
            return self.pool.allocate(RECEIVE_BYTES);
        };
        buffer.set_len(RECEIVE_BYTES);
        Some(buffer)
    }

    /// A buffer for a direct receive, with what length soever; a smaller one where memory is short.
    #[inline]
    pub(super) fn allocate_direct(&mut self) -> Option<Buffer> {
        let kept = self.direct.take();
        kept.or_else(|| self.pool.allocate(RECEIVE_BYTES_MAX))
            .or_else(|| self.allocate())
    }

    #[inline]
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        // One of another reactor finds its way home when it is dropped.
        if !self.pool.owns(&buffer) {
            return;
        }
        if buffer.capacity() == RECEIVE_BYTES {
            self.free.push(buffer);
        } else if self.direct.is_none() {
            self.direct = Some(buffer);
        } else {
            self.pool.recycle(buffer);
        }
    }

    #[inline]
    pub(super) fn recycle(&mut self, bytes: RecvBuffer) {
        self.give_back(bytes.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_receives_use_one_buffer_in_turn() {
        let mut pool = ReceivePool::new(1 << 20).unwrap();
        let first = pool.allocate_direct().unwrap();
        assert_eq!(first.capacity(), RECEIVE_BYTES_MAX);
        let (address, second) = (first.as_ptr(), pool.allocate_direct().unwrap());
        pool.recycle(RecvBuffer::new(first));
        pool.give_back(second);
        assert_eq!(pool.allocate_direct().unwrap().as_ptr(), address);
    }

    #[test]
    fn where_memory_is_short_a_small_buffer_does() {
        let mut pool = ReceivePool::new(1 << 20).unwrap();
        let lent: Vec<_> = (0..15).map(|_| pool.allocate().unwrap()).collect();
        let direct = pool.allocate_direct().unwrap();
        assert_eq!(direct.capacity(), RECEIVE_BYTES);
        assert!(pool.allocate_direct().is_none());
        pool.give_back(direct);
        let again = pool.allocate_direct().unwrap();
        assert_eq!(again.capacity(), RECEIVE_BYTES);
        drop(lent);
    }

    #[test]
    fn the_last_one_given_back_is_the_next_one_and_whole_again() {
        let mut pool = ReceivePool::new(2 * RECEIVE_BYTES).unwrap();
        let mut buffer = pool.allocate().unwrap();
        let address = buffer.as_ptr();
        buffer.set_len(3);
        pool.recycle(RecvBuffer::new(buffer));
        let again = pool.allocate().unwrap();
        assert_eq!((again.as_ptr(), again.len()), (address, RECEIVE_BYTES));
    }

    #[test]
    fn each_pool_gets_its_own_back() {
        let mut pools = [(), ()].map(|()| ReceivePool::new(RECEIVE_BYTES).unwrap());
        let [ours, theirs] = &mut pools;
        let all =
            |pool: &mut ReceivePool| std::iter::from_fn(|| pool.allocate()).collect::<Vec<_>>();
        let (buffers, count) = (all(ours), all(theirs).len());
        assert_eq!(buffers.len(), count);
        buffers
            .into_iter()
            .for_each(|buffer| theirs.give_back(buffer));
        assert_eq!(all(ours).len(), count);
        assert_eq!(all(theirs).len(), count);
    }
}

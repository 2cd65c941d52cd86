//! Receive buffers: few and large, shared by all sockets of a reactor.
//!
//! A socket that is received from directly gets the largest: what a peer has pipelined comes in by one
//! call, and few PDUs are cut where a buffer ends. All such sockets use the same one in turn, of which
//! as much is in the caches as they fill.

use crate::base::buffer::{Buffer, Pool};
use std::io;
use std::ops::Deref;

/// Bytes that one receive into a lent buffer takes at most.
pub(super) const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes that one receive takes at most where it is direct, and so of any.
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
    /// The one for direct receives, between two of them.
    direct: Option<Buffer>,
}

impl ReceivePool {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        Ok(Self {
            pool: Pool::new(bytes, ARENA_INDEX)?,
            direct: None,
        })
    }

    pub(super) fn allocate(&mut self) -> Option<Buffer> {
        self.pool.allocate(RECEIVE_BYTES)
    }

    /// A buffer for a direct receive, with what length soever; a smaller one where memory is short.
    pub(super) fn allocate_direct(&mut self) -> Option<Buffer> {
        let kept = self.direct.take();
        kept.or_else(|| self.pool.allocate(RECEIVE_BYTES_MAX))
            .or_else(|| self.allocate())
    }

    pub(super) fn give_back(&mut self, buffer: Buffer) {
        if self.direct.is_none() && buffer.capacity() == RECEIVE_BYTES_MAX {
            self.direct = Some(buffer);
        } else {
            self.pool.recycle(buffer);
        }
    }

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
        lent.into_iter().for_each(|buffer| pool.give_back(buffer));
        let direct = pool.allocate_direct().unwrap();
        assert_eq!(direct.capacity(), RECEIVE_BYTES_MAX);
    }
}

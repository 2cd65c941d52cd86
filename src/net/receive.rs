//! Receive buffers: few and large, shared by all sockets of a reactor.

use crate::base::buffer::{Buffer, Pool};
use std::io;
use std::ops::Deref;

/// Bytes that one receive takes at most.
pub(super) const RECEIVE_BYTES: usize = 64 << 10;
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
}

impl ReceivePool {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        Ok(Self {
            pool: Pool::new(bytes, ARENA_INDEX)?,
        })
    }

    pub(super) fn allocate(&mut self) -> Option<Buffer> {
        self.pool.allocate(RECEIVE_BYTES)
    }

    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.pool.recycle(buffer);
    }

    pub(super) fn recycle(&mut self, bytes: RecvBuffer) {
        self.pool.recycle(bytes.0);
    }
}

//! Payload memory: one arena per reactor, cut into aligned, owned buffers.
//!
//! An [`Arena`] is one anonymous mapping, so that it can be registered with io_uring as a whole. Its
//! [`Pool`] stays with the reactor that made it; a [`Buffer`] may travel to other threads and comes
//! back to its arena wherever it is dropped, through a lock-free queue. The owner of the pool takes
//! the direct way with [`Pool::recycle`].
//!
//! Fresh buffers hold whatever their last user left: whoever hands a buffer to a peer must have
//! written every byte of it.

use super::buddy::Buddy;
use super::limits::{BUFFER_BLOCK_BYTES, BUFFER_BYTES_MAX};
use crossbeam_queue::ArrayQueue;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// One mapping of payload memory.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    index: u16,
    /// Blocks dropped away from the pool, as (first unit, order).
    returned: ArrayQueue<(u32, u8)>,
}

// SAFETY: the mapping belongs to the arena until it is dropped, and each byte of it is reached
// through the one `Buffer` that was cut from it.
#[allow(unsafe_code, reason = "named leaf: ownership of the mapping")]
unsafe impl Send for Arena {}
// SAFETY: as above; the arena itself hands out nothing but addresses and the lock-free queue.
#[allow(unsafe_code, reason = "named leaf: ownership of the mapping")]
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `bytes` bytes, zeroed, on transparent huge pages where the kernel grants them. `index`
    /// names the arena among all of the process (the reactor that owns it).
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    #[allow(unsafe_code, reason = "named leaf: the mapping")]
    pub fn new(bytes: usize, index: u16) -> std::io::Result<Arc<Self>> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let bytes = bytes
            .next_multiple_of(BUFFER_BYTES_MAX)
            .max(BUFFER_BYTES_MAX);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) }?;
        // SAFETY: the range is the mapping just made. Advice that is refused costs only speed.
        let _ = unsafe { madvise(base, bytes, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        let returned = ArrayQueue::new(bytes / BUFFER_BLOCK_BYTES);
        Ok(Arc::new(Self {
            base,
            bytes,
            index,
            returned,
        }))
    }

    /// Which arena of the process this is.
    #[must_use]
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// Where the mapping starts; it stays there for the arena's life.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes of the mapping.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the mapping is empty; it never is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Drop for Arena {
    #[allow(unsafe_code, reason = "named leaf: the mapping")]
    fn drop(&mut self) {
        // SAFETY: every buffer holds the arena alive, so none is left that could reach the mapping.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Cuts buffers from one arena; stays on the thread that made it.
#[derive(Debug)]
pub struct Pool {
    arena: Arc<Arena>,
    buddy: Buddy,
}

impl Pool {
    /// A pool over the whole of a fresh arena of `bytes` bytes.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn new(bytes: usize, index: u16) -> std::io::Result<Self> {
        let arena = Arena::new(bytes, index)?;
        let units = u32::try_from(arena.len() / BUFFER_BLOCK_BYTES)
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
        Ok(Self {
            buddy: Buddy::new(units, ORDER_MAX),
            arena,
        })
    }

    /// The arena behind this pool.
    #[must_use]
    pub const fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// A buffer of exactly `bytes` bytes, aligned to [`BUFFER_BLOCK_BYTES`], or nothing when the
    /// arena has no block left that is large enough. Its content is arbitrary.
    ///
    /// # Panics
    /// If `bytes` exceeds [`BUFFER_BYTES_MAX`].
    pub fn allocate(&mut self, bytes: usize) -> Option<Buffer> {
        assert!(
            bytes <= BUFFER_BYTES_MAX,
            "{bytes} bytes is more than one buffer holds"
        );
        let order = order_for(bytes);
        let unit = match self.buddy.allocate(order) {
            Some(unit) => unit,
            None => {
                self.reclaim();
                self.buddy.allocate(order)?
            }
        };
        Some(Buffer {
            arena: Arc::clone(&self.arena),
            unit,
            order,
            bytes,
        })
    }

    /// Whether the buffer was cut from this pool.
    #[must_use]
    #[inline]
    pub fn owns(&self, buffer: &Buffer) -> bool {
        Arc::ptr_eq(&buffer.arena, &self.arena)
    }

    /// Takes a buffer back by the direct way if it is this pool's, else sends it home.
    pub fn recycle(&mut self, buffer: Buffer) {
        if self.owns(&buffer) {
            let (unit, order) = (buffer.unit, buffer.order);
            buffer.forget();
            self.buddy.free(unit, order);
        }
    }

    /// Takes in what was dropped elsewhere.
    pub fn reclaim(&mut self) {
        while let Some((unit, order)) = self.arena.returned.pop() {
            self.buddy.free(unit, order);
        }
    }

    /// Bytes free, in blocks of whatever size.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.buddy.free_units() as usize * BUFFER_BLOCK_BYTES
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a number of bits fits")]
const ORDER_MAX: u8 = (BUFFER_BYTES_MAX / BUFFER_BLOCK_BYTES).trailing_zeros() as u8;

fn order_for(bytes: usize) -> u8 {
    let units = bytes
        .div_ceil(BUFFER_BLOCK_BYTES)
        .max(1)
        .next_power_of_two();
    u8::try_from(units.trailing_zeros()).unwrap_or(ORDER_MAX)
}

/// An owned, aligned piece of an arena.
#[derive(Debug)]
pub struct Buffer {
    arena: Arc<Arena>,
    unit: u32,
    order: u8,
    bytes: usize,
}

impl Buffer {
    /// Which arena this was cut from, for io_uring's registered buffers.
    #[must_use]
    pub fn arena_index(&self) -> u16 {
        self.arena.index
    }

    /// Bytes that the block has room for, at least [`Buffer::len`](slice::len).
    #[must_use]
    pub const fn capacity(&self) -> usize {
        BUFFER_BLOCK_BYTES << self.order
    }

    /// Makes the buffer `bytes` long; what comes into view is arbitrary.
    ///
    /// # Panics
    /// If the block is smaller.
    pub fn set_len(&mut self, bytes: usize) {
        assert!(bytes <= self.capacity());
        self.bytes = bytes;
    }

    #[allow(
        unsafe_code,
        reason = "named leaf: address arithmetic within the mapping"
    )]
    fn pointer(&self) -> NonNull<u8> {
        // SAFETY: the pool cut the block from inside the mapping.
        unsafe { self.arena.base.add(self.unit as usize * BUFFER_BLOCK_BYTES) }
    }

    /// Lets go of the arena without giving the block back.
    #[allow(unsafe_code, reason = "named leaf: the buffer is taken apart")]
    fn forget(self) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the arena handle is read out exactly once.
        drop(unsafe { std::ptr::read(&raw const this.arena) });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[allow(unsafe_code, reason = "named leaf: the block as a slice")]
    fn deref(&self) -> &[u8] {
        // SAFETY: the block lies inside the mapping, is initialised (the mapping starts zeroed), and
        // belongs to this buffer alone.
        unsafe { std::slice::from_raw_parts(self.pointer().as_ptr(), self.bytes) }
    }
}

impl DerefMut for Buffer {
    #[allow(unsafe_code, reason = "named leaf: the block as a slice")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes it the only way in.
        unsafe { std::slice::from_raw_parts_mut(self.pointer().as_ptr(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let returned = self.arena.returned.push((self.unit, self.order));
        assert!(
            returned.is_ok(),
            "the queue has room for every block of its arena"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_from_wherever_they_are_dropped() {
        let mut pool = Pool::new(BUFFER_BYTES_MAX, 0).unwrap();
        let buffer = pool.allocate(BUFFER_BYTES_MAX).unwrap();
        assert!(pool.allocate(1).is_none());
        std::thread::spawn(move || drop(buffer)).join().unwrap();
        let again = pool.allocate(100).unwrap();
        assert_eq!(again.len(), 100);
        assert_eq!(again.as_ptr().align_offset(BUFFER_BLOCK_BYTES), 0);
        pool.recycle(again);
        assert_eq!(pool.free_bytes(), BUFFER_BYTES_MAX);
    }

    #[test]
    fn a_buffer_is_writable_to_its_last_byte() {
        let mut pool = Pool::new(BUFFER_BYTES_MAX, 3).unwrap();
        let mut left = pool.allocate(BUFFER_BLOCK_BYTES + 1).unwrap();
        let mut right = pool.allocate(BUFFER_BLOCK_BYTES).unwrap();
        left.fill(1);
        right.fill(2);
        assert!(left.iter().all(|&b| b == 1));
        assert_eq!(left.capacity(), 2 * BUFFER_BLOCK_BYTES);
        assert_eq!(left.arena_index(), 3);
    }
}

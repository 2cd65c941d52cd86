//! Buffers lent to the kernel, which picks one when bytes arrive: sockets at rest pin none.

use crate::base::buffer::Buffer;
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The one group of provided buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// The memory of the provided-buffer ring and the buffers in it, by their number.
#[derive(Debug)]
pub(super) struct ProvidedBuffers {
    entries: NonNull<BufRingEntry>,
    bytes: usize,
    /// A buffer's number is its place here.
    lent: Box<[Option<Buffer>]>,
    vacant: Vec<u16>,
    tail: u16,
}

impl ProvidedBuffers {
    /// Registers a ring for `count` buffers, a power of two.
    #[allow(unsafe_code, reason = "named leaf: the memory shared with the kernel")]
    pub(super) fn register(ring: &IoUring, count: u16) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        assert!(count.is_power_of_two(), "the kernel masks positions");
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) }?;
        let entries = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let lent = std::iter::repeat_with(|| None)
            .take(usize::from(count))
            .collect();
        let provided = Self {
            entries,
            bytes,
            lent,
            vacant: (0..count).rev().collect(),
            tail: 0,
        };
        let address = entries.as_ptr().addr() as u64;
        // SAFETY: the mapping is page-aligned, holds `count` entries, and outlives the registration:
        // the owner unregisters before it drops `provided`, and the kernel pins the pages besides.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, count, GROUP, 0)
        }?;
        Ok(provided)
    }

    /// Ends the registration: from here on the kernel touches none of the buffers.
    pub(super) fn unregister(&self, ring: &IoUring) {
        if let Err(error) = ring.submitter().unregister_buf_ring(GROUP) {
            tracing::warn!(%error, "the kernel kept the provided buffers");
        }
    }

    /// How many more buffers there is room for.
    pub(super) fn vacancies(&self) -> usize {
        self.vacant.len()
    }

    /// Lends `buffer` to the kernel, or hands it back when there is no room.
    #[allow(unsafe_code, reason = "named leaf: the memory shared with the kernel")]
    pub(super) fn lend(&mut self, mut buffer: Buffer) -> Result<(), Buffer> {
        let Some(number) = self.vacant.pop() else {
            return Err(buffer);
        };
        let position = usize::from(self.tail) & (self.lent.len() - 1);
        // SAFETY: the position is masked to the entries of the mapping.
        let entry = unsafe { self.entries.add(position) }.as_ptr();
        // SAFETY: the kernel reads entries from its head up to the tail; this one lies at the tail,
        // and there are no more buffers than entries, so the kernel is not at it. Only the first
        // entry's last field, the tail itself, is ever read by the kernel meanwhile, and the setters
        // leave that field alone.
        let entry = unsafe { &mut *entry };
        entry.set_addr(buffer.as_mut_ptr().addr() as u64);
        entry.set_len(u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        entry.set_bid(number);
        self.lent[usize::from(number)] = Some(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.publish();
        Ok(())
    }

    /// Takes back the buffer that the kernel picked and filled.
    pub(super) fn take(&mut self, number: u16) -> Option<Buffer> {
        let buffer = self.lent.get_mut(usize::from(number))?.take()?;
        self.vacant.push(number);
        Some(buffer)
    }

    #[allow(unsafe_code, reason = "named leaf: the memory shared with the kernel")]
    fn publish(&self) {
        // SAFETY: the mapping holds at least one entry, zeroed when it was made.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the field is aligned, lives as long as the mapping, and the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for ProvidedBuffers {
    #[allow(unsafe_code, reason = "named leaf: the memory shared with the kernel")]
    fn drop(&mut self) {
        // SAFETY: the range is the mapping of `register`; no reference into it outlives a call.
        let _ = unsafe { rustix::mm::munmap(self.entries.as_ptr().cast(), self.bytes) };
    }
}

/// Whether the kernel knows rings of provided buffers.
pub(super) fn supported(ring: &IoUring) -> bool {
    ProvidedBuffers::register(ring, 1)
        .map(|provided| provided.unregister(ring))
        .is_ok()
}

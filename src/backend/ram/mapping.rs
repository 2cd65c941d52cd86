//! The memory behind a ram store: a named leaf of unsafe code.
//!
//! # The invariant
//! Several reactors read and write one mapping without locks. Each byte range belongs to one shard
//! and each shard to one reactor, and the target starts no two requests on the same bytes at a time
//! if one of them writes. So no two calls here that run at the same time touch the same byte, unless
//! both read it. Bytes that are borrowed ([`Mapping::bytes`]) are borrowed from the channel of their
//! shard, without which nobody writes them.

use super::copy::{copy_in, fetch_to_read, fetch_to_write};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::io;
use std::ptr::NonNull;

/// Offsets into a mapping are `u64` all over this layer.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// Anonymous memory: zeros until written, on transparent huge pages where the kernel grants them.
///
/// Not on reserved ones (hugetlb): they go back to the system only whole, so that most of UNMAP would
/// keep them; and a page given back may be gone when it is wanted again, which ends the process by
/// SIGBUS. A transparent huge page is mapped by one entry all the same.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

#[allow(unsafe_code, reason = "named leaf: ownership of the mapping")]
// SAFETY: the mapping is the process's own and tied to no thread; accesses follow the invariant above.
unsafe impl Send for Mapping {}
#[allow(unsafe_code, reason = "named leaf: ownership of the mapping")]
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `bytes` bytes of address space; memory follows as it is written.
    #[allow(unsafe_code, reason = "named leaf: the mapping")]
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) }?;
        // SAFETY: the range is the mapping just made. Advice that is refused costs only speed.
        let _ = unsafe { madvise(base, bytes, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes })
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    /// Where the mapping begins.
    #[cfg(test)]
    pub(super) fn address(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// Where byte `offset` is, `length` bytes from which are in the mapping.
    #[allow(
        unsafe_code,
        reason = "named leaf: address arithmetic within the mapping"
    )]
    fn at(&self, offset: usize, length: usize) -> NonNull<u8> {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "the range leaves the mapping"
        );
        // SAFETY: `offset` is at most the mapping's length, as just asserted.
        unsafe { self.base.add(offset) }
    }

    /// Has the processor fetch a range that is soon read.
    pub(super) fn expect_read(&self, offset: usize, length: usize) {
        fetch_to_read(self.at(offset, length).as_ptr(), length);
    }

    /// Has the processor fetch a range that is soon written.
    pub(super) fn expect_write(&self, offset: usize, length: usize) {
        fetch_to_write(self.at(offset, length).as_ptr(), length);
    }

    /// A range where it lies.
    #[allow(unsafe_code, reason = "named leaf: reading the mapping")]
    pub(super) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let start = self.at(offset, length).as_ptr();
        // SAFETY: the range lies in the mapping, which is initialised (it starts zeroed), and nobody
        // writes it as long as it is borrowed, by the invariant of the module.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// Copies out.
    #[allow(unsafe_code, reason = "named leaf: reading the mapping")]
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let source = self.at(offset, bytes.len()).as_ptr();
        // SAFETY: the range lies in the mapping, which is initialised (it starts zeroed) and no
        // part of `bytes`; nobody writes the range meanwhile, by the invariant of the module.
        unsafe { std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies in.
    #[allow(unsafe_code, reason = "named leaf: writing the mapping")]
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        let target = self.at(offset, bytes.len()).as_ptr();
        // SAFETY: as in `read`; and nobody else reaches the range meanwhile.
        unsafe { copy_in(bytes, target) }
    }

    /// As [`Mapping::write`], of a short range that [`Mapping::expect_write`] was told of a moment ago.
    #[allow(unsafe_code, reason = "named leaf: writing the mapping")]
    pub(super) fn write_expected(&self, offset: usize, bytes: &[u8]) {
        let target = self.at(offset, bytes.len()).as_ptr();
        // SAFETY: as in `write`; the range is no part of `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) }
    }

    /// Overwrites with zeros.
    #[allow(unsafe_code, reason = "named leaf: writing the mapping")]
    pub(super) fn zero(&self, offset: usize, length: usize) {
        let target = self.at(offset, length).as_ptr();
        // SAFETY: as in `write`.
        unsafe { target.write_bytes(0, length) }
    }

    /// Has the system find the memory behind a range of whole pages now, not when it is first
    /// written. The bytes stay as they are, whoever reads or writes them meanwhile.
    ///
    /// # Errors
    /// `InvalidInput` before Linux 5.14; otherwise there is no memory left.
    #[allow(unsafe_code, reason = "named leaf: touching pages of the mapping")]
    pub(super) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
        let start = self.at(offset, length).as_ptr().cast();
        // SAFETY: the pages lie in the mapping; populating changes no byte of them.
        Ok(unsafe { madvise(start, length, Advice::LinuxPopulateWrite) }?)
    }

    /// Gives whole pages back to the system; they read as zeros from now on. If it refuses, they are
    /// zeroed in place.
    #[allow(unsafe_code, reason = "named leaf: discarding pages of the mapping")]
    pub(super) fn discard(&self, offset: usize, length: usize) {
        let start = self.at(offset, length).as_ptr().cast();
        // SAFETY: the pages lie in the mapping, which is private and anonymous, so they become
        // zeros; nobody else reaches them meanwhile, by the invariant of the module.
        if unsafe { madvise(start, length, Advice::LinuxDontNeed) }.is_err() {
            self.zero(offset, length);
        }
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code, reason = "named leaf: the mapping")]
    fn drop(&mut self) {
        // SAFETY: `&mut self` proves that nobody is left to reach the mapping.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

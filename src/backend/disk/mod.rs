//! Files and block devices: whatever has a descriptor, direct I/O where it can be had, and a flush.

pub mod block;
mod calls;
mod channel;
pub mod file;

use super::open::Opening;
use super::request::{BackendError, ErrorKind};
use super::store::{Channel, ChannelId, Properties, Store, Waker};
use super::workers::Workers;
use crate::ring::FileHandle;
use rustix::fs::{
    AtFlags, FlockOperation, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, flock, statx,
};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What kind of thing the descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    File,
    BlockDevice,
}

/// An open file or block device.
#[derive(Debug)]
pub struct Disk {
    file: FileHandle,
    medium: Medium,
    size_bytes: AtomicU64,
    properties: Properties,
    /// Sticky: see [`ErrorKind::FlushLost`].
    flush_lost: AtomicBool,
    workers: Arc<Workers>,
}

impl Store for Disk {
    fn properties(&self) -> Properties {
        self.properties
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    /// A file is made longer, durably; a device must have become larger by itself.
    fn grow(&self, size_bytes: u64) -> Result<(), BackendError> {
        if size_bytes < self.size_bytes() {
            return Err(ErrorKind::OutOfRange.into());
        }
        let present_bytes = calls::length_bytes(&self.file)?;
        if present_bytes < size_bytes {
            if self.medium == Medium::BlockDevice {
                return Err(ErrorKind::SpaceExhausted.into());
            }
            rustix::fs::ftruncate(&self.file, size_bytes)?;
            rustix::fs::fsync(&self.file)?;
        }
        self.size_bytes.store(size_bytes, Ordering::Release);
        Ok(())
    }

    fn channel(self: Arc<Self>, id: ChannelId, waker: Waker) -> Box<dyn Channel> {
        Box::new(channel::DiskChannel::new(self, id, waker))
    }
}

impl Drop for Disk {
    /// Gives a file's lock back as soon as nothing uses the file. Closing alone would leave it with
    /// whoever has a copy of the descriptor: a child between fork and exec, or the kernel for a moment
    /// after a request has completed. It is theirs too, as it belongs to the open file description
    /// (flock(2)), and the volume could not be opened again until they are gone.
    fn drop(&mut self) {
        // A request in flight may still write: then the lock stays until its handle closes the file.
        if self.medium == Medium::File && self.file.is_last() {
            // Where it fails, closing releases the lock.
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// How a descriptor is opened: a volume that is never written asks for no more than reading.
const fn access(opening: &Opening<'_>) -> OFlags {
    if opening.read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    }
}

/// Turns direct I/O on if the medium can do it in blocks of `block_bytes`, and says at which
/// alignment. Otherwise the page cache is used: for a volume of 512-byte blocks on a medium of 4096
/// that is the kernel's read-modify-write, under its locks, instead of one of our own.
fn use_direct_io(file: impl AsFd, path: &Path, block_bytes: u32) -> Option<u32> {
    let alignment = direct_alignment(&file);
    let refusal = match alignment {
        Some(alignment) if alignment > block_bytes => {
            format!("it wants {alignment}-byte blocks and the volume has {block_bytes}")
        }
        None => "the file system does not offer it".to_owned(),
        Some(_) => {
            let flags = fcntl_getfl(&file).unwrap_or(OFlags::RDWR);
            match fcntl_setfl(&file, flags | OFlags::DIRECT) {
                Ok(()) => return alignment,
                Err(errno) => errno.to_string(),
            }
        }
    };
    tracing::info!(path = %path.display(), "no direct I/O: {refusal}; the page cache is used");
    None
}

/// The alignment that direct I/O demands of offsets and lengths; `None` if there is no direct I/O.
/// A kernel that does not tell (before Linux 6.1) is taken to want whole pages.
fn direct_alignment(file: impl AsFd) -> Option<u32> {
    let asked = StatxFlags::DIOALIGN;
    let told = statx(file, c"", AtFlags::EMPTY_PATH, asked).ok()?;
    if told.stx_mask & asked.bits() == 0 {
        return Some(4096);
    }
    // The memory alignment never exceeds the page that a buffer begins at.
    (told.stx_dio_offset_align > 0).then_some(told.stx_dio_offset_align)
}

/// One line of a device's queue attributes in sysfs. A partition's are those of its disk.
fn queue_attribute(device: u64, name: &str) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    ["", "../"].iter().find_map(|parent| {
        let path = format!("/sys/dev/block/{major}:{minor}/{parent}queue/{name}");
        std::fs::read_to_string(path)
            .ok()
            .map(|line| line.trim().to_owned())
    })
}

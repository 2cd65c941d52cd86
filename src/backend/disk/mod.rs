//! Files and block devices: whatever has a descriptor, direct I/O where it can be had, and a flush.
//!
//! A request is one operation of the kernel, whatever its length: up to a buffer of 1 MiB, which the
//! block layer cuts at `max_sectors_kb` and sends in one go. Nor are small adjacent ones merged here:
//! all that a tick submits enters the kernel at once, and the block layer merges what it finds there.
//!
//! Files are not registered with the ring. That would save a ninth of what an operation costs the
//! kernel (825 ns against 937 for a read that no disk is asked for), but a killed process's ring is torn
//! down 35 ms after its end, and until then would keep a registered file open, and with it the lock
//! that a restarted server wants at once.

pub mod block;
mod calls;
mod channel;
pub mod file;
mod nvme;
mod patience;
mod way;

use super::open::Opening;
use super::request::{BackendError, ErrorKind};
use super::store::{Bequest, Channel, ChannelId, Harm, Properties, Store, Waker};
use super::workers::Workers;
use crate::ring::FileHandle;
use rustix::fs::{Advice, FlockOperation, OFlags, fadvise, flock};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use way::Way;

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
    way: Way,
    size_bytes: AtomicU64,
    properties: Properties,
    /// Sticky: see [`ErrorKind::FlushLost`].
    flush_lost: AtomicBool,
    /// The file system has turned down to zero a range by itself. Whoever asks writes zeros from then on.
    lacks_zero_range: AtomicBool,
    /// Another process has the open file description too, or had: its lock is not this one's to give
    /// back.
    inherited: bool,
    workers: Arc<Workers>,
}

impl Store for Disk {
    fn properties(&self) -> Properties {
        let zeroes = !self.lacks_zero_range.load(Ordering::Relaxed);
        Properties {
            can_write_zeros: self.properties.can_write_zeros && zeroes,
            ..self.properties
        }
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    fn route(&self) -> String {
        self.way.to_string()
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

    fn bequest(&self) -> io::Result<Bequest> {
        if self.flush_lost.load(Ordering::Acquire) {
            let why =
                "a flush has failed, and what was written may be lost; only a restart ends that";
            return Err(io::Error::other(why));
        }
        Ok(Bequest::File(self.file.as_fd().try_clone_to_owned()?))
    }

    fn look_after(&self) -> Result<(), Harm> {
        if self.medium != Medium::File {
            return Ok(());
        }
        // What can't be looked at is no harm that is known.
        let Ok(stat) = rustix::fs::fstat(&self.file) else {
            return Ok(());
        };
        // The size grows after the file has.
        let (expected, found) = (self.size_bytes(), u64::try_from(stat.st_size).unwrap_or(0));
        match () {
            () if found < expected => Err(Harm::Cut { expected, found }),
            () if stat.st_nlink == 0 => Err(Harm::Removed),
            () => Ok(()),
        }
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
        if self.medium == Medium::File && !self.inherited && self.file.is_last() {
            // Where it fails, closing releases the lock.
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
        // What others have read of the device by its page cache is not what NVMe commands have written.
        if self.way.passes_page_cache() {
            let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        }
    }
}

#[cfg(test)]
impl Disk {
    /// Polls, whatever the device says, and if `commands` sends NVMe commands to the file, which takes none.
    pub(in crate::backend) fn polled(self: Arc<Self>, commands: bool) -> Arc<Self> {
        let Ok(mut disk) = Arc::try_unwrap(self) else {
            panic!("nobody else has it yet");
        };
        let passthrough = commands.then(|| nvme::Passthrough::to_file(disk.file.clone()));
        disk.way.poll(passthrough);
        Arc::new(disk)
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

/// One line of a device's queue attributes in sysfs. A partition's are those of its disk.
fn queue_attribute(device: u64, name: &str) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    ["", "../"].iter().find_map(|parent| {
        let directory = format!("/sys/dev/block/{major}:{minor}/{parent}queue");
        attribute(Path::new(&directory), name)
    })
}

/// The one line of a file in a directory of sysfs.
fn attribute(directory: &Path, name: &str) -> Option<String> {
    let line = std::fs::read_to_string(directory.join(name)).ok()?;
    Some(line.trim().to_owned())
}

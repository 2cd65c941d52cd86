//! A volume on a block device of its own.

use super::nvme::Passthrough;
use super::patience::{PATIENCE, while_in_use};
use super::{Disk, Medium, Way, access, calls, queue_attribute};
use crate::backend::open::{OpenError, Opening};
use crate::backend::store::Properties;
use rustix::fs::{FileType, Mode, OFlags, fstat, ioctl_blkpbszget, ioctl_blksszget};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Opens the device at `path` for this process alone: `O_EXCL` keeps out mounts, device mappers and
/// whoever else asks for it exclusively.
///
/// # Errors
/// What is wrong and what to do about it.
pub(in crate::backend) fn open(path: &Path, opening: &Opening<'_>) -> Result<Arc<Disk>, OpenError> {
    let wrong_type = || OpenError::WrongType {
        path: path.to_path_buf(),
        expected: "block device",
    };
    let flags = access(opening) | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let is_taken = |errno: &Errno| *errno == Errno::BUSY;
    let file = while_in_use(PATIENCE, is_taken, || {
        rustix::fs::open(path, flags, Mode::empty())
    })
    .map_err(|errno| match errno {
        Errno::NOENT | Errno::NXIO => OpenError::Missing {
            path: path.to_path_buf(),
        },
        Errno::BUSY => OpenError::InUse {
            path: path.to_path_buf(),
        },
        Errno::ISDIR => wrong_type(),
        _ => OpenError::system(path, "open")(errno),
    })?;
    serve(file, false, path, opening)
}

/// Serves the device at `path` that another process has opened: its hold on the device is that of the
/// open file description.
///
/// # Errors
/// It is not the volume's, by its kind or its size.
pub(in crate::backend) fn inherit(
    file: OwnedFd,
    path: &Path,
    opening: &Opening<'_>,
) -> Result<Arc<Disk>, OpenError> {
    serve(file, true, path, opening)
}

fn serve(
    file: OwnedFd,
    inherited: bool,
    path: &Path,
    opening: &Opening<'_>,
) -> Result<Arc<Disk>, OpenError> {
    let wrong_type = || OpenError::WrongType {
        path: path.to_path_buf(),
        expected: "block device",
    };
    let stat = fstat(&file).map_err(OpenError::system(path, "look at"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
        return Err(wrong_type());
    }
    let found = calls::length_bytes(&file).map_err(OpenError::system(path, "measure"))?;
    let expected = opening.size_bytes;
    if found < expected {
        return Err(OpenError::TooSmall {
            path: path.to_path_buf(),
            expected,
            found,
        });
    }
    let measure = |errno| OpenError::system(path, "ask for the block size of")(errno);
    let logical_bytes = ioctl_blksszget(&file).map_err(measure)?;
    let physical_bytes = ioctl_blkpbszget(&file)
        .unwrap_or(logical_bytes)
        .max(logical_bytes);
    let passthrough = Passthrough::to(stat.st_rdev, inherited, opening)?;
    let way = Way::of_device(&file, path, stat.st_rdev, passthrough, opening);
    let attribute = |name| queue_attribute(stat.st_rdev, name);
    // `fallocate` on a device zeroes by this command, and gives space back with it.
    let zeroes = attribute("write_zeroes_max_bytes").is_some_and(|bytes| bytes != "0");
    let properties = Properties {
        // Through the page cache everything is volatile.
        volatile_cache: !way.is_direct()
            || attribute("write_cache").as_deref() != Some("write through"),
        thin: false,
        can_deallocate: zeroes,
        zeros_after_deallocate: zeroes,
        can_write_zeros: zeroes,
        knows_extents: false,
        durable_writes: true,
        always_zero: false,
        rotational: attribute("rotational").as_deref() == Some("1"),
        logical_block_bytes: way.alignment_bytes(),
        physical_block_bytes: physical_bytes,
        // Also behind a cache that is written through.
        atomic_write_bytes: physical_bytes,
        optimal_io_bytes: attribute("optimal_io_size")
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(0),
    };
    Ok(Arc::new(Disk {
        file: file.into(),
        medium: Medium::BlockDevice,
        way,
        size_bytes: AtomicU64::new(expected),
        properties,
        flush_lost: AtomicBool::new(false),
        lacks_zero_range: AtomicBool::new(false),
        inherited,
        workers: Arc::clone(opening.workers),
    }))
}

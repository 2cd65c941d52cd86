//! A volume in a sparse file.

use super::patience::{PATIENCE, while_in_use};
use super::{Disk, Medium, Way, access, queue_attribute};
use crate::backend::open::{Intent, OpenError, Opening};
use crate::backend::store::Properties;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, fsync, ftruncate};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Opens the file at `path`, or makes it: complete and durable before this returns.
///
/// # Errors
/// What is wrong and what to do about it.
pub(in crate::backend) fn open(path: &Path, opening: &Opening<'_>) -> Result<Arc<Disk>, OpenError> {
    let file = match opening.intent {
        Intent::Create => create(path, opening.size_bytes)?,
        Intent::Existing => existing(path, opening)?,
    };
    serve(file, false, path, opening)
}

/// Serves the file at `path` that another process has opened and locked.
///
/// # Errors
/// It is not the volume's, by its kind or its size.
pub(in crate::backend) fn inherit(
    file: OwnedFd,
    path: &Path,
    opening: &Opening<'_>,
) -> Result<Arc<Disk>, OpenError> {
    check(&file, path, opening)?;
    serve(file, true, path, opening)
}

fn serve(
    file: OwnedFd,
    inherited: bool,
    path: &Path,
    opening: &Opening<'_>,
) -> Result<Arc<Disk>, OpenError> {
    let stat = fstat(&file).map_err(OpenError::system(path, "look at"))?;
    let way = Way::of_file(&file, path, stat.st_dev, opening);
    let page_bytes = u32::try_from(stat.st_blksize).unwrap_or(4096).max(4096);
    let properties = Properties {
        // What direct I/O has written may still be in the disk's cache, its metadata in the kernel's.
        volatile_cache: true,
        thin: true,
        can_deallocate: true,
        zeros_after_deallocate: true,
        can_write_zeros: true,
        knows_extents: true,
        durable_writes: true,
        always_zero: false,
        rotational: queue_attribute(stat.st_dev, "rotational").as_deref() == Some("1"),
        logical_block_bytes: way.alignment_bytes(),
        physical_block_bytes: page_bytes,
        atomic_write_bytes: page_bytes,
        // A file system lays a file out as it likes.
        optimal_io_bytes: 0,
    };
    Ok(Arc::new(Disk {
        file: file.into(),
        medium: Medium::File,
        way,
        size_bytes: AtomicU64::new(opening.size_bytes),
        properties,
        flush_lost: AtomicBool::new(false),
        lacks_zero_range: AtomicBool::new(false),
        inherited,
        workers: Arc::clone(opening.workers),
    }))
}

fn create(path: &Path, size_bytes: u64) -> Result<OwnedFd, OpenError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| {
        if errno == Errno::EXIST {
            return OpenError::Exists {
                path: path.to_path_buf(),
            };
        }
        OpenError::system(path, "create")(errno)
    })?;
    let made = lock(&file, path)
        .and_then(|()| ftruncate(&file, size_bytes).map_err(OpenError::system(path, "size")))
        .and_then(|()| fsync(&file).map_err(OpenError::system(path, "flush")))
        .and_then(|()| flush_directory(path));
    if let Err(error) = made {
        // What was made a moment ago holds nothing.
        let _ = rustix::fs::unlink(path);
        return Err(error);
    }
    Ok(file)
}

fn existing(path: &Path, opening: &Opening<'_>) -> Result<OwnedFd, OpenError> {
    let flags = access(opening) | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => OpenError::Missing {
            path: path.to_path_buf(),
        },
        Errno::ISDIR => OpenError::WrongType {
            path: path.to_path_buf(),
            expected: "regular file",
        },
        _ => OpenError::system(path, "open")(errno),
    })?;
    check_type(&file, path)?;
    lock(&file, path)?;
    check(&file, path, opening)?;
    Ok(file)
}

fn check_type(file: &OwnedFd, path: &Path) -> Result<u64, OpenError> {
    let stat = fstat(file).map_err(OpenError::system(path, "look at"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(OpenError::WrongType {
            path: path.to_path_buf(),
            expected: "regular file",
        });
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

fn check(file: &OwnedFd, path: &Path, opening: &Opening<'_>) -> Result<(), OpenError> {
    let expected = opening.size_bytes;
    // Growing makes the file longer before the catalogue learns of it, so it may be longer here.
    let found = check_type(file, path)?;
    if found < expected {
        return Err(OpenError::TooSmall {
            path: path.to_path_buf(),
            expected,
            found,
        });
    }
    Ok(())
}

/// The lock goes with the open file: other processes are kept out, and so are other volumes of this
/// one; the kernel takes it back however the process ends.
fn lock(file: &OwnedFd, path: &Path) -> Result<(), OpenError> {
    let is_locked = |errno: &Errno| *errno == Errno::WOULDBLOCK;
    while_in_use(PATIENCE, is_locked, || {
        flock(file, FlockOperation::NonBlockingLockExclusive)
    })
    .map_err(|errno| {
        if errno == Errno::WOULDBLOCK {
            return OpenError::InUse {
                path: path.to_path_buf(),
            };
        }
        OpenError::system(path, "lock")(errno)
    })
}

/// Makes the file's name durable: it stands in its directory.
pub(in crate::backend) fn flush_directory(path: &Path) -> Result<(), OpenError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
        .and_then(fsync)
        .map_err(OpenError::system(directory, "flush"))
}

/// Removes the file at `path`, durably.
///
/// # Errors
/// When the system refuses.
pub(in crate::backend) fn remove(path: &Path) -> Result<(), OpenError> {
    match rustix::fs::unlink(path) {
        Ok(()) => flush_directory(path),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(OpenError::system(path, "remove")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::workers::Workers;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_is_free_once_nothing_uses_it_whoever_has_a_copy_of_the_descriptor() {
        let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
        let path = directory.path().join("volume.img");
        let opening = |intent| Opening {
            directory: directory.path(),
            size_bytes: 1 << 20,
            block_bytes: 512,
            intent,
            read_only: false,
            workers: &workers,
            means: crate::backend::Means::default(),
        };
        let disk = open(&path, &opening(Intent::Create)).unwrap();
        // What a child has between fork and exec.
        let copy = disk.file.as_fd().try_clone_to_owned().unwrap();
        // What a request in flight has.
        let request = disk.file.clone();
        drop(disk);
        let busy = open(&path, &opening(Intent::Existing)).unwrap_err();
        assert!(matches!(busy, OpenError::InUse { .. }), "{busy}");
        drop((request, copy));
        let disk = open(&path, &opening(Intent::Existing)).unwrap();
        let copy = disk.file.as_fd().try_clone_to_owned().unwrap();
        drop(disk);
        open(&path, &opening(Intent::Existing)).unwrap();
        drop(copy);
    }
}

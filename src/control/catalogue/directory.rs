//! The data directory and the lock that one server at a time has on it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::CatalogueError;

/// A data directory that this process alone uses, until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// The kernel drops the lock with the file, however the process ends.
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory where it does not exist, and locks it.
    ///
    /// # Errors
    /// [`CatalogueError::InUse`] with the holder's pid, or the file system's refusal.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        let failed = |error: &std::io::Error| CatalogueError::io(path, error);
        let path = std::path::absolute(path).map_err(|error| failed(&error))?;
        let private = |directory: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
        };
        private(&path.join("volumes")).map_err(|error| failed(&error))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| failed(&error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(CatalogueError::InUse {
                    holder: holder(&mut lock),
                    directory: path,
                });
            }
            Err(error) => return Err(failed(&error.into())),
        }
        write_holder(&mut lock).map_err(|error| failed(&error))?;
        let directory = Self { path, _lock: lock };
        directory.sync()?;
        Ok(directory)
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes names in the directory, and its own, durable.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn sync(&self) -> Result<(), CatalogueError> {
        let parent = self.path.parent().unwrap_or(&self.path);
        for directory in [self.path.as_path(), parent] {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|error| CatalogueError::io(directory, &error))?;
        }
        Ok(())
    }
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_holder(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    writeln!(lock, "{}", std::process::id())
}

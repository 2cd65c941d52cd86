//! The data directory and the lock that one server at a time has on it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use rustix::fs::{FlockOperation, flock};

use super::CatalogueError;
use super::storage::{PlainFile, Storage};

const VOLUMES: &str = "volumes";

/// A data directory that this process alone uses, until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// The kernel drops the lock with the file, however the process ends.
    lock: File,
}

impl DataDirectory {
    /// Makes the directory where it does not exist, durably, and locks it.
    ///
    /// # Errors
    /// [`CatalogueError::InUse`] with the holder's pid, or the file system's refusal.
    pub fn open(path: &Path) -> Result<Self, CatalogueError> {
        let failed = |error: &io::Error| CatalogueError::io(path, error);
        let path = std::path::absolute(path).map_err(|error| failed(&error))?;
        let parent = path.parent().unwrap_or(&path);
        // The first directory whose entries change.
        let present = parent.ancestors().find(|directory| directory.exists());
        let present = present.unwrap_or(parent).to_owned();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.join(VOLUMES))
            .map_err(|error| failed(&error))?;
        let directory = Self::lock(path)?;
        for changed in directory.path.ancestors() {
            sync(changed).map_err(|error| CatalogueError::io(changed, &error))?;
            if changed == present {
                break;
            }
        }
        Ok(directory)
    }

    /// Locks a directory that must be there.
    ///
    /// # Errors
    /// As [`DataDirectory::open`]; there is none.
    pub fn existing(path: &Path) -> Result<Self, CatalogueError> {
        match std::fs::canonicalize(path) {
            Ok(path) => Self::lock(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CatalogueError::NoDirectory {
                    directory: path.to_owned(),
                })
            }
            Err(error) => Err(CatalogueError::io(path, &error)),
        }
    }

    fn lock(path: PathBuf) -> Result<Self, CatalogueError> {
        let file = path.join("lock");
        let failed = |error: &io::Error| CatalogueError::io(&file, error);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
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
        Ok(Self { path, lock })
    }

    /// Takes a directory over from another process, with the lock that it has. Who holds it is written
    /// down by [`DataDirectory::claim`].
    #[must_use]
    pub fn inherited(path: PathBuf, lock: File) -> Self {
        Self { path, lock }
    }

    /// The lock, for another process or to write down who has it: it is held as long as any handle is
    /// open.
    ///
    /// # Errors
    /// Descriptors run out.
    pub fn share_lock(&self) -> io::Result<OwnedFd> {
        self.lock.as_fd().try_clone_to_owned()
    }

    /// Writes down that this process has the lock.
    ///
    /// # Errors
    /// The system refuses.
    pub fn claim(lock: OwnedFd) -> io::Result<()> {
        write_holder(&mut File::from(lock))
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str, options: &mut OpenOptions) -> io::Result<Box<dyn StorageBackend>> {
        let file = options.read(true).write(true).mode(0o600);
        Ok(Box::new(PlainFile(file.open(self.path.join(name))?)))
    }
}

impl Storage for DataDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        names(&self.path)
    }

    fn volume_files(&self) -> io::Result<Vec<String>> {
        let mut names = match names(&self.path.join(VOLUMES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        names.retain(|name| name.ends_with(".img") || name.ends_with(".snap"));
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.file(name, &mut OpenOptions::new())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.file(name, OpenOptions::new().create(true).truncate(true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)?;
    // A name that is no text is not one of ours.
    let names =
        entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose());
    names.collect()
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    writeln!(lock, "{}", std::process::id())
}

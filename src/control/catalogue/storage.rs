//! The place where the catalogue's file lives: the few things that it asks of a directory.
//!
//! The product's place is the [`DataDirectory`](super::DataDirectory). A place in memory serves to
//! look into a file without touching it, and one that records every step serves the crash tests.
//! What the catalogue does to any of them is the same code.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate};

/// The catalogue's file.
pub(super) const FILE: &str = "catalogue.redb";
/// A file that is being written, until it is whole and gets its name.
pub(super) const DRAFT: &str = "catalogue.redb.new";

/// A directory with the catalogue's file in it. Names are those of files directly in it.
///
/// A change of names is durable once [`Storage::sync`] has returned, and what is in a file once its
/// `sync_data` has.
pub(super) trait Storage: Debug + Send + Sync {
    /// The directory, for messages, and for volumes' files.
    fn path(&self) -> &Path;

    /// The names of all files in it.
    fn names(&self) -> io::Result<Vec<String>>;

    /// The names of the volumes' own files, which lie in a directory of theirs.
    fn volume_files(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Makes an empty file, in place of any of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Gives a file another name, in place of any of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync(&self) -> io::Result<()>;
}

/// What a file holds.
pub(super) fn read_whole(storage: &dyn Storage, name: &str) -> io::Result<Vec<u8>> {
    let file = storage.open(name)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read(0, &mut bytes)?;
    file.close()?;
    Ok(bytes)
}

/// Puts a file in its place, durably: a crash leaves the former one or the new one.
pub(super) fn put_whole(storage: &dyn Storage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = storage.create(DRAFT)?;
    file.set_len(bytes.len() as u64)?;
    file.write(0, bytes)?;
    file.sync_data()?;
    file.close()?;
    storage.rename(DRAFT, name)?;
    storage.sync()
}

/// Keeps a copy of the catalogue's file as it is now, durably; the copy's name. No former copy is
/// ever written over.
pub(super) fn keep(storage: &dyn Storage, reason: &str) -> io::Result<String> {
    let names = storage.names()?;
    let name = (1_u32..)
        .map(|number| format!("{FILE}.{reason}-{number}"))
        .find(|name| !names.contains(name))
        .ok_or_else(|| io::Error::other("too many copies"))?;
    put_whole(storage, &name, &read_whole(storage, FILE)?)?;
    Ok(name)
}

/// The copies that [`keep`] has made.
pub(super) fn kept(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let mut names = storage.names()?;
    names.retain(|name| {
        name.strip_prefix(FILE)
            .is_some_and(|rest| rest.starts_with(".before-"))
    });
    names.sort();
    Ok(names)
}

/// A file of the file system. It has no lock of its own: the directory's covers it.
#[derive(Debug)]
pub(super) struct PlainFile(pub(super) File);

impl StorageBackend for PlainFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    /// Reserves the space that a file grows by, so that a full disk is told here, where nothing has
    /// been changed yet, and not in the middle of a commit.
    fn set_len(&self, length: u64) -> io::Result<()> {
        let present = self.0.metadata()?.len();
        if length > present {
            match fallocate(
                &self.0,
                FallocateFlags::empty(),
                present,
                length.saturating_sub(present),
            ) {
                // Not every file system can.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                reserved => reserved?,
            }
        }
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// A file that remembers whether flushing it ever failed.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) file: Box<dyn StorageBackend>,
    pub(super) flush_failed: Arc<AtomicBool>,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file
            .sync_data()
            .inspect_err(|_| self.flush_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

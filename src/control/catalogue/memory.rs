//! A directory in memory, to look into a catalogue without touching it: opening one writes to it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::{Arc, MutexGuard, PoisonError};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::storage::{FILE, Storage};

type Files = BTreeMap<String, Arc<InMemoryBackend>>;

/// A directory in memory with a catalogue's file in it.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub(super) struct MemoryStorage {
    /// Where the file came from.
    path: PathBuf,
    files: Mutex<Files>,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl MemoryStorage {
    /// A directory with a copy of a catalogue's file, which says of itself that it is at `path`.
    pub(super) fn with_catalogue(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let file = InMemoryBackend::new();
        file.set_len(bytes.len() as u64)?;
        file.write(0, bytes)?;
        Ok(Self {
            path: path.to_owned(),
            files: Mutex::new(BTreeMap::from([(FILE.to_owned(), Arc::new(file))])),
        })
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // Each use is one insertion, removal or look-up: a panic can't leave the map half changed.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn volume_files(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = self.files().get(name).cloned();
        Ok(Box::new(SharedFile(file.ok_or(io::ErrorKind::NotFound)?)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = Arc::new(InMemoryBackend::new());
        self.files().insert(name.to_owned(), Arc::clone(&file));
        Ok(Box::new(SharedFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One of several hands on a file.
#[derive(Debug)]
struct SharedFile(Arc<InMemoryBackend>);

impl StorageBackend for SharedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

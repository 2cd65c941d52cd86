//! The redb file: opened, read and changed by whole transactions, closed after an error.
//!
//! # Two flushes
//!
//! Each change is a commit of two phases: the pages and the slot of the header that points to them
//! first, flushed; then the bit of the header that makes that slot the present one, flushed. A commit of
//! one phase writes all of it and flushes once. It would be atomic as well, but it can't tell a power
//! cut in its middle, after which the commit before is the right one, from damage to what was finished
//! and acknowledged: either way the last slot leads to pages that do not match their checksums. redb
//! takes it for the power cut and goes back a commit, and a node that was fenced would write again. No
//! order of writes within one flush mends that, for what says that the first flush is over can only be
//! written after it. With two phases that damage is an error. Every page is checked at each opening.
//! Changes that wait at the same time share one commit, and so the flushes
//! ([`ReservationStore::save_together`](crate::target::ReservationStore::save_together)).
//!
//! # The bit
//!
//! No checksum covers the bit that says which of the two slots is the present one. So the file is never
//! opened by that bit alone: the slot with the later change, by the sequence number that every change
//! counts, is the present one if all its pages are whole. Where the bit says otherwise, either the power
//! was cut between the two phases, and the change is made for which nobody has had an answer; or the bit
//! has flipped, and what was acknowledged stays.

use std::path::{Path, PathBuf};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction,
};

use super::CatalogueError;
use super::memory::MemoryStorage;
use super::schema::{self, META, SEQUENCE_KEY};
use super::storage::{self, DRAFT, FILE, Storage, Watched};

/// The file. Each call is one transaction, durable when it returns.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub(super) struct CatalogueFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    file: Mutex<OpenFile>,
}

/// redb refuses everything after an input or output error, so the file is closed then, and opened
/// again with the next call.
#[derive(Default)]
struct OpenFile {
    database: Option<Database>,
    /// Another process has the file, or may have: nothing is read or written here.
    sealed: bool,
    /// After a flush that failed nobody knows what is on the disk, and the next flush may succeed
    /// without having written what the first one lost.
    flush_failed: Arc<AtomicBool>,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl CatalogueFile {
    /// A file that is there, of whatever version.
    pub(super) fn over(storage: Arc<dyn Storage>) -> Self {
        Self {
            path: storage.path().join(FILE),
            storage,
            file: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// How many changes have been made since the file was.
    pub(super) fn sequence(&self) -> Result<u64, CatalogueError> {
        self.read(sequence_in)
    }

    /// Closes the file, so that it is whole on the disk; the next call opens it again.
    pub(super) fn close(&self) {
        self.lock().database = None;
    }

    /// Closes the file and leaves it to another process; calls fail until [`CatalogueFile::unseal`].
    pub(super) fn seal(&self) {
        let mut file = self.lock();
        file.database = None;
        file.sealed = true;
    }

    /// Takes the file back, as the other process has left it.
    pub(super) fn unseal(&self) {
        self.lock().sealed = false;
    }

    /// Reads what the last change has left.
    pub(super) fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, CatalogueError> {
        let mut file = self.lock();
        let database = self.take_open(&mut file)?;
        let outcome = database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|transaction| body(&transaction));
        if !outcome.as_ref().is_err_and(is_io) {
            file.database = Some(database);
        }
        outcome.map_err(|error| CatalogueError::of_redb(&self.path, &error))
    }

    /// Makes a change, whole or not at all.
    pub(super) fn write<T>(
        &self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, CatalogueError> {
        let mut file = self.lock();
        let database = self.take_open(&mut file)?;
        let mut attempt = None;
        let outcome = commit(&database, |transaction| {
            let sequence = next_sequence(transaction)?;
            attempt = Some((sequence, body(transaction)?));
            Ok(())
        });
        match (outcome, attempt) {
            (Ok(()), Some((_, value))) => {
                file.database = Some(database);
                Ok(value)
            }
            (Err(error), attempt) if is_io(&error) => {
                drop(database);
                let present = self.settle(&file)?;
                match attempt {
                    Some((sequence, value)) if sequence == present => Ok(value),
                    _ => Err(CatalogueError::of_redb(&self.path, &error)),
                }
            }
            (Err(error), _) => {
                file.database = Some(database);
                Err(CatalogueError::of_redb(&self.path, &error))
            }
            (Ok(()), None) => Err(self.corrupt("a change was not made")),
        }
    }

    /// Finds out what an input or output error has left: redb tidies up behind a commit, and an error
    /// there comes after the change. It is looked up in a copy, because a full disk has no room for
    /// what opening writes.
    fn settle(&self, file: &OpenFile) -> Result<u64, CatalogueError> {
        let settled = || {
            if file.flush_failed.load(Ordering::Acquire) {
                return None;
            }
            self.storage.open(FILE).ok()?.sync_data().ok()?;
            let bytes = storage::read_whole(&*self.storage, FILE).ok()?;
            let copy = MemoryStorage::with_catalogue(self.storage.path(), &bytes).ok()?;
            let copy = Self::over(Arc::new(copy));
            copy.sequence().ok()
        };
        settled().ok_or_else(|| {
            file.flush_failed.store(true, Ordering::Release);
            self.flush_failed()
        })
    }

    fn take_open(&self, file: &mut OpenFile) -> Result<Database, CatalogueError> {
        if file.flush_failed.load(Ordering::Acquire) {
            return Err(self.flush_failed());
        }
        if file.sealed {
            return Err(CatalogueError::Failed {
                path: self.path.clone(),
                message: "it is being handed over to another process".to_owned(),
            });
        }
        match file.database.take() {
            Some(database) => Ok(database),
            None => self.open_again(&file.flush_failed),
        }
    }

    fn open_again(&self, flush_failed: &Arc<AtomicBool>) -> Result<Database, CatalogueError> {
        let failed = |error| CatalogueError::io(&self.path, &error);
        let bytes = storage::read_whole(&*self.storage, FILE).map_err(failed)?;
        let present = self.present_slot(&bytes)?;
        let file = self.storage.open(FILE).map_err(failed)?;
        if let Some(selector) = present {
            let settled = file.write(SLOT_SELECTOR_OFFSET as u64, &[selector]);
            settled.and_then(|()| file.sync_data()).map_err(failed)?;
            tracing::warn!(path = %self.path.display(), "the later of two states of the catalogue is taken");
        }
        open_file(file, flush_failed).map_err(|error| CatalogueError::database(&self.path, error))
    }

    /// Looks at both states of the file; the byte of the header that selects the later one, where it is
    /// not selected.
    ///
    /// Opening writes, and before it finds out that a file is damaged: whoever has to mend that is to
    /// find it as it was, so copies are opened.
    fn present_slot(&self, bytes: &[u8]) -> Result<Option<u8>, CatalogueError> {
        // redb would take an empty file for a new one.
        if bytes.is_empty() {
            return Err(self.corrupt("it is empty"));
        }
        let selected = sequence_of(bytes).map_err(|error| {
            match CatalogueError::of_redb(&self.path, &error) {
                // Memory does not fail: the file points to what it does not hold.
                CatalogueError::Failed { message, .. } => self.corrupt(&message),
                error => error,
            }
        })?;
        let mut other = bytes.to_vec();
        let Some(selector) = other.get_mut(SLOT_SELECTOR_OFFSET) else {
            return Ok(None);
        };
        *selector ^= SLOT_SELECTOR;
        let selector = *selector;
        let is_later = sequence_of(&other).is_ok_and(|sequence| sequence > selected);
        Ok(is_later.then_some(selector))
    }

    fn lock(&self) -> MutexGuard<'_, OpenFile> {
        // A panic leaves either an open database or none, and none is opened again.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_failed(&self) -> CatalogueError {
        CatalogueError::FlushFailed {
            path: self.path.clone(),
        }
    }

    /// Damage that the rows show.
    pub(super) fn corrupt(&self, message: &str) -> CatalogueError {
        CatalogueError::Corrupt {
            path: self.path.clone(),
            message: message.to_owned(),
        }
    }
}

/// The byte of redb's header, and the bit of it, that says which slot is the present one (redb's
/// `docs/design.md`, "God byte").
const SLOT_SELECTOR_OFFSET: usize = 9;
const SLOT_SELECTOR: u8 = 1;

/// How many changes the state has behind it that the bit of a file with these bytes selects.
pub(super) fn sequence_of(bytes: &[u8]) -> Result<u64, redb::Error> {
    let file = InMemoryBackend::new();
    file.set_len(bytes.len() as u64)?;
    file.write(0, bytes)?;
    let database = open_file(Box::new(file), &Arc::default())?;
    sequence_in(&database.begin_read()?)
}

fn sequence_in(transaction: &ReadTransaction) -> Result<u64, redb::Error> {
    let sequence = transaction.open_table(META)?.get(SEQUENCE_KEY)?;
    Ok(sequence.map_or(0, |text| parse_sequence(text.value())))
}

fn open_file(
    file: Box<dyn StorageBackend>,
    flush_failed: &Arc<AtomicBool>,
) -> Result<Database, redb::DatabaseError> {
    let flush_failed = Arc::clone(flush_failed);
    Database::builder()
        .set_check_integrity_on_open(true)
        .create_with_backend(Watched { file, flush_failed })
}

pub(super) fn commit<T>(
    database: &Database,
    body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    let value = body(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Counts a change, in the same transaction.
fn next_sequence(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let present = meta.get(SEQUENCE_KEY)?;
    let present = present.map_or(0, |text| parse_sequence(text.value()));
    let next = present.wrapping_add(1);
    meta.insert(SEQUENCE_KEY, next.to_string().as_str())?;
    Ok(next)
}

fn parse_sequence(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn is_io(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}

/// Makes an empty file beside its place and moves it there when it is whole, so that a crash in
/// between leaves none rather than half of one.
pub(super) fn create(storage: &dyn Storage, path: &Path) -> Result<(), CatalogueError> {
    let failed = |error| CatalogueError::io(path, &error);
    let file = storage.create(DRAFT).map_err(failed)?;
    let database =
        open_file(file, &Arc::default()).map_err(|error| CatalogueError::database(path, error))?;
    commit(&database, schema::create).map_err(|error| CatalogueError::of_redb(path, &error))?;
    drop(database);
    storage.rename(DRAFT, FILE).map_err(failed)?;
    storage.sync().map_err(failed)
}

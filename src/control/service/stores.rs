//! The volumes' stores: opened and grown here, used by the data path alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use super::refusal::volume_error;
use crate::backend::{self, BackendSpec, Bequest, Intent, Means, Opening, Store, Workers};
use crate::control::catalogue::{Volume, snapshot_file};
use crate::control::error::{ControlError, ErrorKind, with_sources};
use crate::volume::{SnapshotId, VolumeId};

/// Opens stores and remembers them for as long as the data path has them.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub(super) struct Stores {
    directory: PathBuf,
    workers: Arc<Workers>,
    means: Means,
    open: Mutex<BTreeMap<VolumeId, Weak<dyn Store>>>,
    /// What another process leaves, until it is opened.
    inherited: Mutex<BTreeMap<VolumeId, Bequest>>,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl Stores {
    pub(super) fn new(directory: &Path, workers: Arc<Workers>, means: Means) -> Self {
        Self {
            directory: directory.to_owned(),
            workers,
            means,
            open: Mutex::new(BTreeMap::new()),
            inherited: Mutex::default(),
        }
    }

    /// Stores that another process has open are opened with what it leaves.
    pub(super) fn inherit(&self, stores: BTreeMap<VolumeId, Bequest>) {
        *self.inherited() = stores;
    }

    /// Whether another process has it open, and it has not been opened here.
    pub(super) fn is_inherited(&self, volume: VolumeId) -> bool {
        self.inherited().contains_key(&volume)
    }

    /// Opens a volume's store.
    pub(super) fn open(
        &self,
        volume: &Volume,
        intent: Intent,
    ) -> Result<Arc<dyn Store>, ControlError> {
        let _volume = tracing::info_span!("store", volume = %volume.name).entered();
        let opening = Opening {
            directory: &self.directory,
            size_bytes: volume.size_bytes,
            block_bytes: volume.settings.block_size.bytes(),
            intent,
            read_only: volume.settings.read_only,
            workers: &self.workers,
            means: self.means,
        };
        let bequest = self.inherited().remove(&volume.id);
        let store = match bequest {
            Some(bequest) => backend::inherit(&volume.backend, bequest, &opening),
            None => backend::open(&volume.backend, &opening),
        };
        let store = store.map_err(|error| failed(volume, &with_sources(&error)))?;
        let mut open = self.lock();
        open.retain(|_, store| store.strong_count() > 0);
        open.insert(volume.id, Arc::downgrade(&store));
        Ok(store)
    }

    /// A volume's open store.
    pub(super) fn of(&self, volume: &Volume) -> Result<Arc<dyn Store>, ControlError> {
        let store = self.lock().get(&volume.id).and_then(Weak::upgrade);
        store.ok_or_else(|| failed(volume, "it is not served"))
    }

    /// The way of a volume's bytes to its medium; `None` where its store is not open.
    pub(super) fn route(&self, volume: VolumeId) -> Option<String> {
        let store = self.lock().get(&volume).and_then(Weak::upgrade);
        store.map(|store| store.route())
    }

    /// Grows a volume's open store.
    pub(super) fn grow(&self, volume: &Volume, size_bytes: u64) -> Result<(), ControlError> {
        let _volume = tracing::info_span!("store", volume = %volume.name).entered();
        let store = self.of(volume)?;
        if store.size_bytes() >= size_bytes {
            return Ok(()); // A former call came as far as that.
        }
        store
            .grow(size_bytes)
            .map_err(|error| failed(volume, &with_sources(&error)))
    }

    /// Removes a volume's data. What can't be removed is logged: the volume is gone all the same.
    pub(super) fn remove(&self, volume: &Volume) {
        self.lock().remove(&volume.id);
        if let Err(error) = backend::remove(&volume.backend, &self.directory) {
            let error = with_sources(&error);
            tracing::warn!(volume = %volume.name, error, "the volume's data stays behind");
        }
    }

    /// The file of a volume's bytes; `None` where they are not in one.
    pub(super) fn file(&self, volume: &Volume) -> Option<PathBuf> {
        match volume.backend.innermost() {
            BackendSpec::File { path } => Some(self.directory.join(path)),
            _ => None,
        }
    }

    /// The file of a volume's snapshot.
    pub(super) fn snapshot_file(&self, volume: &Volume, snapshot: SnapshotId) -> Option<PathBuf> {
        Some(snapshot_file(&self.file(volume)?, snapshot))
    }

    /// Removes a snapshot's file. What can't be removed is logged: the snapshot is gone all the same.
    pub(super) fn remove_snapshot(&self, volume: &Volume, snapshot: SnapshotId) {
        if let Some(file) = self.snapshot_file(volume, snapshot)
            && let Err(error) = backend::remove_file(&file)
        {
            let error = with_sources(&error);
            tracing::warn!(volume = %volume.name, error, "a snapshot's data stays behind");
        }
    }

    /// Where a file is made that is to take the place of a volume's.
    pub(super) fn draft_file(&self, volume: &Volume) -> Option<PathBuf> {
        let file = self.file(volume)?;
        let mut name = file.file_name()?.to_owned();
        name.push(format!(".{}.revert", volume.id));
        Some(file.with_file_name(name))
    }

    /// Removes what a revert has left that a crash ended.
    pub(super) fn discard_draft(&self, volume: &Volume) {
        if let Some(draft) = self.draft_file(volume)
            && let Err(error) = backend::remove_file(&draft)
        {
            tracing::warn!(volume = %volume.name, %error, "half a reverted file stays behind");
        }
    }

    fn inherited(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Bequest>> {
        // As above.
        self.inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Weak<dyn Store>>> {
        // Each use is one insertion, removal or look-up: a panic can't leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(volume: &Volume, message: &str) -> ControlError {
    volume_error(
        ErrorKind::Failed,
        &volume.name,
        &format!("can't be used: {message}"),
    )
}

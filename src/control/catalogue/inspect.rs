//! Looking into a data directory without changing anything in it.
//!
//! The catalogue's file is copied into memory and opened there, by the code that opens it for the
//! server: opening writes, even where it only tidies up after a crash.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::memory::MemoryStorage;
use super::record;
use super::storage::{self, FILE, Storage};
use super::table::Table;
use super::{
    CatalogueError, DataDirectory, Row, Volume, has_own_file, key, own_file, snapshot_file,
};

/// What a data directory holds, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Inspection {
    /// The data directory.
    pub data: PathBuf,
    /// What is wrong with the catalogue as a whole. Nothing can be said of volumes then.
    pub problem: Option<String>,
    /// What the catalogue holds.
    pub contents: Contents,
    /// Files in `volumes/` that belong to no volume.
    pub stray_files: Vec<String>,
    /// Copies of the catalogue that upgrades and repairs have kept.
    pub kept: Vec<String>,
}

/// What one catalogue holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Contents {
    /// Whose it is.
    pub san: Option<String>,
    /// How many changes have been made to it.
    pub sequence: u64,
    /// Its volumes, by name.
    pub volumes: Vec<InspectedVolume>,
    /// Reservation records that belong to no volume; they do no harm.
    pub orphans: Vec<String>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InspectedVolume {
    /// Its name.
    pub name: String,
    /// Its identifier; `None` where its row can't be read.
    pub id: Option<String>,
    /// What its reservation record says; `None` where that can't be believed.
    pub reservations: Option<KeptReservations>,
    /// It was deleted, and its reservations with it; it can be restored.
    pub deleted: bool,
    /// Why the volume is not served.
    pub problem: Option<String>,
    #[serde(skip)]
    pub(super) key: Option<u128>,
    /// The file of its own in `volumes/`.
    #[serde(skip)]
    own_file: Option<PathBuf>,
    /// The files of its snapshots in `volumes/`.
    #[serde(skip)]
    snapshots: Vec<String>,
}

/// What a reservation record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptReservations {
    /// How many nexuses are registered.
    pub registrations: usize,
    /// The type's code, if reserved (SPC-5 section 6.14.3.4).
    pub kind: Option<u8>,
}

impl Inspection {
    /// Looks into a data directory.
    ///
    /// # Errors
    /// The directory itself can't be read.
    pub fn of(directory: &DataDirectory) -> Result<Self, CatalogueError> {
        Self::of_storage(directory)
    }

    pub(super) fn of_storage(storage: &dyn Storage) -> Result<Self, CatalogueError> {
        let failed = |error: io::Error| CatalogueError::io(storage.path(), &error);
        let names = storage.names().map_err(failed)?;
        let mut stray_files = storage.volume_files().map_err(failed)?;
        let kept = storage::kept(storage).map_err(failed)?;
        let path = storage.path().join(FILE);
        let contents = if names.iter().any(|name| name == FILE) {
            storage::read_whole(storage, FILE)
                .map_err(|error| CatalogueError::io(&path, &error))
                .and_then(|bytes| Contents::of(storage.path(), &bytes))
        } else if stray_files.is_empty() && kept.is_empty() {
            // The next start is a first one.
            Ok(Contents::default())
        } else {
            Err(CatalogueError::Missing {
                path,
                volumes: stray_files.len(),
                kept: kept.len(),
            })
        };
        let (mut contents, problem) = match contents {
            Ok(contents) => (contents, None),
            Err(error) => (Contents::default(), Some(error.to_string())),
        };
        let mut owned = BTreeSet::new();
        for volume in &mut contents.volumes {
            if let Some(file) = &volume.own_file {
                owned.extend(file.file_name().and_then(|name| name.to_str()));
                owned.extend(volume.snapshots.iter().map(String::as_str));
                if volume.problem.is_none() && !storage.path().join(file).exists() {
                    volume.problem = Some(format!("its file {} is missing", file.display()));
                }
            }
        }
        stray_files.retain(|name| !owned.contains(name.as_str()));
        Ok(Self {
            data: storage.path().to_owned(),
            problem,
            contents,
            stray_files,
            kept,
        })
    }

    /// Whether everything would be served.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let served = |volume: &InspectedVolume| volume.problem.is_none();
        self.problem.is_none() && self.contents.volumes.iter().all(served)
    }
}

impl Contents {
    /// What the bytes of a catalogue's file in `directory` hold.
    pub(super) fn of(directory: &Path, bytes: &[u8]) -> Result<Self, CatalogueError> {
        let copy = MemoryStorage::with_catalogue(directory, bytes)
            .map_err(|error| CatalogueError::io(directory, &error))?;
        Self::of_table(&Table::open(Arc::new(copy))?)
    }

    pub(super) fn of_table(table: &Table) -> Result<Self, CatalogueError> {
        let volumes = table
            .volumes::<Row>()?
            .into_iter()
            .map(|(name, row)| match row {
                Ok(row) => InspectedVolume::of(table, name, &row),
                Err(error) => Ok(InspectedVolume::unreadable(name, &error)),
            })
            .collect::<Result<Vec<_>, CatalogueError>>()?;
        let mut orphans = table.reserved()?;
        orphans.retain(|key| volumes.iter().all(|volume| volume.key != Some(*key)));
        let name = |key| uuid::Uuid::from_u128(key).to_string();
        Ok(Self {
            san: table.san()?,
            sequence: table.sequence()?,
            volumes,
            orphans: orphans.into_iter().map(name).collect(),
        })
    }

    /// The volume of that name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&InspectedVolume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }
}

impl InspectedVolume {
    fn of(table: &Table, name: String, row: &Row) -> Result<Self, CatalogueError> {
        let volume = &row.volume;
        let own_file = (row.made && has_own_file(volume)).then(|| own_file(volume.id));
        if !volume.is_live() {
            // It has been deleted, and its reservations with it.
            return Ok(Self {
                name,
                id: Some(volume.id.to_string()),
                reservations: None,
                deleted: true,
                problem: None,
                key: Some(key(volume.id)),
                own_file,
                snapshots: snapshot_names(volume),
            });
        }
        let record = table.reservation(key(volume.id))?;
        let state = record::state(key(volume.id), record.as_deref());
        let reservations = state.as_ref().ok().map(|state| KeptReservations {
            registrations: state.registrations().count(),
            kind: state.reservation().map(|held| held.kind.code()),
        });
        let unbelieved = |error| format!("its reservation record can't be believed: {error}");
        Ok(Self {
            name,
            id: Some(volume.id.to_string()),
            reservations,
            deleted: false,
            problem: state.err().map(unbelieved),
            key: Some(key(volume.id)),
            // One that was never finished may have no file yet.
            own_file,
            snapshots: snapshot_names(volume),
        })
    }

    fn unreadable(name: String, error: &serde_json::Error) -> Self {
        Self {
            name,
            id: None,
            reservations: None,
            deleted: false,
            problem: Some(format!("its row can't be read: {error}")),
            key: None,
            own_file: None,
            snapshots: Vec::new(),
        }
    }
}

/// The names of the files of a volume's snapshots, as far as they lie beside a file of its own.
fn snapshot_names(volume: &Volume) -> Vec<String> {
    let file = own_file(volume.id);
    let snapshots = volume.snapshots.iter();
    let names = snapshots.filter_map(|snapshot| {
        let path = snapshot_file(&file, snapshot.id);
        path.file_name()?.to_str().map(str::to_owned)
    });
    names.collect()
}

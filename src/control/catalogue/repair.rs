//! Mending a catalogue, offline, by decisions that only a person can take.
//!
//! A repair is worked out in memory on a copy. Carrying it out keeps the file that was there and puts
//! the new one in its place, so that a crash leaves the one or the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inspect::{Contents, InspectedVolume};
use super::memory::MemoryStorage;
use super::storage::{self, FILE, Storage};
use super::table::Table;
use super::{CatalogueError, DataDirectory, file};

/// Every volume that is not named otherwise. No volume has such a name.
pub(super) const ALL: &str = "ALL";

/// What to do with a volume's reservation record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is believed as the backup has it: no reservation has changed since.
    Keep,
    /// It is forgotten: no host writes to the volume.
    Discard,
}

/// What takes the place of the whole catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// A copy of it.
    Backup(PathBuf),
    /// One without volumes.
    Empty,
}

/// What an operator asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// By the volume's name; `ALL` is every other volume.
    pub reservations: BTreeMap<String, Decision>,
    /// Volumes to drop from the catalogue because their rows can't be read.
    pub forget: BTreeSet<String>,
    /// What the other repairs begin with; `None`: the catalogue as it is.
    pub replacement: Option<Replacement>,
}

/// Why a repair can't be.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// What it begins with can't be used.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// The backup can't be read.
    #[error("the backup {} can't be read: {source}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The backup is damaged too.
    #[error("the backup {} can't be used: {source}", path.display())]
    BadBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<CatalogueError>,
    },
    /// There is no such volume.
    #[error("there is no volume {0} in the catalogue that the repair begins with")]
    NoSuchVolume(String),
    /// Its row can be read.
    #[error(
        "the row of volume {0} can be read; `holdfast volume delete` deletes it, with its data"
    )]
    Readable(String),
    /// Its row can't be read, so whose record is its is not known.
    #[error("the row of volume {0} can't be read; only --forget can be done with it")]
    Unreadable(String),
    /// A record can't be kept.
    #[error("the reservations of volume {volume} can't be kept: {problem}; they can be discarded")]
    NotKept {
        /// The volume's name.
        volume: String,
        /// Why.
        problem: String,
    },
    /// To keep what is there is no repair.
    #[error("`keep` goes with --restore-from; without it reservations stay as they are")]
    NothingToKeep,
    /// A backup is older than what it replaces, and so are its reservations.
    #[error(
        "a backup may be older than the last reservation, and a node that has been fenced since \
         could write again; say for each volume what to do: --reservations NAME=keep where none has \
         changed since, =discard where no host writes to it, or ALL=… for every other. Undecided: {}",
        .0.join(", ")
    )]
    Undecided(Vec<String>),
    /// An empty catalogue has no volumes.
    #[error("--start-empty leaves no volumes to decide about")]
    NoVolumes,
}

/// A repair that has been worked out and not yet carried out.
#[derive(Debug)]
pub struct Plan {
    bytes: Vec<u8>,
    actions: Vec<String>,
}

impl Plan {
    /// Works a repair out; nothing is changed.
    ///
    /// # Errors
    /// See [`RepairError`].
    pub fn make(directory: &DataDirectory, repairs: &Repairs) -> Result<Self, RepairError> {
        Self::make_in(directory, repairs)
    }

    fn make_in(storage: &dyn Storage, repairs: &Repairs) -> Result<Self, RepairError> {
        let mut actions = Vec::new();
        let copy = Arc::new(begin(storage, repairs.replacement.as_ref(), &mut actions)?);
        let table = Table::open(copy.clone()).map_err(|error| match &repairs.replacement {
            Some(Replacement::Backup(path)) => RepairError::BadBackup {
                path: path.clone(),
                source: Box::new(error),
            },
            _ => error.into(),
        })?;
        let contents = Contents::of_table(&table)?;
        repairs.check_names(&contents)?;
        for name in &repairs.forget {
            table.forget_volume(name)?;
            actions.push(format!("drop volume {name}, whose row can't be read"));
        }
        let mut undecided = Vec::new();
        for volume in &contents.volumes {
            let name = &volume.name;
            let decision = repairs.reservations.get(name);
            match decision.or_else(|| repairs.reservations.get(ALL)) {
                _ if repairs.forget.contains(name) => {}
                // It has no reservations to decide about.
                _ if volume.deleted => {}
                Some(Decision::Discard) => actions.extend(discard(&table, volume, decision)?),
                Some(Decision::Keep) => actions.push(keep(volume)?),
                None => undecided.push(name.clone()),
            }
        }
        let is_restored = matches!(repairs.replacement, Some(Replacement::Backup(_)));
        if is_restored && !undecided.is_empty() {
            return Err(RepairError::Undecided(undecided));
        }
        table.close();
        let bytes = storage::read_whole(&*copy, FILE)
            .map_err(|error| CatalogueError::io(storage.path(), &error))?;
        Ok(Self { bytes, actions })
    }

    /// What would be done, a line each.
    #[must_use]
    pub fn actions(&self) -> &[String] {
        &self.actions
    }

    /// Carries it out, durably; the name of the copy of what was there, if anything was.
    ///
    /// # Errors
    /// The file system's refusal; the catalogue is as it was.
    pub fn carry_out(self, directory: &DataDirectory) -> Result<Option<String>, CatalogueError> {
        self.carry_out_in(directory)
    }

    fn carry_out_in(self, storage: &dyn Storage) -> Result<Option<String>, CatalogueError> {
        let replace = || {
            let is_there = storage.names()?.iter().any(|name| name == FILE);
            let kept = match is_there {
                true => Some(storage::keep(storage, "before-repair")?),
                false => None,
            };
            storage::put_whole(storage, FILE, &self.bytes)?;
            Ok(kept)
        };
        let path = storage.path().join(FILE);
        replace().map_err(|error: io::Error| CatalogueError::io(&path, &error))
    }
}

impl Repairs {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn check_names(&self, contents: &Contents) -> Result<(), RepairError> {
        if self.replacement == Some(Replacement::Empty)
            && !(self.forget.is_empty() && self.reservations.is_empty())
        {
            return Err(RepairError::NoVolumes);
        }
        let find = |name: &String| {
            contents
                .volume(name)
                .ok_or_else(|| RepairError::NoSuchVolume(name.clone()))
        };
        for name in &self.forget {
            if find(name)?.key.is_some() {
                return Err(RepairError::Readable(name.clone()));
            }
        }
        for (name, decision) in &self.reservations {
            if name != ALL && find(name)?.key.is_none() {
                return Err(RepairError::Unreadable(name.clone()));
            }
            if *decision == Decision::Keep && self.replacement.is_none() {
                return Err(RepairError::NothingToKeep);
            }
        }
        Ok(())
    }
}

/// The copy that a repair begins with.
fn begin(
    storage: &dyn Storage,
    replacement: Option<&Replacement>,
    actions: &mut Vec<String>,
) -> Result<MemoryStorage, RepairError> {
    let directory = storage.path();
    let failed = |error: io::Error| CatalogueError::io(directory, &error);
    let in_memory = |bytes: &[u8]| MemoryStorage::with_catalogue(directory, bytes).map_err(failed);
    match replacement {
        None => {
            let bytes = storage::read_whole(storage, FILE).map_err(failed)?;
            Ok(in_memory(&bytes)?)
        }
        Some(Replacement::Backup(path)) => {
            let bytes = std::fs::read(path).map_err(|source| RepairError::Backup {
                path: path.clone(),
                source,
            })?;
            actions.push(format!("put {} in the catalogue's place", path.display()));
            Ok(in_memory(&bytes)?)
        }
        Some(Replacement::Empty) => {
            let empty = in_memory(&[])?;
            file::create(&empty, Path::new(FILE))?;
            actions
                .push("put an empty catalogue in its place: no volume, no reservation".to_owned());
            Ok(empty)
        }
    }
}

/// Discards a volume's reservations. `ALL` leaves alone what is sound and empty.
fn discard(
    table: &Table,
    volume: &InspectedVolume,
    named: Option<&Decision>,
) -> Result<Option<String>, RepairError> {
    let (Some(key), name) = (volume.key, &volume.name) else {
        return Ok(None);
    };
    let what = match volume.reservations {
        None => "a record that can't be believed".to_owned(),
        Some(kept) if kept.registrations == 0 && named.is_none() => return Ok(None),
        Some(kept) => format!("{} registrations", kept.registrations),
    };
    table.discard_reservation(key)?;
    Ok(Some(format!(
        "discard the reservations of volume {name}: {what}. No host may be writing to it"
    )))
}

fn keep(volume: &InspectedVolume) -> Result<String, RepairError> {
    match (volume.reservations, &volume.problem) {
        (Some(kept), _) => Ok(format!(
            "keep the reservations of volume {} as the backup has them: {} registrations",
            volume.name, kept.registrations
        )),
        (None, problem) => Err(RepairError::NotKept {
            volume: volume.name.clone(),
            problem: problem.clone().unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
mod tests;

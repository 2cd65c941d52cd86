//! The tables: rows by name, and nothing of what they mean.

use std::path::Path;
use std::sync::Arc;

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::file::{self, CatalogueFile};
use super::schema::{
    self, AGES, GROUPS, HISTORY, META, RESERVATIONS, VERSION, VERSION_KEY, VOLUMES,
};
use super::storage::{self, FILE, Storage};
use super::{CatalogueError, KeptHistory, record};
use crate::target::ReservationUpdate;
use crate::volume::{GroupName, SanName};

const SAN_KEY: &str = "san";
const FOUNDED_KEY: &str = "founded";
const PORTALS_KEY: &str = "portals";
const DRAINS_KEY: &str = "drains";

/// The tables of a file. Each method is one transaction, durable when it returns.
pub(super) struct Table {
    file: CatalogueFile,
}

/// A volume's row, by its name.
pub(super) type NamedRow<T> = (String, Result<T, serde_json::Error>);

impl Table {
    /// Opens the file of a directory, makes it where there is none, and upgrades it where it is
    /// older than this program. A copy is kept of what is upgraded.
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self, CatalogueError> {
        let path = storage.path().join(FILE);
        let failed = |error| CatalogueError::io(&path, &error);
        if !storage.names().map_err(failed)?.contains(&FILE.to_owned()) {
            refuse_to_found_anew(&*storage, &path)?;
            file::create(&*storage, &path)?;
        }
        let table = Self {
            file: CatalogueFile::over(storage),
        };
        let version = table.meta(VERSION_KEY)?;
        let Some(found) = version else {
            return Err(table.file.corrupt("it has no version"));
        };
        match schema::known(&found) {
            Some(VERSION) => {}
            Some(older) => table.upgrade(older)?,
            None => {
                return Err(CatalogueError::Version {
                    path,
                    found,
                    known: VERSION,
                });
            }
        }
        Ok(table)
    }

    /// Leaves the file to another process.
    pub(super) fn seal(&self) {
        self.file.seal();
    }

    /// Takes it back.
    pub(super) fn unseal(&self) {
        self.file.unseal();
    }

    /// Refuses another SAN's file; notes whose it is on the first start.
    pub(super) fn check_san(&self, san: &SanName) -> Result<(), CatalogueError> {
        match self.san()? {
            None => self.set_meta(SAN_KEY, san.as_str()),
            Some(found) if found == san.as_str() => Ok(()),
            Some(found) => Err(CatalogueError::OtherSan {
                path: self.file.path().to_owned(),
                found,
                configured: san.to_string(),
            }),
        }
    }

    /// Whose file it is.
    pub(super) fn san(&self) -> Result<Option<String>, CatalogueError> {
        self.meta(SAN_KEY)
    }

    pub(super) fn is_founded(&self) -> Result<bool, CatalogueError> {
        Ok(self.meta(FOUNDED_KEY)?.is_some())
    }

    pub(super) fn set_founded(&self) -> Result<(), CatalogueError> {
        self.set_meta(FOUNDED_KEY, "yes")
    }

    /// What was last kept of the portals, if anything.
    pub(super) fn portals<T: DeserializeOwned>(&self) -> Result<Option<T>, CatalogueError> {
        self.kept(PORTALS_KEY)
    }

    pub(super) fn set_portals(&self, portals: &impl Serialize) -> Result<(), CatalogueError> {
        self.keep(PORTALS_KEY, portals)
    }

    /// What was last kept of drained nodes, if anything.
    pub(super) fn drains<T: DeserializeOwned>(&self) -> Result<Option<T>, CatalogueError> {
        self.kept(DRAINS_KEY)
    }

    pub(super) fn set_drains(&self, drains: &impl Serialize) -> Result<(), CatalogueError> {
        self.keep(DRAINS_KEY, drains)
    }

    fn kept<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CatalogueError> {
        let Some(row) = self.meta(key)? else {
            return Ok(None);
        };
        serde_json::from_str(&row).map(Some).map_err(|error| {
            self.file
                .corrupt(&format!("the row of the {key} can't be read: {error}"))
        })
    }

    fn keep(&self, key: &str, value: &impl Serialize) -> Result<(), CatalogueError> {
        let row = serde_json::to_string(value).map_err(|error| CatalogueError::Failed {
            path: self.file.path().to_owned(),
            message: error.to_string(),
        })?;
        self.set_meta(key, &row)
    }

    /// The rows of all groups.
    pub(super) fn groups<T: DeserializeOwned>(&self) -> Result<Vec<T>, CatalogueError> {
        let rows = self.all(GROUPS)?.into_iter();
        rows.map(|(name, row)| {
            row.map_err(|error| {
                self.file
                    .corrupt(&format!("the row of group {name}: {error}"))
            })
        })
        .collect()
    }

    /// The rows of all volumes, as far as they can be read.
    pub(super) fn volumes<T: DeserializeOwned>(&self) -> Result<Vec<NamedRow<T>>, CatalogueError> {
        self.all(VOLUMES)
    }

    pub(super) fn put_group(
        &self,
        name: &GroupName,
        row: &impl Serialize,
    ) -> Result<(), CatalogueError> {
        let row = self.encode(row)?;
        self.file
            .write(|transaction| put(transaction, GROUPS, name.as_str(), &row))
    }

    pub(super) fn remove_group(&self, name: &str) -> Result<(), CatalogueError> {
        self.file.write(|transaction| {
            transaction.open_table(GROUPS)?.remove(name)?;
            Ok(())
        })
    }

    /// Puts the row of a volume that is being made or restored, and with it a record that nobody has
    /// registered.
    pub(super) fn add_volume(
        &self,
        name: &str,
        key: u128,
        row: &impl Serialize,
    ) -> Result<(), CatalogueError> {
        let row = self.encode(row)?;
        self.file.write(|transaction| {
            put(transaction, VOLUMES, name, &row)?;
            put_record(transaction, key, &record::seal_empty(key))
        })
    }

    /// Puts a volume's row, and with it its group's.
    pub(super) fn put_volume(
        &self,
        name: &str,
        row: &impl Serialize,
        group: (&GroupName, &impl Serialize),
    ) -> Result<(), CatalogueError> {
        let (row, group_row) = (self.encode(row)?, self.encode(group.1)?);
        self.file.write(|transaction| {
            put(transaction, GROUPS, group.0.as_str(), &group_row)?;
            put(transaction, VOLUMES, name, &row)
        })
    }

    /// Puts the rows of several volumes that are there, all of them or none.
    pub(super) fn put_volumes(
        &self,
        rows: &[(&str, impl Serialize)],
    ) -> Result<(), CatalogueError> {
        let encoded = rows
            .iter()
            .map(|(name, row)| Ok((*name, self.encode(row)?)))
            .collect::<Result<Vec<_>, CatalogueError>>()?;
        self.file.write(|transaction| {
            for (name, row) in &encoded {
                put(transaction, VOLUMES, name, row)?;
            }
            Ok(())
        })
    }

    /// Puts the row of a volume that is deleted and kept, and forgets its registrations: no change of
    /// them that is still on its way finds a record to change. Its history stays.
    pub(super) fn shelve_volume(
        &self,
        name: &str,
        key: u128,
        row: &impl Serialize,
    ) -> Result<(), CatalogueError> {
        let row = self.encode(row)?;
        self.file.write(|transaction| {
            transaction.open_table(RESERVATIONS)?.remove(key)?;
            transaction.open_table(AGES)?.remove(key)?;
            put(transaction, VOLUMES, name, &row)
        })
    }

    /// Removes a volume's row, and with it all that is kept of its reservations.
    pub(super) fn remove_volume(&self, name: &str, key: u128) -> Result<(), CatalogueError> {
        self.file.write(|transaction| {
            transaction.open_table(VOLUMES)?.remove(name)?;
            transaction.open_table(RESERVATIONS)?.remove(key)?;
            transaction.open_table(AGES)?.remove(key)?;
            let mut history = transaction.open_table(HISTORY)?;
            history.retain_in((key, 0)..=(key, u64::MAX), |_, _| false)?;
            Ok(())
        })
    }

    /// Removes a volume's row that can't be read, and nothing else: whose records are its is not
    /// known.
    pub(super) fn forget_volume(&self, name: &str) -> Result<(), CatalogueError> {
        self.file.write(|transaction| {
            transaction.open_table(VOLUMES)?.remove(name)?;
            Ok(())
        })
    }

    /// Puts an empty record in the place of one that can't be read, or is to be believed no more.
    pub(super) fn discard_reservation(&self, key: u128) -> Result<(), CatalogueError> {
        self.file.write(|transaction| {
            transaction.open_table(AGES)?.remove(key)?;
            put_record(transaction, key, &record::seal_empty(key))
        })
    }

    /// Saves what has changed of volumes' reservations, in that order; for each, whether there is such a
    /// volume. One that was deleted while the change was on its way does not come back as an orphan.
    pub(super) fn update_reservations(
        &self,
        changes: &[(u128, &ReservationUpdate)],
    ) -> Result<Vec<bool>, CatalogueError> {
        self.file.write(|transaction| {
            let changes = changes.iter();
            changes
                .map(|(key, update)| update_reservation(transaction, *key, update))
                .collect()
        })
    }

    /// The row of a volume's record, as it stands.
    pub(super) fn reservation(&self, key: u128) -> Result<Option<Vec<u8>>, CatalogueError> {
        self.file.read(|transaction| {
            let entry = transaction.open_table(RESERVATIONS)?.get(key)?;
            Ok(entry.map(|entry| entry.value().to_vec()))
        })
    }

    /// Every volume that a record is kept of, whether it has a row or not.
    pub(super) fn reserved(&self) -> Result<Vec<u128>, CatalogueError> {
        self.file.read(|transaction| {
            let table = transaction.open_table(RESERVATIONS)?;
            let keys = table.iter()?.map(|entry| Ok(entry?.0.value()));
            keys.collect()
        })
    }

    /// What is kept beside the record.
    pub(super) fn history(&self, key: u128) -> Result<KeptHistory, CatalogueError> {
        self.file.read(|transaction| {
            let mut kept = KeptHistory::default();
            let history = transaction.open_table(HISTORY)?;
            for entry in history.range((key, 0)..=(key, u64::MAX))? {
                let (place, bytes) = entry?;
                kept.entries.push((place.value().1, bytes.value().to_vec()));
            }
            let ages = transaction.open_table(AGES)?.get(key)?;
            kept.ages = ages.map(|ages| ages.value().to_vec());
            Ok(kept)
        })
    }

    /// How many changes have been made since the file was.
    pub(super) fn sequence(&self) -> Result<u64, CatalogueError> {
        self.file.sequence()
    }

    /// Closes the file, so that it is whole; the next call opens it again.
    pub(super) fn close(&self) {
        self.file.close();
    }

    fn upgrade(&self, from: u32) -> Result<(), CatalogueError> {
        self.file.close();
        let reason = format!("before-upgrade-from-{from}");
        let kept = storage::keep(self.file.storage(), &reason)
            .map_err(|error| CatalogueError::io(self.file.path(), &error))?;
        self.file
            .write(|transaction| schema::upgrade(transaction, from))?;
        tracing::info!(from, to = VERSION, kept, "catalogue upgraded");
        Ok(())
    }

    fn meta(&self, key: &str) -> Result<Option<String>, CatalogueError> {
        self.file.read(|transaction| {
            let entry = transaction.open_table(META)?.get(key)?;
            Ok(entry.map(|entry| entry.value().to_owned()))
        })
    }

    fn set_meta(&self, key: &str, value: &str) -> Result<(), CatalogueError> {
        self.file.write(|transaction| {
            transaction.open_table(META)?.insert(key, value)?;
            Ok(())
        })
    }

    fn all<T: DeserializeOwned>(
        &self,
        definition: TableDefinition<'_, &'static str, &'static [u8]>,
    ) -> Result<Vec<NamedRow<T>>, CatalogueError> {
        self.file.read(|transaction| {
            let table = transaction.open_table(definition)?;
            let rows = table.iter()?.map(|entry| {
                let (name, row) = entry?;
                Ok((name.value().to_owned(), serde_json::from_slice(row.value())))
            });
            rows.collect()
        })
    }

    fn encode(&self, row: &impl Serialize) -> Result<Vec<u8>, CatalogueError> {
        serde_json::to_vec(row).map_err(|error| CatalogueError::Failed {
            path: self.file.path().to_owned(),
            message: error.to_string(),
        })
    }
}

fn put(
    transaction: &WriteTransaction,
    definition: TableDefinition<'_, &'static str, &'static [u8]>,
    name: &str,
    row: &[u8],
) -> Result<(), redb::Error> {
    transaction.open_table(definition)?.insert(name, row)?;
    Ok(())
}

fn put_record(transaction: &WriteTransaction, key: u128, row: &[u8]) -> Result<(), redb::Error> {
    transaction.open_table(RESERVATIONS)?.insert(key, row)?;
    Ok(())
}

fn update_reservation(
    transaction: &WriteTransaction,
    key: u128,
    update: &ReservationUpdate,
) -> Result<bool, redb::Error> {
    if transaction.open_table(RESERVATIONS)?.get(key)?.is_none() {
        return Ok(false);
    }
    if let Some(record) = &update.record {
        put_record(transaction, key, &record::seal(key, record))?;
    }
    if let Some(ages) = &update.ages {
        transaction.open_table(AGES)?.insert(key, ages.as_slice())?;
    }
    let mut history = transaction.open_table(HISTORY)?;
    for sequence in &update.forget {
        history.remove((key, *sequence))?;
    }
    for (sequence, entry) in &update.entries {
        history.insert((key, *sequence), entry.as_slice())?;
    }
    Ok(true)
}

/// A directory that holds volumes or copies of a catalogue has had one. Beginning with an empty one
/// would forget every reservation.
fn refuse_to_found_anew(storage: &dyn Storage, path: &Path) -> Result<(), CatalogueError> {
    let failed = |error| CatalogueError::io(path, &error);
    let (volumes, kept) = (
        storage.volume_files().map_err(failed)?.len(),
        storage::kept(storage).map_err(failed)?.len(),
    );
    if volumes == 0 && kept == 0 {
        return Ok(());
    }
    Err(CatalogueError::Missing {
        path: path.to_owned(),
        volumes,
        kept,
    })
}

#[cfg(test)]
mod tests;

//! The redb file: rows by name, and nothing of what they mean.

use std::path::{Path, PathBuf};

use redb::WriteTransaction;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CatalogueError, DataDirectory, KeptHistory};
use crate::target::ReservationUpdate;
use crate::volume::{GroupName, SanName};

/// The version of the tables and rows. Another one is refused, not guessed at.
const VERSION: &str = "1";
const VERSION_KEY: &str = "version";
const SAN_KEY: &str = "san";
const FOUNDED_KEY: &str = "founded";
const PORTALS_KEY: &str = "portals";

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
const VOLUMES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("volumes");
const RESERVATIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("reservations");
const AGES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("reservation_ages");
/// By volume and sequence number. A file that is older than this table gets it with the first save.
const HISTORY: TableDefinition<'_, (u128, u64), &[u8]> =
    TableDefinition::new("reservation_history");

/// The open file. Each method is one transaction, durable when it returns.
pub(super) struct Table {
    database: Database,
    path: PathBuf,
}

impl Table {
    /// Opens the file of a data directory, and makes it where there is none.
    pub(super) fn open(directory: &DataDirectory) -> Result<Self, CatalogueError> {
        let path = directory.path().join("catalogue.redb");
        let exists = path
            .try_exists()
            .map_err(|error| CatalogueError::io(&path, &error))?;
        let database = if exists {
            Database::open(&path).map_err(|error| CatalogueError::database(&path, error))?
        } else {
            create(directory, &path)?
        };
        let table = Self { database, path };
        match table.meta(VERSION_KEY)? {
            Some(found) if found == VERSION => Ok(table),
            Some(found) => Err(CatalogueError::Version {
                path: table.path,
                found,
                known: VERSION,
            }),
            None => Err(table.corrupt("it has no version")),
        }
    }

    /// Refuses another SAN's file; notes whose it is on the first start.
    pub(super) fn check_san(&self, san: &SanName) -> Result<(), CatalogueError> {
        match self.meta(SAN_KEY)? {
            None => self.set_meta(SAN_KEY, san.as_str()),
            Some(found) if found == san.as_str() => Ok(()),
            Some(found) => Err(CatalogueError::OtherSan {
                path: self.path.clone(),
                found,
                configured: san.to_string(),
            }),
        }
    }

    pub(super) fn is_founded(&self) -> Result<bool, CatalogueError> {
        Ok(self.meta(FOUNDED_KEY)?.is_some())
    }

    pub(super) fn set_founded(&self) -> Result<(), CatalogueError> {
        self.set_meta(FOUNDED_KEY, "yes")
    }

    /// What was last kept of the portals, if anything.
    pub(super) fn portals<T: DeserializeOwned>(&self) -> Result<Option<T>, CatalogueError> {
        let Some(row) = self.meta(PORTALS_KEY)? else {
            return Ok(None);
        };
        let portals = serde_json::from_str(&row);
        portals.map(Some).map_err(|error| {
            self.corrupt(&format!("the row of the portals can't be read: {error}"))
        })
    }

    pub(super) fn set_portals(&self, portals: &impl Serialize) -> Result<(), CatalogueError> {
        let row = serde_json::to_string(portals).map_err(|error| CatalogueError::Failed {
            path: self.path.clone(),
            message: error.to_string(),
        })?;
        self.set_meta(PORTALS_KEY, &row)
    }

    /// The names of all groups.
    pub(super) fn groups<T: DeserializeOwned>(&self) -> Result<Vec<T>, CatalogueError> {
        self.all(GROUPS)
    }

    /// The rows of all volumes.
    pub(super) fn volumes<T: DeserializeOwned>(&self) -> Result<Vec<T>, CatalogueError> {
        self.all(VOLUMES)
    }

    pub(super) fn put_group(&self, name: &GroupName) -> Result<(), CatalogueError> {
        let row = self.encode(name)?;
        self.write(|transaction| put(transaction, GROUPS, name.as_str(), &row))
    }

    pub(super) fn remove_group(&self, name: &str) -> Result<(), CatalogueError> {
        self.write(|transaction| {
            transaction.open_table(GROUPS)?.remove(name)?;
            Ok(())
        })
    }

    /// Puts a volume's row, and with it its group's.
    pub(super) fn put_volume(
        &self,
        name: &str,
        row: &impl Serialize,
        group: &GroupName,
    ) -> Result<(), CatalogueError> {
        let (row, group_row) = (self.encode(row)?, self.encode(group)?);
        self.write(|transaction| {
            put(transaction, GROUPS, group.as_str(), &group_row)?;
            put(transaction, VOLUMES, name, &row)
        })
    }

    /// Removes a volume's row, and with it all that is kept of its reservations.
    pub(super) fn remove_volume(&self, name: &str, key: u128) -> Result<(), CatalogueError> {
        self.write(|transaction| {
            transaction.open_table(VOLUMES)?.remove(name)?;
            transaction.open_table(RESERVATIONS)?.remove(key)?;
            transaction.open_table(AGES)?.remove(key)?;
            let mut history = transaction.open_table(HISTORY)?;
            history.retain_in((key, 0)..=(key, u64::MAX), |_, _| false)?;
            Ok(())
        })
    }

    /// Saves what has changed of a volume's reservations.
    pub(super) fn update_reservation(
        &self,
        key: u128,
        update: &ReservationUpdate,
    ) -> Result<(), CatalogueError> {
        self.write(|transaction| {
            if let Some(record) = &update.record {
                let mut records = transaction.open_table(RESERVATIONS)?;
                records.insert(key, record.as_slice())?;
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
            Ok(())
        })
    }

    pub(super) fn reservation(&self, key: u128) -> Result<Option<Vec<u8>>, CatalogueError> {
        self.read(|transaction| {
            let entry = transaction.open_table(RESERVATIONS)?.get(key)?;
            Ok(entry.map(|entry| entry.value().to_vec()))
        })
    }

    /// What is kept beside the record; nothing in a file that is older than its tables.
    pub(super) fn history(&self, key: u128) -> Result<KeptHistory, CatalogueError> {
        self.read(|transaction| {
            let mut kept = KeptHistory::default();
            if let Some(table) = if_there(transaction.open_table(HISTORY))? {
                for entry in table.range((key, 0)..=(key, u64::MAX))? {
                    let (place, bytes) = entry?;
                    kept.entries.push((place.value().1, bytes.value().to_vec()));
                }
            }
            if let Some(table) = if_there(transaction.open_table(AGES))? {
                kept.ages = table.get(key)?.map(|ages| ages.value().to_vec());
            }
            Ok(kept)
        })
    }

    fn meta(&self, key: &str) -> Result<Option<String>, CatalogueError> {
        self.read(|transaction| {
            let entry = transaction.open_table(META)?.get(key)?;
            Ok(entry.map(|entry| entry.value().to_owned()))
        })
    }

    pub(super) fn set_meta(&self, key: &str, value: &str) -> Result<(), CatalogueError> {
        self.write(|transaction| {
            transaction.open_table(META)?.insert(key, value)?;
            Ok(())
        })
    }

    fn all<T: DeserializeOwned>(
        &self,
        definition: TableDefinition<'_, &'static str, &'static [u8]>,
    ) -> Result<Vec<T>, CatalogueError> {
        let rows = self.read(|transaction| {
            let table = transaction.open_table(definition)?;
            table
                .iter()?
                .map(|entry| Ok(entry?.1.value().to_vec()))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let decode = |row: Vec<u8>| {
            serde_json::from_slice(&row)
                .map_err(|error| self.corrupt(&format!("a row can't be read: {error}")))
        };
        rows.into_iter().map(decode).collect()
    }

    fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, CatalogueError> {
        let outcome = self
            .database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|t| body(&t));
        outcome.map_err(|error| CatalogueError::of_redb(&self.path, &error))
    }

    fn write(
        &self,
        body: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), CatalogueError> {
        commit(&self.database, body).map_err(|error| CatalogueError::of_redb(&self.path, &error))
    }

    fn encode(&self, row: &impl Serialize) -> Result<Vec<u8>, CatalogueError> {
        serde_json::to_vec(row).map_err(|error| CatalogueError::Failed {
            path: self.path.clone(),
            message: error.to_string(),
        })
    }

    fn corrupt(&self, message: &str) -> CatalogueError {
        CatalogueError::Corrupt {
            path: self.path.clone(),
            message: message.to_owned(),
        }
    }
}

/// A table, unless nobody has made it yet.
fn if_there<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn commit(
    database: &Database,
    body: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    // Durable at once, which is redb's default.
    let transaction = database.begin_write()?;
    body(&transaction)?;
    Ok(transaction.commit()?)
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

/// Makes an empty file beside its place and moves it there when it is whole, so that a crash in
/// between leaves none rather than half of one.
fn create(directory: &DataDirectory, path: &Path) -> Result<Database, CatalogueError> {
    let draft = path.with_extension("redb.new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(CatalogueError::io(&draft, &error));
        }
        _ => {}
    }
    let database =
        Database::create(&draft).map_err(|error| CatalogueError::database(&draft, error))?;
    commit(&database, |transaction| {
        transaction.open_table(META)?.insert(VERSION_KEY, VERSION)?;
        transaction.open_table(GROUPS)?;
        transaction.open_table(VOLUMES)?;
        transaction.open_table(RESERVATIONS)?;
        transaction.open_table(AGES)?;
        transaction.open_table(HISTORY)?;
        Ok(())
    })
    .map_err(|error| CatalogueError::of_redb(&draft, &error))?;
    std::fs::rename(&draft, path).map_err(|error| CatalogueError::io(path, &error))?;
    directory.sync()?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_before_the_history_gets_one() {
        let data = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(data.path()).unwrap();
        let table = Table::open(&directory).unwrap();
        commit(&table.database, |transaction| {
            assert!(transaction.delete_table(HISTORY)? && transaction.delete_table(AGES)?);
            Ok(())
        })
        .unwrap();
        assert_eq!(table.history(7).unwrap(), KeptHistory::default());
        let update = ReservationUpdate {
            entries: vec![(1, b"first".to_vec())],
            ..ReservationUpdate::default()
        };
        table.update_reservation(7, &update).unwrap();
        assert_eq!(table.history(7).unwrap().entries, update.entries);
    }

    #[test]
    fn another_version_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(data.path()).unwrap();
        Table::open(&directory)
            .unwrap()
            .set_meta(VERSION_KEY, "2")
            .unwrap();
        let error = Table::open(&directory).err().unwrap().to_string();
        assert!(
            error.contains("has version 2, this program knows 1"),
            "{error}"
        );
    }
}

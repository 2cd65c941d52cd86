//! The tables, their version, and the way from every former version to this one.
//!
//! | version | what is new |
//! |---|---|
//! | 1 | groups, volumes, reservation records |
//! | 2 | a record is bound to its volume ([`super::record`]), every volume has one, and beside it stand ages and a history |

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::record;

/// The version of the tables and rows. An older one is upgraded, any other refused.
pub(super) const VERSION: u32 = 2;

pub(super) const VERSION_KEY: &str = "version";
/// Counts the changes.
pub(super) const SEQUENCE_KEY: &str = "sequence";

pub(super) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
pub(super) const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
pub(super) const VOLUMES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("volumes");
/// By the volume's UUID, as are ages and history.
pub(super) const RESERVATIONS: TableDefinition<'_, u128, &[u8]> =
    TableDefinition::new("reservations");
pub(super) const AGES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("reservation_ages");
/// By volume and sequence number.
pub(super) const HISTORY: TableDefinition<'_, (u128, u64), &[u8]> =
    TableDefinition::new("reservation_history");

type Step = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// `STEPS[n]` leads from version n + 1 to the next.
const STEPS: [Step; VERSION as usize - 1] = [bind_records];

/// Makes the tables of an empty file.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(GROUPS)?;
    transaction.open_table(VOLUMES)?;
    transaction.open_table(RESERVATIONS)?;
    transaction.open_table(AGES)?;
    transaction.open_table(HISTORY)?;
    set_version(transaction)
}

/// Leads a file of version `from` to [`VERSION`], whole or not at all.
pub(super) fn upgrade(transaction: &WriteTransaction, from: u32) -> Result<(), redb::Error> {
    let done = usize::try_from(from)
        .unwrap_or(usize::MAX)
        .saturating_sub(1);
    for step in STEPS.iter().skip(done) {
        step(transaction)?;
    }
    set_version(transaction)
}

/// The version that a file's text names, if this program can upgrade from it or knows it.
pub(super) fn known(version: &str) -> Option<u32> {
    let version = version.parse().ok()?;
    (1..=VERSION).contains(&version).then_some(version)
}

fn set_version(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(VERSION_KEY, VERSION.to_string().as_str())?;
    Ok(())
}

/// Version 1 kept a record bare, and none for a volume that nobody had ever registered with.
///
/// A row that can't be read is left as it is: it keeps its volume from being served.
fn bind_records(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(AGES)?;
    transaction.open_table(HISTORY)?;
    let volumes = transaction.open_table(VOLUMES)?;
    let mut records = transaction.open_table(RESERVATIONS)?;
    for row in volumes.iter()? {
        let Some(volume) = id_in_version_1(row?.1.value()) else {
            continue;
        };
        let bound = match records.get(volume)? {
            Some(bare) => record::seal(volume, bare.value()),
            None => record::seal_empty(volume),
        };
        records.insert(volume, bound.as_slice())?;
    }
    Ok(())
}

fn id_in_version_1(row: &[u8]) -> Option<u128> {
    let row: serde_json::Value = serde_json::from_slice(row).ok()?;
    let id: Uuid = row.get("volume")?.get("id")?.as_str()?.parse().ok()?;
    Some(id.as_u128())
}

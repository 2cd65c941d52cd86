//! What must survive a restart: groups, volumes, and reservation records.
//!
//! The pure model of [`crate::volume`] says what may be; here it is made durable: one redb file in
//! the data directory, a row for each group and volume, under a lock that names its holder. A
//! change is durable when the call returns, and has happened whole or not at all. Readers take the
//! model as it was after the last change; nothing here ever holds a volume's data.

#[cfg(test)]
mod crash;
mod directory;
mod drains;
mod error;
mod file;
mod inspect;
mod keeping;
mod memory;
mod portals;
mod record;
mod repair;
mod schema;
mod storage;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::{Arc, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use directory::DataDirectory;
pub use drains::KeptDrain;
pub use error::CatalogueError;
pub use inspect::{Contents, InspectedVolume, Inspection, KeptReservations};
pub use keeping::{TakenSnapshot, snapshot_file};
pub use portals::{PortalTagError, WantedPortal};
pub use record::RecordError;
pub use repair::{Decision, Plan, RepairError, Repairs, Replacement};

use self::portals::PortalBook;
use self::storage::Storage;
use self::table::Table;
use super::access::AccessBook;
use crate::backend::BackendSpec;
use crate::target::{ReservationStore, ReservationUpdate, StoreFailed};
use crate::volume::{
    self, CommonSettings, GroupName, GroupSettings, NamingAuthority, NewVolume, SanName, VolumeId,
    VolumeName, VolumeSettings,
};

/// The version of the tables' shape.
pub const TABLES_VERSION: u32 = schema::VERSION;

/// A volume, with what stores its blocks. A relative path begins at the data directory.
pub type Volume = volume::Volume<BackendSpec>;
/// All groups and volumes.
pub type Model = volume::Catalogue<BackendSpec>;

/// What the configuration says of everything in the catalogue. It is not kept: it holds as it is
/// at each start.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The SAN; the same at every start.
    pub san: SanName,
    /// Who names the targets of volumes yet to be made.
    pub authority: NamingAuthority,
    /// What volumes have in common.
    pub settings: CommonSettings,
    /// Who may log in.
    pub access: AccessBook,
}

/// What is kept of a volume's reservations beside their record; bytes that nobody has looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptHistory {
    /// Entries of the history with their sequence numbers, oldest first.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Since when the registrations of the record stand.
    pub ages: Option<Vec<u8>>,
}

/// The row of a volume.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Whether its store has been made. Where it has not, the server stopped in the middle of
    /// making the volume, and nobody was told that it exists.
    made: bool,
    volume: Volume,
}

impl Row {
    fn finished(volume: &Volume) -> Self {
        Self {
            made: true,
            volume: volume.clone(),
        }
    }
}

/// The row of a group: its name, and what has been set for it, if anything was. Access rules are
/// configured and not kept.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum GroupRow {
    Plain(GroupName),
    Set {
        name: GroupName,
        settings: GroupSettings,
    },
}

impl GroupRow {
    fn of(name: &GroupName, settings: GroupSettings) -> Self {
        let name = name.clone();
        match settings == GroupSettings::default() {
            true => Self::Plain(name),
            false => Self::Set { name, settings },
        }
    }

    fn into_parts(self) -> (GroupName, GroupSettings) {
        match self {
            Self::Plain(name) => (name, GroupSettings::default()),
            Self::Set { name, settings } => (name, settings),
        }
    }
}

/// The open catalogue. Changes take turns.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub struct Catalogue {
    table: Table,
    policy: Policy,
    model: Mutex<Arc<Model>>,
    /// Volumes whose rows can't be read, and why. Their names stay taken.
    unreadable: BTreeMap<String, String>,
    /// Held as long as the table is open.
    storage: Arc<dyn Storage>,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl Catalogue {
    /// Opens the catalogue of a data directory, and makes it on the first start. The second part
    /// are volumes that were never finished; they are not in the model.
    ///
    /// # Errors
    /// See [`CatalogueError`].
    pub fn open(
        directory: DataDirectory,
        policy: Policy,
    ) -> Result<(Self, Vec<Volume>), CatalogueError> {
        Self::open_in(Arc::new(directory), policy)
    }

    fn open_in(
        storage: Arc<dyn Storage>,
        policy: Policy,
    ) -> Result<(Self, Vec<Volume>), CatalogueError> {
        let table = Table::open(Arc::clone(&storage))?;
        table.check_san(&policy.san)?;
        let mut model = Model::new(policy.authority.clone());
        model.create_san(policy.san.clone())?;
        let known = table.groups::<GroupRow>()?;
        let known: BTreeMap<_, _> = known.into_iter().map(GroupRow::into_parts).collect();
        let configured = policy.access.groups.keys();
        for name in configured.filter(|name| !known.contains_key(*name)) {
            let settings = GroupSettings::default();
            table.put_group(name, &GroupRow::of(name, settings))?;
            model.create_group(&policy.san, name.clone(), policy.access.model_of(name))?;
        }
        for (name, settings) in known {
            let mut group = policy.access.model_of(&name);
            group.settings = settings;
            model.create_group(&policy.san, name, group)?;
        }
        let (mut unfinished, mut unreadable) = (Vec::new(), BTreeMap::new());
        for (name, row) in table.volumes::<Row>()? {
            let read = match row {
                Ok(Row {
                    made: false,
                    volume,
                }) => {
                    unfinished.push(volume);
                    continue;
                }
                Ok(Row { volume, .. }) => model
                    .restore_volume(volume)
                    .map_err(|error| CatalogueError::from(error).to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = read {
                unreadable.insert(name, why);
            }
        }
        let model = Mutex::new(Arc::new(model));
        Ok((
            Self {
                table,
                policy,
                model,
                unreadable,
                storage,
            },
            unfinished,
        ))
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.storage.path()
    }

    /// The names of volumes whose rows can't be read, and why. They are not served, and no other
    /// volume gets their names.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<String, String> {
        &self.unreadable
    }

    /// Closes the file, and leaves it to another process: every call that needs it fails until
    /// [`Catalogue::unseal`].
    pub fn seal(&self) {
        self.table.seal();
    }

    /// Takes the file back from another process that has changed no volume.
    pub fn unseal(&self) {
        self.table.unseal();
    }

    /// All groups and volumes as they are now.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        self.lock().clone()
    }

    /// What the configuration says.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The volume of that name.
    #[must_use]
    pub fn volume(&self, name: &VolumeName) -> Option<Volume> {
        self.model().volume_named(&self.policy.san, name).cloned()
    }

    /// Whether the first start is over.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn is_founded(&self) -> Result<bool, CatalogueError> {
        self.table.is_founded()
    }

    /// Notes that the first start is over.
    ///
    /// # Errors
    /// The store failed; the next start is then a first one again.
    pub fn set_founded(&self) -> Result<(), CatalogueError> {
        self.table.set_founded()
    }

    /// Begins to make a volume, in a group that is made where it does not exist. Nobody sees it
    /// before [`Catalogue::finish_volume`]; a restart in between takes it away.
    ///
    /// # Errors
    /// It can't be, or the store failed; nothing has changed.
    pub fn begin_volume(
        &self,
        name: VolumeName,
        group: &GroupName,
        size_bytes: u64,
        settings: VolumeSettings,
        backend: impl FnOnce(VolumeId) -> BackendSpec,
    ) -> Result<Volume, CatalogueError> {
        let id = VolumeId::from(uuid::Uuid::new_v4());
        self.begin_volume_as(id, name, group, size_bytes, settings, backend(id))
    }

    fn begin_volume_as(
        &self,
        id: VolumeId,
        name: VolumeName,
        group: &GroupName,
        size_bytes: u64,
        settings: VolumeSettings,
        backend: BackendSpec,
    ) -> Result<Volume, CatalogueError> {
        if self.unreadable.contains_key(name.as_str()) {
            let name = name.to_string();
            return Err(CatalogueError::UnreadableRow { name });
        }
        let present = self.lock();
        let mut model = Model::clone(&present);
        self.make_group_in(&mut model, group)?;
        let new = NewVolume {
            id,
            name,
            size_bytes,
            settings,
            access: volume::AccessOverrides::default(),
            backend,
        };
        let volume = model.create_volume(&self.policy.san, group, new)?.clone();
        let row = Row {
            made: false,
            volume,
        };
        self.table
            .add_volume(row.volume.name.as_str(), key(id), &row)?;
        Ok(row.volume)
    }

    /// Finishes what [`Catalogue::begin_volume`] began.
    ///
    /// # Errors
    /// The store failed; the volume is still unfinished.
    pub fn finish_volume(&self, volume: &Volume) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        self.make_group_in(&mut model, &volume.group)?;
        model.restore_volume(volume.clone())?;
        self.put_volume(volume, &model)?;
        *present = Arc::new(model);
        Ok(())
    }

    /// Removes a volume, finished, deleted or neither, its snapshots, its reservation record and the
    /// history of it.
    ///
    /// # Errors
    /// The store failed; nothing has changed.
    pub fn remove_volume(&self, volume: &Volume) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        if model.volume(volume.id).is_ok() {
            model.purge_volume(volume.id)?;
        }
        self.table
            .remove_volume(volume.name.as_str(), key(volume.id))?;
        *present = Arc::new(model);
        Ok(())
    }

    /// Whether a volume may have that size.
    ///
    /// # Errors
    /// It may not.
    pub fn check_resize(&self, volume: &Volume, size_bytes: u64) -> Result<(), CatalogueError> {
        let mut model = Model::clone(&self.lock());
        model.resize_volume(volume.id, size_bytes)?;
        Ok(())
    }

    /// Notes that a volume has grown.
    ///
    /// # Errors
    /// It may not have that size, or the store failed; nothing has changed.
    pub fn resize_volume(
        &self,
        volume: &Volume,
        size_bytes: u64,
    ) -> Result<Volume, CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        model.resize_volume(volume.id, size_bytes)?;
        let grown = model.volume(volume.id)?.clone();
        self.put_volume(&grown, &model)?;
        *present = Arc::new(model);
        Ok(grown)
    }

    /// Notes that a volume presents itself otherwise.
    ///
    /// # Errors
    /// The settings can't be, or the store failed; nothing has changed.
    pub fn set_volume(
        &self,
        volume: &Volume,
        settings: VolumeSettings,
    ) -> Result<Volume, CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        model.set_volume(volume.id, settings)?;
        let set = model.volume(volume.id)?.clone();
        self.put_volume(&set, &model)?;
        *present = Arc::new(model);
        Ok(set)
    }

    /// Makes a group.
    ///
    /// # Errors
    /// It exists, there are too many, or the store failed; nothing has changed.
    pub fn create_group(&self, name: &GroupName) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        let group = self.policy.access.model_of(name);
        let row = GroupRow::of(name, group.settings);
        model.create_group(&self.policy.san, name.clone(), group)?;
        self.table.put_group(name, &row)?;
        *present = Arc::new(model);
        Ok(())
    }

    /// Sets what is set of a group while the server runs.
    ///
    /// # Errors
    /// There is none, or the store failed; nothing has changed.
    pub fn set_group(
        &self,
        name: &GroupName,
        settings: GroupSettings,
    ) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        let mut group = model.group(&self.policy.san, name)?.clone();
        group.settings = settings;
        model.update_group(&self.policy.san, name, group)?;
        self.table.put_group(name, &GroupRow::of(name, settings))?;
        *present = Arc::new(model);
        Ok(())
    }

    /// Removes an empty group.
    ///
    /// # Errors
    /// There is none, it holds volumes, or the store failed; nothing has changed.
    pub fn delete_group(&self, name: &GroupName) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        model.delete_group(&self.policy.san, name)?;
        self.table.remove_group(name.as_str())?;
        *present = Arc::new(model);
        Ok(())
    }

    /// The portal group tags of these portals, in their order; the same at every start.
    ///
    /// # Errors
    /// The configuration contradicts what an earlier start gave out, or the store failed.
    pub fn portal_tags(&self, wanted: &[WantedPortal]) -> Result<Vec<u16>, CatalogueError> {
        let known: PortalBook = self.table.portals()?.unwrap_or_default();
        let mut book = known.clone();
        let tags = book.assign(wanted)?;
        if book != known {
            self.table.set_portals(&book)?;
        }
        Ok(tags)
    }

    /// The nodes that are out of service.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn drains(&self) -> Result<Vec<KeptDrain>, CatalogueError> {
        Ok(self.table.drains()?.unwrap_or_default())
    }

    /// Keeps which nodes are out of service from now on.
    ///
    /// # Errors
    /// The store failed; it is as before.
    pub fn set_drains(&self, drains: &[KeptDrain]) -> Result<(), CatalogueError> {
        self.table.set_drains(&drains)
    }

    /// The reservation record of a volume that was last saved. One that was never saved says that
    /// nobody has registered.
    ///
    /// # Errors
    /// The store can't be read, or its record is not that volume's, or is damaged.
    pub fn reservation(&self, volume: VolumeId) -> Result<Vec<u8>, CatalogueError> {
        let row = self.table.reservation(key(volume))?;
        let refused = |problem| CatalogueError::Record { volume, problem };
        let row = row.ok_or_else(|| refused(RecordError::Missing))?;
        let record = record::open(key(volume), &row).map_err(refused)?;
        Ok(record.to_vec())
    }

    /// The history of a volume's reservations that was last saved, oldest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn history(&self, volume: VolumeId) -> Result<KeptHistory, CatalogueError> {
        self.table.history(key(volume))
    }

    fn make_group_in(&self, model: &mut Model, name: &GroupName) -> Result<(), CatalogueError> {
        if model.group(&self.policy.san, name).is_err() {
            let group = self.policy.access.model_of(name);
            model.create_group(&self.policy.san, name.clone(), group)?;
        }
        Ok(())
    }

    /// Puts a volume's row, and that of its group as `model` has it.
    fn put_volume(&self, volume: &Volume, model: &Model) -> Result<(), CatalogueError> {
        let group = model.group(&volume.san, &volume.group)?;
        let group_row = GroupRow::of(&volume.group, group.settings);
        self.table.put_volume(
            volume.name.as_str(),
            &Row::finished(volume),
            (&volume.group, &group_row),
        )
    }

    /// Saves changes of reservations in one transaction; the outcome of each, for its volume may have
    /// been deleted.
    fn save_all(
        &self,
        changes: &[(VolumeId, &ReservationUpdate)],
    ) -> Result<Vec<Result<(), StoreFailed>>, StoreFailed> {
        let keyed: Vec<_> = changes
            .iter()
            .map(|(id, update)| (key(*id), *update))
            .collect();
        let found = self.table.update_reservations(&keyed);
        let found = found.map_err(|error| StoreFailed(error.to_string()))?;
        let outcome = |((volume, _), found): (&(VolumeId, _), bool)| match found {
            true => Ok(()),
            false => Err(StoreFailed(format!("volume {volume} has been deleted"))),
        };
        Ok(changes.iter().zip(found).map(outcome).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Model>> {
        // The model is replaced whole, so a panic can't leave it half changed.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReservationStore for Catalogue {
    fn save(&self, volume: VolumeId, update: &ReservationUpdate) -> Result<(), StoreFailed> {
        self.save_all(&[(volume, update)])?.remove(0)
    }

    /// In one transaction. Where that can't be, each for itself: a full disk may have room for one of
    /// them, and no volume is to suffer from the length of another's record.
    fn save_together(
        &self,
        changes: &[(VolumeId, &ReservationUpdate)],
    ) -> Vec<Result<(), StoreFailed>> {
        self.save_all(changes).unwrap_or_else(|_| {
            let changes = changes.iter();
            changes
                .map(|(volume, update)| self.save(*volume, update))
                .collect()
        })
    }
}

fn key(volume: VolumeId) -> u128 {
    volume.uuid().as_u128()
}

/// Where a volume's own file is: a place that nobody but this program chose.
#[must_use]
pub fn own_file(id: VolumeId) -> PathBuf {
    Path::new("volumes").join(format!("{id}.img"))
}

/// Whether a volume's file is at [`own_file`].
#[must_use]
pub fn has_own_file(volume: &Volume) -> bool {
    let store = volume.backend.innermost();
    matches!(store, BackendSpec::File { path } if *path == own_file(volume.id))
}

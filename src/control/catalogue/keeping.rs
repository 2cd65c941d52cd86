//! What the catalogue keeps of the past: deleted volumes for a while, and snapshots.
//!
//! Each call is one transaction. A set of snapshots is begun, finished and dropped in one: a crash
//! leaves all of it or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Catalogue, CatalogueError, Model, Row, Volume, key};
use crate::volume::{Deletion, Snapshot, SnapshotId, VolumeId};

/// A snapshot, and of which volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// The volume.
    pub volume: VolumeId,
    /// The snapshot.
    pub snapshot: Snapshot,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl Catalogue {
    /// Deletes a volume so that it can be restored until `deletion.purge_ms`. Its reservations are gone
    /// at once; snapshots stay with it.
    ///
    /// # Errors
    /// It is deleted already, or the store failed; nothing has changed.
    pub fn shelve_volume(
        &self,
        volume: &Volume,
        deletion: Deletion,
    ) -> Result<Volume, CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        model.mark_deleted(volume.id, deletion)?;
        let shelved = model.volume(volume.id)?.clone();
        let row = Row::finished(&shelved);
        self.table
            .shelve_volume(volume.name.as_str(), key(volume.id), &row)?;
        *present = Arc::new(model);
        Ok(shelved)
    }

    /// Takes a deletion back. Nobody has registered with the volume then.
    ///
    /// # Errors
    /// It is not deleted, or the store failed; nothing has changed.
    pub fn unshelve_volume(&self, volume: &Volume) -> Result<Volume, CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        model.undelete(volume.id)?;
        let restored = model.volume(volume.id)?.clone();
        let row = Row::finished(&restored);
        self.table
            .add_volume(volume.name.as_str(), key(volume.id), &row)?;
        *present = Arc::new(model);
        Ok(restored)
    }

    /// Begins to take snapshots, one of each volume named. Nobody can use them before
    /// [`Catalogue::finish_snapshots`].
    ///
    /// # Errors
    /// One of them can't be, or the store failed; nothing has changed.
    pub fn begin_snapshots(&self, taken: &[TakenSnapshot]) -> Result<(), CatalogueError> {
        self.change_snapshots(taken, |model, TakenSnapshot { volume, snapshot }| {
            let unfinished = Snapshot {
                unfinished: true,
                ..snapshot.clone()
            };
            model.add_snapshot(*volume, unfinished)
        })
    }

    /// Finishes what [`Catalogue::begin_snapshots`] began, with the times and sizes that `taken` has now.
    ///
    /// # Errors
    /// The store failed; they are unfinished as before.
    pub fn finish_snapshots(&self, taken: &[TakenSnapshot]) -> Result<(), CatalogueError> {
        self.change_snapshots(taken, |model, TakenSnapshot { volume, snapshot }| {
            model.set_snapshot(*volume, snapshot.id, |known| {
                *known = Snapshot {
                    unfinished: false,
                    ..snapshot.clone()
                }
            })
        })
    }

    /// Begins to remove snapshots: nobody can use them any more, and a restart takes them away.
    ///
    /// # Errors
    /// The store failed; nothing has changed.
    pub fn begin_drop_snapshots(&self, taken: &[TakenSnapshot]) -> Result<(), CatalogueError> {
        self.change_snapshots(taken, |model, TakenSnapshot { volume, snapshot }| {
            model.set_snapshot(*volume, snapshot.id, |known| known.unfinished = true)
        })
    }

    /// Removes snapshots whose files are gone.
    ///
    /// # Errors
    /// The store failed; nothing has changed.
    pub fn drop_snapshots(&self, taken: &[TakenSnapshot]) -> Result<(), CatalogueError> {
        self.change_snapshots(taken, |model, TakenSnapshot { volume, snapshot }| {
            model.drop_snapshot(*volume, snapshot.id)
        })
    }

    /// Snapshots that are neither whole nor gone: the server stopped in the middle.
    #[must_use]
    pub fn unfinished_snapshots(&self) -> Vec<TakenSnapshot> {
        let model = self.model();
        let of_volume = |volume: &Volume| {
            let id = volume.id;
            let unfinished = volume.snapshots.iter().filter(|known| known.unfinished);
            let taken = unfinished.map(move |snapshot| TakenSnapshot {
                volume: id,
                snapshot: snapshot.clone(),
            });
            taken.collect::<Vec<_>>()
        };
        model.volumes().flat_map(of_volume).collect()
    }

    fn change_snapshots(
        &self,
        taken: &[TakenSnapshot],
        change: impl Fn(&mut Model, &TakenSnapshot) -> Result<(), crate::volume::CatalogueError>,
    ) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        for one in taken {
            change(&mut model, one)?;
        }
        let mut ids: Vec<_> = taken.iter().map(|one| one.volume).collect();
        ids.sort_unstable();
        ids.dedup();
        let volumes = ids
            .into_iter()
            .map(|id| model.volume(id))
            .collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<_> = volumes
            .iter()
            .map(|volume| (volume.name.as_str(), Row::finished(volume)))
            .collect();
        self.table.put_volumes(&rows)?;
        *present = Arc::new(model);
        Ok(())
    }
}

/// Where a snapshot of the volume in `file` is: beside it, so that both can share their blocks.
#[must_use]
pub fn snapshot_file(file: &Path, snapshot: SnapshotId) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{snapshot}.snap"));
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_lies_beside_its_volume() {
        let id = SnapshotId::from(uuid::Uuid::from_u128(7));
        let file = snapshot_file(Path::new("volumes/a.img"), id);
        let expected = "volumes/a.img.00000000-0000-0000-0000-000000000007.snap";
        assert_eq!(file, Path::new(expected));
    }
}

//! What a catalogue keeps of the past: snapshots, and volumes that were deleted and can be restored.
//!
//! ```text
//!            mark_deleted              purge_volume
//!    live ───────────────▶ deleted ──────────────────▶ gone
//!      ▲                      │
//!      └──── undelete ────────┘
//!
//!             add_snapshot (unfinished)     finish_snapshot
//!    nothing ──────────────────────────▶ ○ ─────────────────▶ whole
//!       ▲                                ▲                      │
//!       └───────── drop_snapshot ────────┴── begin_drop ────────┘
//! ```
//!
//! A snapshot is unfinished on the way in and on the way out, so that no crash leaves a file that
//! nobody knows.

use super::catalogue::Catalogue;
use super::error::CatalogueError;
use super::identity::{SnapshotId, VolumeId};
use super::model::{Deletion, Snapshot};
use crate::base::limits::SNAPSHOTS_PER_VOLUME_MAX;

impl<B> Catalogue<B> {
    /// Passes if the volume has no snapshots.
    pub fn check_no_snapshots(&self, id: VolumeId) -> Result<(), CatalogueError> {
        let volume = self.volume(id)?;
        if volume.snapshots.is_empty() {
            return Ok(());
        }
        let snapshots = volume.snapshots.iter();
        Err(CatalogueError::HasSnapshots {
            volume: volume.name.clone(),
            snapshots: snapshots.map(|snapshot| snapshot.name.clone()).collect(),
        })
    }

    /// Deletes a volume in a way that can be taken back. Its snapshots stay with it.
    pub fn mark_deleted(&mut self, id: VolumeId, deletion: Deletion) -> Result<(), CatalogueError> {
        self.live_mut(id)?.deleted = Some(deletion);
        Ok(())
    }

    /// Takes a deletion back.
    pub fn undelete(&mut self, id: VolumeId) -> Result<(), CatalogueError> {
        let volume = self.any_mut(id)?;
        match volume.deleted.take() {
            Some(_) => Ok(()),
            None => Err(CatalogueError::NotDeleted(volume.name.clone())),
        }
    }

    /// Adds a snapshot to a volume.
    pub fn add_snapshot(&mut self, id: VolumeId, snapshot: Snapshot) -> Result<(), CatalogueError> {
        let volume = self.live_mut(id)?;
        if volume.snapshot(&snapshot.name).is_some() {
            return Err(CatalogueError::SnapshotExists {
                volume: volume.name.clone(),
                snapshot: snapshot.name,
            });
        }
        if volume.snapshots.len() >= SNAPSHOTS_PER_VOLUME_MAX {
            return Err(CatalogueError::TooManySnapshots(volume.name.clone()));
        }
        volume.snapshots.push(snapshot);
        Ok(())
    }

    /// Makes a snapshot whole, taken at `created_ms`, or unfinished again; one that is not there stays
    /// away.
    pub fn set_snapshot(
        &mut self,
        id: VolumeId,
        snapshot: SnapshotId,
        change: impl FnOnce(&mut Snapshot),
    ) -> Result<(), CatalogueError> {
        let volume = self.any_mut(id)?;
        let mut snapshots = volume.snapshots.iter_mut();
        if let Some(found) = snapshots.find(|known| known.id == snapshot) {
            change(found);
        }
        Ok(())
    }

    /// Removes a snapshot; one that is not there is no error.
    pub fn drop_snapshot(
        &mut self,
        id: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), CatalogueError> {
        let volume = self.any_mut(id)?;
        volume.snapshots.retain(|known| known.id != snapshot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{
        AccessOverrides, Group, GroupName, NamingAuthority, NewVolume, SanName, VolumeName,
        VolumeSettings,
    };
    use uuid::Uuid;

    const DELETION: Deletion = Deletion {
        at_ms: 1000,
        purge_ms: 2000,
    };

    fn id(number: u128) -> VolumeId {
        Uuid::from_u128(number).into()
    }

    fn name(text: &str) -> VolumeName {
        VolumeName::new(text).unwrap()
    }

    fn snapshot(number: u128, text: &str) -> Snapshot {
        Snapshot {
            id: Uuid::from_u128(number).into(),
            name: name(text),
            size_bytes: 1 << 30,
            created_ms: 7,
            set: None,
            unfinished: false,
        }
    }

    fn new(number: u128, text: &str) -> NewVolume<&'static str> {
        NewVolume {
            id: id(number),
            name: name(text),
            size_bytes: 1 << 30,
            settings: VolumeSettings::default(),
            access: AccessOverrides::default(),
            backend: "anything",
        }
    }

    fn catalogue() -> (Catalogue<&'static str>, SanName, GroupName) {
        let (san, group) = (
            SanName::new("prod").unwrap(),
            GroupName::new("main").unwrap(),
        );
        let mut catalogue = Catalogue::new(NamingAuthority::default());
        catalogue.create_san(san.clone()).unwrap();
        catalogue
            .create_group(&san, group.clone(), Group::default())
            .unwrap();
        catalogue
            .create_volume(&san, &group, new(1, "data"))
            .unwrap();
        (catalogue, san, group)
    }

    #[test]
    fn a_deleted_volume_keeps_its_name_and_comes_back_as_it_was() {
        let (mut catalogue, san, group) = catalogue();
        let before = catalogue.clone();
        catalogue.mark_deleted(id(1), DELETION).unwrap();
        assert_eq!(catalogue.live_volumes().count(), 0);
        let deleted = CatalogueError::Deleted(name("data"));
        assert_eq!(
            catalogue.mark_deleted(id(1), DELETION),
            Err(deleted.clone())
        );
        assert_eq!(
            catalogue.resize_volume(id(1), 2 << 30),
            Err(deleted.clone())
        );
        assert_eq!(
            catalogue.add_snapshot(id(1), snapshot(7, "mon")),
            Err(deleted)
        );
        let taken = catalogue
            .create_volume(&san, &group, new(2, "data"))
            .unwrap_err();
        assert_eq!(
            taken.to_string(),
            "volume data of group main was deleted and can be restored: its name is taken until it \
             is purged"
        );
        let kept = catalogue
            .delete_group(&san, &group)
            .unwrap_err()
            .to_string();
        assert_eq!(
            kept,
            "group main still has 1 volume, 1 of them deleted and kept"
        );
        catalogue.undelete(id(1)).unwrap();
        assert_eq!(catalogue, before);
        let not = CatalogueError::NotDeleted(name("data"));
        assert_eq!(catalogue.undelete(id(1)), Err(not));
        catalogue.purge_volume(id(1)).unwrap();
        catalogue
            .create_volume(&san, &group, new(2, "data"))
            .unwrap();
    }

    #[test]
    fn snapshots_have_names_of_their_volume_and_a_limit() {
        let (mut catalogue, ..) = catalogue();
        catalogue.add_snapshot(id(1), snapshot(7, "mon")).unwrap();
        let exists = catalogue
            .add_snapshot(id(1), snapshot(8, "mon"))
            .unwrap_err();
        assert_eq!(exists.to_string(), "snapshot data@mon exists already");
        for number in 1..SNAPSHOTS_PER_VOLUME_MAX {
            let text = format!("snap-{number}");
            let more = snapshot(100 + number as u128, &text);
            catalogue.add_snapshot(id(1), more).unwrap();
        }
        assert_eq!(
            catalogue.add_snapshot(id(1), snapshot(9, "last")),
            Err(CatalogueError::TooManySnapshots(name("data")))
        );
        catalogue
            .drop_snapshot(id(1), Uuid::from_u128(7).into())
            .unwrap();
        assert!(
            catalogue
                .volume(id(1))
                .unwrap()
                .snapshot(&name("mon"))
                .is_none()
        );
        catalogue.add_snapshot(id(1), snapshot(9, "last")).unwrap();
    }

    #[test]
    fn an_unfinished_snapshot_has_its_name_and_is_not_whole() {
        let (mut catalogue, ..) = catalogue();
        let making = Snapshot {
            unfinished: true,
            ..snapshot(7, "mon")
        };
        catalogue.add_snapshot(id(1), making.clone()).unwrap();
        assert!(catalogue.add_snapshot(id(1), snapshot(8, "mon")).is_err());
        assert_eq!(
            catalogue.volume(id(1)).unwrap().whole_snapshots().count(),
            0
        );
        let finish = |found: &mut Snapshot| found.unfinished = false;
        catalogue.set_snapshot(id(1), making.id, finish).unwrap();
        let volume = catalogue.volume(id(1)).unwrap();
        assert_eq!(
            volume.whole_snapshots().collect::<Vec<_>>(),
            [&snapshot(7, "mon")]
        );
        let text = serde_json::to_string(volume.snapshot(&name("mon")).unwrap()).unwrap();
        assert!(
            !text.contains("unfinished") && !text.contains("set"),
            "{text}"
        );
    }
}

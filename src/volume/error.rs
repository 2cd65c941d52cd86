//! Why the catalogue refuses.

use super::identity::VolumeId;
use super::iscsi_name::IscsiName;
use super::name::{GroupName, SanName, VolumeName};
use super::settings::{SettingsError, SizeError};
use crate::base::limits::{GROUPS_MAX, SNAPSHOTS_PER_VOLUME_MAX, VOLUMES_PER_GROUP_MAX};

/// Why the catalogue refuses. It has not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// No SAN of that name.
    #[error("there is no SAN {0}")]
    NoSuchSan(SanName),
    /// No group of that name.
    #[error("there is no group {group} in SAN {san}")]
    NoSuchGroup {
        /// The SAN.
        san: SanName,
        /// The group.
        group: GroupName,
    },
    /// No volume of that identifier.
    #[error("there is no volume {0}")]
    NoSuchVolume(VolumeId),
    /// The SAN is there already.
    #[error("SAN {0} exists already")]
    SanExists(SanName),
    /// The group is there already.
    #[error("group {group} exists already in SAN {san}")]
    GroupExists {
        /// The SAN.
        san: SanName,
        /// The group.
        group: GroupName,
    },
    /// The name is taken. It has to be unique in the SAN because the target's name has no group.
    #[error("volume {volume} exists already in SAN {san}, in group {group}")]
    VolumeExists {
        /// The SAN.
        san: SanName,
        /// The group of the one that exists.
        group: GroupName,
        /// The name asked for.
        volume: VolumeName,
    },
    /// The name is that of a volume that was deleted and can be restored.
    #[error(
        "volume {volume} of group {group} was deleted and can be restored: its name is taken until it \
         is purged"
    )]
    VolumeKept {
        /// Its group.
        group: GroupName,
        /// Its name.
        volume: VolumeName,
    },
    /// The volume has been deleted.
    #[error("volume {0} was deleted")]
    Deleted(VolumeName),
    /// The volume has not been deleted.
    #[error("volume {0} is not deleted")]
    NotDeleted(VolumeName),
    /// The volume has a snapshot of that name.
    #[error("snapshot {volume}@{snapshot} exists already")]
    SnapshotExists {
        /// The volume.
        volume: VolumeName,
        /// The snapshot.
        snapshot: VolumeName,
    },
    /// The volume has no snapshot of that name.
    #[error("there is no snapshot {volume}@{snapshot}")]
    NoSuchSnapshot {
        /// The volume.
        volume: VolumeName,
        /// The snapshot.
        snapshot: VolumeName,
    },
    /// No more snapshots fit into the volume.
    #[error("volume {0} has {SNAPSHOTS_PER_VOLUME_MAX} snapshots, the most it can have")]
    TooManySnapshots(VolumeName),
    /// The identifier is taken.
    #[error("volume identifier {0} is taken")]
    IdTaken(VolumeId),
    /// Another volume has that target name or alias.
    #[error("target name {name} belongs to volume {owner}")]
    TargetNameTaken {
        /// The name.
        name: IscsiName,
        /// The volume that has it.
        owner: VolumeId,
    },
    /// The SAN still has groups.
    #[error("SAN {san} still has {}", counted(*groups, "group"))]
    SanNotEmpty {
        /// The SAN.
        san: SanName,
        /// How many groups it has.
        groups: usize,
    },
    /// The group still has volumes.
    #[error("group {group} still has {}{}", counted(*volumes, "volume"), kept(*deleted))]
    GroupNotEmpty {
        /// The group.
        group: GroupName,
        /// How many volumes it has.
        volumes: usize,
        /// How many of them are deleted and can be restored.
        deleted: usize,
    },
    /// The volume still has snapshots.
    #[error("volume {volume} still has {}: {}", counted(snapshots.len(), "snapshot"), list(snapshots))]
    HasSnapshots {
        /// The volume.
        volume: VolumeName,
        /// Their names.
        snapshots: Vec<VolumeName>,
    },
    /// No more groups fit into the SAN.
    #[error("SAN {0} has {GROUPS_MAX} groups, the most it can have")]
    TooManyGroups(SanName),
    /// No more volumes fit into the group.
    #[error("group {0} has {VOLUMES_PER_GROUP_MAX} volumes, the most it can have")]
    TooManyVolumes(GroupName),
    /// The size is not one the volume can have.
    #[error("volume {volume} cannot have that size")]
    Size {
        /// The volume.
        volume: VolumeName,
        /// Why not.
        source: SizeError,
    },
    /// The settings are out of their ranges.
    #[error("volume {volume} cannot have these settings")]
    Settings {
        /// The volume.
        volume: VolumeName,
        /// Why not.
        source: SettingsError,
    },
}

/// How many of them are deleted and kept, if any are.
fn kept(deleted: usize) -> String {
    match deleted {
        0 => String::new(),
        deleted => format!(", {deleted} of them deleted and kept"),
    }
}

/// Names, one behind the other.
fn list(names: &[VolumeName]) -> String {
    let names: Vec<_> = names.iter().map(VolumeName::as_str).collect();
    names.join(", ")
}

/// "1 volume", "2 volumes".
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

//! SAN, group, volume, snapshot.

use super::access::{AccessOverrides, AccessRules};
use super::identity::{SnapshotId, SnapshotSetId, VolumeId};
use super::iscsi_name::IscsiName;
use super::limits::LimitSettings;
use super::name::{GroupName, SanName, VolumeName};
use super::settings::VolumeSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A SAN: volume groups under one name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct San {
    /// Its groups.
    pub groups: BTreeMap<GroupName, Group>,
}

/// A volume group: what its volumes have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// Who may log in to its volumes.
    pub access: AccessRules,
    /// Whether a login without CRC32C for header and data digest is refused.
    pub digests_required: bool,
    /// What an operator has set for the group.
    pub settings: GroupSettings,
}

/// What an operator sets for a group while the server runs; the rest is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSettings {
    /// Operations and bytes per second.
    #[serde(skip_serializing_if = "LimitSettings::is_default")]
    pub limits: LimitSettings,
    /// For how long a deleted volume is kept, so that it can be restored, in seconds; zero: not at all.
    pub retention_s: u64,
}

impl Group {
    /// The group that a fresh start makes, so that its volume can be used from this host.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            access: AccessRules::loopback(),
            digests_required: false,
            settings: GroupSettings::default(),
        }
    }
}

/// A volume: one iSCSI target with one logical unit.
///
/// `B` says what stores its blocks; this room never looks into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume<B> {
    /// What identifies it for as long as it lives.
    pub id: VolumeId,
    /// Its SAN.
    pub san: SanName,
    /// Its group.
    pub group: GroupName,
    /// Its name, unique in the SAN.
    pub name: VolumeName,
    /// The name of its target, given at creation: it stays when the naming authority changes.
    pub target_name: IscsiName,
    /// Further names under which its target is found.
    #[serde(default)]
    pub aliases: Vec<IscsiName>,
    /// Its size in bytes, a multiple of the block size.
    pub size_bytes: u64,
    /// How it presents itself.
    #[serde(default)]
    pub settings: VolumeSettings,
    /// What it sets apart from its group.
    #[serde(default)]
    pub access: AccessOverrides,
    /// Its snapshots, the oldest first.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// That it has been deleted, while it can be restored. Its name stays taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deletion>,
    /// What stores its blocks.
    pub backend: B,
}

/// A deletion that can be taken back for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// When it was, in milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// When it becomes final, likewise.
    pub purge_ms: u64,
}

impl<B> Volume<B> {
    /// Its size in logical blocks.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.size_bytes >> self.settings.block_size.exponent()
    }

    /// Whether it is there for its users: it has not been deleted.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.deleted.is_none()
    }

    /// Its snapshots that are whole, the oldest first.
    pub fn whole_snapshots(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.snapshots.iter().filter(|snapshot| snapshot.is_whole())
    }

    /// The snapshot of that name, whole or not.
    #[must_use]
    pub fn snapshot(&self, name: &VolumeName) -> Option<&Snapshot> {
        let mut snapshots = self.snapshots.iter();
        snapshots.find(|snapshot| snapshot.name == *name)
    }

    /// All names of its target, the true one first.
    pub fn target_names(&self) -> impl Iterator<Item = &IscsiName> {
        std::iter::once(&self.target_name).chain(&self.aliases)
    }
}

/// A volume's content at one moment. It has no reservations: they belong to the logical unit, and never
/// travel with its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// What identifies it for as long as it lives.
    pub id: SnapshotId,
    /// Its name, unique in the volume.
    pub name: VolumeName,
    /// The volume's size when it was taken, in bytes.
    pub size_bytes: u64,
    /// When it was taken, in milliseconds since 1970 (UTC).
    pub created_ms: u64,
    /// What it has in common with the snapshots of other volumes that were taken at the same instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SnapshotSetId>,
    /// It is being made or removed: its file may be there, or a part of it. A restart takes it away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

impl Snapshot {
    /// Whether it can be used.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        !self.unfinished
    }
}

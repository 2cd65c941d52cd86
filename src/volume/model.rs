//! SAN, group, volume, snapshot.

use super::access::{AccessOverrides, AccessRules};
use super::identity::VolumeId;
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
    /// What stores its blocks.
    pub backend: B,
}

impl<B> Volume<B> {
    /// Its size in logical blocks.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.size_bytes >> self.settings.block_size.exponent()
    }

    /// All names of its target, the true one first.
    pub fn target_names(&self) -> impl Iterator<Item = &IscsiName> {
        std::iter::once(&self.target_name).chain(&self.aliases)
    }
}

/// A volume's content at one moment. A volume that has snapshots cannot be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Its name, unique in the volume.
    pub name: VolumeName,
    /// The volume's size when it was taken, in bytes.
    pub size_bytes: u64,
}

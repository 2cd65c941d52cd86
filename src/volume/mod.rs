//! Layer 1: what is served, to whom, and under which names: a pure model.
//!
//! A SAN holds volume groups, a group holds volumes; a group's access rules are inherited by its
//! volumes. Each volume is one iSCSI target with one logical unit. Nothing here touches a disk: what
//! stores a volume's blocks is an opaque value of the caller's type.
//!
//! | file | what it is |
//! |---|---|
//! | [`name`] | names of SANs, groups, volumes and accounts |
//! | [`iscsi_name`] | iSCSI names, and the IQN of a volume |
//! | [`identity`] | the identifier of a volume, its NAA and serial number |
//! | [`settings`] | block size, size, sessions and INQUIRY texts |
//! | [`limits`] | operations and bytes per second |
//! | [`access`] | who may log in |
//! | [`model`] | SAN, group, volume, snapshot |
//! | [`catalogue`] | all of them together: uniqueness and limits |
//! | [`keeping`] | snapshots, deletion for a while, and the way back |
//! | [`error`] | why the catalogue refuses |

pub mod access;
pub mod catalogue;
pub mod error;
pub mod identity;
pub mod iscsi_name;
pub mod keeping;
pub mod limits;
pub mod model;
pub mod name;
pub mod settings;

#[cfg(test)]
mod tests;

pub use access::{AccessOverrides, AccessRules, Authentication, Denied, Initiators};
pub use catalogue::{Catalogue, NewVolume};
pub use error::CatalogueError;
pub use identity::{SnapshotId, SnapshotSetId, VolumeId};
pub use iscsi_name::{IscsiName, IscsiNameError, NamingAuthority};
pub use limits::{
    EffectiveLimits, LimitChange, LimitError, LimitOrigin, LimitPreset, LimitSettings, provisioned,
};
pub use model::{Deletion, Group, GroupSettings, San, Snapshot, Volume};
pub use name::{AccountName, GroupName, NameError, SanName, VolumeName};
pub use settings::{
    BlockSize, ChangeWhen, CommonSettings, InquiryText, ReservationScope, SettingsChange,
    SettingsError, SizeError, UnusedOnly, VolumeSettings, sessions_run_short,
};

//! Deleting and restoring, snapshots, images.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LimitsSet;
use crate::volume::{GroupName, VolumeName};

/// Parameters of `volume.list`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeList {
    /// Those that are deleted and can be restored, instead of those that are there.
    #[serde(default)]
    pub deleted: bool,
}

/// Parameters of `volume.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeDelete {
    /// The volume's name.
    pub name: VolumeName,
    /// Ask sessions to log out, and drop those that don't, instead of refusing while there are any.
    #[serde(default)]
    pub force: bool,
    /// Delete it for good, whatever its group keeps; also one that is deleted already.
    #[serde(default)]
    pub purge: bool,
    /// Delete its snapshots with it, instead of refusing while there are any.
    #[serde(default)]
    pub delete_snapshots: bool,
}

/// Parameters of `group.set`; what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSet {
    /// The group's name.
    pub name: GroupName,
    /// For how long its deleted volumes are kept, in seconds; zero: not at all.
    #[serde(default)]
    pub retention_seconds: Option<u64>,
    /// What its volumes may have together, and the preset of those that have chosen none.
    #[serde(default)]
    pub limits: LimitsSet,
}

/// What names a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSelect {
    /// The volume's name.
    pub volume: VolumeName,
    /// The snapshot's name.
    pub snapshot: VolumeName,
}

/// Parameters of `snapshot.create`: one snapshot of each volume, all at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// The volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeName>,
    /// And every volume of this group.
    #[serde(default)]
    pub group: Option<GroupName>,
    /// The name that each of the snapshots gets.
    pub name: VolumeName,
    /// Copy where blocks can't be shared. No session may be logged in then, and none can log in before
    /// it is done.
    #[serde(default)]
    pub copy: bool,
}

/// Parameters of `snapshot.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotList {
    /// Only those of one volume.
    #[serde(default)]
    pub volume: Option<VolumeName>,
}

/// Parameters of `volume.revert`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRevert {
    /// The volume's name.
    pub name: VolumeName,
    /// The snapshot whose content it gets.
    pub to: VolumeName,
    /// Ask sessions to log out, and drop those that don't, instead of refusing while somebody uses it.
    #[serde(default)]
    pub force: bool,
    /// Copy where blocks can't be shared.
    #[serde(default)]
    pub copy: bool,
}

/// How an image is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// The blocks, one behind the other.
    Raw,
    /// QEMU's.
    Qcow2,
    /// Virtual PC's and Azure's, of fixed or growing size.
    Vhd,
    /// Hyper-V's.
    Vhdx,
}

/// An image to read or write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The file; absolute.
    pub path: PathBuf,
    /// Its format. It is never found out from what is in the file: whoever wrote a raw disk would choose
    /// it.
    pub format: ImageFormat,
}

/// What a new volume is filled with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VolumeSource {
    /// A snapshot's content.
    Snapshot {
        /// The volume that it is of.
        volume: VolumeName,
        /// The snapshot.
        snapshot: VolumeName,
        /// Copy where blocks can't be shared.
        #[serde(default)]
        copy: bool,
    },
    /// An image's content.
    Image(Image),
}

/// Parameters of `volume.export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeExport {
    /// The volume's name.
    pub name: VolumeName,
    /// Its snapshot; left out: the volume itself, which nobody may use then.
    #[serde(default)]
    pub snapshot: Option<VolumeName>,
    /// Where to write; no such file may be there.
    pub image: Image,
}

/// A snapshot as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// The volume's name.
    pub volume: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub created_ms: u64,
    /// The volume's size then.
    pub size_bytes: u64,
    /// What it has in common with snapshots of other volumes that were taken at the same instant.
    pub set: Option<String>,
    /// Its file.
    pub path: PathBuf,
    /// Bytes that its file occupies, those that it shares with the volume included; `None` where the file
    /// can't be looked at.
    pub allocated_bytes: Option<u64>,
    /// What is wrong with it, or may become.
    pub warning: Option<String>,
}

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportView {
    /// The volume's name.
    pub volume: String,
    /// The snapshot; `None`: the volume itself.
    pub snapshot: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: ImageFormat,
    /// Bytes of the disk in it.
    pub size_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// How far long work has come: the `params` of a notification `progress`, which comes before the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressView {
    /// `import`, `export` or `copy`.
    pub task: String,
    /// The volume.
    pub volume: String,
    /// How much is done.
    pub percent: f64,
    /// Bytes of the whole.
    pub total_bytes: u64,
}

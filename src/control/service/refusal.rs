//! From what the rooms below refuse to what whoever asked is told.

use crate::control::catalogue::CatalogueError;
use crate::control::error::{ControlError, ErrorKind, with_sources};
use crate::control::plane::PlaneError;
use crate::volume::{self, VolumeName};

pub(super) fn volume_error(kind: ErrorKind, name: &VolumeName, message: &str) -> ControlError {
    ControlError::new(
        kind,
        format!("volume {name}"),
        format!("volume {name} {message}"),
    )
}

/// What the data path refused, with the volume's name.
pub(super) fn about_volume(name: &VolumeName, error: &PlaneError) -> ControlError {
    let kind = match error {
        PlaneError::InUse { .. } => ErrorKind::Busy,
        PlaneError::UnknownVolume => ErrorKind::NotFound,
        PlaneError::Exists => ErrorKind::Exists,
        PlaneError::Registered { .. } => ErrorKind::Busy,
        PlaneError::Stopped => ErrorKind::Stopping,
        _ => ErrorKind::Failed,
    };
    let what = match error {
        PlaneError::InUse { .. } | PlaneError::Registered { .. } => "is in use",
        _ => "can't be served",
    };
    volume_error(kind, name, &format!("{what}: {}", with_sources(error)))
}

impl From<PlaneError> for ControlError {
    fn from(error: PlaneError) -> Self {
        Self::new(ErrorKind::Failed, "data path", with_sources(&error))
    }
}

impl From<CatalogueError> for ControlError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Refused(refusal) => refusal.into(),
            error => Self::new(ErrorKind::Failed, "catalogue", error.to_string()),
        }
    }
}

impl From<volume::CatalogueError> for ControlError {
    fn from(refusal: volume::CatalogueError) -> Self {
        use volume::CatalogueError as Refusal;
        let (kind, what) = match &refusal {
            Refusal::NoSuchSan(san) => (ErrorKind::NotFound, format!("SAN {san}")),
            Refusal::NoSuchGroup { group, .. } => (ErrorKind::NotFound, format!("group {group}")),
            Refusal::NoSuchVolume(id) => (ErrorKind::NotFound, format!("volume {id}")),
            Refusal::SanExists(san) => (ErrorKind::Exists, format!("SAN {san}")),
            Refusal::GroupExists { group, .. } => (ErrorKind::Exists, format!("group {group}")),
            Refusal::VolumeExists { volume, .. } | Refusal::VolumeKept { volume, .. } => {
                (ErrorKind::Exists, format!("volume {volume}"))
            }
            Refusal::Deleted(volume) | Refusal::NotDeleted(volume) => {
                (ErrorKind::Invalid, format!("volume {volume}"))
            }
            Refusal::SnapshotExists { volume, snapshot } => {
                (ErrorKind::Exists, format!("snapshot {volume}@{snapshot}"))
            }
            Refusal::NoSuchSnapshot { volume, snapshot } => {
                (ErrorKind::NotFound, format!("snapshot {volume}@{snapshot}"))
            }
            Refusal::TooManySnapshots(volume) => (ErrorKind::Limit, format!("volume {volume}")),
            Refusal::IdTaken(id) => (ErrorKind::Exists, format!("volume {id}")),
            Refusal::TargetNameTaken { name, .. } => (ErrorKind::Exists, format!("target {name}")),
            Refusal::SanNotEmpty { san, .. } => (ErrorKind::Busy, format!("SAN {san}")),
            Refusal::GroupNotEmpty { group, .. } => (ErrorKind::Busy, format!("group {group}")),
            Refusal::HasSnapshots { volume, .. } => (ErrorKind::Busy, format!("volume {volume}")),
            Refusal::TooManyGroups(san) => (ErrorKind::Limit, format!("SAN {san}")),
            Refusal::TooManyVolumes(group) => (ErrorKind::Limit, format!("group {group}")),
            Refusal::Size { volume, .. } | Refusal::Settings { volume, .. } => {
                (ErrorKind::Invalid, format!("volume {volume}"))
            }
        };
        let error = Self::new(kind, what, with_sources(&refusal));
        match refusal {
            Refusal::GroupNotEmpty { deleted: 0, .. } => error.hint("delete its volumes first"),
            Refusal::GroupNotEmpty { .. } => error.hint(
                "delete its volumes first; `holdfast volume list --deleted` shows those that are kept, \
                 `holdfast volume delete NAME --purge` ends that",
            ),
            Refusal::VolumeKept { volume, .. } => error.hint(format!(
                "`holdfast volume restore {volume}` brings it back, `holdfast volume delete {volume} \
                 --purge` makes its name free"
            )),
            Refusal::HasSnapshots { volume, .. } => error.hint(format!(
                "`holdfast snapshot delete {volume} SNAPSHOT` deletes one of them; with \
                 --delete-snapshots they go with the volume"
            )),
            _ => error,
        }
    }
}

//! The first start on an empty data directory: one group, one volume, ready to be used.

use super::Service;
use crate::control::api::{BackendKind, LimitsSet, VolumeCreate};
use crate::control::error::{ControlError, ErrorKind};
use crate::volume::{BlockSize, GroupName, NameError};

/// The group of volumes that name none.
pub const GROUP_DEFAULT: &str = "default";
const VOLUME_FIRST: &str = "volume-1";
const VOLUME_FIRST_BYTES: u64 = 1 << 30;

impl Service {
    /// Makes the first volume, unless that has been done. Deleting it later does not bring it back.
    pub(super) fn make_first_volume(&self) -> Result<(), ControlError> {
        if self.catalogue.is_founded()? {
            return Ok(());
        }
        let create = VolumeCreate {
            name: VOLUME_FIRST.parse().map_err(invalid)?,
            size_bytes: Some(VOLUME_FIRST_BYTES),
            source: None,
            group: None,
            backend: BackendKind::File,
            path: None,
            block_bytes: BlockSize::default(),
            read_only: false,
            removable: false,
            sessions_max: None,
            reservation_scope: None,
            limits: LimitsSet::default(),
            delay_us: 0,
            test_wrappers: Vec::new(),
        };
        match self.create_volume_in_turn(&create) {
            // A former first start came as far as that.
            Err(error) if error.kind == ErrorKind::Exists => {}
            made => drop(made?),
        }
        Ok(self.catalogue.set_founded()?)
    }
}

pub(super) fn default_group() -> Result<GroupName, ControlError> {
    GROUP_DEFAULT.parse().map_err(invalid)
}

fn invalid(error: NameError) -> ControlError {
    ControlError::new(ErrorKind::Failed, "default name", error.to_string())
}

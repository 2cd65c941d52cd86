//! What identifies a volume to an initiator for as long as it lives, whatever it is called.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The identifier of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeId(Uuid);

impl VolumeId {
    /// The NAA designator (SPC-4 section 7.8.6.6.4): NAA 3h, locally assigned, the form for those
    /// who have no company identifier from IEEE; behind it the last sixty bits of the identifier,
    /// which are random in every kind of UUID that we are given.
    #[must_use]
    pub fn naa(self) -> [u8; 8] {
        let (_, low) = self.0.as_u64_pair();
        ((3 << 60) | (low & (u64::MAX >> 4))).to_be_bytes()
    }

    /// The unit serial number (VPD page 80h): the identifier's thirty-two hexadecimal digits.
    #[must_use]
    pub fn serial_number(self) -> String {
        self.0.simple().to_string()
    }

    /// The identifier as a UUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for VolumeId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl std::str::FromStr for VolumeId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

macro_rules! identifier {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }
    };
}

identifier! {
    /// The identifier of a snapshot. No initiator ever sees it.
    SnapshotId
}

identifier! {
    /// The identifier of snapshots that were taken of several volumes at one instant.
    SnapshotSetId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn designators_follow_from_the_identifier_alone() {
        let id: VolumeId = "0b5c8a4e-1d2f-4c3b-9a87-6f5e4d3c2b1a".parse().unwrap();
        assert_eq!(id.naa(), [0x3a, 0x87, 0x6f, 0x5e, 0x4d, 0x3c, 0x2b, 0x1a]);
        assert_eq!(id.serial_number(), "0b5c8a4e1d2f4c3b9a876f5e4d3c2b1a");
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

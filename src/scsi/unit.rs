//! A logical unit as commands see it: identity, geometry, properties, pages, ports, medium.
//!
//! A [`LogicalUnit`] is rarely written. `target` publishes it as a whole behind one RCU cell; a
//! command reads it through a [`View`] that lives as long as the tick's guard.

use super::attention::UnitAttention;
use super::mode::Modes;
use super::ports::Ports;
use crate::reservation;
use serde::{Deserialize, Serialize};

/// What a command is planned against.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The logical unit.
    pub unit: &'a LogicalUnit,
    /// What the LUN of the command names.
    pub lun: LunKind,
    /// What the nexus of the command may do, from the reservation snapshot.
    pub rights: reservation::Rights,
    /// Relative identifier of the target port that the command came through.
    pub port: u16,
    /// The attention that REQUEST SENSE shall report (see
    /// [`AttentionQueue::admit`](super::attention::AttentionQueue::admit)).
    pub attention: Option<UnitAttention>,
    /// Wall clock in milliseconds since 1970, for REPORT TIMESTAMP.
    pub timestamp_ms: u64,
}

/// What a LUN names on this target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LunKind {
    /// LUN 0: the volume.
    Disk,
    /// C101 0000h: the REPORT LUNS well-known logical unit (SPC-4 section 8.2).
    ReportLuns,
    /// Nothing.
    Missing,
}

impl LunKind {
    /// Tells what the eight bytes of a LUN field name (SAM-5 section 4.7).
    ///
    /// LUN 0 is taken in peripheral and in flat space addressing.
    #[must_use]
    pub const fn of(lun: [u8; 8]) -> Self {
        match u64::from_be_bytes(lun) {
            0 | 0x4000_0000_0000_0000 => Self::Disk,
            0xC101_0000_0000_0000 => Self::ReportLuns,
            _ => Self::Missing,
        }
    }
}

/// Everything rarely written about one volume.
#[derive(Debug, Clone)]
pub struct LogicalUnit {
    /// Names.
    pub identity: Identity,
    /// Blocks.
    pub geometry: Geometry,
    /// What the backend can do.
    pub properties: Properties,
    /// Mode pages: current, saved and default.
    pub modes: Modes,
    /// What every nexus may do.
    pub reservation: reservation::Snapshot,
    /// Target ports and their groups.
    pub ports: Ports,
    /// Whether the blocks can be reached. `target` changes it and publishes the unit anew.
    pub medium: Medium,
    /// Some nexus prevents removal of the medium (SBC-3 section 5.10).
    pub removal_prevented: bool,
}

/// Names of a logical unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, padded with spaces.
    pub vendor: [u8; 8],
    /// PRODUCT IDENTIFICATION, padded with spaces.
    pub product: [u8; 16],
    /// PRODUCT REVISION LEVEL, padded with spaces.
    pub revision: [u8; 4],
    /// PRODUCT SERIAL NUMBER: printable ASCII, unique per volume, the same for ever.
    pub serial: String,
    /// NAA designator, format 3h (locally assigned), unique per volume (SPC-4 section 7.8.6.6.4).
    pub naa: [u8; 8],
    /// The iSCSI name of the target.
    pub target_name: String,
    /// What REPORT IDENTIFYING INFORMATION tells as text: the volume's name.
    pub label: String,
}

/// Blocks of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical block, 512 or 4096.
    pub block_bytes: u32,
    /// Logical blocks of the volume.
    pub blocks: u64,
    /// A physical block is 2 to the power of that many logical blocks.
    pub physical_exponent: u8,
    /// First logical block at the start of a physical block.
    pub lowest_aligned: u16,
}

impl Geometry {
    /// Bytes of the volume.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes as u64)
    }
}

/// What a volume can do, as its backend told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a bit of a VPD page")]
pub struct Properties {
    /// Blocks take space only once written (LBPME); UNMAP and WRITE SAME with UNMAP work.
    pub thin: bool,
    /// Blocks that are not allocated read as zeros (LBPRZ).
    pub reads_zeros: bool,
    /// A volatile cache stands before the medium (V_SUP; WCE can be set).
    pub volatile_cache: bool,
    /// Writes of up to that many bytes are atomic, at most
    /// [`ATOMIC_WRITE_BYTES_MAX`](crate::base::limits::ATOMIC_WRITE_BYTES_MAX); 0 where none is.
    pub atomic_write_bytes: u32,
    /// Cryptographic erase means something: the backend can throw its key away.
    pub crypto_erase: bool,
    /// The medium turns.
    pub rotational: bool,
    /// RMB: the medium can be ejected. Clusters refuse removable disks, so this is off but in tests.
    pub removable: bool,
    /// The backend cannot be written.
    pub read_only: bool,
    /// Granularity of deallocation, in bytes; a multiple of the block.
    pub unmap_granularity_bytes: u32,
    /// Best transfer size, in bytes; 0 if none is better.
    pub optimal_transfer_bytes: u32,
}

/// Whether the blocks of a volume can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Medium {
    /// Yes.
    Ready,
    /// START STOP UNIT ejected it: 2/3A/02.
    Ejected,
    /// FORMAT UNIT runs: 2/04/04, with progress in 65536ths.
    Formatting {
        /// How far it has come.
        progress: u16,
    },
    /// SANITIZE runs: 2/04/1B, with progress in 65536ths.
    Sanitizing {
        /// How far it has come.
        progress: u16,
    },
    /// SANITIZE failed: 3/31/03 until EXIT FAILURE MODE or a SANITIZE that works.
    SanitizeFailed {
        /// AUSE was set: EXIT FAILURE MODE may be used.
        unrestricted_exit: bool,
    },
}

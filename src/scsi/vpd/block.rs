//! Block limits (B0h), block device characteristics (B1h), logical block provisioning (B2h)
//! (SBC-3 sections 6.6.3 to 6.6.5).

use crate::base::limits::{
    COMPARE_AND_WRITE_BLOCKS_MAX, TRANSFER_BYTES_MAX, UNMAP_BYTES_MAX, UNMAP_DESCRIPTORS_MAX,
};
use crate::scsi::block::unmap;
use crate::scsi::unit::LogicalUnit;

/// UGAVALID: the granularity alignment counts.
const ALIGNMENT_VALID: u32 = 0x8000_0000;
/// MEDIUM ROTATION RATE 0001h: the medium does not turn.
const NON_ROTATING: u16 = 1;
const LBPU_LBPWS_LBPWS10: u8 = 0xE0;
const LBPRZ: u8 = 0x04;
const THIN: u8 = 0x02;

/// WSNZ: WRITE SAME wants a count that is not zero.
const WRITE_SAME_NON_ZERO: u8 = 0x01;
/// WABEREQ 01b: blocks read without errors after a block erase, with no need to be written first.
const READABLE_AFTER_BLOCK_ERASE: u8 = 0x40;

/// Every limit is what the commands check: atomic writes have no alignment and no
/// boundary.
pub(super) fn limits(unit: &LogicalUnit) -> Vec<u8> {
    let block = unit.geometry.block_bytes;
    let blocks = |bytes: u64| bytes.checked_div(u64::from(block)).unwrap_or(0);
    let field = |bytes: u64| u32::try_from(blocks(bytes)).unwrap_or(u32::MAX);
    let thin = |value: u32| if unit.properties.thin { value } else { 0 };
    let granularity = field(unit.properties.unmap_granularity_bytes.into());
    let atomic = field(unit.properties.atomic_write_bytes.into());
    let physical = 1_u16
        .checked_shl(unit.geometry.physical_exponent.into())
        .unwrap_or(0);

    let mut body = vec![WRITE_SAME_NON_ZERO, COMPARE_AND_WRITE_BLOCKS_MAX];
    body.extend_from_slice(&physical.to_be_bytes());
    for value in [
        field(TRANSFER_BYTES_MAX),
        field(unit.properties.optimal_transfer_bytes.into()),
        0,
        thin(unmap::blocks_max(block)),
        thin(UNMAP_DESCRIPTORS_MAX),
        thin(granularity),
        thin(ALIGNMENT_VALID),
    ] {
        body.extend_from_slice(&value.to_be_bytes());
    }
    body.extend_from_slice(&blocks(UNMAP_BYTES_MAX).to_be_bytes());
    body.extend_from_slice(&atomic.to_be_bytes());
    body.resize(60, 0);
    body
}

pub(super) fn characteristics(unit: &LogicalUnit) -> Vec<u8> {
    let rate = if unit.properties.rotational {
        0
    } else {
        NON_ROTATING
    };
    let mut body = rate.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, READABLE_AFTER_BLOCK_ERASE]);
    body.resize(60, 0);
    body
}

/// Anchored blocks are not supported; no threshold is.
pub(super) fn provisioning(unit: &LogicalUnit) -> Vec<u8> {
    if !unit.properties.thin {
        return vec![0; 4];
    }
    let zeros = if unit.properties.reads_zeros {
        LBPRZ
    } else {
        0
    };
    vec![0, LBPU_LBPWS_LBPWS10 | zeros, THIN, 0]
}

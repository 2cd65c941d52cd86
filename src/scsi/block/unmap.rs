//! UNMAP (SBC-3 section 5.28).
//!
//! Parameter list: UNMAP DATA LENGTH (2), UNMAP BLOCK DESCRIPTOR DATA LENGTH (2), reserved (4), then
//! descriptors of 16 bytes: LBA (8), NUMBER OF LOGICAL BLOCKS (4), reserved (4).

use super::{Blocks, NOTHING};
use crate::base::limits::{UNMAP_BYTES_MAX, UNMAP_DESCRIPTORS_MAX};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::fields::Fields;
use crate::scsi::plan::{ByteRange, Plan};
use crate::scsi::sense::{Code, Failure};

const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;
/// The most that MAXIMUM UNMAP LBA COUNT says, in blocks: initiators take more for a mistake.
const BLOCKS_MAX: u64 = 1 << 20;

/// MAXIMUM UNMAP LBA COUNT for blocks of that size.
pub(in crate::scsi) fn blocks_max(block_bytes: u32) -> u32 {
    let blocks = UNMAP_BYTES_MAX
        .checked_div(u64::from(block_bytes))
        .unwrap_or(0)
        .min(BLOCKS_MAX);
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

pub(in crate::scsi) fn plan(request: &Request<'_>) -> Planned {
    let length = u32::from(request.cdb.be16(7));
    match length {
        0 => Ok(NOTHING),
        1..8 => Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH)),
        _ => Ok(Plan::Parameters { length }),
    }
}

pub(in crate::scsi) fn parse(request: &Request<'_>, data: &[u8]) -> Planned {
    let geometry = &request.view.unit.geometry;
    let list = Fields(data);
    let length = usize::from(list.be16(2));
    let descriptors = list.slice(HEADER_BYTES, length);
    // A last descriptor that is cut short is left aside (SBC-3 section 5.28.2).
    let count = descriptors.length() / DESCRIPTOR_BYTES;
    if u32::try_from(count).is_ok_and(|count| count > UNMAP_DESCRIPTORS_MAX) {
        return Err(Failure::parameter_field(2));
    }
    let mut ranges = Vec::with_capacity(count);
    let mut total = 0_u64;
    for (index, bytes) in descriptors.0.chunks_exact(DESCRIPTOR_BYTES).enumerate() {
        let descriptor = Fields(bytes);
        let count = u64::from(descriptor.be32(8));
        total = total.saturating_add(count);
        if total > u64::from(blocks_max(geometry.block_bytes)) {
            let at = index
                .saturating_mul(DESCRIPTOR_BYTES)
                .saturating_add(HEADER_BYTES + 8);
            return Err(Failure::parameter_field(at));
        }
        let blocks = Blocks {
            lba: descriptor.be64(0),
            count,
            count_at: 0,
        };
        let range = blocks.range(geometry)?;
        if range.length != 0 {
            ranges.push(range);
        }
    }
    if ranges.is_empty() {
        return Ok(NOTHING);
    }
    Ok(Plan::Unmap {
        ranges: merged(ranges),
    })
}

/// The same bytes in the same order, adjacent descriptors joined.
fn merged(ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut merged: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end() == range.offset => {
                last.length = last.length.saturating_add(range.length);
            }
            _ => merged.push(range),
        }
    }
    merged
}

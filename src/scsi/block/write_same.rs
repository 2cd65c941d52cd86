//! WRITE SAME 10/16 (SBC-3 sections 5.43, 5.44).
//!
//! WSNZ is 1: a count of zero, which would mean all the rest of the volume, is refused. Anchored
//! blocks are not supported (ANC_SUP 0), so ANCHOR fails with the reserved bits.

use super::Blocks;
use super::read::{blocks10, blocks16};
use crate::base::limits::UNMAP_BYTES_MAX;
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::{Plan, SameSource};
use crate::scsi::sense::Failure;

const UNMAP_BIT: u8 = 3;
const NO_DATA_OUT_BIT: u8 = 0;

pub(in crate::scsi) fn write_same10(request: &Request<'_>) -> Planned {
    write_same(request, blocks10(request.cdb), SameSource::Block)
}

pub(in crate::scsi) fn write_same16(request: &Request<'_>) -> Planned {
    let source = if request.cdb.bit(1, NO_DATA_OUT_BIT) {
        SameSource::Zeros
    } else {
        SameSource::Block
    };
    write_same(request, blocks16(request.cdb), source)
}

fn write_same(request: &Request<'_>, blocks: Blocks, source: SameSource) -> Planned {
    let unit = request.view.unit;
    let deallocate = request.cdb.bit(1, UNMAP_BIT);
    if deallocate && !unit.properties.thin {
        return Err(Failure::cdb_bit(1, UNMAP_BIT));
    }
    if blocks.count == 0 {
        return Err(Failure::cdb_field(blocks.count_at));
    }
    let range = blocks.range(&unit.geometry)?;
    if range.length > UNMAP_BYTES_MAX {
        return Err(Failure::cdb_field(blocks.count_at));
    }
    Ok(Plan::WriteSame {
        range,
        source,
        deallocate,
    })
}

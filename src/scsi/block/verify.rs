//! VERIFY 10/12/16 (SBC-4 section 5.36).

use super::read::{Flags, blocks10, blocks12, blocks16};
use super::{Blocks, NOTHING};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::{Plan, VerifyMode};
use crate::scsi::sense::Failure;

pub(in crate::scsi) fn verify10(request: &Request<'_>) -> Planned {
    verify(request, blocks10(request.cdb))
}

pub(in crate::scsi) fn verify12(request: &Request<'_>) -> Planned {
    verify(request, blocks12(request.cdb))
}

pub(in crate::scsi) fn verify16(request: &Request<'_>) -> Planned {
    verify(request, blocks16(request.cdb))
}

fn verify(request: &Request<'_>, blocks: Blocks) -> Planned {
    let geometry = &request.view.unit.geometry;
    // Only BYTCHK 01b moves as many bytes as it verifies.
    let (mode, range) = match request.cdb.byte(1) >> 1 & 0x03 {
        0b00 => (VerifyMode::Medium, blocks.range(geometry)?),
        0b01 => (VerifyMode::Compare, blocks.transfer(geometry)?),
        0b11 => (VerifyMode::Pattern, blocks.range(geometry)?),
        _ => return Err(Failure::cdb_bit(1, 2)),
    };
    if range.length == 0 {
        return Ok(NOTHING);
    }
    let Flags { dpo, .. } = Flags::of(request.cdb, true);
    Ok(Plan::Verify { range, mode, dpo })
}

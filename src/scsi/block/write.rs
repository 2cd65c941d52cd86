//! WRITE 6/10/12/16, WRITE AND VERIFY, WRITE ATOMIC, ORWRITE, COMPARE AND WRITE
//! (SBC-3 sections 5.2, 5.8, 5.32 to 5.40; SBC-4 section 5.43).

use super::read::{Flags, blocks6, blocks10, blocks12, blocks16};
use super::{Blocks, NOTHING};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::Plan;
use crate::scsi::sense::Failure;

pub(in crate::scsi) fn write6(request: &Request<'_>) -> Planned {
    write(request, blocks6(request.cdb), false)
}

pub(in crate::scsi) fn write10(request: &Request<'_>) -> Planned {
    write(request, blocks10(request.cdb), true)
}

pub(in crate::scsi) fn write12(request: &Request<'_>) -> Planned {
    write(request, blocks12(request.cdb), true)
}

pub(in crate::scsi) fn write16(request: &Request<'_>) -> Planned {
    write(request, blocks16(request.cdb), true)
}

fn write(request: &Request<'_>, blocks: Blocks, flags: bool) -> Planned {
    let range = blocks.transfer(&request.view.unit.geometry)?;
    if range.length == 0 {
        return Ok(NOTHING);
    }
    let Flags { dpo, fua } = Flags::of(request.cdb, flags);
    Ok(Plan::Write {
        range,
        dpo,
        fua,
        atomic: false,
    })
}

/// ATOMIC BOUNDARY is not supported (MAXIMUM ATOMIC BOUNDARY SIZE 0): a boundary that is set fails
/// with the reserved bits.
pub(in crate::scsi) fn write_atomic(request: &Request<'_>) -> Planned {
    let blocks = Blocks {
        lba: request.cdb.be64(2),
        count: u64::from(request.cdb.be16(12)),
        count_at: 12,
    };
    let range = blocks.range(&request.view.unit.geometry)?;
    if range.length > u64::from(request.view.unit.properties.atomic_write_bytes) {
        return Err(Failure::cdb_field(12));
    }
    if range.length == 0 {
        return Ok(NOTHING);
    }
    let Flags { dpo, fua } = Flags::of(request.cdb, true);
    Ok(Plan::Write {
        range,
        dpo,
        fua,
        atomic: true,
    })
}

pub(in crate::scsi) fn write_and_verify10(request: &Request<'_>) -> Planned {
    write_and_verify(request, blocks10(request.cdb))
}

pub(in crate::scsi) fn write_and_verify12(request: &Request<'_>) -> Planned {
    write_and_verify(request, blocks12(request.cdb))
}

pub(in crate::scsi) fn write_and_verify16(request: &Request<'_>) -> Planned {
    write_and_verify(request, blocks16(request.cdb))
}

fn write_and_verify(request: &Request<'_>, blocks: Blocks) -> Planned {
    let compare = match request.cdb.byte(1) >> 1 & 0x03 {
        0b00 => false,
        0b01 => true,
        _ => return Err(Failure::cdb_bit(1, 2)),
    };
    let range = blocks.transfer(&request.view.unit.geometry)?;
    if range.length == 0 {
        return Ok(NOTHING);
    }
    let Flags { dpo, .. } = Flags::of(request.cdb, true);
    Ok(Plan::WriteAndVerify {
        range,
        compare,
        dpo,
    })
}

pub(in crate::scsi) fn or_write(request: &Request<'_>) -> Planned {
    let range = blocks16(request.cdb).transfer(&request.view.unit.geometry)?;
    if range.length == 0 {
        return Ok(NOTHING);
    }
    let Flags { dpo, fua } = Flags::of(request.cdb, true);
    Ok(Plan::OrWrite { range, dpo, fua })
}

/// MAXIMUM COMPARE AND WRITE LENGTH is 255, all that the count's one byte can say.
pub(in crate::scsi) fn compare_and_write(request: &Request<'_>) -> Planned {
    let blocks = Blocks {
        lba: request.cdb.be64(2),
        count: u64::from(request.cdb.byte(13)),
        count_at: 13,
    };
    // Zero blocks are no error, but zero blocks with data for them are; so they are planned too.
    let range = blocks.transfer(&request.view.unit.geometry)?;
    let Flags { dpo, fua } = Flags::of(request.cdb, true);
    Ok(Plan::CompareAndWrite { range, dpo, fua })
}

const _: () = assert!(crate::base::limits::COMPARE_AND_WRITE_BLOCKS_MAX == u8::MAX);

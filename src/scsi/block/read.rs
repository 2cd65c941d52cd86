//! READ 6/10/12/16 (SBC-3 sections 5.12 to 5.15).

use super::{Blocks, NOTHING};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::fields::Fields;
use crate::scsi::plan::Plan;

/// DPO and FUA stand in byte 1 of every CDB that has them.
const DPO_BIT: u8 = 4;
const FUA_BIT: u8 = 3;

pub(in crate::scsi) fn read6(request: &Request<'_>) -> Planned {
    read(request, blocks6(request.cdb), false)
}

pub(in crate::scsi) fn read10(request: &Request<'_>) -> Planned {
    read(request, blocks10(request.cdb), true)
}

pub(in crate::scsi) fn read12(request: &Request<'_>) -> Planned {
    read(request, blocks12(request.cdb), true)
}

pub(in crate::scsi) fn read16(request: &Request<'_>) -> Planned {
    read(request, blocks16(request.cdb), true)
}

fn read(request: &Request<'_>, blocks: Blocks, flags: bool) -> Planned {
    let range = blocks.transfer(&request.view.unit.geometry)?;
    if range.length == 0 {
        return Ok(NOTHING);
    }
    let Flags { dpo, fua } = Flags::of(request.cdb, flags);
    Ok(Plan::Read { range, dpo, fua })
}

/// How a transfer treats caches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) dpo: bool,
    pub(super) fua: bool,
}

impl Flags {
    /// The flags of `cdb`, if its format has some: in a 6-byte CDB those bits are of the LBA.
    pub(super) fn of(cdb: Fields<'_>, present: bool) -> Self {
        Self {
            dpo: present && cdb.bit(1, DPO_BIT),
            fua: present && cdb.bit(1, FUA_BIT),
        }
    }
}

/// 21 bits of LBA, 8 bits of count; a count of 0 means 256.
pub(super) fn blocks6(cdb: Fields<'_>) -> Blocks {
    let count = match cdb.byte(4) {
        0 => 256,
        count => u64::from(count),
    };
    Blocks {
        lba: u64::from(cdb.be24(1) & 0x001F_FFFF),
        count,
        count_at: 4,
    }
}

pub(super) fn blocks10(cdb: Fields<'_>) -> Blocks {
    Blocks {
        lba: u64::from(cdb.be32(2)),
        count: u64::from(cdb.be16(7)),
        count_at: 7,
    }
}

pub(super) fn blocks12(cdb: Fields<'_>) -> Blocks {
    Blocks {
        lba: u64::from(cdb.be32(2)),
        count: u64::from(cdb.be32(6)),
        count_at: 6,
    }
}

pub(super) fn blocks16(cdb: Fields<'_>) -> Blocks {
    Blocks {
        lba: cdb.be64(2),
        count: u64::from(cdb.be32(10)),
        count_at: 10,
    }
}

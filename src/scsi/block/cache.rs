//! PRE-FETCH and SYNCHRONIZE CACHE 10/16 (SBC-3 sections 5.10, 5.11, 5.26, 5.27).
//!
//! For both, a count of zero means up to the last block. SYNC_NV (SBC-2, obsolete since) is taken and
//! means nothing: no cache here is non-volatile.

use super::Blocks;
use super::read::{blocks10, blocks16};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::Plan;

const IMMEDIATE_BIT: u8 = 1;

pub(in crate::scsi) fn prefetch10(request: &Request<'_>) -> Planned {
    prefetch(request, blocks10(request.cdb))
}

pub(in crate::scsi) fn prefetch16(request: &Request<'_>) -> Planned {
    prefetch(request, blocks16(request.cdb))
}

fn prefetch(request: &Request<'_>, blocks: Blocks) -> Planned {
    Ok(Plan::Prefetch {
        range: blocks.range_to_end(&request.view.unit.geometry)?,
        immediate: request.cdb.bit(1, IMMEDIATE_BIT),
    })
}

pub(in crate::scsi) fn synchronize10(request: &Request<'_>) -> Planned {
    synchronize(request, blocks10(request.cdb))
}

pub(in crate::scsi) fn synchronize16(request: &Request<'_>) -> Planned {
    synchronize(request, blocks16(request.cdb))
}

fn synchronize(request: &Request<'_>, blocks: Blocks) -> Planned {
    Ok(Plan::Flush {
        range: blocks.range_to_end(&request.view.unit.geometry)?,
        immediate: request.cdb.bit(1, IMMEDIATE_BIT),
    })
}

//! REPORT LUNS (SPC-4 section 6.33): the volume is LUN 0, and there is nothing else.

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::Failure;

const DISK: u64 = 0;
const REPORT_LUNS: u64 = 0xC101_0000_0000_0000;

pub(super) fn plan(request: &Request<'_>) -> Planned {
    let luns: &[u64] = match request.cdb.byte(2) {
        0x00 | 0x11 => &[DISK],
        0x01 => &[REPORT_LUNS],
        0x02 => &[DISK, REPORT_LUNS],
        // Administrative logical units and those below one: none.
        0x10 | 0x12 => &[],
        _ => return Err(Failure::cdb_field(2)),
    };
    let length = u32::try_from(luns.len().saturating_mul(8)).unwrap_or(u32::MAX);
    let mut data = length.to_be_bytes().to_vec();
    data.extend_from_slice(&[0; 4]);
    for lun in luns {
        data.extend_from_slice(&lun.to_be_bytes());
    }
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(6))))
}

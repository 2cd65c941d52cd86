//! READ CAPACITY 10/16 (SBC-3 sections 5.16, 5.17).

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};

const LBPME: u8 = 0x80;
const LBPRZ: u8 = 0x40;

/// The last LBA, or FFFFFFFFh: ask READ CAPACITY(16).
pub(super) fn read10(request: &Request<'_>) -> Planned {
    let geometry = &request.view.unit.geometry;
    let last = u32::try_from(geometry.blocks.saturating_sub(1)).unwrap_or(u32::MAX);
    let mut data = Vec::with_capacity(8);
    data.extend_from_slice(&last.to_be_bytes());
    data.extend_from_slice(&geometry.block_bytes.to_be_bytes());
    Ok(Plan::Reply(Reply { data }))
}

/// LBPME and LBPRZ agree with the logical block provisioning page.
pub(super) fn read16(request: &Request<'_>) -> Planned {
    let unit = request.view.unit;
    let geometry = &unit.geometry;
    let [aligned_high, aligned_low] = geometry.lowest_aligned.to_be_bytes();
    let mut provisioning = aligned_high & 0x3F;
    if unit.properties.thin {
        provisioning |= LBPME;
        if unit.properties.reads_zeros {
            provisioning |= LBPRZ;
        }
    }
    let mut data = Vec::with_capacity(32);
    data.extend_from_slice(&geometry.blocks.saturating_sub(1).to_be_bytes());
    data.extend_from_slice(&geometry.block_bytes.to_be_bytes());
    data.extend_from_slice(&[
        0,
        geometry.physical_exponent & 0x0F,
        provisioning,
        aligned_low,
    ]);
    data.resize(32, 0);
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(10))))
}

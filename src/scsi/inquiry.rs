//! Standard INQUIRY data (SPC-4 section 6.6.2).

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::Failure;
use super::unit::LunKind;
use super::vpd;

/// SPC-4 (INCITS 513).
const VERSION: u8 = 0x06;
/// HISUP, and the response data format that there is.
const HIERARCHICAL_FORMAT_2: u8 = 0x12;
/// TPGS 11b: implicit and explicit asymmetric access.
const TPGS_BOTH: u8 = 0x30;
/// 3PC: third-party copy commands.
const THIRD_PARTY_COPY: u8 = 0x08;
const MULTIPLE_PORTS: u8 = 0x10;
const COMMAND_QUEUE: u8 = 0x02;
const REMOVABLE: u8 = 0x80;
/// SAM-5, iSCSI, SPC-4 and SBC-3, no version claimed (SPC-4 annex E).
const VERSION_DESCRIPTORS: [u16; 4] = [0x00A0, 0x0960, 0x0460, 0x04C0];
const STANDARD_BYTES: usize = 96;
const VERSION_DESCRIPTORS_AT: usize = 58;

/// Peripheral qualifier and device type, the first byte of every INQUIRY answer.
pub(super) const fn peripheral(lun: LunKind) -> u8 {
    match lun {
        LunKind::Disk => 0x00,
        LunKind::ReportLuns => 0x1E,
        // 011b and 1Fh: no unit can be here.
        LunKind::Missing => 0x7F,
    }
}

pub(super) fn plan(request: &Request<'_>) -> Planned {
    let page = request.cdb.byte(2);
    let data = if request.cdb.bit(1, 0) {
        vpd::page(request.view, page).ok_or(Failure::cdb_field(2))?
    } else if page == 0 {
        standard(request)
    } else {
        return Err(Failure::cdb_field(2));
    };
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.be16(3).into(),
    )))
}

fn standard(request: &Request<'_>) -> Vec<u8> {
    let unit = request.view.unit;
    let disk = request.view.lun == LunKind::Disk;
    let removable = disk && unit.properties.removable;
    let mut data = Vec::with_capacity(STANDARD_BYTES);
    data.extend_from_slice(&[
        peripheral(request.view.lun),
        if removable { REMOVABLE } else { 0 },
        VERSION,
        HIERARCHICAL_FORMAT_2,
        u8::try_from(STANDARD_BYTES - 5).unwrap_or(u8::MAX),
        if disk {
            TPGS_BOTH | THIRD_PARTY_COPY
        } else {
            0
        },
        if unit.ports.ports().len() > 1 {
            MULTIPLE_PORTS
        } else {
            0
        },
        COMMAND_QUEUE,
    ]);
    data.extend_from_slice(&unit.identity.vendor);
    data.extend_from_slice(&unit.identity.product);
    data.extend_from_slice(&unit.identity.revision);
    data.resize(VERSION_DESCRIPTORS_AT, 0);
    for descriptor in VERSION_DESCRIPTORS {
        data.extend_from_slice(&descriptor.to_be_bytes());
    }
    data.resize(STANDARD_BYTES, 0);
    data
}

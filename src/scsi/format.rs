//! FORMAT UNIT (SBC-3 section 5.3): every block becomes zero. The geometry and the lack of
//! protection information stay; there are no defects to list.

use super::dispatch::{Planned, Request};
use super::fields::Fields;
use super::plan::{ByteRange, FormatPlan, Plan};
use super::sense::Failure;

const LONG_LIST_BIT: u8 = 5;
const FORMAT_DATA_BIT: u8 = 4;
/// In byte 1 of the parameter list header.
const INITIALIZATION_PATTERN_BIT: u8 = 3;
const IMMEDIATE_BIT: u8 = 1;

/// The CDB tells no length: the header alone is fetched, for nothing may follow it.
pub(super) fn plan(request: &Request<'_>) -> Planned {
    if !request.cdb.bit(1, FORMAT_DATA_BIT) {
        return Ok(format(request, false));
    }
    let length = if request.cdb.bit(1, LONG_LIST_BIT) {
        8
    } else {
        4
    };
    Ok(Plan::Parameters { length })
}

pub(super) fn parse(request: &Request<'_>, data: &[u8]) -> Planned {
    let header = Fields(data);
    let (list_length, length_at) = if request.cdb.bit(1, LONG_LIST_BIT) {
        (header.be32(4), 4)
    } else {
        (u32::from(header.be16(2)), 2)
    };
    // PROTECTION FIELD USAGE, and in the long header P_I_INFORMATION.
    if header.byte(0) & 0x07 != 0 {
        return Err(Failure::parameter_field(0));
    }
    if header.bit(1, INITIALIZATION_PATTERN_BIT) {
        return Err(Failure::parameter_field(1));
    }
    if list_length != 0 {
        return Err(Failure::parameter_field(length_at));
    }
    Ok(format(request, header.bit(1, IMMEDIATE_BIT)))
}

fn format(request: &Request<'_>, immediate: bool) -> Plan {
    Plan::Format(FormatPlan {
        immediate,
        range: ByteRange {
            offset: 0,
            length: request.view.unit.geometry.bytes(),
        },
    })
}

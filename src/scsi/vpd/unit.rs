//! Extended INQUIRY data (86h) and mode page policy (87h) (SPC-4 sections 7.8.8, 7.8.9).

use crate::scsi::unit::LogicalUnit;

const HEAD_OF_QUEUE_ORDERED_SIMPLE: u8 = 0x07;
const V_SUP: u8 = 0x01;
/// LUICLR: I_T nexus loss and resets clear what they have to, on every nexus of the unit.
const LUICLR: u8 = 0x01;

pub(super) fn extended_inquiry(unit: &LogicalUnit) -> Vec<u8> {
    let volatile = if unit.properties.volatile_cache {
        V_SUP
    } else {
        0
    };
    let mut body = vec![0, HEAD_OF_QUEUE_ORDERED_SIMPLE, volatile, LUICLR];
    body.resize(60, 0);
    body
}

/// Every page, every subpage: one copy, shared by all nexuses.
pub(super) fn mode_page_policy() -> Vec<u8> {
    vec![0x3F, 0xFF, 0x00, 0x00]
}

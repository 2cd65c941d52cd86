//! MODE SENSE 6/10 (SPC-4 sections 6.13, 6.14).

use super::page::Page;
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::{Plan, Reply};
use crate::scsi::sense::{Code, Failure};
use crate::scsi::unit::{Geometry, LogicalUnit};

const WRITE_PROTECTED: u8 = 0x80;
const DPOFUA: u8 = 0x10;
const LONG_LBA: u8 = 0x01;
const PAGE_SAVABLE: u8 = 0x80;

const ALL_PAGES: u8 = 0x3F;
const ALL_SUBPAGES: u8 = 0xFF;

/// PC: which values of the pages are asked for.
#[derive(Debug, Clone, Copy)]
enum Control {
    Current,
    Changeable,
    Default,
    Saved,
}

pub(in crate::scsi) fn sense6(request: &Request<'_>) -> Planned {
    let descriptor = descriptor(request, false);
    let pages = pages(request)?;
    let length = 3_usize
        .saturating_add(descriptor.len())
        .saturating_add(pages.len());
    let mut data = vec![
        u8::try_from(length).unwrap_or(u8::MAX),
        0,
        device_specific(request.view.unit),
        u8::try_from(descriptor.len()).unwrap_or(u8::MAX),
    ];
    data.extend_from_slice(&descriptor);
    data.extend_from_slice(&pages);
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.byte(4).into(),
    )))
}

pub(in crate::scsi) fn sense10(request: &Request<'_>) -> Planned {
    let long = request.cdb.bit(1, 4);
    let descriptor = descriptor(request, long);
    let pages = pages(request)?;
    let length = 6_usize
        .saturating_add(descriptor.len())
        .saturating_add(pages.len());
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    let mut data = length.to_be_bytes().to_vec();
    let long_lba = if long { LONG_LBA } else { 0 };
    data.extend_from_slice(&[0, device_specific(request.view.unit), long_lba, 0, 0]);
    data.push(u8::try_from(descriptor.len()).unwrap_or(u8::MAX));
    data.extend_from_slice(&descriptor);
    data.extend_from_slice(&pages);
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.be16(7).into(),
    )))
}

/// WP and DPOFUA (SBC-3 section 6.5.1).
fn device_specific(unit: &LogicalUnit) -> u8 {
    match unit.check_writable() {
        Ok(()) => DPOFUA,
        Err(_) => WRITE_PROTECTED | DPOFUA,
    }
}

/// The mode parameter block descriptor, unless DBD asks for none.
fn descriptor(request: &Request<'_>, long: bool) -> Vec<u8> {
    let disabled = request.cdb.bit(1, 3);
    let geometry = &request.view.unit.geometry;
    match (disabled, long) {
        (true, _) => Vec::new(),
        (false, false) => short_descriptor(geometry).to_vec(),
        (false, true) => long_descriptor(geometry).to_vec(),
    }
}

/// SBC-3 section 6.5.2.2: more blocks than fit are FFFFFFFFh.
pub(super) fn short_descriptor(geometry: &Geometry) -> [u8; 8] {
    let blocks = u32::try_from(geometry.blocks).unwrap_or(u32::MAX);
    let [a, b, c, d] = blocks.to_be_bytes();
    let [_, e, f, g] = geometry.block_bytes.to_be_bytes();
    [a, b, c, d, 0, e, f, g]
}

/// SBC-3 section 6.5.2.3.
pub(super) fn long_descriptor(geometry: &Geometry) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (blocks, rest) = bytes.split_at_mut(8);
    blocks.copy_from_slice(&geometry.blocks.to_be_bytes());
    if let Some(length) = rest.last_chunk_mut() {
        *length = geometry.block_bytes.to_be_bytes();
    }
    bytes
}

fn pages(request: &Request<'_>) -> Result<Vec<u8>, Failure> {
    let control = match request.cdb.byte(2) >> 6 {
        0b00 => Control::Current,
        0b01 => Control::Changeable,
        0b10 => Control::Default,
        _ => Control::Saved,
    };
    let code = request.cdb.byte(2) & 0x3F;
    let subpage = request.cdb.byte(3);
    if subpage != 0 && subpage != ALL_SUBPAGES {
        return Err(Failure::cdb_field(3));
    }
    let unit = request.view.unit;
    let mut bytes = Vec::new();
    if code == ALL_PAGES {
        for page in Page::ALL {
            push(&mut bytes, page, control, unit)?;
        }
    } else {
        let page = Page::of(code).ok_or(Failure::cdb_bit(2, 5))?;
        push(&mut bytes, page, control, unit)?;
    }
    Ok(bytes)
}

fn push(
    bytes: &mut Vec<u8>,
    page: Page,
    control: Control,
    unit: &LogicalUnit,
) -> Result<(), Failure> {
    let modes = &unit.modes;
    let body = match control {
        Control::Current => page.body(&modes.current),
        Control::Default => page.body(&modes.default),
        Control::Changeable => page.changeable(unit.properties.volatile_cache),
        Control::Saved => {
            let saved = modes.saved.as_ref();
            page.body(saved.ok_or(Failure::illegal(Code::SAVING_NOT_SUPPORTED))?)
        }
    };
    let savable = if modes.saved.is_some() {
        PAGE_SAVABLE
    } else {
        0
    };
    bytes.extend_from_slice(&[savable | page.code(), page.length()]);
    bytes.extend_from_slice(&body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::scsi::plan;
    use crate::scsi::sense::Code;
    use crate::scsi::testing::{failure_code, reply, unit, view};

    #[test]
    fn the_control_page_with_its_descriptor() {
        let unit = unit();
        let view = view(&unit);
        let data = reply(plan(&[0x1A, 0, 0x0A, 0, 255, 0], &view));
        assert_eq!(data[..4], [23, 0, 0x10, 8]);
        assert_eq!(data[4..12], [0, 0, 0x20, 0, 0, 0, 2, 0]);
        assert_eq!(data[12..], [0x8A, 10, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0]);
        let data = reply(plan(&[0x1A, 8, 0x4A, 0, 255, 0], &view));
        assert_eq!(
            data[4..],
            [0x8A, 10, 0x04, 0x0E, 0x38, 0x40, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn the_length_is_told_whole_though_cut() {
        let unit = unit();
        let data = reply(plan(
            &[0x5A, 0x18, 0x3F, 0xFF, 0, 0, 0, 0, 9, 0],
            &view(&unit),
        ));
        assert_eq!(data, [0, 50, 0, 0x10, 1, 0, 0, 0, 0x88]);
        let data = reply(plan(&[0x5A, 0x10, 0x3F, 0, 0, 0, 0, 1, 0, 0], &view(&unit)));
        assert_eq!(data[..8], [0, 66, 0, 0x10, 1, 0, 0, 16]);
        assert_eq!(
            data[8..24],
            [0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 2, 0]
        );
    }

    #[test]
    fn pages_that_are_not_there() {
        let mut unit = unit();
        let invalid = Some(Code::INVALID_FIELD_IN_CDB);
        assert_eq!(
            failure_code(&plan(&[0x1A, 0, 0x1A, 0, 255, 0], &view(&unit))),
            invalid
        );
        assert_eq!(
            failure_code(&plan(&[0x1A, 0, 0x0A, 1, 255, 0], &view(&unit))),
            invalid
        );
        unit.modes.saved = None;
        let saved = plan(&[0x1A, 0, 0xCA, 0, 255, 0], &view(&unit));
        assert_eq!(failure_code(&saved), Some(Code::SAVING_NOT_SUPPORTED));
    }
}

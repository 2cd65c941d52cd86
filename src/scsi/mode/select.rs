//! MODE SELECT 6/10 (SPC-4 sections 6.10, 6.11).
//!
//! A list is taken whole or not at all: one field that cannot change and does, and nothing changes.

use super::page::Page;
use super::sense::{long_descriptor, short_descriptor};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::fields::Fields;
use crate::scsi::plan::{Plan, Reply};
use crate::scsi::sense::{Code, Failure};

const PAGE_FORMAT_BIT: u8 = 4;
const SAVE_PAGES_BIT: u8 = 0;
const SUBPAGE_FORMAT_BIT: u8 = 6;
const PAGE_HEAD_BYTES: usize = 2;

/// Where a list of one of the two formats has its parts.
#[derive(Debug, Clone, Copy)]
struct Header {
    bytes: usize,
    descriptor_length: usize,
    /// The byte of that length, for the field pointer.
    descriptor_length_at: usize,
    long_descriptor: bool,
}

pub(in crate::scsi) fn select6(request: &Request<'_>) -> Planned {
    select(request, request.cdb.byte(4).into())
}

pub(in crate::scsi) fn select10(request: &Request<'_>) -> Planned {
    select(request, request.cdb.be16(7).into())
}

fn select(request: &Request<'_>, length: u32) -> Planned {
    if length == 0 {
        return Ok(Plan::Reply(Reply::default()));
    }
    // Pages in a format of the vendor's: there is none.
    if !request.cdb.bit(1, PAGE_FORMAT_BIT) {
        return Err(Failure::cdb_bit(1, PAGE_FORMAT_BIT));
    }
    if request.cdb.bit(1, SAVE_PAGES_BIT) && request.view.unit.modes.saved.is_none() {
        return Err(Failure::cdb_bit(1, SAVE_PAGES_BIT));
    }
    Ok(Plan::Parameters { length })
}

pub(in crate::scsi) fn parse6(request: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    let header = Header {
        bytes: 4,
        descriptor_length: list.byte(3).into(),
        descriptor_length_at: 3,
        long_descriptor: false,
    };
    parse(request, list, header)
}

pub(in crate::scsi) fn parse10(request: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    let header = Header {
        bytes: 8,
        descriptor_length: list.be16(6).into(),
        descriptor_length_at: 6,
        long_descriptor: list.bit(4, 0),
    };
    parse(request, list, header)
}

fn parse(request: &Request<'_>, list: Fields<'_>, header: Header) -> Planned {
    let pages_at = header.bytes.saturating_add(header.descriptor_length);
    if list.length() < pages_at {
        return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    check_descriptor(request, list, header)?;
    let unit = request.view.unit;
    let mut pages = unit.modes.current;
    let mut at = pages_at;
    while at < list.length() {
        let page = list.slice(at, usize::MAX);
        if page.length() < PAGE_HEAD_BYTES {
            return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
        }
        let kind = Page::of(page.byte(0) & 0x3F)
            .filter(|_| !page.bit(0, SUBPAGE_FORMAT_BIT))
            .ok_or(Failure::parameter_field(at))?;
        if page.byte(1) != kind.length() {
            return Err(Failure::parameter_field(at.saturating_add(1)));
        }
        let body_at = at.saturating_add(PAGE_HEAD_BYTES);
        let body = list.slice(body_at, kind.length().into());
        if body.length() < usize::from(kind.length()) {
            return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
        }
        // Against what the pages before left, so that a page may stand twice.
        let old = kind.body(&pages);
        let mask = kind.changeable(unit.properties.volatile_cache);
        let fixed = body.0.iter().zip(old).zip(mask);
        for (index, ((new, old), mask)) in fixed.enumerate() {
            if (new ^ old) & !mask != 0 {
                return Err(Failure::parameter_field(body_at.saturating_add(index)));
            }
        }
        kind.read(body, &mut pages)
            .map_err(|index| Failure::parameter_field(body_at.saturating_add(index)))?;
        at = body_at.saturating_add(body.length());
    }
    Ok(Plan::ModeSelect {
        pages: Box::new(pages),
        save: request.cdb.bit(1, SAVE_PAGES_BIT),
    })
}

/// The geometry cannot be changed: a descriptor repeats it, or leaves the number of blocks at 0
/// (SBC-3 section 6.5.2).
fn check_descriptor(
    request: &Request<'_>,
    list: Fields<'_>,
    header: Header,
) -> Result<(), Failure> {
    let geometry = &request.view.unit.geometry;
    let descriptor = list.slice(header.bytes, header.descriptor_length);
    let (own, blocks): (Vec<u8>, _) = match (descriptor.length(), header.long_descriptor) {
        (0, _) => return Ok(()),
        (8, false) => (short_descriptor(geometry).to_vec(), 4),
        (16, true) => (long_descriptor(geometry).to_vec(), 8),
        _ => return Err(Failure::parameter_field(header.descriptor_length_at)),
    };
    let unchanged = descriptor.slice(0, blocks).0.iter().all(|&byte| byte == 0)
        || own.get(..blocks) == Some(descriptor.slice(0, blocks).0);
    if unchanged && own.get(blocks..) == Some(descriptor.slice(blocks, usize::MAX).0) {
        Ok(())
    } else {
        Err(Failure::parameter_field(header.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing::{failure_code, reply, unit, view};
    use crate::scsi::{LogicalUnit, plan, plan_with_parameters};

    /// The current pages as MODE SELECT takes them: `page`, without the savable bit.
    fn list(unit: &LogicalUnit, page: u8, dbd: u8) -> Vec<u8> {
        let mut data = reply(plan(&[0x1A, dbd, page, 0, 255, 0], &view(unit)));
        let at = usize::from(data[3]) + 4;
        data[at] &= 0x7F;
        data[0] = 0;
        data[2] = 0;
        data
    }

    fn select(unit: &LogicalUnit, data: &[u8]) -> Plan {
        let length = u8::try_from(data.len()).unwrap();
        plan_with_parameters(&[0x15, 0x10, 0, 0, length, 0], data, &view(unit))
    }

    #[test]
    fn write_protection_can_be_set() {
        let unit = unit();
        for dbd in [0, 8] {
            let mut data = list(&unit, 0x0A, dbd);
            let at = usize::from(data[3]) + 4;
            data[at + 4] |= 0x08;
            let Plan::ModeSelect { pages, save: false } = select(&unit, &data) else {
                panic!()
            };
            assert!(pages.write_protect);
        }
    }

    #[test]
    fn what_cannot_change_does_not() {
        let mut unit = unit();
        let wrong = Some(Code::INVALID_FIELD_IN_PARAMETERS);
        let mut tst = list(&unit, 0x0A, 8);
        tst[6] ^= 0x20;
        assert_eq!(failure_code(&select(&unit, &tst)), wrong);
        let mut blocks = list(&unit, 0x0A, 0);
        blocks[5] ^= 1;
        assert_eq!(failure_code(&select(&unit, &blocks)), wrong);
        unit.properties.volatile_cache = false;
        let mut cache = list(&unit, 0x08, 8);
        cache[6] ^= 0x04;
        assert_eq!(failure_code(&select(&unit, &cache)), wrong);
    }

    #[test]
    fn lists_that_end_early() {
        let unit = unit();
        let data = list(&unit, 0x0A, 0);
        for length in [1, 3, 5, 11, 13, data.len() - 1] {
            let code = failure_code(&select(&unit, &data[..length]));
            assert_eq!(code, Some(Code::PARAMETER_LIST_LENGTH), "{length}");
        }
    }
}

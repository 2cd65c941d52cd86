//! LOG SENSE (SPC-4 sections 6.8, 7.3): the list of pages, and informational exceptions.

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::Failure;

const SUPPORTED_PAGES: u8 = 0x00;
const INFORMATIONAL_EXCEPTIONS: u8 = 0x2F;
const ALL_SUBPAGES: u8 = 0xFF;
/// SPF: the page has a subpage code.
const SUBPAGE_FORMAT: u8 = 0x40;
/// Parameter 0000h of page 2Fh: list format, no code reported, temperature unknown.
const NO_EXCEPTION: [u8; 8] = [0, 0, 0x03, 4, 0, 0, 0xFF, 0];

pub(super) fn sense(request: &Request<'_>) -> Planned {
    let code = request.cdb.byte(2) & 0x3F;
    let subpage = request.cdb.byte(3);
    if request.cdb.be16(5) != 0 {
        return Err(Failure::cdb_field(5));
    }
    let (first, body): (u8, &[u8]) = match (code, subpage) {
        (SUPPORTED_PAGES, 0) => (code, &[SUPPORTED_PAGES, INFORMATIONAL_EXCEPTIONS]),
        (SUPPORTED_PAGES, ALL_SUBPAGES) => (
            code | SUBPAGE_FORMAT,
            &[
                SUPPORTED_PAGES,
                0,
                SUPPORTED_PAGES,
                ALL_SUBPAGES,
                INFORMATIONAL_EXCEPTIONS,
                0,
            ],
        ),
        (INFORMATIONAL_EXCEPTIONS, 0) => (code, &NO_EXCEPTION),
        (SUPPORTED_PAGES | INFORMATIONAL_EXCEPTIONS, _) => return Err(Failure::cdb_field(3)),
        _ => return Err(Failure::cdb_bit(2, 5)),
    };
    let mut data = vec![first, subpage];
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(body);
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.be16(7).into(),
    )))
}

//! SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS (SPC-4 sections 6.29, 6.42).

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::Failure;

const SELF_TEST_BIT: u8 = 2;
/// SELF-TEST CODE: none, foreground short, foreground extended.
const DEFAULT: u8 = 0b000;
const FOREGROUND_SHORT: u8 = 0b101;
const FOREGROUND_EXTENDED: u8 = 0b110;

/// Self-tests run in the foreground; no diagnostic page can be sent.
pub(super) fn send(request: &Request<'_>) -> Planned {
    if request.cdb.be16(3) != 0 {
        return Err(Failure::cdb_field(3));
    }
    let self_test = request.cdb.bit(1, SELF_TEST_BIT);
    match (request.cdb.byte(1) >> 5, self_test) {
        (DEFAULT, false) => Ok(Plan::Reply(Reply::default())),
        (DEFAULT, true) | (FOREGROUND_SHORT | FOREGROUND_EXTENDED, false) => Ok(Plan::SelfTest),
        _ => Err(Failure::cdb_bit(1, 7)),
    }
}

/// The list of diagnostic pages, which holds itself only.
pub(super) fn receive(request: &Request<'_>) -> Planned {
    let page_valid = request.cdb.bit(1, 0);
    if page_valid && request.cdb.byte(2) != 0 {
        return Err(Failure::cdb_field(2));
    }
    let data = vec![0, 0, 0, 1, 0];
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.be16(3).into(),
    )))
}

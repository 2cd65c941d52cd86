//! START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL (SBC-3 sections 5.25, 5.10).
//!
//! A volume is shared, so stopping it for everyone is not one initiator's to do: START=0 makes
//! writes durable and the volume stays ready. Power conditions are accepted and mean nothing.

use super::dispatch::{Planned, Request};
use super::plan::{ByteRange, Plan, Reply};
use super::sense::{Code, Failure};

const START_BIT: u8 = 0;
const LOAD_EJECT_BIT: u8 = 1;
const NO_FLUSH_BIT: u8 = 2;

pub(super) fn plan(request: &Request<'_>) -> Planned {
    let cdb = request.cdb;
    let start = cdb.bit(4, START_BIT);
    let power_condition = cdb.byte(4) >> 4;
    if power_condition != 0 {
        return Ok(Plan::Reply(Reply::default()));
    }
    if cdb.bit(4, LOAD_EJECT_BIT) {
        return move_medium(request, start);
    }
    if start || cdb.bit(4, NO_FLUSH_BIT) {
        return Ok(Plan::Reply(Reply::default()));
    }
    Ok(Plan::Flush {
        range: ByteRange {
            offset: 0,
            length: request.view.unit.geometry.bytes(),
        },
        immediate: cdb.bit(1, 0),
    })
}

fn move_medium(request: &Request<'_>, load: bool) -> Planned {
    if !request.view.unit.properties.removable {
        return Err(Failure::cdb_bit(4, LOAD_EJECT_BIT));
    }
    if request.view.unit.removal_prevented {
        return Err(Failure::illegal(Code::MEDIUM_REMOVAL_PREVENTED));
    }
    Ok(Plan::MoveMedium { load })
}

pub(super) fn prevent(request: &Request<'_>) -> Planned {
    let prevent = request.cdb.bit(4, 0);
    Ok(Plan::PreventRemoval { prevent })
}

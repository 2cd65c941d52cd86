//! REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
//! (SPC-4 sections 6.35, 6.36): the command table, told to the initiator.

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::Failure;
use super::table::{self, COMMANDS, Command};
use super::unit::LogicalUnit;

const CTDP_IN_LIST: u8 = 0x02;
const SERVACTV: u8 = 0x01;
const CTDP_IN_ONE: u8 = 0x80;
const NOT_SUPPORTED: u8 = 0b001;
const AS_STANDARD: u8 = 0b011;

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, QUERY TASK, TARGET RESET.
const FUNCTIONS: u8 = 0xDE;
/// QUERY ASYNCHRONOUS EVENT, QUERY TASK SET, I_T NEXUS RESET.
const MORE_FUNCTIONS: u8 = 0x07;
/// How long a task management function may take, in units of 100 ms.
const FUNCTION_TIMEOUT_100MS: u32 = 300;

pub(super) fn report(request: &Request<'_>) -> Planned {
    let cdb = request.cdb;
    let unit = request.view.unit;
    let timeouts = cdb.bit(2, 7);
    let opcode = cdb.byte(3);
    let action = cdb.be16(4);
    let has_actions = table::rows(opcode)
        .iter()
        .any(|row| row.service_action.is_some());
    let known = !table::rows(opcode).is_empty();
    let data = match cdb.byte(2) & 0x07 {
        0b000 => all(unit, timeouts),
        0b001 if has_actions => return Err(Failure::cdb_bit(2, 2)),
        0b001 => one(find(opcode, None, unit), timeouts),
        0b010 if known && !has_actions => return Err(Failure::cdb_bit(2, 2)),
        0b010 => one(find(opcode, Some(action), unit), timeouts),
        0b011 if has_actions => one(find(opcode, Some(action), unit), timeouts),
        0b011 if action == 0 => one(find(opcode, None, unit), timeouts),
        0b011 => one(None, timeouts),
        _ => return Err(Failure::cdb_bit(2, 2)),
    };
    Ok(Plan::Reply(Reply::truncated(data, cdb.be32(6))))
}

fn find(opcode: u8, action: Option<u16>, unit: &LogicalUnit) -> Option<&'static Command> {
    table::rows(opcode)
        .iter()
        .find(|row| row.service_action.map(u16::from) == action)
        .filter(|row| row.is_supported_by(unit))
}

/// The all_commands format.
fn all(unit: &LogicalUnit, timeouts: bool) -> Vec<u8> {
    let mut data = vec![0; 4];
    for row in COMMANDS.iter().filter(|row| row.is_supported_by(unit)) {
        let mut flags = if timeouts { CTDP_IN_LIST } else { 0 };
        if row.service_action.is_some() {
            flags |= SERVACTV;
        }
        data.extend_from_slice(&[row.opcode, 0, 0, row.service_action.unwrap_or(0), 0, flags]);
        data.extend_from_slice(&cdb_length(row));
        if timeouts {
            data.extend_from_slice(&timeout_descriptor(row));
        }
    }
    let length = u32::try_from(data.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(field) = data.first_chunk_mut() {
        *field = length.to_be_bytes();
    }
    data
}

/// The one_command format.
fn one(row: Option<&Command>, timeouts: bool) -> Vec<u8> {
    let Some(row) = row else {
        return vec![0, NOT_SUPPORTED, 0, 0];
    };
    let ctdp = if timeouts { CTDP_IN_ONE } else { 0 };
    let mut data = vec![0, ctdp | AS_STANDARD];
    data.extend_from_slice(&cdb_length(row));
    data.extend_from_slice(row.usage);
    if timeouts {
        data.extend_from_slice(&timeout_descriptor(row));
    }
    data
}

fn cdb_length(row: &Command) -> [u8; 2] {
    u16::try_from(row.usage.len()).unwrap_or(0).to_be_bytes()
}

/// SPC-4 section 6.35.4; no nominal time is told.
fn timeout_descriptor(row: &Command) -> [u8; 12] {
    let [high, low] = row.timeout_s.to_be_bytes();
    [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
}

pub(super) fn report_task_management(request: &Request<'_>) -> Planned {
    let extended = request.cdb.bit(2, 7);
    let mut data = vec![FUNCTIONS, MORE_FUNCTIONS, 0, 0];
    if extended {
        data = vec![FUNCTIONS, MORE_FUNCTIONS, 0, 12, 0x01, 0, 0, 0];
        data.extend_from_slice(&FUNCTION_TIMEOUT_100MS.to_be_bytes());
        data.extend_from_slice(&FUNCTION_TIMEOUT_100MS.to_be_bytes());
    }
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(6))))
}

//! PERSISTENT RESERVE OUT on the wire (SPC-4 section 6.16): the CDB and its parameter list.
//!
//! ```text
//! CDB         1: SERVICE ACTION (bits 4–0)   2: SCOPE, TYPE   5–8: PARAMETER LIST LENGTH
//! parameters  0–7: RESERVATION KEY   8–15: SERVICE ACTION RESERVATION KEY
//!   basic     20: SPEC_I_PT 08h, ALL_TG_PT 04h, APTPL 01h
//!             24–27: length of the TransportIDs that follow (with SPEC_I_PT)
//!   move      17: UNREG 02h, APTPL 01h   18–19: RTPI   20–23: TransportID length   24–n: TransportID
//! ```
//!
//! Reading goes through checked views alone: it cannot panic, whatever the bytes. The caller has
//! checked for an SPC-2 reservation of another nexus, which comes before any fault in the CDB.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::command::{Command, Refusal};
use super::kinds::{Key, ScopeAndType};
use super::transport_id::TransportId;
use crate::base::limits::RESERVE_OUT_BYTES_MAX;

/// The fixed part of every parameter list.
const FIXED_BYTES: u32 = 24;
/// Where the TransportIDs of SPEC_I_PT begin.
const LISTED_OFFSET: u32 = 28;
/// The shortest TransportID.
const TRANSPORT_ID_BYTES_MIN: u32 = 24;

const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;
const MOVE_UNREG: u8 = 0x02;
const MOVE_APTPL: u8 = 0x01;

/// The length of the parameter list that a CDB announces, in bytes, once its service action, its
/// type (for RESERVE) and that length are found valid.
///
/// To be called before the parameter list is asked for, so that nothing is allocated for a length
/// that no service action has.
pub fn parameter_length(cdb: &[u8]) -> Result<u32, Refusal> {
    Header::parse(cdb).map(|header| header.parameter_length)
}

/// Parses the CDB and the parameter list that came with it.
pub fn parse_out(cdb: &[u8], parameters: &[u8]) -> Result<Command, Refusal> {
    let header = Header::parse(cdb)?;
    if u32::try_from(parameters.len()) != Ok(header.parameter_length) {
        return Err(Refusal::LENGTH);
    }
    let key = Key(u64::from_be_bytes(field(parameters, 0)?));
    let service_action_key = Key(u64::from_be_bytes(field(parameters, 8)?));
    let scope_and_type = header.scope_and_type;
    Ok(match header.service_action {
        ServiceAction::Register => register(key, service_action_key, parameters)?,
        ServiceAction::RegisterAndIgnore => register_and_ignore(service_action_key, parameters)?,
        ServiceAction::Reserve => Command::Reserve {
            key,
            kind: header.kind()?,
        },
        ServiceAction::Release => Command::Release {
            key,
            scope_and_type,
        },
        ServiceAction::Clear => Command::Clear { key },
        ServiceAction::Preempt => Command::Preempt {
            key,
            victim: service_action_key,
            scope_and_type,
        },
        ServiceAction::PreemptAndAbort => Command::PreemptAndAbort {
            key,
            victim: service_action_key,
            scope_and_type,
        },
        ServiceAction::RegisterAndMove => register_and_move(key, service_action_key, parameters)?,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServiceAction {
    Register,
    Reserve,
    Release,
    Clear,
    Preempt,
    PreemptAndAbort,
    RegisterAndIgnore,
    RegisterAndMove,
}

impl ServiceAction {
    /// 08h REPLACE LOST RESERVATION is not among them: no reservation is ever lost (RLR_C = 0).
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Self::Register,
            0x01 => Self::Reserve,
            0x02 => Self::Release,
            0x03 => Self::Clear,
            0x04 => Self::Preempt,
            0x05 => Self::PreemptAndAbort,
            0x06 => Self::RegisterAndIgnore,
            0x07 => Self::RegisterAndMove,
            _ => return None,
        })
    }

    const fn takes_length(self, length: u32) -> bool {
        if length > RESERVE_OUT_BYTES_MAX {
            return false;
        }
        match self {
            Self::Register => length == FIXED_BYTES || length >= LISTED_OFFSET,
            Self::RegisterAndMove => length >= FIXED_BYTES.saturating_add(TRANSPORT_ID_BYTES_MIN),
            _ => length == FIXED_BYTES,
        }
    }
}

struct Header {
    service_action: ServiceAction,
    scope_and_type: ScopeAndType,
    parameter_length: u32,
}

impl Header {
    fn parse(cdb: &[u8]) -> Result<Self, Refusal> {
        let Some(&[_, action, scope_and_type, _, _, l0, l1, l2, l3, _]) = cdb.first_chunk() else {
            return Err(Refusal::cdb_field(0));
        };
        let header = Self {
            service_action: ServiceAction::from_code(action & 0x1f).ok_or(Refusal::cdb_field(1))?,
            scope_and_type: ScopeAndType(scope_and_type),
            parameter_length: u32::from_be_bytes([l0, l1, l2, l3]),
        };
        if header.service_action == ServiceAction::Reserve {
            header.kind()?;
        }
        if !header.service_action.takes_length(header.parameter_length) {
            return Err(Refusal::LENGTH);
        }
        Ok(header)
    }

    fn kind(&self) -> Result<super::kinds::ReservationType, Refusal> {
        self.scope_and_type.kind().ok_or(Refusal::cdb_field(2))
    }
}

fn register(key: Key, new_key: Key, parameters: &[u8]) -> Result<Command, Refusal> {
    let [flags] = field(parameters, 20)?;
    let length = parameters.len();
    let others = if flags & SPEC_I_PT == 0 {
        if length != FIXED_BYTES as usize {
            return Err(Refusal::LENGTH);
        }
        None
    } else {
        let announced = u32::from_be_bytes(field(parameters, FIXED_BYTES as usize)?);
        if u32::try_from(length) != Ok(LISTED_OFFSET.saturating_add(announced)) {
            return Err(Refusal::LENGTH);
        }
        Some(transport_ids(
            parameters.get(LISTED_OFFSET as usize..).unwrap_or_default(),
        ))
    };
    Ok(Command::Register {
        key,
        new_key,
        aptpl: flags & APTPL != 0,
        all_target_ports: flags & ALL_TG_PT != 0,
        others,
    })
}

fn register_and_ignore(new_key: Key, parameters: &[u8]) -> Result<Command, Refusal> {
    let [flags] = field(parameters, 20)?;
    if flags & SPEC_I_PT != 0 {
        return Err(Refusal::parameter_field(20));
    }
    Ok(Command::RegisterAndIgnore {
        new_key,
        aptpl: flags & APTPL != 0,
        all_target_ports: flags & ALL_TG_PT != 0,
    })
}

fn register_and_move(key: Key, new_key: Key, parameters: &[u8]) -> Result<Command, Refusal> {
    let [flags] = field(parameters, 17)?;
    let announced = u32::from_be_bytes(field(parameters, 20)?);
    if u32::try_from(parameters.len()) != Ok(FIXED_BYTES.saturating_add(announced)) {
        return Err(Refusal::LENGTH);
    }
    let bytes = parameters.get(FIXED_BYTES as usize..).unwrap_or_default();
    let destination = match TransportId::parse(bytes) {
        Ok((id, [])) => Ok(id),
        _ => Err(Refusal::parameter_field(24)),
    };
    Ok(Command::RegisterAndMove {
        key,
        new_key,
        unregister: flags & MOVE_UNREG != 0,
        aptpl: flags & MOVE_APTPL != 0,
        target_port: u16::from_be_bytes(field(parameters, 18)?),
        destination,
    })
}

/// All TransportIDs of a list, or a pointer at the first that is malformed.
fn transport_ids(list: &[u8]) -> Result<Vec<TransportId>, Refusal> {
    let mut ids = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (id, behind) = TransportId::parse(rest).map_err(|_| {
            let offset = list.len().saturating_sub(rest.len());
            let offset = offset.saturating_add(LISTED_OFFSET as usize);
            Refusal::parameter_field(u16::try_from(offset).unwrap_or(u16::MAX))
        })?;
        ids.push(id);
        rest = behind;
    }
    Ok(ids)
}

fn field<const N: usize>(parameters: &[u8], offset: usize) -> Result<[u8; N], Refusal> {
    let bytes = parameters.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(Refusal::LENGTH)
}

//! The bodies of PERSISTENT RESERVE IN (SPC-4 section 6.15), untruncated.
//!
//! The allocation length only truncates: the length inside a body always states its full size.

use super::command::Refusal;
use super::identity::Nexus;
use super::kinds::{Key, ScopeAndType};
use super::state::{Registration, Reservation, State};
use super::transport_id::TransportId;

/// The body of that service action; an unknown one is refused.
pub fn body(service_action: u8, state: &State) -> Result<Vec<u8>, Refusal> {
    match service_action {
        0x00 => Ok(read_keys(state)),
        0x01 => Ok(read_reservation(state)),
        0x02 => Ok(report_capabilities(state)),
        0x03 => Ok(read_full_status(state)),
        _ => Err(Refusal::cdb_field(1)),
    }
}

/// 00h READ KEYS: one key for every registered nexus, duplicates kept.
#[must_use]
pub fn read_keys(state: &State) -> Vec<u8> {
    let keys = state
        .registrations()
        .flat_map(|(_, registration)| key_bytes(registration.key));
    with_header(state, &keys.collect::<Vec<u8>>())
}

/// 01h READ RESERVATION: the key of the holder (zero under all-registrants types), scope and type.
#[must_use]
pub fn read_reservation(state: &State) -> Vec<u8> {
    let descriptor = state.reservation().map(|held| {
        let holder = held.holder.as_ref().and_then(|holder| state.key(holder));
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&key_bytes(holder.unwrap_or(Key::NONE)));
        descriptor[13] = ScopeAndType::of(held.kind).0;
        descriptor
    });
    with_header(
        state,
        descriptor
            .as_ref()
            .map_or(&[], |descriptor| descriptor.as_slice()),
    )
}

/// 02h REPORT CAPABILITIES.
#[must_use]
pub fn report_capabilities(state: &State) -> Vec<u8> {
    /// CRH: SPC-2 commands are handled beside; SIP_C, ATP_C and PTPL_C: what a REGISTER may ask for.
    const CAPABLE: u8 = 0x10 | 0x08 | 0x04 | 0x01;
    /// TMV, and ALLOW COMMANDS 101b: the N row of the matrix, MODE SENSE included.
    const ALLOWED: u8 = 0x80 | (0b101 << 4);
    /// WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC and WR_EX.
    const TYPES: u8 = 0x80 | 0x40 | 0x20 | 0x08 | 0x02;
    /// EX_AC_AR.
    const MORE_TYPES: u8 = 0x01;
    let persistent = u8::from(state.aptpl());
    vec![0, 8, CAPABLE, ALLOWED | persistent, TYPES, MORE_TYPES, 0, 0]
}

/// 03h READ FULL STATUS: one descriptor for every registered nexus.
#[must_use]
pub fn read_full_status(state: &State) -> Vec<u8> {
    let mut descriptors = Vec::new();
    for (nexus, registration) in state.registrations() {
        let held = state.reservation().filter(|_| state.is_holder(nexus));
        append_status(&mut descriptors, nexus, registration, held);
    }
    with_header(state, &descriptors)
}

/// A full status descriptor: 24 bytes and the TransportID. `held` is what the nexus holds.
///
/// The registration that a client's sessions share is told as one that holds through all target
/// ports (ALL_TG_PT, which leaves the relative target port identifier without meaning), with a
/// TransportID of format 00b, which names the node and no port of it.
fn append_status(
    out: &mut Vec<u8>,
    nexus: &Nexus,
    registration: &Registration,
    held: Option<&Reservation>,
) {
    let mut transport_id = Vec::new();
    let initiator = if nexus.is_client() {
        TransportId::Node(nexus.initiator.name().to_owned())
    } else {
        TransportId::Port(nexus.initiator.clone())
    };
    initiator.emit(&mut transport_id);
    let everywhere = registration.all_target_ports || nexus.is_client();
    let flags = (u8::from(everywhere) << 1) | u8::from(held.is_some());
    out.extend(key_bytes(registration.key));
    out.extend([0; 4]);
    out.extend([flags, held.map_or(0, |held| ScopeAndType::of(held.kind).0)]);
    out.extend([0; 4]);
    out.extend(nexus.target_port.to_be_bytes());
    out.extend(length_bytes(transport_id.len()));
    out.extend(transport_id);
}

/// PRGENERATION and ADDITIONAL LENGTH, then what they head.
fn with_header(state: &State, rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 + rest.len());
    body.extend(state.generation().to_be_bytes());
    body.extend(length_bytes(rest.len()));
    body.extend(rest);
    body
}

const fn key_bytes(key: Key) -> [u8; 8] {
    key.0.to_be_bytes()
}

fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

//! An entry as bytes.
//!
//! ```text
//! 0   magic "HFPH"          4   version 1 (u16)       6   sequence number (u64)
//! 14  first time (u64, ms)  22  last time (u64, ms)   30  how often (u32)
//! 34  generation (u32)      38  aborted (u32)         42  fence (u64, µs; all ones: none)
//! 50  flags (u8): 1 effect
//! 51  actor (u8): 0 target; 1 nexus: nexus, address flag (u8), if 1: IPv6 address (16), port (u16);
//!       2 operator: flag (u8), if 1: uid (u32), pid (u32)
//!     event (u8) with its fields
//!     status (u8): 0 unfinished, 1 GOOD, 2 sense (3 bytes), 3 other (1 byte)
//!     losses left out (u32), losses (u8), for each: what (u8), nexus
//!     CRC32C of all before it (u32)
//! nexus: target port (u16), ISID (6 bytes), name length (u16), name
//! ```
//!
//! Numbers are little-endian, an IPv4 address is mapped (RFC 4291 section 2.5.5.2). Decoding accepts
//! only what [`encode`] writes, so that one entry has one form.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::super::durable::{DecodeError, Reader, checked, seal};
use super::super::identity::Nexus;
use super::super::kinds::{Key, ReservationType, ScopeAndType};
use super::{Actor, Entry, Event, Loss, Parameters, Process, Status};
use crate::base::limits::{HISTORY_ENTRY_BYTES_MAX, HISTORY_LOSSES_MAX, ISCSI_NAME_BYTES_MAX};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const MAGIC: [u8; 4] = *b"HFPH";
const VERSION: u16 = 1;
const NO_FENCE: u64 = u64::MAX;

/// Bytes of an entry without its nexuses, rounded up; the longest event takes 19.
const FIXED_BYTES: usize = 128;
const NEXUS_BYTES_MAX: usize = 2 + 6 + 2 + ISCSI_NAME_BYTES_MAX;
const _: () = assert!(
    FIXED_BYTES + NEXUS_BYTES_MAX + HISTORY_LOSSES_MAX * (NEXUS_BYTES_MAX + 1)
        <= HISTORY_ENTRY_BYTES_MAX
);
const _: () = assert!(HISTORY_LOSSES_MAX <= u8::MAX as usize);

/// The bytes of an entry, at most [`HISTORY_ENTRY_BYTES_MAX`].
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(entry.sequence.to_le_bytes());
    out.extend(entry.at_ms.to_le_bytes());
    out.extend(entry.last_ms.to_le_bytes());
    out.extend(entry.times.to_le_bytes());
    out.extend(entry.generation.to_le_bytes());
    out.extend(entry.aborted.to_le_bytes());
    out.extend(entry.fence_us.unwrap_or(NO_FENCE).to_le_bytes());
    out.push(entry.effect.into());
    put_actor(&mut out, &entry.actor);
    put_event(&mut out, entry.event);
    match entry.status {
        Status::Unfinished => out.push(0),
        Status::Good => out.push(1),
        Status::CheckCondition(key, asc, ascq) => out.extend([2, key, asc, ascq]),
        Status::Other(status) => out.extend([3, status]),
    }
    out.extend(entry.losses_left_out.to_le_bytes());
    out.push(u8::try_from(entry.losses.len()).unwrap_or(u8::MAX));
    for loss in &entry.losses {
        let bits = [loss.registration, loss.reservation, loss.write, loss.read];
        out.push(
            bits.into_iter()
                .rev()
                .fold(0, |byte, bit| byte << 1 | u8::from(bit)),
        );
        put_nexus(&mut out, &loss.nexus);
    }
    seal(&mut out);
    out
}

fn put_actor(out: &mut Vec<u8>, actor: &Actor) {
    match actor {
        Actor::Target => out.push(0),
        Actor::Nexus { nexus, address } => {
            out.push(1);
            put_nexus(out, nexus);
            out.push(address.is_some().into());
            if let Some(address) = address {
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                out.extend(ip.octets());
                out.extend(address.port().to_le_bytes());
            }
        }
        Actor::Operator { process } => {
            out.push(2);
            out.push(process.is_some().into());
            if let Some(Process { uid, pid }) = process {
                out.extend(uid.to_le_bytes());
                out.extend(pid.to_le_bytes());
            }
        }
    }
}

fn put_event(out: &mut Vec<u8>, event: Event) {
    match event {
        Event::ReserveOut {
            action,
            scope_and_type,
            parameters,
        } => {
            let flags = match parameters {
                None => 0,
                Some(Parameters { aptpl: false, .. }) => 1,
                Some(Parameters { aptpl: true, .. }) => 2,
            };
            out.extend([0, action, scope_and_type.0, flags]);
            if let Some(parameters) = parameters {
                out.extend(parameters.key.0.to_le_bytes());
                out.extend(parameters.action_key.0.to_le_bytes());
            }
        }
        Event::Reserve => out.push(1),
        Event::Release => out.push(2),
        Event::EndedByReset => out.push(3),
        Event::EndedByNexusLoss => out.push(4),
        Event::Cleared => out.push(5),
        Event::Removed(key) => {
            out.push(6);
            out.extend(key.0.to_le_bytes());
        }
        Event::Restored {
            registrations,
            kind,
        } => {
            out.push(7);
            out.extend(registrations.to_le_bytes());
            out.push(kind.map_or(0, ReservationType::code));
        }
        Event::EntriesLost(count) => {
            out.push(8);
            out.extend(count.to_le_bytes());
        }
    }
}

/// A name longer than RFC 7143 permits never gets past a login; if one did, the entry would be kept
/// and not be believed.
fn put_nexus(out: &mut Vec<u8>, nexus: &Nexus) {
    let name = nexus.initiator.name().as_bytes();
    let name = name.get(..ISCSI_NAME_BYTES_MAX).unwrap_or(name);
    out.extend(nexus.target_port.to_le_bytes());
    out.extend(nexus.initiator.isid());
    out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(name);
}

/// The entry in those bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let mut reader = Reader(checked(bytes)?);
    if reader.take::<4>()? != MAGIC {
        return Err(DecodeError::Magic);
    }
    let version = u16::from_le_bytes(reader.take()?);
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let entry = Entry {
        sequence: reader.u64()?,
        at_ms: reader.u64()?,
        last_ms: reader.u64()?,
        times: reader.u32()?,
        generation: reader.u32()?,
        aborted: reader.u32()?,
        fence_us: Some(reader.u64()?).filter(|took| *took != NO_FENCE),
        effect: reader.flag()?,
        actor: actor(&mut reader)?,
        event: event(&mut reader)?,
        status: status(&mut reader)?,
        losses_left_out: reader.u32()?,
        losses: losses(&mut reader)?,
    };
    if reader.0.is_empty() {
        Ok(entry)
    } else {
        Err(DecodeError::Field("length"))
    }
}

fn actor(reader: &mut Reader<'_>) -> Result<Actor, DecodeError> {
    Ok(match reader.take()? {
        [0] => Actor::Target,
        [1] => Actor::Nexus {
            nexus: reader.nexus()?,
            address: if reader.flag()? {
                let ip = Ipv6Addr::from(reader.take::<16>()?).to_canonical();
                Some(SocketAddr::new(ip, u16::from_le_bytes(reader.take()?)))
            } else {
                None
            },
        },
        [2] => Actor::Operator {
            process: if reader.flag()? {
                Some(Process {
                    uid: reader.u32()?,
                    pid: reader.u32()?,
                })
            } else {
                None
            },
        },
        _ => return Err(DecodeError::Field("actor")),
    })
}

fn event(reader: &mut Reader<'_>) -> Result<Event, DecodeError> {
    Ok(match reader.take()? {
        [0] => {
            let [action, scope_and_type, flags] = reader.take()?;
            let parameters = match flags {
                0 => None,
                1 | 2 => Some(Parameters {
                    key: Key(reader.u64()?),
                    action_key: Key(reader.u64()?),
                    aptpl: flags == 2,
                }),
                _ => return Err(DecodeError::Field("flag field of a command")),
            };
            Event::ReserveOut {
                action,
                scope_and_type: ScopeAndType(scope_and_type),
                parameters,
            }
        }
        [1] => Event::Reserve,
        [2] => Event::Release,
        [3] => Event::EndedByReset,
        [4] => Event::EndedByNexusLoss,
        [5] => Event::Cleared,
        [6] => Event::Removed(Key(reader.u64()?)),
        [7] => Event::Restored {
            registrations: reader.u32()?,
            kind: match reader.take()? {
                [0] => None,
                [code] => Some(
                    ReservationType::try_from(code)
                        .map_err(|_| DecodeError::Field("reservation type"))?,
                ),
            },
        },
        [8] => Event::EntriesLost(reader.u32()?),
        _ => return Err(DecodeError::Field("event")),
    })
}

fn status(reader: &mut Reader<'_>) -> Result<Status, DecodeError> {
    Ok(match reader.take()? {
        [0] => Status::Unfinished,
        [1] => Status::Good,
        [2] => {
            let [key, asc, ascq] = reader.take()?;
            Status::CheckCondition(key, asc, ascq)
        }
        [3] => {
            let [status] = reader.take()?;
            Status::Other(status)
        }
        _ => return Err(DecodeError::Field("status")),
    })
}

fn losses(reader: &mut Reader<'_>) -> Result<Vec<Loss>, DecodeError> {
    let [count] = reader.take()?;
    if usize::from(count) > HISTORY_LOSSES_MAX {
        return Err(DecodeError::Field("number of losses"));
    }
    (0..count)
        .map(|_| {
            let [what] = reader.take()?;
            if what > 0x0F {
                return Err(DecodeError::Field("loss"));
            }
            Ok(Loss {
                nexus: reader.nexus()?,
                registration: what & 1 != 0,
                reservation: what & 2 != 0,
                write: what & 4 != 0,
                read: what & 8 != 0,
            })
        })
        .collect()
}

//! The record that outlives a power loss.
//!
//! ```text
//! 0   magic "HFPR"                    4   version 1 (u16)
//! 6   flags (u16): 1 APTPL            8   registrations: count (u32), then for each, ascending:
//!       key (u64), target port (u16), ISID (6 bytes), flags (u8): 1 ALL_TG_PT,
//!       name length (u16), name
//!     reservation type (u8), 0 for none; position of its holder among the registrations (u32),
//!       FFFFFFFFh for none
//!     CRC32C of all before it (u32)
//! ```
//!
//! Numbers are little-endian. One state has one record. Decoding reads through checked views alone,
//! allocates no more than the record's own size and accepts nothing that [`encode`] does not write:
//! a volume whose record is not believed must not be served, because it would come up as if nobody
//! had reserved it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::identity::{InitiatorPort, Nexus, normal_name};
use super::kinds::{Key, ReservationType};
use super::state::{Registration, Reservation, State};
use crate::base::crc32c::crc32c;
use crate::base::limits::NEXUSES_MAX;

const MAGIC: [u8; 4] = *b"HFPR";
const VERSION: u16 = 1;
const FLAG_APTPL: u16 = 1;
const FLAG_ALL_TARGET_PORTS: u8 = 1;
const NO_HOLDER: u32 = u32::MAX;

/// The record of what a power loss leaves of `state` ([`State::after_power_loss`]).
#[must_use]
pub fn encode(state: &State) -> Vec<u8> {
    let state = state.after_power_loss();
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(if state.aptpl { FLAG_APTPL } else { 0 }.to_le_bytes());
    out.extend(count(state.registrations.len()).to_le_bytes());
    for (nexus, registration) in &state.registrations {
        let name = nexus.initiator.name();
        out.extend(registration.key.0.to_le_bytes());
        out.extend(nexus.target_port.to_le_bytes());
        out.extend(nexus.initiator.isid());
        out.push(if registration.all_target_ports {
            FLAG_ALL_TARGET_PORTS
        } else {
            0
        });
        out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend(name.bytes());
    }
    let held = state.reservation.as_ref();
    let holder = held.and_then(|held| held.holder.as_ref());
    let position = holder.and_then(|holder| state.registrations.keys().position(|n| n == holder));
    out.push(held.map_or(0, |held| held.kind.code()));
    out.extend(position.map_or(NO_HOLDER, count).to_le_bytes());
    seal(&mut out);
    out
}

/// Puts the checksum behind a record.
pub(super) fn seal(out: &mut Vec<u8>) {
    out.extend(crc32c(out).to_le_bytes());
}

/// Why a record is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends too early.
    #[error("the record ends too early")]
    Truncated,
    /// The checksum does not match the bytes.
    #[error("the checksum is {found:#010x}, the bytes give {computed:#010x}")]
    Checksum {
        /// The checksum in the record.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The bytes are no reservation record.
    #[error("the bytes are no reservation record")]
    Magic,
    /// A record of another version of this program.
    #[error("record version {0}, expected {VERSION}")]
    Version(u16),
    /// More registrations than a volume can have.
    #[error("{0} registrations, expected at most {NEXUSES_MAX}")]
    TooMany(u32),
    /// A field holds what [`encode`] never writes.
    #[error("the {0} is not one this program writes")]
    Field(&'static str),
}

/// The state in a record; its generation is zero.
pub fn decode(record: &[u8]) -> Result<State, DecodeError> {
    let mut reader = Reader(checked(record)?);
    if reader.take::<4>()? != MAGIC {
        return Err(DecodeError::Magic);
    }
    let version = u16::from_le_bytes(reader.take()?);
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let mut state = State::new();
    state.aptpl = match u16::from_le_bytes(reader.take()?) {
        0 => false,
        FLAG_APTPL => true,
        _ => return Err(DecodeError::Field("flag field")),
    };
    let registrations = u32::from_le_bytes(reader.take()?);
    if registrations > NEXUSES_MAX {
        return Err(DecodeError::TooMany(registrations));
    }
    for _ in 0..registrations {
        let (nexus, registration) = reader.registration()?;
        if state
            .registrations
            .last_key_value()
            .is_some_and(|(last, _)| *last >= nexus)
        {
            return Err(DecodeError::Field("order of registrations"));
        }
        state.registrations.insert(nexus, registration);
    }
    state.reservation = reader.reservation(&state)?;
    if !reader.0.is_empty() {
        return Err(DecodeError::Field("length"));
    }
    if !state.is_sound() || state != state.after_power_loss() {
        return Err(DecodeError::Field("combination of fields"));
    }
    Ok(state)
}

/// The record without its checksum, if that matches.
pub(super) fn checked(record: &[u8]) -> Result<&[u8], DecodeError> {
    let (body, checksum) = record.split_last_chunk().ok_or(DecodeError::Truncated)?;
    let (found, computed) = (u32::from_le_bytes(*checksum), crc32c(body));
    if found == computed {
        Ok(body)
    } else {
        Err(DecodeError::Checksum { found, computed })
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DecodeError::Field("flag")),
        }
    }

    /// An initiator port and a target port: target port (u16), ISID (6 bytes), name length (u16),
    /// name.
    pub(super) fn nexus(&mut self) -> Result<Nexus, DecodeError> {
        let target_port = u16::from_le_bytes(self.take()?);
        let isid = self.take()?;
        let name = self.name()?;
        Ok(Nexus::new(InitiatorPort::new(name, isid), target_port))
    }

    fn name(&mut self) -> Result<&'a str, DecodeError> {
        let length = u16::from_le_bytes(self.take()?);
        let name = std::str::from_utf8(self.bytes(length.into())?).ok();
        let name = name.filter(|name| normal_name(name) == *name);
        name.ok_or(DecodeError::Field("initiator name"))
    }

    fn registration(&mut self) -> Result<(Nexus, Registration), DecodeError> {
        let key = Key(u64::from_le_bytes(self.take()?));
        let target_port = u16::from_le_bytes(self.take()?);
        let isid = self.take()?;
        let all_target_ports = match self.take()? {
            [0] => false,
            [FLAG_ALL_TARGET_PORTS] => true,
            _ => return Err(DecodeError::Field("flag field of a registration")),
        };
        let name = self.name()?;
        let nexus = Nexus::new(InitiatorPort::new(name, isid), target_port);
        Ok((
            nexus,
            Registration {
                key,
                all_target_ports,
            },
        ))
    }

    fn reservation(&mut self, state: &State) -> Result<Option<Reservation>, DecodeError> {
        let [code] = self.take()?;
        let holder = match u32::from_le_bytes(self.take()?) {
            NO_HOLDER => None,
            position => {
                let position = usize::try_from(position).ok();
                let holder = position.and_then(|position| state.registrations.keys().nth(position));
                Some(holder.cloned().ok_or(DecodeError::Field("holder"))?)
            }
        };
        match (code, ReservationType::try_from(code)) {
            (0, _) if holder.is_none() => Ok(None),
            (_, Ok(kind)) => Ok(Some(Reservation { kind, holder })),
            _ => Err(DecodeError::Field("reservation type")),
        }
    }
}

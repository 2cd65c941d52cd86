//! Since when the registrations and the reservation stand.
//!
//! ```text
//! 0   magic "HFPA"   4   version 1 (u16)   6   checksum of the record that they go with (u32)
//! 10  since when the reservation stands (u64), then for each registration of the record, in its
//!       order, since when (u64); milliseconds since 1970, 0: not known
//!     CRC32C of all before it (u32)
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::super::durable::{DecodeError, Reader, checked, seal};
use super::super::identity::Nexus;
use super::super::state::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MAGIC: [u8; 4] = *b"HFPA";
const VERSION: u16 = 1;
const UNKNOWN: u64 = 0;

/// Since when the registrations and the reservation of one state stand, in milliseconds since 1970.
/// What is not here is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ages {
    #[serde(with = "crate::base::pairs")]
    registered: BTreeMap<Nexus, u64>,
    reserved: Option<u64>,
}

impl Ages {
    /// Since when `nexus` has its present key.
    #[must_use]
    pub fn registered(&self, nexus: &Nexus) -> Option<u64> {
        self.registered.get(nexus).copied()
    }

    /// Since when the reservation has its present type and holder.
    #[must_use]
    pub const fn reserved(&self) -> Option<u64> {
        self.reserved
    }

    /// The ages after a step from `before` to `after` at `now_ms`: a registration is as old as its
    /// key, a reservation as old as its type and its holder.
    #[must_use]
    pub fn after(&self, before: &State, after: &State, now_ms: u64) -> Self {
        let since = |(nexus, _): (&Nexus, _)| {
            let since = if before.key(nexus) == after.key(nexus) {
                self.registered(nexus)
            } else {
                Some(now_ms)
            };
            since.map(|since| (nexus.clone(), since))
        };
        let reserved = if before.reservation() == after.reservation() {
            self.reserved
        } else {
            after.reservation().map(|_| now_ms)
        };
        Self {
            registered: after.registrations().filter_map(since).collect(),
            reserved,
        }
    }

    /// The bytes that go with `record`, which is the record of `state`.
    #[must_use]
    pub fn encode(&self, state: &State, record: &[u8]) -> Vec<u8> {
        let state = state.after_power_loss();
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(checksum(record));
        let reserved = state.reservation().and(self.reserved);
        out.extend(reserved.unwrap_or(UNKNOWN).to_le_bytes());
        for (nexus, _) in state.registrations() {
            let since = self.registered(nexus).unwrap_or(UNKNOWN);
            out.extend(since.to_le_bytes());
        }
        seal(&mut out);
        out
    }

    /// The ages in those bytes, for the `state` that was read from `record`.
    ///
    /// # Errors
    /// They are damaged, or those of another record.
    pub fn decode(bytes: &[u8], state: &State, record: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(checked(bytes)?);
        if reader.take::<4>()? != MAGIC {
            return Err(DecodeError::Magic);
        }
        let version = u16::from_le_bytes(reader.take()?);
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        if reader.take::<4>()? != checksum(record) {
            return Err(DecodeError::Field("record that they go with"));
        }
        let mut since = || Ok(Some(reader.u64()?).filter(|since| *since != UNKNOWN));
        let reserved = since()?;
        let mut registered = BTreeMap::new();
        for (nexus, _) in state.registrations() {
            if let Some(since) = since()? {
                registered.insert(nexus.clone(), since);
            }
        }
        if !reader.0.is_empty() || (state.reservation().is_none() && reserved.is_some()) {
            return Err(DecodeError::Field("combination of fields"));
        }
        Ok(Self {
            registered,
            reserved,
        })
    }
}

/// The checksum at the end of a record.
fn checksum(record: &[u8]) -> [u8; 4] {
    record.last_chunk().copied().unwrap_or_default()
}

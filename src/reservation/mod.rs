//! Layer 1: SCSI persistent reservations as a pure state machine (SPC-4 sections 5.13 and 6.15–6.16).
//!
//! A [`Command`] applied to a [`State`] gives an [`Outcome`]: the next state, and everything that has
//! to happen because of it. Nothing happens here: no I/O, no clock, no lock. Whoever owns the volume
//! makes the next state durable, publishes its [`Snapshot`], waits for the I/O of those who lost
//! rights and only then answers.
//!
//! ```text
//! CDB + parameters ──parse_out──▶ Command ─┐
//!                                          ├─apply──▶ Outcome { next, attentions, fenced, aborted, durable }
//!                                   State ─┘              │
//!                                                         ├─ durable::encode ──▶ the stored record
//!                                                         └─ Snapshot::build ──▶ what every I/O reads
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | [`identity`] | initiator ports, nexuses, their positions in a volume's table |
//! | [`transport_id`] | the iSCSI TransportID on the wire |
//! | [`kinds`] | the six reservation types, keys, the SCOPE and TYPE byte |
//! | [`access`] | the matrix: which class of command is allowed to whom |
//! | [`state`] | registrations, the reservation, the generation |
//! | [`command`] | a parsed PERSISTENT RESERVE OUT, and what refuses it |
//! | [`parse`] | its CDB and parameter list on the wire |
//! | [`mod@apply`] | what each service action does |
//! | [`outcome`] | what follows from a command |
//! | [`legacy`] | RESERVE and RELEASE of SPC-2 |
//! | [`report`] | the bodies of PERSISTENT RESERVE IN |
//! | [`snapshot`] | the rights of every nexus, as an array |
//! | [`durable`] | the record that outlives a power loss |
//! | [`history`] | what happened: who did what to whom, when |

pub mod access;
pub mod apply;
pub mod command;
pub mod durable;
pub mod history;
pub mod identity;
pub mod kinds;
pub mod legacy;
pub mod outcome;
pub mod parse;
pub mod report;
pub mod snapshot;
pub mod state;
pub mod transport_id;

#[cfg(test)]
mod tests;

pub use access::{Access, Rights};
pub use apply::{Context, apply, evict_all, evict_key};
pub use command::{Command, FieldPointer, Refusal};
pub use durable::{DecodeError, decode, encode};
pub use identity::{InitiatorPort, Nexus, NexusIndex};
pub use kinds::{Key, NotAKey, ReservationType, ScopeAndType};
pub use legacy::{end_legacy, release_legacy, reserve_legacy};
pub use outcome::{Attention, Outcome};
pub use parse::{parameter_length, parse_out};
pub use snapshot::Snapshot;
pub use state::{Registration, Reservation, State};
pub use transport_id::TransportId;

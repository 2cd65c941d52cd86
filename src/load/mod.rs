//! Layer 7: the load generator. An initiator that measures any iSCSI target.
//!
//! [`run()`] carries out a [`Plan`] and returns a [`Report`]. [`Rig`] is the piece
//! below it: it connects once and then runs bursts on the open sessions, so that several targets can
//! be compared in turns, which [`compare`] does. [`floor`] measures what this machine can do without a target,
//! [`footprint`] how much memory a server takes, [`limits`] what its limits are worth.
//!
//! ```text
//! Plan ─▶ Rig ─▶ worker threads, each: engine (spin, one receive and one send a turn)
//!                                        │ bytes                        ▲ bytes
//!                                        ▼                              │
//!                                      Job: Workload ─▶ initiator::Session (no I/O)
//!                                        │ latencies, failures
//! Report ◀─ Burst ◀──────────────────── Tally
//! ```
//!
//! # How latency is measured
//!
//! The clock is read before a turn's requests are encoded, and after each receive that brought
//! bytes. An I/O's latency is the time between the two: from just before it is written into the send
//! buffer to just after the bytes that complete it came out of the socket. All requests of a turn
//! start at the same moment, and all replies of one receive end at the same. Replies that wait in
//! the socket while this thread works on another connection wait on the clock. Under `--rate` an I/O
//! starts when it was due, not when a place for it came free, so a stalled target can't hide the
//! I/Os that it kept from starting.
//!
//! # What it costs
//!
//! A turn does one receive and at most one send for each connection that has something: all requests
//! of a turn leave together. Nothing is allocated for an I/O.
//!
//! This room never serves, and never reaches a target but through a socket.

pub mod address;
pub mod compare;
mod connect;
mod cpu;
mod crew;
mod engine;
pub mod failure;
pub mod floor;
pub mod footprint;
pub mod initiator;
mod job;
pub mod limits;
pub mod plan;
pub mod report;
mod rig;
mod run;
pub mod tally;
mod workload;

pub use address::{Address, AddressError};
pub use crew::Interval;
pub use failure::{FailureKind, Failures, Mismatch};
pub use initiator::command::Capacity;
pub use initiator::fault::Fault;
pub use plan::{
    BlockSize, Cores, Credentials, LoginOptions, Pattern, Plan, PlanError, Threads, Workload,
};
pub use report::Report;
pub use rig::{Burst, LoadError, Rig, VolumeInfo};
pub use run::run;
pub use tally::{Direction, Lane, Tally, Work};
pub use workload::{Misfit, WrongBlock};

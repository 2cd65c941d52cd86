//! Layer 6: the target. It ties the protocol, the logical units and the disks together, and parses
//! no byte itself.
//!
//! ```text
//!   socket ─▶ iscsi ─▶ scsi::plan ─▶ piece ─▶ shard's reactor: check, issue ─▶ backend
//!     ▲                    │                                                      │
//!     │                    └─▶ procedure (anything but a short READ or WRITE)     │
//!     └────────── Data-In, Response ◀── completion ◀──────────────────────────────┘
//! ```
//!
//! | room | what it is |
//! |---|---|
//! | [`handle`] | the target from outside: start, volumes, portals, drain, stop |
//! | [`stepped`] | a target without threads, tick by tick, for counting and simulation |
//! | `core` | one reactor's tick |
//! | `traffic` | bytes to events, aborts, the end of connections |
//! | `login` | who may come in, moving to the home, the seat |
//! | `drains` | nodes out of service |
//! | `admission` | at the home: the session that is reinstated ends, then a seat or none |
//! | `io` | commands; the short way of READ and WRITE |
//! | `whole` | the shortest way: commands that have come whole, answered where they lie |
//! | `at_once` | the shorter way, on a store that is done as soon as it is asked |
//! | `outlists` | what connections write into until it is sent |
//! | `procedure`, `local`, `medium`, `commands` | everything longer, as `async` functions |
//! | `shard` | backend issue: the check, range locks, what is in flight |
//! | `home`, `reserve`, `nexuses`, `hold` | a volume's one writer: sessions, reservations, the fence |
//! | `oversight` | what an operator may see and do of reservations |
//! | `store` | the way to the store of reservations |
//! | `instant`, `gate` | one instant of several volumes, for snapshots; no write is half done then |
//! | `dismiss`, `alter` | the end of a volume in use; what changes while it is served |
//! | `readiness` | at the home, too: the medium ejected, kept in, being erased |
//! | [`handover`] | everything parked, and taken up by another process |
//! | `in_flight` | who has commands under way, for an operator |
//! | `limit` | operations and bytes per second: who waits, and who goes next |
//! | `meters` | what is counted, and how long it took |
//! | `journal` | what happens, told to whoever keeps the log |
//! | `serve`, `message` | what reactors ask of each other |
//! | `task_management` | aborts and resets |
//!
//! Invariants: a connection and a shard belong to one reactor each; a volume's logical unit is
//! written by its home alone and read by everyone with one atomic load; no lock is taken here but by
//! the handle, which no reactor uses.

mod admission;
mod alter;
mod at_once;
mod attend;
mod chronicle;
mod commands;
mod connection;
mod copies;
mod core;
mod directory;
mod dismiss;
mod drains;
mod enact;
mod failure;
mod follow;
mod gate;
pub mod handle;
pub mod handover;
mod hold;
mod home;
mod in_flight;
mod instant;
mod io;
mod journal;
mod limit;
mod local;
mod login;
mod medium;
mod message;
mod meters;
mod nexuses;
mod outlists;
mod oversight;
mod owed;
mod procedure;
mod put_right;
mod readiness;
mod reserve;
mod scope;
mod serial;
mod serve;
mod session;
mod shard;
mod shards;
mod shared;
pub mod stepped;
mod store;
mod takeovers;
mod task_management;
mod terms;
mod tokens;
mod traffic;
mod unit;
mod volume;
mod whole;

pub use alter::Timing;
pub use chronicle::Restored;
pub use directory::Redirect;
pub use drains::{Drain, DrainScope};
pub use handle::{IdentityInfo, SessionInfo, Target, TargetConfig, TargetError, VolumeConfig};
pub use handover::{Estate, NotAdopted, NotHandedOver, Obstacle, Record};
pub use in_flight::InFlight;
pub use instant::{Company, HoldPlan};
pub use journal::{Happening, Journal, Login, SessionEnd};
pub use limit::{LimitUsage, Limits};
pub use meters::{
    Direction, Latency, Measurement, ReactorMeasure, SlowIo, SlowKind, Tally, VolumeMeasure,
};
pub use oversight::{Change, Cleared, Forecast, Preemption, ReservationReport};
pub use shards::{ShardMap, ShardPlacement};
pub use shared::ConnectionPlacement;
pub use store::{ReservationStore, ReservationUpdate, StoreFailed};
pub use takeovers::Takeover;
pub use terms::{BrokenRule, Unwelcome};
pub use volume::{Access, VolumeIndex};

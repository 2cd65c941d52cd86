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
//! | `io` | commands; the short way of READ and WRITE |
//! | `at_once` | the shorter way, on a store that is done as soon as it is asked |
//! | `outlists` | what connections write into until it is sent |
//! | `procedure`, `local`, `medium`, `commands` | everything longer, as `async` functions |
//! | `shard` | backend issue: the check, range locks, what is in flight |
//! | `home`, `reserve`, `nexuses`, `hold` | a volume's one writer: sessions, reservations, the fence |
//! | `oversight` | what an operator may see and do of reservations |
//! | `store` | the way to the store of reservations |
//! | `readiness` | at the home, too: the medium ejected, kept in, being erased |
//! | [`handover`] | everything parked, and taken up by another process |
//! | `in_flight` | who has commands under way, for an operator |
//! | `serve`, `message` | what reactors ask of each other |
//! | `task_management` | aborts and resets |
//!
//! Invariants: a connection and a shard belong to one reactor each; a volume's logical unit is
//! written by its home alone and read by everyone with one atomic load; no lock is taken here but by
//! the handle, which no reactor uses.

mod alter;
mod at_once;
mod attend;
mod chronicle;
mod commands;
mod connection;
mod copies;
mod core;
mod directory;
mod enact;
mod failure;
mod follow;
pub mod handle;
pub mod handover;
mod hold;
mod home;
mod in_flight;
mod io;
mod local;
mod login;
mod medium;
mod message;
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
mod tokens;
mod traffic;
mod unit;
mod volume;

pub use chronicle::Restored;
pub use directory::Redirect;
pub use handle::{IdentityInfo, SessionInfo, Target, TargetConfig, TargetError, VolumeConfig};
pub use handover::{Estate, NotAdopted, NotHandedOver, Obstacle, Record};
pub use in_flight::InFlight;
pub use oversight::{Change, Cleared, Forecast, Preemption, ReservationReport};
pub use shards::{ShardMap, ShardPlacement};
pub use shared::ConnectionPlacement;
pub use store::{ReservationStore, ReservationUpdate, StoreFailed};
pub use takeovers::Takeover;
pub use volume::{Access, VolumeIndex};

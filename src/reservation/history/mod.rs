//! What happened to the reservations of a volume: who did what to whom, when, and how it ended.
//!
//! A [`History`] is a bounded ring of [`Entry`]s. It decides nothing: no command is allowed or
//! refused because of it, and a volume is served without it. Like everything in this room it reads
//! no clock and does no I/O; the volume's home passes the time in and hands the bytes to a store.
//!
//! | file | what it is |
//! |---|---|
//! | `ring` | the ring: what stays, what is coalesced, what has yet to be saved |
//! | `codec` | an entry as bytes |
//! | `loss` | who lost what between two states |
//! | `ages` | since when the registrations and the reservation stand |
//! | `counts` | how many commands of each kind there were |

mod ages;
mod codec;
mod counts;
mod loss;
mod ring;
#[cfg(test)]
mod tests;

pub use ages::Ages;
pub use counts::{CommandCount, CommandCounts};
pub use loss::{Loss, losses, takes_effect};
pub use ring::{Batch, Cursor, Excerpt, History};

use super::command::{Command, Refusal};
use super::identity::Nexus;
use super::kinds::{Key, ReservationType, ScopeAndType};
use crate::base::limits::HISTORY_LOSSES_MAX;
use std::fmt;
use std::net::SocketAddr;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number; the first entry of a volume is 1. Numbers that are missing were pushed out.
    pub sequence: u64,
    /// When it happened, in milliseconds since 1970 (UTC); the first time, where it was repeated.
    pub at_ms: u64,
    /// When it happened last.
    pub last_ms: u64,
    /// How often it happened.
    pub times: u32,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub event: Event,
    /// How it ended.
    pub status: Status,
    /// Whether a registration or a reservation came, went or changed.
    pub effect: bool,
    /// Who lost what, the actor included; at most [`HISTORY_LOSSES_MAX`].
    pub losses: Vec<Loss>,
    /// How many more lost something.
    pub losses_left_out: u32,
    /// Commands that PREEMPT AND ABORT ended.
    pub aborted: u32,
    /// PRGENERATION afterwards.
    pub generation: u32,
    /// How long the command waited for the writes of those who lost rights, in microseconds; `None`
    /// where there was nobody to wait for.
    pub fence_us: Option<u64>,
}

impl Entry {
    /// Something that happens now and has not ended. The ring gives it its number.
    #[must_use]
    pub const fn new(at_ms: u64, actor: Actor, event: Event) -> Self {
        Self {
            sequence: 0,
            at_ms,
            last_ms: at_ms,
            times: 1,
            actor,
            event,
            status: Status::Unfinished,
            effect: false,
            losses: Vec::new(),
            losses_left_out: 0,
            aborted: 0,
            generation: 0,
            fence_us: None,
        }
    }

    /// Notes who lost what, as far as there is room.
    pub fn set_losses(&mut self, mut losses: Vec<Loss>) {
        let left_out = losses.len().saturating_sub(HISTORY_LOSSES_MAX);
        losses.truncate(HISTORY_LOSSES_MAX);
        self.losses = losses;
        self.losses_left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The target itself.
    Target,
    /// An initiator.
    Nexus {
        /// Under which nexus.
        nexus: Nexus,
        /// From which address, where that is known.
        address: Option<SocketAddr>,
    },
    /// An operator, over the control socket.
    Operator {
        /// User and process, where the socket tells.
        process: Option<Process>,
    },
}

/// A process on the same machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The user it runs as.
    pub uid: u32,
    /// Its number when it asked.
    pub pid: u32,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// PERSISTENT RESERVE OUT (SPC-4 section 6.16).
    ReserveOut {
        /// The service action.
        action: u8,
        /// SCOPE and TYPE, as they came.
        scope_and_type: ScopeAndType,
        /// The parameter list, as far as it was looked at.
        parameters: Option<Parameters>,
    },
    /// RESERVE (6) or RESERVE (10) of SPC-2.
    Reserve,
    /// RELEASE (6) or RELEASE (10) of SPC-2.
    Release,
    /// An SPC-2 reservation ended with a reset.
    EndedByReset,
    /// An SPC-2 reservation ended with the session of its holder.
    EndedByNexusLoss,
    /// An operator removed all registrations and reservations.
    Cleared,
    /// An operator removed the registrations of one key.
    Removed(Key),
    /// The target began to serve the volume, with what had been made durable.
    Restored {
        /// How many registrations there were.
        registrations: u32,
        /// The reservation, if there was one.
        kind: Option<ReservationType>,
    },
    /// That many earlier entries can't be read and are gone. The reservations are not concerned.
    EntriesLost(u32),
}

/// What the history keeps of a parameter list of PERSISTENT RESERVE OUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// RESERVATION KEY.
    pub key: Key,
    /// SERVICE ACTION RESERVATION KEY.
    pub action_key: Key,
    /// APTPL.
    pub aptpl: bool,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is under way. In an entry that was read back after a stop: the change was made durable,
    /// and the target stopped before it noted whether the initiator was answered.
    Unfinished,
    /// GOOD.
    Good,
    /// CHECK CONDITION with this sense key, additional sense code and qualifier.
    CheckCondition(u8, u8, u8),
    /// Any other status (SAM-5 section 5.3.1), RESERVATION CONFLICT (18h) before all.
    Other(u8),
}

impl Status {
    /// RESERVATION CONFLICT.
    pub const CONFLICT: Self = Self::Other(0x18);
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        const ILLEGAL_REQUEST: u8 = 5;
        match refusal.additional_sense() {
            None => Self::CONFLICT,
            Some((asc, ascq)) => Self::CheckCondition(ILLEGAL_REQUEST, asc, ascq),
        }
    }
}

impl Event {
    const REGISTER_AND_MOVE: u8 = 7;

    /// What a command asked for whose bytes are these, if the history is interested. `parameters` may
    /// be empty, or anything: the command may have been refused for that.
    #[must_use]
    pub fn of_bytes(cdb: &[u8], parameters: &[u8]) -> Option<Self> {
        let byte = |at: usize| cdb.get(at).copied().unwrap_or(0);
        match byte(0) {
            0x16 | 0x56 => Some(Self::Reserve),
            0x17 | 0x57 => Some(Self::Release),
            0x5F => {
                let action = byte(1) & 0x1F;
                let key = |at: usize| {
                    let bytes = parameters.get(at..)?.first_chunk()?;
                    Some(Key(u64::from_be_bytes(*bytes)))
                };
                let flags = if action == Self::REGISTER_AND_MOVE {
                    parameters.get(17)
                } else {
                    parameters.get(20)
                };
                let parameters = key(0)
                    .zip(key(8))
                    .zip(flags)
                    .map(|((key, action_key), flags)| Parameters {
                        key,
                        action_key,
                        aptpl: flags & 1 != 0,
                    });
                Some(Self::ReserveOut {
                    action,
                    scope_and_type: ScopeAndType(byte(2)),
                    parameters,
                })
            }
            _ => None,
        }
    }
}

/// What a command that was understood asks for.
impl From<&Command> for Event {
    fn from(command: &Command) -> Self {
        let unused = ScopeAndType(0);
        let (action, scope_and_type, key, action_key, aptpl) = match *command {
            Command::Register {
                key,
                new_key,
                aptpl,
                ..
            } => (0, unused, key, new_key, aptpl),
            Command::Reserve { key, kind } => (1, ScopeAndType::of(kind), key, Key::NONE, false),
            Command::Release {
                key,
                scope_and_type,
            } => (2, scope_and_type, key, Key::NONE, false),
            Command::Clear { key } => (3, unused, key, Key::NONE, false),
            Command::Preempt {
                key,
                victim,
                scope_and_type,
            } => (4, scope_and_type, key, victim, false),
            Command::PreemptAndAbort {
                key,
                victim,
                scope_and_type,
            } => (5, scope_and_type, key, victim, false),
            Command::RegisterAndIgnore { new_key, aptpl, .. } => {
                (6, unused, Key::NONE, new_key, aptpl)
            }
            Command::RegisterAndMove {
                key,
                new_key,
                aptpl,
                ..
            } => (Self::REGISTER_AND_MOVE, unused, key, new_key, aptpl),
        };
        Self::ReserveOut {
            action,
            scope_and_type,
            parameters: Some(Parameters {
                key,
                action_key,
                aptpl,
            }),
        }
    }
}

/// As the standards write it: `GOOD`, `RESERVATION CONFLICT`, or sense key and additional sense.
impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => out.write_str("unfinished"),
            Self::Good => out.write_str("GOOD"),
            Self::CheckCondition(key, asc, ascq) => {
                write!(out, "CHECK CONDITION {key:X}/{asc:02X}/{ascq:02X}")
            }
            Self::Other(0x08) => out.write_str("BUSY"),
            Self::Other(0x18) => out.write_str("RESERVATION CONFLICT"),
            Self::Other(0x40) => out.write_str("TASK ABORTED"),
            Self::Other(status) => write!(out, "status {status:02X}h"),
        }
    }
}

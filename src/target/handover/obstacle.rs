//! What is still going on, by name: what a handover waits for, and why it does not come about.

use super::Course;
use crate::base::rcu;
use crate::scsi::table;
use crate::scsi::unit::Medium;
use crate::target::connection::{Conn, Phase, Work};
use crate::target::core::{Core, Turn};
use std::fmt;

/// Obstacles that one reactor names; more would not help anybody.
const OBSTACLES_NAMED_MAX: usize = 4;

/// Something that has to end before a handover.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// FORMAT UNIT or SANITIZE.
    Erasure {
        /// The volume's name.
        volume: String,
        /// How far it has come.
        percent: u8,
    },
    /// EXTENDED COPY or another command that goes on after its status.
    Copy {
        /// The volume's name.
        volume: String,
    },
    /// A command that has not ended.
    Command {
        /// The standard's name, or the operation code.
        name: String,
        /// The volume's name.
        volume: String,
        /// Who sent it.
        initiator: String,
    },
    /// A change of the logical unit or of its reservations, or somebody who has to be told of one.
    Change {
        /// The volume's name.
        volume: String,
    },
    /// The catalogue does not hold what is in force.
    Unsaved {
        /// The volume's name.
        volume: String,
    },
    /// A connection that logs in, ends, or can't be brought to rest.
    Connection {
        /// The initiator's address.
        peer: String,
    },
    /// Work of a reactor that belongs to none of these.
    Work {
        /// The reactor.
        reactor: usize,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erasure { volume, percent } => {
                write!(f, "volume {volume} is being erased ({percent} %)")
            }
            Self::Copy { volume } => write!(f, "a copy from or to volume {volume} is running"),
            Self::Command {
                name,
                volume,
                initiator,
            } => write!(f, "{name} of {initiator} on volume {volume} has not ended"),
            Self::Change { volume } => write!(f, "a change of volume {volume} is under way"),
            Self::Unsaved { volume } => {
                write!(
                    f,
                    "the catalogue does not take what is in force on volume {volume}"
                )
            }
            Self::Connection { peer } => {
                write!(f, "the connection of {peer} does not come to rest")
            }
            Self::Work { reactor } => write!(f, "reactor {reactor} has work under way"),
        }
    }
}

impl Core {
    /// Work that may take long and goes on by itself, which is better waited for before anybody is
    /// disturbed.
    pub(super) fn long_work(&self) -> Vec<Obstacle> {
        let guard = rcu::pin();
        let mut found: Vec<_> = self
            .homes
            .values()
            .filter_map(|home| {
                let volume = home.volume.alias.clone();
                match home.volume.unit.load(&guard).medium {
                    Medium::Formatting { progress } | Medium::Sanitizing { progress } => {
                        let percent = u32::from(progress) * 100 / 65_536;
                        let percent = u8::try_from(percent).unwrap_or(100);
                        Some(Obstacle::Erasure { volume, percent })
                    }
                    Medium::Ready | Medium::Ejected | Medium::SanitizeFailed { .. } => None,
                }
            })
            .collect();
        let copies = self.local.outliving();
        found.extend(copies.into_iter().map(|volume| Obstacle::Copy { volume }));
        found.sort();
        found.dedup();
        found
    }

    /// What is going on here; empty: nothing, and nothing is on its way to another reactor.
    pub(super) fn obstacles(&self, turn: &Turn<'_, '_>) -> Vec<Obstacle> {
        let mut found = self.long_work();
        for home in self.homes.values() {
            let volume = || home.volume.alias.clone();
            if home.is_changing() {
                found.push(Obstacle::Change { volume: volume() });
            }
            if home.unsaved.get() {
                found.push(Obstacle::Unsaved { volume: volume() });
            }
        }
        let parking = self.course == Course::Parking;
        for (_, conn) in self.connections.iter() {
            if found.len() >= OBSTACLES_NAMED_MAX {
                break;
            }
            found.extend(conn.obstacle(parking));
        }
        let idle = self.local.under_way() == 0
            && self.issued.is_empty()
            && turn.tick.outbox.backlog() == 0
            && self.net.listeners() == 0;
        if found.is_empty() && !idle {
            let reactor = self.id;
            found.push(Obstacle::Work { reactor });
        }
        found
    }
}

impl Conn {
    fn obstacle(&self, parking: bool) -> Option<Obstacle> {
        let settled = match self.phase {
            Phase::Full => !parking && self.held && self.session.is_some(),
            Phase::Parked => true,
            _ => false,
        };
        let running = |work: &Work| {
            matches!(
                work,
                Work::Read { .. } | Work::Write { .. } | Work::Procedure { .. }
            )
        };
        let mut active = self.active.iter().flatten();
        if let (Some(active), Some(session)) =
            (active.find(|active| running(&active.work)), &self.session)
        {
            return Some(Obstacle::Command {
                name: name_of(active.opcode),
                volume: session.volume.alias.clone(),
                initiator: session.nexus.nexus.initiator.name().to_owned(),
            });
        }
        let at_rest = settled && self.outstanding == 0 && self.mourners.is_empty();
        (!at_rest).then(|| Obstacle::Connection {
            peer: self.peer.to_string(),
        })
    }
}

/// What people call a command of that operation code. One code may be many commands, by service action.
fn name_of(opcode: u8) -> String {
    match table::rows(opcode) {
        [command] => command.name.to_owned(),
        _ => format!("a command of operation code {opcode:02X}h"),
    }
}

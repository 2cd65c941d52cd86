//! I/O that takes too long: what is told of it, and how often.
//!
//! Each command carries the moments at which it went from one stage to the next; that is all it costs
//! while nothing is slow. A reactor writes no log: what it finds goes to the journal.

use super::super::core::Core;
use super::super::journal::Happening;
use super::super::session::Session;
use super::super::volume::VolumeIndex;
use super::Direction;
use crate::base::clock::Instant;
use crate::base::limits::SLOW_IO_LOG_INTERVAL;
use crate::base::slots::SlotKey;
use crate::volume::VolumeId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// From how long on an I/O is slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowLimit {
    nanos: u64,
}

/// Nothing is.
impl Default for SlowLimit {
    fn default() -> Self {
        Self { nanos: u64::MAX }
    }
}

impl SlowLimit {
    /// From `limit` on; `None`: never.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        let nanos = |limit: Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        limit.map_or_else(Self::default, |limit| Self {
            nanos: nanos(limit),
        })
    }

    /// Whether that long is too long.
    #[inline]
    pub(crate) const fn is_reached(self, nanos: u64) -> bool {
        nanos >= self.nanos
    }
}

/// When a command went from one stage to the next.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Stages {
    /// It came in.
    pub(crate) came: Instant,
    /// It had its turn and its buffer. A write's data is asked for from here on.
    pub(crate) begun: Instant,
    /// Its data was there, or it needed none: it went to the shard.
    pub(crate) launched: Instant,
}

impl Stages {
    /// Of a command that came at `came` and begins at `now`.
    pub(crate) const fn begin(came: Instant, now: Instant) -> Self {
        Self {
            came,
            begun: now,
            launched: now,
        }
    }
}

/// A command that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowTask {
    pub(crate) opcode: u8,
    pub(crate) direction: Direction,
    pub(crate) stages: Stages,
}

/// An I/O that took long, and where its time went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowIo {
    /// The volume.
    pub volume: VolumeId,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// Its address.
    pub address: SocketAddr,
    /// What took long.
    pub kind: SlowKind,
    /// All of it.
    pub total: Duration,
    /// Slow I/Os of the volume, on the same reactor, that were not told since the last one that was.
    pub kept_back: u64,
}

/// What of an I/O took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlowKind {
    /// A READ or WRITE of one piece.
    Piece {
        /// Operation code of its CDB.
        opcode: u8,
        /// Which way its data went.
        direction: Direction,
        /// Bytes of it.
        bytes: u64,
        /// It waited for its turn (ORDERED), or for a buffer.
        waiting: Duration,
        /// Its data was on the way from the initiator.
        transfer: Duration,
        /// It was on its way to the reactor of the shard, or waited there for a range lock.
        queue: Duration,
        /// The backend had it, or its outcome was on the way back.
        backend: Duration,
        /// Bytes that wait in front of its answer to be sent.
        unsent: u64,
    },
    /// A command of several steps.
    Procedure {
        /// Operation code of its CDB.
        opcode: u8,
        /// It waited for its turn.
        waiting: Duration,
        /// The steps, whatever they were.
        working: Duration,
    },
    /// The initiator did not take what was sent to it.
    Sending {
        /// Bytes of it.
        bytes: u64,
    },
}

/// How much of a volume was told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    last: Option<Instant>,
    kept_back: u64,
}

impl Told {
    /// Whether to tell one now: at most one in an interval. With it, how many were kept back.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let recently = |last: Instant| now.since(last) < SLOW_IO_LOG_INTERVAL;
        if self.last.is_some_and(recently) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

impl Core {
    /// A READ or WRITE of one piece, issued at `issued`, has taken too long.
    #[cold]
    pub(crate) fn tell_slow_piece(
        &mut self,
        key: SlotKey,
        task: SlowTask,
        bytes: u64,
        issued: Instant,
        now: Instant,
    ) {
        let Stages {
            came,
            begun,
            launched,
        } = task.stages;
        let unsent = self.connections.get(key).map_or(0, |conn| {
            (conn.sending_bytes + conn.iscsi.queued_bytes()) as u64
        });
        let kind = SlowKind::Piece {
            opcode: task.opcode,
            direction: task.direction,
            bytes,
            waiting: begun.since(came),
            transfer: launched.since(begun),
            queue: issued.since(launched),
            backend: now.since(issued),
            unsent,
        };
        self.tell_slow(key, kind, now.since(came), now);
    }

    /// A command of several steps has.
    #[cold]
    pub(crate) fn tell_slow_procedure(&mut self, key: SlotKey, task: SlowTask, now: Instant) {
        let Stages { came, begun, .. } = task.stages;
        let kind = SlowKind::Procedure {
            opcode: task.opcode,
            waiting: begun.since(came),
            working: now.since(begun),
        };
        self.tell_slow(key, kind, now.since(came), now);
    }

    /// The peer took that long to take what was sent.
    #[cold]
    pub(crate) fn tell_slow_send(
        &mut self,
        key: SlotKey,
        bytes: usize,
        began: Instant,
        now: Instant,
    ) {
        let kind = SlowKind::Sending {
            bytes: bytes as u64,
        };
        self.tell_slow(key, kind, now.since(began), now);
    }

    fn tell_slow(&mut self, key: SlotKey, kind: SlowKind, total: Duration, now: Instant) {
        let Some(conn) = self.connections.get(key) else {
            return;
        };
        let Some(session) = conn.session.as_deref() else {
            return;
        };
        let index: VolumeIndex = session.volume.index;
        let Some(kept_back) = self.meters.open(index).slow.admit(now) else {
            return;
        };
        let slow = SlowIo {
            volume: session.volume.id,
            initiator: initiator_of(session),
            address: conn.peer,
            kind,
            total,
            kept_back,
        };
        self.shared.journal.tell(Happening::SlowIo(Box::new(slow)));
    }
}

fn initiator_of(session: &Session) -> String {
    session.nexus.nexus.initiator.name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_slow_unless_asked_for() {
        assert!(!SlowLimit::default().is_reached(u64::MAX - 1));
        assert!(!SlowLimit::new(None).is_reached(1 << 60));
        let limit = SlowLimit::new(Some(Duration::from_millis(100)));
        assert!(!limit.is_reached(99_999_999));
        assert!(limit.is_reached(100_000_000));
    }

    #[test]
    fn of_many_one_in_an_interval_is_told_and_the_others_counted() {
        let mut told = Told::default();
        let start = Instant::ZERO;
        assert_eq!(told.admit(start), Some(0));
        for _ in 0..3 {
            assert_eq!(told.admit(start), None);
        }
        let later = start + SLOW_IO_LOG_INTERVAL;
        assert_eq!(told.admit(later), Some(3));
        assert_eq!(told.admit(later), None);
        assert_eq!(told.admit(later + SLOW_IO_LOG_INTERVAL), Some(1));
    }
}

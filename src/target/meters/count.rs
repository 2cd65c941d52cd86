//! Commands of more than one step, and those that need none: counted as they end. A READ or WRITE of one
//! piece is counted where it is answered.

use super::super::connection::Active;
use super::super::core::Core;
use super::super::local::Answer;
use super::{Direction, SlowTask, Stages};
use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use crate::iscsi::Command;

impl Core {
    /// Counts a command that is answered without a look at the medium.
    pub(crate) fn measure_reply(&mut self, key: SlotKey, command: &Command, now: Instant) {
        let conn = self.connections.get_mut(key);
        if let Some(session) = conn.and_then(|conn| conn.session.as_mut()) {
            session.counters.count_good(Direction::Other, 1);
            let volume = session.volume.index;
            let stages = Stages::begin(command.arrived, now);
            self.meters.ended(volume, Direction::Other, &stages);
        }
    }

    /// Counts a procedure that is over.
    pub(crate) fn measure_procedure(
        &mut self,
        key: SlotKey,
        active: &Active,
        answer: &Answer,
        now: Instant,
    ) {
        let (direction, bytes) = active.work.moves();
        if self.meters.is_slow(active.stages.came, now) {
            let task = SlowTask {
                opcode: active.opcode,
                direction,
                stages: active.stages,
            };
            self.tell_slow_procedure(key, task, now);
        }
        if matches!(answer, Answer::Failed(_)) {
            // Counted where the status is sent.
            return;
        }
        let conn = self.connections.get_mut(key);
        let Some(session) = conn.and_then(|conn| conn.session.as_mut()) else {
            return;
        };
        session.counters.count_good(direction, 1);
        match direction {
            Direction::Read => session.counters.read_bytes += bytes,
            Direction::Write => session.counters.written_bytes += bytes,
            Direction::Other => {}
        }
        let volume = session.volume.index;
        self.meters.ended(volume, direction, &active.stages);
    }
}

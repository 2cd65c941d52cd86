//! How many reservation commands of each kind there were, and how they ended.

use super::{Entry, Event, Status};

/// Service actions of PERSISTENT RESERVE OUT that are known (SPC-4 section 6.16.2), by code.
const ACTIONS_OUT: [&str; 8] = [
    "register",
    "reserve",
    "release",
    "clear",
    "preempt",
    "preempt_and_abort",
    "register_and_ignore_existing_key",
    "register_and_move",
];
/// Service actions of PERSISTENT RESERVE IN (SPC-4 section 6.15.1), by code.
const ACTIONS_IN: [&str; 4] = [
    "read_keys",
    "read_reservation",
    "report_capabilities",
    "read_full_status",
];
const RESULTS: [&str; 3] = ["good", "conflict", "failed"];

/// Counts by command and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommandCounts {
    /// PERSISTENT RESERVE OUT, by service action; the last: any other.
    out: [[u64; RESULTS.len()]; ACTIONS_OUT.len() + 1],
    /// RESERVE and RELEASE of SPC-2.
    legacy: [[u64; RESULTS.len()]; 2],
    /// PERSISTENT RESERVE IN that was answered, by service action.
    inquiries: [u64; ACTIONS_IN.len()],
}

/// One count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandCount {
    /// `persistent_reserve_out`, `persistent_reserve_in`, `reserve` or `release`.
    pub command: &'static str,
    /// The service action; empty for commands that have none.
    pub action: &'static str,
    /// `good`, `conflict` or `failed`.
    pub result: &'static str,
    /// How many.
    pub count: u64,
}

impl CommandCounts {
    /// Counts a command of an initiator that has ended; what else stands in a history is passed over.
    pub fn note(&mut self, entry: &Entry) {
        let counts = match entry.event {
            Event::ReserveOut { action, .. } => {
                &mut self.out[usize::from(action).min(ACTIONS_OUT.len())]
            }
            Event::Reserve => &mut self.legacy[0],
            Event::Release => &mut self.legacy[1],
            _ => return,
        };
        let result = match entry.status {
            Status::Good => 0,
            Status::CONFLICT => 1,
            _ => 2,
        };
        counts[result] += 1;
    }

    /// Counts a PERSISTENT RESERVE IN that is answered.
    pub fn note_inquiry(&mut self, service_action: u8) {
        if let Some(count) = self.inquiries.get_mut(usize::from(service_action)) {
            *count += 1;
        }
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        let rows = self.out.iter_mut().chain(&mut self.legacy);
        for (row, more) in rows.zip(other.out.iter().chain(&other.legacy)) {
            for (count, more) in row.iter_mut().zip(more) {
                *count += more;
            }
        }
        for (count, more) in self.inquiries.iter_mut().zip(other.inquiries) {
            *count += more;
        }
    }

    /// Every count that is not zero.
    pub fn iter(&self) -> impl Iterator<Item = CommandCount> + '_ {
        let actions = ACTIONS_OUT.into_iter().chain(["other"]);
        let out = actions
            .zip(&self.out)
            .map(|(action, row)| ("persistent_reserve_out", action, row));
        let legacy = ["reserve", "release"]
            .into_iter()
            .zip(&self.legacy)
            .map(|(command, row)| (command, "", row));
        let changes = out.chain(legacy).flat_map(|(command, action, row)| {
            RESULTS
                .into_iter()
                .zip(row)
                .map(move |(result, count)| CommandCount {
                    command,
                    action,
                    result,
                    count: *count,
                })
        });
        let inquiries = ACTIONS_IN.into_iter().zip(self.inquiries);
        let inquiries = inquiries.map(|(action, count)| CommandCount {
            command: "persistent_reserve_in",
            action,
            result: "good",
            count,
        });
        changes.chain(inquiries).filter(|count| count.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Actor;
    use super::*;
    use crate::reservation::ScopeAndType;

    fn ended(event: Event, status: Status) -> Entry {
        Entry {
            status,
            ..Entry::new(0, Actor::Target, event)
        }
    }

    fn reserve_out(action: u8) -> Event {
        Event::ReserveOut {
            action,
            scope_and_type: ScopeAndType(0),
            parameters: None,
        }
    }

    #[test]
    fn commands_are_told_apart_by_action_and_result() {
        let mut counts = CommandCounts::default();
        counts.note(&ended(reserve_out(4), Status::Good));
        counts.note(&ended(reserve_out(4), Status::CONFLICT));
        counts.note(&ended(reserve_out(4), Status::CONFLICT));
        counts.note(&ended(reserve_out(31), Status::CheckCondition(5, 0x24, 0)));
        counts.note(&ended(Event::Release, Status::Good));
        counts.note(&ended(Event::Cleared, Status::Good));
        counts.note_inquiry(3);
        counts.note_inquiry(9);
        let told: Vec<_> = counts
            .iter()
            .map(|told| (told.command, told.action, told.result, told.count))
            .collect();
        assert_eq!(
            told,
            [
                ("persistent_reserve_out", "preempt", "good", 1),
                ("persistent_reserve_out", "preempt", "conflict", 2),
                ("persistent_reserve_out", "other", "failed", 1),
                ("release", "", "good", 1),
                ("persistent_reserve_in", "read_full_status", "good", 1),
            ]
        );
        let mut twice = counts;
        twice.add(&counts);
        assert!(
            twice
                .iter()
                .zip(counts.iter())
                .all(|(both, one)| both.count == 2 * one.count)
        );
    }
}

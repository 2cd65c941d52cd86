//! The judge's part for unit attentions: each nexus is told what it is owed, once, and nobody else
//! is.

use super::judge::Violation;
use super::record::{Code, Ending, History, Nexus, Told};

pub(crate) const COMMANDS_CLEARED: Code = (0x2f, 0x00);
pub(crate) const RESERVATIONS_PREEMPTED: Code = (0x2a, 0x03);
pub(crate) const RESERVATIONS_RELEASED: Code = (0x2a, 0x04);
pub(crate) const REGISTRATIONS_PREEMPTED: Code = (0x2a, 0x05);

/// What this judges: the rest, resets say, comes as it may.
pub(crate) const JUDGED: [Code; 4] = [
    COMMANDS_CLEARED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    REGISTRATIONS_PREEMPTED,
];

/// Every attention that was told without being owed, or owed and not told.
pub(crate) fn judge(history: &History) -> Vec<Violation> {
    let mut nexuses: Vec<Nexus> = history.changes.iter().flat_map(concerned).collect();
    nexuses.extend(history.notes.told.iter().map(|told| told.nexus));
    nexuses.sort_unstable();
    nexuses.dedup();
    let mut found = statuses_of_aborted(history);
    for nexus in nexuses {
        for code in JUDGED {
            judge_one(nexus, code, history, &mut found);
        }
    }
    found
}

fn concerned(change: &super::record::Change) -> impl Iterator<Item = Nexus> {
    let owed = change.attentions.iter().map(|(nexus, _)| *nexus);
    owed.chain(change.aborted.iter().copied())
}

/// Two rules. At no moment has a nexus been told a code more often than changes have owed it. After
/// the last change that owed it for certain, it is told once more. (A condition that is pending is
/// not raised twice, so there may be fewer; a session that was cut may have taken one along.)
fn judge_one(nexus: Nexus, code: Code, history: &History, found: &mut Vec<Violation>) {
    let owed: Vec<usize> = (0..history.changes.len())
        .filter(|&change| may_owe(nexus, code, change, history))
        .collect();
    let is_it = |told: &&Told| told.nexus == nexus && told.code == code;
    let mut count = 0;
    for (index, told) in history.notes.told.iter().enumerate() {
        if !is_it(&told) {
            continue;
        }
        count += 1;
        let begun = owed
            .iter()
            .filter(|&&change| history.changes[change].sent < told.at);
        if count > begun.count() {
            found.push(Violation::UnowedAttention { told: index });
            break; // every later one is one too many as well
        }
    }
    // A registration lost is lost once: its nexus is told before it can register again.
    let one_by_one = matches!(code, REGISTRATIONS_PREEMPTED | RESERVATIONS_PREEMPTED);
    let sure = owed
        .iter()
        .copied()
        .filter(|&change| owes_for_certain(nexus, code, change, history));
    let sure: Vec<usize> = sure.collect();
    for (at, &change) in sure.iter().enumerate() {
        let next = sure.get(at + 1).map(|&next| history.changes[next].sent);
        if next.is_some() && !one_by_one {
            continue;
        }
        let from = history.changes[change].sent;
        let window = |tick| from < tick && next.is_none_or(|next| tick < next);
        let told = history
            .notes
            .told
            .iter()
            .any(|told| is_it(&told) && window(told.at));
        let lost = history.notes.reinstatements.iter().any(|reinstated| {
            reinstated.nexus == nexus
                && from < reinstated.back
                && next.is_none_or(|next| reinstated.cut < next)
        });
        if !told && !lost {
            found.push(Violation::MissingAttention {
                nexus,
                code,
                change,
            });
        }
    }
}

fn may_owe(nexus: Nexus, code: Code, change: usize, history: &History) -> bool {
    let change = &history.changes[change];
    if code == COMMANDS_CLEARED {
        return !history.task_aborted_status && change.aborted.contains(&nexus);
    }
    change.attentions.contains(&(nexus, code))
}

/// 2F/00 is owed only if a command was ended: one that was on its way before and got no status
/// although the nexus waited for it after.
fn owes_for_certain(nexus: Nexus, code: Code, change: usize, history: &History) -> bool {
    code != COMMANDS_CLEARED
        || ended_without_status(nexus, change, history)
            .next()
            .is_some()
}

fn ended_without_status(
    nexus: Nexus,
    change: usize,
    history: &History,
) -> impl Iterator<Item = usize> {
    let change = &history.changes[change];
    let writes = history.notes.writes.iter().enumerate();
    let resets = &history.notes.resets;
    writes
        .filter(move |(_, write)| {
            write.nexus == nexus
                && write.ending == Ending::Swept
                && write.sent < change.sent
                && change.good < write.ended
        })
        .filter(|(_, write)| {
            // A reset of the logical unit ends commands with an attention of its own.
            !resets
                .iter()
                .any(|(sent, ended)| *sent < write.ended && write.sent < *ended)
        })
        .map(|(index, _)| index)
}

/// With TAS = 1 every command that another nexus ends gets TASK ABORTED.
fn statuses_of_aborted(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    if !history.task_aborted_status {
        return found;
    }
    for (index, change) in history.changes.iter().enumerate() {
        for &nexus in &change.aborted {
            let without = ended_without_status(nexus, index, history);
            found.extend(without.map(|write| Violation::NoStatus {
                write,
                change: index,
            }));
        }
    }
    found
}

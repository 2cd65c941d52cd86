//! Violations in words, with all that a reader needs to check them by hand.

use std::fmt::Write as _;

use super::judge::{Violation, lives};
use super::life::Life;
use super::record::{Change, Code, History, Nexus, Read, Tick, Write};

/// Violations told in full; the rest are counted.
const TOLD_MAX: usize = 4;

/// What is wrong, and the record of the blocks where it shows.
pub(crate) fn report(history: &History, violations: &[Violation]) -> String {
    let lives = lives(history);
    let mut text = format!("{} violations\n", violations.len());
    for violation in violations.iter().take(TOLD_MAX) {
        text += &tell(violation, history, &lives);
    }
    if let Some(more) = violations.len().checked_sub(TOLD_MAX) {
        let _ = writeln!(text, "… and {more} more");
    }
    text
}

fn tell(violation: &Violation, history: &History, lives: &[Life]) -> String {
    let page = Page { history, lives };
    let mut text = String::from("\n");
    let mut line = |words: String| {
        text += &words;
        text.push('\n');
    };
    match violation {
        Violation::LateBlock {
            lba,
            write,
            fence,
            before,
            after,
        } => {
            line(format!(
                "LATE BLOCK: block {lba} changed to a victim's write after the fence"
            ));
            line(page.change(Some(*fence)));
            line(page.write(*write));
            line(page.read(*before, *lba));
            line(page.read(*after, *lba));
            let from = history.notes.writes[*write].sent;
            line(page.block(*lba, from, history.notes.reads[*after].ended));
        }
        Violation::GoodAfterFence { write, fence } => {
            line("GOOD AFTER THE FENCE: a write was sent after GOOD and not refused".to_owned());
            line(page.change(*fence));
            line(page.write(*write));
        }
        Violation::EffectAfterFence {
            lba,
            write,
            fence,
            read,
        } => {
            line(format!(
                "WRITTEN AFTER THE FENCE: block {lba} holds what was sent after GOOD"
            ));
            line(page.change(*fence));
            line(page.write(*write));
            line(page.read(*read, *lba));
        }
        Violation::RefusedButWritten { lba, write, read } => {
            line(format!(
                "REFUSED BUT WRITTEN: block {lba} holds a write that was refused"
            ));
            line(page.write(*write));
            line(page.read(*read, *lba));
        }
        Violation::NoOrder { lba, writes, reads } => {
            line(format!(
                "NO ORDER of the writes to block {lba} explains what was read"
            ));
            for write in writes {
                line(match write {
                    Some(write) => page.write(*write),
                    None => format!("  at the start: {}", history.initial[lba]),
                });
            }
            for read in reads {
                line(page.read(*read, *lba));
            }
            let sent = |write: &Option<usize>| write.map(|at| history.notes.writes[at].sent);
            let from = writes.iter().filter_map(sent).min().unwrap_or(0);
            let until = reads
                .iter()
                .map(|read| history.notes.reads[*read].ended)
                .max();
            line(page.block(*lba, from, until.unwrap_or(Tick::MAX)));
        }
        Violation::Broken { lba, read } => {
            line(format!("BROKEN: block {lba} holds what nobody wrote there"));
            line(page.read(*read, *lba));
            line(page.block(*lba, 0, history.notes.reads[*read].ended));
        }
        Violation::BaselessConflict { write } => {
            line("BASELESS CONFLICT: its nexus had the right from before it was sent".to_owned());
            line(page.write(*write));
            line(page.changes_until(history.notes.writes[*write].ended));
        }
        Violation::NoStatus { write, change } => {
            line("NO STATUS: TAS is 1 and a command was aborted without TASK ABORTED".to_owned());
            line(page.change(Some(*change)));
            line(page.write(*write));
        }
        Violation::UnowedAttention { told } => {
            let told = history.notes.told[*told];
            line(format!(
                "UNIT ATTENTION THAT NOBODY OWED: {:02x?} for nexus {} at {}",
                told.code, told.nexus, told.at
            ));
            line(page.attentions(told.nexus, told.code));
        }
        Violation::MissingAttention {
            nexus,
            code,
            change,
        } => {
            line(format!("NO UNIT ATTENTION {code:02x?} for nexus {nexus}"));
            line(page.change(Some(*change)));
            line(page.attentions(*nexus, *code));
        }
    }
    text
}

struct Page<'a> {
    history: &'a History,
    lives: &'a [Life],
}

impl Page<'_> {
    fn change(&self, index: Option<usize>) -> String {
        match index {
            None => "  it had no right from the start of this part of the history".to_owned(),
            Some(index) => line_of_change(&self.history.changes[index]),
        }
    }

    fn write(&self, index: usize) -> String {
        line_of_write(&self.history.notes.writes[index], &self.lives[index])
    }

    fn read(&self, index: usize, lba: u64) -> String {
        line_of_read(&self.history.notes.reads[index], lba)
    }

    /// The last changes that were sent before `until`.
    fn changes_until(&self, until: Tick) -> String {
        let before = self
            .history
            .changes
            .iter()
            .filter(|change| change.sent < until);
        let mut lines: Vec<_> = before.rev().take(8).map(line_of_change).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// When a nexus was owed an attention, when it was told, and when it changed sessions.
    fn attentions(&self, nexus: Nexus, code: Code) -> String {
        let (history, notes) = (self.history, &self.history.notes);
        let mut lines: Vec<(Tick, String)> = Vec::new();
        for change in &history.changes {
            if change.attentions.contains(&(nexus, code)) || change.aborted.contains(&nexus) {
                lines.push((change.sent, line_of_change(change)));
            }
        }
        for told in &notes.told {
            if told.nexus == nexus && told.code == code {
                lines.push((told.at, format!("  {:>8}: told", told.at)));
            }
        }
        for reinstated in &notes.reinstatements {
            if reinstated.nexus == nexus {
                let (cut, back) = (reinstated.cut, reinstated.back);
                lines.push((cut, format!("  {cut:>8}–{back}: the session is reinstated")));
            }
        }
        lines.sort();
        let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        lines.join("\n")
    }

    /// Everything that touched a block between two ticks, and the changes there, in order.
    fn block(&self, lba: u64, from: Tick, until: Tick) -> String {
        let overlaps = |sent: Tick, ended: Tick| sent <= until && ended >= from;
        let mut lines: Vec<(Tick, String)> = Vec::new();
        let notes = &self.history.notes;
        for (write, life) in notes.writes.iter().zip(self.lives) {
            if write.blocks.contains(&lba) && overlaps(write.sent, write.ended) {
                lines.push((write.sent, line_of_write(write, life)));
            }
        }
        for read in &notes.reads {
            let blocks = read.first..read.first + read.contents.len() as u64;
            if blocks.contains(&lba) && overlaps(read.sent, read.ended) {
                lines.push((read.sent, line_of_read(read, lba)));
            }
        }
        let changes = self
            .history
            .changes
            .iter()
            .filter(|change| overlaps(change.sent, change.good));
        lines.extend(changes.map(|change| (change.sent, line_of_change(change))));
        lines.sort();
        let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        format!(
            "the record of block {lba} from {from} to {until}:\n{}",
            lines.join("\n")
        )
    }
}

fn line_of_write(write: &Write, life: &Life) -> String {
    let Write {
        nexus,
        sequence,
        name,
        blocks,
        sent,
        ended,
        ending,
        ..
    } = write;
    let mut text = format!(
        "  {sent:>8}–{ended}: write {sequence} of nexus {nexus}, {name} {blocks:?}: {ending:?}"
    );
    if life.until < *ended {
        let _ = write!(text, ", in effect by {} or never", life.until);
    }
    text
}

fn line_of_read(read: &Read, lba: u64) -> String {
    let place = usize::try_from(lba - read.first).unwrap_or(usize::MAX);
    let content = read.contents.get(place).map(ToString::to_string);
    format!(
        "  {:>8}–{}: nexus {} reads {}",
        read.sent,
        read.ended,
        read.nexus,
        content.unwrap_or_default()
    )
}

fn line_of_change(change: &Change) -> String {
    let Change {
        what,
        sent,
        good,
        lost,
        gained,
        ..
    } = change;
    format!("  {sent:>8}–{good}: {what}; may not write any more: {lost:?}; may again: {gained:?}")
}

//! The judge: a history in, what is wrong with it out. It knows nothing of sockets and of time.
//!
//! Each block is a [register](super::register). A fence shortens the [lives](super::life) of its
//! victims' writes to the moment of its GOOD, so that a block which changes later has no order that
//! explains it.

use std::collections::{BTreeMap, BTreeSet};

use super::attentions;
use super::life::{Effect, Life, Rights};
use super::record::{Code, Ending, History, Nexus, Pattern};
use super::register::{self, Disorder, RegisterRead, RegisterWrite, Value};
use super::stamp::Content;

/// What a history must not hold. Writes, reads and changes are indices into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A block changed to a victim's write after the fence: `before` and `after` were both sent
    /// after its GOOD, one behind the other, and only the second saw the write.
    LateBlock {
        lba: u64,
        write: usize,
        fence: usize,
        before: usize,
        after: usize,
    },
    /// A write that was sent after the fence's GOOD ended GOOD.
    GoodAfterFence { write: usize, fence: Option<usize> },
    /// A write that was sent after the fence's GOOD is in a block.
    EffectAfterFence {
        lba: u64,
        write: usize,
        fence: Option<usize>,
        read: usize,
    },
    /// A command that was refused has written.
    RefusedButWritten { lba: u64, write: usize, read: usize },
    /// No order of the writes to a block explains its reads: one was lost, or came late, or was
    /// there before it was sent. `writes` and `reads` are those that contradict each other; nothing
    /// for a write stands for what the block held at the start.
    NoOrder {
        lba: u64,
        writes: Vec<Option<usize>>,
        reads: Vec<usize>,
    },
    /// A block holds what nobody wrote there, or a mixture.
    Broken { lba: u64, read: usize },
    /// RESERVATION CONFLICT for a nexus that had the right all the time.
    BaselessConflict { write: usize },
    /// A command ended by PREEMPT AND ABORT got no status although TAS is 1.
    NoStatus { write: usize, change: usize },
    /// A unit attention was told that nobody owed, or once more than it was owed.
    UnowedAttention { told: usize },
    /// A unit attention was never told.
    MissingAttention {
        nexus: Nexus,
        code: Code,
        change: usize,
    },
}

/// Everything that is wrong with a history.
pub(crate) fn judge(history: &History) -> Vec<Violation> {
    let lives = lives(history);
    let mut found = judge_statuses(history, &lives);
    for (&lba, block) in &blocks(history) {
        judge_block(lba, block, history, &lives, &mut found);
    }
    found.extend(attentions::judge(history));
    found
}

/// The life of each write, by its index.
pub(crate) fn lives(history: &History) -> Vec<Life> {
    let mut rights: BTreeMap<Nexus, Rights> = BTreeMap::new();
    let writes = history.notes.writes.iter();
    writes
        .map(|write| {
            let rights = rights
                .entry(write.nexus)
                .or_insert_with(|| Rights::of(write.nexus, history));
            rights.life(write, history.shard_blocks)
        })
        .collect()
}

fn judge_statuses(history: &History, lives: &[Life]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (write, life) in lives.iter().enumerate() {
        let ending = history.notes.writes[write].ending;
        if life.baseless_conflict {
            found.push(Violation::BaselessConflict { write });
        }
        if life.effect == Effect::Fenced && ending == Ending::Good {
            let fence = life.fence;
            found.push(Violation::GoodAfterFence { write, fence });
        }
    }
    found
}

/// The writes and reads of a block, the reads with their place in it.
#[derive(Default)]
struct Block<'a> {
    writes: Vec<usize>,
    reads: Vec<(usize, &'a Content)>,
}

fn blocks(history: &History) -> BTreeMap<u64, Block<'_>> {
    let judged = history.initial.keys();
    let mut blocks: BTreeMap<u64, Block<'_>> = judged.map(|lba| (*lba, Block::default())).collect();
    for (index, write) in history.notes.writes.iter().enumerate() {
        for (_, block) in blocks.range_mut(write.blocks.clone()) {
            block.writes.push(index);
        }
    }
    for (index, read) in history.notes.reads.iter().enumerate() {
        for (lba, content) in (read.first..).zip(&read.contents) {
            if let Some(block) = blocks.get_mut(&lba) {
                block.reads.push((index, content));
            }
        }
    }
    blocks
}

fn judge_block(
    lba: u64,
    block: &Block<'_>,
    history: &History,
    lives: &[Life],
    found: &mut Vec<Violation>,
) {
    let Block { writes, reads } = block;
    // The first write is what the block held at the start.
    let initial = &history.initial[&lba];
    let mut register = vec![RegisterWrite {
        value: value_of_initial(initial),
        from: 0,
        until: 0,
        must: true,
    }];
    let mut named: Vec<Option<usize>> = vec![None];
    for &index in writes {
        let (write, life) = (&history.notes.writes[index], &lives[index]);
        if matches!(life.effect, Effect::Refused | Effect::Fenced) {
            continue;
        }
        register.push(RegisterWrite {
            value: match write.pattern {
                Pattern::Zeros => Value::Zeros,
                _ => Value::Unique(index),
            },
            from: write.sent,
            until: life.until,
            must: life.effect == Effect::Certain,
        });
        named.push(Some(index));
    }
    let mut seen = Vec::new();
    let mut seen_by = Vec::new();
    for &(read, content) in reads {
        let value = match origin(content, lba, initial, writes, history) {
            Origin::Value(value) => value,
            Origin::Nobody => {
                found.push(Violation::Broken { lba, read });
                continue;
            }
        };
        if let Value::Unique(write) = value
            && let Some(violation) = forbidden(lba, write, read, lives)
        {
            found.push(violation);
            continue;
        }
        let whole = &history.notes.reads[read];
        seen.push(RegisterRead {
            value,
            from: whole.sent,
            until: whole.ended,
        });
        seen_by.push(read);
    }
    let late = late_blocks(lba, &seen, &seen_by, history, lives);
    if late.is_empty() {
        if let Err(disorder) = register::check(&register, &seen) {
            found.push(no_order(lba, disorder, &named, &seen_by));
        }
    } else {
        found.extend(late);
    }
}

/// The value of what a block held at the start, which no write of this history has.
const OF_THE_START: Value = Value::Unique(usize::MAX);

fn value_of_initial(initial: &Content) -> Value {
    match initial {
        Content::Zeros => Value::Zeros,
        Content::Stamp(_) | Content::Broken(_) => OF_THE_START,
    }
}

enum Origin {
    Value(Value),
    Nobody,
}

/// Who wrote what was read.
fn origin(
    content: &Content,
    lba: u64,
    initial: &Content,
    writes: &[usize],
    history: &History,
) -> Origin {
    if content == initial {
        return Origin::Value(value_of_initial(initial));
    }
    let stamp = match content {
        Content::Zeros => return Origin::Value(Value::Zeros),
        Content::Broken(_) => return Origin::Nobody,
        Content::Stamp(stamp) => stamp,
    };
    let fits = |&&index: &&usize| history.notes.writes[index].stamp(lba) == Some(*stamp);
    match writes.iter().find(fits) {
        Some(&index) => Origin::Value(Value::Unique(index)),
        None => Origin::Nobody,
    }
}

/// Whether a write that must have no effect was read.
fn forbidden(lba: u64, write: usize, read: usize, lives: &[Life]) -> Option<Violation> {
    let life = lives.get(write)?;
    let fence = life.fence;
    match life.effect {
        Effect::Refused => Some(Violation::RefusedButWritten { lba, write, read }),
        Effect::Fenced => Some(Violation::EffectAfterFence {
            lba,
            write,
            fence,
            read,
        }),
        Effect::Certain | Effect::Possible => None,
    }
}

/// The plain rule of the fence, read against read: what a victim wrote does not appear after GOOD.
/// (No order explains such a block either, so this only names it.)
fn late_blocks(
    lba: u64,
    seen: &[RegisterRead],
    seen_by: &[usize],
    history: &History,
    lives: &[Life],
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    for (at, after) in seen.iter().enumerate() {
        let Value::Unique(write) = after.value else {
            continue;
        };
        let Some(fence) = lives.get(write).and_then(|life| life.next_fence) else {
            continue;
        };
        let good = history.changes[fence].good;
        let is_before = |before: &RegisterRead| {
            good < before.from && before.until < after.from && before.value != after.value
        };
        if let Some(before) = seen.iter().position(is_before)
            && told.insert(write)
        {
            found.push(Violation::LateBlock {
                lba,
                write,
                fence,
                before: seen_by[before],
                after: seen_by[at],
            });
        }
    }
    found
}

fn no_order(lba: u64, disorder: Disorder, named: &[Option<usize>], seen_by: &[usize]) -> Violation {
    let (writes, reads) = match disorder {
        Disorder::Foreseen { write, read } => (vec![named[write]], vec![seen_by[read]]),
        Disorder::Zeros { read } => (Vec::new(), vec![seen_by[read]]),
        Disorder::Together { one, other } => {
            let reads = [one.seen_by, other.seen_by].into_iter().flatten();
            (
                vec![named[one.write], named[other.write]],
                reads.map(|read| seen_by[read]).collect(),
            )
        }
    };
    Violation::NoOrder { lba, writes, reads }
}

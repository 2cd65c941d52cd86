//! What happened: writes, reads, reservation commands and unit attentions, as the initiators saw it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::stamp::{Content, Stamp};

/// A place in the one order of all that happened. Whatever is seen to happen before something else
/// has the lower tick; no clock is read, so no judgement depends on the machine's load.
pub(crate) type Tick = u64;

/// The next tick. Zero is before everything.
pub(crate) fn tick() -> Tick {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// Which of the initiators' nexuses.
pub(crate) type Nexus = u32;

/// Additional sense code and qualifier of a unit attention.
pub(crate) type Code = (u8, u8);

/// How a command ended for its initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// GOOD.
    Good,
    /// RESERVATION CONFLICT.
    Conflict,
    /// BUSY, TASK SET FULL, a unit attention or a miscompare: it did not run.
    Refused,
    /// TASK ABORTED.
    TaskAborted,
    /// Any other status: the medium failed, say.
    Failed,
    /// ABORT TASK for this one ended before a status came.
    Withdrawn,
    /// ABORT TASK SET or LOGICAL UNIT RESET of this nexus ended before a status came.
    Swept,
    /// The session ended, and its successor is logged in.
    Cut,
}

/// What a write puts into its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Each block gets a stamp with its own LBA.
    Each,
    /// Each block gets the stamp of the first one.
    Same,
    /// Zeros.
    Zeros,
}

/// A command that changes the medium.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) nexus: Nexus,
    /// Counts the writes of its nexus.
    pub(crate) sequence: u32,
    /// The command's name.
    pub(crate) name: &'static str,
    pub(crate) blocks: Range<u64>,
    pub(crate) pattern: Pattern,
    /// It is one request for the backend and ends with it, so that RESERVATION CONFLICT says that
    /// nothing was written. What takes several steps can meet a fence half-way.
    pub(crate) single: bool,
    pub(crate) sent: Tick,
    pub(crate) ended: Tick,
    pub(crate) ending: Ending,
}

impl Write {
    /// The stamp that this write leaves at `lba`.
    pub(crate) fn stamp(&self, lba: u64) -> Option<Stamp> {
        let stamped = match self.pattern {
            Pattern::Each => lba,
            Pattern::Same => self.blocks.start,
            Pattern::Zeros => return None,
        };
        Some(Stamp {
            nexus: self.nexus,
            sequence: self.sequence,
            lba: stamped,
        })
    }
}

/// A read that ended GOOD.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) nexus: Nexus,
    pub(crate) first: u64,
    pub(crate) contents: Vec<Content>,
    pub(crate) sent: Tick,
    pub(crate) ended: Tick,
}

/// A PERSISTENT RESERVE OUT that ended GOOD. No two of them overlap, and a nexus that is to gain the
/// right to write has nothing outstanding when the command is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// The service action.
    pub(crate) name: &'static str,
    /// The command in words.
    pub(crate) what: String,
    pub(crate) sent: Tick,
    pub(crate) good: Tick,
    /// Who could write before and can't after: what the fence is for.
    pub(crate) lost: Vec<Nexus>,
    /// Who can write after and could not before.
    pub(crate) gained: Vec<Nexus>,
    /// Whose commands PREEMPT AND ABORT ends.
    pub(crate) aborted: Vec<Nexus>,
    /// Who is owed which unit attention.
    pub(crate) attentions: Vec<(Nexus, Code)>,
}

/// A unit attention that a nexus was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) nexus: Nexus,
    pub(crate) code: Code,
    pub(crate) at: Tick,
}

/// A session that was dropped and reinstated. What was under way to it then, nobody knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reinstatement {
    pub(crate) nexus: Nexus,
    pub(crate) cut: Tick,
    pub(crate) back: Tick,
}

/// What one initiator saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
    pub(crate) told: Vec<Told>,
    pub(crate) reinstatements: Vec<Reinstatement>,
    /// LOGICAL UNIT RESETs, from request to response.
    pub(crate) resets: Vec<(Tick, Tick)>,
}

impl Notes {
    /// Takes in what another initiator saw.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.reads.extend(other.reads);
        self.told.extend(other.told);
        self.reinstatements.extend(other.reinstatements);
        self.resets.extend(other.resets);
    }
}

/// All that happened from one moment of rest to the next: nothing is outstanding at either.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The blocks under judgement, with what they held at the start.
    pub(crate) initial: BTreeMap<u64, Content>,
    /// Blocks of a shard: a command within one is checked and done in one step.
    pub(crate) shard_blocks: u64,
    /// Who could not write at the start.
    pub(crate) without_right: Vec<Nexus>,
    /// Commands that another nexus aborts end with TASK ABORTED (TAS = 1), not with a unit attention.
    pub(crate) task_aborted_status: bool,
    /// In the order in which they were sent.
    pub(crate) changes: Vec<Change>,
    pub(crate) notes: Notes,
}

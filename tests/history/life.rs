//! When a write may have taken effect, as the fences bound it.

use super::record::{Change, Ending, History, Nexus, Tick, Write};

/// What is known of a write's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is there, once.
    Certain,
    /// It is there or not; of several blocks, each for itself.
    Possible,
    /// It must not be there: the command was refused.
    Refused,
    /// It must not be there: it was sent when its nexus had lost the right for certain.
    Fenced,
}

/// A write's effect, and its last possible moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) effect: Effect,
    pub(crate) until: Tick,
    /// The fence that bounds it or forbids it: an index into the changes of the history. `None` with
    /// [`Effect::Fenced`]: it had no right from the start.
    pub(crate) fence: Option<usize>,
    /// The first fence for its nexus whose GOOD came after it was sent. It may be over by then.
    pub(crate) next_fence: Option<usize>,
    /// It conflicted although its nexus had the right from before it was sent to its end.
    pub(crate) baseless_conflict: bool,
}

/// When one nexus lost and gained the right to write, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights(Vec<Turn>);

#[derive(Clone, Copy, Debug)]
struct Turn {
    gains: bool,
    sent: Tick,
    good: Tick,
    change: Option<usize>,
}

impl Rights {
    pub(crate) fn of(nexus: Nexus, history: &History) -> Self {
        let without = history.without_right.contains(&nexus);
        let start = without.then_some(Turn {
            gains: false,
            sent: 0,
            good: 0,
            change: None,
        });
        let turns = history.changes.iter().enumerate();
        let turns = turns.filter_map(|(index, change)| turn_of(nexus, index, change));
        Self(start.into_iter().chain(turns).collect())
    }

    /// A write's life under these rights.
    ///
    /// A fence ends it: what was sent before GOOD must be in effect by then. What is sent after GOOD
    /// must have no effect. Both hold until the nexus has the right again. What is still under way at
    /// that moment may be checked under the new right, so no fence from before bounds it.
    pub(crate) fn life(&self, write: &Write, shard_blocks: u64) -> Life {
        let mut fenced = None;
        let mut bound = None;
        let mut next = None;
        let mut lacked = false;
        for turn in &self.0 {
            match (turn.gains, turn.good < write.sent) {
                (false, true) => (fenced, lacked) = (Some(turn), true),
                (false, false) => {
                    next = next.or(turn.change);
                    lacked |= turn.sent < write.ended;
                    if turn.good < write.ended {
                        bound = bound.or(Some(turn));
                    }
                }
                (true, true) => (fenced, lacked) = (None, false),
                (true, false) if turn.sent < write.ended => {
                    (fenced, bound, next) = (None, None, None);
                }
                (true, false) => {}
            }
        }
        let mut life = Life {
            effect: effect_of(write, shard_blocks),
            until: write.ended,
            fence: None,
            next_fence: next,
            baseless_conflict: write.ending == Ending::Conflict && !lacked,
        };
        if let Some(turn) = fenced {
            life.effect = Effect::Fenced;
            life.fence = turn.change;
        } else if let Some(turn) = bound {
            life.until = turn.good;
            life.fence = turn.change;
        }
        life
    }
}

fn turn_of(nexus: Nexus, index: usize, change: &Change) -> Option<Turn> {
    let gains = change.gained.contains(&nexus);
    (gains || change.lost.contains(&nexus)).then_some(Turn {
        gains,
        sent: change.sent,
        good: change.good,
        change: Some(index),
    })
}

fn effect_of(write: &Write, shard_blocks: u64) -> Effect {
    let shard = |lba: u64| lba / shard_blocks;
    let one_shard = shard(write.blocks.start) == shard(write.blocks.end - 1);
    match write.ending {
        Ending::Good => Effect::Certain,
        Ending::Refused => Effect::Refused,
        Ending::Conflict if write.single && one_shard => Effect::Refused,
        // A command of several steps ends so when a fence stops it half-way.
        Ending::Conflict
        | Ending::TaskAborted
        | Ending::Failed
        | Ending::Withdrawn
        | Ending::Swept
        | Ending::Cut => Effect::Possible,
    }
}

//! What happens in a run: who is there, what they send, and what may go wrong.

use super::small;
use super::state::{A, HOME, N, Set, X};

/// What a node asks of the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Register,
    Reserve,
    Preempt {
        victim: u8,
    },
    PreemptAndAbort {
        victim: u8,
    },
    /// PERSISTENT RESERVE IN.
    ReadKeys,
}

/// One explored world. Everything that is listed happens once at most, in every order and at every
/// moment that is possible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) reactors: u8,
    /// The reactor of each node's connection.
    pub(super) connections: [usize; 3],
    /// Nodes that are registered at the start; those and the others are logged in.
    pub(super) registered: &'static [u8],
    pub(super) strangers: &'static [u8],
    pub(super) reserved: bool,
    /// Each write: its node, and for each of its pieces the reactor that owns the shard.
    pub(super) writes: &'static [(u8, &'static [usize])],
    pub(super) orders: &'static [(u8, Asks)],
    /// Nodes that may lose their session.
    pub(super) drops: &'static [u8],
    /// Nodes that may log in, once they have no session.
    pub(super) logins: &'static [u8],
    /// ABORT TASK may come for a write.
    pub(super) task_aborts: bool,
    /// A range of the shard of that reactor is locked at the start.
    pub(super) locked: Option<usize>,
    /// The backend need not complete what it has; the fence is bounded.
    pub(super) backend_hangs: bool,
    /// The store may fail to save, once.
    pub(super) store_fails: bool,
    /// The power may go at any time.
    pub(super) power_cut: bool,
    /// Mailboxes deliver in any order.
    pub(super) unordered: bool,
}

impl Scenario {
    /// `ShardMap::owners`: the reactors that own a shard that is written to. The home always does.
    pub(super) fn owners(&self) -> Set {
        let written = self.writes.iter().flat_map(|(_, pieces)| pieces.iter());
        let written = written.map(|reactor| small(*reactor));
        written.chain([small(HOME)]).collect()
    }
}

const PREEMPT: (u8, Asks) = (A, Asks::Preempt { victim: N });
const PREEMPT_AND_ABORT: (u8, Asks) = (A, Asks::PreemptAndAbort { victim: N });

const QUIET: Scenario = Scenario {
    reactors: 2,
    connections: [0, 1, 1],
    registered: &[A, N],
    strangers: &[],
    reserved: true,
    writes: &[],
    orders: &[PREEMPT],
    drops: &[],
    logins: &[],
    task_aborts: false,
    locked: None,
    backend_hangs: false,
    store_fails: false,
    power_cut: false,
    unordered: false,
};

/// Writes of one piece and of two hop between three reactors while their node is preempted; the
/// power may go.
pub(super) const HOPS: Scenario = Scenario {
    reactors: 3,
    writes: &[(N, &[2, 1]), (N, &[0]), (A, &[2])],
    power_cut: true,
    ..QUIET
};

/// As [`HOPS`], with mailboxes that keep no order.
pub(super) const UNORDERED: Scenario = Scenario {
    unordered: true,
    power_cut: false,
    ..HOPS
};

/// A volume that is all its home's: the reactor of the victim's connection is not asked.
pub(super) const ONE_SHARD: Scenario = Scenario {
    reactors: 3,
    connections: [2, 1, 1],
    writes: &[(N, &[0, 0]), (N, &[0]), (A, &[0])],
    power_cut: true,
    ..QUIET
};

/// The preempted node's write waits for a range lock.
pub(super) const LOCKED: Scenario = Scenario {
    reactors: 3,
    writes: &[(N, &[2]), (N, &[2])],
    locked: Some(2),
    ..QUIET
};

/// PREEMPT AND ABORT, ABORT TASK, the loss of the victim's session, its return, and a newcomer that
/// registers and takes whatever index is free.
pub(super) const SESSIONS: Scenario = Scenario {
    writes: &[(N, &[0]), (X, &[1])],
    orders: &[PREEMPT_AND_ABORT, (X, Asks::Register)],
    drops: &[N],
    logins: &[N, X],
    task_aborts: true,
    ..QUIET
};

/// As [`SESSIONS`] with a plain PREEMPT, which does not wait for the victim's commands to end, and a
/// third reactor: what is on its way there may be overtaken by what the home hears of the session.
pub(super) const NEWCOMER: Scenario = Scenario {
    reactors: 3,
    writes: &[(N, &[2]), (X, &[1])],
    orders: &[PREEMPT, (X, Asks::Register)],
    ..SESSIONS
};

/// As [`SESSIONS`], where the victim's writes are at another reactor than the home.
pub(super) const REMOTE_SESSIONS: Scenario = Scenario {
    connections: [0, 0, 1],
    writes: &[(N, &[1]), (X, &[1])],
    ..SESSIONS
};

/// Two nodes that PREEMPT AND ABORT each other, with writes on both sides, and one of them reads the
/// keys.
pub(super) const MUTUAL: Scenario = Scenario {
    writes: &[(A, &[1]), (N, &[0])],
    orders: &[
        PREEMPT_AND_ABORT,
        (N, Asks::PreemptAndAbort { victim: A }),
        (N, Asks::ReadKeys),
    ],
    ..QUIET
};

/// A backend that hangs, a store that fails, a power cut; PREEMPT is sent twice.
pub(super) const HUNG: Scenario = Scenario {
    writes: &[(N, &[1]), (N, &[0])],
    orders: &[PREEMPT, PREEMPT],
    backend_hangs: true,
    store_fails: true,
    power_cut: true,
    ..QUIET
};

/// PREEMPT AND ABORT on a backend that hangs: it may fail, and what it has aborted stays aborted.
pub(super) const HUNG_ABORT: Scenario = Scenario {
    orders: &[PREEMPT_AND_ABORT, (N, Asks::ReadKeys)],
    store_fails: false,
    power_cut: false,
    ..HUNG
};

/// PREEMPT AND ABORT where nothing is reserved: the victim keeps its right to write.
pub(super) const UNRESERVED: Scenario = Scenario {
    reserved: false,
    writes: &[(N, &[1, 0]), (N, &[0]), (A, &[1])],
    orders: &[PREEMPT_AND_ABORT],
    ..QUIET
};

/// As [`UNRESERVED`] on a volume that is all its home's.
pub(super) const UNRESERVED_ONE_SHARD: Scenario = Scenario {
    reserved: false,
    orders: &[PREEMPT_AND_ABORT],
    power_cut: false,
    ..ONE_SHARD
};

/// The preempted node registers again, writes, and is preempted again.
pub(super) const REGAIN: Scenario = Scenario {
    writes: &[(N, &[0]), (N, &[1])],
    orders: &[PREEMPT, (N, Asks::Register), PREEMPT],
    ..QUIET
};

/// A RESERVE takes the rights of those who are not registered.
pub(super) const STRANGERS: Scenario = Scenario {
    reactors: 3,
    registered: &[A],
    strangers: &[N],
    reserved: false,
    writes: &[(N, &[2]), (X, &[1]), (A, &[1])],
    orders: &[(A, Asks::Reserve)],
    drops: &[N],
    logins: &[X],
    ..QUIET
};

//! What the model remembers: reactors, the volume's home, sessions, commands, and what lies in
//! mailboxes, at the backend and in the store.

use std::fmt;

/// Nodes: each has at most one session. Their names are used in the scenarios.
pub(super) const NODES: usize = 3;
/// The node that fences.
pub(super) const A: u8 = 0;
/// The node that is fenced.
pub(super) const N: u8 = 1;
/// A node that comes later.
pub(super) const X: u8 = 2;
/// Places in the table of nexuses.
pub(super) const INDICES: usize = 3;
/// Reactors, at most.
pub(super) const REACTORS: usize = 3;
/// The reactor that is home to the volume.
pub(super) const HOME: usize = 0;

/// A set of small numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Set(u8);

impl Set {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) fn contains(self, member: u8) -> bool {
        self.0 & (1 << member) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn insert(&mut self, member: u8) {
        self.0 |= 1 << member;
    }

    pub(super) fn remove(&mut self, member: u8) {
        self.0 &= !(1 << member);
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |member| self.contains(*member))
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(members: I) -> Self {
        let mut set = Self::EMPTY;
        members.into_iter().for_each(|member| set.insert(member));
        set
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

/// The reservation, as far as the fence cares: Write Exclusive – Registrants Only or none. What each
/// service action makes of the whole state is judged by exhaustion elsewhere (`machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reservation {
    /// Nodes.
    pub(super) registered: Set,
    pub(super) reserved: bool,
}

impl Reservation {
    pub(super) fn permits(self, node: u8) -> bool {
        !self.reserved || self.registered.contains(node)
    }
}

/// What every I/O reads (`reservation::Snapshot`): by index, not by node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Snapshot {
    pub(super) registered: Set,
    pub(super) reserved: bool,
}

impl Snapshot {
    pub(super) fn permits(self, index: u8) -> bool {
        !self.reserved || self.registered.contains(index)
    }
}

/// Whose rights a change takes away (`message::Lost`), by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lost {
    pub(super) nexuses: Set,
    pub(super) others_but: Option<Set>,
}

impl Lost {
    pub(super) fn contains(self, index: u8) -> bool {
        self.nexuses.contains(index)
            || self
                .others_but
                .is_some_and(|spared| !spared.contains(index))
    }

    pub(super) fn is_empty(self) -> bool {
        self.nexuses.is_empty() && self.others_but.is_none()
    }
}

/// A message between reactors (`message::Message`). Writes and orders go by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Piece(u8),
    PieceDone {
        write: u8,
        good: bool,
    },
    /// PERSISTENT RESERVE OUT or IN, to the home.
    Order(u8),
    /// Its end, back at the connection.
    Answer(u8),
    /// `Call::Fence`.
    Fence {
        order: u8,
        lost: Lost,
    },
    /// `Call::AbortNexuses`.
    Abort {
        order: u8,
        nexuses: Set,
    },
    /// The reply to either of them.
    Reply {
        order: u8,
        stage: Stage,
    },
    /// `Call::Leave`.
    Leave {
        node: u8,
        index: u8,
    },
}

/// How far a change has come (`Home::enact`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The store works on it.
    Saving,
    /// The store has it, and the home has not heard yet.
    Saved,
    /// Published; reactors drain, and abort for PREEMPT AND ABORT.
    Fencing,
    /// The fence has passed; what was aborted is not quiet yet.
    Aborting,
    /// The fence took too long: the store works on the old state.
    TakingBack,
}

/// A change under way: whoever has `SerialGuard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Change {
    pub(super) order: u8,
    pub(super) stage: Stage,
    /// Reactors that have not drained.
    pub(super) waits: Set,
    /// Reactors where what was aborted is not quiet.
    pub(super) unquiet: Set,
    pub(super) before: Reservation,
    pub(super) next: Reservation,
    pub(super) lost: Lost,
    /// Indices whose commands are aborted, and the nodes that are meant.
    pub(super) aborted: Set,
    pub(super) victims: Set,
    /// Indices kept until the end of the change (`Home::hold`).
    pub(super) held: Set,
}

/// A place in the table of nexuses (`nexuses::Entry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) node: u8,
    /// Sessions and holds.
    pub(super) sessions: u8,
    pub(super) registered: bool,
}

/// The volume's home (`home::Home`), on its reactor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Home {
    pub(super) reservation: Reservation,
    pub(super) table: [Option<Entry>; INDICES],
    /// Nodes with a session, as far as the home has heard.
    pub(super) seats: Set,
    /// Orders that wait for the change under way (`home::Serial`).
    pub(super) queue: Vec<u8>,
    pub(super) change: Option<Change>,
    /// Indices that are being aborted.
    pub(super) aborting: Set,
    pub(super) unsaved: bool,
}

impl Home {
    pub(super) fn index_of(&self, node: u8) -> Option<u8> {
        let at = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.node == node);
        let index = self.table.iter().position(at)?;
        u8::try_from(index).ok()
    }
}

/// One reactor (`core::Core`): a thread. What it does at once, nobody sees half of; but other
/// reactors go on while it stands between the check of a piece and its issue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Reactor {
    /// A write that has passed the check at issue and is not counted yet: between `load` and
    /// `issued.insert` in `Core::issue`. The reactor does nothing else meanwhile.
    pub(super) checking: Option<u8>,
    /// Orders whose fence waits here, and for which writes (`shard::Ticket`).
    pub(super) drains: Vec<(u8, Set)>,
    /// An order that waits for aborted writes and orders of connections here
    /// (`connection::AbortTicket`).
    pub(super) aborts: Vec<(u8, Set, Set)>,
    /// Somebody holds a range lock on the shard here.
    pub(super) locked: bool,
}

/// The session of a node, at its reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Session {
    Out,
    In {
        index: u8,
    },
    /// The connection is gone; what runs has not ended (`Phase::Closing`).
    Closing {
        index: u8,
    },
}

impl Session {
    pub(super) fn index(self) -> Option<u8> {
        match self {
            Self::Out => None,
            Self::In { index } | Self::Closing { index } => Some(index),
        }
    }
}

/// A command as its connection sees it (`connection::Work`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Unsent,
    /// Checked at arrival; R2T is out.
    AwaitsData,
    Runs,
    /// Answered, or aborted and quiet.
    Over,
}

/// The piece of a write that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Piece {
    None,
    OnItsWay,
    /// See [`Reactor::checking`].
    Checked,
    /// For a range lock to go (`Shard::waiting`).
    Waits,
    /// At the backend: it may take effect at any time.
    Issued,
    /// It has taken effect; the completion is not seen yet.
    Effective,
}

/// A write of one piece or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Write {
    pub(super) task: Task,
    pub(super) aborted: bool,
    /// Which piece of the write is next or under way.
    pub(super) chunk: u8,
    /// The index under which it was sent.
    pub(super) index: u8,
    pub(super) piece: Piece,
    /// Counted as issued at the shard's reactor (`Core::issued`).
    pub(super) counted: bool,
    /// It was there when PREEMPT AND ABORT of its node was decided.
    pub(super) doomed: bool,
}

/// A reservation command as its connection sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Order {
    pub(super) task: Task,
    pub(super) aborted: bool,
    pub(super) doomed: bool,
}

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A write of a node starts or takes effect, although GOOD has been returned for what took its
    /// right away, and it has not regained it.
    LateWrite,
    /// What was answered GOOD is not in the store when the power goes.
    NotDurable,
    /// A command was aborted that is not one of the victims'.
    WrongVictim,
    /// A command of a victim outlives PREEMPT AND ABORT.
    Survivor,
    /// A piece is issued under an index that names another node.
    ForeignIndex,
    /// A command failed and something has changed.
    FailedButChanged,
    /// A write takes effect after its end was told.
    WriteAfterItsEnd,
    /// A command is never answered.
    Unanswered,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) home: Home,
    /// Behind the RCU cell.
    pub(super) snapshot: Snapshot,
    /// What a power cut leaves.
    pub(super) store: Reservation,
    pub(super) reactors: [Reactor; REACTORS],
    /// By sender, then by receiver; a reactor's messages to itself are its `Turn::inbox`.
    pub(super) mail: [[Vec<Message>; REACTORS]; REACTORS],
    pub(super) sessions: [Session; NODES],
    pub(super) writes: Vec<Write>,
    pub(super) orders: Vec<Order>,
    /// Nodes that may still lose their session, or log in.
    pub(super) may_drop: Set,
    pub(super) may_log_in: Set,
    pub(super) store_may_fail: bool,
    /// The power is gone: the end.
    pub(super) cut: bool,
    // What is promised, to judge by.
    /// Nodes whose writes are over by a command that returned GOOD.
    pub(super) barred: Set,
    /// The reservation after the last command that returned GOOD.
    pub(super) acknowledged: Reservation,
    pub(super) fault: Option<Fault>,
}

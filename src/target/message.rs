//! What reactors say to each other. Nothing else is shared but what stands behind an RCU cell.

use super::connection::Moving;
use super::drains::Drain;
use super::handle::ControlRequest;
use super::in_flight::InFlight;
use super::limit::{Limits, Ticket};
use super::reserve::Sender;
use super::tokens::Rod;
use super::volume::{Volume, VolumeIndex};
use crate::backend;
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use crate::iscsi::TaskId;
use crate::reservation::history::Entry;
use crate::reservation::{self, Access, Nexus, NexusIndex};
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use crate::scsi::mode::ModePages;
use crate::scsi::ports::{PortGroupChange, Ports};
use crate::scsi::unit::Medium;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub(crate) use super::failure::Failure;

/// A message between reactors, or from the control plane to one.
pub(crate) enum Message {
    /// A backend request for a shard of the receiver's.
    Piece(Piece),
    /// Its outcome, back at the sender.
    PieceDone(PieceDone),
    /// A question.
    Call {
        from: usize,
        token: SlotKey,
        call: Call,
    },
    /// Its answer.
    Reply { token: SlotKey, reply: Reply },
    /// To a volume's home: a command waits for the volume's limits.
    Wait { volume: VolumeIndex, ticket: Ticket },
    /// From there: it goes on.
    Go { volume: VolumeIndex, ticket: Ticket },
    /// To there: these commands of a connection of the sender's wait no longer.
    Forget {
        volume: VolumeIndex,
        reactor: usize,
        connection: SlotKey,
        tasks: Vec<TaskId>,
    },
    /// A connection that moves here at the end of its login.
    Adopt(Box<Moving>),
    /// From another thread.
    Control(ControlRequest),
}

/// One backend request on one shard.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) volume: VolumeIndex,
    pub(crate) op: backend::Op,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) buffer: Option<Buffer>,
    /// Under whose rights, asked again at backend issue; nothing for work of the target's own.
    pub(crate) check: Option<(NexusIndex, Access)>,
    /// The range lock that the sender holds, which does not stop its own request.
    pub(crate) lock: Option<LockId>,
    /// The reactor that waits for the outcome.
    pub(crate) reactor: usize,
    pub(crate) origin: Origin,
}

/// Who waits for a piece, on its reactor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// A READ or WRITE of one piece.
    Task { connection: SlotKey, task: TaskId },
    /// A procedure.
    Procedure(SlotKey),
}

/// The outcome of a [`Piece`].
#[derive(Debug)]
pub(crate) struct PieceDone {
    pub(crate) origin: Origin,
    pub(crate) buffer: Option<Buffer>,
    pub(crate) result: Result<backend::Done, Failure>,
    /// When the backend got it; when it was turned away, if it did not.
    pub(crate) issued: Instant,
}

/// Names a range lock: the reactor that took it and a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LockId {
    pub(crate) reactor: usize,
    pub(crate) serial: u64,
}

/// Whose rights a reservation command took away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost {
    /// These nexuses, sorted.
    pub(crate) nexuses: Vec<NexusIndex>,
    /// And every nexus that is not registered, with these excepted (the registered ones, sorted).
    pub(crate) others_but: Option<Vec<NexusIndex>>,
}

impl Lost {
    pub(crate) fn contains(&self, nexus: NexusIndex) -> bool {
        self.nexuses.binary_search(&nexus).is_ok()
            || self
                .others_but
                .as_ref()
                .is_some_and(|spared| spared.binary_search(&nexus).is_err())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nexuses.is_empty() && self.others_but.is_none()
    }
}

/// A question to a reactor.
pub(crate) enum Call {
    /// Open a channel to this volume.
    Attach(Arc<Volume>),
    /// Answer when every piece of the volume that has been issued here is over.
    Quiesce(VolumeIndex),
    /// As `Quiesce`, and issue no more.
    Retire(VolumeIndex),
    /// Close it.
    Detach(VolumeIndex),
    /// Hold it to other limits, or none.
    Limit {
        volume: VolumeIndex,
        limits: Option<Arc<Limits>>,
    },
    /// Answer when every write that was issued under an older snapshot for these nexuses is over.
    Fence {
        volume: VolumeIndex,
        lost: Arc<Lost>,
    },
    /// Count what is under way for the volume here, nexus by nexus.
    InFlight(VolumeIndex),
    /// Abort the tasks of these nexuses and answer when they are quiet; `spare` goes on.
    AbortNexuses {
        volume: VolumeIndex,
        nexuses: Arc<Vec<NexusIndex>>,
        spare: Option<Task>,
        attention: Option<UnitAttention>,
        /// Grows by how many they are, before the answer.
        count: Arc<AtomicU32>,
    },
    /// Queue unit attentions for sessions here, by TSIH; answers which sessions were found.
    Attend {
        volume: VolumeIndex,
        attentions: Arc<Vec<(u16, UnitAttention)>>,
    },
    /// Queue a unit attention for every session of the volume here but one, by TSIH.
    AttendAll {
        volume: VolumeIndex,
        attention: UnitAttention,
        but: Option<u16>,
    },
    /// Abort every task of the volume here but the asking one; answer when they are quiet.
    AbortUnit {
        volume: VolumeIndex,
        spare: Option<Task>,
    },
    /// End this session and answer when it is gone and quiet.
    EndSession {
        volume: VolumeIndex,
        tsih: u16,
        announce: Announce,
    },
    /// End every session of the volume here, as above.
    EndSessions {
        volume: VolumeIndex,
        announce: Announce,
    },
    /// End every session here that this drain concerns, as above.
    EndDrained(Arc<Drain>),
    /// Take a range lock on a shard here; answer when it holds.
    Lock {
        volume: VolumeIndex,
        range: Range<u64>,
        id: LockId,
    },
    /// Let it go.
    Unlock { volume: VolumeIndex, id: LockId },
    /// Let no further write of several pieces begin here; answer when none is under way.
    CloseGate(VolumeIndex),
    /// Let them begin again.
    OpenGate(VolumeIndex),
    /// At the volume's home: PERSISTENT RESERVE OUT.
    ReserveOut {
        volume: VolumeIndex,
        sender: Sender,
        command: Box<reservation::Command>,
    },
    /// At the volume's home: the body of PERSISTENT RESERVE IN.
    ReserveIn {
        volume: VolumeIndex,
        nexus: NexusIndex,
        service_action: u8,
    },
    /// At the volume's home: RESERVE (6/10), or RELEASE.
    ReserveLegacy {
        volume: VolumeIndex,
        sender: Sender,
        release: bool,
    },
    /// At the volume's home: a reservation command was refused on its way there.
    NoteRefusal {
        volume: VolumeIndex,
        entry: Box<Entry>,
    },
    /// At the volume's home: the index of a nexus, if the volume knows it. It stays this nexus' until
    /// a `Leave` gives it back.
    Hold {
        volume: VolumeIndex,
        nexus: Box<Nexus>,
    },
    /// At the volume's home: publish a token.
    AddToken { volume: VolumeIndex, rod: Arc<Rod> },
    /// At the volume's home: new mode pages.
    ModeSelect {
        volume: VolumeIndex,
        sender: Asking,
        pages: Box<ModePages>,
        save: bool,
    },
    /// At the volume's home: PREVENT ALLOW MEDIUM REMOVAL.
    PreventRemoval {
        volume: VolumeIndex,
        sender: Asking,
        prevent: bool,
    },
    /// At the volume's home: START STOP UNIT that loads or ejects.
    MoveMedium {
        volume: VolumeIndex,
        sender: Asking,
        load: bool,
    },
    /// At the volume's home: FORMAT UNIT or SANITIZE begins.
    BeginErasure {
        volume: VolumeIndex,
        nexus: NexusIndex,
        medium: Medium,
    },
    /// At the volume's home: it has ended, and left the medium so.
    EndErasure {
        volume: VolumeIndex,
        nexus: NexusIndex,
        medium: Medium,
    },
    /// At the volume's home: a change of the logical unit that everyone must see.
    Change {
        volume: VolumeIndex,
        change: UnitChange,
    },
    /// At the volume's home: LOGICAL UNIT RESET and the target resets.
    Reset {
        volume: VolumeIndex,
        spare: Option<Task>,
        but: Option<u16>,
        target: bool,
    },
    /// At the volume's home: a session is gone and quiet.
    Leave {
        volume: VolumeIndex,
        nexus: NexusIndex,
        /// Zero where it is not a session but work under the nexus that is over.
        tsih: u16,
        /// Unit attentions that the session was not told any more.
        untold: AttentionQueue,
    },
}

/// How an ending session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announce {
    /// Not at all: its initiator asked for the end.
    Silently,
    /// By an asynchronous message that the session is dropped.
    Dropped,
}

/// A change of a logical unit.
#[derive(Debug, Clone)]
pub(crate) enum UnitChange {
    /// SANITIZE and FORMAT UNIT, as they go on.
    Medium(Medium),
    /// SANITIZE with EXIT FAILURE MODE.
    ExitSanitizeFailure { by: Asking },
    /// SET TARGET PORT GROUPS.
    Ports {
        changes: Vec<PortGroupChange>,
        by: Asking,
    },
    /// Another set of portals.
    PortSet(Ports),
    /// A larger capacity, in blocks.
    Blocks(u64),
}

/// A task of a connection of a reactor.
pub(crate) type Task = (usize, SlotKey, TaskId);

/// An answer.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Bytes(Vec<u8>),
    Index(NexusIndex),
    Delivered(Vec<u16>),
    InFlight(Vec<InFlight>),
    Failed(Failure),
}

/// The nexus of a session, and how its volume's home calls it.
#[derive(Debug, Clone)]
pub(crate) struct SessionNexus {
    pub(crate) nexus: Nexus,
    /// Where its rights stand: those of its registrant, which is the nexus itself or its client.
    pub(crate) index: NexusIndex,
    /// Which of the registrant's sessions this is.
    pub(crate) tsih: u16,
}

impl SessionNexus {
    /// What a command of this session tells the home.
    pub(crate) const fn asking(&self) -> Asking {
        Asking {
            index: self.index,
            tsih: self.tsih,
        }
    }
}

/// Whose rights a session has, and which session it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    pub(crate) index: NexusIndex,
    pub(crate) tsih: u16,
}

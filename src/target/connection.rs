//! A connection as its reactor holds it: the socket, the protocol engine and what runs for it.
//!
//! ```text
//!  accepted ──▶ Login ──▶ Moving ──▶ Admitting ──▶ Full ──▶ Closing ──▶ gone
//!                 │  (to the home)  (at the home)   │          ▲
//!                 └─────────────────────────────────┴──────────┘
//! ```
//! For a [`handover`](super::handover) a connection in `Full` goes to `Parking` and on to `Parked`, and back
//! to `Full` if nothing came of it.
//!
//! A connection is gone only when its socket is closed *and* everything it had under way is quiet:
//! until then its nexus keeps its index.

use super::copies::CopyDesk;
use super::directory::Redirect;
use super::drains::Drain;
use super::local::AbortSelect;
use super::message::Message;
use super::meters::{Direction, Stages};
use super::session::Session;
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use crate::iscsi::{self, ChapPolicy, Command, DataOutError, LoginSummary, TaskId};
use crate::net::{RecvBuffer, SocketId};
use crate::scsi::Failure;
use futures_channel::oneshot;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

/// One connection of this reactor.
pub(crate) struct Conn {
    pub(crate) socket: Option<SocketId>,
    pub(crate) iscsi: iscsi::Connection,
    pub(crate) peer: SocketAddr,
    /// The address that the initiator reached.
    pub(crate) local: SocketAddr,
    pub(crate) portal_tag: u16,
    /// Where its login is to be sent, if it came in by a portal that does so.
    pub(crate) redirect: Option<Arc<Redirect>>,
    pub(crate) phase: Phase,
    /// Received and not yet parsed.
    pub(crate) input: Option<Input>,
    /// A receive is under way.
    pub(crate) receiving: bool,
    /// A send is under way.
    pub(crate) sending: bool,
    /// Bytes of it.
    pub(crate) sending_bytes: usize,
    /// Its bytes are being parsed, further up the stack.
    pub(crate) pumping: bool,
    /// No command begins and no input is taken, for a handover; but for data that a procedure waits for.
    pub(crate) held: bool,
    /// When a connection that ends is cut, sent or not.
    pub(crate) close_by: Option<Instant>,
    /// Bytes of the buffers that its reads and writes hold.
    pub(crate) held_bytes: u64,
    /// On the list of connections to flush at the end of the tick.
    pub(crate) dirty: bool,
    /// When the send under way began.
    pub(crate) send_began: Instant,
    /// The peer and the initiator's name, once known, for logs.
    pub(crate) initiator: Option<String>,
    /// What a discovery session has proved.
    pub(crate) satisfied: Vec<Arc<ChapPolicy>>,
    /// The target that a login wanted, for whoever hears that it was refused.
    pub(crate) wanted: Option<String>,
    /// Why its login was refused, until that is told.
    pub(crate) refusal: Option<String>,
    pub(crate) session: Option<Box<Session>>,
    /// Copies of this nexus, for RECEIVE COPY RESULTS.
    pub(crate) copies: CopyDesk,
    /// By the position of the task in the protocol engine's table.
    pub(crate) active: Vec<Option<Active>>,
    /// Commands that wait for their turn, in order.
    pub(crate) dormant: VecDeque<Command>,
    /// Commands that wait for the limits of the volume, in order.
    pub(crate) limited: VecDeque<Command>,
    /// Tasks that are active and not dormant.
    pub(crate) enabled: u32,
    /// The ORDERED command that is enabled.
    pub(crate) ordered: Option<TaskId>,
    /// Pieces and procedures under way.
    pub(crate) outstanding: u32,
    /// Where it is bound, while it moves.
    pub(crate) destination: Option<(usize, Stage)>,
    /// Counted among the connections in login.
    pub(crate) in_login: bool,
    /// Whom to tell when the connection is gone.
    pub(crate) mourners: Vec<Rc<Funeral>>,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In login, on the reactor that accepted it.
    Login,
    /// Negotiated; waits for its last send to end before it moves.
    Moving,
    /// At the home, waiting for admission.
    Admitting,
    /// Full feature phase.
    Full,
    /// Logged out; the response leaves when the volume has let go of the session.
    Departing,
    /// Ending.
    Closing,
    /// In full feature phase and at rest, for a handover: what is in flight on its socket is being taken
    /// back.
    Parking,
    /// At rest: nothing is in flight, and nothing is received or sent.
    Parked,
}

impl Phase {
    /// Whether the session has been told that it is logged in, and not that it ends.
    pub(crate) const fn is_full_feature(self) -> bool {
        matches!(self, Self::Full | Self::Parking | Self::Parked)
    }
}

/// Bytes received.
pub(crate) struct Input {
    pub(crate) bytes: Bytes,
    pub(crate) at: usize,
}

impl Input {
    /// Empties `place`, parsed or not. The buffer is to go back to where it came from.
    pub(crate) fn end(place: &mut Option<Self>) -> Option<RecvBuffer> {
        match place.take()?.bytes {
            Bytes::Received(buffer) => Some(buffer),
            Bytes::Carried(_) => None,
        }
    }
}

/// Where received bytes live.
pub(crate) enum Bytes {
    /// In the socket engine's buffer.
    Received(RecvBuffer),
    /// Carried over from another reactor.
    Carried(Vec<u8>),
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Received(buffer) => buffer,
            Self::Carried(bytes) => bytes,
        }
    }
}

/// A connection between two reactors.
pub(crate) struct Moving {
    pub(crate) stream: TcpStream,
    pub(crate) iscsi: iscsi::Connection,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) portal_tag: u16,
    pub(crate) initiator: Option<String>,
    pub(crate) carried: Vec<u8>,
    pub(crate) stage: Stage,
}

/// What a moving connection is about to get.
pub(crate) enum Stage {
    /// Admission by the home.
    Admission {
        volume: super::volume::VolumeIndex,
        summary: Box<LoginSummary>,
    },
    /// Its seat: the home has admitted it and chosen this reactor.
    Seat { session: Box<Session> },
}

/// A task under way.
pub(crate) struct Active {
    pub(crate) task: TaskId,
    /// Of its CDB, for those who ask what is in flight.
    pub(crate) opcode: u8,
    /// How it has come so far.
    pub(crate) stages: Stages,
    pub(crate) work: Work,
    pub(crate) abort: Option<Abort>,
}

/// What runs for a task.
pub(crate) enum Work {
    /// A command that waits for its turn (ORDERED, or behind one that is).
    Dormant,
    /// A command that waits for the limits of its volume.
    Limited,
    /// A command that waits for a buffer.
    Starving,
    /// A READ of one piece.
    Read { asked: u64, send: u32 },
    /// A WRITE of one piece whose data is on the way in.
    AwaitData(WritePlan),
    /// A WRITE of one piece at the backend.
    Write { asked: u64 },
    /// Anything else.
    Procedure {
        aborted: Rc<Cell<bool>>,
        data: Option<oneshot::Sender<Result<Buffer, DataOutError>>>,
        /// Which way its data goes.
        direction: Direction,
        /// How much of that there is.
        bytes: u64,
    },
}

impl Work {
    /// Which way its data goes, and how much of it there is.
    pub(crate) const fn moves(&self) -> (Direction, u64) {
        match self {
            Self::Read { send, .. } => (Direction::Read, *send as u64),
            Self::Write { asked } => (Direction::Write, *asked),
            Self::AwaitData(plan) => (Direction::Write, plan.length),
            Self::Procedure {
                direction, bytes, ..
            } => (*direction, *bytes),
            Self::Dormant | Self::Limited | Self::Starving => (Direction::Other, 0),
        }
    }
}

/// A WRITE of one piece.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WritePlan {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) durable: bool,
}

/// Somebody who waits for connections to be gone.
pub(crate) struct Funeral {
    asker: (usize, SlotKey),
    remaining: Cell<usize>,
}

impl Funeral {
    pub(crate) fn new(asker: (usize, SlotKey), connections: usize) -> Rc<Self> {
        Rc::new(Self {
            asker,
            remaining: Cell::new(connections),
        })
    }

    /// One is gone; who is to be told if it was the last.
    #[must_use]
    pub(crate) fn attend(&self) -> Option<(usize, SlotKey)> {
        self.remaining.set(self.remaining.get().saturating_sub(1));
        (self.remaining.get() == 0).then_some(self.asker)
    }
}

/// The task has been aborted and is not quiet yet.
pub(crate) struct Abort {
    /// The status it ends with, if it gets one.
    pub(crate) status: Option<Failure>,
    pub(crate) tickets: Vec<Rc<AbortTicket>>,
}

/// Answers when the last of some aborted tasks is quiet.
pub(crate) struct AbortTicket {
    remaining: Cell<u32>,
    reply: RefCell<Option<Quiet>>,
}

/// Whom to tell that tasks are quiet.
pub(crate) enum Quiet {
    /// A procedure here.
    Procedure(oneshot::Sender<()>),
    /// Another reactor's.
    Call(usize, SlotKey),
    /// Nobody.
    Nobody,
}

impl AbortTicket {
    pub(crate) fn new(reply: Quiet) -> Rc<Self> {
        Rc::new(Self {
            remaining: Cell::new(0),
            reply: RefCell::new(Some(reply)),
        })
    }

    pub(crate) fn add(&self) {
        self.remaining.set(self.remaining.get() + 1);
    }

    /// One task is quiet; whom to tell if it was the last.
    #[must_use]
    pub(crate) fn settle(&self) -> Option<Quiet> {
        self.remaining.set(self.remaining.get().saturating_sub(1));
        self.finished()
    }

    /// Whom to tell if nothing is left.
    #[must_use]
    pub(crate) fn finished(&self) -> Option<Quiet> {
        if self.remaining.get() == 0 {
            self.reply.borrow_mut().take()
        } else {
            None
        }
    }
}

impl AbortSelect {
    pub(crate) fn selects(self, task: TaskId) -> bool {
        match self {
            Self::Task(one) => one == task,
            Self::AllBut(spare) => Some(task) != spare,
        }
    }
}

impl Conn {
    pub(crate) fn new(
        socket: SocketId,
        iscsi: iscsi::Connection,
        peer: SocketAddr,
        local: SocketAddr,
        portal_tag: u16,
    ) -> Self {
        Self {
            socket: Some(socket),
            iscsi,
            peer,
            local,
            portal_tag,
            redirect: None,
            phase: Phase::Login,
            input: None,
            receiving: false,
            sending: false,
            sending_bytes: 0,
            pumping: false,
            held: false,
            close_by: None,
            held_bytes: 0,
            dirty: false,
            send_began: Instant::ZERO,
            initiator: None,
            satisfied: Vec::new(),
            wanted: None,
            refusal: None,
            session: None,
            copies: CopyDesk::default(),
            active: Vec::new(),
            dormant: VecDeque::new(),
            limited: VecDeque::new(),
            enabled: 0,
            ordered: None,
            outstanding: 0,
            destination: None,
            in_login: false,
            mourners: Vec::new(),
        }
    }

    /// The entry of `task`, if it is still this task's.
    pub(crate) fn active_mut(&mut self, task: TaskId) -> Option<&mut Active> {
        self.active
            .get_mut(task.index() as usize)?
            .as_mut()
            .filter(|active| active.task == task)
    }

    /// Enters a task that begins `now`, or goes to wait.
    pub(crate) fn activate(&mut self, command: &Command, work: Work, now: Instant) {
        let opcode = command.cdb.as_slice().first().copied().unwrap_or(0);
        let stages = Stages::begin(command.arrived, now);
        self.enter(command.task, opcode, stages, work);
    }

    /// Enters a task that has come so far.
    pub(crate) fn enter(&mut self, task: TaskId, opcode: u8, stages: Stages, work: Work) {
        let position = task.index() as usize;
        if self.active.len() <= position {
            self.active.resize_with(position + 1, || None);
        }
        let dormant = matches!(work, Work::Dormant);
        let former = self.active[position].replace(Active {
            task,
            opcode,
            stages,
            work,
            abort: None,
        });
        let counted = former.is_some_and(|former| !matches!(former.work, Work::Dormant));
        self.enabled += u32::from(!dormant);
        self.enabled -= u32::from(counted);
    }

    pub(crate) fn deactivate(&mut self, task: TaskId) -> Option<Active> {
        let slot = self.active.get_mut(task.index() as usize)?;
        if slot.as_ref().is_none_or(|active| active.task != task) {
            return None;
        }
        let active = slot.take();
        let dormant = active
            .as_ref()
            .is_some_and(|active| matches!(active.work, Work::Dormant));
        self.enabled -= u32::from(!dormant);
        if self.ordered == Some(task) {
            self.ordered = None;
        }
        active
    }

    /// Whether a drain concerns its session; without one, it does not.
    pub(crate) fn is_kept_out_by(&self, drain: &Drain) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let name = session.nexus.nexus.initiator.name();
        drain.concerns(name, self.peer.ip(), session.volume.id, self.local)
    }

    /// Commands that were taken and not answered.
    pub(crate) fn in_flight(&self) -> u64 {
        u64::from(self.enabled) + self.dormant.len() as u64
    }

    /// Raises the unit attention for commands that another nexus has aborted, once none of them can
    /// change the medium any more. Whoever is told of it sends its commands again, and what it sent
    /// before is not to take effect after those.
    pub(crate) fn tell_of_aborted(&mut self) {
        let may_change =
            |active: &Active| active.abort.is_some() && !matches!(active.work, Work::Read { .. });
        let waits = self.active.iter().flatten().any(may_change);
        if let Some(session) = self.session.as_mut().filter(|_| !waits)
            && let Some(attention) = session.cleared.take()
        {
            session.attentions.raise(attention);
        }
    }
}

/// Moves are boxed: they are rare, and messages should stay small.
impl From<Moving> for Message {
    fn from(moving: Moving) -> Self {
        Self::Adopt(Box::new(moving))
    }
}

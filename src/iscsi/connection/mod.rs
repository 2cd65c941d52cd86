//! One connection: its state, and what its owner can tell it.

mod async_message;
mod commands;
mod data_in;
mod data_out;
mod held;
mod login_phase;
mod output;
pub(super) mod parked;
mod pull;
pub(crate) mod receiver;
mod session;
mod text_exchange;
mod timers;
pub(super) mod whole;

#[cfg(test)]
mod tests;

use super::answer::{AsyncEvent, Identity, Response, TargetRecord};
use super::error::{CloseReason, Violation};
use super::event::{Event, TaskId};
use super::pdu::{LoginStatus, TaskManagementResponse};
use super::settings::{Portal, Settings};
use super::task::Kind;
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::gather::{Gather, Payload};
use login_phase::LoginPhase;
use output::Output;
use receiver::{Body, DigestMismatch, Header};
use serde::{Deserialize, Serialize};
use session::Session;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use timers::Liveness;

/// The target's side of one TCP connection.
///
/// ```text
///            Login PDUs             identify()            admit()
///  new() ──▶ Login ──▶ Event::Identify ──▶ negotiation ──▶ Event::LoginComplete ──▶ full feature
///              │              │ refuse_login / redirect_login / violation / timeout      │ logout,
///              └──────────────┴────────────────────────▶ Event::Closed ◀─────────────────┘ violation
/// ```
///
/// Order of calls: [`Connection::next_event`] with what has been received until it returns `None`;
/// answer each event; send [`Connection::output`]. An answer may come at any later time. Input
/// that stays unconsumed when `next_event` returns `None` is to be offered again after the next
/// answer, or after output was taken: that is how a connection pushes back. Answers to tasks that
/// are gone, and to closed connections, do nothing.
#[derive(Debug)]
pub struct Connection {
    portal: Portal,
    opened: Instant,
    phase: Phase,
    link: Link,
    header: Header,
    /// The data segment that is being received; `None` while a header is.
    segment: Option<Segment>,
    /// The kept PDU that is being worked on in the input's stead.
    replay: Option<Replay>,
    scratch: Vec<u8>,
    /// Bytes of the last PDU with a data segment, all included.
    pdu_bytes: usize,
    liveness: Liveness,
}

#[derive(Debug)]
enum Phase {
    Login(Box<LoginPhase>),
    FullFeature(Box<Session>),
    Closed,
}

/// What every phase writes to.
#[derive(Debug)]
struct Link {
    settings: Arc<Settings>,
    output: Output,
    events: VecDeque<Event>,
    awaiting: Awaiting,
    /// Set when the connection is to end after what has been queued.
    close: Option<CloseReason>,
    now: Instant,
    /// Sense data behind its length, put together.
    sense: Vec<u8>,
    /// PDUs whose header has come.
    pdus_received: u64,
}

/// The answer without which no input is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    Nothing,
    Identity,
    Admission,
    Targets,
}

/// Where a data segment goes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Sink {
    Discard,
    /// Into memory, until the PDU is complete.
    Collect,
    /// Into memory, until the command `cmd_sn` has its turn.
    Hold {
        cmd_sn: u32,
    },
    /// Into the task's window; `last` ends the sequence `tag`.
    Data {
        task: TaskId,
        tag: u32,
        offset: u32,
        last: bool,
    },
}

#[derive(Debug)]
struct Segment {
    sink: Sink,
    body: Body,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Replay {
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    consumed: usize,
    digest: Result<(), DigestMismatch>,
}

impl Link {
    /// Nothing has come and nothing is waited for; `output` goes first.
    fn new(settings: Arc<Settings>, output: Output, now: Instant) -> Self {
        Self {
            settings,
            output,
            events: VecDeque::with_capacity(4),
            awaiting: Awaiting::Nothing,
            close: None,
            now,
            sense: Vec::new(),
            pdus_received: 0,
        }
    }

    /// Calls `send` with `sense` behind its 2-byte length (RFC 7143 section 11.4.7).
    fn with_sense(&mut self, sense: &[u8], send: impl FnOnce(&mut Self, &[u8])) {
        let mut data = std::mem::take(&mut self.sense);
        let length = u16::try_from(sense.len()).unwrap_or(u16::MAX);
        data.clear();
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(sense.get(..usize::from(length)).unwrap_or(sense));
        send(self, &data);
        self.sense = data;
    }
}

impl Connection {
    /// PDUs taken in and PDUs queued to be sent, since the last [`Connection::take_pdus`].
    #[must_use]
    pub const fn pdus(&self) -> (u64, u64) {
        (self.link.pdus_received, self.link.output.pdus())
    }

    /// The same, and counts from zero again: its owner hands it on.
    pub const fn take_pdus(&mut self) -> (u64, u64) {
        let pdus = self.pdus();
        self.link.pdus_received = 0;
        self.link.output.forget_pdus();
        pdus
    }

    /// A fresh connection, before its first Login PDU.
    #[must_use]
    pub fn new(portal: Portal, settings: Arc<Settings>, now: Instant) -> Self {
        let link = Link::new(settings, Output::new(), now);
        Self {
            portal,
            opened: now,
            phase: Phase::Login(Box::new(LoginPhase::new(&link))),
            link,
            header: Header::new(),
            segment: None,
            replay: None,
            scratch: Vec::new(),
            pdu_bytes: 0,
            liveness: Liveness {
                heard: now,
                pinged: None,
            },
        }
    }

    /// Where the connection was accepted.
    #[must_use]
    pub const fn portal(&self) -> &Portal {
        &self.portal
    }

    /// Consumes bytes from the front of `input` until an event arises, the bytes run out, or an
    /// answer is due first.
    pub fn next_event(&mut self, input: &mut &[u8], now: Instant) -> Option<Event> {
        self.link.now = now;
        let offered = input.len();
        if offered == 0 && self.needs_input() {
            return None;
        }
        let event = loop {
            if let Some(event) = self.link.events.pop_front() {
                break Some(event);
            }
            if !self.step(input) {
                break None;
            }
        };
        if input.len() < offered {
            self.liveness = Liveness {
                heard: now,
                pinged: None,
            };
        }
        event
    }

    /// The next event that has been raised already. Takes no input, and so makes no new one.
    pub fn raised_event(&mut self) -> Option<Event> {
        self.link.events.pop_front()
    }

    /// Bytes to send.
    pub const fn output(&mut self) -> &mut Gather {
        &mut self.link.output.gather
    }

    /// Takes the bytes to send. A list to write the next ones into may be given by
    /// [`Connection::use_output`]; without, room is allocated.
    #[must_use]
    pub fn take_output(&mut self) -> Gather {
        std::mem::take(&mut self.link.output.gather)
    }

    /// Whether there is no list to write into.
    #[must_use]
    pub const fn lacks_output(&self) -> bool {
        self.link.output.gather.room() == 0
    }

    /// Writes into `list` from now on, which is empty, as is what was there.
    pub fn use_output(&mut self, list: Gather) {
        debug_assert!(
            list.is_empty() && self.queued_bytes() == 0,
            "nothing is lost"
        );
        self.link.output.gather = list;
    }

    /// Bytes of them that are [lent](Gather::lend).
    #[must_use]
    pub const fn lent_bytes(&self) -> usize {
        self.link.output.gather.lent_bytes()
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.link.output.gather.len()
    }

    /// Whether the connection is over: [`Event::Closed`] has been raised or is about to be.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether data is on its way into a buffer that was given. While it is, input must not wait
    /// for another buffer without end, or the buffers wait for each other: answer BUSY instead.
    #[must_use]
    pub fn awaits_data_out(&self) -> bool {
        match &self.phase {
            Phase::FullFeature(session) => session
                .tasks
                .iter()
                .any(|(_, task)| task.transfer.is_open()),
            _ => false,
        }
    }

    /// Answers [`Event::Identify`]: the login goes on.
    pub fn identify(&mut self, identity: Identity) {
        if let Phase::Login(phase) = &mut self.phase
            && self.link.awaiting == Awaiting::Identity
        {
            self.link.awaiting = Awaiting::Nothing;
            phase.identify(&mut self.link, identity);
        }
        self.close_if_asked();
    }

    /// Answers [`Event::Identify`] or [`Event::LoginComplete`] with an error; [`Event::Closed`]
    /// follows.
    pub fn refuse_login(&mut self, status: LoginStatus) {
        self.end_login(status, None);
    }

    /// Sends the initiator to another `host:port`; [`Event::Closed`] follows.
    pub fn redirect_login(&mut self, address: &str, permanent: bool) {
        let status = match permanent {
            true => LoginStatus::MovedPermanently,
            false => LoginStatus::MovedTemporarily,
        };
        self.end_login(status, Some(address));
    }

    /// Answers [`Event::LoginComplete`]: full feature phase begins. `tsih` is not zero.
    pub fn admit(&mut self, tsih: u16) {
        debug_assert!(tsih != 0, "zero asks for a new session and names none");
        let Phase::Login(phase) = &mut self.phase else {
            return;
        };
        if let Some(session) = phase.admit(&mut self.link, tsih) {
            self.link.awaiting = Awaiting::Nothing;
            self.phase = Phase::FullFeature(Box::new(session));
        }
    }

    /// "Bytes `offset..offset + buffer.len()` of the command's data go here." What comes unasked
    /// lands in the buffer, the rest is asked for; then [`Event::DataOut`] hands it back. Windows
    /// may follow each other. Unsolicited data outside of the first window is dropped, and asked
    /// for again if a later window covers it: the first window should hold
    /// `write_length.min(first_burst_bytes)`.
    ///
    /// # Panics
    /// If the task's last window is still out, or the range is empty or beyond the command's
    /// `write_length`.
    pub fn accept_data_out(&mut self, task: TaskId, buffer: Buffer, offset: u32) {
        if let Phase::FullFeature(session) = &mut self.phase {
            session.accept_data_out(&mut self.link, task, buffer, offset);
        }
    }

    /// Whatever data of the task comes is read and dropped. Hands back a buffer that was waiting
    /// for it.
    pub fn refuse_data_out(&mut self, task: TaskId) -> Option<Buffer> {
        match &mut self.phase {
            Phase::FullFeature(session) => session.refuse_data_out(task),
            _ => None,
        }
    }

    /// Queues `payload[range]` as the bytes from `offset` on of the command's Data-In, and after
    /// them `last`, which frees the task. Calls for one task come in the order of their offsets,
    /// and `last` with the last of them. Hands the payload back at once if it was copied or not
    /// needed; otherwise it comes back from the [`Gather`] when that is cleared.
    ///
    /// # Panics
    /// If the payload has no such range.
    pub fn send_data_in(
        &mut self,
        task: TaskId,
        payload: Payload,
        range: Range<usize>,
        offset: u32,
        last: Option<&Response<'_>>,
    ) -> Option<Payload> {
        match &mut self.phase {
            Phase::FullFeature(session) => {
                session.send_data_in(&mut self.link, task, payload, range, offset, last)
            }
            _ => Some(payload),
        }
    }

    /// Queues the SCSI Response and frees the task. Data that still comes for it is dropped.
    pub fn respond(&mut self, task: TaskId, response: &Response<'_>) {
        if let Phase::FullFeature(session) = &mut self.phase {
            session.respond(&mut self.link, task, response);
        }
    }

    /// Queues the Task Management Function Response and frees the task.
    pub fn respond_task_management(&mut self, task: TaskId, response: TaskManagementResponse) {
        if let Phase::FullFeature(session) = &mut self.phase {
            session.respond_task_management(&mut self.link, task, response);
        }
    }

    /// Answers [`Event::SendTargets`].
    pub fn answer_targets(&mut self, targets: &[TargetRecord]) {
        if let Phase::FullFeature(session) = &mut self.phase
            && self.link.awaiting == Awaiting::Targets
        {
            self.link.awaiting = Awaiting::Nothing;
            session.answer_targets(&mut self.link, targets);
        }
    }

    /// Forgets the task without a status, and hands back a buffer that was waiting for its data.
    /// Data that still comes for it is dropped.
    pub fn abort_task(&mut self, task: TaskId) -> Option<Buffer> {
        match &mut self.phase {
            Phase::FullFeature(session) => session.tasks.remove(task)?.buffer,
            _ => None,
        }
    }

    /// Queues an Async Message; before full feature phase there is nobody to tell.
    pub fn send_async(&mut self, event: AsyncEvent<'_>) {
        if let Phase::FullFeature(session) = &mut self.phase {
            session.send_async(&mut self.link, event);
        }
    }

    /// Outstanding SCSI commands: task, logical unit, Initiator Task Tag.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, [u8; 8], u32)> {
        let session = match &self.phase {
            Phase::FullFeature(session) => Some(session),
            _ => None,
        };
        session
            .into_iter()
            .flat_map(|session| session.tasks.iter())
            .filter(|(_, task)| task.kind == Kind::Command)
            .map(|(id, task)| (id, task.lun, task.tag))
    }

    fn end_login(&mut self, status: LoginStatus, address: Option<&str>) {
        if let Phase::Login(phase) = &mut self.phase {
            phase.refuse(&mut self.link, status, address);
        }
        self.close_if_asked();
    }

    fn fail_login(&mut self, status: LoginStatus, violation: Violation) {
        if let Phase::Login(phase) = &mut self.phase {
            phase.fail(&mut self.link, status, violation);
        }
    }

    fn close_if_asked(&mut self) {
        if let Some(reason) = self.link.close.take() {
            self.close(reason);
        }
    }

    /// Ends the connection; all that belongs to it is let go of.
    fn close(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            self.segment = None;
            self.replay = None;
            self.scratch = Vec::new();
            self.link.awaiting = Awaiting::Nothing;
            self.link.events.push_back(Event::Closed(reason));
        }
    }
}

//! A connection at rest, as plain data: what a new process needs to go on in this one's place.
//!
//! Everything that the initiator can tell apart is in it: the numbering in both directions, the
//! negotiated parameters, the tasks with what has come of their data, a PDU that has come in part and
//! where its digests stand, what is queued and not sent. What belongs to one process is not: buffers,
//! clocks, settings. The initiator sees a pause.
//!
//! The shape of [`Parked`] is a format that two versions of this program share. Whoever changes it, or
//! a type in it, counts the version of the handover up.

use super::super::event::{Parameters, TaskId};
use super::super::pdu::SessionType;
use super::super::settings::{Portal, Settings};
use super::super::task::{Kind, Task, Tasks};
use super::super::transfer::Transfer;
use super::super::window::Window;
use super::held::{Held, HeldPdu};
use super::output::Output;
use super::receiver::{Body, Header, Progress};
use super::session::Session;
use super::text_exchange::Exchange;
use super::timers::Liveness;
use super::{Awaiting, Connection, Link, Phase, Replay, Segment, Sink};
use crate::base::buffer::Pool;
use crate::base::clock::Instant;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A connection in full feature phase of a normal session, at rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parked {
    parameters: Parameters,
    cid: u16,
    window: Window,
    tasks: Vec<ParkedTask>,
    held: Vec<HeldPdu>,
    next_tag: u32,
    exchange: Option<Exchange>,
    stat_sn: u32,
    /// What is to be sent.
    #[serde(with = "serde_bytes")]
    output: Vec<u8>,
    /// What has come of the header at hand.
    #[serde(with = "serde_bytes")]
    header: Vec<u8>,
    segment: Option<(Sink, Progress)>,
    replay: Option<Replay>,
    #[serde(with = "serde_bytes")]
    scratch: Vec<u8>,
}

/// A task of such a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ParkedTask {
    id: TaskId,
    kind: Kind,
    tag: u32,
    lun: [u8; 8],
    immediate: bool,
    read_length: u32,
    bidirectional: bool,
    transfer: Transfer,
    /// The memory of the open window, with what has come of its data.
    window: Option<serde_bytes::ByteBuf>,
    data_sn: u32,
}

/// Why a connection can't be parked, or not be taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotParked {
    /// It logs in, discovers, or ends.
    #[error("the connection is not in the full feature phase of a normal session")]
    Phase,
    /// Its owner has something to answer or to fetch first.
    #[error("the connection waits for its owner")]
    Unsettled,
    /// What was parked contradicts itself, or this process's limits.
    #[error("the {0} of the connection can't be")]
    Damaged(&'static str),
    /// There is no buffer for data that is on its way.
    #[error("no buffer of {0} bytes is free for data that is on its way")]
    NoBuffer(usize),
}

impl Connection {
    /// The connection as data. It stays as it is; its owner sees to it that nothing more happens to it
    /// if another one takes its place.
    ///
    /// # Errors
    /// It is not at rest, or not in full feature phase.
    pub fn park(&self) -> Result<Parked, NotParked> {
        let Phase::FullFeature(session) = &self.phase else {
            return Err(NotParked::Phase);
        };
        if session.session_type != SessionType::Normal || self.link.close.is_some() {
            return Err(NotParked::Phase);
        }
        if self.link.awaiting != Awaiting::Nothing || !self.link.events.is_empty() {
            return Err(NotParked::Unsettled);
        }
        let segment = self.segment.as_ref();
        Ok(Parked {
            parameters: session.parameters,
            cid: session.cid,
            window: session.window.clone(),
            tasks: session.tasks.iter().map(ParkedTask::of).collect(),
            held: session.held.iter().cloned().collect(),
            next_tag: session.next_tag,
            exchange: session.exchange.clone(),
            stat_sn: self.link.output.stat_sn(),
            output: self.link.output.gather.to_vec(),
            header: self.header.received().to_vec(),
            segment: segment.map(|segment| (segment.sink, segment.body.progress())),
            replay: self.replay.clone(),
            scratch: self.scratch.clone(),
        })
    }

    /// Goes on where a parked connection stopped, with buffers of `pool`. Nothing is sent and nothing
    /// taken in before its owner asks for it. All its time counts from `now`.
    ///
    /// # Errors
    /// What was parked can't be, or there is no buffer.
    pub fn take_up(
        parked: Parked,
        portal: Portal,
        settings: Arc<Settings>,
        now: Instant,
        pool: &mut Pool,
    ) -> Result<Self, NotParked> {
        let tasks: Result<Vec<_>, _> = parked
            .tasks
            .into_iter()
            .map(|task| Ok((task.id, task.take_up(now, pool)?)))
            .collect();
        let tasks = Tasks::restored(
            settings.session_commands,
            settings.session_immediate_commands,
            tasks?,
        );
        let parameters = parked.parameters;
        let (header_digest, data_digest) = (parameters.header_digest, parameters.data_digest);
        let mut session = Session {
            parameters,
            session_type: SessionType::Normal,
            cid: parked.cid,
            window: parked.window,
            tasks: tasks.ok_or(NotParked::Damaged("task table"))?,
            held: Held::default(),
            exchange: parked.exchange,
            next_tag: parked.next_tag,
            stall_check: None,
        };
        for pdu in parked.held {
            if !session.held.has_room(pdu.header.len(), pdu.data.len()) {
                return Err(NotParked::Damaged("list of commands behind a gap"));
            }
            session.held.insert(pdu);
        }
        let segment = match parked.segment {
            None => None,
            Some((sink, progress)) => {
                let body = Body::restored(&progress).ok_or(NotParked::Damaged("data segment"))?;
                Some(Segment { sink, body })
            }
        };
        let output = Output::restored(parked.stat_sn, &parked.output, header_digest, data_digest);
        let link = Link::new(settings, output, now);
        if session
            .tasks
            .iter()
            .any(|(_, task)| task.transfer.awaits_data())
        {
            session.watch_for_stall(&link);
        }
        Ok(Self {
            portal,
            opened: now,
            phase: Phase::FullFeature(Box::new(session)),
            link,
            header: Header::restored(&parked.header).ok_or(NotParked::Damaged("header"))?,
            segment,
            replay: parked.replay,
            scratch: parked.scratch,
            pdu_bytes: 0,
            liveness: Liveness {
                heard: now,
                pinged: None,
            },
        })
    }
}

impl ParkedTask {
    fn of((id, task): (TaskId, &Task)) -> Self {
        let window = task.buffer.as_ref().map(|buffer| buffer.to_vec());
        Self {
            id,
            kind: task.kind,
            tag: task.tag,
            lun: task.lun,
            immediate: task.immediate,
            read_length: task.read_length,
            bidirectional: task.bidirectional,
            transfer: task.transfer.clone(),
            window: window.map(serde_bytes::ByteBuf::from),
            data_sn: task.data_sn,
        }
    }

    fn take_up(self, now: Instant, pool: &mut Pool) -> Result<Task, NotParked> {
        let bytes = self.window.as_ref().map_or(0, |window| window.len());
        if u32::try_from(bytes) != Ok(self.transfer.window_bytes())
            || bytes > crate::base::limits::BUFFER_BYTES_MAX
        {
            return Err(NotParked::Damaged("window of a write"));
        }
        let buffer = match self.window {
            None => None,
            Some(window) => {
                let mut buffer = pool.allocate(bytes).ok_or(NotParked::NoBuffer(bytes))?;
                buffer.copy_from_slice(&window);
                Some(buffer)
            }
        };
        Ok(Task {
            kind: self.kind,
            tag: self.tag,
            lun: self.lun,
            immediate: self.immediate,
            read_length: self.read_length,
            bidirectional: self.bidirectional,
            transfer: self.transfer,
            buffer,
            data_sn: self.data_sn,
            progress: now,
        })
    }
}

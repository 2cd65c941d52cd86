//! A session in full feature phase (RFC 7143 sections 4.2 and 7).
//!
//! ```text
//! reserve() ─▶ issue() ─▶ outstanding ──Data-In with status, Response──▶ Event::Done
//!                           │   ▲                  └──bad status, Reject──▶ Event::Failed
//!                           └R2T┘ Data-Out
//! ```
//!
//! Order of calls: [`Session::reserve`] and [`Session::issue`] while there is room;
//! [`Session::receive`] with every byte that came. What is to be sent is in the outbox afterwards.
//! The data of a read that was to be kept are in [`Session::buffer`] until its slot is issued again.

mod receive;
mod send;

use super::fault::Fault;
use super::login::LoggedIn;
use crate::base::limits::LOAD_DEPTH_MAX;
use crate::iscsi::connection::receiver::{Body, Header};
use crate::iscsi::event::Parameters;
use crate::iscsi::pdu::Bhs;
use crate::load::failure::FailureKind;

/// The low bits of an Initiator Task Tag are the slot, the high ones count its uses, so that an
/// answer to an earlier command is told from one to the present. No slot is so large that a tag
/// could be the reserved one.
const SLOT_BITS: u32 = 16;
const _: () = assert!(LOAD_DEPTH_MAX < (1 << SLOT_BITS) - 1);

/// A command to be issued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    pub(crate) cdb: [u8; 16],
    pub(crate) transfer: Transfer,
}

/// The data of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// None.
    None,
    /// That many bytes are read; kept in the slot's buffer, or passed over.
    Read { bytes: u32, keep: bool },
    /// That many bytes are written: the slot's buffer, or the start of the outbox's content.
    Write { bytes: u32, own: bool },
}

/// What came of a command, by its slot. The slot is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// GOOD, and all bytes moved.
    Done { slot: u32 },
    /// Anything else.
    Failed { slot: u32, kind: FailureKind },
}

#[derive(Debug)]
struct Task {
    tag: u32,
    outstanding: bool,
    transfer: Transfer,
    /// Bytes of Data-In that came, or of a write that were sent.
    moved: u32,
    buffer: Vec<u8>,
}

/// A PDU whose data segment is coming in.
#[derive(Debug)]
struct Segment {
    bhs: Bhs,
    body: Body,
    sink: Sink,
}

/// Where the data segment goes.
#[derive(Debug, Clone, Copy)]
enum Sink {
    Skip,
    /// Into the slot's buffer, from that offset.
    Keep {
        slot: u32,
        offset: u32,
    },
    Collect,
}

/// The initiator's side of one session with one connection.
#[derive(Debug)]
pub(crate) struct Session {
    parameters: Parameters,
    lun: [u8; 8],
    tasks: Vec<Task>,
    free: Vec<u32>,
    cmd_sn: u32,
    exp_stat_sn: u32,
    max_cmd_sn: u32,
    header: Header,
    segment: Option<Segment>,
    collected: Vec<u8>,
    logged_out: bool,
    /// Answers to pings that may still wait in the outbox.
    pings: u32,
}

impl Session {
    /// A session to `lun` with room for `depth` commands.
    pub(crate) fn new(login: LoggedIn, lun: [u8; 8], depth: u32) -> Self {
        let task = |slot| Task {
            tag: slot,
            outstanding: false,
            transfer: Transfer::None,
            moved: 0,
            buffer: Vec::new(),
        };
        Self {
            parameters: login.parameters,
            lun,
            tasks: (0..depth).map(task).collect(),
            // The first slots are taken first, and again while they are warm.
            free: (0..depth).rev().collect(),
            cmd_sn: login.cmd_sn,
            exp_stat_sn: login.exp_stat_sn,
            max_cmd_sn: login.max_cmd_sn,
            header: Header::new(),
            segment: None,
            collected: Vec::new(),
            logged_out: false,
            pings: 0,
        }
    }

    /// What was negotiated.
    pub(crate) const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Commands without an answer.
    pub(crate) fn outstanding(&self) -> u32 {
        // Both are at most the depth, which is a u32.
        u32::try_from(self.tasks.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    /// Whether the target said goodbye.
    pub(crate) const fn is_logged_out(&self) -> bool {
        self.logged_out
    }

    /// A slot for the next command, if one is free and the target's command window is open
    /// (RFC 7143 section 4.2.2.1).
    pub(crate) fn reserve(&self) -> Option<u32> {
        let is_open = !precedes(self.max_cmd_sn, self.cmd_sn);
        self.free.last().copied().filter(|_| is_open)
    }

    /// The slot's buffer.
    pub(crate) fn buffer(&self, slot: u32) -> &[u8] {
        &self.tasks[slot as usize].buffer
    }

    /// The slot's buffer, made `bytes` long.
    pub(crate) fn buffer_mut(&mut self, slot: u32, bytes: u32) -> &mut [u8] {
        let buffer = &mut self.tasks[slot as usize].buffer;
        buffer.resize(bytes as usize, 0);
        buffer
    }

    fn slot_of(&self, tag: u32) -> Result<u32, Fault> {
        let slot = tag & ((1 << SLOT_BITS) - 1);
        match self.tasks.get(slot as usize) {
            Some(task) if task.outstanding && task.tag == tag => Ok(slot),
            _ => Err(Fault::UnknownTask(tag)),
        }
    }

    fn release(&mut self, slot: u32) {
        self.tasks[slot as usize].outstanding = false;
        self.free.push(slot);
    }
}

/// Serial number arithmetic (RFC 1982): whether `a` comes before `b`.
const fn precedes(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

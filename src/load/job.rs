//! One session under load: what it starts next, and what became of what it started.

use super::engine::{Client, Phase};
use super::initiator::command;
use super::initiator::fault::Fault;
use super::initiator::outbox::Outbox;
use super::initiator::session::{Command, Event, Session, Transfer};
use super::tally::{Direction, Tally};
use super::workload::{Generator, Pace, Quota, Request, Stamps};
use crate::base::clock::Instant;

/// A request that was started.
#[derive(Debug, Clone, Copy)]
struct Started {
    request: Request,
    /// When it was started, or due.
    at: Instant,
}

/// Where requests come from.
#[derive(Debug)]
enum Source {
    /// The workload.
    Load,
    /// Everything that this run has written, from that block of the session's range on; `None`
    /// when all of it was asked for.
    ReadBack { next: Option<usize> },
}

/// A session of a job.
#[derive(Debug)]
pub(super) struct JobSession {
    session: Session,
    generator: Generator,
    pace: Option<Pace>,
    /// Of each burst, and what is left of it in this one.
    quota: Quota,
    left: Quota,
    fua: bool,
    stamps: Option<Stamps>,
    source: Source,
    /// Bytes of a read in [`Source::ReadBack`].
    transfer_bytes_max: u32,
    /// Made, and waiting for others that touch the same blocks.
    pending: Option<Request>,
    started: Vec<Started>,
    running: bool,
    /// The pending request waits for others: nothing is to be started before an answer has come.
    blocked: bool,
    events: Vec<Event>,
}

/// What a session of a job does.
#[derive(Debug)]
pub(super) struct Duty {
    pub(super) generator: Generator,
    pub(super) pace: Option<Pace>,
    pub(super) quota: Quota,
    pub(super) fua: bool,
    pub(super) stamps: Option<Stamps>,
    pub(super) depth: u32,
    pub(super) transfer_bytes_max: u32,
}

impl JobSession {
    /// Puts a session that is logged in to its duty.
    pub(super) fn new(session: Session, duty: Duty) -> Self {
        let depth = duty.depth as usize;
        let nothing = Started {
            request: Request {
                direction: Direction::Read,
                lba: 0,
                blocks: 0,
                bytes: 0,
            },
            at: Instant::ZERO,
        };
        Self {
            session,
            generator: duty.generator,
            pace: duty.pace,
            quota: duty.quota,
            left: duty.quota,
            fua: duty.fua,
            stamps: duty.stamps,
            source: Source::Load,
            transfer_bytes_max: duty.transfer_bytes_max,
            pending: None,
            started: vec![nothing; depth],
            running: false,
            blocked: false,
            events: Vec::with_capacity(depth),
        }
    }

    /// The request that would start next. It stays the next one until it starts.
    fn next_request(&mut self) -> Option<Request> {
        if self.pending.is_none() {
            self.pending = match &mut self.source {
                Source::Load if self.left.is_used_up() => None,
                Source::Load => Some(self.generator.next()),
                Source::ReadBack { next } => {
                    let stamps = self.stamps.as_ref()?;
                    let found = stamps.next_written((*next)?, self.transfer_bytes_max);
                    *next = found.map(|(_, behind)| behind);
                    found.map(|(request, _)| request)
                }
            };
        }
        self.pending
    }

    fn is_read_back(&self) -> bool {
        matches!(self.source, Source::ReadBack { .. })
    }

    /// Starts one request, if there is room for it and its time has come.
    fn start_one(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        let Some(slot) = self.session.reserve() else {
            return false;
        };
        let pace = self.pace.filter(|_| !self.is_read_back());
        let at = match pace.map(|pace| pace.due()) {
            Some(due) if due > now => return false,
            Some(due) => due,
            None => now,
        };
        let Some(request) = self.next_request() else {
            return false;
        };
        let verify = self.stamps.is_some();
        if let Some(stamps) = &mut self.stamps {
            if !stamps.claim(&request) {
                self.blocked = true;
                return false;
            }
            if request.direction == Direction::Write {
                stamps.stamp(&request, self.session.buffer_mut(slot, request.bytes));
            }
        }
        self.pending = None;
        if let Some(pace) = &mut self.pace {
            pace.started();
        }
        self.left.take();
        self.started[slot as usize] = Started { request, at };
        let Request {
            direction,
            lba,
            blocks,
            bytes,
        } = request;
        let transfer = match direction {
            Direction::Read => Transfer::Read {
                bytes,
                keep: verify,
            },
            Direction::Write => Transfer::Write { bytes, own: verify },
        };
        let cdb = command::transfer(direction, lba, blocks, self.fua);
        self.session.issue(slot, &Command { cdb, transfer }, outbox);
        true
    }

    fn done(&mut self, slot: u32, now: Instant, tally: &mut Tally) {
        let Started { request, at } = self.started[slot as usize];
        let is_read_back = self.is_read_back();
        if let Some(stamps) = &mut self.stamps {
            if request.direction == Direction::Write {
                stamps.written(&request);
            } else if let Err(wrong) = stamps.judge(&request, self.session.buffer(slot)) {
                tally.mismatch(wrong);
                return;
            } else {
                tally.verified_blocks += u64::from(request.blocks);
            }
        }
        if !is_read_back {
            let latency = now.nanos().saturating_sub(at.nanos());
            tally.count(request.direction, request.bytes, latency);
        }
    }
}

impl Client for JobSession {
    fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        outbox: &mut Outbox,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let mut events = std::mem::take(&mut self.events);
        let received = self.session.receive(bytes, outbox, &mut events);
        for event in events.drain(..) {
            self.blocked = false;
            match event {
                Event::Done { slot } => self.done(slot, now, tally),
                Event::Failed { slot, kind } => {
                    if let Some(stamps) = &mut self.stamps {
                        stamps.failed(&self.started[slot as usize].request);
                    }
                    tally.fail(kind);
                }
            }
        }
        self.events = events;
        received
    }

    fn may_start(&self) -> bool {
        self.running && !self.blocked && self.session.reserve().is_some() && !self.is_exhausted()
    }

    fn fill(&mut self, now: Instant, outbox: &mut Outbox) {
        while self.start_one(now, outbox) {}
    }

    fn outstanding(&self) -> u32 {
        self.session.outstanding()
    }

    fn is_exhausted(&self) -> bool {
        match &self.source {
            Source::Load => self.left.is_used_up(),
            Source::ReadBack { next } => next.is_none() && self.pending.is_none(),
        }
    }

    fn begin(&mut self, now: Instant, phase: Phase) {
        self.running = true;
        self.blocked = false;
        self.left = self.quota;
        if phase == Phase::ReadBack {
            self.source = Source::ReadBack { next: Some(0) };
            self.pending = None;
        }
        if let Some(pace) = &mut self.pace {
            pace.begin(now);
        }
    }

    fn stop(&mut self, now: Instant, tally: &mut Tally) {
        self.running = false;
        if let Some(pace) = self.pace.filter(|_| !self.is_exhausted()) {
            tally.overdue += pace.overdue(now);
        }
    }

    fn log_out(&mut self, outbox: &mut Outbox) {
        self.session.log_out(outbox);
    }

    fn is_logged_out(&self) -> bool {
        self.session.is_logged_out()
    }
}

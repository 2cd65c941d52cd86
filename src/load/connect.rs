//! Opens one session: connects, logs in, and asks the logical unit how large it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::address::Address;
use super::engine::Socket;
use super::failure::FailureKind;
use super::initiator::command::{self, CAPACITY_BYTES, Capacity};
use super::initiator::fault::Fault;
use super::initiator::login::{LoggedIn, Login, Step};
use super::initiator::outbox::Outbox;
use super::initiator::session::{Command, Event, Session, Transfer};
use super::plan::LoginOptions;
use crate::base::clock::Instant;
use crate::base::limits::{LOAD_REDIRECTIONS_MAX, LOGIN_DATA_SEGMENT_BYTES};
use crate::iscsi::connection::receiver::{Body, Header};
use crate::iscsi::settings::system_entropy;

/// Unit attentions that a new session takes note of before it gives up: there may be one for the
/// power-on and for each change that it missed.
const ATTENTIONS_MAX: u32 = 64;
const RECEIVE_BYTES: usize = 64 << 10;

/// A session that is ready for load.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) outbox: Outbox,
    pub(super) session: Session,
    pub(super) capacity: Capacity,
}

/// What every session of a run needs to be opened.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) login: LoginOptions,
    /// What writes are made of.
    pub(super) content: Arc<[u8]>,
    pub(super) depth: u32,
    pub(super) timeout: Duration,
}

impl Opening {
    /// Opens a session of the initiator port `isid`.
    ///
    /// # Errors
    /// When the target can't be reached, refuses, or does not answer.
    pub(super) fn open(&self, address: &Address, isid: [u8; 6]) -> Result<Opened, Fault> {
        let mut address = address.clone();
        for _ in 0..=LOAD_REDIRECTIONS_MAX {
            let mut line = Line::connect(self, &address)?;
            match line.log_in(&self.login, &address, isid)? {
                Outcome::LoggedIn(logged_in) => {
                    let session = Session::new(*logged_in, address.lun_field(), self.depth);
                    return line.prepare(session);
                }
                Outcome::Moved(portal) => {
                    address = address.moved_to(&portal).map_err(|_| Fault::Redirected)?;
                }
            }
        }
        Err(Fault::Redirected)
    }
}

enum Outcome {
    LoggedIn(Box<LoggedIn>),
    Moved(String),
}

/// A connection that is waited for: nothing is measured yet.
struct Line {
    socket: Socket,
    outbox: Outbox,
    buffer: Vec<u8>,
    deadline: Instant,
    timeout: Duration,
}

impl Line {
    fn connect(opening: &Opening, address: &Address) -> Result<Self, Fault> {
        let portal = address.portal();
        let socket = Socket::connect(&portal, &opening.login.socket)
            .map_err(|source| Fault::Unreachable { portal, source })?;
        Ok(Self {
            socket,
            outbox: Outbox::new(Arc::clone(&opening.content)),
            buffer: vec![0; RECEIVE_BYTES],
            deadline: Instant::now() + opening.timeout,
            timeout: opening.timeout,
        })
    }

    /// Sends what there is and waits for bytes.
    fn exchange(&mut self) -> Result<usize, Fault> {
        loop {
            let mut blocked = false;
            while !self.outbox.is_empty() && !blocked {
                blocked = !self.socket.send(&mut self.outbox)?;
            }
            match self.socket.receive(&mut self.buffer)? {
                Some(0) => return Err(Fault::Closed),
                Some(bytes) => return Ok(bytes),
                None => self.wait(blocked)?,
            }
        }
    }

    fn wait(&self, for_room: bool) -> Result<(), Fault> {
        let left = self.deadline.since(Instant::now());
        if left.is_zero() {
            return Err(Fault::Silent {
                after: self.timeout,
                outstanding: 1,
            });
        }
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, for_room);
        let left = Timespec::try_from(left).map_err(|_| Fault::Closed)?;
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Fault::Io(io::Error::from(error))),
        }
    }

    /// Carries the login through, or to where it is redirected.
    fn log_in(
        &mut self,
        options: &LoginOptions,
        address: &Address,
        isid: [u8; 6],
    ) -> Result<Outcome, Fault> {
        let mut login = Login::start(
            options,
            &address.target,
            isid,
            system_entropy,
            &mut self.outbox,
        );
        let mut header = Header::new();
        let mut body: Option<Body> = None;
        let mut text = Vec::new();
        loop {
            let bytes = self.exchange()?;
            let mut input = &self.buffer[..bytes];
            loop {
                let Some(segment) = &mut body else {
                    let Some(bhs) = header.fill(&mut input, false) else {
                        break;
                    };
                    let (limit, got) = (
                        LOGIN_DATA_SEGMENT_BYTES,
                        bhs.map_err(Fault::Header)?.data_segment_bytes(),
                    );
                    if got > limit {
                        return Err(Fault::SegmentTooLong { limit, got });
                    }
                    text.clear();
                    body = Some(Body::new(got, false));
                    continue;
                };
                text.extend_from_slice(segment.take(&mut input).1);
                if segment.data_left() > 0 || segment.finish(&mut input).is_none() {
                    break;
                }
                let bhs = header.bhs();
                header.clear();
                body = None;
                match login.receive(&bhs, &text, &mut self.outbox)? {
                    Step::GoOn => {}
                    Step::Done(logged_in) => return Ok(Outcome::LoggedIn(logged_in)),
                    Step::Moved(portal) => return Ok(Outcome::Moved(portal)),
                }
            }
        }
    }

    /// Takes note of the unit attentions that meet a new nexus, and reads the capacity.
    fn prepare(mut self, mut session: Session) -> Result<Opened, Fault> {
        let test = Command {
            cdb: command::test_unit_ready(),
            transfer: Transfer::None,
        };
        let mut attentions = 0;
        loop {
            match self.carry_out(&mut session, &test)? {
                Ok(_) => break,
                Err(kind) if kind.is_unit_attention() && attentions < ATTENTIONS_MAX => {
                    attentions += 1;
                }
                Err(kind) => return Err(preparation("TEST UNIT READY", &kind.to_string())),
            }
        }
        let read = Command {
            cdb: command::read_capacity(),
            transfer: Transfer::Read {
                bytes: CAPACITY_BYTES,
                keep: true,
            },
        };
        let slot = match self.carry_out(&mut session, &read)? {
            // A target may return less than what is asked for.
            Ok(slot) => slot,
            Err(kind) => return Err(preparation("READ CAPACITY(16)", &kind.to_string())),
        };
        let capacity = Capacity::parse(session.buffer(slot))
            .ok_or_else(|| preparation("READ CAPACITY(16)", "the answer makes no sense"))?;
        Ok(Opened {
            socket: self.socket,
            outbox: self.outbox,
            session,
            capacity,
        })
    }

    /// Issues one command and waits for what becomes of it; its slot, if it went well.
    fn carry_out(
        &mut self,
        session: &mut Session,
        command: &Command,
    ) -> Result<Result<u32, FailureKind>, Fault> {
        let mut events = Vec::new();
        let slot = session.reserve().ok_or_else(|| {
            preparation(
                "a command",
                "the target's command window is closed after login",
            )
        })?;
        session.issue(slot, command, &mut self.outbox);
        loop {
            let bytes = self.exchange()?;
            session.receive(&self.buffer[..bytes], &mut self.outbox, &mut events)?;
            match events.pop() {
                Some(Event::Done { slot }) => return Ok(Ok(slot)),
                Some(Event::Failed { kind, .. }) => return Ok(Err(kind)),
                None => {}
            }
        }
    }
}

fn preparation(command: &'static str, failure: &str) -> Fault {
    Fault::Preparation {
        command,
        failure: failure.to_owned(),
    }
}

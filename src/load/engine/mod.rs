//! The loop that moves bytes: spins on its sockets, receives in large pieces, and sends all that a
//! connection has to say in a turn at once.
//!
//! The initiator and the client of the raw echo run in the same loop, so that figures of a target
//! and of the floor differ by the target alone.
//!
//! ```text
//! turn: each socket ─receive─▶ Client::receive ─▶ Client::fill ─▶ one send
//! ```
//!
//! Up to [`SPIN_SOCKETS_MAX`] sockets are simply received from in turn, which is quickest when one
//! of them is likely to have something; beyond, `epoll_wait` with no timeout names those that have.

mod socket;

pub(super) use socket::Socket;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::cpu;
use super::initiator::fault::Fault;
use super::initiator::outbox::Outbox;
use super::tally::{Tally, Work};
use crate::base::clock::Instant;

/// Sockets that are received from without asking which has something.
const SPIN_SOCKETS_MAX: usize = 16;
/// Bytes of the receive buffer, which all sockets of a thread share.
const RECEIVE_BYTES: usize = 512 << 10;
/// Events that one `epoll_wait` takes.
const EVENTS_MAX: usize = 256;
/// Turns without anything between two looks at the clock.
const IDLE_TURNS: u32 = 64;
/// How long the answers to a goodbye are waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// What drives one connection: it says what to send and understands what comes.
pub(super) trait Client {
    /// Takes in bytes that had come by `now`.
    fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        outbox: &mut Outbox,
        tally: &mut Tally,
    ) -> Result<(), Fault>;

    /// Whether [`Client::fill`] may have something to start; asked every turn.
    fn may_start(&self) -> bool;

    /// Appends the requests that start now.
    fn fill(&mut self, now: Instant, outbox: &mut Outbox);

    /// Requests without an answer.
    fn outstanding(&self) -> u32;

    /// Whether the client has started everything that it will.
    fn is_exhausted(&self) -> bool;

    /// A burst begins.
    fn begin(&mut self, now: Instant, phase: Phase);

    /// A burst ends: nothing more is to be started.
    fn stop(&mut self, now: Instant, tally: &mut Tally);

    /// Says goodbye.
    fn log_out(&mut self, outbox: &mut Outbox);

    /// Whether the goodbye was answered.
    fn is_logged_out(&self) -> bool;
}

/// What a burst is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The workload.
    Load,
    /// Everything that was written is read back and judged.
    ReadBack,
}

/// When a burst ends, if the clients do not come to an end by themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) phase: Phase,
    /// How long requests are started; without limit if `None`.
    pub(super) duration: Option<Duration>,
    /// How often a sample is handed out.
    pub(super) interval: Duration,
    /// How long a connection may stay silent with requests outstanding.
    pub(super) timeout: Duration,
}

/// What was measured in a stretch of a burst.
#[derive(Debug)]
pub(super) struct Sample {
    /// From the burst's begin to the stretch's.
    pub(super) start: Duration,
    /// How long the stretch was; the last one ends with the last answer.
    pub(super) length: Duration,
    /// By job.
    pub(super) tallies: Vec<Tally>,
    /// I/Os of each connection that ended with GOOD.
    pub(super) sessions: Vec<(Place, u64)>,
    pub(super) work: Work,
}

/// Whose a connection's figures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which tally.
    pub(super) job: usize,
    /// Which session of that job.
    pub(super) session: usize,
}

#[derive(Debug)]
struct Port<C> {
    socket: Socket,
    outbox: Outbox,
    client: C,
    place: Place,
    /// I/Os of the present stretch that ended with GOOD.
    ios: u64,
    heard: Instant,
}

/// The connections of one thread.
pub(super) struct Engine<C> {
    ports: Vec<Port<C>>,
    jobs: usize,
    buffer: Vec<u8>,
    epoll: Option<OwnedFd>,
    events: Vec<epoll::Event>,
    tallies: Vec<Tally>,
    work: Work,
    yielding: bool,
}

impl<C: Client> Engine<C> {
    /// An engine without connections, for clients of `jobs` jobs. One that yields gives its core up
    /// after a turn that found nothing.
    pub(super) fn new(jobs: usize, yielding: bool) -> Self {
        Self {
            ports: Vec::new(),
            jobs,
            buffer: vec![0; RECEIVE_BYTES],
            epoll: None,
            events: Vec::with_capacity(EVENTS_MAX),
            tallies: fresh_tallies(jobs),
            work: Work::default(),
            yielding,
        }
    }

    /// Takes a connection over.
    ///
    /// # Errors
    /// When epoll is needed and can't be had.
    pub(super) fn add(
        &mut self,
        socket: Socket,
        outbox: Outbox,
        client: C,
        place: Place,
    ) -> io::Result<()> {
        self.ports.push(Port {
            socket,
            outbox,
            client,
            place,
            ios: 0,
            heard: Instant::now(),
        });
        match &self.epoll {
            Some(_) => self.watch(self.ports.len() - 1),
            None if self.ports.len() > SPIN_SOCKETS_MAX => {
                self.epoll = Some(epoll::create(epoll::CreateFlags::CLOEXEC)?);
                (0..self.ports.len()).try_for_each(|index| self.watch(index))
            }
            None => Ok(()),
        }
    }

    fn watch(&self, index: usize) -> io::Result<()> {
        let Some(epoll) = &self.epoll else {
            return Ok(());
        };
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(
            epoll,
            &self.ports[index].socket,
            data,
            epoll::EventFlags::IN,
        )?;
        Ok(())
    }

    /// The job of the connection that was added as the `index`th.
    pub(super) fn job(&self, index: usize) -> usize {
        self.ports.get(index).map_or(0, |port| port.place.job)
    }

    /// Runs until `span` is over, `stopped` says so or all clients are exhausted, and then until
    /// nothing is outstanding. Hands a sample to `sink` after each interval, and the last one at the
    /// end, whether or not a connection failed.
    ///
    /// # Errors
    /// When a connection failed: which one, and why. What its requests had not answered by then is
    /// in no tally.
    pub(super) fn burst(
        &mut self,
        span: &Span,
        mut stopped: impl FnMut() -> bool,
        mut sink: impl FnMut(Sample),
    ) -> Result<(), (usize, Fault)> {
        let begin = Instant::now();
        let end = span.duration.map(|duration| begin + duration);
        let (mut running, mut idle) = (true, 0_u32);
        let (mut since, mut last_answer) = (begin, begin);
        let cpu_before = cpu::thread_time();
        let mut cpu_counted = Duration::ZERO;
        for port in &mut self.ports {
            port.heard = begin;
            port.client.begin(begin, span.phase);
        }
        let result = loop {
            let heard = match self.turn(running) {
                Ok(heard) => heard,
                Err(failed) => break Err(failed),
            };
            match heard {
                Some(now) => {
                    idle = 0;
                    last_answer = now;
                }
                None => {
                    idle = idle.wrapping_add(1);
                    if self.yielding {
                        rustix::thread::sched_yield();
                    }
                    if !self.yielding && !idle.is_multiple_of(IDLE_TURNS) {
                        continue;
                    }
                }
            }
            let now = heard.unwrap_or_else(Instant::now);
            if running {
                let is_over = end.is_some_and(|end| now >= end)
                    || stopped()
                    || self.ports.iter().all(|port| port.client.is_exhausted());
                if is_over {
                    running = false;
                    for port in &mut self.ports {
                        port.client.stop(now, &mut self.tallies[port.place.job]);
                    }
                }
            }
            if !running && self.is_quiet() {
                break Ok(());
            }
            if heard.is_none()
                && let Err(failed) = self.check_silence(now, span.timeout)
            {
                break Err(failed);
            }
            if running && now.since(since) >= span.interval {
                let cpu = cpu::thread_time().saturating_sub(cpu_before);
                sink(self.sample(begin, since, now, cpu.saturating_sub(cpu_counted)));
                (since, cpu_counted) = (now, cpu);
            }
        };
        let cpu = cpu::thread_time().saturating_sub(cpu_before);
        let until = last_answer.max(since);
        sink(self.sample(begin, since, until, cpu.saturating_sub(cpu_counted)));
        result
    }

    /// Takes in what comes between bursts, and answers pings.
    ///
    /// # Errors
    /// When a connection failed.
    pub(super) fn rest(&mut self) -> Result<(), (usize, Fault)> {
        self.turn(false).map(|_| ())
    }

    /// One turn over all sockets. When bytes came: by when.
    fn turn(&mut self, running: bool) -> Result<Option<Instant>, (usize, Fault)> {
        let mut heard = None;
        if self.epoll.is_none() {
            for index in 0..self.ports.len() {
                heard = self.listen(index)?.or(heard);
                self.speak(index, running)?;
            }
            return Ok(heard);
        }
        self.wait().map_err(|error| (0, Fault::Io(error)))?;
        for at in 0..self.events.len() {
            let index = usize::try_from(self.events[at].data.u64()).unwrap_or(usize::MAX);
            heard = self.listen(index)?.or(heard);
            self.speak(index, running)?;
        }
        // Those whose time has come, and those that could not send all that they had.
        (0..self.ports.len()).try_for_each(|index| self.speak(index, running))?;
        Ok(heard)
    }

    /// Asks which sockets have something, without waiting.
    fn wait(&mut self) -> io::Result<()> {
        self.events.clear();
        let Some(epoll) = &self.epoll else {
            return Ok(());
        };
        let at_once = Timespec::default();
        match epoll::wait(epoll, spare_capacity(&mut self.events), Some(&at_once)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives once from a socket.
    fn listen(&mut self, index: usize) -> Result<Option<Instant>, (usize, Fault)> {
        let port = &mut self.ports[index];
        let bytes = match port.socket.receive(&mut self.buffer) {
            Ok(None) => {
                self.work.receives_empty += 1;
                return Ok(None);
            }
            Ok(Some(0)) => return Err((index, Fault::Closed)),
            Ok(Some(bytes)) => bytes,
            Err(error) => return Err((index, Fault::Io(error))),
        };
        self.work.receives += 1;
        let now = Instant::now();
        port.heard = now;
        let tally = &mut self.tallies[port.place.job];
        let before = tally.ios();
        let received = port
            .client
            .receive(now, &self.buffer[..bytes], &mut port.outbox, tally);
        port.ios += tally.ios() - before;
        received.map_err(|fault| (index, fault))?;
        Ok(Some(now))
    }

    /// Starts what may start on a connection, and sends what it has to say.
    fn speak(&mut self, index: usize, running: bool) -> Result<(), (usize, Fault)> {
        let port = &mut self.ports[index];
        if running && port.client.may_start() {
            let now = Instant::now();
            if port.client.outstanding() == 0 {
                port.heard = now;
            }
            port.client.fill(now, &mut port.outbox);
        }
        while !port.outbox.is_empty() {
            match port.socket.send(&mut port.outbox) {
                Ok(true) => self.work.sends += 1,
                Ok(false) => return Ok(()),
                Err(error) => return Err((index, Fault::Io(error))),
            }
        }
        Ok(())
    }

    /// Says goodbye on all connections, and waits a moment for the answers.
    pub(super) fn close(&mut self) {
        for port in &mut self.ports {
            port.client.log_out(&mut port.outbox);
        }
        let begin = Instant::now();
        // Whatever goes wrong now, it is over.
        while self.turn(false).is_ok()
            && !self.ports.iter().all(|port| port.client.is_logged_out())
            && Instant::now().since(begin) < GOODBYE_TIMEOUT
        {
            rustix::thread::sched_yield();
        }
    }

    fn is_quiet(&self) -> bool {
        self.ports
            .iter()
            .all(|port| port.client.outstanding() == 0 && port.outbox.is_empty())
    }

    fn check_silence(&self, now: Instant, timeout: Duration) -> Result<(), (usize, Fault)> {
        let is_silent =
            |port: &Port<C>| port.client.outstanding() > 0 && now.since(port.heard) > timeout;
        match self.ports.iter().position(is_silent) {
            None => Ok(()),
            Some(index) => {
                let outstanding = self.ports[index].client.outstanding();
                let after = timeout;
                Err((index, Fault::Silent { after, outstanding }))
            }
        }
    }

    /// Takes out what was measured from `since` to `until`.
    fn sample(&mut self, begin: Instant, since: Instant, until: Instant, cpu: Duration) -> Sample {
        let tallies = std::mem::replace(&mut self.tallies, fresh_tallies(self.jobs));
        let work = std::mem::take(&mut self.work);
        let ports = self.ports.iter_mut();
        let sessions = ports.map(|port| (port.place, std::mem::take(&mut port.ios)));
        Sample {
            sessions: sessions.collect(),
            start: since.since(begin),
            length: until.since(since),
            tallies,
            work: Work { cpu, ..work },
        }
    }
}

fn fresh_tallies(jobs: usize) -> Vec<Tally> {
    std::iter::repeat_with(Tally::default).take(jobs).collect()
}

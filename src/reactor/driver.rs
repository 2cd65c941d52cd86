//! The kernel's side of a reactor: its ring, its epoll instance, its buffers.

use super::config::Config;
use crate::base::buffer::{Arena, Pool};
use crate::base::doorbell::Doorbell;
use crate::ring::{FileHandle, Op, Owner, Ring, Token};
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

/// Events that one poll of epoll takes in.
const EVENTS_MAX: usize = 512;
/// How long a reactor waits at most while its ring had no room to watch the doorbell.
const DEAF_WAIT_MAX: Duration = Duration::from_millis(1);
const DOORBELL: mio::Token = mio::Token(usize::MAX);
const RING: mio::Token = mio::Token(usize::MAX - 1);

/// An epoll instance and what it last said.
#[derive(Debug)]
pub struct Readiness {
    poll: mio::Poll,
    events: mio::Events,
}

impl Readiness {
    fn new() -> io::Result<Self> {
        Ok(Self {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(EVENTS_MAX),
        })
    }

    /// Where sources are registered. The two highest tokens are the reactor's own.
    #[must_use]
    pub fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// What became ready in this tick, edge-triggered.
    pub fn events(&self) -> impl Iterator<Item = &mio::event::Event> {
        self.events
            .iter()
            .filter(|event| event.token() != DOORBELL && event.token() != RING)
    }

    /// Polls, and returns whether the doorbell was rung.
    fn poll(&mut self, wait: Duration) -> io::Result<bool> {
        let limit = (wait != Duration::MAX).then_some(wait);
        match self.poll.poll(&mut self.events, limit) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(self.events.iter().any(|event| event.token() == DOORBELL)),
        }
    }
}

/// What a reactor polls and what its rooms work with. There is a ring or an epoll instance or both;
/// with both, epoll watches the ring.
#[derive(Debug)]
pub struct Driver {
    /// The io_uring, where configured.
    pub ring: Option<Ring>,
    /// The epoll instance, where configured.
    pub readiness: Option<Readiness>,
    /// Payload memory.
    pub pool: Pool,
    /// The doorbell's descriptor, for the ring to poll, and whether it does.
    bell: FileHandle,
    bell_watched: bool,
}

impl Driver {
    /// Made on the reactor's own thread, because the ring stays there.
    pub(super) fn new(
        config: &Config,
        pool: Pool,
        arenas: &[Arc<Arena>],
        doorbell: &Doorbell,
    ) -> io::Result<Self> {
        let mut ring = config.ring.map(Ring::new).transpose()?;
        if let Some(ring) = ring.as_mut().filter(|_| config.register_arenas)
            && let Err(error) = ring.register_arenas(arenas)
        {
            tracing::warn!(%error, "arenas not registered: the kernel pins the pages of each disk request instead; raise RLIMIT_MEMLOCK");
        }
        let readiness = match config.readiness || ring.is_none() {
            true => Some(Readiness::new()?),
            false => None,
        };
        let bell = FileHandle::from(doorbell.as_fd().try_clone_to_owned()?);
        let mut driver = Self {
            ring,
            readiness,
            pool,
            bell,
            bell_watched: false,
        };
        driver.watch()?;
        Ok(driver)
    }

    fn watch(&mut self) -> io::Result<()> {
        let Some(readiness) = &self.readiness else {
            return Ok(());
        };
        let interest = mio::Interest::READABLE;
        let bell = self.bell.as_fd().as_raw_fd();
        readiness
            .registry()
            .register(&mut SourceFd(&bell), DOORBELL, interest)?;
        if let Some(ring) = &self.ring {
            let ring = ring.as_fd().as_raw_fd();
            readiness
                .registry()
                .register(&mut SourceFd(&ring), RING, interest)?;
        }
        Ok(())
    }

    /// Has the ring complete when the doorbell rings, unless the ring is full now.
    fn watch_doorbell(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        let op = Op::PollIn {
            file: self.bell.clone(),
        };
        self.bell_watched = ring.submit(op, Token::new(Owner::Reactor, 0)).is_ok();
    }

    /// Sees to it that a ring of the doorbell ends a wait.
    fn hears_the_bell(&mut self) -> bool {
        if !self.bell_watched {
            self.watch_doorbell();
        }
        self.bell_watched
    }

    /// Passes on what was submitted and takes in what happened; waits at most `wait` for it.
    pub(super) fn drive(&mut self, wait: Option<Duration>, doorbell: &Doorbell) -> io::Result<()> {
        let wait = match wait {
            Some(limit) if !self.hears_the_bell() => Some(limit.min(DEAF_WAIT_MAX)),
            wait => wait,
        };
        let rung = match (&mut self.ring, &mut self.readiness) {
            (Some(ring), None) => {
                ring.enter(wait)?;
                ring.completion(Owner::Reactor).is_some()
            }
            (None, Some(readiness)) => readiness.poll(wait.unwrap_or_default())?,
            (Some(ring), Some(readiness)) => {
                ring.enter(None)?;
                let wait = wait.filter(|_| !ring.has_completions() && !ring.is_polling());
                let rung = readiness.poll(wait.unwrap_or_default())?;
                ring.enter(None)?;
                rung
            }
            (None, None) => unreachable!("a driver is made with one or the other"),
        };
        if rung {
            doorbell.clear();
            self.bell_watched = self.readiness.is_some();
        }
        Ok(())
    }
}

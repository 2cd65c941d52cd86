//! A target whose reactors have no threads: whoever owns one takes its ticks and says what time it is.
//!
//! For counting instructions and for simulation. Connections come in by a pair of sockets instead of
//! the network; from there on everything is as on a core, socket engine, login and backends included.

use super::core::Core;
use super::handle::{ControlRequest, Target, TargetConfig, prepare};
use super::message::Message;
use crate::base::clock::Instant;
use crate::reactor::{self, Seat};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

type MakeCore = dyn Fn(Seat<'_>) -> io::Result<Core> + Send + Sync;

/// The place of one reactor of a target, to be taken on the thread that will step it.
pub struct Berth {
    berth: reactor::Berth<Message>,
    make: Arc<MakeCore>,
}

impl Berth {
    /// A target and the places of its reactors; no volume and no portal yet. [`Target`]'s methods
    /// wait for the reactors, all of which have to be stepped meanwhile ([`step_while`]); only
    /// [`Target::stop`] does not: there is nothing to stop.
    ///
    /// # Errors
    /// When the machine can't give what the configuration asks for.
    pub fn make(config: TargetConfig) -> io::Result<(Target, Vec<Self>)> {
        let (shared, reactors, make) = prepare(config)?;
        let make: Arc<MakeCore> = Arc::new(make);
        let berths = reactor::Berth::make(reactors)?;
        shared.set_senders(berths.iter().map(reactor::Berth::sender).collect());
        let berths = berths.into_iter().map(|berth| Self {
            berth,
            make: Arc::clone(&make),
        });
        Ok((Target::assemble(shared, None), berths.collect()))
    }

    /// Makes the reactor, on this thread for good.
    ///
    /// # Errors
    /// When a ring, an epoll instance or memory for received bytes cannot be had.
    pub fn take(self) -> io::Result<Stepped> {
        let reactor = self.berth.take(|seat| (self.make)(seat))?;
        Ok(Stepped { reactor })
    }
}

impl std::fmt::Debug for Berth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.berth.fmt(f)
    }
}

/// One reactor of a target.
#[derive(Debug)]
pub struct Stepped {
    reactor: reactor::Stepped<Core>,
}

impl Stepped {
    /// One tick at `now`, which must not go backwards. Returns whether there was anything to do.
    ///
    /// # Errors
    /// When the ring or the epoll instance breaks.
    #[inline]
    pub fn step(&mut self, now: Instant) -> io::Result<bool> {
        self.reactor.step(now)
    }

    /// A connection of `peer` to the portal of that number, counted in the order in which they were
    /// opened: the initiator's end of it. It is taken in by the next tick.
    ///
    /// # Errors
    /// When there are no descriptors, or too many messages wait for the reactor.
    pub fn connect(&self, portal: u32, peer: SocketAddr) -> io::Result<UnixStream> {
        let (initiator, target) = UnixStream::pair()?;
        let stream = TcpStream::from(OwnedFd::from(target));
        let request: ControlRequest =
            Box::new(move |core, turn| core.accepted(portal, stream, peer, turn));
        let sent = self.reactor.sender().send(Message::Control(request));
        sent.map_err(|_| io::Error::other("the reactor's queue is full"))?;
        Ok(initiator)
    }
}

/// Steps `reactors` in turn, at `now`, until `work`, on a thread of its own, has ended.
///
/// # Errors
/// When a ring or an epoll instance breaks, or `work` panics.
pub fn step_while<R: Send>(
    reactors: &mut [Stepped],
    now: Instant,
    work: impl FnOnce() -> R + Send,
) -> io::Result<R> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        while !thread.is_finished() {
            for reactor in &mut *reactors {
                reactor.step(now)?;
            }
            std::thread::yield_now();
        }
        let ended = thread.join();
        ended.map_err(|_| io::Error::other("the work panicked"))
    })
}

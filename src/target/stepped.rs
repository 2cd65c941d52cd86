//! A target on one reactor that has no thread: its owner takes the ticks and says what time it is.
//!
//! For counting instructions and for simulation. Connections come in by a pair of sockets instead of
//! the network; from there on everything is as on a core, socket engine, login and backends included.

use super::core::Core;
use super::handle::{ControlRequest, Target, TargetConfig, prepare};
use super::message::Message;
use crate::base::clock::Instant;
use crate::reactor;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The reactor of a target.
#[derive(Debug)]
pub struct Stepped {
    reactor: reactor::Stepped<Core>,
}

impl Stepped {
    /// A target and its reactor; no volume and no portal yet. How the reactor is placed and idles
    /// does not count. [`Target`]'s methods wait for the reactor: call them by
    /// [`Stepped::step_while`], but for [`Target::stop`], which has nothing to stop.
    ///
    /// # Errors
    /// When the machine can't give what the configuration asks for.
    pub fn start(mut config: TargetConfig) -> io::Result<(Target, Self)> {
        config.reactors.placement = reactor::Placement::Anywhere(1);
        let (shared, reactors, make) = prepare(config)?;
        let reactor = reactor::Stepped::new(&reactors, make)?;
        shared.set_senders(vec![reactor.sender()]);
        Ok((
            Target::assemble(Arc::clone(&shared), None),
            Self { reactor },
        ))
    }

    /// One tick at `now`, which must not go backwards. Returns whether there was anything to do.
    ///
    /// # Errors
    /// When the ring or the epoll instance breaks.
    #[inline]
    pub fn step(&mut self, now: Instant) -> io::Result<bool> {
        self.reactor.step(now)
    }

    /// Takes ticks at `now` until `work`, on a thread of its own, has ended.
    ///
    /// # Errors
    /// When the ring or the epoll instance breaks, or `work` panics.
    pub fn step_while<R: Send>(
        &mut self,
        now: Instant,
        work: impl FnOnce() -> R + Send,
    ) -> io::Result<R> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(work);
            while !thread.is_finished() {
                self.step(now)?;
                std::thread::yield_now();
            }
            let ended = thread.join();
            ended.map_err(|_| io::Error::other("the work panicked"))
        })
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

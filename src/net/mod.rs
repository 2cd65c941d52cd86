//! Layer 5: sockets. Bytes in and out, by io_uring or by mio (epoll), behind one API.
//!
//! A [`Net`] belongs to one reactor and never blocks. Bytes come only when asked for, one
//! [`Net::receive`] at a time, so a connection whose owner is busy fills the kernel's buffer and
//! slows its own peer and nobody else. What happened comes out of [`Net::poll`] as [`NetEvent`]s.
//!
//! ```text
//!   adopt ──▶ open ──── receive ──▶ Received          detach ──▶ (another reactor's adopt)
//!              │  ▲                                      ▲
//!              │  ├──── send ─────▶ Sent                 └ only with nothing in flight
//!              │  └──── withdraw ─▶ Withdrawn            (duplicate likewise)
//!              └ close, end of stream, error ──▶ what is in flight ends ──▶ Closed
//! ```
//!
//! `Closed` comes exactly once for each adopted socket that is not detached, after the last of its
//! operations has ended; the id is stale from then on. Nothing here knows what a PDU is.

mod config;
mod direct;
mod epoll;
mod listener;
mod receive;
#[cfg(test)]
mod tests;
mod uring;

pub use config::{NetConfig, SocketOptions};
pub use receive::{RECEIVE_BYTES, RECEIVE_BYTES_MAX, RecvBuffer};

use crate::base::clock::Instant;
use crate::base::gather::{Gather, Lender};
use crate::base::slots::SlotKey;
use crate::reactor::Driver;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Operations in the reactor's io_uring.
    Uring,
    /// Readiness from epoll, through mio, and plain system calls.
    Mio,
}

/// Names one socket from [`Net::adopt`] to its `Closed` or detachment; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(SlotKey);

impl SocketId {
    /// The socket's position, below `sockets_max`, for tables beside this one.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0.index()
    }
}

/// Names one listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(SlotKey);

/// What happened to sockets.
#[derive(Debug)]
pub enum NetEvent {
    /// A connection came in, with the configured options set. Nobody owns it yet: adopt it here or
    /// on another reactor, or drop it.
    Accepted {
        /// The number given to [`Net::listen`].
        portal: u32,
        /// The connection.
        stream: TcpStream,
        /// Who connected.
        peer: SocketAddr,
    },
    /// The bytes that [`Net::receive`] asked for, at least one.
    Received {
        /// The socket.
        id: SocketId,
        /// The bytes; give them back with [`Net::recycle`].
        bytes: RecvBuffer,
    },
    /// All of a gather list is with the kernel.
    Sent {
        /// The socket.
        id: SocketId,
        /// The list as it was sent, to be cleared and used again.
        gather: Gather,
    },
    /// What [`Net::withdraw`] took back; nothing is in flight.
    Withdrawn {
        /// The socket.
        id: SocketId,
        /// A list that was on its way, and how many of its bytes are with the kernel.
        unsent: Option<(Gather, usize)>,
    },
    /// The socket is gone.
    Closed {
        /// The socket.
        id: SocketId,
        /// Why, unless the peer ended the stream or [`Net::close`] was called.
        error: Option<io::Error>,
    },
}

/// What became of a list that [`Net::send`] took.
#[derive(Debug)]
pub enum SendOutcome {
    /// All of it is with the kernel already. Here it is, to be cleared and used again; no event
    /// follows.
    Done(Gather),
    /// `Sent` follows, or `Closed`.
    Underway,
}

/// An operation is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the socket has an operation in flight, or is gone")]
pub struct Busy;

/// The sockets of one reactor. All calls take the reactor's [`Driver`], always the same.
#[derive(Debug)]
pub struct Net {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Uring(uring::UringNet),
    Mio(epoll::MioNet),
}

/// Calls the same method of whichever engine it is.
macro_rules! engine {
    ($self:ident, $net:ident => $call:expr) => {
        match &mut $self.inner {
            Inner::Uring($net) => $call,
            Inner::Mio($net) => $call,
        }
    };
}

impl Net {
    /// Sockets by the configured engine.
    ///
    /// # Errors
    /// When there is no memory for receive buffers, or `driver` lacks what the engine works with: a
    /// ring for io_uring, an epoll instance for mio.
    pub fn new(config: NetConfig, driver: &mut Driver) -> io::Result<Self> {
        let inner = match config.engine {
            Engine::Uring => Inner::Uring(uring::UringNet::new(config, driver)?),
            Engine::Mio => Inner::Mio(epoll::MioNet::new(config, driver)?),
        };
        Ok(Self { inner })
    }

    /// Sockets adopted and not closed or detached.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match &self.inner {
            Inner::Uring(net) => net.sockets(),
            Inner::Mio(net) => net.sockets(),
        }
    }

    /// Accepts connections from `listener`, IPv4 or IPv6, until [`Net::stop_listening`]. `portal`
    /// comes back with each of them.
    ///
    /// # Errors
    /// When the listener cannot be prepared or watched.
    pub fn listen(
        &mut self,
        driver: &mut Driver,
        listener: TcpListener,
        portal: u32,
    ) -> io::Result<ListenerId> {
        engine!(self, net => net.listen(driver, listener, portal))
    }

    /// Accepts no more from a listener and closes it. A connection that was being accepted may be
    /// dropped.
    pub fn stop_listening(&mut self, driver: &mut Driver, id: ListenerId) {
        engine!(self, net => net.stop_listening(driver, id));
    }

    /// Takes a connection over.
    ///
    /// # Errors
    /// When there are as many sockets as configured, or the connection cannot be prepared or
    /// watched; it is closed then.
    pub fn adopt(&mut self, driver: &mut Driver, stream: TcpStream) -> io::Result<SocketId> {
        engine!(self, net => net.adopt(driver, stream))
    }

    /// Gives a connection up, for another reactor to adopt. No byte is lost: what has not been
    /// received waits in the kernel.
    ///
    /// # Errors
    /// When something is in flight (a receive asked for included), or the socket is gone.
    pub fn detach(&mut self, driver: &mut Driver, id: SocketId) -> Result<TcpStream, Busy> {
        engine!(self, net => net.detach(driver, id))
    }

    /// Takes back what is in flight on a socket: `Withdrawn` follows, after the `Received` and the `Sent`
    /// of what could not be taken back any more, or `Closed`. No byte is lost, and none is sent twice.
    /// Nothing is to be asked of the socket meanwhile.
    pub fn withdraw(&mut self, driver: &mut Driver, id: SocketId) {
        engine!(self, net => net.withdraw(driver, id));
    }

    /// Another handle of a socket with nothing in flight, for another process.
    ///
    /// # Errors
    /// When something is in flight, the socket is gone, or descriptors run out.
    pub fn duplicate(&self, id: SocketId) -> io::Result<TcpStream> {
        match &self.inner {
            Inner::Uring(net) => net.duplicate(id),
            Inner::Mio(net) => net.duplicate(id),
        }
    }

    /// Makes a socket this engine's again: another process that had a handle of it may have prepared it
    /// for another engine.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn reclaim(&self, id: SocketId) -> io::Result<()> {
        match &self.inner {
            Inner::Uring(net) => net.reclaim(id),
            Inner::Mio(net) => net.reclaim(id),
        }
    }

    /// Listeners, those included that have been stopped and have an accept in flight.
    #[must_use]
    pub fn listeners(&self) -> usize {
        match &self.inner {
            Inner::Uring(net) => net.listeners(),
            Inner::Mio(net) => net.listeners(),
        }
    }

    /// Asks for bytes, once: one `Received` follows, or `Closed`. Asking again before that, or
    /// asking a socket that is gone, does nothing. A direct receive takes no more than `bytes_max`;
    /// others take what fits their buffer.
    pub fn receive(&mut self, driver: &mut Driver, id: SocketId, bytes_max: usize) {
        match &mut self.inner {
            Inner::Uring(net) => net.receive(driver, id, bytes_max),
            Inner::Mio(net) => net.receive(driver, id),
        }
    }

    /// Sends all of `gather`, at once or with a `Sent` to follow. What is lent of it is sent at once or
    /// copied, so that nothing is when this returns.
    ///
    /// # Errors
    /// The list itself, when the socket is gone or going.
    ///
    /// # Panics
    /// If a send is in flight on this socket.
    pub fn send(
        &mut self,
        driver: &mut Driver,
        id: SocketId,
        gather: Gather,
        lender: &dyn Lender,
    ) -> Result<SendOutcome, Gather> {
        engine!(self, net => net.send(driver, id, gather, lender))
    }

    /// Whether [`Net::send`] goes straight to the kernel, and so gains nothing by waiting for the
    /// end of the tick.
    #[must_use]
    pub fn sends_at_once(&self, id: SocketId) -> bool {
        match &self.inner {
            Inner::Uring(net) => net.sends_at_once(id),
            Inner::Mio(net) => net.sends_at_once(id),
        }
    }

    /// Closes a socket, dropping what has not been sent. `Closed` follows.
    pub fn close(&mut self, driver: &mut Driver, id: SocketId) {
        engine!(self, net => net.close(driver, id));
    }

    /// Appends what happened since the last call to `events`, a bounded amount. To be called once
    /// per tick. Returns whether there was anything.
    pub fn poll(&mut self, driver: &mut Driver, now: Instant, events: &mut Vec<NetEvent>) -> bool {
        let before = events.len();
        engine!(self, net => net.poll(driver, now, events));
        events.len() > before
    }

    /// Receives from the next socket that is received from directly in this tick. To be called after
    /// [`Net::poll`], and again each time that what came is dealt with and given back, until there is
    /// no more: all sockets then share one buffer in turn, which the nearest cache holds.
    pub fn receive_next(&mut self, driver: &mut Driver) -> Option<NetEvent> {
        match &mut self.inner {
            Inner::Uring(net) => net.receive_next(driver),
            // Receives in `poll`.
            Inner::Mio(_) => None,
        }
    }

    /// To be called from [`App::park`](crate::reactor::App::park): leaves nothing that only polling
    /// would find. Returns whether [`Net::poll`] has something to do at once.
    pub fn park(&mut self, driver: &mut Driver) -> bool {
        engine!(self, net => net.park(driver))
    }

    /// When [`Net::poll`] wants to be called even if nothing happens: to try again what failed for
    /// want of buffers or descriptors.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.inner {
            Inner::Uring(net) => net.next_deadline(),
            Inner::Mio(net) => net.next_deadline(),
        }
    }

    /// Takes a receive buffer back by the direct way.
    pub fn recycle(&mut self, bytes: RecvBuffer) {
        engine!(self, net => net.recycle(bytes));
    }
}

/// A socket on its way out.
#[derive(Debug)]
struct Ending {
    /// What `Closed` will say.
    error: Option<io::Error>,
    /// Whether a send in flight is cut short; after the end of the peer's stream it is not, because
    /// a peer that has only stopped sending may still read.
    abort: bool,
}

impl Ending {
    /// Notes why a socket goes. After the end of the stream an error still counts; once what is in
    /// flight is being cut short, nothing does. Returns whether it is.
    fn note(ending: &mut Option<Self>, error: Option<io::Error>, abort: bool) -> bool {
        match ending {
            Some(Self { abort: true, .. }) => true,
            _ => {
                *ending = Some(Self { error, abort });
                abort
            }
        }
    }
}

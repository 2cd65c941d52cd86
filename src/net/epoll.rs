//! Sockets by mio: edge-triggered readiness from epoll, and plain non-blocking system calls.
//!
//! Every receive and send is tried before its readiness is waited for; only an attempt that finds
//! nothing says that the socket is not ready, and only an edge says that it is again.

use super::direct::{self, Sender};
use super::listener::{self, LISTENERS_MAX, Listener};
use super::receive::{RECEIVE_BYTES, ReceivePool, RecvBuffer};
use super::{Busy, Ending, ListenerId, NetConfig, NetEvent, SendOutcome, SocketId};
use crate::base::clock::Instant;
use crate::base::gather::{Gather, Lender, Nobody};
use crate::base::slots::{SlotKey, Slots};
use crate::reactor::{Driver, Readiness};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Sockets that one poll serves; the rest come first in the next.
const SOCKETS_PER_POLL: usize = 256;
/// Connections that one poll accepts of one listener.
const ACCEPTS_PER_POLL: usize = 16;
/// System calls that one turn of a socket spends on sending.
const SENDS_PER_TURN: usize = 4;
/// How long until a receive that found no buffer is tried again, if nothing happens before.
const STARVED_RETRY: Duration = Duration::from_millis(1);
/// Tells listeners from sockets in epoll's tokens: no slot has so high an index.
const LISTENER: u64 = 1 << 31;

#[derive(Debug)]
struct Outgoing {
    gather: Gather,
    skip: usize,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// A receive was asked for.
    receiving: bool,
    sending: Option<Outgoing>,
    /// Whether trying may find something; cleared by an attempt, set by an edge.
    readable: bool,
    writable: bool,
    /// The end of the stream or an error was announced, and no further edge will come for it.
    hung_up: bool,
    /// Whether it stands in the queue.
    queued: bool,
    ending: Option<Ending>,
}

/// The engine.
#[derive(Debug)]
pub(super) struct MioNet {
    config: NetConfig,
    sockets: Slots<Socket>,
    listeners: Slots<Listener<TcpListener>>,
    pool: ReceivePool,
    /// Sockets that may have something to do.
    queue: VecDeque<SlotKey>,
    /// Listeners that may have connections waiting.
    accepting: Vec<SlotKey>,
    pending: Vec<NetEvent>,
    sender: Sender,
    retry_at: Option<Instant>,
}

/// The epoll instance is there: `new` saw it.
fn readiness(driver: &Driver) -> &Readiness {
    match &driver.readiness {
        Some(readiness) => readiness,
        None => unreachable!("a reactor keeps its epoll instance"),
    }
}

fn token(bits: u64) -> mio::Token {
    // Epoll's data is 64 bits wide, and so is `usize` wherever there is io_uring or epoll to choose.
    mio::Token(usize::try_from(bits).unwrap_or(usize::MAX))
}

fn watch(
    registry: &Registry,
    file: &impl AsRawFd,
    bits: u64,
    interest: Interest,
) -> io::Result<()> {
    registry.register(&mut SourceFd(&file.as_raw_fd()), token(bits), interest)
}

fn unwatch(driver: &Driver, file: &impl AsRawFd) {
    if let Err(error) = readiness(driver)
        .registry()
        .deregister(&mut SourceFd(&file.as_raw_fd()))
    {
        tracing::debug!(%error, "a socket was not watched");
    }
}

impl MioNet {
    pub(super) fn new(config: NetConfig, driver: &Driver) -> io::Result<Self> {
        if driver.readiness.is_none() {
            let text = "sockets by mio need a reactor with an epoll instance";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Ok(Self {
            sockets: Slots::bounded(config.sockets_max),
            listeners: Slots::bounded(LISTENERS_MAX),
            pool: ReceivePool::new(config.receive_bytes)?,
            queue: VecDeque::new(),
            accepting: Vec::new(),
            pending: Vec::new(),
            sender: Sender::default(),
            retry_at: None,
            config,
        })
    }

    pub(super) const fn sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn recycle(&mut self, bytes: RecvBuffer) {
        self.pool.recycle(bytes);
    }

    pub(super) fn listen(
        &mut self,
        driver: &Driver,
        socket: TcpListener,
        portal: u32,
    ) -> io::Result<ListenerId> {
        listener::prepare(&socket, &self.config.options, true)?;
        let key = self
            .listeners
            .insert(Listener::new(portal, socket))
            .map_err(|_| too_many())?;
        if let Some(listener) = self.listeners.get(key) {
            let registry = readiness(driver).registry();
            let bits = key.to_bits() | LISTENER;
            if let Err(error) = watch(registry, &listener.socket, bits, Interest::READABLE) {
                self.listeners.remove(key);
                return Err(error);
            }
        }
        Ok(ListenerId(key))
    }

    pub(super) fn stop_listening(&mut self, driver: &Driver, id: ListenerId) {
        if let Some(listener) = self.listeners.remove(id.0) {
            unwatch(driver, &listener.socket);
        }
    }

    pub(super) fn adopt(&mut self, driver: &Driver, stream: TcpStream) -> io::Result<SocketId> {
        stream.set_nonblocking(true)?;
        let socket = Socket {
            stream,
            receiving: false,
            sending: None,
            readable: true,
            writable: true,
            hung_up: false,
            queued: false,
            ending: None,
        };
        let key = self.sockets.insert(socket).map_err(|_| too_many())?;
        if let Some(socket) = self.sockets.get(key) {
            let registry = readiness(driver).registry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = watch(registry, &socket.stream, key.to_bits(), interest) {
                self.sockets.remove(key);
                return Err(error);
            }
        }
        Ok(SocketId(key))
    }

    pub(super) fn detach(&mut self, driver: &Driver, id: SocketId) -> Result<TcpStream, Busy> {
        let socket = self.sockets.get(id.0).ok_or(Busy)?;
        if socket.receiving || socket.sending.is_some() || socket.ending.is_some() {
            return Err(Busy);
        }
        let socket = self.sockets.remove(id.0).ok_or(Busy)?;
        unwatch(driver, &socket.stream);
        Ok(socket.stream)
    }

    /// Nothing is ever with the kernel between two calls.
    pub(super) fn withdraw(&mut self, _: &Driver, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.0) else {
            return;
        };
        if socket.ending.is_none() {
            socket.receiving = false;
            let unsent = socket.sending.take().map(|out| (out.gather, out.skip));
            self.pending.push(NetEvent::Withdrawn { id, unsent });
        }
    }

    pub(super) fn duplicate(&self, id: SocketId) -> io::Result<TcpStream> {
        match self.sockets.get(id.0) {
            Some(socket) if !socket.receiving && socket.sending.is_none() => {
                socket.stream.try_clone()
            }
            _ => Err(in_flight()),
        }
    }

    pub(super) fn reclaim(&self, id: SocketId) -> io::Result<()> {
        let socket = self.sockets.get(id.0);
        socket.map_or(Ok(()), |socket| socket.stream.set_nonblocking(true))
    }

    pub(super) const fn listeners(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn receive(&mut self, _: &Driver, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id.0)
            && socket.ending.is_none()
        {
            socket.receiving = true;
            self.enqueue(id.0);
        }
    }

    pub(super) fn send(
        &mut self,
        driver: &Driver,
        id: SocketId,
        mut gather: Gather,
        lender: &dyn Lender,
    ) -> Result<SendOutcome, Gather> {
        let Some(socket) = self.sockets.get_mut(id.0) else {
            return Err(gather);
        };
        if socket.ending.is_some() {
            return Err(gather);
        }
        assert!(socket.sending.is_none(), "one send at a time on a socket");
        if gather.lent_bytes() > 0 {
            // An error comes again below, and is dealt with there.
            let sent = self.sender.send(&socket.stream, &gather, 0, lender);
            let sent = sent.ok().flatten().unwrap_or(0);
            if sent == gather.len() {
                return Ok(SendOutcome::Done(gather));
            }
            gather.own(sent, lender);
        }
        socket.sending = Some(Outgoing { gather, skip: 0 });
        if let Some(gather) = self.write(driver, id.0) {
            return Ok(SendOutcome::Done(gather));
        }
        self.enqueue_if_ready(id.0);
        Ok(SendOutcome::Underway)
    }

    pub(super) fn sends_at_once(&self, id: SocketId) -> bool {
        self.sockets
            .get(id.0)
            .is_some_and(|socket| socket.writable && socket.sending.is_none())
    }

    pub(super) fn close(&mut self, driver: &Driver, id: SocketId) {
        self.end(driver, id.0, None, true);
    }

    pub(super) fn park(&mut self, _: &Driver) -> bool {
        let queued = !self.queue.is_empty() && self.retry_at.is_none();
        queued || !self.pending.is_empty() || !self.accepting.is_empty()
    }

    pub(super) fn poll(&mut self, driver: &Driver, now: Instant, events: &mut Vec<NetEvent>) {
        for event in readiness(driver).events() {
            self.became_ready(event);
        }
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.wake_listeners(now);
        }
        for key in std::mem::take(&mut self.accepting) {
            self.accept(key, now);
        }
        for _ in 0..self.queue.len().min(SOCKETS_PER_POLL) {
            let Some(key) = self.queue.pop_front() else {
                break;
            };
            self.serve(driver, key, now);
        }
        events.append(&mut self.pending);
    }

    fn became_ready(&mut self, event: &mio::event::Event) {
        let bits = event.token().0 as u64;
        if bits & LISTENER != 0 {
            self.accepting.push(SlotKey::from_bits(bits & !LISTENER));
            return;
        }
        let key = SlotKey::from_bits(bits);
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        // Hang-ups and errors show themselves to whoever reads or writes.
        socket.hung_up |= event.is_read_closed() || event.is_error();
        socket.readable |= event.is_readable() || socket.hung_up;
        socket.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.enqueue_if_ready(key);
    }

    /// One turn of one socket.
    fn serve(&mut self, driver: &Driver, key: SlotKey, now: Instant) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.queued = false;
        if socket.sending.is_some()
            && socket.writable
            && let Some(gather) = self.write(driver, key)
        {
            let id = SocketId(key);
            self.pending.push(NetEvent::Sent { id, gather });
            self.finish(driver, key);
        }
        let starved = self.read(driver, key);
        if starved {
            self.retry_by(now + STARVED_RETRY);
        }
        self.enqueue_if_ready(key);
    }

    /// Receives once if that was asked for. Returns whether it would have, but for want of a buffer.
    fn read(&mut self, driver: &Driver, key: SlotKey) -> bool {
        let Some(socket) = self.sockets.get_mut(key) else {
            return false;
        };
        if !socket.receiving || !socket.readable {
            return false;
        }
        let Some(mut buffer) = self.pool.allocate() else {
            return true;
        };
        match direct::receive(&socket.stream, &mut buffer) {
            Ok(Some(count @ 1..)) => {
                socket.receiving = false;
                // A short read took all there was (epoll(7)); what comes next makes an edge.
                socket.readable = count == RECEIVE_BYTES || socket.hung_up;
                let bytes = RecvBuffer::new(buffer);
                self.pending.push(NetEvent::Received {
                    id: SocketId(key),
                    bytes,
                });
                return false;
            }
            Ok(None) => socket.readable = false,
            Ok(_) => self.end(driver, key, None, false),
            Err(error) => self.end(driver, key, Some(error), true),
        }
        self.pool.give_back(buffer);
        false
    }

    /// Sends until all is sent, the socket takes no more, or the turn is over. Returns what has been
    /// sent as a whole.
    fn write(&mut self, driver: &Driver, key: SlotKey) -> Option<Gather> {
        let socket = self.sockets.get_mut(key)?;
        let mut outgoing = socket.sending.take()?;
        for _ in 0..SENDS_PER_TURN {
            if outgoing.skip == outgoing.gather.len() {
                return Some(outgoing.gather);
            }
            match self
                .sender
                .send(&socket.stream, &outgoing.gather, outgoing.skip, &Nobody)
            {
                Ok(Some(bytes)) => outgoing.skip += bytes,
                Ok(None) => {
                    socket.writable = false;
                    break;
                }
                Err(error) => {
                    self.end(driver, key, Some(error), true);
                    return None;
                }
            }
        }
        socket.sending = Some(outgoing);
        None
    }

    /// Lets a socket go, after what it is sending unless that is cut short.
    fn end(&mut self, driver: &Driver, key: SlotKey, error: Option<io::Error>, abort: bool) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.receiving = false;
        let cut_short = Ending::note(&mut socket.ending, error, abort);
        if cut_short {
            socket.sending = None;
        }
        self.finish(driver, key);
    }

    fn finish(&mut self, driver: &Driver, key: SlotKey) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.sending.is_some() {
            return;
        }
        if let Some(ending) = socket.ending.take() {
            unwatch(driver, &socket.stream);
            self.sockets.remove(key);
            self.pending.push(NetEvent::Closed {
                id: SocketId(key),
                error: ending.error,
            });
        }
    }

    fn enqueue_if_ready(&mut self, key: SlotKey) {
        let Some(socket) = self.sockets.get(key) else {
            return;
        };
        let can_read = socket.receiving && socket.readable;
        let can_write = socket.sending.is_some() && socket.writable;
        if can_read || can_write {
            self.enqueue(key);
        }
    }

    fn enqueue(&mut self, key: SlotKey) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !std::mem::replace(&mut socket.queued, true)
        {
            self.queue.push_back(key);
        }
    }

    fn accept(&mut self, key: SlotKey, now: Instant) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        if listener.resting_until.is_some() {
            return;
        }
        for _ in 0..ACCEPTS_PER_POLL {
            match listener.socket.accept() {
                Ok((stream, peer)) => {
                    self.pending.extend(listener.accepted(
                        stream,
                        Some(peer),
                        &self.config.options,
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if listener.failed(&error, now) => {}
                Err(_) => {
                    let until = listener.resting_until;
                    until.into_iter().for_each(|until| self.retry_by(until));
                    return;
                }
            }
        }
        self.accepting.push(key);
    }

    fn wake_listeners(&mut self, now: Instant) {
        for key in self.listeners.keys() {
            let Some(listener) = self.listeners.get_mut(key) else {
                continue;
            };
            if listener.wakes(now) {
                self.accepting.push(key);
            } else if let Some(until) = listener.resting_until {
                self.retry_by(until);
            }
        }
    }

    fn retry_by(&mut self, at: Instant) {
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }
}

fn in_flight() -> io::Error {
    io::Error::other(Busy)
}

fn too_many() -> io::Error {
    io::Error::other("as many sockets as configured are open")
}

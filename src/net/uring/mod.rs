//! Sockets by io_uring.
//!
//! Receives take their buffer from those lent to the kernel when bytes arrive, so that sockets at
//! rest hold none. The number lent starts small, because the kernel uses them in turn and few stay
//! in the cache, and grows when it runs out. Where the kernel takes none (before Linux 5.19), sockets
//! are polled for readiness and received from directly.
//!
//! While the reactor polls, some sockets are *direct* ([`places`]): system calls of their own receive and
//! send at once. When more sockets speak than there are places, none is direct, so that all are served
//! alike.

mod accepting;
mod places;
mod transfer;

use super::direct::Sender;
use super::listener::{self, LISTENERS_MAX, Listener};
use super::receive::{RECEIVE_BYTES, ReceivePool, RecvBuffer};
use super::{Busy, Ending, ListenerId, NetConfig, NetEvent, SendOutcome, SocketId};
use crate::base::clock::Instant;
use crate::base::gather::{Gather, Lender};
use crate::base::slots::{SlotKey, Slots};
use crate::reactor::Driver;
use crate::ring::{FileHandle, Owner, Ring, Ticket};
use places::{Places, Speaker, Turns};
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// Completions that one poll takes in.
const COMPLETIONS_PER_POLL: usize = 1024;
/// Buffers lent at first.
const LENT_MIN: usize = 8;
/// Buffers that are not lent where there are direct sockets: each of these gives back what it was given
/// before the next one is tried.
const KEPT_BACK: usize = 16;
/// How long until a receive that found no buffer is tried again, if nothing happens before.
const STARVED_RETRY: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum Receiving {
    No,
    /// Wants to, once there is a buffer or room in the ring.
    Queued,
    /// Is tried at each poll of this `Net`.
    Polled,
    InFlight(Ticket),
}

#[derive(Debug)]
enum Sending {
    No,
    /// Wants to, once there is room in the ring.
    Queued {
        gather: Gather,
        skip: usize,
    },
    InFlight(Ticket),
}

#[derive(Debug)]
struct Socket {
    handle: FileHandle,
    receiving: Receiving,
    sending: Sending,
    /// Bytes that a direct receive may take.
    bytes_max: usize,
    /// Whether the last receive left nothing behind.
    likely_empty: bool,
    /// Whether it is received from and sent to by system calls of its own.
    speaker: Speaker,
    /// What is in flight is being taken back.
    withdrawal: Option<Withdrawal>,
    ending: Option<Ending>,
}

/// What has come back of it so far.
#[derive(Debug, Default)]
struct Withdrawal {
    unsent: Option<(Gather, usize)>,
}

#[derive(Debug)]
struct Accepting {
    handle: FileHandle,
    ticket: Option<Ticket>,
    /// Goes when the accept in flight has ended.
    stopped: bool,
}

/// The engine.
#[derive(Debug)]
pub(super) struct UringNet {
    config: NetConfig,
    sockets: Slots<Socket>,
    listeners: Slots<Listener<Accepting>>,
    pool: ReceivePool,
    /// Buffers with the kernel, and how many there should be.
    lent: usize,
    lent_wanted: usize,
    /// Never more: sockets that are polled directly have only the others. The kernel keeps what it was
    /// lent until bytes come, so that they would wait for ever if it had all.
    lent_max: usize,
    /// Sockets with something queued.
    queue: VecDeque<SlotKey>,
    /// Who is direct.
    places: Places,
    /// Sockets to be tried in each tick.
    turns: Turns,
    /// Events that came up between polls.
    pending: Vec<NetEvent>,
    sender: Sender,
    retry_at: Option<Instant>,
}

/// The ring is there: `new` saw it.
fn ring(driver: &mut Driver) -> &mut Ring {
    match &mut driver.ring {
        Some(ring) => ring,
        None => unreachable!("a reactor keeps its ring"),
    }
}

impl UringNet {
    pub(super) fn new(config: NetConfig, driver: &mut Driver) -> io::Result<Self> {
        if driver.ring.is_none() {
            let text = "sockets by io_uring need a reactor with a ring";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let buffers = config.receive_bytes / RECEIVE_BYTES;
        let direct = config.direct_sockets_max as usize;
        let lent_max = buffers - direct.min(KEPT_BACK).min(buffers / 2);
        let mut net = Self {
            sockets: Slots::bounded(config.sockets_max),
            listeners: Slots::bounded(LISTENERS_MAX),
            pool: ReceivePool::new(config.receive_bytes)?,
            lent: 0,
            lent_wanted: LENT_MIN.min(lent_max),
            lent_max,
            queue: VecDeque::new(),
            places: Places::new(direct),
            turns: Turns::default(),
            pending: Vec::new(),
            sender: Sender::default(),
            retry_at: None,
            config,
        };
        net.lend(ring(driver));
        Ok(net)
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
        driver: &mut Driver,
        socket: TcpListener,
        portal: u32,
    ) -> io::Result<ListenerId> {
        listener::prepare(&socket, &self.config.options, false)?;
        let accepting = Accepting {
            handle: socket.into(),
            ticket: None,
            stopped: false,
        };
        let listener = Listener::new(portal, accepting);
        let key = self.listeners.insert(listener).map_err(|_| too_many())?;
        self.accept(ring(driver), key, Instant::ZERO);
        Ok(ListenerId(key))
    }

    pub(super) fn stop_listening(&mut self, driver: &mut Driver, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(id.0) else {
            return;
        };
        listener.socket.stopped = true;
        match listener.socket.ticket {
            Some(ticket) => ring(driver).cancel(ticket),
            None => drop(self.listeners.remove(id.0)),
        }
    }

    pub(super) fn adopt(&mut self, _: &mut Driver, stream: TcpStream) -> io::Result<SocketId> {
        // The kernel would not wait on a non-blocking socket.
        stream.set_nonblocking(false)?;
        let socket = Socket {
            handle: stream.into(),
            receiving: Receiving::No,
            sending: Sending::No,
            bytes_max: 0,
            likely_empty: false,
            speaker: Speaker::new(),
            withdrawal: None,
            ending: None,
        };
        self.sockets
            .insert(socket)
            .map(SocketId)
            .map_err(|_| too_many())
    }

    pub(super) fn detach(&mut self, _: &mut Driver, id: SocketId) -> Result<TcpStream, Busy> {
        let socket = self.sockets.get(id.0).ok_or(Busy)?;
        if !socket.is_quiet() || socket.ending.is_some() {
            return Err(Busy);
        }
        let socket = self.remove(id.0).ok_or(Busy)?;
        // Every operation that had a handle has ended, so this is the last one.
        socket
            .handle
            .into_owned()
            .map(TcpStream::from)
            .map_err(|_| Busy)
    }

    pub(super) fn withdraw(&mut self, driver: &mut Driver, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.0) else {
            return;
        };
        if socket.ending.is_some() {
            return;
        }
        let mut withdrawal = Withdrawal::default();
        match socket.receiving {
            Receiving::InFlight(ticket) => ring(driver).cancel(ticket),
            _ => socket.receiving = Receiving::No,
        }
        match socket.sending {
            Sending::InFlight(ticket) => ring(driver).cancel(ticket),
            _ => withdrawal.unsent = socket.sending.take_queued(),
        }
        socket.withdrawal = Some(withdrawal);
        self.finish_withdrawal(id.0);
    }

    /// Tells what was taken back, once nothing is in flight.
    fn finish_withdrawal(&mut self, key: SlotKey) {
        if let Some(socket) = self.sockets.get_mut(key).filter(|socket| socket.is_quiet())
            && let Some(Withdrawal { unsent }) = socket.withdrawal.take()
        {
            let id = SocketId(key);
            self.pending.push(NetEvent::Withdrawn { id, unsent });
        }
    }

    pub(super) fn duplicate(&self, id: SocketId) -> io::Result<TcpStream> {
        let socket = self.sockets.get(id.0).filter(|socket| socket.is_quiet());
        let socket = socket.ok_or_else(|| io::Error::other(Busy))?;
        Ok(socket.handle.as_fd().try_clone_to_owned()?.into())
    }

    pub(super) fn reclaim(&self, id: SocketId) -> io::Result<()> {
        let Some(socket) = self.sockets.get(id.0) else {
            return Ok(());
        };
        Ok(rustix::io::ioctl_fionbio(&socket.handle, false)?)
    }

    pub(super) const fn listeners(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn receive(&mut self, driver: &mut Driver, id: SocketId, bytes_max: usize) {
        let Some(socket) = self.sockets.get_mut(id.0) else {
            return;
        };
        if socket.ending.is_some() || !matches!(socket.receiving, Receiving::No) {
            return;
        }
        socket.bytes_max = bytes_max;
        self.places.assign(&mut socket.speaker);
        if socket.speaker.is_direct() {
            socket.receiving = Receiving::Polled;
            self.turns.join(id.0);
        } else {
            self.start_receive(ring(driver), id.0);
        }
    }

    pub(super) fn send(
        &mut self,
        driver: &mut Driver,
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
        assert!(
            matches!(socket.sending, Sending::No),
            "one send at a time on a socket"
        );
        let mut sent = 0;
        if socket.speaker.is_direct() {
            // An error comes again from the ring, and is dealt with there.
            if let Ok(Some(bytes)) = self.sender.send(&socket.handle, &gather, 0, lender) {
                sent = bytes;
            }
        }
        if sent == gather.len() {
            return Ok(SendOutcome::Done(gather));
        }
        if gather.lent_bytes() > 0 {
            gather.own(std::mem::take(&mut sent), lender);
        }
        self.start_send(ring(driver), id.0, gather, sent);
        Ok(SendOutcome::Underway)
    }

    pub(super) fn sends_at_once(&self, id: SocketId) -> bool {
        self.sockets
            .get(id.0)
            .is_some_and(|socket| socket.speaker.is_direct())
    }

    pub(super) fn close(&mut self, driver: &mut Driver, id: SocketId) {
        self.end(ring(driver), id.0, None, true);
    }

    pub(super) fn park(&mut self, driver: &mut Driver) -> bool {
        for key in self.turns.disband() {
            if self.sockets.get(key).is_some_and(Socket::is_polled) {
                self.start_receive(ring(driver), key);
            }
        }
        !self.pending.is_empty() || (!self.queue.is_empty() && self.retry_at.is_none())
    }

    pub(super) fn poll(&mut self, driver: &mut Driver, now: Instant, events: &mut Vec<NetEvent>) {
        let ring = ring(driver);
        self.places.begin(now);
        for _ in 0..COMPLETIONS_PER_POLL {
            let Some(completion) = ring.completion(Owner::Net) else {
                break;
            };
            self.complete(ring, completion, now);
        }
        if self.lent < self.lent_wanted {
            self.lend(ring);
        }
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.wake_listeners(ring, now);
        }
        if !self.queue.is_empty() {
            self.run_queue(ring, now);
        }
        self.turns.begin();
        if !self.pending.is_empty() {
            events.append(&mut self.pending);
        }
    }

    pub(super) fn receive_next(&mut self, driver: &mut Driver) -> Option<NetEvent> {
        self.receive_directly(ring(driver))
    }

    fn remove(&mut self, key: SlotKey) -> Option<Socket> {
        let mut socket = self.sockets.remove(key)?;
        self.places.give_up(&mut socket.speaker);
        Some(socket)
    }

    /// Lets a socket go as soon as nothing of it is in flight.
    fn end(&mut self, ring: &mut Ring, key: SlotKey, error: Option<io::Error>, abort: bool) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let cut_short = Ending::note(&mut socket.ending, error, abort);
        match socket.receiving {
            Receiving::InFlight(ticket) => ring.cancel(ticket),
            _ => socket.receiving = Receiving::No,
        }
        socket.withdrawal = None;
        if cut_short {
            match socket.sending {
                Sending::InFlight(ticket) => ring.cancel(ticket),
                _ => socket.sending = Sending::No,
            }
        }
        self.finish(key);
    }

    fn finish(&mut self, key: SlotKey) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if !socket.is_quiet() {
            return;
        }
        if let Some(ending) = socket.ending.take() {
            self.remove(key);
            self.pending.push(NetEvent::Closed {
                id: SocketId(key),
                error: ending.error,
            });
        }
    }

    fn retry_by(&mut self, at: Instant) {
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Sending {
    /// What is queued; it is no longer then.
    fn take_queued(&mut self) -> Option<(Gather, usize)> {
        match std::mem::replace(self, Self::No) {
            Self::Queued { gather, skip } => Some((gather, skip)),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Socket {
    const fn is_quiet(&self) -> bool {
        matches!(
            (&self.receiving, &self.sending),
            (Receiving::No, Sending::No)
        )
    }

    const fn is_polled(&self) -> bool {
        matches!(self.receiving, Receiving::Polled)
    }
}

fn too_many() -> io::Error {
    io::Error::other("as many sockets as configured are open")
}

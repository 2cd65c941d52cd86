//! Receives and sends: starting them, and what becomes of them.

use super::{Receiving, STARVED_RETRY, Sending, UringNet};
use crate::base::clock::Instant;
use crate::base::gather::Gather;
use crate::base::slots::SlotKey;
use crate::net::direct;
use crate::net::receive::RecvBuffer;
use crate::net::{NetEvent, SocketId};
use crate::ring::{Completion, Op, Owner, Ring, Token};
use std::io;

impl UringNet {
    pub(super) fn complete(&mut self, ring: &mut Ring, completion: Completion, now: Instant) {
        let key = SlotKey::from_bits(completion.token.value);
        match completion.op {
            Op::Receive { buffer, .. } => {
                self.lent -= usize::from(buffer.is_some());
                let bytes = buffer.map(RecvBuffer::new);
                self.received(
                    ring,
                    key,
                    completion.result,
                    bytes,
                    completion.more_to_receive,
                );
            }
            Op::Send { gather, skip, .. } => self.sent(ring, key, completion.result, gather, skip),
            Op::PollIn { .. } => self.became_readable(ring, key, completion.result),
            Op::Accept { accepted, .. } => {
                self.accepted(ring, key, completion.result, accepted, now)
            }
            other => tracing::error!(?other, "an operation that no socket asked for"),
        }
    }

    fn received(
        &mut self,
        ring: &mut Ring,
        key: SlotKey,
        result: io::Result<u32>,
        bytes: Option<RecvBuffer>,
        more: bool,
    ) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.receiving = Receiving::No;
        socket.likely_empty = !more;
        let wanted = socket.ending.is_none();
        let withdrawn = socket.withdrawal.is_some();
        match (result, bytes) {
            (Err(error), None) if withdrawn && (is_passing(&error) || was_taken_back(&error)) => {}
            (Ok(1..), Some(bytes)) if wanted => {
                self.places.spoke(&mut socket.speaker);
                self.pending.push(NetEvent::Received {
                    id: SocketId(key),
                    bytes,
                });
            }
            (Err(error), _) if wanted && no_buffer(&error) => {
                let room = self.lent + ring.provided_vacancies();
                self.lent_wanted = (self.lent_wanted * 2).min(room).min(self.lent_max);
                self.queue_receive(key);
            }
            (Err(error), None) if wanted && is_passing(&error) => {
                self.queue_receive(key);
            }
            (result, bytes) => {
                if let Some(bytes) = bytes {
                    self.pool.recycle(bytes);
                }
                let error = result.err();
                let abort = error.is_some();
                self.end(ring, key, error, abort);
            }
        }
        if withdrawn {
            self.forget_queued_receive(key);
            self.finish_withdrawal(key);
        }
    }

    /// The way without lent buffers: the bytes are there, and are fetched directly.
    fn became_readable(&mut self, ring: &mut Ring, key: SlotKey, result: io::Result<u32>) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.receiving = Receiving::No;
        if socket.withdrawal.is_some() {
            return self.finish_withdrawal(key);
        }
        match result {
            Ok(_) if socket.ending.is_none() => {
                socket.receiving = Receiving::Polled;
                self.turns.join(key);
            }
            Ok(_) => self.finish(key),
            Err(error) => self.end(ring, key, Some(error), true),
        }
    }

    fn sent(
        &mut self,
        ring: &mut Ring,
        key: SlotKey,
        result: io::Result<u32>,
        gather: Gather,
        skip: usize,
    ) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.sending = Sending::No;
        if socket.ending.as_ref().is_some_and(|ending| ending.abort) {
            return self.finish(key);
        }
        if let Some(withdrawal) = &mut socket.withdrawal {
            let sent = match &result {
                Ok(bytes) => Some(*bytes as usize),
                Err(error) if is_passing(error) || was_taken_back(error) => Some(0),
                Err(_) => None,
            };
            if let Some(sent) = sent.filter(|sent| skip + sent < gather.len()) {
                withdrawal.unsent = Some((gather, skip + sent));
                return self.finish_withdrawal(key);
            }
        }
        match result {
            Ok(bytes) if skip + bytes as usize == gather.len() => {
                self.pending.push(NetEvent::Sent {
                    id: SocketId(key),
                    gather,
                });
                self.finish_withdrawal(key);
                self.finish(key);
            }
            Ok(bytes @ 1..) => self.start_send(ring, key, gather, skip + bytes as usize),
            Ok(0) => self.end(ring, key, Some(io::ErrorKind::WriteZero.into()), true),
            Err(error) if is_passing(&error) => self.start_send(ring, key, gather, skip),
            Err(error) => self.end(ring, key, Some(error), true),
        }
    }

    /// Receives into a lent buffer when bytes come; without those, only waits for bytes to come.
    pub(super) fn start_receive(&mut self, ring: &mut Ring, key: SlotKey) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let (handle, poll_first) = (socket.handle.clone(), socket.likely_empty);
        let op = if ring.features().provided_buffers {
            Op::Receive {
                socket: handle,
                buffer: None,
                poll_first,
            }
        } else {
            Op::PollIn { file: handle }
        };
        match ring.submit(op, Token::new(Owner::Net, key.to_bits())) {
            Ok(ticket) => socket.receiving = Receiving::InFlight(ticket),
            Err(_) => self.queue_receive(key),
        }
    }

    pub(super) fn start_send(
        &mut self,
        ring: &mut Ring,
        key: SlotKey,
        gather: Gather,
        skip: usize,
    ) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let op = Op::Send {
            socket: socket.handle.clone(),
            gather,
            skip,
        };
        match ring.submit(op, Token::new(Owner::Net, key.to_bits())) {
            Ok(ticket) => socket.sending = Sending::InFlight(ticket),
            Err(Op::Send { gather, skip, .. }) => {
                socket.sending = Sending::Queued { gather, skip };
                self.queue.push_back(key);
            }
            Err(_) => unreachable!("the ring hands back what it was given"),
        }
    }

    /// A receive that was to be tried again is not, where it is being taken back.
    fn forget_queued_receive(&mut self, key: SlotKey) {
        if let Some(socket) = self.sockets.get_mut(key)
            && matches!(socket.receiving, Receiving::Queued)
        {
            socket.receiving = Receiving::No;
        }
    }

    fn queue_receive(&mut self, key: SlotKey) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.receiving = Receiving::Queued;
            self.queue.push_back(key);
        }
    }

    /// Starts what is queued, as far as there are buffers and room.
    pub(super) fn run_queue(&mut self, ring: &mut Ring, now: Instant) {
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else {
                break;
            };
            let Some(socket) = self.sockets.get_mut(key) else {
                continue;
            };
            if let Some((gather, skip)) = socket.sending.take_queued() {
                self.start_send(ring, key, gather, skip);
            }
            if self
                .sockets
                .get(key)
                .is_some_and(|s| matches!(s.receiving, Receiving::Queued))
            {
                if ring.features().provided_buffers && self.lent == 0 {
                    self.queue.push_back(key);
                } else {
                    self.start_receive(ring, key);
                }
            }
        }
        if !self.queue.is_empty() {
            self.retry_by(now + STARVED_RETRY);
        }
    }

    /// Keeps the wanted number of buffers with the kernel.
    pub(super) fn lend(&mut self, ring: &mut Ring) {
        if !ring.features().provided_buffers {
            return;
        }
        while self.lent < self.lent_wanted {
            let Some(buffer) = self.pool.allocate() else {
                break;
            };
            if let Err(buffer) = ring.provide(buffer) {
                self.pool.give_back(buffer);
                break;
            }
            self.lent += 1;
        }
    }

    /// Tries the sockets that are polled, until one has something or all that were on the list at
    /// [`UringNet::poll`] have been tried. Those that have nothing stay on the list, unless others want
    /// their place.
    pub(super) fn receive_directly(&mut self, ring: &mut Ring) -> Option<NetEvent> {
        self.turns.current()?;
        let mut buffer = self.pool.allocate_direct()?;
        let sockets = self.sockets.len();
        let all_keep = self.places.all_keep(sockets);
        while let Some(key) = self.turns.current() {
            let Some(socket) = self.sockets.get_mut(key).filter(|s| s.is_polled()) else {
                self.turns.leave();
                continue;
            };
            buffer.set_len(socket.bytes_max.clamp(1, buffer.capacity()));
            let received = direct::receive(&socket.handle, &mut buffer);
            let speaker = &mut socket.speaker;
            if matches!(received, Ok(None))
                && (all_keep || !speaker.is_direct() || self.places.keeps(speaker, sockets))
            {
                self.turns.stay();
                continue;
            }
            self.turns.leave();
            socket.receiving = Receiving::No;
            match received {
                Ok(None) => {
                    self.places.give_up(&mut socket.speaker);
                    self.start_receive(ring, key);
                }
                Ok(Some(1..)) => {
                    self.places.spoke(&mut socket.speaker);
                    return Some(NetEvent::Received {
                        id: SocketId(key),
                        bytes: RecvBuffer::new(buffer),
                    });
                }
                Ok(_) => self.end(ring, key, None, false),
                Err(error) => self.end(ring, key, Some(error), true),
            }
        }
        self.pool.give_back(buffer);
        None
    }
}

fn no_buffer(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// What a cancelled operation that had not done anything ends with.
fn was_taken_back(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

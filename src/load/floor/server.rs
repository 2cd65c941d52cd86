//! The server of the raw echo: no protocol work at all.

use std::io::{self, IoSlice};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::super::cpu;
use super::super::engine::Socket;
use super::super::plan::SocketOptions;
use super::super::tally::Direction;
use super::super::workload::mix;
use super::{EchoShape, EchoSides, HEADER_BYTES, Payload};
use crate::base::buffer::{Buffer, Pool};
use crate::base::limits::BUFFER_BYTES_MAX;

/// Bytes of the set of [`Payload::Ram`].
const SET_BYTES: usize = 256 << 20;
const RECEIVE_BYTES: usize = 512 << 10;
/// Answers by reference that one send carries at most: two slices each.
const ANSWERS_MAX: usize = 32;
/// Bytes of the answers that are made beforehand.
const CANNED_BYTES: usize = 1 << 20;
const HEADER: [u8; HEADER_BYTES] = [0x25; HEADER_BYTES];

const ASLEEP: u8 = 0;
const AWAKE: u8 = 1;
const OVER: u8 = 2;

/// A server thread. Dropped, it ends.
#[derive(Debug)]
pub(super) struct EchoServer {
    state: Arc<AtomicU8>,
    readiness: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Accepts the connections of `shape` on a thread of its own, and answers when awake.
    ///
    /// # Errors
    /// When the thread can't be had.
    pub(super) fn start(
        listener: TcpListener,
        shape: EchoShape,
        sides: EchoSides,
    ) -> io::Result<Self> {
        let state = Arc::new(AtomicU8::new(ASLEEP));
        let (ready, readiness) = bounded(1);
        let thread = std::thread::Builder::new().name("echo".to_owned()).spawn({
            let state = Arc::clone(&state);
            move || {
                let made = cpu::pin(&sides.cores.server, 0)
                    .and_then(|_| Echo::accept(&listener, shape, &sides.sockets));
                match made {
                    Ok(mut echo) => {
                        // Whoever does not wait for it drops the server.
                        let _ = ready.send(Ok(()));
                        echo.serve(&state, sides.yielding);
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            }
        })?;
        Ok(Self {
            state,
            readiness,
            thread: Some(thread),
        })
    }

    /// Waits until all connections are accepted.
    ///
    /// # Errors
    /// What kept the server from it.
    pub(super) fn ready(&self) -> io::Result<()> {
        let gone = || Err(io::Error::other("the echo server ended early"));
        self.readiness.recv().unwrap_or_else(|_| gone())
    }

    pub(super) fn wake(&self) {
        self.enter(AWAKE);
    }

    pub(super) fn sleep(&self) {
        self.enter(ASLEEP);
    }

    fn enter(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.enter(OVER);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported on its own thread.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Peer {
    socket: Socket,
    /// Bytes of a request that is not complete.
    partial: usize,
    /// Requests without an answer.
    owed: usize,
    /// Bytes of the first of their answers that are sent, and which piece of the set it has.
    sent: usize,
    first: u64,
}

#[derive(Debug)]
struct Echo {
    shape: EchoShape,
    peers: Vec<Peer>,
    buffer: Vec<u8>,
    set: Set,
}

impl Echo {
    fn accept(
        listener: &TcpListener,
        shape: EchoShape,
        sockets: &SocketOptions,
    ) -> io::Result<Self> {
        let mut peers = Vec::with_capacity(shape.connections);
        for connection in 0..shape.connections {
            let (stream, _) = listener.accept()?;
            peers.push(Peer {
                socket: Socket::adopt(stream, sockets)?,
                partial: 0,
                owed: 0,
                sent: 0,
                first: first_request(connection),
            });
        }
        Ok(Self {
            shape,
            peers,
            buffer: vec![0; RECEIVE_BYTES],
            set: Set::new(shape)?,
        })
    }

    fn serve(&mut self, state: &AtomicU8, yielding: bool) {
        loop {
            match state.load(Ordering::Acquire) {
                OVER => return,
                ASLEEP => std::thread::park(),
                _ => {
                    let mut busy = false;
                    for index in 0..self.peers.len() {
                        match self.turn(index) {
                            Ok(more) => busy |= more,
                            // The client is gone, or sees the same error.
                            Err(_) => return,
                        }
                    }
                    if yielding && !busy {
                        rustix::thread::sched_yield();
                    }
                }
            }
        }
    }

    /// Receives once from a connection and answers what is complete. Whether anything came.
    fn turn(&mut self, index: usize) -> io::Result<bool> {
        let peer = &mut self.peers[index];
        let came = match peer.socket.receive(&mut self.buffer)? {
            None => false,
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(bytes) => {
                let request = request_bytes(self.shape);
                if self.shape.direction == Direction::Write {
                    self.set.take_in(&self.buffer[..bytes], peer.first);
                }
                peer.partial += bytes;
                peer.owed += peer.partial / request;
                peer.partial %= request;
                true
            }
        };
        while peer.owed > 0 && answer(peer, self.shape, &self.set)? {}
        Ok(came)
    }
}

/// The number of a connection's first request. They are far apart: with the same numbers all would have the
/// same places of the set one after the other, which would be cold for the first alone.
fn first_request(connection: usize) -> u64 {
    (connection as u64) << 40
}

fn request_bytes(shape: EchoShape) -> usize {
    match shape.direction {
        Direction::Read => HEADER_BYTES,
        Direction::Write => HEADER_BYTES + shape.bytes as usize,
    }
}

fn answer_bytes(shape: EchoShape) -> usize {
    match shape.direction {
        Direction::Read => HEADER_BYTES + shape.bytes as usize,
        Direction::Write => HEADER_BYTES,
    }
}

/// Sends answers that are owed, many at once. `false` if the socket takes nothing now.
fn answer(peer: &mut Peer, shape: EchoShape, set: &Set) -> io::Result<bool> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let answer_bytes = answer_bytes(shape);
    let sent = if set.is_empty() || shape.direction == Direction::Write {
        let end = (peer.owed * answer_bytes).min(set.canned.len());
        send(&peer.socket, &set.canned[peer.sent..end], flags)
    } else {
        let mut slices = [IoSlice::new(&[]); 2 * ANSWERS_MAX];
        let mut count = 0;
        let mut skip = peer.sent;
        for number in (peer.first..).take(peer.owed.min(ANSWERS_MAX)) {
            for part in [&HEADER[..], set.piece(number)] {
                let cut = skip.min(part.len());
                skip -= cut;
                if cut < part.len() {
                    slices[count] = IoSlice::new(&part[cut..]);
                    count += 1;
                }
            }
        }
        let mut control = SendAncillaryBuffer::default();
        sendmsg(&peer.socket, &slices[..count], &mut control, flags)
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let whole = (peer.sent + sent) / answer_bytes;
    peer.sent = (peer.sent + sent) % answer_bytes;
    peer.owed -= whole;
    peer.first += whole as u64;
    Ok(true)
}

/// The payloads of the server.
#[derive(Debug)]
struct Set {
    blocks: Vec<Buffer>,
    /// Whole answers, behind each other.
    canned: Vec<u8>,
    piece_bytes: usize,
}

impl Set {
    fn new(shape: EchoShape) -> io::Result<Self> {
        let (piece_bytes, answer_bytes) = (shape.bytes as usize, answer_bytes(shape));
        let mut blocks = Vec::new();
        if shape.payload == Payload::Ram {
            let mut pool = Pool::new(SET_BYTES, 0)?;
            // Fresh memory of the kernel is one page of zeros until it is written.
            while let Some(mut block) = pool.allocate(BUFFER_BYTES_MAX) {
                block.fill(0x5a);
                blocks.push(block);
            }
        }
        Ok(Self {
            blocks,
            canned: vec![0x5a; (CANNED_BYTES / answer_bytes).max(1) * answer_bytes],
            piece_bytes,
        })
    }

    /// Where the payload of request `number` is: the block, and the first byte in it.
    fn place(&self, number: u64) -> Option<(usize, usize)> {
        let per_block = BUFFER_BYTES_MAX / self.piece_bytes.max(1);
        let places = (self.blocks.len() * per_block) as u64;
        let place = mix(number).checked_rem(places)?;
        let place = usize::try_from(place).unwrap_or(0);
        Some((place / per_block, place % per_block * self.piece_bytes))
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn piece(&self, number: u64) -> &[u8] {
        self.place(number).map_or(&[], |(block, start)| {
            &self.blocks[block][start..start + self.piece_bytes]
        })
    }

    /// Copies received bytes into the set, each stretch of a payload's length to a place of its own.
    fn take_in(&mut self, bytes: &[u8], first: u64) {
        if self.is_empty() {
            return;
        }
        for (number, piece) in (first..).zip(bytes.chunks(self.piece_bytes)) {
            if let Some((block, start)) = self.place(number) {
                self.blocks[block][start..start + piece.len()].copy_from_slice(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn connections_have_places_of_their_own() {
        let set = Set::new(EchoShape {
            direction: Direction::Write,
            bytes: 4096,
            connections: 16,
            depth: 8,
            payload: Payload::Ram,
        })
        .unwrap();
        let numbers = (0..16).flat_map(|connection| (first_request(connection)..).take(8));
        let places: HashSet<_> = numbers.map(|number| set.place(number).unwrap()).collect();
        assert!(places.len() > 120, "{} of 128", places.len());
    }
}

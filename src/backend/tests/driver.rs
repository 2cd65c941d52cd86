//! One reactor's part: a channel, and all that drives it.

use crate::backend::*;
use crate::base::buffer::{Buffer, Pool};
use crate::base::clock::Instant;
use crate::base::doorbell::Doorbell;
use crate::ring::{Owner, Ring, RingConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A test that waits longer than that has lost a completion.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Driver {
    pub(super) channel: Box<dyn Channel>,
    ring: Option<Ring>,
    pool: Pool,
    bell: Arc<Doorbell>,
    ready: BTreeMap<u64, Completion>,
    /// Tokens in the order in which they completed.
    pub(super) order: Vec<u64>,
    next_token: u64,
}

/// A small ring, which overflows; `None` where the system has none.
pub(super) fn small_ring() -> Option<Ring> {
    Ring::new(RingConfig {
        submissions: 4,
        in_flight: 4,
        provided_buffers: 0,
    })
    .ok()
}

impl Driver {
    pub(super) fn new(store: Arc<dyn Store>, ring: Option<Ring>) -> Self {
        let bell = Arc::new(Doorbell::new().unwrap());
        let theirs = Arc::clone(&bell);
        Self {
            channel: store.channel(ChannelId(0xABCD), Arc::new(move || theirs.wake())),
            ring,
            pool: Pool::new(8 << 20, 0).unwrap(),
            bell,
            ready: BTreeMap::new(),
            order: Vec::new(),
            next_token: 1 << 63,
        }
    }

    pub(super) fn buffer(&mut self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.pool.allocate(bytes.len()).unwrap();
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// Starts a request and says its token. A read's buffer is full of rubbish.
    pub(super) fn start(&mut self, op: Op, offset: u64, length: u64, bytes: &[u8]) -> u64 {
        let buffer = match op {
            Op::Write { .. } => Some(self.buffer(bytes)),
            Op::Read => Some(self.buffer(&vec![0xEE; usize::try_from(length).unwrap()])),
            _ => None,
        };
        self.submit(op, offset, length, buffer)
    }

    pub(super) fn submit(
        &mut self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<Buffer>,
    ) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        let request = Request {
            token,
            op,
            offset,
            length,
            buffer,
        };
        let now = Instant::now();
        let mut io = Io {
            ring: self.ring.as_mut(),
            pool: &mut self.pool,
            now,
        };
        if let Submitted::Done(completion) = self.channel.submit(request, &mut io) {
            self.arrive(completion);
        }
        token
    }

    fn arrive(&mut self, completion: Completion) {
        self.order.push(completion.token);
        let twice = self.ready.insert(completion.token, completion);
        assert!(twice.is_none(), "a request completes once");
    }

    /// One turn of the loop, which waits a little if nothing came.
    pub(super) fn turn(&mut self) {
        let mut out = Vec::new();
        let now = Instant::now();
        if let Some(ring) = &mut self.ring {
            ring.enter(None).unwrap();
            while let Some(completion) = self
                .ring
                .as_mut()
                .and_then(|r| r.completion(Owner::Backend))
            {
                assert_eq!(channel_of(completion.token), ChannelId(0xABCD));
                let mut io = Io {
                    ring: self.ring.as_mut(),
                    pool: &mut self.pool,
                    now,
                };
                self.channel.completed(completion, &mut io, &mut out);
            }
        }
        let mut io = Io {
            ring: self.ring.as_mut(),
            pool: &mut self.pool,
            now,
        };
        self.channel.poll(&mut io, &mut out);
        if out.is_empty() {
            let a_little = Timespec {
                tv_sec: 0,
                tv_nsec: 200_000,
            };
            let _ = poll(
                &mut [PollFd::new(&*self.bell, PollFlags::IN)],
                Some(&a_little),
            );
            self.bell.clear();
        }
        out.into_iter()
            .for_each(|completion| self.arrive(completion));
    }

    /// The completion of a request, waited for.
    pub(super) fn finish(&mut self, token: u64) -> Completion {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(completion) = self.ready.remove(&token) {
                return completion;
            }
            assert!(Instant::now() < deadline, "a completion was lost");
            self.turn();
        }
    }

    pub(super) fn run(&mut self, op: Op, offset: u64, length: u64) -> Result<Done, BackendError> {
        let token = self.start(op, offset, length, &[]);
        self.finish(token).result
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Done, BackendError> {
        self.write_as(offset, bytes, false)
    }

    pub(super) fn write_as(
        &mut self,
        offset: u64,
        bytes: &[u8],
        durable: bool,
    ) -> Result<Done, BackendError> {
        let token = self.start(Op::Write { durable }, offset, bytes.len() as u64, bytes);
        let completion = self.finish(token);
        assert_eq!(
            completion.buffer.as_deref(),
            Some(bytes),
            "the buffer comes back as it was"
        );
        completion.result
    }

    pub(super) fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, BackendError> {
        let token = self.start(Op::Read, offset, length, &[]);
        let completion = self.finish(token);
        completion
            .result
            .map(|_| completion.buffer.unwrap().to_vec())
    }

    pub(super) fn extents(&mut self, offset: u64, length: u64) -> Vec<Extent> {
        match self.run(Op::Extents, offset, length) {
            Ok(Done::Extents(extents)) => extents,
            other => panic!("not extents: {other:?}"),
        }
    }
}

//! The client of the raw echo: counts bytes, and knows nothing else.

use std::collections::VecDeque;

use super::super::engine::{Client, Phase};
use super::super::initiator::fault::Fault;
use super::super::initiator::outbox::Outbox;
use super::super::tally::{Direction, Tally};
use super::{EchoShape, HEADER_BYTES};
use crate::base::clock::Instant;

/// One connection of the echo. Answers come in the order of the requests.
#[derive(Debug)]
pub(super) struct EchoClient {
    shape: EchoShape,
    /// When the outstanding requests were started.
    started: VecDeque<Instant>,
    /// Bytes of an answer that is not complete.
    partial: usize,
    answer_bytes: usize,
    running: bool,
}

impl EchoClient {
    pub(super) fn new(shape: EchoShape) -> Self {
        let payload = match shape.direction {
            Direction::Read => shape.bytes as usize,
            Direction::Write => 0,
        };
        Self {
            shape,
            started: VecDeque::with_capacity(shape.depth as usize),
            partial: 0,
            answer_bytes: HEADER_BYTES + payload,
            running: false,
        }
    }
}

impl Client for EchoClient {
    fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        _: &mut Outbox,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        self.partial += bytes.len();
        while self.partial >= self.answer_bytes {
            self.partial -= self.answer_bytes;
            // The server answers what it was asked and nothing else.
            let started = self.started.pop_front().ok_or(Fault::UnknownTask(0))?;
            let latency = now.nanos().saturating_sub(started.nanos());
            tally.count(self.shape.direction, self.shape.bytes, latency);
        }
        Ok(())
    }

    fn may_start(&self) -> bool {
        self.running && self.started.len() < self.shape.depth as usize
    }

    fn fill(&mut self, now: Instant, outbox: &mut Outbox) {
        while self.started.len() < self.shape.depth as usize {
            outbox.push(&[0; HEADER_BYTES]);
            if self.shape.direction == Direction::Write {
                outbox.push_content(0, self.shape.bytes as usize);
            }
            self.started.push_back(now);
        }
    }

    fn outstanding(&self) -> u32 {
        u32::try_from(self.started.len()).unwrap_or(u32::MAX)
    }

    fn is_exhausted(&self) -> bool {
        false
    }

    fn begin(&mut self, _: Instant, _: Phase) {
        self.running = true;
    }

    fn stop(&mut self, _: Instant, _: &mut Tally) {
        self.running = false;
    }

    fn log_out(&mut self, _: &mut Outbox) {}

    fn is_logged_out(&self) -> bool {
        true
    }
}

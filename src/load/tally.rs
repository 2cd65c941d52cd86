//! What was measured: I/Os, bytes, latencies, failures.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::failure::{FailureKind, Failures};
use super::workload::WrongBlock;

/// The longest latency that is told apart, in nanoseconds: an hour. Longer ones count as that.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Decimal digits to which a latency is kept.
const LATENCY_DIGITS: u8 = 3;
/// Wrong blocks that are told one by one.
const WRONG_BLOCKS_MAX: usize = 16;

/// Which way the data of an I/O goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the target.
    Read,
    /// To the target.
    Write,
}

/// The I/Os of one direction that ended with GOOD.
#[derive(Debug, Clone)]
pub struct Lane {
    /// How many there were.
    pub ios: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Their latencies, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            ios: 0,
            bytes: 0,
            latency: latency_histogram(),
        }
    }
}

impl Lane {
    fn merge(&mut self, other: &Self) {
        self.ios += other.ios;
        self.bytes += other.bytes;
        add(&mut self.latency, &other.latency);
    }
}

/// What one job did in one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Reads.
    pub read: Lane,
    /// Writes.
    pub write: Lane,
    /// I/Os that failed. They are in neither lane.
    pub failures: Failures,
    /// Blocks that were read and judged by their stamps.
    pub verified_blocks: u64,
    /// The first blocks that were read and are not what was written. All of them are among the
    /// failures.
    pub wrong_blocks: Vec<WrongBlock>,
    /// I/Os of an open loop that were due and not started when the time was over.
    pub overdue: u64,
}

impl Tally {
    /// One direction.
    #[must_use]
    pub const fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// I/Os of both directions.
    #[must_use]
    pub const fn ios(&self) -> u64 {
        self.read.ios + self.write.ios
    }

    /// Bytes of both directions.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.read.bytes + self.write.bytes
    }

    /// Latencies of both directions, in nanoseconds.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        let mut both = self.read.latency.clone();
        add(&mut both, &self.write.latency);
        both
    }

    /// Takes in what another stretch or thread measured.
    pub fn merge(&mut self, other: &Self) {
        self.read.merge(&other.read);
        self.write.merge(&other.write);
        self.failures.merge(&other.failures);
        self.verified_blocks += other.verified_blocks;
        self.overdue += other.overdue;
        let room = WRONG_BLOCKS_MAX.saturating_sub(self.wrong_blocks.len());
        self.wrong_blocks
            .extend(other.wrong_blocks.iter().take(room));
    }

    /// Counts an I/O that ended with GOOD.
    pub(super) fn count(&mut self, direction: Direction, bytes: u32, latency_ns: u64) {
        let lane = match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        };
        lane.ios += 1;
        lane.bytes += u64::from(bytes);
        lane.latency.saturating_record(latency_ns);
    }

    /// Counts a read that brought something else than was written.
    pub(super) fn mismatch(&mut self, wrong: WrongBlock) {
        self.fail(FailureKind::Mismatch(wrong.mismatch));
        if self.wrong_blocks.len() < WRONG_BLOCKS_MAX {
            self.wrong_blocks.push(wrong);
        }
    }

    /// Counts an I/O that failed.
    pub(super) fn fail(&mut self, kind: FailureKind) {
        self.failures.add(kind, 1);
    }
}

/// What the client itself did, to tell whether it was the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// CPU time of the client's threads. A spinning thread spends all of its time.
    pub cpu: Duration,
    /// Receive calls that brought bytes.
    pub receives: u64,
    /// Receive calls that found nothing.
    pub receives_empty: u64,
    /// Send calls.
    pub sends: u64,
}

impl Work {
    /// Takes in the work of another thread.
    pub fn merge(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.receives += other.receives;
        self.receives_empty += other.receives_empty;
        self.sends += other.sends;
    }
}

/// An empty histogram of latencies in nanoseconds.
#[allow(
    clippy::expect_used,
    reason = "the bounds are constants that the constructor takes"
)]
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS).expect("bounds in order")
}

/// All histograms here have the same bounds, so that every value of one has a place in the other.
fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    let added = to.add(from);
    debug_assert!(added.is_ok(), "histograms of the same bounds");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally::default();
        one.count(Direction::Read, 4096, 1000);
        one.fail(FailureKind::Short);
        let mut two = Tally::default();
        two.count(Direction::Write, 512, u64::MAX);
        two.merge(&one);
        assert_eq!((two.ios(), two.bytes(), two.failures.total()), (2, 4608, 1));
        assert_eq!(two.latency().len(), 2);
        assert!(two.latency().max() >= LATENCY_MAX_NS);
        assert_eq!(two.read.latency.min(), 1000);
    }
}

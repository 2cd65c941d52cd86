//! How busy a reactor is: its CPU time says nothing when it spins.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one reactor, written by it alone and read by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    counts: CachePadded<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    ticks: AtomicU64,
    busy_ticks: AtomicU64,
    busy_nanos: AtomicU64,
    waits: AtomicU64,
    messages: AtomicU64,
}

impl Counters {
    /// Rounds of the loop.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.counts.ticks.load(Ordering::Relaxed)
    }

    /// Rounds that found something to do.
    #[must_use]
    pub fn busy_ticks(&self) -> u64 {
        self.counts.busy_ticks.load(Ordering::Relaxed)
    }

    /// Time from the start of each round that found something to do to the start of the next, in
    /// nanoseconds; over elapsed time, it is the reactor's utilisation.
    #[must_use]
    pub fn busy_nanos(&self) -> u64 {
        self.counts.busy_nanos.load(Ordering::Relaxed)
    }

    /// Times the reactor waited in the kernel.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.counts.waits.load(Ordering::Relaxed)
    }

    /// Messages delivered.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.counts.messages.load(Ordering::Relaxed)
    }

    pub(super) fn count_tick(&self, busy: bool, messages: u64) {
        add(&self.counts.ticks, 1);
        if busy {
            add(&self.counts.busy_ticks, 1);
            add(&self.counts.messages, messages);
        }
    }

    pub(super) fn count_busy_nanos(&self, nanos: u64) {
        add(&self.counts.busy_nanos, nanos);
    }

    pub(super) fn count_wait(&self) {
        add(&self.counts.waits, 1);
    }
}

/// There is one writer, so no locked instruction is needed.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(amount),
        Ordering::Relaxed,
    );
}

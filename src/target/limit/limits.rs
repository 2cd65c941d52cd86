//! What one volume may do, as all reactors share it.

use crate::base::clock::Instant;
use crate::base::rate::{Cost, Limiter, Rates};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The limits of one volume: its own, and those that it shares with its group.
#[derive(Debug)]
pub struct Limits {
    own: Option<Limiter>,
    group: Option<Arc<Limiter>>,
    /// Somebody waits: whoever comes now has to go to the end of the line.
    contended: AtomicBool,
    usage: CachePadded<Counters>,
}

/// What has been done under some limits since they were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitUsage {
    /// Commands that were charged and have gone on.
    pub operations: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Those of the commands that had to wait.
    pub delayed: u64,
    /// For how long some command has waited.
    pub limited: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    bytes: AtomicU64,
    delayed: AtomicU64,
    limited_nanos: AtomicU64,
}

impl Limits {
    /// Limits of a volume's own, and those that it shares; `None` where there is nothing to limit.
    #[must_use]
    pub fn new(own: Rates, group: Option<Arc<Limiter>>) -> Option<Self> {
        let own = (!own.is_unlimited()).then(|| Limiter::new(own));
        if own.is_none() && group.is_none() {
            return None;
        }
        Some(Self {
            own,
            group,
            contended: AtomicBool::new(false),
            usage: CachePadded::default(),
        })
    }

    /// What has been done so far. The numbers are read one after the other while the reactors go on.
    #[must_use]
    pub fn usage(&self) -> LimitUsage {
        let Counters {
            operations,
            bytes,
            delayed,
            limited_nanos,
        } = &*self.usage;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LimitUsage {
            operations: read(operations),
            bytes: read(bytes),
            delayed: read(delayed),
            limited: Duration::from_nanos(read(limited_nanos)),
        }
    }

    /// Whether somebody waits in the line at the volume's home. One that comes at the same time on
    /// another reactor may not see it yet, and goes by its charge.
    pub(crate) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Relaxed)
    }

    pub(crate) fn set_contended(&self, contended: bool) {
        self.contended.store(contended, Ordering::Relaxed);
    }

    /// As [`Limiter::charge`], by all limits.
    pub(crate) fn charge(&self, cost: Cost, now: Instant) -> Instant {
        let limiters = [self.own.as_ref(), self.group.as_deref()];
        let due = limiters.into_iter().flatten();
        due.map(|limiter| limiter.charge(cost, now))
            .max()
            .unwrap_or(now)
    }

    /// As [`Limiter::refund`].
    pub(crate) fn refund(&self, cost: Cost) {
        let limiters = [self.own.as_ref(), self.group.as_deref()];
        for limiter in limiters.into_iter().flatten() {
            limiter.refund(cost);
        }
    }

    /// As [`Limiter::weight`].
    pub(crate) fn weight(&self, cost: Cost) -> u64 {
        let limiters = [self.own.as_ref(), self.group.as_deref()];
        let weights = limiters.into_iter().flatten();
        weights
            .map(|limiter| limiter.weight(cost))
            .max()
            .unwrap_or(0)
    }

    /// Counts a command that goes on.
    pub(crate) fn count(&self, cost: Cost, has_waited: bool) {
        let add = |counter: &AtomicU64, more| counter.fetch_add(more, Ordering::Relaxed);
        add(&self.usage.operations, cost.operations.into());
        add(&self.usage.bytes, cost.bytes);
        if has_waited {
            add(&self.usage.delayed, 1);
        }
    }

    pub(crate) fn count_waiting(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.usage.limited_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

//! Deadlines of many things, at the cost of a push each.
//!
//! There is no cancelling: an entry that fires for something that has gone, or whose deadline has
//! moved, is looked at by its owner and dropped or inserted again. So a deadline that moves with
//! every PDU costs nothing; the owner inserts once and asks again when the entry fires.

use crate::base::clock::Instant;
use std::time::Duration;

/// Buckets of the wheel.
const BUCKETS: u64 = 256;

/// A hashed timing wheel of keys.
#[derive(Debug)]
pub struct Wheel<K> {
    buckets: Vec<Vec<(Instant, K)>>,
    granularity_nanos: u64,
    /// The bucket number (unwrapped) up to which all that was due has fired.
    position: u64,
    earliest: Option<Instant>,
}

impl<K: Copy> Wheel<K> {
    /// A wheel that fires up to `granularity` late.
    ///
    /// # Panics
    /// If `granularity` is zero.
    #[must_use]
    pub fn new(granularity: Duration, now: Instant) -> Self {
        let granularity_nanos = u64::try_from(granularity.as_nanos()).unwrap_or(u64::MAX);
        assert!(granularity_nanos > 0, "a wheel needs a step");
        let position = now.nanos() / granularity_nanos;
        let buckets = (0..BUCKETS).map(|_| Vec::new()).collect();
        Self {
            buckets,
            granularity_nanos,
            position,
            earliest: None,
        }
    }

    /// Lets `key` fire at `deadline`, or with the next [`Wheel::expire`] if that has passed.
    pub fn insert(&mut self, deadline: Instant, key: K) {
        let bucket = self.bucket_of(deadline).max(self.position);
        self.bucket(bucket).push((deadline, key));
        let earliest = self
            .earliest
            .map_or(deadline, |earliest| earliest.min(deadline));
        self.earliest = Some(earliest);
    }

    /// When [`Wheel::expire`] has something to do, at the earliest.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Appends the keys that are due to `fired`. Costs a comparison when none is.
    pub fn expire(&mut self, now: Instant, fired: &mut Vec<K>) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        let last = self.bucket_of(now).max(self.position);
        // A whole turn visits every bucket; more turns would visit them again.
        for bucket in self.position..=last.min(self.position + BUCKETS - 1) {
            self.bucket(bucket).retain(|&(deadline, key)| {
                let due = deadline <= now;
                if due {
                    fired.push(key);
                }
                !due
            });
        }
        self.position = last;
        self.earliest = self
            .buckets
            .iter()
            .flatten()
            .map(|&(deadline, _)| deadline)
            .min();
    }

    const fn bucket_of(&self, moment: Instant) -> u64 {
        moment.nanos() / self.granularity_nanos
    }

    fn bucket(&mut self, bucket: u64) -> &mut Vec<(Instant, K)> {
        let index = usize::try_from(bucket % BUCKETS).unwrap_or(0);
        &mut self.buckets[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the naive oracle: a list of deadlines.
        #[test]
        fn each_key_fires_once_and_in_time(
            deadlines in proptest::collection::vec(0_u64..20_000, 0..100),
            steps in proptest::collection::vec(1_u64..3_000, 1..30),
        ) {
            let mut wheel = Wheel::new(Duration::from_nanos(16), Instant::ZERO);
            for (key, &deadline) in deadlines.iter().enumerate() {
                wheel.insert(Instant::from_nanos(deadline), key);
            }
            let mut pending: Vec<usize> = (0..deadlines.len()).collect();
            let mut now = 0;
            for step in steps {
                now += step;
                let mut fired = Vec::new();
                wheel.expire(Instant::from_nanos(now), &mut fired);
                fired.sort_unstable();
                let (due, rest): (Vec<_>, Vec<_>) =
                    pending.into_iter().partition(|&key| deadlines[key] <= now);
                pending = rest;
                prop_assert_eq!(fired, due);
                let next = pending.iter().map(|&key| Instant::from_nanos(deadlines[key])).min();
                prop_assert_eq!(wheel.next_deadline(), next);
            }
        }
    }
}

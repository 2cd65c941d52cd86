//! Counts of durations in buckets: a fixed array, no allocation and no lock to record one.
//!
//! The buckets are log-linear: every doubling from 1.024 µs to 68.7 s is cut into eight of equal
//! width, so that a bucket is at most an eighth wider than its lower end, and what is told from its
//! middle is wrong by a sixteenth at most. Everything shorter is in the first bucket, everything longer
//! in the last. Two histograms add up and are subtracted bucket by bucket, so what several reactors have
//! counted, or what one has counted between two looks, is exact.

use std::time::Duration;

/// Sub-buckets of a doubling, as a power of two.
const SPLIT_BITS: u32 = 3;
/// Durations below `2^ORDER_MIN` ns share the first bucket.
const ORDER_MIN: u32 = 10;
/// Durations from `2^ORDER_MAX` ns on share the last.
const ORDER_MAX: u32 = 36;
/// How many buckets there are.
pub const BUCKETS: usize = 2 + (((ORDER_MAX - ORDER_MIN) as usize) << SPLIT_BITS);

/// How often durations of each length occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            sum_nanos: 0,
        }
    }
}

impl Histogram {
    /// Counts `times` durations of `nanos` nanoseconds each.
    #[inline]
    pub fn record(&mut self, nanos: u64, times: u64) {
        self.counts[bucket_of(nanos)] += times;
        self.sum_nanos = self.sum_nanos.wrapping_add(nanos.wrapping_mul(times));
    }

    /// A histogram of counts by bucket, as [`Histogram::buckets`] tells them; others are ignored.
    #[must_use]
    pub fn of_buckets(buckets: impl IntoIterator<Item = (usize, u64)>, sum_nanos: u64) -> Self {
        let mut histogram = Self {
            sum_nanos,
            ..Self::default()
        };
        for (bucket, count) in buckets {
            if let Some(counted) = histogram.counts.get_mut(bucket) {
                *counted += count;
            }
        }
        histogram
    }

    /// The buckets that have counted anything, by number, in ascending order of durations.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.counts.iter().copied().enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together, in nanoseconds.
    #[must_use]
    pub const fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }

    /// How many durations were shorter than `2^order` nanoseconds; exact for orders from 10 to 36.
    #[must_use]
    pub fn count_below(&self, order: u32) -> u64 {
        let order = order.clamp(ORDER_MIN, ORDER_MAX);
        let end = 1 + (((order - ORDER_MIN) as usize) << SPLIT_BITS);
        self.counts[..end].iter().sum()
    }

    /// The duration that a share of `quantile` (0 to 1) of those counted did not exceed, to within a
    /// sixteenth. `None` where nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank between 1 and the count"
        )]
        let rank = ((quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (bucket, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(middle_of(bucket)));
            }
        }
        None
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_nanos = self.sum_nanos.wrapping_add(other.sum_nanos);
    }

    /// What was counted since `earlier`, an earlier look at the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut between = self.clone();
        for (count, before) in between.counts.iter_mut().zip(&earlier.counts) {
            *count = count.saturating_sub(*before);
        }
        between.sum_nanos = self.sum_nanos.wrapping_sub(earlier.sum_nanos);
        between
    }
}

#[inline]
fn bucket_of(nanos: u64) -> usize {
    let order = nanos.checked_ilog2().unwrap_or(0);
    if order < ORDER_MIN {
        return 0;
    }
    if order >= ORDER_MAX {
        return BUCKETS - 1;
    }
    // The leading one falls away in the mask, and what stays numbers the part of the doubling.
    let part = (nanos >> (order - SPLIT_BITS)) & ((1 << SPLIT_BITS) - 1);
    1 + (((order - ORDER_MIN) as usize) << SPLIT_BITS) + usize::try_from(part).unwrap_or(0)
}

/// The middle of a bucket, in nanoseconds; of the last one its lower end.
fn middle_of(bucket: usize) -> u64 {
    if bucket == 0 {
        return 1 << (ORDER_MIN - 1);
    }
    let position = bucket - 1;
    let order = ORDER_MIN + u32::try_from(position >> SPLIT_BITS).unwrap_or(0);
    if order >= ORDER_MAX {
        return 1 << ORDER_MAX;
    }
    let part = (position & ((1 << SPLIT_BITS) - 1)) as u64;
    let width = 1_u64 << (order - SPLIT_BITS);
    (1 << order) + part * width + width / 2
}

// The mask keeps what is below the leading one only while the order is above the parts' bits.
const _: () = assert!(ORDER_MIN > SPLIT_BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_duration_has_a_bucket_and_longer_ones_none_before_it() {
        let mut last = 0;
        for order in 0..64 {
            for nanos in [(1_u64 << order) - 1, 1 << order, (1 << order) + 1] {
                let bucket = bucket_of(nanos);
                assert!(
                    (last..=last + 9).contains(&bucket) && bucket < BUCKETS,
                    "{nanos}"
                );
                last = bucket;
            }
        }
        assert_eq!(last, BUCKETS - 1);
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        /// A sorted list of all durations is the oracle.
        #[test]
        fn quantiles_are_right_to_a_sixteenth(
            mut durations in prop::collection::vec(1024_u64..1 << 36, 1..200),
            quantile in 0.0_f64..1.0,
        ) {
            let mut histogram = Histogram::default();
            for nanos in &durations {
                histogram.record(*nanos, 1);
            }
            durations.sort_unstable();
            // The first that has a share of at least `quantile` at or below it.
            let count = durations.len() as f64;
            let shares = (1..=durations.len()).map(|rank| rank as f64);
            let below = shares.filter(|rank| *rank < quantile * count).count();
            let exact = durations[below.min(durations.len() - 1)] as f64;
            let told = histogram.quantile(quantile).unwrap().as_nanos() as f64;
            prop_assert!((told - exact).abs() <= exact / 16.0 + 1.0, "{told} for {exact}");
            prop_assert_eq!(histogram.sum_nanos(), durations.iter().sum::<u64>());
        }

        #[test]
        fn counts_below_a_power_of_two_are_exact(
            durations in prop::collection::vec(0_u64..1 << 37, 0..200),
            order in 10_u32..=36,
        ) {
            let mut histogram = Histogram::default();
            for nanos in &durations {
                histogram.record(*nanos, 1);
            }
            let below = durations.iter().filter(|nanos| **nanos < 1 << order).count();
            prop_assert_eq!(histogram.count_below(order), below as u64);
        }

        #[test]
        fn what_is_added_or_sent_in_parts_is_the_same(
            one in prop::collection::vec(0_u64..1 << 40, 0..50),
            two in prop::collection::vec(0_u64..1 << 40, 0..50),
        ) {
            let of = |durations: &[u64]| {
                let mut histogram = Histogram::default();
                durations.iter().for_each(|nanos| histogram.record(*nanos, 1));
                histogram
            };
            let (first, second) = (of(&one), of(&two));
            let mut both = first.clone();
            both.add(&second);
            prop_assert_eq!(&both, &of(&[one, two].concat()));
            prop_assert_eq!(&both.since(&first), &second);
            let sent = Histogram::of_buckets(both.buckets(), both.sum_nanos());
            prop_assert_eq!(sent, both);
        }
    }
}

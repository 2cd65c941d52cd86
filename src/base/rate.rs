//! Rates that several threads keep together: so many operations and bytes per second, with bursts.
//!
//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling) with one number for each rate:
//! the theoretical arrival time, at which everything that has been charged so far would be over at
//! exactly the rate. A charge moves it forward and is told from when on it may go. So whoever charges
//! has a place in line, and nobody takes it by asking more often: threads that share a rate go on in
//! the order in which they charged.
//!
//! ```text
//!            burst                 what has been charged and may not go yet
//!   ┊◀──────────────────────▶┊◀──────────────────────────────────▶┊
//!  now                  now + burst                   theoretical arrival time
//! ```
//!
//! A charge costs two atomic operations for each rate, neither of which waits for another thread. The
//! clock is passed in.

use super::clock::Instant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times are kept in 64ths of a nanosecond: a rate of ten million operations per second is then off
/// by less than a hundredth of a per cent, and the numbers last for nine years.
const FRACTION_BITS: u32 = 6;
const SECOND: u64 = 1_000_000_000 << FRACTION_BITS;
/// The time of one byte has that many bits more: it may be far below a nanosecond.
const BYTE_BITS: u32 = 32;

/// How much per second. `None`: any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Operations per second.
    pub operations: Option<u64>,
    /// Bytes per second.
    pub bytes: Option<u64>,
    /// How long unused credit adds up: after a rest of that length, that much time's worth of
    /// operations and bytes may go at once. It is also how late a thread may be to go on without
    /// losing any of the rate.
    pub burst: Duration,
}

impl Rates {
    /// Whether there is nothing to keep.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.operations.is_none() && self.bytes.is_none()
    }
}

/// What one piece of work takes of a [`Limiter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Operations.
    pub operations: u32,
    /// Bytes.
    pub bytes: u64,
}

/// Keeps [`Rates`] for any number of threads.
#[derive(Debug)]
pub struct Limiter {
    rates: Rates,
    /// The burst in time as it is kept here.
    burst: u64,
    operations: Option<Schedule>,
    bytes: Option<Schedule>,
}

impl Limiter {
    /// With all of its burst to spend. A rate of zero counts as one.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        let per_operation = |rate: u64| SECOND / rate.max(1);
        let per_byte = |rate: u64| {
            let exact = (u128::from(SECOND) << BYTE_BITS) / u128::from(rate.max(1));
            u64::try_from(exact).unwrap_or(u64::MAX)
        };
        let burst = u64::try_from(rates.burst.as_nanos()).unwrap_or(u64::MAX);
        Self {
            rates,
            burst: burst.saturating_mul(1 << FRACTION_BITS),
            operations: rates.operations.map(per_operation).map(Schedule::new),
            bytes: rates.bytes.map(per_byte).map(Schedule::new),
        }
    }

    /// What is kept.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Charges for a piece of work, and says from when on it may go: `now` or earlier, or later. Work
    /// of any size may go once what was charged before allows it; what it takes beyond the burst, those
    /// behind it wait for.
    pub fn charge(&self, cost: Cost, now: Instant) -> Instant {
        let now = fixed(now);
        let operations = self.operations.as_ref().map_or(0, |schedule| {
            schedule.charge(schedule.of_operations(cost), now)
        });
        let bytes = self
            .bytes
            .as_ref()
            .map_or(0, |schedule| schedule.charge(schedule.of_bytes(cost), now));
        instant(operations.max(bytes).saturating_sub(self.burst))
    }

    /// Takes a charge back for work that is not done after all.
    pub fn refund(&self, cost: Cost) {
        if let Some(schedule) = &self.operations {
            schedule.refund(schedule.of_operations(cost));
        }
        if let Some(schedule) = &self.bytes {
            schedule.refund(schedule.of_bytes(cost));
        }
    }

    /// The longest time that a piece of work takes of any of the rates: what it weighs against other
    /// work under the same limit.
    #[must_use]
    pub fn weight(&self, cost: Cost) -> u64 {
        let operations = self.operations.as_ref();
        let operations = operations.map_or(0, |schedule| schedule.of_operations(cost));
        let bytes = self.bytes.as_ref();
        let bytes = bytes.map_or(0, |schedule| schedule.of_bytes(cost));
        operations.max(bytes)
    }
}

/// One rate.
#[derive(Debug)]
struct Schedule {
    /// What one unit takes: of an operation in 64ths of a nanosecond, of a byte with [`BYTE_BITS`]
    /// more.
    unit: u64,
    /// The theoretical arrival time.
    arrival: AtomicU64,
}

impl Schedule {
    const fn new(unit: u64) -> Self {
        Self {
            unit,
            arrival: AtomicU64::new(0),
        }
    }

    fn of_operations(&self, cost: Cost) -> u64 {
        self.unit.saturating_mul(cost.operations.into())
    }

    fn of_bytes(&self, cost: Cost) -> u64 {
        let time = (u128::from(self.unit) * u128::from(cost.bytes)) >> BYTE_BITS;
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Moves the arrival time on by `time`, and gives what it was: never before `now`, so that no more
    /// than the burst adds up in a rest.
    ///
    /// The two steps need not be one: a charge that comes between them counts in full, and the first
    /// step changes nothing while there is anything to wait for. Nothing else is ordered by them.
    fn charge(&self, time: u64, now: u64) -> u64 {
        if self.arrival.load(Ordering::Relaxed) < now {
            self.arrival.fetch_max(now, Ordering::Relaxed);
        }
        self.arrival.fetch_add(time, Ordering::Relaxed)
    }

    /// Never below zero: a limiter that has taken the place of another may be given back what only the
    /// other one has charged.
    fn refund(&self, time: u64) {
        let less = |arrival: u64| Some(arrival.saturating_sub(time));
        let _ = self
            .arrival
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

const fn fixed(instant: Instant) -> u64 {
    instant.nanos().saturating_mul(1 << FRACTION_BITS)
}

/// Rounded up: at that time, not just before it.
const fn instant(fixed: u64) -> Instant {
    Instant::from_nanos(fixed.div_ceil(1 << FRACTION_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPERATION: Cost = Cost {
        operations: 1,
        bytes: 0,
    };

    fn limiter(operations: Option<u64>, bytes: Option<u64>, burst: Duration) -> Limiter {
        Limiter::new(Rates {
            operations,
            bytes,
            burst,
        })
    }

    /// How many operations of `bytes` go until `end`, when someone asks again whenever the last one has
    /// gone, at most `late` after it might have.
    fn saturate(limiter: &Limiter, bytes: u64, end: Instant, mut late: impl FnMut() -> u64) -> u64 {
        let (mut now, mut gone) = (Instant::ZERO, 0);
        loop {
            let cost = Cost {
                operations: 1,
                bytes,
            };
            let due = limiter.charge(cost, now);
            if due > now {
                now = due + Duration::from_nanos(late());
            }
            if now > end {
                return gone;
            }
            gone += 1;
        }
    }

    #[test]
    fn a_rest_saves_up_the_burst_and_no_more() {
        let limiter = limiter(Some(1000), None, Duration::from_millis(5));
        for start in [1, 10] {
            let now = Instant::from_nanos(start * 1_000_000_000);
            let mut going = (0..20).filter(|_| limiter.charge(OPERATION, now) <= now);
            // Five of the burst, and the one that waits for nothing that went before.
            assert_eq!(going.by_ref().count(), 6);
        }
    }

    #[test]
    fn charges_without_a_burst_go_one_by_one() {
        let limiter = limiter(Some(1000), None, Duration::ZERO);
        let now = Instant::from_nanos(7_000_000);
        let due: Vec<_> = (0..4).map(|_| limiter.charge(OPERATION, now)).collect();
        let millis = |more| now + Duration::from_millis(more);
        assert_eq!(due, [now, millis(1), millis(2), millis(3)]);
    }

    #[test]
    fn whichever_rate_is_used_up_first_holds_back() {
        let both = limiter(Some(1000), Some(1 << 20), Duration::ZERO);
        let now = Instant::from_nanos(1);
        let large = Cost {
            operations: 1,
            bytes: 1 << 20,
        };
        assert_eq!(both.charge(large, now), now);
        assert_eq!(both.charge(OPERATION, now), now + Duration::from_secs(1));
        assert_eq!(both.weight(large), SECOND);
        assert_eq!(both.weight(OPERATION), SECOND / 1000);
    }

    #[test]
    fn what_is_refunded_was_never_charged() {
        let limiter = limiter(Some(10), Some(1_000_000), Duration::ZERO);
        let now = Instant::from_nanos(5);
        let large = Cost {
            operations: 1,
            bytes: 32 << 20,
        };
        limiter.charge(OPERATION, now);
        let before = limiter.charge(large, now);
        limiter.refund(large);
        assert_eq!(limiter.charge(OPERATION, now), before);
    }

    #[test]
    fn a_refund_of_what_another_limiter_has_charged_blocks_nobody() {
        let limiter = limiter(Some(10), None, Duration::ZERO);
        limiter.refund(OPERATION);
        let now = Instant::from_nanos(5);
        assert_eq!(limiter.charge(OPERATION, now), now);
    }

    #[test]
    fn no_charge_of_any_thread_is_lost() {
        const THREADS: usize = 4;
        const EACH: usize = 10_000;
        let limiter = limiter(Some(1_000_000), None, Duration::ZERO);
        let now = Instant::from_nanos(3_000_000);
        let charge = || (0..EACH).map(|_| limiter.charge(OPERATION, now));
        let mut due: Vec<Instant> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| charge().collect::<Vec<_>>()))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.flatten().collect()
        });
        due.sort();
        let expected = |number: usize| now + Duration::from_micros(number as u64);
        let all: Vec<_> = (0..THREADS * EACH).map(expected).collect();
        assert_eq!(due, all, "a place for each, and none twice");
    }

    proptest! {
        /// What goes in any span is at most the rate's worth of the span and the burst, and one more.
        #[test]
        fn no_span_has_more_than_rate_and_burst(
            rate in 1_u64..2_000_000,
            burst_us in 0_u64..200_000,
            steps in proptest::collection::vec((0_u64..50_000_000, 1_usize..40), 1..60),
        ) {
            let burst = Duration::from_micros(burst_us);
            let limiter = limiter(Some(rate), None, burst);
            let mut now = Instant::from_nanos(1 << 30);
            let mut gone: Vec<Instant> = Vec::new();
            let mut waits: Option<Instant> = None;
            for (step, asks) in steps {
                now = now + Duration::from_nanos(step);
                for _ in 0..asks {
                    let due = waits.take().unwrap_or_else(|| limiter.charge(OPERATION, now));
                    if due > now {
                        waits = Some(due);
                        break;
                    }
                    gone.push(now);
                }
            }
            for (first, from) in gone.iter().enumerate() {
                for (last, to) in gone.iter().enumerate().skip(first) {
                    let span = (to.since(*from) + burst).as_nanos() * u128::from(rate);
                    let allowed = span / 1_000_000_000 + 2;
                    let count = (last - first + 1) as u128;
                    prop_assert!(count <= allowed, "{count} in {:?}", to.since(*from));
                }
            }
        }

        /// Someone who always has more to do gets the rate, however late they are within the burst.
        #[test]
        fn late_threads_lose_nothing(
            rate in 100_u64..1_000_000,
            burst_us in 1_000_u64..100_000,
            seed in any::<u64>(),
        ) {
            let burst = Duration::from_micros(burst_us);
            let limiter = limiter(Some(rate), None, burst);
            let mut state = seed;
            let mut late = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % (burst_us * 1000)
            };
            let exact = 5000 + rate * burst_us / 100_000;
            let end = Instant::from_nanos(exact * 1_000_000_000 / rate);
            let gone = saturate(&limiter, 0, end, &mut late);
            let burst = rate * burst_us / 1_000_000;
            prop_assert!(gone + 1 + burst >= exact, "{gone} of {exact}, burst {burst}");
            prop_assert!(gone <= exact + exact / 1000 + burst + 2, "{gone} of {exact}, burst {burst}");
        }

        /// Bytes of any length add up to their rate, within a thousandth.
        #[test]
        fn bytes_add_up(rate in 1_000_000_u64..100_000_000_000, length in 512_u64..(32 << 20)) {
            let limiter = limiter(None, Some(rate), Duration::ZERO);
            let length = length.min(rate / 1000);
            let operations = 5000;
            let end = u128::from(length) * operations * 1_000_000_000 / u128::from(rate);
            let end = Instant::from_nanos(u64::try_from(end).unwrap());
            let gone = u128::from(saturate(&limiter, length, end, || 0));
            prop_assert!(gone.abs_diff(operations) <= operations / 500, "{gone}");
        }
    }
}

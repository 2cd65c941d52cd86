//! When to stop polling and wait: pure arithmetic on the times of ticks.

use super::config::Idle;
use crate::base::clock::Instant;
use std::time::Duration;

/// Weight of a new gap in the running average: an eighth.
const AVERAGE_SHIFT: u32 = 3;

/// Follows the gaps between busy ticks and says when to wait.
#[derive(Debug)]
pub(super) struct IdlePolicy {
    idle: Idle,
    gap_nanos: u64,
    last_busy: Instant,
}

impl IdlePolicy {
    pub(super) const fn new(idle: Idle, now: Instant) -> Self {
        Self {
            idle,
            gap_nanos: 0,
            last_busy: now,
        }
    }

    /// Whether to wait after a tick at `now` that found something to do or not.
    pub(super) fn should_wait(&mut self, now: Instant, busy: bool) -> bool {
        let since_busy = now.since(self.last_busy);
        if busy {
            self.last_busy = now;
        }
        match self.idle {
            Idle::Spin => false,
            Idle::Wait => !busy,
            Idle::Adaptive { spin_max } if busy => {
                self.learn(since_busy, spin_max);
                false
            }
            Idle::Adaptive { spin_max } => since_busy >= self.spin(spin_max),
        }
    }

    fn learn(&mut self, gap: Duration, spin_max: Duration) {
        // A night's silence counts as a gap worth waiting through, and is forgotten in a few gaps.
        let gap = nanos(gap.min(spin_max.saturating_mul(4)));
        self.gap_nanos =
            self.gap_nanos - (self.gap_nanos >> AVERAGE_SHIFT) + (gap >> AVERAGE_SHIFT);
    }

    /// How long polling is worth it.
    fn spin(&self, spin_max: Duration) -> Duration {
        if self.gap_nanos > nanos(spin_max) {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.gap_nanos.saturating_mul(2)).min(spin_max)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPIN_MAX: Duration = Duration::from_micros(200);

    fn micros(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    fn arrivals_every(policy: &mut IdlePolicy, gap: u64, from: u64, count: u64) -> u64 {
        for arrival in 1..=count {
            assert!(!policy.should_wait(micros(from + arrival * gap), true));
        }
        from + count * gap
    }

    #[test]
    fn it_polls_for_twice_the_usual_gap() {
        let mut policy = IdlePolicy::new(Idle::Adaptive { spin_max: SPIN_MAX }, Instant::ZERO);
        let last = arrivals_every(&mut policy, 20, 0, 100);
        assert!(!policy.should_wait(micros(last + 30), false));
        assert!(policy.should_wait(micros(last + 41), false));
    }

    #[test]
    fn rare_arrivals_are_waited_for_and_frequent_ones_polled_again() {
        let mut policy = IdlePolicy::new(Idle::Adaptive { spin_max: SPIN_MAX }, Instant::ZERO);
        let last = arrivals_every(&mut policy, 1_000_000, 0, 50);
        assert!(
            policy.should_wait(micros(last), false),
            "polling would not find the next"
        );
        let last = arrivals_every(&mut policy, 10, last, 40);
        assert!(!policy.should_wait(micros(last + 15), false));
    }

    #[test]
    fn the_plain_policies_are_plain() {
        let mut spin = IdlePolicy::new(Idle::Spin, Instant::ZERO);
        assert!(!spin.should_wait(micros(1_000_000), false));
        let mut wait = IdlePolicy::new(Idle::Wait, Instant::ZERO);
        assert!(wait.should_wait(micros(0), false));
        assert!(!wait.should_wait(micros(1), true));
    }
}

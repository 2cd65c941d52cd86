//! An open loop: I/Os start at fixed times, whatever the target does.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::base::clock::Instant;

/// The times at which one session's I/Os are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// I/Os per second of all sessions.
    rate: u64,
    /// This session starts every `sessions`th of them, from `next`.
    sessions: u64,
    index: u64,
    begin: Instant,
    next: u64,
}

impl Pace {
    /// The part of session `index` of `sessions` in `rate` I/Os per second.
    pub(crate) fn new(rate: NonZeroU64, index: usize, sessions: usize) -> Self {
        Self {
            rate: rate.get(),
            sessions: sessions as u64,
            index: index as u64,
            begin: Instant::ZERO,
            next: index as u64,
        }
    }

    /// Counts from `now` on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.begin = now;
        self.next = self.index;
    }

    /// When the next I/O is due.
    pub(crate) fn due(&self) -> Instant {
        let nanos = u128::from(self.next) * 1_000_000_000 / u128::from(self.rate);
        self.begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The next I/O was started.
    pub(crate) fn started(&mut self) {
        self.next += self.sessions;
    }

    /// How many I/Os were due by `now` and have not started.
    pub(crate) fn overdue(&self, now: Instant) -> u64 {
        // The last number for which `due` is not after `now`: `due` rounds down, so this rounds up.
        let next_nano = now.since(self.begin).as_nanos() + 1;
        let last = (next_nano * u128::from(self.rate) - 1) / 1_000_000_000;
        match u64::try_from(last).unwrap_or(u64::MAX) {
            last if last < self.next => 0,
            last => (last - self.next) / self.sessions + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_the_rate() {
        let rate = NonZeroU64::new(1000).unwrap();
        let begin = Instant::from_nanos(5);
        let mut due = Vec::new();
        for index in 0..3 {
            let mut pace = Pace::new(rate, index, 3);
            pace.begin(begin);
            for _ in 0..2 {
                due.push(pace.due().since(begin).as_millis());
                pace.started();
            }
        }
        due.sort_unstable();
        assert_eq!(due, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_did_not_start_in_time_is_counted() {
        let mut pace = Pace::new(NonZeroU64::new(1000).unwrap(), 1, 2);
        pace.begin(Instant::ZERO);
        let at = |micros: u64| Instant::ZERO + Duration::from_micros(micros);
        // Due at 1, 3, 5, 7 ms.
        let by = [0, 999, 1000, 2999, 3000, 7500].map(|micros| pace.overdue(at(micros)));
        assert_eq!(by, [0, 0, 1, 1, 2, 4]);
        pace.started();
        assert_eq!(pace.overdue(at(7500)), 3);
    }
}

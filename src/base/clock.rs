//! The one place that reads the clocks.
//!
//! Everything else is handed an [`Instant`]: the reactor reads it once per tick, so that protocol
//! code is deterministic and an I/O costs no clock read of its own.

use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Duration;

/// What the system's monotonic clock says at [`Instant::ZERO`].
static ZERO: OnceLock<u64> = OnceLock::new();

/// A moment on the monotonic clock, in nanoseconds since the process first asked, or since the first
/// one did of those that took over from each other.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    /// The moment the clock was first read.
    pub const ZERO: Self = Self { nanos: 0 };

    /// Reads the clock.
    #[must_use]
    #[inline]
    pub fn now() -> Self {
        let nanos = monotonic_nanos();
        let start = *ZERO.get_or_init(|| nanos);
        // Another thread may have read the clock later and stored its reading first.
        let nanos = nanos.saturating_sub(start);
        Self { nanos }
    }

    /// What the system's monotonic clock says at [`Instant::ZERO`], for a process that is to count from
    /// there too ([`Instant::count_from`]).
    #[must_use]
    pub fn zero_nanos() -> u64 {
        *ZERO.get_or_init(monotonic_nanos)
    }

    /// Counts from where another process of this machine does: moments then mean the same in both. To be
    /// called before this process first asks; false if it comes too late for that.
    pub fn count_from(zero_nanos: u64) -> bool {
        zero_nanos <= monotonic_nanos() && ZERO.set(zero_nanos).is_ok()
    }

    /// The moment `nanos` nanoseconds after [`Instant::ZERO`].
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds since [`Instant::ZERO`].
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.nanos
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// Reads the wall clock: milliseconds since 1970 (UTC). It can be set, and jump; for people, and for
/// what has to mean something after a restart.
#[must_use]
pub fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

fn monotonic_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(part(time.tv_nsec))
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Self {
            nanos: self.nanos.saturating_add(nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_and_saturates() {
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        assert_eq!(late.since(early), Duration::from_secs(1));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(
            Instant::from_nanos(u64::MAX) + Duration::from_secs(1),
            Instant::from_nanos(u64::MAX)
        );
    }
}

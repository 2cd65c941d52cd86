//! How many reactors there are, where, and how they idle.

use crate::base::limits::{ARENA_BYTES_DEFAULT, MAILBOX_MESSAGES};
use crate::ring::RingConfig;
use std::time::Duration;

/// Which cores the reactors run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// That many reactors, wherever the scheduler puts them.
    Anywhere(usize),
    /// One reactor pinned to each of these cores, by the kernel's numbers.
    Cores(Vec<usize>),
}

impl Placement {
    /// How many reactors that makes.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Anywhere(count) => *count,
            Self::Cores(cores) => cores.len(),
        }
    }

    pub(super) fn core(&self, reactor: usize) -> Option<usize> {
        match self {
            Self::Anywhere(_) => None,
            Self::Cores(cores) => cores.get(reactor).copied(),
        }
    }
}

/// What a reactor does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: the lowest latency, and a core each.
    Spin,
    /// Polls for about twice the usual gap between arrivals, then waits. Where the usual gap is
    /// longer than `spin_max`, it waits at once.
    Adaptive {
        /// The longest it polls without finding anything.
        spin_max: Duration,
    },
    /// Waits at once: a core at rest costs nothing, and every wake-up costs its latency.
    Wait,
}

/// What [`Reactors::start`](super::Reactors::start) makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which cores.
    pub placement: Placement,
    /// What to do when idle.
    pub idle: Idle,
    /// Payload memory of each reactor, in bytes.
    pub pool_bytes: usize,
    /// An io_uring for each reactor, if any.
    pub ring: Option<RingConfig>,
    /// Whether every ring has the arenas of all reactors registered. They are pinned in memory then.
    pub register_arenas: bool,
    /// An epoll instance for each reactor. There is one in any case where there is no ring.
    pub readiness: bool,
    /// Messages that may wait between two reactors before the sender keeps them itself.
    pub mailbox_messages: usize,
    /// Messages from other threads that may wait for one reactor.
    pub external_messages: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            placement: Placement::Anywhere(1),
            idle: Idle::Adaptive {
                spin_max: Duration::from_micros(200),
            },
            pool_bytes: ARENA_BYTES_DEFAULT,
            ring: Some(RingConfig::default()),
            register_arenas: true,
            readiness: false,
            mailbox_messages: MAILBOX_MESSAGES,
            external_messages: MAILBOX_MESSAGES,
        }
    }
}

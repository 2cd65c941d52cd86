//! Examines a host for a profile: what stands in the way of it, how much that matters, and the
//! command that changes it.
//!
//! Each examiner is a pure function of the [`Host`]'s files and the [`Demand`]. Whatever can't be
//! read is a [`Verdict::Unknown`], never an error. `tuning/host-setup` applies what can be changed
//! while the host runs; a test holds the two to the same values.

mod cores;
mod host;
mod memory;
mod network;
mod storage;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::host::{Host, Rings};
use super::Profile;
use crate::base::tuning::{Engine, Idle, Tuning};

/// What a profile and the choice of cores ask of the host.
#[derive(Debug)]
pub struct Demand<'a> {
    profile: &'a Profile,
    cores: Vec<usize>,
    pinned: bool,
}

/// Whether a point is as it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Good,
    /// Something to change.
    Change,
    /// The host does not say.
    Unknown,
}

/// How much a point matters to the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Shows in the tail, or under unusual load.
    Low,
    /// Shows in a careful measurement.
    Medium,
    /// Dominates the figures.
    High,
}

/// One point of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as wanted.
    pub verdict: Verdict,
    /// How much it matters to this profile.
    pub weight: Weight,
    /// How it is.
    pub state: String,
    /// How it should be.
    pub wanted: String,
    /// Why it matters, with figures where there are measured ones.
    pub why: &'static str,
    /// The command that changes it, or what to do instead. Only where something is to change.
    pub remedy: Option<String>,
}

/// What is said where a host does not tell.
const NOT_KNOWN: &str = "not known here";

type Examiner = fn(&Host, &Demand<'_>) -> Finding;

/// Every examiner, in the order of the table.
const EXAMINERS: [Examiner; 27] = [
    cores::pinning,
    cores::isolation,
    cores::tickless,
    cores::siblings,
    cores::governor,
    cores::idle_states,
    cores::real_time,
    cores::clock_source,
    cores::steal,
    network::interrupts,
    network::balancer,
    network::locality,
    network::rings,
    network::busy_polling,
    network::congestion,
    network::receive_buffer,
    network::send_buffer,
    memory::transparent_huge_pages,
    memory::reserved_huge_pages,
    memory::locked,
    memory::prefault,
    memory::swap,
    storage::io_uring,
    storage::io_uring_setting,
    storage::poll_queues,
    storage::nvme_passthrough,
    storage::open_files,
];

/// Examines every point of the host.
#[must_use]
pub fn examine(host: &Host, demand: &Demand<'_>) -> Vec<Finding> {
    EXAMINERS
        .iter()
        .map(|examine| examine(host, demand))
        .collect()
}

impl<'a> Demand<'a> {
    /// What `profile` asks for with reactors on `cores`; an empty list is as without `--cores`: one
    /// reactor a core, at most `reactors_default`, pinned to none.
    #[must_use]
    pub fn new(
        profile: &'a Profile,
        cores: &[usize],
        host: &Host,
        reactors_default: usize,
    ) -> Self {
        let pinned = !cores.is_empty();
        let cores = match pinned {
            true => cores.to_vec(),
            false => host.online().into_iter().take(reactors_default).collect(),
        };
        Self {
            profile,
            cores,
            pinned,
        }
    }

    /// The cores that reactors run on, or may.
    #[must_use]
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    fn tuning(&self) -> &Tuning {
        &self.profile.tuning
    }

    fn spins(&self) -> bool {
        self.tuning().idle == Idle::Spin
    }

    fn uses_io_uring(&self) -> bool {
        self.tuning().engine != Engine::Mio
    }

    fn polls_disks(&self) -> bool {
        self.uses_io_uring() && self.tuning().poll_disks
    }

    fn sends_nvme_commands(&self) -> bool {
        self.polls_disks() && self.tuning().nvme_passthrough
    }

    /// `yes` for a profile that spins, else `no`.
    fn if_spinning<T>(&self, yes: T, no: T) -> T {
        if self.spins() { yes } else { no }
    }
}

/// A point under examination: what is wanted, and why. One of the methods ends it.
struct Point {
    name: &'static str,
    weight: Weight,
    wanted: String,
    why: &'static str,
}

impl Point {
    fn new(
        name: &'static str,
        weight: Weight,
        wanted: impl Into<String>,
        why: &'static str,
    ) -> Self {
        Self {
            name,
            weight,
            wanted: wanted.into(),
            why,
        }
    }

    fn good(self, state: impl Into<String>) -> Finding {
        self.found(Verdict::Good, state.into(), None)
    }

    fn change(self, state: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.found(Verdict::Change, state.into(), Some(remedy.into()))
    }

    fn unknown(self) -> Finding {
        self.found(Verdict::Unknown, NOT_KNOWN.to_owned(), None)
    }

    /// Good if `good`, else to change by `remedy`.
    fn judged(self, good: bool, state: impl Into<String>, remedy: impl Into<String>) -> Finding {
        match good {
            true => self.good(state),
            false => self.change(state, remedy),
        }
    }

    fn found(self, verdict: Verdict, state: String, remedy: Option<String>) -> Finding {
        let Self {
            name,
            weight,
            wanted,
            why,
        } = self;
        Finding {
            name,
            verdict,
            weight,
            state,
            wanted,
            why,
            remedy,
        }
    }
}

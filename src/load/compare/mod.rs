//! Comparing candidates in one run: targets, profiles of this very program, the raw floor.
//!
//! Absolute figures drift with the machine; ratios of neighbours do not. So all candidates are
//! connected once and then take turns in short bursts, and a round of one burst each gives one ratio
//! to the first candidate, the reference. The first one runs once more through sessions of its own:
//! that control compares a thing with itself, and how far its ratios stray from 1 is the noise.
//!
//! ```text
//! round 0:  reference  control  candidate 1  candidate 2 …
//! round 1:  … the other way round, then begun one place further on, so that no one is always first
//! ```
//!
//! Before a burst counts, a tenth of one warms caches and windows up. A [`Server`] of ours sleeps
//! (SIGSTOP) while others are measured, so that several that spin can share a core. Servers that
//! were not started here are never signalled.

mod contestant;
pub mod json;
pub mod page;
pub mod rows;
pub mod runs;
mod scratch;
mod server;
mod statistics;
pub mod study;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::floor::{EchoShape, EchoSides, median};
use super::plan::Plan;
use super::rig::LoadError;
use super::tally::Tally;
use contestant::Contestant;
pub use scratch::ScratchFile;
pub use server::{Server, ServerError, Setup, VOLUME};
pub use statistics::{Quartiles, Verdict};

/// Something to compare.
#[derive(Debug)]
pub struct Candidate {
    /// What it is called.
    pub name: String,
    /// What is measured.
    pub subject: Subject,
    /// The server that the subject's sessions go to, if it is one of ours.
    pub server: Option<Server>,
}

/// What a candidate's bursts go to.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A target.
    Target {
        /// The load. Its times are not used: [`Schedule`] has them.
        plan: Box<Plan>,
        /// Sessions that are open beside the load and do nothing.
        idle_sessions: usize,
    },
    /// The raw echo.
    Floor {
        /// What it carries.
        shape: EchoShape,
        /// Both its sides.
        sides: EchoSides,
    },
    /// The raw echo and then a read of the polled disk: the floor of a target with a disk behind it.
    /// Each burst is half echo and half disk. Latencies are added quantile by quantile.
    DiskFloor {
        /// The echo: reads of [`disk::READ_BYTES`](super::floor::disk::READ_BYTES) over one
        /// connection of depth 1.
        shape: EchoShape,
        /// The echo's sides; the disk is read where its server runs.
        sides: EchoSides,
        /// What is read.
        file: Arc<ScratchFile>,
    },
}

/// How long, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The length of one burst.
    pub burst: Duration,
    /// Rounds: as many pairs of each candidate with the reference.
    pub pairs: usize,
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// I/Os per second; more is better.
    Iops,
    /// The median latency, in nanoseconds; less is better.
    P50,
    /// CPU time of the client's threads, in nanoseconds per I/O; less is better.
    ClientCpu,
    /// CPU time of the server's process, in nanoseconds per I/O; less is better. Known of the floor
    /// and of servers of ours.
    ServerCpu,
    /// I/Os of the slowest session as a share of the mean of all; more is better. Known where there
    /// are several sessions.
    SlowestSession,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Iops,
        Self::P50,
        Self::ClientCpu,
        Self::ServerCpu,
        Self::SlowestSession,
    ];

    /// The key in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Iops => "iops",
            Self::P50 => "p50_ns",
            Self::ClientCpu => "client_cpu_ns_per_io",
            Self::ServerCpu => "server_cpu_ns_per_io",
            Self::SlowestSession => "slowest_session_share",
        }
    }

    /// Whether a larger value is the better one.
    #[must_use]
    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Iops | Self::SlowestSession)
    }
}

/// What one burst came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// I/Os per second.
    pub iops: f64,
    /// Median latency in nanoseconds.
    pub p50_ns: f64,
    /// Nanoseconds per I/O.
    pub client_cpu_ns: f64,
    /// Nanoseconds per I/O, where it is known.
    pub server_cpu_ns: Option<f64>,
    /// As [`Burst::slowest_share`](super::rig::Burst::slowest_share) has it.
    pub slowest_share: Option<f64>,
}

impl Sample {
    /// One value.
    #[must_use]
    pub const fn of(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Iops => Some(self.iops),
            Measure::P50 => Some(self.p50_ns),
            Measure::ClientCpu => Some(self.client_cpu_ns),
            Measure::ServerCpu => self.server_cpu_ns,
            Measure::SlowestSession => self.slowest_share,
        }
    }
}

/// What a line of the result is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first candidate.
    Reference,
    /// The first candidate once more.
    Control,
    /// Any other.
    Candidate,
}

/// All bursts of one contestant.
#[derive(Debug, Clone)]
pub struct Line {
    /// The candidate's name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// By round.
    pub samples: Vec<Sample>,
    /// Everything that its bursts did.
    pub tally: Tally,
}

impl Line {
    /// The median of its bursts; `None` where it is not known.
    #[must_use]
    pub fn median(&self, measure: Measure) -> Option<f64> {
        let values: Option<Vec<f64>> = self.samples.iter().map(|one| one.of(measure)).collect();
        values.filter(|values| !values.is_empty()).map(median)
    }

    /// Latencies of all bursts, in nanoseconds.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        self.tally.latency()
    }
}

/// A comparison that was carried out: the reference, the control, then the other candidates.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// How long and how often.
    pub schedule: Schedule,
    /// At least two.
    pub lines: Vec<Line>,
}

impl Comparison {
    /// The pairs' ratios of a line to the reference; `None` where either is not known.
    #[must_use]
    pub fn ratios(&self, line: &Line, measure: Measure) -> Option<Quartiles> {
        let reference = &self.lines[0].samples;
        let ratios: Option<Vec<f64>> = line
            .samples
            .iter()
            .zip(reference)
            .map(|(sample, reference)| {
                let (value, by) = (sample.of(measure)?, reference.of(measure)?);
                (value > 0.0 && by > 0.0).then(|| value / by)
            })
            .collect();
        Quartiles::of(ratios?)
    }

    /// What the ratios of a line say, measured by the control's.
    #[must_use]
    pub fn verdict(&self, line: &Line, measure: Measure) -> Option<Verdict> {
        let control = self.lines.iter().find(|line| line.role == Role::Control)?;
        let noise = self.ratios(control, measure)?;
        let ratios = self.ratios(line, measure)?;
        (line.role == Role::Candidate)
            .then(|| Verdict::of(&ratios, &noise, measure.more_is_better()))
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Nothing to compare with.
    #[error("{0} candidates, where at least two are needed")]
    Candidates(usize),
    /// No round, or no time.
    #[error("no pairs, or bursts of no length")]
    Schedule,
    /// A candidate can't be measured.
    #[error("{name}")]
    Load {
        /// The candidate.
        name: String,
        /// Why.
        #[source]
        error: LoadError,
    },
    /// A server of ours can't be stopped and continued.
    #[error("{name}")]
    Server {
        /// The candidate.
        name: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A candidate did nothing but fail.
    #[error("{0}: no I/O succeeded")]
    NoIo(String),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

/// Compares `candidates`; `observe` gets the number of each round that is done. Setting `stop` ends
/// it after the present burst.
///
/// # Errors
/// When a candidate can't be connected, breaks or does nothing, or `stop` was set.
pub fn run(
    candidates: &[Candidate],
    schedule: Schedule,
    stop: &AtomicBool,
    mut observe: impl FnMut(usize),
) -> Result<Comparison, CompareError> {
    if candidates.len() < 2 {
        return Err(CompareError::Candidates(candidates.len()));
    }
    if schedule.pairs == 0 || schedule.burst.is_zero() {
        return Err(CompareError::Schedule);
    }
    for candidate in candidates {
        candidate.pause()?;
    }
    let mut contestants = Vec::with_capacity(candidates.len() + 1);
    for (index, candidate) in candidates.iter().enumerate() {
        let role = match index {
            0 => Role::Reference,
            _ => Role::Candidate,
        };
        contestants.push(Contestant::connect(candidate, role)?);
        if index == 0 {
            contestants.push(Contestant::connect(candidate, Role::Control)?);
        }
    }
    for contestant in &mut contestants {
        contestant.warm_up(schedule.burst)?;
    }
    for round in 0..schedule.pairs {
        for place in turns(round, contestants.len()) {
            if stop.load(Ordering::Relaxed) {
                return Err(CompareError::Stopped);
            }
            let measured = contestants[place].measure(schedule.burst);
            // A terminal's Ctrl-C reaches our servers too: that they go is then no finding.
            if stop.load(Ordering::Relaxed) {
                return Err(CompareError::Stopped);
            }
            measured?;
        }
        observe(round);
    }
    let lines = contestants.into_iter().map(Contestant::end).collect();
    Ok(Comparison { schedule, lines })
}

/// The order of a round: each pair of rounds begins one place further on, and its second round runs
/// backwards, so that drift and the place in the round cancel out.
fn turns(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count)
        .map(|place| (place + round / 2) % count)
        .collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

//! What a run measured, for programs and people.
//!
//! | room | shape |
//! |---|---|
//! | [`json`] | this program's own, documented there |
//! | [`fio`] | that of `fio --output-format=json` |
//! | [`histogram`] | HdrHistogram's percentile text and interval log |
//! | [`human`] | single numbers, for tables and charts |

pub mod fio;
pub mod histogram;
pub mod human;
pub mod json;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use super::plan::Plan;
use super::rig::{Burst, LoadError, VolumeInfo};
use super::tally::{Direction, Tally};

/// What a run measured.
#[derive(Debug)]
pub struct Report {
    /// What was to be done.
    pub plan: Plan,
    /// The volumes as they were found, in the plan's order.
    pub volumes: Vec<VolumeInfo>,
    /// When the measurement began, since 1970.
    pub started_at: Duration,
    /// The measurement.
    pub measured: Burst,
    /// What was found outside the measurement, by job: in the warm-up, and when everything that was
    /// written was read back. Its failures and verified blocks count, its rates and latencies don't.
    pub outside: Vec<Tally>,
    /// How the rates of each job varied from interval to interval.
    pub rates: Vec<Rates>,
    /// The connection whose failure ended the run.
    pub error: Option<LoadError>,
}

impl Report {
    /// Failed I/Os, those outside the measurement included.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let tallies = self.measured.jobs.iter().chain(&self.outside);
        tallies.map(|tally| tally.failures.total()).sum()
    }

    /// Failures, wrong and verified blocks of one job, those outside the measurement included.
    #[must_use]
    pub fn findings(&self, job: usize) -> Tally {
        let mut all = self.measured.jobs[job].clone();
        if let Some(outside) = self.outside.get(job) {
            all.merge(outside);
        }
        all
    }

    /// Whether all went well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.error.is_none() && self.failures() == 0
    }
}

/// An error with its causes.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Smallest, largest, mean and standard deviation of a rate, sampled once an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// Samples.
    pub samples: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Spread {
    fn note(&mut self, value: f64) {
        self.min = if self.samples == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.samples += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    /// The mean; zero of nothing.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count()
    }

    /// The standard deviation of the samples as such.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        (self.sum_of_squares / self.count() - mean * mean)
            .max(0.0)
            .sqrt()
    }

    #[allow(clippy::cast_precision_loss, reason = "a handful of samples")]
    fn count(&self) -> f64 {
        self.samples.max(1) as f64
    }
}

/// How IOPS and bandwidth of a job varied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Reads per second.
    pub read_iops: Spread,
    /// Bytes per second.
    pub read_bandwidth: Spread,
    /// Writes per second.
    pub write_iops: Spread,
    /// Bytes per second.
    pub write_bandwidth: Spread,
}

impl Rates {
    /// Takes in an interval.
    pub(super) fn note(&mut self, tally: &Tally, length: Duration) {
        if length.is_zero() {
            return;
        }
        self.read_iops.note(per_second(tally.read.ios, length));
        self.read_bandwidth
            .note(per_second(tally.read.bytes, length));
        self.write_iops.note(per_second(tally.write.ios, length));
        self.write_bandwidth
            .note(per_second(tally.write.bytes, length));
    }

    /// IOPS and bandwidth of a direction.
    #[must_use]
    pub const fn of(&self, direction: Direction) -> (&Spread, &Spread) {
        match direction {
            Direction::Read => (&self.read_iops, &self.read_bandwidth),
            Direction::Write => (&self.write_iops, &self.write_bandwidth),
        }
    }
}

/// `count` in `time` as a rate; zero of no time.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
pub fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}

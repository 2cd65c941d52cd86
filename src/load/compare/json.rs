//! A study in JSON.
//!
//! The shape is stable: keys are added, and `format` counts up if one ever changes its meaning.
//!
//! ```text
//! { format: 1, started_unix_ms, machine: { program, kernel, cpu, cores }, burst_s, pairs,
//!   candidates: [{ name, settings: { what: text } }],
//!   lines: [LINE], by_depth: [{ depth, pairs, lines: [LINE] }] }
//!
//! LINE    = { name, role: "reference" | "control" | "candidate", ios, failures,
//!             latency_ns: as in a run's report, over all bursts,
//!             measures: { iops: MEASURE, p50_ns: …, client_cpu_ns_per_io: …, server_cpu_ns_per_io: …,
//!                         slowest_session_share: … } }
//! MEASURE = { median, ratio: { min, q1, median, q3, max }, verdict }, each null where it is not
//!             known: the server's CPU time of a server that was not started for the comparison, and the
//!             slowest session's share of the mean where there is one session
//! ```
//!
//! A `ratio` is that of the line to the reference in the same round, spread over the rounds. A
//! `verdict` is `better`, `worse` or `within noise`, and only candidates have one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::study::{Machine, Study};
use super::{Comparison, Line, Measure, Quartiles, Role};
use crate::load::report::json::Latency;

const FORMAT: u32 = 1;

/// The document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document<'a> {
    /// Counts up if a key ever changes its meaning.
    format: u32,
    /// When the comparison began, in milliseconds since 1970.
    started_unix_ms: u64,
    /// What it ran on.
    machine: &'a Machine,
    /// The length of a burst, in seconds.
    burst_s: f64,
    /// How many rounds there were.
    pairs: usize,
    /// What was compared.
    candidates: Vec<CandidateView<'a>>,
    /// Each candidate, and the control.
    lines: Vec<LineView<'a>>,
    /// The same at other depths.
    by_depth: Vec<DepthView<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CandidateView<'a> {
    /// Its name.
    name: &'a str,
    /// What it was set to, by the name of the setting.
    settings: BTreeMap<&'static str, &'a str>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DepthView<'a> {
    /// I/Os that each session kept outstanding.
    depth: u32,
    /// How many rounds there were.
    pairs: usize,
    /// Each candidate, and the control.
    lines: Vec<LineView<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct LineView<'a> {
    /// Its name.
    name: &'a str,
    /// `reference`, `control` or `candidate`.
    role: &'static str,
    /// I/Os in all bursts.
    ios: u64,
    /// I/Os that failed.
    failures: u64,
    /// Latencies in nanoseconds, over all bursts.
    latency_ns: Latency,
    /// `iops`, `p50_ns`, `client_cpu_ns_per_io`, `server_cpu_ns_per_io` and `slowest_session_share`.
    measures: BTreeMap<&'static str, MeasureView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MeasureView {
    /// The median of the bursts; `null` where it is not known.
    median: Option<f64>,
    /// Its ratio to the reference in the same round, spread over the rounds.
    ratio: Option<Quartiles>,
    /// `better`, `worse` or `within noise`; only candidates have one.
    verdict: Option<&'static str>,
}

/// The study as a JSON text.
///
/// # Errors
/// When a number is none, which none of these is.
pub fn render(study: &Study) -> serde_json::Result<String> {
    let named = study
        .main
        .lines
        .iter()
        .filter(|line| line.role != Role::Control);
    let candidates = named
        .zip(&study.settings)
        .map(|(line, settings)| CandidateView {
            name: &line.name,
            settings: settings
                .iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect(),
        });
    let by_depth = study.by_depth.iter().map(|(depth, comparison)| DepthView {
        depth: *depth,
        pairs: comparison.schedule.pairs,
        lines: lines(comparison),
    });
    serde_json::to_string_pretty(&Document {
        format: FORMAT,
        started_unix_ms: u64::try_from(study.started_at.as_millis()).unwrap_or(u64::MAX),
        machine: &study.machine,
        burst_s: study.main.schedule.burst.as_secs_f64(),
        pairs: study.main.schedule.pairs,
        candidates: candidates.collect(),
        lines: lines(&study.main),
        by_depth: by_depth.collect(),
    })
}

fn lines(comparison: &Comparison) -> Vec<LineView<'_>> {
    let view = |line| LineView::new(comparison, line);
    comparison.lines.iter().map(view).collect()
}

impl<'a> LineView<'a> {
    fn new(comparison: &Comparison, line: &'a Line) -> Self {
        let measure = |measure: Measure| MeasureView {
            median: line.median(measure),
            ratio: comparison.ratios(line, measure),
            verdict: comparison.verdict(line, measure).map(super::Verdict::name),
        };
        Self {
            name: &line.name,
            role: match line.role {
                Role::Reference => "reference",
                Role::Control => "control",
                Role::Candidate => "candidate",
            },
            ios: line.tally.ios(),
            failures: line.tally.failures.total(),
            latency_ns: Latency::new(&line.latency()),
            measures: Measure::ALL.map(|one| (one.key(), measure(one))).into(),
        }
    }
}

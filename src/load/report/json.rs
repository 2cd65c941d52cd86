//! The report in this program's own JSON shape.
//!
//! The shape is stable: keys are added, and `format` counts up if one ever changes its meaning.
//!
//! ```text
//! { format: 1, program, started_unix_ms, elapsed_s, error (text or null),
//!   load: { read_percent, pattern, blocks: [{ bytes, weight }], sessions, depth, threads, rate,
//!           fua, verify, seed },
//!   jobs: [{ address, size_bytes, block_bytes, header_digest, data_digest, read: LANE, write: LANE,
//!            sessions: { iops: { min, mean, max }, each_iops: [number] },
//!            failures: [{ kind, count }], verified_blocks, wrong_blocks: [{ lba, kind }], overdue }],
//!   total: { read: LANE, write: LANE, both: LANE, failures: [{ kind, count }] },
//!   client: { cpu_s, cpu_ns_per_io, receives, receives_empty, sends } }
//!
//! LANE = { ios, iops, bytes, bytes_per_second,
//!          latency_ns: { min, mean, stddev, p50, p90, p99, p99_9, p99_99, max } }
//! ```
//!
//! `sessions` and `depth` are those of each volume and each session. Failures, wrong and verified
//! blocks include those of the warm-up and of reading back. Latencies are zero where there were no I/Os.

use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Report, explain, per_second};
use crate::load::plan::{Pattern, Plan};
use crate::load::tally::{Lane, Tally, Work};

const FORMAT: u32 = 1;

/// The document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document {
    /// Counts up if a key ever changes its meaning.
    format: u32,
    /// This program and its version.
    program: String,
    /// When the measurement began, in milliseconds since 1970.
    started_unix_ms: u64,
    /// How long it took, in seconds.
    elapsed_s: f64,
    /// What ended it early; `null`: nothing.
    error: Option<String>,
    /// What was asked for.
    load: Load,
    /// Each logical unit.
    jobs: Vec<Job>,
    /// All of them together.
    total: Total,
    /// What the client did.
    client: Client,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Load {
    /// How many of a hundred I/Os read.
    read_percent: u8,
    /// `sequential`, `strided:BYTES`, `uniform` or `zipf:THETA`.
    pattern: String,
    /// Sizes of I/Os.
    blocks: Vec<Blocks>,
    /// Sessions of each logical unit.
    sessions: usize,
    /// I/Os that each session keeps outstanding.
    depth: u32,
    /// Threads of the client.
    threads: usize,
    /// I/Os a second of an open loop; `null`: as fast as they end.
    rate: Option<u64>,
    /// Whether writes carry FUA.
    fua: bool,
    /// Whether what is read is judged.
    verify: bool,
    /// What chance follows from.
    seed: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Blocks {
    /// Bytes of an I/O.
    bytes: u32,
    /// How often, beside the others.
    weight: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Job {
    /// Its address.
    address: String,
    /// Its size.
    size_bytes: u64,
    /// Its logical block length.
    block_bytes: u32,
    /// Whether headers carry CRC32C.
    header_digest: bool,
    /// Whether data carries CRC32C.
    data_digest: bool,
    /// Reads.
    read: LaneView,
    /// Writes.
    write: LaneView,
    /// How its sessions shared its IOPS.
    sessions: Sessions,
    /// I/Os that failed, with those of the warm-up and of reading back.
    failures: Vec<FailureView>,
    /// Blocks that were judged.
    verified_blocks: u64,
    /// Those that were not what was written, the first ones.
    wrong_blocks: Vec<WrongBlockView>,
    /// I/Os of an open loop that could not be sent when they were due.
    overdue: u64,
}

/// How a volume's IOPS were shared by its sessions.
#[derive(Debug, Serialize, JsonSchema)]
struct Sessions {
    /// Their spread.
    iops: Extent,
    /// Of each session.
    each_iops: Vec<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Extent {
    /// The smallest.
    min: f64,
    /// The mean.
    mean: f64,
    /// The largest.
    max: f64,
}

impl Sessions {
    /// Of each session's I/Os in `elapsed`.
    fn new(ios: &[u64], elapsed: Duration) -> Self {
        let each_iops: Vec<f64> = ios.iter().map(|ios| per_second(*ios, elapsed)).collect();
        #[allow(clippy::cast_precision_loss, reason = "a few thousand sessions")]
        let count = each_iops.len().max(1) as f64;
        Self {
            iops: Extent {
                min: each_iops.iter().copied().reduce(f64::min).unwrap_or(0.0),
                mean: each_iops.iter().sum::<f64>() / count,
                max: each_iops.iter().copied().fold(0.0, f64::max),
            },
            each_iops,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Total {
    /// Reads.
    read: LaneView,
    /// Writes.
    write: LaneView,
    /// Both.
    both: LaneView,
    /// I/Os that failed.
    failures: Vec<FailureView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FailureView {
    /// How.
    kind: String,
    /// How many.
    count: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WrongBlockView {
    /// Where.
    lba: u64,
    /// How it is wrong.
    kind: String,
}

/// The I/Os of a direction.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LaneView {
    /// How many.
    ios: u64,
    /// How many a second.
    iops: f64,
    /// Bytes.
    bytes: u64,
    /// Bytes a second.
    bytes_per_second: f64,
    /// Latencies in nanoseconds; zeros where there were no I/Os.
    latency_ns: Latency,
}

impl LaneView {
    /// The view of a lane over `elapsed`.
    #[must_use]
    pub fn new(lane: &Lane, elapsed: Duration) -> Self {
        Self {
            ios: lane.ios,
            iops: per_second(lane.ios, elapsed),
            bytes: lane.bytes,
            bytes_per_second: per_second(lane.bytes, elapsed),
            latency_ns: Latency::new(&lane.latency),
        }
    }

    /// Both directions of a tally.
    #[must_use]
    pub fn both(tally: &Tally, elapsed: Duration) -> Self {
        let lane = Lane {
            ios: tally.ios(),
            bytes: tally.bytes(),
            latency: tally.latency(),
        };
        Self::new(&lane, elapsed)
    }
}

/// Latencies in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub stddev: f64,
    /// The median.
    pub p50: u64,
    /// 90% are not longer.
    pub p90: u64,
    /// 99% are not longer.
    pub p99: u64,
    /// 99.9% are not longer.
    pub p99_9: u64,
    /// 99.99% are not longer.
    pub p99_99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// Of a histogram in nanoseconds; zeros if it is empty.
    #[must_use]
    pub fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            min: histogram.min(),
            mean: histogram.mean(),
            stddev: histogram.stdev(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max(),
        }
    }
}

/// What the client did.
#[derive(Debug, Serialize, JsonSchema)]
struct Client {
    /// CPU time, in seconds.
    cpu_s: f64,
    /// CPU time for each I/O, in nanoseconds.
    cpu_ns_per_io: f64,
    /// Receives.
    receives: u64,
    /// Receives that found nothing.
    receives_empty: u64,
    /// Sends.
    sends: u64,
}

impl Client {
    fn new(work: &Work, ios: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
        let ios = ios.max(1) as f64;
        Self {
            cpu_s: work.cpu.as_secs_f64(),
            cpu_ns_per_io: work.cpu.as_secs_f64() * 1e9 / ios,
            receives: work.receives,
            receives_empty: work.receives_empty,
            sends: work.sends,
        }
    }
}

/// The report as a JSON text.
///
/// # Errors
/// When a number is none, which a rate never is.
pub fn render(report: &Report) -> serde_json::Result<String> {
    let elapsed = report.measured.elapsed;
    let total = report.measured.total();
    let mut failures = total.failures.clone();
    for tally in &report.outside {
        failures.merge(&tally.failures);
    }
    let document = Document {
        format: FORMAT,
        program: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
        started_unix_ms: u64::try_from(report.started_at.as_millis()).unwrap_or(u64::MAX),
        elapsed_s: elapsed.as_secs_f64(),
        error: report.error.as_ref().map(|error| explain(error)),
        load: Load::new(&report.plan),
        jobs: (0..report.volumes.len())
            .map(|index| Job::new(report, index))
            .collect(),
        total: Total {
            read: LaneView::new(&total.read, elapsed),
            write: LaneView::new(&total.write, elapsed),
            both: LaneView::both(&total, elapsed),
            failures: failure_views(&failures),
        },
        client: Client::new(&report.measured.work, total.ios()),
    };
    serde_json::to_string_pretty(&document)
}

impl Load {
    fn new(plan: &Plan) -> Self {
        let workload = &plan.workload;
        let blocks = workload.blocks.iter().map(|block| Blocks {
            bytes: block.bytes,
            weight: block.weight,
        });
        Self {
            read_percent: workload.read_percent,
            pattern: pattern_name(workload.pattern),
            blocks: blocks.collect(),
            sessions: plan.sessions,
            depth: plan.depth,
            threads: plan.threads.count,
            rate: workload.rate.map(std::num::NonZeroU64::get),
            fua: workload.fua,
            verify: workload.verify,
            seed: workload.seed,
        }
    }
}

/// The pattern as `sequential`, `strided:BYTES`, `uniform` or `zipf:THETA`.
pub(in crate::load) fn pattern_name(pattern: Pattern) -> String {
    match pattern {
        Pattern::Sequential => "sequential".to_owned(),
        Pattern::Strided(stride) => format!("strided:{stride}"),
        Pattern::Uniform => "uniform".to_owned(),
        Pattern::Zipf(theta) => format!("zipf:{theta}"),
    }
}

impl Job {
    fn new(report: &Report, index: usize) -> Self {
        let volume = &report.volumes[index];
        let elapsed = report.measured.elapsed;
        let tally = &report.measured.jobs[index];
        let all = report.findings(index);
        let wrong_blocks = all.wrong_blocks.iter().map(|wrong| WrongBlockView {
            lba: wrong.lba,
            kind: crate::load::FailureKind::Mismatch(wrong.mismatch).to_string(),
        });
        Self {
            address: volume.address.to_string(),
            size_bytes: volume.capacity.bytes(),
            block_bytes: volume.capacity.block_bytes,
            header_digest: volume.parameters.header_digest,
            data_digest: volume.parameters.data_digest,
            read: LaneView::new(&tally.read, elapsed),
            write: LaneView::new(&tally.write, elapsed),
            sessions: Sessions::new(&report.measured.sessions[index], elapsed),
            failures: failure_views(&all.failures),
            verified_blocks: all.verified_blocks,
            wrong_blocks: wrong_blocks.collect(),
            overdue: tally.overdue,
        }
    }
}

fn failure_views(failures: &crate::load::Failures) -> Vec<FailureView> {
    failures
        .iter()
        .map(|(kind, count)| FailureView {
            kind: kind.to_string(),
            count,
        })
        .collect()
}

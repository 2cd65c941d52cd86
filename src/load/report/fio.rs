//! The report in the shape of `fio --output-format=json` (fio 3.x), for tools that read that.
//!
//! What this program does not measure has the value that fio gives it when it does not measure it
//! either: zero. Submission takes no time of its own here, so `clat` and `lat` are the same.

use serde_json::{Map, Value, json};

use super::{Report, per_second};
use crate::load::plan::{Pattern, Workload};
use crate::load::tally::{Direction, Lane};

/// fio's default `percentile_list`.
const PERCENTILES: [f64; 17] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95,
    99.99,
];

/// The report as fio would print it.
///
/// # Errors
/// When a number is none, which a rate never is.
pub fn render(report: &Report) -> serde_json::Result<String> {
    let started = report.started_at;
    let jobs: Vec<Value> = (0..report.volumes.len())
        .map(|index| job(report, index))
        .collect();
    let document = json!({
        "fio version": "fio-3.33",
        "timestamp": started.as_secs(),
        "timestamp_ms": u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
        "time": "",
        "generator": format!("holdfast {}", env!("CARGO_PKG_VERSION")),
        "global options": global_options(report),
        "jobs": jobs,
        "disk_util": [],
    });
    serde_json::to_string_pretty(&document)
}

fn global_options(report: &Report) -> Value {
    let plan = &report.plan;
    let sizes: Vec<String> = plan
        .workload
        .blocks
        .iter()
        .map(|block| block.bytes.to_string())
        .collect();
    json!({
        "ioengine": "libiscsi",
        "rw": mode(&plan.workload),
        "rwmixread": plan.workload.read_percent.to_string(),
        "bs": sizes.join(","),
        "iodepth": plan.depth.to_string(),
        "numjobs": plan.sessions.to_string(),
        "runtime": plan.duration.as_secs().to_string(),
    })
}

/// The `rw` of a job file.
fn mode(workload: &Workload) -> &'static str {
    let is_random = matches!(workload.pattern, Pattern::Uniform | Pattern::Zipf(_));
    match (is_random, workload.read_percent) {
        (true, 100) => "randread",
        (true, 0) => "randwrite",
        (true, _) => "randrw",
        (false, 100) => "read",
        (false, 0) => "write",
        (false, _) => "rw",
    }
}

fn job(report: &Report, index: usize) -> Value {
    let elapsed = report.measured.elapsed;
    let tally = &report.measured.jobs[index];
    let failures = tally.failures.total();
    let cpu = report.measured.work.cpu.as_secs_f64();
    let busy = 100.0 * cpu / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    json!({
        "jobname": report.volumes[index].address.to_string(),
        "groupid": 0,
        // EIO, as a kernel would tell it.
        "error": if failures > 0 || report.error.is_some() { 5 } else { 0 },
        "total_err": failures,
        "eta": 0,
        "elapsed": elapsed.as_secs(),
        "job options": { "name": report.volumes[index].address.target.to_string() },
        "read": lane(report, index, Direction::Read),
        "write": lane(report, index, Direction::Write),
        "trim": nothing(),
        "sync": { "total_ios": 0, "lat_ns": latency(&Lane::default(), true) },
        "job_runtime": millis(report),
        "usr_cpu": busy,
        "sys_cpu": 0.0,
        "ctx": 0,
        "majf": 0,
        "minf": 0,
        "latency_depth": report.plan.depth,
        "latency_target": 0,
        "latency_percentile": 100.0,
        "latency_window": 0,
    })
}

fn millis(report: &Report) -> u64 {
    u64::try_from(report.measured.elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn lane(report: &Report, index: usize, direction: Direction) -> Value {
    let elapsed = report.measured.elapsed;
    let lane = report.measured.jobs[index].lane(direction);
    let (iops, bandwidth) = report.rates[index].of(direction);
    let kib = |bytes: f64| bytes / 1024.0;
    let bytes_per_second = per_second(lane.bytes, elapsed);
    json!({
        "io_bytes": lane.bytes,
        "io_kbytes": lane.bytes / 1024,
        "bw_bytes": whole_number(bytes_per_second),
        "bw": whole_number(kib(bytes_per_second)),
        "iops": per_second(lane.ios, elapsed),
        "runtime": if lane.ios > 0 { millis(report) } else { 0 },
        "total_ios": lane.ios,
        "short_ios": 0,
        "drop_ios": 0,
        "slat_ns": latency(&Lane::default(), false),
        "clat_ns": latency(lane, true),
        "lat_ns": latency(lane, true),
        "bw_min": whole_number(kib(bandwidth.min)),
        "bw_max": whole_number(kib(bandwidth.max)),
        "bw_agg": if lane.ios > 0 { 100.0 } else { 0.0 },
        "bw_mean": kib(bandwidth.mean()),
        "bw_dev": kib(bandwidth.deviation()),
        "bw_samples": bandwidth.samples,
        "iops_min": whole_number(iops.min),
        "iops_max": whole_number(iops.max),
        "iops_mean": iops.mean(),
        "iops_stddev": iops.deviation(),
        "iops_samples": iops.samples,
    })
}

/// A direction that no job has.
fn nothing() -> Value {
    json!({
        "io_bytes": 0, "io_kbytes": 0, "bw_bytes": 0, "bw": 0, "iops": 0.0, "runtime": 0,
        "total_ios": 0, "short_ios": 0, "drop_ios": 0,
        "slat_ns": latency(&Lane::default(), false),
        "clat_ns": latency(&Lane::default(), false),
        "lat_ns": latency(&Lane::default(), false),
    })
}

fn latency(lane: &Lane, with_percentiles: bool) -> Value {
    let histogram = &lane.latency;
    let mut fields = Map::new();
    fields.insert("min".into(), histogram.min().into());
    fields.insert("max".into(), histogram.max().into());
    fields.insert("mean".into(), json!(histogram.mean()));
    fields.insert("stddev".into(), json!(histogram.stdev()));
    fields.insert("N".into(), histogram.len().into());
    if with_percentiles && !histogram.is_empty() {
        let percentiles: Map<String, Value> = PERCENTILES
            .iter()
            .map(|percentile| {
                let value = histogram.value_at_percentile(*percentile);
                (format!("{percentile:.6}"), value.into())
            })
            .collect();
        fields.insert("percentile".into(), Value::Object(percentiles));
    }
    Value::Object(fields)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and no rate is negative"
)]
fn whole_number(value: f64) -> u64 {
    value.round() as u64
}

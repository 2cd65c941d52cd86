//! Runs of fio, or of anything that prints its JSON, to be compared after the fact.
//!
//! Each file is a candidate. Jobs of the same shape (`rw`, `bs`, `numjobs` and `iodepth`) are one line
//! of a comparison, whatever they are called, so that a kernel initiator's jobs and those of
//! `holdfast bench --output-format fio` stand beside each other. Runs that follow each other in time
//! have no control: their ratios come without a verdict.
//!
//! Latencies come from the bins of `--output-format=json+`. Plain JSON has percentiles only; what lies
//! between two of them then counts as the higher one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::study::Settings;
use super::{Comparison, Line, Role, Sample, Schedule};
use crate::load::tally::{Direction, Lane, Tally};

/// Why a file is no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not JSON.
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    /// JSON without what fio's has.
    #[error("not fio's JSON: {0}")]
    Shape(&'static str),
    /// Nothing that all files have.
    #[error("no job of the same rw, bs, numjobs and iodepth is in all files")]
    NothingInCommon,
}

/// What a job does, as fio's options say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// `randread` and so on.
    pub mode: String,
    /// Bytes of a transfer, or several sizes as they were written.
    pub block: String,
    /// Jobs that do the same.
    pub jobs: u32,
    /// I/Os outstanding of each.
    pub depth: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} {} {}×{}",
            self.mode, self.block, self.jobs, self.depth
        )
    }
}

/// What one file has.
#[derive(Debug)]
pub struct Run {
    name: String,
    settings: Settings,
    /// In the file's order.
    jobs: Vec<(Shape, Measured)>,
}

/// All jobs of a shape in one file.
#[derive(Debug, Clone, Default)]
struct Measured {
    iops: f64,
    cpu_ns: f64,
    tally: Tally,
}

/// Files side by side.
#[derive(Debug)]
pub struct Runs {
    /// The files' names and what is known of how they were made, in their order.
    pub settings: Vec<(String, Settings)>,
    /// What all files have, in the order of the first.
    pub shapes: Vec<(Shape, Comparison)>,
    /// Shapes that some files lack.
    pub left_out: Vec<Shape>,
}

impl Run {
    /// Reads what fio printed. Words before the JSON, such as fio's warnings, are skipped.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read(name: &str, text: &str) -> Result<Self, RunError> {
        let begin = text.find('{').unwrap_or(0);
        let document: Value = serde_json::from_str(&text[begin..])?;
        let found = document["jobs"].as_array();
        let found = found.ok_or(RunError::Shape("it has no jobs"))?;
        let global = &document["global options"];
        let mut jobs: Vec<(Shape, Measured)> = Vec::new();
        let mut has_bins = true;
        for job in found {
            let shape = shape(global, &job["job options"]);
            let place = jobs.iter().position(|(other, _)| *other == shape);
            let place = place.unwrap_or_else(|| {
                jobs.push((shape, Measured::default()));
                jobs.len() - 1
            });
            has_bins &= jobs[place].1.add(job)?;
        }
        jobs.retain(|(_, measured)| measured.tally.ios() > 0);
        Ok(Self {
            name: name.to_owned(),
            settings: settings(&document, has_bins),
            jobs,
        })
    }

    fn find(&self, shape: &Shape) -> Option<&Measured> {
        let found = self.jobs.iter().find(|(other, _)| other == shape);
        found.map(|(_, measured)| measured)
    }
}

impl Runs {
    /// Puts runs side by side; the first one is what the others are compared with.
    ///
    /// # Errors
    /// When there is no shape that all of them have.
    pub fn compare(runs: &[Run]) -> Result<Self, RunError> {
        let (mut shapes, mut left_out): (Vec<_>, Vec<Shape>) = (Vec::new(), Vec::new());
        for (shape, _) in runs.iter().flat_map(|run| &run.jobs) {
            if shapes.iter().any(|(other, _)| other == shape) || left_out.contains(shape) {
                continue;
            }
            let lines = runs.iter().enumerate().map(|(index, run)| {
                let role = if index == 0 {
                    Role::Reference
                } else {
                    Role::Candidate
                };
                Some(run.find(shape)?.line(&run.name, role))
            });
            match lines.collect::<Option<Vec<Line>>>() {
                Some(lines) => {
                    let schedule = Schedule {
                        burst: Duration::ZERO,
                        pairs: 1,
                    };
                    shapes.push((shape.clone(), Comparison { schedule, lines }));
                }
                None => left_out.push(shape.clone()),
            }
        }
        if shapes.is_empty() {
            return Err(RunError::NothingInCommon);
        }
        let settings = runs
            .iter()
            .map(|run| (run.name.clone(), run.settings.clone()));
        Ok(Self {
            settings: settings.collect(),
            shapes,
            left_out,
        })
    }

    /// The shapes that differ in how many I/Os are outstanding alone, where there are at least two:
    /// what they have in common, and each with that number, in its order.
    #[must_use]
    pub fn sweeps(&self) -> Vec<(String, Vec<(u32, &Comparison)>)> {
        let mut groups: BTreeMap<(&str, &str), Vec<(u32, &Comparison)>> = BTreeMap::new();
        for (shape, comparison) in &self.shapes {
            let group = groups.entry((&shape.mode, &shape.block)).or_default();
            group.push((shape.jobs.saturating_mul(shape.depth), comparison));
        }
        groups.retain(|_, steps| steps.len() > 1);
        let sorted = groups.into_iter().map(|((mode, block), mut steps)| {
            steps.sort_by_key(|(outstanding, _)| *outstanding);
            (format!("{mode} {block}"), steps)
        });
        sorted.collect()
    }
}

impl Measured {
    /// Takes a job in. Whether its latencies are known bin by bin.
    fn add(&mut self, job: &Value) -> Result<bool, RunError> {
        let mut has_bins = true;
        let directions = [("read", Direction::Read), ("write", Direction::Write)];
        for (key, direction) in directions {
            let ios = job[key]["total_ios"].as_u64();
            let ios = ios.ok_or(RunError::Shape("a job without total_ios"))?;
            if ios == 0 {
                continue;
            }
            self.iops += job[key]["iops"].as_f64().unwrap_or(0.0);
            let lane = match direction {
                Direction::Read => &mut self.tally.read,
                Direction::Write => &mut self.tally.write,
            };
            lane.ios += ios;
            lane.bytes += job[key]["io_bytes"].as_u64().unwrap_or(0);
            has_bins &= latencies(&job[key], ios, lane)?;
        }
        // Percent of the jobs' time, which `job_runtime` has in milliseconds, all jobs added up.
        let percent = ["usr_cpu", "sys_cpu"].map(|key| job[key].as_f64().unwrap_or(0.0));
        let runtime_ms = job["job_runtime"].as_f64().unwrap_or(0.0);
        self.cpu_ns += percent.iter().sum::<f64>() / 100.0 * runtime_ms * 1e6;
        Ok(has_bins)
    }

    fn line(&self, name: &str, role: Role) -> Line {
        #[allow(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
        let sample = Sample {
            iops: self.iops,
            p50_ns: self.tally.latency().value_at_quantile(0.5) as f64,
            client_cpu_ns: self.cpu_ns / self.tally.ios() as f64,
            server_cpu_ns: None,
            slowest_share: None,
        };
        Line {
            name: name.to_owned(),
            role,
            samples: vec![sample],
            tally: self.tally.clone(),
        }
    }
}

/// Takes the latencies of a direction into `lane`: submission and completion together where fio told
/// them, completion alone otherwise. `true` if bins were there, `false` if percentiles were.
fn latencies(direction: &Value, ios: u64, lane: &mut Lane) -> Result<bool, RunError> {
    let kinds = ["lat_ns", "clat_ns"].map(|kind| &direction[kind]);
    if let Some(bins) = kinds.iter().find_map(|kind| filled(&kind["bins"])) {
        for (value, count) in bins {
            let count = count.as_u64().unwrap_or(0);
            let value = value
                .parse()
                .map_err(|_| RunError::Shape("a bin of no latency"))?;
            lane.latency.saturating_record_n(value, count);
        }
        return Ok(true);
    }
    let percentiles = kinds.iter().find_map(|kind| filled(&kind["percentile"]));
    let percentiles = percentiles.ok_or(RunError::Shape("no bins and no percentiles"))?;
    let mut steps: Vec<(f64, u64)> = percentiles
        .iter()
        .filter_map(|(percent, value)| Some((percent.parse().ok()?, value.as_u64()?)))
        .collect();
    steps.sort_by(|one, other| one.0.total_cmp(&other.0));
    let longest = kinds
        .iter()
        .find_map(|kind| kind["max"].as_u64())
        .unwrap_or(0);
    steps.push((100.0, longest.max(steps.last().map_or(0, |step| step.1))));
    let mut counted = 0;
    for (percent, value) in steps {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a part of the I/Os, never negative"
        )]
        let until = (percent.clamp(0.0, 100.0) / 100.0 * ios as f64).round() as u64;
        lane.latency
            .saturating_record_n(value, until.saturating_sub(counted));
        counted = counted.max(until);
    }
    Ok(false)
}

fn filled(value: &Value) -> Option<&serde_json::Map<String, Value>> {
    value.as_object().filter(|object| !object.is_empty())
}

/// The shape of a job: its own options, the global ones, fio's defaults.
fn shape(global: &Value, own: &Value) -> Shape {
    let option = |key: &str, usual: &str| {
        let given = own[key].as_str().or_else(|| global[key].as_str());
        given.unwrap_or(usual).to_owned()
    };
    let number = |key: &str| option(key, "1").parse().unwrap_or(1);
    Shape {
        mode: option("rw", "read"),
        block: block_name(&option("bs", "4k")),
        jobs: number("numjobs"),
        depth: number("iodepth"),
    }
}

/// `4k`, `4096` and `4KiB` as `4 KiB`; what is no single size as it is.
fn block_name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &lower[digits.len()..] {
        "" | "b" => Some(1),
        "k" | "ki" | "kb" | "kib" => Some(1 << 10),
        "m" | "mi" | "mb" | "mib" => Some(1 << 20),
        _ => None,
    };
    let bytes = factor.and_then(|factor: u64| digits.parse::<u64>().ok()?.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        Some(bytes) if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        Some(bytes) => format!("{bytes} B"),
        None => text.to_owned(),
    }
}

fn settings(document: &Value, has_bins: bool) -> Settings {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let program = filled_text(&document["generator"]).unwrap_or(&document["fio version"]);
    let options = |value: &Value| {
        let pairs = filled(value).into_iter().flatten();
        let pairs: Vec<String> = pairs
            .map(|(key, value)| format!("{key}={}", text(value)))
            .collect();
        pairs.join(", ")
    };
    let mut settings = vec![
        ("program", text(program)),
        ("global options", options(&document["global options"])),
    ];
    for job in document["jobs"].as_array().into_iter().flatten() {
        settings.push((
            "job",
            format!(
                "{}: {}",
                text(&job["jobname"]),
                options(&job["job options"])
            ),
        ));
    }
    let disks: Vec<String> = document["disk_util"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|disk| text(&disk["name"]))
        .collect();
    if !disks.is_empty() {
        settings.push(("disks", disks.join(", ")));
    }
    if let Some(time) = filled_text(&document["time"]) {
        settings.push(("time", text(time)));
    } else if let Some(seconds) = document["timestamp"].as_u64() {
        settings.push(("time", format!("{seconds} seconds after 1970-01-01 UTC")));
    }
    let latencies = if has_bins {
        "bin by bin"
    } else {
        "percentiles only: what lies between two counts as the higher one"
    };
    settings.push(("latencies", latencies.to_owned()));
    settings
}

fn filled_text(value: &Value) -> Option<&Value> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(|_| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job as fio tells it, of 1000 reads.
    fn job(options: &Value, latency: &Value) -> Value {
        let nothing = serde_json::json!({ "total_ios": 0 });
        serde_json::json!({
            "jobname": "any", "job options": options, "usr_cpu": 10.0, "sys_cpu": 30.0,
            "job_runtime": 1000, "write": nothing,
            "read": { "total_ios": 1000, "io_bytes": 4_096_000, "iops": 500.0, "lat_ns": latency },
        })
    }

    fn file(jobs: &[Value]) -> String {
        let document = serde_json::json!({
            "fio version": "fio-3.33", "timestamp": 7, "jobs": jobs,
            "global options": { "bs": "4k", "filename": "/dev/sdb" },
        });
        format!("fio: a warning of its own\n{document}")
    }

    fn bins() -> Value {
        serde_json::json!({ "bins": { "1000": 600, "2000": 300, "9000": 100 } })
    }

    #[test]
    fn bins_are_taken_as_they_are() {
        let options = serde_json::json!({ "rw": "randread", "iodepth": "32" });
        let run = Run::read("one", &file(&[job(&options, &bins())])).unwrap();
        let runs = Runs::compare(&[run]).unwrap();
        let (shape, comparison) = &runs.shapes[0];
        assert_eq!(shape.to_string(), "randread 4 KiB 1×32");
        let line = &comparison.lines[0];
        let latency = line.latency();
        assert_eq!(latency.len(), 1000);
        let at = |quantile| latency.value_at_quantile(quantile) / 100 * 100;
        assert_eq!((at(0.6), at(0.9), at(0.95)), (1000, 2000, 9000));
        // 40% of a second, over 1000 I/Os.
        let cpu = line.samples[0].client_cpu_ns;
        assert!((cpu - 400_000.0).abs() < 1.0, "{cpu}");
    }

    #[test]
    fn percentiles_count_upwards() {
        let percentile = serde_json::json!({ "50.000000": 1000, "90.000000": 4000 });
        let latency = serde_json::json!({ "percentile": percentile, "max": 8000 });
        let run = Run::read("one", &file(&[job(&Value::Null, &latency)])).unwrap();
        let latency = run.jobs[0].1.tally.latency();
        assert_eq!(latency.len(), 1000);
        let counts = [1000, 4000, 8000].map(|value| latency.count_at(value));
        assert_eq!(counts, [500, 400, 100]);
        let told = run.settings.last().map(|(_, text)| text.as_str());
        assert!(told.unwrap().starts_with("percentiles only"), "{told:?}");
    }

    #[test]
    fn what_is_alike_is_compared() {
        let options = |depth: &str, bs: &str| serde_json::json!({ "rw": "randread", "iodepth": depth, "bs": bs });
        let of = |name: &str, all: &[(&str, &str)]| {
            let jobs: Vec<Value> = all
                .iter()
                .map(|(depth, bs)| job(&options(depth, bs), &bins()))
                .collect();
            Run::read(name, &file(&jobs)).unwrap()
        };
        let one = of("one", &[("32", "4k"), ("1", "4096"), ("1", "128k")]);
        // Two jobs of one shape are one.
        let two = of("two", &[("1", "4KiB"), ("32", "4096"), ("32", "4k")]);
        let runs = Runs::compare(&[one, two]).unwrap();
        let names: Vec<String> = runs
            .shapes
            .iter()
            .map(|(shape, _)| shape.to_string())
            .collect();
        assert_eq!(names, ["randread 4 KiB 1×32", "randread 4 KiB 1×1"]);
        let left_out: Vec<String> = runs.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(left_out, ["randread 128 KiB 1×1"]);
        let ratios = runs.shapes[0]
            .1
            .ratios(&runs.shapes[0].1.lines[1], super::super::Measure::Iops);
        assert_eq!(ratios.map(|ratios| ratios.median), Some(2.0));
        let sweeps = runs.sweeps();
        assert_eq!(sweeps[0].0, "randread 4 KiB");
        let steps: Vec<u32> = sweeps[0]
            .1
            .iter()
            .map(|(outstanding, _)| *outstanding)
            .collect();
        assert_eq!(steps, [1, 32]);
        let alone = of("three", &[("7", "4k")]);
        let nothing = Runs::compare(&[alone, of("four", &[("8", "4k")])]);
        assert!(matches!(nothing, Err(RunError::NothingInCommon)));
    }

    #[test]
    fn what_is_no_run_is_refused() {
        for wrong in ["", "no JSON", "{}", "{\"jobs\": 7}", "{\"jobs\": [{}]}"] {
            assert!(Run::read("one", wrong).is_err(), "{wrong}");
        }
        let unknown = file(&[job(&Value::Null, &serde_json::json!({ "min": 1 }))]);
        let refused = Run::read("one", &unknown);
        assert!(matches!(refused, Err(RunError::Shape(_))), "{refused:?}");
    }
}

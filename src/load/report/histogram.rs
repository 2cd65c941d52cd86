//! HdrHistogram's own texts: the percentile distribution that its plotters read, and the interval
//! log.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use crate::load::crew::Interval;
use crate::load::tally::Direction;

/// Percentile lines for each halving of the distance to 100%.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// Values are told in microseconds.
const NANOS_PER_UNIT: f64 = 1000.0;

/// Writes a percentile distribution (`.hgrm`), values in microseconds.
///
/// # Errors
/// When `out` does not take it.
pub fn write_percentiles(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let value = units(step.value_iterated_to());
        let quantile = step.quantile_iterated_to();
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(
                out,
                "{value:12.3} {quantile:2.12} {count:10} {inverse:14.2}"
            )?;
        } else {
            writeln!(
                out,
                "{value:12.3} {quantile:2.12} {count:10}            inf"
            )?;
        }
    }
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    let (mean, deviation) = (mean / NANOS_PER_UNIT, deviation / NANOS_PER_UNIT);
    writeln!(
        out,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"
    )?;
    let (max, total) = (units(histogram.max()), histogram.len());
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {total:12}]")?;
    let (buckets, sub_buckets) = (histogram.buckets(), histogram.distinct_values());
    writeln!(
        out,
        "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]"
    )
}

#[allow(clippy::cast_precision_loss, reason = "latencies are below 2^53")]
fn units(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_UNIT
}

/// Writes the intervals of a run as an interval log: values in nanoseconds, tagged
/// `JOB-read` and `JOB-write` by the job's number from 0.
pub fn write_log(
    intervals: &[Interval],
    started: SystemTime,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Latencies in nanoseconds]")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(out, &mut serializer)?;
    for interval in intervals {
        for (job, tally) in interval.jobs.iter().enumerate() {
            for (direction, name) in [(Direction::Read, "read"), (Direction::Write, "write")] {
                let latency = &tally.lane(direction).latency;
                if !latency.is_empty() {
                    let tag = format!("{job}-{name}");
                    let (start, length) = (interval.start, interval.length);
                    write_interval(&mut log, latency, start, length, &tag)?;
                }
            }
        }
    }
    Ok(())
}

fn write_interval<W: Write>(
    log: &mut IntervalLogWriter<'_, '_, W, V2DeflateSerializer>,
    latency: &Histogram<u64>,
    start: Duration,
    length: Duration,
    tag: &str,
) -> io::Result<()> {
    log.write_histogram(latency, start, length, Tag::new(tag))
        .map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error.to_string()),
        })
}

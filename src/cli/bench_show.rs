//! What `bench` shows: a line of progress, and tables.

use std::io::IsTerminal;
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::{Column, describe, render};
use crate::base::clock::Instant;
pub(super) use crate::load::report::human::{count as human_count, time as human_time};
use crate::load::report::json::Latency;
use crate::load::report::per_second;
use crate::load::{Direction, Interval, Lane, Plan, Report, Tally};

/// A line on the terminal while the run goes on; nothing where there is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    duration: Duration,
}

/// Standard error, where it is a terminal.
fn terminal() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// A line on the terminal while a comparison goes on: the pair of how many, and the time that is left.
/// It ends when it is dropped.
pub(super) struct Rounds {
    bar: ProgressBar,
    all: usize,
    since: Instant,
}

impl Rounds {
    /// For `all` rounds, of every depth.
    pub(super) fn start(all: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, terminal());
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message("starting");
        bar.tick();
        Self {
            bar,
            all,
            since: Instant::now(),
        }
    }

    /// `done` rounds are over; `what` says which part goes on.
    pub(super) fn show(&self, done: usize, what: &str) {
        let now = pair_line(done, self.all, Instant::now().since(self.since));
        self.bar.set_message(format!("{now}{what}"));
        self.bar.tick();
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `pair 4 of 12, 3 s left`: the rounds to come take as long as those that are over.
fn pair_line(done: usize, all: usize, elapsed: Duration) -> String {
    let counted = |rounds: usize| u32::try_from(rounds).unwrap_or(u32::MAX);
    let pair = (done + 1).min(all);
    let left = match counted(done) {
        0 => return format!("pair {pair} of {all}"),
        rounds => elapsed / rounds * counted(all.saturating_sub(done)),
    };
    format!("pair {pair} of {all}, {:.0} s left", left.as_secs_f64())
}

impl Progress {
    pub(super) fn start(plan: &Plan) -> Self {
        let bar = ProgressBar::with_draw_target(None, terminal());
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message("connecting");
        Self {
            bar,
            duration: plan.duration,
        }
    }

    pub(super) fn show(&self, interval: &Interval) {
        if self.bar.is_hidden() {
            return;
        }
        let mut total = Tally::default();
        interval.jobs.iter().for_each(|job| total.merge(job));
        let latency = Latency::new(&total.latency());
        let done = interval.start + interval.length;
        let failures = match total.failures.total() {
            0 => String::new(),
            count => format!("  {count} failures"),
        };
        self.bar.set_message(format!(
            "{:.0}s of {:.0}s  {} IOPS  {}/s  p50 {}  p99 {}  max {}{failures}",
            done.as_secs_f64(),
            self.duration.as_secs_f64(),
            human_count(per_second(total.ios(), interval.length)),
            human_bytes(per_second(total.bytes(), interval.length)),
            human_time(latency.p50),
            human_time(latency.p99),
            human_time(latency.max),
        ));
        self.bar.tick();
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// The columns that every table of latencies ends with.
pub(super) const LATENCY_COLUMNS: [Column; 8] = [
    Column::Number("MIN"),
    Column::Number("MEAN"),
    Column::Number("P50"),
    Column::Number("P90"),
    Column::Number("P99"),
    Column::Number("P99.9"),
    Column::Number("P99.99"),
    Column::Number("MAX"),
];

/// The cells of [`LATENCY_COLUMNS`].
pub(super) fn latency_cells(latency: &Latency) -> [String; 8] {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean latency is no less exact for it, and never negative"
    )]
    let mean = latency.mean.round() as u64;
    [
        latency.min,
        mean,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.p99_99,
        latency.max,
    ]
    .map(human_time)
}

/// The result for people.
pub(super) fn table(report: &Report) -> String {
    let elapsed = report.measured.elapsed;
    let mut columns = vec![
        Column::Text("VOLUME"),
        Column::Text("I/O"),
        Column::Number("IOPS"),
        Column::Number("BANDWIDTH"),
    ];
    columns.extend(LATENCY_COLUMNS);
    let mut rows = Vec::new();
    let names: Vec<String> = report
        .volumes
        .iter()
        .map(|volume| volume.address.target.to_string())
        .collect();
    for (name, tally) in names.iter().zip(&report.measured.jobs) {
        lanes(name, tally, elapsed, &mut rows);
    }
    if names.len() > 1 {
        lanes("total", &report.measured.total(), elapsed, &mut rows);
    }
    let mut text = render(&columns, rows);
    text.push('\n');
    text.push_str(&describe(&facts(report)));
    text
}

fn lanes(name: &str, tally: &Tally, elapsed: Duration, rows: &mut Vec<Vec<String>>) {
    let both = Lane {
        ios: tally.ios(),
        bytes: tally.bytes(),
        latency: tally.latency(),
    };
    let read = tally.lane(Direction::Read);
    let write = tally.lane(Direction::Write);
    let is_mixed = read.ios > 0 && write.ios > 0;
    for (lane, direction) in [(read, "read"), (write, "write"), (&both, "both")] {
        let is_told = match direction {
            "both" => is_mixed || both.ios == 0,
            _ => lane.ios > 0,
        };
        if is_told {
            let mut row = vec![
                name.to_owned(),
                direction.to_owned(),
                human_count(per_second(lane.ios, elapsed)),
                format!("{}/s", human_bytes(per_second(lane.bytes, elapsed))),
            ];
            row.extend(latency_cells(&Latency::new(&lane.latency)));
            rows.push(row);
        }
    }
}

/// What is told below the table.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let total = report.measured.total();
    let work = &report.measured.work;
    let mut facts = vec![(
        "measured",
        format!(
            "{} I/Os in {:.2} s",
            total.ios(),
            report.measured.elapsed.as_secs_f64()
        ),
    )];
    if total.overdue > 0 {
        let text = format!("{} I/Os were due and had not started", total.overdue);
        facts.push(("overdue", text));
    }
    let mut all = total;
    report.outside.iter().for_each(|outside| all.merge(outside));
    if report.plan.workload.verify {
        facts.push(("verified", format!("{} blocks", all.verified_blocks)));
    }
    for (kind, count) in all.failures.iter() {
        facts.push(("failed", format!("{count} × {kind}")));
    }
    for wrong in &all.wrong_blocks {
        let kind = crate::load::FailureKind::Mismatch(wrong.mismatch);
        facts.push(("wrong block", format!("LBA {}: {kind}", wrong.lba)));
    }
    if let Some(share) = report.measured.slowest_share() {
        let text = format!("the slowest gets {share:.2} of the mean of its volume's");
        facts.push(("sessions", text));
    }
    let sends = format!(
        "{:.2} s of CPU, {} sends, {} receives, {} empty ones",
        work.cpu.as_secs_f64(),
        work.sends,
        work.receives,
        work.receives_empty
    );
    facts.push(("client", sends));
    facts
}

fn human_bytes(bytes: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and no rate is negative"
    )]
    let bytes = bytes as u64;
    ByteSize::b(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_rounds_before() {
        let told = |done, elapsed| pair_line(done, 12, Duration::from_secs(elapsed));
        assert_eq!(told(0, 3), "pair 1 of 12");
        assert_eq!(told(4, 8), "pair 5 of 12, 16 s left");
        assert_eq!(told(12, 24), "pair 12 of 12, 0 s left");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [812.4, 45_210.0, 1_218_000.0].map(human_count),
            ["812", "45.2 k", "1.22 M"]
        );
        assert_eq!(
            [812, 8_410, 26_300, 1_200_000, 3_050_000_000].map(human_time),
            ["812 ns", "8.41 µs", "26.3 µs", "1.20 ms", "3.05 s"]
        );
    }
}

//! `holdfast bench`: the load generator.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::bench_compare::{self, CompareArguments};
use super::bench_floor::{self, FloorArguments};
use super::bench_limits::{self, LimitsArguments};
use super::bench_load::{LoadArguments, duration};
use super::bench_memory::{self, MemoryArguments};
use super::bench_report::{self, ReportArguments};
use super::bench_show::{Progress, table};
use super::values::Delay;
use super::{EXIT_USAGE, Failure, print};
use crate::load::report::{self, fio, histogram, json};
use crate::load::{self, Address, LoadError, Plan, Report};

const EXAMPLES: &str = "\
Examples:
  holdfast bench iscsi://127.0.0.1:3260/iqn.2024-01.internal.holdfast:holdfast:volume-1/0
      4 KiB random reads, one outstanding, for ten seconds: the latency of the target
  holdfast bench URL --rw randwrite --depth 32
      how many writes it does; WRITES OVERWRITE THE VOLUME
  holdfast bench URL --rw randrw --mix 70 --bs 4k:9,64k:1 --sessions 16 --depth 8 --time 60s
      a mix of a database's kind over sixteen sessions
  holdfast bench URL --depth 128 --rate 50000
      an open loop: latency counts from when an I/O was due, so stalls can't hide
  holdfast bench URL --rw randrw --verify --time 5s
      stamps what it writes and judges what it reads
  holdfast bench URL --json > run.json; holdfast bench URL --output-format fio > fio.json
  holdfast bench floor
      what this machine could do at best, to compare with
  holdfast bench compare floor profile:latency profile:efficiency --depth 32
      ratios that mean something, from bursts by turns

It spins: give it a core of its own. Any iSCSI target will do. A session has one connection; --depth
is that of each session, --sessions those of each URL. Ctrl-C ends the run and prints what was
measured.

Exit codes: 0 done, 1 the run failed or an I/O did, 2 wrong usage.";

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(super) struct BenchArguments {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Measure what this machine could do at best: a raw echo, and a polled disk
    Floor(FloorArguments),
    /// Compare targets, profiles or the floor in one run, by turns
    Compare(Box<CompareArguments>),
    /// Write what fio measured as the page that comparisons get
    Report(ReportArguments),
    /// Weigh a server of this program: memory of an idle session and of a volume
    Memory(MemoryArguments),
    /// Measure limits: their accuracy, their fairness, what they cost the neighbours
    Limits(LimitsArguments),
}

/// The shape of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// This program's own JSON
    Json,
    /// The JSON that fio prints
    Fio,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Logical units as iscsi://HOST[:PORT]/TARGET[/LUN]; each is a job of its own
    #[arg(value_name = "URL", required = true)]
    urls: Vec<Address>,

    #[command(flatten)]
    load: LoadArguments,

    /// How long to measure, such as 500ms or 60s
    #[arg(long, value_name = "TIME", default_value = "10s")]
    time: Delay,
    /// Load before the measurement
    #[arg(long, value_name = "TIME")]
    warmup: Option<Delay>,
    /// End after that many I/Os of each URL, if that comes first
    #[arg(long, value_name = "N")]
    io_count: Option<NonZeroU64>,
    /// How often progress is shown and logged
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: Delay,
    /// Shape of the result
    #[arg(long, value_enum, default_value = "table")]
    output_format: Format,
    /// The same as --output-format json
    #[arg(long, conflicts_with = "output_format")]
    json: bool,
    /// Write the latencies' percentiles there, for HdrHistogram's plotter
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write each interval's histograms there, as HdrHistogram's interval log
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

pub(super) fn run(arguments: BenchArguments, out: &mut dyn Write) -> Result<(), Failure> {
    match arguments.command {
        Some(BenchCommand::Floor(floor)) => bench_floor::run(&floor, out),
        Some(BenchCommand::Compare(compare)) => bench_compare::run(&compare, out),
        Some(BenchCommand::Report(report)) => bench_report::run(&report, out),
        Some(BenchCommand::Memory(memory)) => bench_memory::run(&memory, out),
        Some(BenchCommand::Limits(limits)) => bench_limits::run(&limits, out),
        None => load(&arguments.run, out),
    }
}

fn load(arguments: &RunArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = arguments.plan()?;
    let stop = stop_on_signals()?;
    let progress = Progress::start(&plan);
    let mut intervals = Vec::new();
    let report = load::run(plan, &stop, |interval| {
        progress.show(interval);
        if arguments.log.is_some() {
            intervals.push(interval.clone());
        }
    });
    progress.end();
    let report = report.map_err(|error| failure(&error))?;
    let text = match arguments.format() {
        Format::Table => table(&report),
        Format::Json => json::render(&report).map_err(Failure::new)? + "\n",
        Format::Fio => fio::render(&report).map_err(Failure::new)? + "\n",
    };
    print(out, &text);
    if let Some(path) = &arguments.hgrm {
        let latency = report.measured.histogram();
        write_file(path, |file| histogram::write_percentiles(&latency, file))?;
    }
    if let Some(path) = &arguments.log {
        let started = UNIX_EPOCH + report.started_at;
        write_file(path, |file| histogram::write_log(&intervals, started, file))?;
    }
    verdict(&report)
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if let Some(error) = &report.error {
        return Err(failure(error));
    }
    match report.failures() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} I/Os failed"))),
    }
}

fn failure(error: &LoadError) -> Failure {
    let message = report::explain(error);
    match error {
        LoadError::Plan(_) | LoadError::Misfit { .. } => Failure {
            code: EXIT_USAGE,
            message,
        },
        LoadError::Session { .. } | LoadError::System(_) => Failure::new(message),
    }
}

/// Set by the first Ctrl-C or SIGTERM; the second one ends the process at once.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and puts it up.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::new(format!("signals can't be caught: {error}")))?;
    }
    Ok(stop)
}

pub(super) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
        write(&mut file)?;
        file.flush()
    });
    written.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

impl RunArguments {
    fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            self.output_format
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        Ok(Plan {
            warmup: self.warmup.map_or(Duration::ZERO, duration),
            duration: duration(self.time),
            io_count: self.io_count,
            interval: duration(self.interval),
            ..self.load.plan(self.urls.clone())?
        })
    }
}

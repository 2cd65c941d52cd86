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

use super::bench_floor::{self, FloorArguments};
use super::bench_show::{Progress, table};
use super::bench_values::{Blocks, CoreChoice};
use super::values::{Delay, Size};
use super::{EXIT_USAGE, Failure, print};
use crate::load::report::{self, fio, histogram, json};
use crate::load::{
    self, Address, Cores, Credentials, LoadError, LoginOptions, Pattern, Plan, Report, Threads,
    Workload,
};
use crate::volume::IscsiName;

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
}

/// The mix and order of transfers, as fio names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Sequential reads
    Read,
    /// Sequential writes
    Write,
    /// Random reads
    Randread,
    /// Random writes
    Randwrite,
    /// Sequential reads and writes, mixed
    Rw,
    /// Random reads and writes, mixed
    Randrw,
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

    /// What to do
    #[arg(long, value_enum, default_value = "randread")]
    rw: Mode,
    /// Percentage of reads in rw and randrw
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    mix: u8,
    /// Transfer lengths, with weights if there are several: 4k, or 4k:9,64k:1
    #[arg(long, value_name = "SIZES", default_value = "4k")]
    bs: Blocks,
    /// Commands that each session keeps outstanding
    #[arg(long, default_value_t = 1)]
    depth: u32,
    /// Sessions to each URL, of one connection each
    #[arg(long, alias = "connections", default_value_t = 1)]
    sessions: usize,
    /// Random addresses by Zipf's law with this exponent: few blocks are hot
    #[arg(long, value_name = "THETA")]
    zipf: Option<f64>,
    /// Sequential transfers start that far behind each other
    #[arg(long, value_name = "SIZE", conflicts_with = "zipf")]
    stride: Option<Size>,
    /// Where the touched range begins
    #[arg(long, value_name = "SIZE")]
    offset: Option<Size>,
    /// Length of the touched range [default: to the volume's end]
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// I/Os per second of each URL, started on time whatever the target does
    #[arg(long, value_name = "IOPS")]
    rate: Option<NonZeroU64>,
    /// Set FUA: writes are durable when they are answered
    #[arg(long)]
    fua: bool,
    /// Stamp written blocks and judge read ones
    #[arg(long)]
    verify: bool,
    /// Seed of addresses, mix and content
    #[arg(long, default_value_t = 1)]
    seed: u64,

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
    /// A connection that stays silent for that long with commands outstanding has failed
    #[arg(long, value_name = "TIME", default_value = "30s")]
    timeout: Delay,

    /// CRC32C over headers
    #[arg(long)]
    header_digest: bool,
    /// CRC32C over data
    #[arg(long)]
    data_digest: bool,
    /// Send no data with the command
    #[arg(long)]
    no_immediate_data: bool,
    /// Send no data that the target has not asked for, beside immediate data
    #[arg(long)]
    initial_r2t: bool,
    /// Initiator name; sessions differ in their ISID
    #[arg(
        long,
        value_name = "IQN",
        default_value = "iqn.2024-01.internal.holdfast:bench"
    )]
    initiator: IscsiName,
    /// CHAP user
    #[arg(long, requires = "secret_file")]
    user: Option<String>,
    /// File with the CHAP secret
    #[arg(long, value_name = "FILE", requires = "user")]
    secret_file: Option<PathBuf>,
    /// SO_SNDBUF and SO_RCVBUF of each connection [default: the kernel's]
    #[arg(long, value_name = "SIZE")]
    socket_buffer: Option<Size>,

    /// Threads; sessions are dealt to them in turn
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Cores of the threads: a list such as 1,3-5, or `any` [default: the last ones]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreChoice>,
    /// Give the core up when nothing came, on machines with too few of them
    #[arg(long = "yield")]
    yielding: bool,

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
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and puts it up.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::new(format!("signals can't be caught: {error}")))?;
    }
    Ok(stop)
}

fn write_file(
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
        let defaults = Plan::new(self.urls.clone(), self.initiator.clone());
        let socket_buffer_bytes = self.socket_buffer.map(|size| {
            // More than the address space is more than any kernel grants.
            usize::try_from(size.0).unwrap_or(usize::MAX)
        });
        Ok(Plan {
            sessions: self.sessions,
            depth: self.depth,
            workload: self.workload()?,
            login: LoginOptions {
                chap: self.credentials()?,
                header_digest: self.header_digest,
                data_digest: self.data_digest,
                immediate_data: !self.no_immediate_data,
                initial_r2t: self.initial_r2t,
                socket_buffer_bytes,
                ..defaults.login
            },
            threads: Threads {
                count: self.threads,
                cores: self.cores.clone().map_or(Cores::Last, |choice| choice.0),
                yielding: self.yielding,
            },
            warmup: self.warmup.map_or(Duration::ZERO, duration),
            duration: duration(self.time),
            io_count: self.io_count,
            interval: duration(self.interval),
            timeout: duration(self.timeout),
            ..defaults
        })
    }

    fn workload(&self) -> Result<Workload, Failure> {
        let (is_random, read_percent) = match self.rw {
            Mode::Read => (false, 100),
            Mode::Write => (false, 0),
            Mode::Rw => (false, self.mix),
            Mode::Randread => (true, 100),
            Mode::Randwrite => (true, 0),
            Mode::Randrw => (true, self.mix),
        };
        let stride = match self.stride {
            None => None,
            Some(size) => {
                let stride = NonZeroU64::new(size.0);
                Some(stride.ok_or_else(|| usage("--stride is zero"))?)
            }
        };
        let pattern = match (is_random, self.zipf, stride) {
            (true, Some(theta), None) => Pattern::Zipf(theta),
            (true, None, None) => Pattern::Uniform,
            (false, None, Some(stride)) => Pattern::Strided(stride),
            (false, None, None) => Pattern::Sequential,
            (true, ..) => return Err(usage("--stride is for sequential transfers")),
            (false, ..) => return Err(usage("--zipf is for random transfers")),
        };
        Ok(Workload {
            read_percent,
            pattern,
            blocks: self.bs.0.clone(),
            offset: self.offset.map_or(0, |size| size.0),
            size: self.size.map(|size| size.0),
            rate: self.rate,
            fua: self.fua,
            verify: self.verify,
            seed: self.seed,
        })
    }

    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let (Some(user), Some(path)) = (&self.user, &self.secret_file) else {
            return Ok(None);
        };
        let mut secret = std::fs::read(path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        while matches!(secret.last(), Some(b'\n' | b'\r')) {
            secret.pop();
        }
        if secret.is_empty() {
            return Err(Failure::new(format!("{} holds no secret", path.display())));
        }
        Ok(Some(Credentials {
            user: user.clone(),
            secret,
        }))
    }
}

fn usage(message: &str) -> Failure {
    Failure {
        code: EXIT_USAGE,
        message: message.to_owned(),
    }
}

fn duration(delay: Delay) -> Duration {
    Duration::from_micros(delay.us)
}

//! What load `bench` and `bench compare` put on a target.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::bench_sockets::SocketArguments;
use super::bench_values::{Blocks, CoreChoice};
use super::values::{Delay, Size};
use super::{EXIT_USAGE, Failure};
use crate::load::{Address, Cores, Credentials, LoginOptions, Pattern, Plan, Threads, Workload};
use crate::volume::IscsiName;

/// The name that `bench` logs in under unless told otherwise.
pub(super) const INITIATOR: &str = "iqn.2024-01.internal.holdfast:bench";

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

/// Flags of the load: what is done, how sessions log in, how the threads run.
#[derive(Debug, Args)]
pub(super) struct LoadArguments {
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
    #[arg(long, value_name = "IQN", default_value = INITIATOR)]
    initiator: IscsiName,
    /// CHAP user
    #[arg(long, requires = "secret_file")]
    user: Option<String>,
    /// File with the CHAP secret
    #[arg(long, value_name = "FILE", requires = "user")]
    secret_file: Option<PathBuf>,
    /// CHAP user that the target has to prove to be, by mutual CHAP
    #[arg(
        long,
        value_name = "USER",
        requires = "mutual_secret_file",
        requires = "user"
    )]
    mutual_user: Option<String>,
    /// File with the CHAP secret of the target
    #[arg(long, value_name = "FILE", requires = "mutual_user")]
    mutual_secret_file: Option<PathBuf>,
    #[command(flatten)]
    sockets: SocketArguments,

    /// Threads; sessions are dealt to them in turn
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Cores of the threads: a list such as 1,3-5, or `any` [default: the last ones]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreChoice>,
    /// Give the core up when nothing came, on machines with too few of them
    #[arg(long = "yield")]
    yielding: bool,
}

impl LoadArguments {
    /// The plan of this load on `urls`; how long it lasts is left to the plan's defaults.
    pub(super) fn plan(&self, urls: Vec<Address>) -> Result<Plan, Failure> {
        let defaults = Plan::new(urls, self.initiator.clone());
        Ok(Plan {
            sessions: self.sessions,
            depth: self.depth,
            workload: self.workload()?,
            login: LoginOptions {
                chap: credentials(self.user.as_ref(), self.secret_file.as_ref())?,
                mutual_chap: credentials(
                    self.mutual_user.as_ref(),
                    self.mutual_secret_file.as_ref(),
                )?,
                header_digest: self.header_digest,
                data_digest: self.data_digest,
                immediate_data: !self.no_immediate_data,
                initial_r2t: self.initial_r2t,
                socket: self.sockets.options(),
                ..defaults.login
            },
            threads: Threads {
                count: self.threads,
                cores: self.cores.clone().map_or(Cores::Last, |choice| choice.0),
                yielding: self.yielding,
            },
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
}

/// A CHAP user with the secret in that file, whose last line may end.
fn credentials(
    user: Option<&String>,
    path: Option<&PathBuf>,
) -> Result<Option<Credentials>, Failure> {
    let (Some(user), Some(path)) = (user, path) else {
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

pub(super) fn usage(message: &str) -> Failure {
    Failure {
        code: EXIT_USAGE,
        message: message.to_owned(),
    }
}

pub(super) fn duration(delay: Delay) -> Duration {
    Duration::from_micros(delay.us)
}

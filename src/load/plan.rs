//! What a run is to do.

use std::num::NonZeroU64;
use std::time::Duration;

use super::address::Address;
use crate::base::limits::{LOAD_DEPTH_MAX, LOAD_SESSIONS_MAX, LOAD_TRANSFER_BYTES_MAX};
use crate::volume::IscsiName;

/// A run: which volumes, over how many sessions, with what load.
///
/// Each volume is a job of its own in the report; all of them get the same workload.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The logical units, one job each.
    pub volumes: Vec<Address>,
    /// Sessions to each volume. A session has one connection.
    pub sessions: usize,
    /// Commands that each session keeps outstanding.
    pub depth: u32,
    /// What the commands are.
    pub workload: Workload,
    /// How sessions log in.
    pub login: LoginOptions,
    /// How the threads run.
    pub threads: Threads,
    /// Load before the measurement, of the same kind.
    pub warmup: Duration,
    /// How long to measure.
    pub duration: Duration,
    /// Ends the measurement after that many I/Os of each volume, if it comes before `duration`.
    pub io_count: Option<NonZeroU64>,
    /// How often [`run()`](super::run()) hands out an interval.
    pub interval: Duration,
    /// A connection whose outstanding commands bring no byte for that long has failed.
    pub timeout: Duration,
}

/// What the commands of each session are.
#[derive(Debug, Clone)]
pub struct Workload {
    /// How many of a hundred commands are reads.
    pub read_percent: u8,
    /// Where they go.
    pub pattern: Pattern,
    /// Transfer lengths and how often each is taken.
    pub blocks: Vec<BlockSize>,
    /// The first byte of the volume that is touched.
    pub offset: u64,
    /// Bytes that are touched; to the volume's end if `None`.
    pub size: Option<u64>,
    /// I/Os per second of each volume, at fixed times whatever the target does: an open loop.
    /// Latency then counts from the time at which an I/O was due.
    pub rate: Option<NonZeroU64>,
    /// Sets FUA in reads and writes.
    pub fua: bool,
    /// Writes stamped blocks and judges what is read.
    pub verify: bool,
    /// Seeds the addresses, the mix and the content.
    pub seed: u64,
}

/// A transfer length and its weight among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSize {
    /// Bytes of a transfer, a multiple of the volume's block.
    pub bytes: u32,
    /// How often it is taken, relative to the others.
    pub weight: u32,
}

/// Which addresses follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    /// One transfer behind the other, from a start of each session's own, around the range.
    Sequential,
    /// Each transfer starts that many bytes behind the start of the last one; a pass that comes to
    /// the range's end goes on at its beginning, one transfer further.
    Strided(NonZeroU64),
    /// Every place as likely as any other.
    Uniform,
    /// Zipf's law with that exponent: few places are hot. The hot ones are scattered.
    Zipf(f64),
}

/// How sessions log in.
#[derive(Debug, Clone)]
pub struct LoginOptions {
    /// InitiatorName. Sessions differ in their ISID.
    pub initiator: IscsiName,
    /// CHAP, when the target asks for it.
    pub chap: Option<Credentials>,
    /// What the target has to prove in turn, by mutual CHAP. Only beside `chap`.
    pub mutual_chap: Option<Credentials>,
    /// HeaderDigest=CRC32C.
    pub header_digest: bool,
    /// DataDigest=CRC32C.
    pub data_digest: bool,
    /// ImmediateData offered.
    pub immediate_data: bool,
    /// InitialR2T offered.
    pub initial_r2t: bool,
    /// FirstBurstLength offered, in bytes.
    pub first_burst_bytes: u32,
    /// MaxBurstLength offered, in bytes.
    pub max_burst_bytes: u32,
    /// MaxOutstandingR2T offered.
    pub outstanding_r2t: u32,
    /// Each connection's socket.
    pub socket: SocketOptions,
}

/// How a socket is set; the default leaves all to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_SNDBUF and SO_RCVBUF; `None` leaves them to the kernel, which lets them grow.
    pub buffer_bytes: Option<usize>,
    /// TCP_CONGESTION, as net.ipv4.tcp_available_congestion_control names it.
    pub congestion_control: Option<String>,
}

/// A name and a secret of CHAP.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// CHAP_N.
    pub user: String,
    /// The secret, never sent.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How the threads run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// How many; sessions are dealt to them in turn.
    pub count: usize,
    /// Which cores they are pinned to.
    pub cores: Cores,
    /// Gives the core up after a turn that found nothing, for machines with fewer cores than
    /// spinning threads. Latencies are then those of the scheduler.
    pub yielding: bool,
}

/// Cores for threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cores {
    /// The last ones that the process may use, so that the first are the target's.
    #[default]
    Last,
    /// These, one for each thread in turn.
    These(Vec<usize>),
    /// Wherever the scheduler puts them.
    Any,
}

/// Why a plan can't be carried out, whatever the target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to load.
    #[error("no volume to load")]
    NoVolume,
    /// Too many sessions, or none.
    #[error("{0} sessions in all, where 1 to {LOAD_SESSIONS_MAX} are possible")]
    Sessions(usize),
    /// Too deep, or not at all.
    #[error("depth {0}, where 1 to {LOAD_DEPTH_MAX} are possible")]
    Depth(u32),
    /// No transfer length, or an impossible one.
    #[error("a block size of {0} bytes, where 512 to {LOAD_TRANSFER_BYTES_MAX} are possible")]
    BlockBytes(u32),
    /// Block sizes without a weight.
    #[error("the block sizes need a weight above zero")]
    Weight,
    /// Mutual CHAP without CHAP of our own, or with the same secret for both ways, which would let
    /// one side's answer prove the other (RFC 7143 section 9.2.1).
    #[error("mutual CHAP needs a user and a secret of our own, and another secret for the target")]
    MutualChap,
    /// A share above all.
    #[error("{0} of 100 reads")]
    Mix(u8),
    /// An exponent that gives no distribution.
    #[error("zipf exponent {0}, where more than 0 up to 10 is possible")]
    Zipf(String),
    /// No thread, or more than sessions.
    #[error("{threads} threads for {sessions} sessions")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// Sessions in all.
        sessions: usize,
    },
    /// No time to measure.
    #[error("a duration or interval of zero")]
    NoTime,
}

impl Plan {
    /// 4 KiB reads, uniformly random, one session of depth 1, for ten seconds, of `volumes`.
    #[must_use]
    pub fn new(volumes: Vec<Address>, initiator: IscsiName) -> Self {
        Self {
            volumes,
            sessions: 1,
            depth: 1,
            workload: Workload {
                read_percent: 100,
                pattern: Pattern::Uniform,
                blocks: vec![BlockSize {
                    bytes: 4096,
                    weight: 1,
                }],
                offset: 0,
                size: None,
                rate: None,
                fua: false,
                verify: false,
                seed: 1,
            },
            login: LoginOptions {
                initiator,
                chap: None,
                mutual_chap: None,
                header_digest: false,
                data_digest: false,
                immediate_data: true,
                initial_r2t: false,
                first_burst_bytes: 256 << 10,
                max_burst_bytes: 1 << 20,
                outstanding_r2t: 8,
                socket: SocketOptions::default(),
            },
            threads: Threads {
                count: 1,
                cores: Cores::Last,
                yielding: false,
            },
            warmup: Duration::ZERO,
            duration: Duration::from_secs(10),
            io_count: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
        }
    }

    /// Sessions to all volumes.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.volumes.len().saturating_mul(self.sessions)
    }

    /// Whether the plan can be carried out.
    ///
    /// # Errors
    /// The first value that can't be.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.volumes.is_empty() {
            return Err(PlanError::NoVolume);
        }
        let sessions = self.session_count();
        if !(1..=LOAD_SESSIONS_MAX).contains(&sessions) {
            return Err(PlanError::Sessions(sessions));
        }
        if !(1..=LOAD_DEPTH_MAX).contains(&self.depth) {
            return Err(PlanError::Depth(self.depth));
        }
        if !(1..=sessions).contains(&self.threads.count) {
            let threads = self.threads.count;
            return Err(PlanError::Threads { threads, sessions });
        }
        if self.duration.is_zero() || self.interval.is_zero() {
            return Err(PlanError::NoTime);
        }
        self.login.check()?;
        self.workload.check()
    }
}

impl LoginOptions {
    fn check(&self) -> Result<(), PlanError> {
        match (&self.chap, &self.mutual_chap) {
            (_, None) => Ok(()),
            (Some(own), Some(target)) if own.secret != target.secret => Ok(()),
            _ => Err(PlanError::MutualChap),
        }
    }
}

impl Workload {
    /// Bytes of the longest transfer.
    #[must_use]
    pub fn transfer_bytes_max(&self) -> u32 {
        self.blocks
            .iter()
            .map(|block| block.bytes)
            .max()
            .unwrap_or(0)
    }

    fn check(&self) -> Result<(), PlanError> {
        let possible = 512..=LOAD_TRANSFER_BYTES_MAX;
        if let Some(wrong) = self.blocks.iter().find(|b| !possible.contains(&b.bytes)) {
            return Err(PlanError::BlockBytes(wrong.bytes));
        }
        if self.blocks.iter().all(|block| block.weight == 0) {
            return Err(PlanError::Weight);
        }
        if self.read_percent > 100 {
            return Err(PlanError::Mix(self.read_percent));
        }
        match self.pattern {
            Pattern::Zipf(theta) if !(theta > 0.0 && theta <= 10.0) => {
                Err(PlanError::Zipf(theta.to_string()))
            }
            _ => Ok(()),
        }
    }
}

//! `holdfast bench compare`: candidates by turns, in one run.

use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;

use super::bench::{stop_on_signals, write_file};
use super::bench_candidate::{CandidateArgument, What};
use super::bench_load::{LoadArguments, duration, usage};
use super::bench_ratios::table;
use super::bench_server::{self, Measured};
use super::bench_show::Rounds;
use super::bench_values::CoreChoice;
use super::time::utc;
use super::values::{Delay, ProfileName, Size};
use super::{Failure, print};
use crate::base::limits::LOAD_SESSIONS_MAX;
use crate::load::compare::study::{Machine, Study, settings};
use crate::load::compare::{
    self, Candidate, CompareError, Comparison, Line, Schedule, ScratchFile, Server, Subject, json,
    page,
};
use crate::load::floor::{EchoCores, EchoShape, EchoSides, Payload, disk};
use crate::load::report::explain;
use crate::load::{Address, BlockSize, Cores, Direction, LoadError, Pattern, Plan, Rig};

const EXAMPLES: &str = "\
Examples:
  holdfast bench compare floor profile:latency
      how close to this machine's limit the latency profile comes, at depth 1
  holdfast bench compare profile:latency profile:efficiency --depth 32 --report report.html
      two profiles, and a page to show
  holdfast bench compare old=iscsi://10.0.0.5/IQN new=iscsi://10.0.0.6/IQN --rw randwrite
      two targets, of any make; WRITES OVERWRITE THEIR VOLUMES
  holdfast bench compare old=profile:latency,program=/opt/old/holdfast new=profile:latency
      two versions of this program
  holdfast bench compare profile:latency crc=profile:latency,digests --depth 32
      the same but for one thing

A candidate is [NAME=]iscsi://HOST[:PORT]/TARGET[/LUN], [NAME=]profile:PROFILE, [NAME=]floor, [NAME=]floor:ram
or [NAME=]floor:disk, perhaps with ,sessions=N ,depth=N ,idle=N (sessions that do nothing beside the load)
or ,digests behind it. A profile gets a server with a volume of its own, which sleeps while others are
measured and is ended afterwards: of this very program, or with ,program=PATH of another build of it. The
floor is the raw echo of `bench floor`; floor:disk is that and then a read of the polled disk, added up. It
and our servers' file volumes are where temporary files are (TMPDIR). Volumes and that file are written
from end to end first.

All candidates take turns in short bursts. Each round gives each one's ratio to the first; RATIO is
their median. The first candidate also runs against itself: the `control` rows are the noise. Within
noise is a ratio that is no farther from 1 than the control's quartiles, or whose own quartiles lie on
both sides of 1. CPU is time per I/O; a client that spins spends all of its time. Of several
sessions, the slowest one's I/Os are given as a share of the mean.

Exit codes: 0 done, 1 a candidate failed, 2 wrong usage.";

/// Of so many rounds, the comparisons at other depths take one each: they are for curves, not ratios.
const DEPTH_SHARE: usize = 4;

/// How a volume is filled: transfers of that length, that many at once, no longer than that.
const FILL_BYTES: u32 = 1 << 20;
const FILL_DEPTH: u32 = 8;
const FILL_TIME_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CompareArguments {
    /// What to compare; the first one is what the others are compared with
    #[arg(value_name = "CANDIDATE", required_unless_present = "profile")]
    candidates: Vec<CandidateArgument>,
    /// The same as the candidate profile:PROFILE, behind the others
    #[arg(long, value_name = "PROFILE", value_parser = ProfileName, hide_possible_values = true)]
    profile: Vec<String>,

    #[command(flatten)]
    load: LoadArguments,

    /// How long each burst is
    #[arg(long, value_name = "TIME", default_value = "300ms")]
    burst: Delay,
    /// Rounds of one burst each
    #[arg(long, default_value_t = 12)]
    pairs: usize,

    /// Core of our servers and the floor's, or `any` [default: the first one]
    #[arg(long, value_name = "LIST")]
    server_core: Option<CoreChoice>,
    /// Backend of our servers' volumes: null, ram or file
    #[arg(long, value_name = "BACKEND", default_value = "null",
          value_parser = ["null", "ram", "file"])]
    backend: String,
    /// Size of our servers' volumes
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    volume_size: Size,

    /// Write one HTML page there, with charts; it needs nothing but itself
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Compare at these depths too, in a quarter of the rounds, for the page and the JSON
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    depths: Vec<u32>,

    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CompareArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let stop = stop_on_signals()?;
    let mut candidates = arguments.candidates()?;
    let settings = candidates.iter().map(settings).collect();
    let started_at = std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let share = arguments.pairs.div_ceil(DEPTH_SHARE);
    let progress = Rounds::start(arguments.pairs + share * arguments.depths.len());
    let main = arguments.compare(&candidates, arguments.pairs, &stop, |round| {
        progress.show(round, "");
    })?;
    let mut by_depth = Vec::with_capacity(arguments.depths.len());
    for depth in &arguments.depths {
        let before = arguments.pairs + share * by_depth.len();
        let what = format!(", depth {depth}");
        let candidates = CompareArguments::at_depth(&mut candidates, *depth)?;
        let comparison = arguments.compare(candidates, share, &stop, |round| {
            progress.show(before + round, &what);
        })?;
        by_depth.push((*depth, comparison));
    }
    drop(progress);
    let study = Study {
        started_at,
        started: utc(u64::try_from(started_at.as_millis()).unwrap_or(u64::MAX)),
        machine: Machine::here(),
        settings,
        main,
        by_depth,
    };
    if let Some(path) = &arguments.report {
        write_file(path, |file| file.write_all(page::render(&study).as_bytes()))?;
    }
    let text = if arguments.json {
        json::render(&study).map_err(Failure::new)? + "\n"
    } else {
        table(&study.main)
    };
    print(out, &text);
    verdict(&study.main)
}

fn verdict(comparison: &Comparison) -> Result<(), Failure> {
    let failed = |line: &Line| line.tally.failures.total();
    match comparison.lines.iter().map(failed).sum::<u64>() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} I/Os failed"))),
    }
}

impl CompareArguments {
    fn compare(
        &self,
        candidates: &[Candidate],
        pairs: usize,
        stop: &AtomicBool,
        mut observe: impl FnMut(usize),
    ) -> Result<Comparison, Failure> {
        observe(0);
        let schedule = Schedule {
            burst: duration(self.burst),
            pairs,
        };
        let compared = compare::run(candidates, schedule, stop, |round| observe(round + 1));
        compared.map_err(|error| match error {
            CompareError::Candidates(_) | CompareError::Schedule => usage(&error.to_string()),
            error => Failure::new(explain(&error)),
        })
    }

    /// The same candidates, each session at `depth`.
    fn at_depth(candidates: &mut [Candidate], depth: u32) -> Result<&[Candidate], Failure> {
        for candidate in &mut *candidates {
            match &mut candidate.subject {
                Subject::Target { plan, .. } => {
                    plan.depth = depth;
                    plan.check().map_err(|error| usage(&error.to_string()))?;
                }
                Subject::Floor { shape, .. } | Subject::DiskFloor { shape, .. } => {
                    shape.depth = depth;
                }
            }
        }
        Ok(candidates)
    }

    fn candidates(&self) -> Result<Vec<Candidate>, Failure> {
        let profiles = self.profile.iter().map(|name| {
            format!("profile:{name}")
                .parse()
                .map_err(|error: String| usage(&error))
        });
        let mut wanted = self.candidates.clone();
        wanted.extend(profiles.collect::<Result<Vec<_>, _>>()?);
        if wanted.len() < 2 {
            return Err(usage("a comparison needs two candidates"));
        }
        for (index, candidate) in wanted.iter().enumerate() {
            if wanted[..index]
                .iter()
                .any(|other| other.name == candidate.name)
            {
                let text = format!("two candidates are called {}", candidate.name);
                return Err(usage(&text));
            }
        }
        // One after the other is put to sleep, so that no server spins while the next one starts.
        let mut candidates = Vec::with_capacity(wanted.len());
        for one in &wanted {
            let candidate = self.candidate(one)?;
            if let Some(server) = &candidate.server {
                server.pause().map_err(Failure::new)?;
            }
            candidates.push(candidate);
        }
        Ok(candidates)
    }

    fn candidate(&self, wanted: &CandidateArgument) -> Result<Candidate, Failure> {
        let (subject, server) = match &wanted.what {
            What::Target(address) => (self.target(wanted, address.clone())?, None),
            What::Profile(profile) => {
                let server = self.server(wanted.program.as_deref(), profile)?;
                if self.backend != "null" {
                    self.fill(&server)?;
                }
                let subject = self.target(wanted, server.address().clone())?;
                (subject, Some(server))
            }
            What::Floor(payload) => {
                let (shape, sides) = self.floor(wanted, *payload)?;
                (Subject::Floor { shape, sides }, None)
            }
            What::DiskFloor => (self.disk_floor(wanted)?, None),
        };
        Ok(Candidate {
            name: wanted.name.clone(),
            subject,
            server,
        })
    }

    /// Writes a server's volume from end to end: a hole would be read without the disk.
    fn fill(&self, server: &Server) -> Result<(), Failure> {
        let mut plan = self.load.plan(vec![server.address().clone()])?;
        let bytes = FILL_BYTES.min(u32::try_from(self.volume_size.0).unwrap_or(FILL_BYTES));
        (plan.sessions, plan.depth, plan.threads.count) = (1, FILL_DEPTH, 1);
        plan.io_count = NonZeroU64::new(self.volume_size.0.div_ceil(u64::from(bytes)));
        plan.duration = FILL_TIME_MAX;
        plan.workload.read_percent = 0;
        plan.workload.pattern = Pattern::Sequential;
        plan.workload.blocks = vec![BlockSize { bytes, weight: 1 }];
        (plan.workload.offset, plan.workload.size) = (0, None);
        (plan.workload.rate, plan.workload.verify) = (None, false);
        let failed = |error: &LoadError| Failure::new(explain(error));
        let burst = Rig::connect(plan.clone())
            .and_then(|mut rig| rig.burst(plan.duration))
            .map_err(|error| failed(&error))?;
        match burst.failures() {
            0 => Ok(()),
            count => Err(Failure::new(format!(
                "{count} writes failed that were to fill the volume"
            ))),
        }
    }

    fn target(&self, wanted: &CandidateArgument, address: Address) -> Result<Subject, Failure> {
        let plan = self.plan(wanted, vec![address])?;
        plan.check().map_err(|error| usage(&error.to_string()))?;
        Ok(Subject::Target {
            plan: Box::new(plan),
            idle_sessions: wanted.idle_sessions,
        })
    }

    /// The load, with what the candidate has of its own.
    fn plan(&self, wanted: &CandidateArgument, volumes: Vec<Address>) -> Result<Plan, Failure> {
        let mut plan = self.load.plan(volumes)?;
        plan.sessions = wanted.sessions.unwrap_or(plan.sessions);
        plan.depth = wanted.depth.unwrap_or(plan.depth);
        plan.login.header_digest |= wanted.digests;
        plan.login.data_digest |= wanted.digests;
        Ok(plan)
    }

    fn disk_floor(&self, wanted: &CandidateArgument) -> Result<Subject, Failure> {
        let (shape, sides) = self.floor(wanted, Payload::Null)?;
        let single = (Direction::Read, disk::READ_BYTES, 1, 1);
        let EchoShape {
            direction,
            bytes,
            connections,
            depth,
            ..
        } = shape;
        if (direction, bytes, connections, depth) != single || !self.depths.is_empty() {
            return Err(usage("floor:disk is for reads of 4 KiB, one outstanding"));
        }
        let file = ScratchFile::make(self.volume_size.0).map_err(Failure::new)?;
        Ok(Subject::DiskFloor {
            shape,
            sides,
            file: Arc::new(file),
        })
    }

    fn floor(
        &self,
        wanted: &CandidateArgument,
        payload: Payload,
    ) -> Result<(EchoShape, EchoSides), Failure> {
        let plan = self.plan(wanted, Vec::new())?;
        let ([block], 0 | 100, 1) = (
            plan.workload.blocks.as_slice(),
            plan.workload.read_percent,
            plan.threads.count,
        ) else {
            return Err(usage(
                "the floor has one direction, one transfer length and one client thread",
            ));
        };
        if plan.workload.rate.is_some() {
            return Err(usage("the floor has no --rate"));
        }
        let shape = EchoShape {
            direction: match plan.workload.read_percent {
                0 => Direction::Write,
                _ => Direction::Read,
            },
            bytes: block.bytes,
            connections: plan.sessions,
            depth: plan.depth,
            payload,
        };
        let cores = EchoCores {
            server: self.server_cores(),
            client: plan.threads.cores,
        };
        let sides = EchoSides {
            cores,
            yielding: plan.threads.yielding,
            sockets: plan.login.socket,
        };
        Ok((shape, sides))
    }

    fn server_cores(&self) -> Cores {
        let given = self.server_core.clone().map(|choice| choice.0);
        given.unwrap_or_else(|| EchoCores::apart().server)
    }

    fn server(&self, program: Option<&Path>, profile: &str) -> Result<Server, Failure> {
        let volume = Measured {
            backend: &self.backend,
            bytes: self.volume_size.0,
            sessions_max: LOAD_SESSIONS_MAX,
        };
        bench_server::start(program, profile, &self.server_cores(), &volume)
    }
}

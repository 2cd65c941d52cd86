//! `holdfast bench limits`: what limits of operations and bytes per second are worth.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::bench_load::{INITIATOR, usage};
use super::bench_server::{self, Measured};
use super::bench_values::CoreChoice;
use super::table::{Column, render};
use super::values::{Delay, ProfileName};
use super::{Failure, print};
use crate::load::compare::Quartiles;
use crate::load::compare::study::Machine;
use crate::load::floor::EchoCores;
use crate::load::limits::{self, Accuracy, Fairness, Kind, LimitsError, Neighbour};
use crate::load::report::explain;
use crate::load::{Cores, Plan};
use crate::volume::IscsiName;

const EXAMPLES: &str = "\
Examples:
  holdfast bench limits
  holdfast bench limits --profile efficiency --time 10s --pairs 20 --json

Starts a server of this very program with a null volume and measures, in one run:
  accuracy   the volume at 100% load under several limits, by 1 and by 32 sessions: what went through
             over the limit
  fairness   a session with 64 commands outstanding and one with 1 under one limit: what the shallow one
             got over what the deep one got
  neighbour  a volume without limits, with and without the limited one under load, by turns: throughput
             and p99.9 as ratios, with a control of without to without

Exit codes: 0 done, 1 it can't be measured, 2 wrong usage.";

/// Operations per second.
const IOPS_LIMITS: [u64; 3] = [500, 5000, 20_000];
/// Bytes per second.
const BANDWIDTH_LIMITS: [u64; 3] = [10_000_000, 100_000_000, 500_000_000];
/// Sessions, and the depth of each.
const SHAPES: [(usize, u32); 2] = [(1, 32), (32, 4)];
/// Of the null volume.
const VOLUME_BYTES: u64 = 1 << 30;
const SESSIONS_MAX: usize = 128;

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct LimitsArguments {
    /// Profile of the server, by name or file
    #[arg(long, default_value = "latency", value_parser = ProfileName, hide_possible_values = true)]
    profile: String,
    /// How long each limit is loaded, such as 2s
    #[arg(long, value_name = "TIME", default_value = "3s")]
    time: Delay,
    /// Pairs of bursts of the neighbour, with and without
    #[arg(long, value_name = "N", default_value_t = 12)]
    pairs: usize,
    /// Length of such a burst
    #[arg(long, value_name = "TIME", default_value = "300ms")]
    burst: Delay,
    /// Initiator name; sessions differ in their ISID
    #[arg(long, value_name = "IQN", default_value = INITIATOR)]
    initiator: IscsiName,
    /// Core of the server, or `any` [default: the first one]
    #[arg(long, value_name = "LIST")]
    server_core: Option<CoreChoice>,
    /// Cores of the client: a list such as 1,3-5, or `any` [default: the last one]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreChoice>,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `{ format: 1, machine, profile, accuracy: [ACCURACY], accuracy_worst, fairness, neighbour }`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Document<'a> {
    /// Counts up if a key ever changes its meaning.
    format: u32,
    /// What it ran on.
    machine: Machine,
    /// Profile of the server.
    profile: &'a str,
    /// How near volumes came to their limits.
    accuracy: Vec<Accuracy>,
    /// The ratio that is farthest from 1.
    accuracy_worst: f64,
    /// What two sessions got of one limit.
    fairness: Fairness,
    /// What a limited volume costs one without limits.
    neighbour: Neighbour,
}

pub(super) fn run(arguments: &LimitsArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (time, burst) = (span(arguments.time), span(arguments.burst));
    if time.is_zero() || burst.is_zero() || arguments.pairs == 0 {
        return Err(usage("a time, a burst and at least one pair are needed"));
    }
    let failure = |error: LimitsError| Failure::new(explain(&error));
    let volume = Measured {
        backend: "null",
        bytes: VOLUME_BYTES,
        sessions_max: SESSIONS_MAX,
    };
    let given = arguments.server_core.clone().map(|choice| choice.0);
    let cores = given.unwrap_or_else(|| EchoCores::apart().server);
    let server = bench_server::start(None, &arguments.profile, &cores, &volume)?;
    let plan = |sessions, depth| {
        let mut plan = Plan::new(vec![server.address().clone()], arguments.initiator.clone());
        let cores = arguments.cores.clone();
        plan.sessions = sessions;
        plan.depth = depth;
        plan.threads.cores = cores.map_or(Cores::Last, |choice| choice.0);
        plan.threads.yielding = true;
        plan
    };
    let iops = IOPS_LIMITS.map(|limit| (Kind::Iops, limit));
    let bandwidth = BANDWIDTH_LIMITS.map(|limit| (Kind::Bandwidth, limit));
    let mut accuracy = Vec::new();
    for limit in iops.into_iter().chain(bandwidth) {
        for (sessions, depth) in SHAPES {
            let plan = plan(sessions, depth);
            accuracy.push(limits::accuracy(&server, &plan, limit, time).map_err(failure)?);
        }
    }
    let stray = |ratio: f64| (ratio - 1.0).abs();
    let ratios = accuracy.iter().map(|one| one.ratio);
    let worst = ratios.max_by(|one, other| stray(*one).total_cmp(&stray(*other)));
    let document = Document {
        format: 1,
        machine: Machine::here(),
        profile: &arguments.profile,
        accuracy_worst: worst.unwrap_or(f64::NAN),
        accuracy,
        fairness: limits::fairness(&server, &plan(1, 1), time).map_err(failure)?,
        neighbour: limits::neighbour(&server, &plan(1, 8), burst, arguments.pairs)
            .map_err(failure)?,
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&document).map_err(Failure::new)? + "\n"
    } else {
        table(&document)
    };
    print(out, &text);
    Ok(())
}

fn span(delay: Delay) -> Duration {
    Duration::from_micros(delay.us)
}

fn table(document: &Document<'_>) -> String {
    let columns = [
        Column::Text("LIMIT"),
        Column::Text("LOAD"),
        Column::Number("MEASURED"),
        Column::Number("OF LIMIT"),
    ];
    let rows = document.accuracy.iter().map(|one| {
        let (limit, measured) = match one.kind {
            Kind::Iops => (
                format!("{} IOPS", one.limit),
                format!("{:.0} IOPS", one.measured),
            ),
            Kind::Bandwidth => (
                format!("{} MB/s", one.limit / 1_000_000),
                format!("{:.1} MB/s", one.measured / 1e6),
            ),
        };
        let load = format!("{}×{}", one.sessions, one.depth);
        vec![limit, load, measured, format!("{:.2}%", one.ratio * 100.0)]
    });
    let Fairness {
        limit,
        depth,
        deep_ios,
        shallow_ios,
        ratio,
    } = document.fairness;
    let neighbour = &document.neighbour;
    let spread = |of: &Quartiles| format!("{:.3} ({:.3}–{:.3})", of.median, of.q1, of.q3);
    format!(
        "{}\n\
         fairness at {limit} IOPS: {shallow_ios} I/Os of a session of depth 1, {deep_ios} of one of \
         depth {depth}: {ratio:.3}\n\
         neighbour of a volume at its limit of {} IOPS, with / without:\n\
         \x20 throughput {}, control {}\n\
         \x20 p99.9      {}, control {}\n",
        render(&columns, rows),
        neighbour.limit,
        spread(&neighbour.iops),
        spread(&neighbour.control_iops),
        spread(&neighbour.p999),
        spread(&neighbour.control_p999),
    )
}

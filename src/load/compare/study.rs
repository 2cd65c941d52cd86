//! Everything that one `bench compare` found, and under what conditions.

use std::fs;
use std::time::Duration;

use super::{Candidate, Comparison, Subject};
use crate::load::floor::{EchoShape, EchoSides, Payload};
use crate::load::plan::{Cores, Plan, SocketOptions};
use crate::load::report::json::pattern_name;
use crate::load::tally::Direction;

/// A comparison, perhaps its repetition at several depths, and where it was made.
#[derive(Debug)]
pub struct Study {
    /// When it began, since 1970.
    pub started_at: Duration,
    /// The same for people.
    pub started: String,
    /// The machine.
    pub machine: Machine,
    /// What each candidate was exactly, in their order.
    pub settings: Vec<Settings>,
    /// The comparison.
    pub main: Comparison,
    /// The same at other depths of each session, in the order that they were asked for.
    pub by_depth: Vec<(u32, Comparison)>,
}

/// A candidate's exact settings: what and how much.
pub type Settings = Vec<(&'static str, String)>;

/// The machine that the load generator ran on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Machine {
    /// This program and its version.
    pub program: String,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Model of the first processor, as `/proc/cpuinfo` tells it; empty where it does not.
    pub cpu: String,
    /// Processors that the process may use.
    pub cores: usize,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let told = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
            text.unwrap_or_default().trim().to_owned()
        };
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == "model name");
        Self {
            program: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
            kernel: format!("{} {}", told("ostype"), told("osrelease")),
            cpu: model.map_or_else(String::new, |(_, model)| model.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The exact settings of a candidate.
#[must_use]
pub fn settings(candidate: &Candidate) -> Settings {
    match &candidate.subject {
        Subject::Target {
            plan,
            idle_sessions,
        } => {
            let mut settings = target(plan);
            settings.push(("idle sessions", idle_sessions.to_string()));
            if let Some(server) = &candidate.server {
                settings.extend(server.settings().iter().cloned());
            }
            settings
        }
        Subject::Floor { shape, sides } => echo(*shape, sides),
        Subject::DiskFloor { shape, sides, file } => {
            let mut settings = echo(*shape, sides);
            let text = "polled by io_uring, O_DIRECT, on the echo server's core; added to the echo";
            settings.push(("disk", text.to_owned()));
            settings.push(("file", file.path().display().to_string()));
            settings
        }
    }
}

fn echo(shape: EchoShape, sides: &EchoSides) -> Settings {
    let direction = match shape.direction {
        Direction::Read => "in the answer",
        Direction::Write => "in the request",
    };
    let payload = match shape.payload {
        Payload::Null => "one static piece",
        Payload::Ram => "256 MiB of memory",
    };
    vec![
        ("subject", "raw echo".to_owned()),
        (
            "payload",
            format!("{} bytes {direction}, {payload}", shape.bytes),
        ),
        ("connections", shape.connections.to_string()),
        ("depth of each", shape.depth.to_string()),
        ("server core", cores_name(&sides.cores.server)),
        ("client core", cores_name(&sides.cores.client)),
        ("client yields", sides.yielding.to_string()),
        ("sockets", sockets_name(&sides.sockets)),
    ]
}

fn target(plan: &Plan) -> Settings {
    let workload = &plan.workload;
    let join = |parts: Vec<String>| parts.join(", ");
    let blocks = workload
        .blocks
        .iter()
        .map(|block| format!("{} bytes × {}", block.bytes, block.weight));
    let mut settings = vec![
        (
            "subject",
            join(plan.volumes.iter().map(ToString::to_string).collect()),
        ),
        ("sessions", plan.sessions.to_string()),
        ("depth of each", plan.depth.to_string()),
        ("reads", format!("{}%", workload.read_percent)),
        ("pattern", pattern_name(workload.pattern)),
        ("transfers", join(blocks.collect())),
        ("header digest", plan.login.header_digest.to_string()),
        ("data digest", plan.login.data_digest.to_string()),
        ("immediate data", plan.login.immediate_data.to_string()),
        ("initial R2T", plan.login.initial_r2t.to_string()),
        ("FUA", workload.fua.to_string()),
        ("seed", workload.seed.to_string()),
        ("client threads", plan.threads.count.to_string()),
        ("client cores", cores_name(&plan.threads.cores)),
        ("client yields", plan.threads.yielding.to_string()),
        ("client sockets", sockets_name(&plan.login.socket)),
    ];
    if let Some(rate) = workload.rate {
        settings.push(("rate", format!("{rate} I/Os per second")));
    }
    settings
}

fn sockets_name(options: &SocketOptions) -> String {
    let buffers = options.buffer_bytes.map_or_else(
        || "the kernel's buffers".to_owned(),
        |bytes| format!("buffers of {bytes} bytes"),
    );
    let control = options.congestion_control.as_deref();
    format!(
        "{buffers}, {}",
        control.unwrap_or("the kernel's congestion control")
    )
}

fn cores_name(cores: &Cores) -> String {
    match cores {
        Cores::Last => "the last ones".to_owned(),
        Cores::Any => "any".to_owned(),
        Cores::These(list) => {
            let names: Vec<String> = list.iter().map(ToString::to_string).collect();
            names.join(", ")
        }
    }
}

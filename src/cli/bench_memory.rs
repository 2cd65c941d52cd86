//! `holdfast bench memory`: what an idle session and a volume take.

use std::io::Write;

use bytesize::ByteSize;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::bench_load::{INITIATOR, usage};
use super::bench_server::{self, Measured};
use super::bench_values::CoreChoice;
use super::table::{Column, render};
use super::values::{ProfileName, Size};
use super::{Failure, print};
use crate::base::limits::LOAD_SESSIONS_MAX;
use crate::load::compare::study::Machine;
use crate::load::footprint::{self, Weighed};
use crate::load::report::explain;
use crate::load::{Cores, Plan};
use crate::volume::IscsiName;

const EXAMPLES: &str = "\
Examples:
  holdfast bench memory
  holdfast bench memory --profile efficiency --sessions 1000 --volumes 1000 --json

Starts a server of this very program and weighs it: with so many idle sessions that have read before,
then with as many more of them, then with so many more volumes. What counts is the proportional share
of resident memory (Pss of smaps_rollup) and huge pages. Socket buffers in the kernel are not in it,
nor is what a ram volume holds.

Exit codes: 0 done, 1 it can't be measured, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct MemoryArguments {
    /// Profile of the server, by name or file
    #[arg(long, default_value = "latency", value_parser = ProfileName, hide_possible_values = true)]
    profile: String,
    /// Idle sessions to weigh
    #[arg(long, value_name = "N", default_value_t = 256)]
    sessions: usize,
    /// Volumes to weigh
    #[arg(long, value_name = "N", default_value_t = 256)]
    volumes: usize,
    /// Backend of the volumes: null, ram or file
    #[arg(long, value_name = "BACKEND", default_value = "null",
          value_parser = ["null", "ram", "file"])]
    backend: String,
    /// Size of each volume
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    volume_size: Size,
    /// Initiator name; sessions differ in their ISID
    #[arg(long, value_name = "IQN", default_value = INITIATOR)]
    initiator: IscsiName,
    /// Cores of the client: a list such as 1,3-5, or `any` [default: the last one]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreChoice>,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `{ format: 1, machine, profile, backend, session: WEIGHED, volume: WEIGHED }`, where WEIGHED is
/// `{ count, before_bytes, after_bytes, bytes_each }`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Document<'a> {
    /// Counts up if a key ever changes its meaning.
    format: u32,
    /// What it ran on.
    machine: Machine,
    /// Profile of the server.
    profile: &'a str,
    /// Backend of the volumes.
    backend: &'a str,
    /// Idle sessions.
    session: Weighed,
    /// Volumes.
    volume: Weighed,
}

pub(super) fn run(arguments: &MemoryArguments, out: &mut dyn Write) -> Result<(), Failure> {
    if !(1..=LOAD_SESSIONS_MAX).contains(&arguments.sessions) || arguments.volumes == 0 {
        let text = format!("1 to {LOAD_SESSIONS_MAX} sessions and at least one volume");
        return Err(usage(&text));
    }
    let volume = Measured {
        backend: &arguments.backend,
        bytes: arguments.volume_size.0,
        sessions_max: LOAD_SESSIONS_MAX,
    };
    // With the reactors that the profile takes: what they weigh is part of what is told.
    let server = bench_server::start(None, &arguments.profile, &Cores::Any, &volume)?;
    let mut plan = Plan::new(vec![server.address().clone()], arguments.initiator.clone());
    plan.sessions = arguments.sessions;
    plan.threads.cores = arguments
        .cores
        .clone()
        .map_or(Cores::Last, |choice| choice.0);
    plan.threads.yielding = true;
    let failure = |error: footprint::FootprintError| Failure::new(explain(&error));
    let document = Document {
        format: 1,
        machine: Machine::here(),
        profile: &arguments.profile,
        backend: &arguments.backend,
        session: footprint::sessions(&server, &plan).map_err(failure)?,
        volume: footprint::volumes(&server, arguments.volumes).map_err(failure)?,
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&document).map_err(Failure::new)? + "\n"
    } else {
        table(&document)
    };
    print(out, &text);
    Ok(())
}

fn table(document: &Document<'_>) -> String {
    let columns = [
        Column::Text("WHAT"),
        Column::Number("COUNT"),
        Column::Number("BEFORE"),
        Column::Number("AFTER"),
        Column::Number("EACH"),
    ];
    let bytes = |bytes: u64| ByteSize::b(bytes).to_string();
    let row = |what: &str, weighed: &Weighed| {
        vec![
            what.to_owned(),
            weighed.count.to_string(),
            bytes(weighed.before_bytes),
            bytes(weighed.after_bytes),
            bytes(weighed.bytes_each),
        ]
    };
    let rows = vec![
        row("idle session", &document.session),
        row("volume", &document.volume),
    ];
    render(&columns, rows)
}

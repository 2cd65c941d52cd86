//! Layer 8: the command line.
//!
//! `serve` runs the server, `bench` puts load on one, `profile` looks at profiles and this host,
//! `repair` mends what a stopped server has left; `completions`, `man` and `schema` tell of the commands
//! themselves; every other command asks a running server over its control socket. Here are flags, help,
//! tables and exit codes; what the commands do is in [`crate::control`] and [`crate::load`].
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers, 4 damage found.

mod bench;
mod bench_candidate;
mod bench_compare;
mod bench_floor;
mod bench_limits;
mod bench_load;
mod bench_memory;
mod bench_ratios;
mod bench_report;
mod bench_server;
mod bench_show;
mod bench_sockets;
mod bench_values;
mod client;
mod completions;
mod config;
mod connect;
mod events;
mod group;
mod group_set;
mod limits;
mod lines;
mod logging;
mod manual;
mod profile;
mod progress;
mod reload;
mod repair;
mod reservation;
mod schema;
mod serve;
mod session;
mod show;
mod snapshot;
mod table;
mod time;
mod top;
mod upgrade;
mod values;
mod volume_image;
mod volume_set;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::control::error::ErrorKind;
use crate::control::plane::Launch;
use crate::control::rpc::ClientError;

const EXIT_FAILED: u8 = 1;
/// As clap ends on a command line that it can't parse.
const EXIT_USAGE: u8 = 2;
const EXIT_UNREACHABLE: u8 = 3;
/// `repair` found damage that it was not told to mend.
const EXIT_DAMAGED: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  holdfast serve                                   serve ./holdfast-data on 127.0.0.1:3260
  holdfast volume create db-1 --size 100GiB        make a thin volume in a file
  holdfast volume list                             what there is, and the targets' names
  holdfast snapshot create db-1 monday             its content at this instant
  holdfast session list                            who is logged in
  holdfast connect db-1 --client linux             a script that connects a client
  holdfast reservation show db-1                   who has registered, who holds the reservation
  holdfast bench iscsi://127.0.0.1/IQN --depth 32  how many reads a second a target does
  holdfast profile check latency --cores 2,3       what to change on this host for that profile
  holdfast reservation history db-1                who fenced whom, and when
  holdfast top                                     what it does now, as it does it
  holdfast events --follow                         logins, refusals, fences, failures
  holdfast upgrade                                 run the new program, and disconnect nobody
  holdfast repair                                  look into a stopped server's data directory

A volume is one iSCSI target with one logical unit, LUN 0. Any number of hosts may log in to it at
once, up to its limit; SCSI-3 persistent reservations decide who may write.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers, 4 damage found.";

/// An iSCSI target for shared volumes, with SCSI-3 persistent reservations that hold
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_long_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve volumes until Ctrl-C or SIGTERM
    Serve(Box<serve::ServeArguments>),
    /// Check a configuration, or show all that holds
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make, change, fill, export, delete and restore volumes of a running server
    #[command(subcommand)]
    Volume(client::VolumeCommand),
    /// Take, list, show and delete snapshots of a running server's volumes
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// List and manage volume groups of a running server
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show who is logged in to a running server
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Print what connects a client to a volume, or judge the clients that are connected
    Connect(Box<connect::ConnectArguments>),
    /// Show, explain, check and clear persistent reservations of a running server
    #[command(subcommand)]
    Reservation(reservation::ReservationCommand),
    /// Show or stop a running server
    #[command(subcommand)]
    Server(client::ServerCommand),
    /// Watch a running server: volumes, sessions, reactors, reservations
    Top(top::TopArguments),
    /// Show what happened to a running server, and follow what happens
    Events(events::EventsArguments),
    /// Replace a running server's process, while its initiators stay connected
    Upgrade(upgrade::UpgradeArguments),
    /// Put load on an iSCSI target and measure it, or measure this machine's floor
    Bench(Box<bench::BenchArguments>),
    /// List, show and compare performance profiles, and examine this host for one
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Look into a stopped server's data directory, and mend its catalogue
    Repair(repair::RepairArguments),
    /// Print what makes a shell complete commands, flags and values
    Completions(completions::CompletionsArguments),
    /// Print the manual page of a command, or write them all
    Man(manual::ManualArguments),
    /// Print the shape of what --json prints, as JSON Schema
    Schema(schema::SchemaArguments),
}

/// Parses the process's arguments and does what they say. `launch` starts the data path.
#[must_use]
pub fn main(launch: &dyn Launch) -> ExitCode {
    run(Cli::parse(), launch, &mut std::io::stdout().lock())
}

fn run(cli: Cli, launch: &dyn Launch, out: &mut dyn Write) -> ExitCode {
    let outcome = match cli.command {
        Command::Serve(arguments) => serve::run(*arguments, launch, out),
        Command::Config(command) => config::run(command, out),
        Command::Volume(command) => client::volume(command, out),
        Command::Group(command) => group::run(command, out),
        Command::Session(command) => session::run(command, out),
        Command::Connect(arguments) => connect::run(*arguments, out),
        Command::Snapshot(command) => snapshot::run(command, out),
        Command::Reservation(command) => reservation::run(command, out),
        Command::Server(command) => client::server(command, out),
        Command::Top(arguments) => top::run(arguments, out),
        Command::Events(arguments) => events::run(arguments, out),
        Command::Upgrade(arguments) => upgrade::run(arguments, out),
        Command::Bench(arguments) => bench::run(*arguments, out),
        Command::Profile(command) => profile::run(command, out),
        Command::Repair(arguments) => repair::run(&arguments, out),
        Command::Completions(arguments) => completions::run(&arguments, out),
        Command::Man(arguments) => manual::run(&arguments, out),
        Command::Schema(arguments) => schema::run(&arguments, out),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            // Nobody may be reading.
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(code)
        }
    }
}

/// Why a command failed, and how the process is to end.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(message: impl ToString) -> Self {
        Self {
            code: EXIT_FAILED,
            message: message.to_string(),
        }
    }

    /// Where there was an answer before, and now is none; what `goes_on` when the server is back.
    fn gone(error: ClientError, goes_on: &str) -> Self {
        let stops = ErrorKind::Stopping.code();
        match &error {
            ClientError::Refused { code, .. } if *code != stops => error.into(),
            _ => Self {
                code: EXIT_UNREACHABLE,
                message: format!(
                    "the server has gone away: {error}\n  hint: {goes_on} when it is back; ask again \
                     then"
                ),
            },
        }
    }
}

/// Writes to `out`; whether anybody reads it to the end is the reader's affair.
fn print(out: &mut dyn Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;

//! `holdfast upgrade`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::client::Connection;
use super::values::Delay;
use crate::control::api::{ServerUpgrade, ServerUpgradeView, method};

const EXAMPLES: &str = "\
Examples:
  holdfast upgrade --check
      starts the new program, lets it read its configuration, and ends it again; nobody is disturbed
  holdfast upgrade
      the program that the server was started from, as it is now: after a package was installed, or
      the configuration changed
  holdfast upgrade --binary /opt/holdfast-0.2/bin/holdfast
      another program

The new process is started with the arguments of the old one and says when it is ready. Then no
command begins any more, those that run end, and everything is handed over: listening and connected
sockets, volumes, reservations, unit attentions, commands that wait. Initiators see a pause and stay
logged in; who is just logging in is turned away and tries again.

Where the new process refuses, dies or takes too long, the old one goes on as before, and the answer
says why. Volumes in memory (--backend ram) can't be handed over.

Under systemd the unit needs Type=notify. See `Upgrading` in the README.";

/// Flags of `upgrade`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct UpgradeArguments {
    /// The new program [default: the one that the server was started from]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Only find out whether it can be
    #[arg(long)]
    check: bool,
    /// How long initiators may wait until all that runs has ended, at most 15s [default: 5s]
    #[arg(long, value_name = "TIME")]
    patience: Option<Delay>,
    #[command(flatten)]
    connection: Connection,
}

/// Asks the server to be replaced.
pub(super) fn run(arguments: UpgradeArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let UpgradeArguments {
        binary,
        check,
        patience,
        connection,
    } = arguments;
    // The server's working directory is another one.
    let absolute = |path: PathBuf| {
        std::path::absolute(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    };
    let upgrade = ServerUpgrade {
        binary: binary.map(absolute).transpose()?,
        check,
        patience_ms: patience.map(|delay| delay.us / 1000),
    };
    connection.ask(out, method::SERVER_UPGRADE, &upgrade, show)
}

fn show(upgrade: &ServerUpgradeView) -> String {
    let ServerUpgradeView { before, after, .. } = upgrade;
    let volumes = counted(upgrade.volumes, "volume");
    let sessions = counted(upgrade.sessions, "session");
    let (from, to) = (&before.version, &after.version);
    match upgrade.pause_us {
        None => format!("version {to} could take over from {from}: {volumes}, {sessions}\n"),
        Some(pause) => format!(
            "version {to} serves in place of {from}, process {} in place of process {}\n\
             {volumes}, {sessions}, and a pause of {:.1} ms\n",
            after.pid,
            before.pid,
            Duration::from_micros(pause).as_secs_f64() * 1000.0,
        ),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

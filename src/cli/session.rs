//! `holdfast session`: who is logged in, and taking nodes out of service.

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::client::{Connection, Nothing};
use super::table::{Column, render};
use super::values::human_seconds;
use super::{Failure, print, show};
use crate::control::api::{
    DrainSelect, DrainView, SessionAdmit, SessionDrain, SessionList, method,
};
use crate::control::config::{Advertise, Span};
use crate::control::rpc::Client;
use crate::volume::{IscsiName, VolumeName};

const DRAIN_EXAMPLES: &str = "\
Examples:
  holdfast session drain --initiator iqn.1993-08.org.debian:01:db1
      before work on db1: its sessions are asked to log out (RFC 7143 section 11.9.1), those that are
      left after 30 s are dropped, and it can't log in until `session admit`
  holdfast session drain --address 10.0.0.7 --volume db-1 --deadline 2m
      whoever comes from that address, off one volume
  holdfast session drain --initiator iqn.1993-08.org.debian:01:db1 --redirect 10.0.0.2:3260
      logins are sent to another portal (status 0101, moved temporarily), as before work on this node
  holdfast session admit --initiator iqn.1993-08.org.debian:01:db1
      lets it in again; name the node as the drain did

A drain outlives a restart of the server. Reservations and registrations stay as they are. A node that
logs out when it is asked to may try to come back at once: it is refused with status 0301, service
unavailable, which initiators take for a reason to try again later.";

const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List sessions that are logged in
    List {
        /// Only those of this volume
        #[arg(long, value_name = "NAME")]
        volume: Option<VolumeName>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take a node out of service: its sessions log out, or are dropped; its logins are refused
    #[command(after_long_help = DRAIN_EXAMPLES)]
    Drain {
        #[command(flatten)]
        node: NodeArguments,
        #[command(flatten)]
        drain: DrainArguments,
    },
    /// Let a drained node log in again
    Admit {
        #[command(flatten)]
        node: NodeArguments,
        #[command(flatten)]
        connection: Connection,
    },
    /// List the nodes that are drained
    Drains {
        #[command(flatten)]
        connection: Connection,
    },
}

/// Which node.
#[derive(Debug, Args)]
pub(super) struct NodeArguments {
    /// The initiator's iSCSI name
    #[arg(long, value_name = "NAME", required_unless_present = "address")]
    initiator: Option<IscsiName>,
    /// The initiator's address
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// On this volume alone
    #[arg(long, value_name = "VOLUME")]
    volume: Option<VolumeName>,
}

/// How it is drained.
#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    /// Portal that logins are sent to; without it they are refused
    #[arg(long, value_name = "ADDR:PORT")]
    redirect: Option<Advertise>,
    /// How long sessions have to log out before they are dropped, at most 1h
    #[arg(long, value_name = "TIME", default_value = "30s")]
    deadline: Span,
    /// Return at once instead of waiting until no session is left
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(command: SessionCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        SessionCommand::List { volume, connection } => connection.ask(
            out,
            method::SESSION_LIST,
            &SessionList { volume },
            show::sessions,
        ),
        SessionCommand::Drain { node, drain } => drain.run(node.select(), out),
        SessionCommand::Admit { node, connection } => admit(&connection, node.select(), out),
        SessionCommand::Drains { connection } => {
            connection.ask(out, method::SESSION_DRAINS, &Nothing {}, drains)
        }
    }
}

impl NodeArguments {
    fn select(self) -> DrainSelect {
        DrainSelect {
            initiator: self.initiator,
            address: self.address,
            volume: self.volume,
            everyone: false,
        }
    }
}

/// Lets a drained node, or everyone, log in again.
pub(super) fn admit(
    connection: &Connection,
    select: DrainSelect,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let admit = SessionAdmit { select };
    connection.ask(out, method::SESSION_ADMIT, &admit, |ended: &DrainView| {
        format!("{} may log in again\n", node(ended))
    })
}

impl DrainArguments {
    /// Drains, and waits until no session is left.
    pub(super) fn run(self, select: DrainSelect, out: &mut dyn Write) -> Result<(), Failure> {
        let drain = SessionDrain {
            select,
            redirect: self.redirect.map(String::from),
            deadline_ms: u64::try_from(self.deadline.0.as_millis()).unwrap_or(u64::MAX),
        };
        let mut client = self.connection.client()?;
        let begun: DrainView = client.call(method::SESSION_DRAIN, &drain)?;
        let last = match self.no_wait {
            true => begun.clone(),
            false => wait(&mut client, &begun)?,
        };
        if self.connection.is_json() {
            let text = serde_json::to_string_pretty(&last).map_err(Failure::new)?;
            print(out, &format!("{text}\n"));
            return Ok(());
        }
        let left = match last.sessions {
            0 => "no session is left".to_owned(),
            left => format!(
                "{left} sessions are asked to log out within {}",
                human_seconds(last.left_ms.div_ceil(1000))
            ),
        };
        print(out, &format!("{} is drained: {left}\n", node(&last)));
        Ok(())
    }
}

/// Waits until no session of a drain is left, and says how many there are.
fn wait(client: &mut Client, begun: &DrainView) -> Result<DrainView, Failure> {
    let mut seen = begun.clone();
    let mut progress = Progress::default();
    while seen.sessions > 0 {
        progress.tell(&seen);
        std::thread::park_timeout(POLL_INTERVAL);
        let drains: Vec<DrainView> = client.call(method::SESSION_DRAINS, &Nothing {})?;
        let same = |drain: &DrainView| {
            (
                &drain.initiator,
                &drain.address,
                &drain.volume,
                drain.since_ms,
            ) == (
                &begun.initiator,
                &begun.address,
                &begun.volume,
                begun.since_ms,
            )
        };
        let Some(still) = drains.into_iter().find(same) else {
            return Err(Failure::new(format!(
                "the drain of {} has ended with {} sessions left: somebody admitted it",
                node(begun),
                seen.sessions
            )));
        };
        seen = still;
    }
    progress.end();
    Ok(seen)
}

/// One line on the terminal of whoever waits.
#[derive(Default)]
struct Progress {
    told: bool,
}

impl Progress {
    fn tell(&mut self, drain: &DrainView) {
        let mut terminal = std::io::stderr();
        if terminal.is_terminal() {
            let seconds = drain.left_ms.div_ceil(1000);
            let _ = write!(
                terminal,
                "\r\x1b[K{} sessions left, {seconds} s",
                drain.sessions
            );
            let _ = terminal.flush();
            self.told = true;
        }
    }

    fn end(&self) {
        if self.told {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A node as people call it.
fn node(drain: &DrainView) -> String {
    let name = match (&drain.initiator, &drain.address) {
        (Some(name), Some(address)) => format!("{name} from {address}"),
        (Some(name), None) => name.clone(),
        (None, Some(address)) => format!("every initiator from {address}"),
        (None, None) => "every initiator".to_owned(),
    };
    match &drain.volume {
        Some(volume) => format!("{name} on {volume}"),
        None => name,
    }
}

#[allow(clippy::ptr_arg, reason = "it shows what the answer was parsed to")]
fn drains(drains: &Vec<DrainView>) -> String {
    let columns = [
        Column::Text("INITIATOR"),
        Column::Text("ADDRESS"),
        Column::Text("VOLUME"),
        Column::Number("SESSIONS"),
        Column::Number("DROPPED IN"),
        Column::Text("LOGINS"),
    ];
    let any = |value: &Option<String>| value.clone().unwrap_or_else(|| "any".to_owned());
    let row = |drain: &DrainView| {
        let logins = drain.redirect.as_ref();
        vec![
            any(&drain.initiator),
            any(&drain.address),
            any(&drain.volume),
            drain.sessions.to_string(),
            match drain.left_ms {
                0 => "-".to_owned(),
                left => human_seconds(left.div_ceil(1000)),
            },
            logins.map_or("refused".to_owned(), |portal| format!("sent to {portal}")),
        ]
    };
    render(&columns, drains.iter().map(row))
}

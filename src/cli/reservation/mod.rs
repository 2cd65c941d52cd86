//! `holdfast reservation`.

mod follow;
mod text;

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand, ValueEnum};

use super::client::Connection;
use super::time::Since;
use super::{EXIT_USAGE, Failure};
use crate::control::api::{
    HistoryQuery, PreemptCheck, ReservationClear, ReservationView, VolumeSelect, method,
};
use crate::reservation::{Key, ReservationType};
use crate::volume::VolumeName;

const SHOW_EXAMPLES: &str = "\
Examples:
  holdfast reservation show db-1
      who has registered which key, who holds the reservation, and from which hosts they come
  holdfast reservation show db-1 --json | jq -r '.registrations[] | select(.addresses == []) | .key'
      the keys of nodes that are not logged in

Each line is one I_T nexus: an initiator name with an ISID, through one target port. A registration
belongs to the nexus and outlives its sessions. AGE is how long the nexus has had this key; over
restarts too, where APTPL keeps the registration. SINCE tells the same of the reservation.";

const HISTORY_EXAMPLES: &str = "\
Examples:
  holdfast reservation history db-1
      the last 20 things that happened
  holdfast reservation history db-1 --since 2h --lines 100
  holdfast reservation history db-1 --follow
      the last 20, then what happens from now on, until Ctrl-C
  holdfast reservation history db-1 --json | jq '.entries[] | select(.effect)'
      only what changed registrations or the reservation
  holdfast reservation history db-1 -n 0 --follow --json | jq --unbuffered -c '[.action, .status]'
      one line of JSON for each entry

Every PERSISTENT RESERVE OUT is there, refused ones too (a pending unit attention is a refusal:
CHECK CONDITION 6), every RESERVE and RELEASE of SPC-2, what resets, lost sessions, restarts and
operators did. A refusal that repeats counts up in one entry, and refusals never push out what
changed something. The server keeps 256 entries for each volume.

With --follow an entry comes when it has ended, and once more, under its number, when it counts up.
Entries that were pushed out before they could be read are counted; in JSON by a line
with `lost` alone. If the server goes away the command ends with exit code 3, if the volume does,
with 1.

What changes a reservation that APTPL keeps is saved with it, in one transaction. The rest (how a
command ended, changes without APTPL, refusals) is saved with the next such change, when the server
stops, or within 10 seconds. A kill -9 or a power cut takes what was not saved; a command whose end
it took is `unfinished`: its change was made durable, and it may or may not have been answered.";

const CHECK_EXAMPLES: &str = "\
Examples:
  holdfast reservation check db-1 --preempt 0x4f2a
      what a PREEMPT of key 0x4f2a would do, sent by the holder or another registrant
  holdfast reservation check db-1 --preempt 0x4f2a --type we-ro --as iqn.1993-08.org.debian:01:a
      sent by that initiator, asking for that type

Nothing is done. The rules are those that decide when a PREEMPT comes: the answer is what it would do
if it came now. COMMANDS are under way, and PREEMPT AND ABORT would end them; of these, WRITES are at
the disk, and both would wait for them.";

const CLEAR_EXAMPLES: &str = "\
Examples:
  holdfast reservation clear db-1
      remove every registration and reservation, after a question
  holdfast reservation clear db-1 --key 0x4f2a --yes
      remove the registrations of one key, without a question

For an emergency: no node is left that could do it, or none that should be trusted to. As long as
there is one, let the cluster software do it; it has to know.

WITHOUT A RESERVATION EVERY INITIATOR MAY WRITE, a failed node that comes back included. The
command returns when the writes of those who lost rights are over. Every node concerned is told by
a unit attention (2A/03 or 2A/05), and the history says which user did it.";

#[derive(Debug, Subcommand)]
pub(super) enum ReservationCommand {
    /// Show who has registered with a volume and who holds its reservation
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show {
        /// The volume's name
        #[arg(value_name = "VOLUME")]
        name: VolumeName,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what happened to a volume's reservations: who did what to whom, and how it ended
    #[command(after_long_help = HISTORY_EXAMPLES)]
    History {
        /// The volume's name
        #[arg(value_name = "VOLUME")]
        name: VolumeName,
        /// Show at most that many entries, the newest ones
        #[arg(
            short = 'n',
            long = "lines",
            visible_alias = "limit",
            value_name = "N",
            default_value = "20"
        )]
        lines: usize,
        /// Go on with what happens from now on, until Ctrl-C or the server goes away
        #[arg(short, long)]
        follow: bool,
        /// Only what happened since: 30s, 10m, 2h, 7d ago, or a time such as 2026-01-31T12:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Tell what a PREEMPT would do, without doing it
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check(CheckArguments),
    /// Remove registrations and reservations in an emergency
    #[command(after_long_help = CLEAR_EXAMPLES)]
    Clear(ClearArguments),
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    name: VolumeName,
    /// Key whose registrations would go, such as 0x4f2a; 0x0: all others, under an all-registrants
    /// type
    #[arg(long, value_name = "KEY")]
    preempt: Key,
    /// Type to establish if the reservation is taken [default: the present one]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<TypeArgument>,
    /// Who would send it: an initiator name, or one with ,i,0x and an ISID [default: the holder, or
    /// another registrant that has another key]
    #[arg(long = "as", value_name = "INITIATOR")]
    by: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct ClearArguments {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    name: VolumeName,
    /// Remove only the registrations of this key, such as 0x4f2a
    #[arg(long, value_name = "KEY")]
    key: Option<Key>,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// [`ReservationType`] as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum TypeArgument {
    /// Write exclusive (1)
    #[value(alias = "1")]
    We,
    /// Exclusive access (3)
    #[value(alias = "3")]
    Ea,
    /// Write exclusive, registrants only (5)
    #[value(alias = "5")]
    WeRo,
    /// Exclusive access, registrants only (6)
    #[value(alias = "6")]
    EaRo,
    /// Write exclusive, all registrants (7)
    #[value(alias = "7")]
    WeAr,
    /// Exclusive access, all registrants (8)
    #[value(alias = "8")]
    EaAr,
}

impl From<TypeArgument> for ReservationType {
    fn from(argument: TypeArgument) -> Self {
        match argument {
            TypeArgument::We => Self::WriteExclusive,
            TypeArgument::Ea => Self::ExclusiveAccess,
            TypeArgument::WeRo => Self::WriteExclusiveRegistrantsOnly,
            TypeArgument::EaRo => Self::ExclusiveAccessRegistrantsOnly,
            TypeArgument::WeAr => Self::WriteExclusiveAllRegistrants,
            TypeArgument::EaAr => Self::ExclusiveAccessAllRegistrants,
        }
    }
}

pub(super) fn run(command: ReservationCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        ReservationCommand::Show { name, connection } => connection.ask(
            out,
            method::RESERVATION_SHOW,
            &VolumeSelect { name },
            text::reservation,
        ),
        ReservationCommand::History {
            name,
            lines,
            follow,
            since,
            connection,
        } => {
            let query = HistoryQuery {
                name,
                limit: Some(lines),
                since_ms: since.map(|since| since.0),
                after: None,
                wait_ms: 0,
            };
            if follow {
                return follow::run(query, &connection, out);
            }
            connection.ask(out, method::RESERVATION_HISTORY, &query, text::history)
        }
        ReservationCommand::Check(arguments) => {
            let check = PreemptCheck {
                name: arguments.name,
                preempt: arguments.preempt.to_string(),
                type_code: arguments
                    .kind
                    .map(|kind| ReservationType::from(kind).code()),
                by: arguments.by,
            };
            let connection = arguments.connection;
            connection.ask(out, method::RESERVATION_CHECK, &check, text::check)
        }
        ReservationCommand::Clear(arguments) => clear(arguments, out),
    }
}

fn clear(arguments: ClearArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let ClearArguments {
        name,
        key,
        yes,
        connection,
    } = arguments;
    if !yes {
        let select = VolumeSelect { name: name.clone() };
        let present: ReservationView = connection.call(method::RESERVATION_SHOW, &select)?;
        let threat = text::threat(&present, key).ok_or_else(|| {
            Failure::new(format!(
                "volume {name} has nothing of that to remove; `holdfast reservation show {name}` \
                 tells what it has"
            ))
        })?;
        ask_on_the_terminal(&threat, &name)?;
    }
    let clear = ReservationClear {
        name,
        key: key.map(|key| key.to_string()),
    };
    connection.ask(out, method::RESERVATION_CLEAR, &clear, text::cleared)
}

/// Goes on only if somebody at a terminal wants it.
fn ask_on_the_terminal(threat: &str, name: &VolumeName) -> Result<(), Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure {
            code: EXIT_USAGE,
            message: format!(
                "this takes the reservations of volume {name} away, and there is no terminal to ask \
                 on whether that is meant; with --yes it is done without a question"
            ),
        });
    }
    // Standard output is for the answer, which may be JSON.
    match confirmed(threat, name, &mut input.lock(), &mut std::io::stderr()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("not confirmed; nothing was removed")),
        Err(error) => Err(Failure::new(format!("the terminal: {error}"))),
    }
}

/// Whether the answer is the volume's name: nobody types that by mistake.
fn confirmed(
    threat: &str,
    name: &VolumeName,
    input: &mut dyn BufRead,
    terminal: &mut dyn Write,
) -> std::io::Result<bool> {
    write!(terminal, "{threat}\nType the volume's name to go on: ")?;
    terminal.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_the_volume_confirms() {
        let name: VolumeName = "db-1".parse().unwrap();
        let ask = |answer: &str| {
            let mut shown = Vec::new();
            let confirmed = confirmed("all is lost", &name, &mut answer.as_bytes(), &mut shown);
            assert_eq!(
                String::from_utf8(shown).unwrap(),
                "all is lost\nType the volume's name to go on: "
            );
            confirmed.unwrap()
        };
        assert!(ask("db-1\n") && ask(" db-1"));
        assert!(!ask("") && !ask("yes\n") && !ask("db-2\n") && !ask("\ndb-1\n"));
    }
}

//! `holdfast repair`: looks into a data directory that no server uses, and mends its catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::table::{Column, describe, render};
use super::{EXIT_DAMAGED, EXIT_FAILED, Failure, print};
use crate::control::catalogue::{
    DataDirectory, Decision, InspectedVolume, Inspection, Plan, Repairs, Replacement,
};

const EXAMPLES: &str = "\
Examples:
  holdfast repair --data /srv/holdfast
      looks, changes nothing, and says what is wrong and what can be done
  holdfast repair --data /srv/holdfast --reservations db-1=discard
      forgets who had registered with db-1. Say this only when no host writes to it: a node that
      was fenced could write again
  holdfast repair --data /srv/holdfast --restore-from /backup/catalogue.redb --reservations ALL=keep
      puts a backup in the catalogue's place. `keep` says that no reservation has changed since it
      was made; `discard` that no host writes
  holdfast repair --data /srv/holdfast --start-empty
      begins with no volumes; files in volumes/ stay as they are, for you to copy from

The server must be stopped. Before anything is changed it asks, unless --yes is given, and it keeps
the catalogue that was there as catalogue.redb.before-repair-N. A backup is a copy of catalogue.redb
made while the server was stopped.

Exit codes: 0 everything can be served, 1 the repair was refused or failed, 2 wrong usage, 4 there
is damage that was not repaired.";

/// Flags of `repair`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct RepairArguments {
    /// Data directory of the stopped server
    #[arg(
        long,
        value_name = "DIR",
        env = "HOLDFAST_DATA",
        default_value = "holdfast-data"
    )]
    data: PathBuf,

    /// Only say what is wrong, and what the other flags would do
    #[arg(long, conflicts_with = "yes")]
    check: bool,

    /// What to do with a volume's reservations, or with those of `ALL` others; may be repeated
    #[arg(long, value_name = "VOLUME=keep|discard")]
    reservations: Vec<Choice>,

    /// Put this copy in the catalogue's place
    #[arg(long, value_name = "FILE", conflicts_with = "start_empty")]
    restore_from: Option<PathBuf>,

    /// Begin with a catalogue that has no volumes
    #[arg(long)]
    start_empty: bool,

    /// Drop a volume whose row can't be read; its data stays. May be repeated
    #[arg(long, value_name = "VOLUME")]
    forget: Vec<String>,

    /// Do it without asking
    #[arg(long)]
    yes: bool,

    /// Answer in JSON, for programs; implies that nobody is asked
    #[arg(long)]
    json: bool,
}

/// `VOLUME=keep` or `VOLUME=discard`.
#[derive(Debug, Clone)]
struct Choice(String, Decision);

impl FromStr for Choice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let decision = |word| match word {
            "keep" => Some(Decision::Keep),
            "discard" => Some(Decision::Discard),
            _ => None,
        };
        text.split_once('=')
            .and_then(|(name, word)| Some(Self(name.to_owned(), decision(word)?)))
            .ok_or("expected VOLUME=keep or VOLUME=discard, such as db-1=discard")
    }
}

/// The answer in JSON.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report<'a> {
    /// Whether everything can be served.
    sound: bool,
    #[serde(flatten)]
    inspection: &'a Inspection,
    /// What was asked for, step by step.
    actions: &'a [String],
    /// Whether that was done.
    done: bool,
    /// The copy of the catalogue that was there.
    replaced: Option<String>,
}

impl RepairArguments {
    fn repairs(&self) -> Repairs {
        let choices = self.reservations.iter();
        let backup = self.restore_from.clone().map(Replacement::Backup);
        Repairs {
            reservations: choices
                .map(|Choice(name, decision)| (name.clone(), *decision))
                .collect::<BTreeMap<_, _>>(),
            forget: self.forget.iter().cloned().collect::<BTreeSet<_>>(),
            replacement: backup.or(self.start_empty.then_some(Replacement::Empty)),
        }
    }
}

pub(super) fn run(arguments: &RepairArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = DataDirectory::existing(&arguments.data).map_err(Failure::new)?;
    let mut inspection = Inspection::of(&directory).map_err(Failure::new)?;
    let repairs = arguments.repairs();
    if !arguments.json {
        print(out, &show(&inspection));
    }
    let (mut actions, mut replaced, mut done) = (Vec::new(), None, false);
    if !repairs.is_empty() {
        let plan = Plan::make(&directory, &repairs).map_err(Failure::new)?;
        actions = plan.actions().to_vec();
        if !arguments.json {
            print(out, &list("To be done:", &actions));
        }
        if arguments.yes || (!arguments.check && is_confirmed(arguments, out)) {
            replaced = plan.carry_out(&directory).map_err(Failure::new)?;
            inspection = Inspection::of(&directory).map_err(Failure::new)?;
            done = true;
        }
    } else if !arguments.json {
        print(out, &advice(&inspection));
    }
    let sound = inspection.is_sound();
    if arguments.json {
        let report = Report {
            sound,
            inspection: &inspection,
            actions: &actions,
            done,
            replaced,
        };
        let text = serde_json::to_string_pretty(&report).map_err(Failure::new)?;
        print(out, &format!("{text}\n"));
    } else if done {
        let kept = replaced.map(|name| format!("; what was there is kept as {name}"));
        print(out, &format!("\nDone{}.\n\n", kept.unwrap_or_default()));
        print(out, &show(&inspection));
    }
    if !repairs.is_empty() && !done && !arguments.check {
        return Err(Failure {
            code: EXIT_FAILED,
            message: "nothing was changed: it was not confirmed; --yes confirms it".to_owned(),
        });
    }
    match sound {
        true => Ok(()),
        false => Err(Failure {
            code: EXIT_DAMAGED,
            message: format!("{} can't be served whole", directory.path().display()),
        }),
    }
}

/// Asks whoever sits at the terminal; without one, nobody has confirmed anything.
fn is_confirmed(arguments: &RepairArguments, out: &mut dyn Write) -> bool {
    let input = std::io::stdin();
    if arguments.json || !input.is_terminal() {
        return false;
    }
    print(out, "\nType `yes` to do it: ");
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    read.is_ok() && answer.trim() == "yes"
}

fn show(inspection: &Inspection) -> String {
    let contents = &inspection.contents;
    let mut pairs = vec![("data", inspection.data.display().to_string())];
    let state = match &inspection.problem {
        None => "can be read".to_owned(),
        Some(problem) => problem.clone(),
    };
    pairs.push(("catalogue", state));
    if inspection.problem.is_none() {
        pairs.push(("changes", contents.sequence.to_string()));
    }
    let lists = [
        ("stray files", &inspection.stray_files),
        ("stray records", &contents.orphans),
        ("kept copies", &inspection.kept),
    ];
    for (title, names) in lists {
        if !names.is_empty() {
            pairs.push((title, names.join(", ")));
        }
    }
    let mut text = describe(&pairs);
    if !contents.volumes.is_empty() {
        let columns = [
            Column::Text("VOLUME"),
            Column::Text("STATE"),
            Column::Text("RESERVATIONS"),
        ];
        text.push('\n');
        text.push_str(&render(&columns, contents.volumes.iter().map(row)));
    }
    for volume in &contents.volumes {
        if let Some(problem) = &volume.problem {
            text.push_str(&format!("\nvolume {}: {problem}\n", volume.name));
        }
    }
    text
}

fn row(volume: &InspectedVolume) -> Vec<String> {
    let state = match volume.problem {
        None if volume.deleted => "deleted",
        None => "sound",
        Some(_) => "not served",
    };
    let reservations = match volume.reservations {
        None if volume.deleted => "none".to_owned(),
        None => "unknown".to_owned(),
        Some(kept) if kept.registrations == 0 => "none".to_owned(),
        Some(kept) => {
            let kind = kept.kind.map(|kind| format!(", reserved with type {kind}"));
            format!(
                "{} registered{}",
                kept.registrations,
                kind.unwrap_or_default()
            )
        }
    };
    vec![volume.name.clone(), state.to_owned(), reservations]
}

/// What can be done about what was found.
fn advice(inspection: &Inspection) -> String {
    let command = format!("holdfast repair --data {}", quoted(&inspection.data));
    let mut lines = Vec::new();
    if inspection.problem.is_some() {
        lines.push(format!(
            "{command} --restore-from FILE --reservations ALL=keep|discard"
        ));
        lines.push(format!("{command} --start-empty"));
    }
    for volume in &inspection.contents.volumes {
        let name = &volume.name;
        match (&volume.problem, &volume.id, volume.reservations) {
            (Some(_), None, _) => lines.push(format!("{command} --forget {name}")),
            (Some(_), Some(_), None) => {
                lines.push(format!("{command} --reservations {name}=discard"));
            }
            (Some(_), Some(_), Some(_)) => lines.push(format!(
                "restore its file, or start the server and `holdfast volume delete {name}`"
            )),
            (None, ..) => {}
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    lines.push("`holdfast repair --help` says what each of them means".to_owned());
    list("What can be done:", &lines)
}

fn list(title: &str, lines: &[String]) -> String {
    let lines = lines.iter().map(|line| format!("  {line}\n"));
    format!("\n{title}\n{}", lines.collect::<String>())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

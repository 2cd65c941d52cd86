//! `holdfast config reload`.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;

use super::Failure;
use super::client::Connection;
use super::table::{Column, render};
use crate::control::api::{
    ConfigReload, ConfigReloadView, KeyChangeView, KeyOutcome, RefusedSessionView, method,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast config reload --dry-run
      what would change, what would wait for an upgrade or a restart, and who could not log in again
  holdfast config reload
      reads the file that the server was started with, and applies what can change while it runs
  holdfast config reload --disconnect
      ends the sessions too that the rules in force would not let in again
  holdfast config reload --json | jq -r '.keys[] | select(.outcome != \"applied\") | .key'

A file with an error changes nothing. SIGHUP does the same as the command without options, and also
opens the audit log anew, for whoever rotates it; what came of it is in the log and in `holdfast
events`. Flags of `serve` and variables go on overriding the file. What became of a key:
  applied          it is in force
  needs upgrade    after `holdfast upgrade` (initiators see a pause), or after a restart
  needs restart    after a restart
  can't change     in this data directory
  hidden           a flag or a variable that the server was started with decides
`holdfast config show --running` shows what is in force.

Logins are judged by new access rules at once. Sessions that are logged in stay: they are listed if
they could not log in again, each time, for as long as they are there. With --disconnect they are
asked to log out (asynchronous message, RFC 7143 section 11.9); those that are left after
limits.drain_timeout are dropped. Reservations and registrations stay.";

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    /// Tell what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask the sessions to log out that could not log in again, and drop those that don't
    #[arg(long)]
    disconnect: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: ReloadArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let reload = ConfigReload {
        dry_run: arguments.dry_run,
        disconnect: arguments.disconnect,
    };
    let connection = arguments.connection;
    connection.ask(out, method::CONFIG_RELOAD, &reload, show)
}

fn show(view: &ConfigReloadView) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut text, view);
    text
}

fn write_all(text: &mut String, view: &ConfigReloadView) -> std::fmt::Result {
    let (file, unchanged) = (view.file.display(), view.unchanged.len());
    let read = match view.dry_run {
        true => "was read and not applied",
        false => "was read again",
    };
    match view.keys.is_empty() {
        true => writeln!(text, "{file} {read}: nothing differs from what is in force")?,
        false => writeln!(text, "{file} {read}; {unchanged} keys are as before")?,
    }
    let width = view.keys.iter().map(|key| word(view, key).len()).max();
    for key in &view.keys {
        let (was, is) = (value(key.from.as_ref()), value(key.to.as_ref()));
        let width = width.unwrap_or_default();
        write!(text, "{:width$}  {}", word(view, key), key.key)?;
        match was == is {
            true => write!(text, ": {is}")?,
            false => write!(text, ": {was} -> {is}")?,
        }
        match key.note.is_empty() {
            true => writeln!(text)?,
            false => writeln!(text, " ({})", key.note)?,
        }
    }
    write_sessions(text, view)
}

fn write_sessions(text: &mut String, view: &ConfigReloadView) -> std::fmt::Result {
    if view.refused_sessions.is_empty() {
        return Ok(());
    }
    let fate = match (view.disconnected, view.dry_run) {
        (None, false) => "and stay".to_owned(),
        (None, true) => "and would stay".to_owned(),
        (Some(_), true) => "and would be asked to log out".to_owned(),
        (Some(ended), false) if ended.dropped == 0 => "were asked to log out, and did".to_owned(),
        (Some(ended), false) => {
            format!(
                "and were asked to log out; {} had to be dropped",
                ended.dropped
            )
        }
    };
    writeln!(text, "These sessions could not log in again, {fate}:")?;
    let columns = [
        Column::Text("VOLUME"),
        Column::Text("INITIATOR"),
        Column::Text("ADDRESS"),
        Column::Text("RULE"),
        Column::Text("WHY"),
    ];
    let row = |session: &RefusedSessionView| {
        vec![
            session.volume.clone(),
            session.initiator.clone(),
            session.address.clone(),
            session.rule.clone(),
            session.reason.clone(),
        ]
    };
    text.push_str(&render(&columns, view.refused_sessions.iter().map(row)));
    if view.disconnected.is_none() {
        writeln!(
            text,
            "`holdfast config reload --disconnect` asks them to log out, and drops those that don't"
        )?;
    }
    Ok(())
}

fn value(value: Option<&String>) -> &str {
    value.map_or("not set", String::as_str)
}

const fn word(view: &ConfigReloadView, key: &KeyChangeView) -> &'static str {
    match key.outcome {
        KeyOutcome::Applied if view.dry_run => "would apply",
        KeyOutcome::Applied => "applied",
        KeyOutcome::NeedsUpgrade => "needs upgrade",
        KeyOutcome::NeedsRestart => "needs restart",
        KeyOutcome::Fixed => "can't change",
        KeyOutcome::Hidden => "hidden",
    }
}

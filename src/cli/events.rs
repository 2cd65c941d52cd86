//! `holdfast events`: what happened to the server, and what happens.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::Failure;
use super::client::Connection;
use super::time::{Since, utc};
use crate::base::limits::HISTORY_WAIT_MAX;
use crate::control::api::{EventView, EventsQuery, EventsView, Severity, method};

const EXAMPLES: &str = "\
Examples:
  holdfast events
      what happened, the newest last: logins and refusals with their reasons, fences, volumes made and
      deleted, backends that failed, starts and stops
  holdfast events --since 10m
      in the last ten minutes; also --since 2026-01-31T12:00Z
  holdfast events --follow
      and then what happens, as it happens, until Ctrl-C
  holdfast events --follow --json | jq 'select(.severity != \"info\")'
      one JSON object a line, for programs

What happens again the same way within a minute is one line that says how often. The server keeps the
last 4096 events over restarts. What reservation commands did is in `holdfast reservation history`.";

/// Flags of `events`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct EventsArguments {
    /// Only what happened since then: 30s, 10m, 2h or 7d ago, or a time in UTC
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// At most that many, the newest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Go on with what happens from now on
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Prints what happened.
pub(super) fn run(arguments: EventsArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let EventsArguments {
        since,
        limit,
        follow,
        connection,
    } = arguments;
    let query = EventsQuery {
        since_ms: since.map(|since| since.0),
        limit,
        ..EventsQuery::default()
    };
    if follow {
        return self::follow(query, &connection, out);
    }
    let show = |view: &EventsView| {
        if view.events.is_empty() {
            return "nothing has happened\n".to_owned();
        }
        view.events.iter().map(line).collect()
    };
    connection.ask(out, method::SERVER_EVENTS, &query, show)
}

/// Prints what `query` asks for, and then what is new, until the server or the reader goes away.
fn follow(
    mut query: EventsQuery,
    connection: &Connection,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = connection.client()?;
    let mut view: EventsView = client.call(method::SERVER_EVENTS, &query)?;
    loop {
        if show(&view, connection.is_json(), out).is_err() {
            // Nobody reads on.
            return Ok(());
        }
        query = EventsQuery {
            after: Some(view.cursor),
            wait_ms: u64::try_from(HISTORY_WAIT_MAX.as_millis()).unwrap_or(u64::MAX),
            ..EventsQuery::default()
        };
        view = client
            .call(method::SERVER_EVENTS, &query)
            .map_err(|error| Failure::gone(error, "the events go on"))?;
    }
}

/// What is printed in JSON where events are missing.
#[derive(Serialize)]
struct Lost {
    lost: u64,
}

fn show(view: &EventsView, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if view.lost > 0 {
        let lost = view.lost;
        if json {
            writeln!(out, "{}", serde_json::to_string(&Lost { lost })?)?;
        } else {
            writeln!(
                out,
                "({lost} events were pushed out before they could be read)"
            )?;
        }
    }
    for event in &view.events {
        if json {
            writeln!(out, "{}", serde_json::to_string(event)?)?;
        } else {
            out.write_all(line(event).as_bytes())?;
        }
    }
    out.flush()
}

/// An event as one line.
fn line(event: &EventView) -> String {
    let severity = match event.severity {
        Severity::Info => "",
        Severity::Warning => "warning: ",
        Severity::Error => "error: ",
    };
    let mut line = format!("{}  {}", utc(event.last_ms), event.event.name());
    for part in [&event.volume, &event.initiator, &event.address]
        .into_iter()
        .flatten()
    {
        line.push_str("  ");
        line.push_str(part);
    }
    line.push_str("  ");
    line.push_str(severity);
    line.push_str(&event.text);
    if event.times > 1 {
        line.push_str(&format!(
            " ({} times since {})",
            event.times,
            utc(event.at_ms)
        ));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{EventCursor, EventKind};

    fn refused() -> EventView {
        EventView {
            sequence: 4,
            at_ms: 0,
            last_ms: 1500,
            times: 3,
            event: EventKind::LoginRefused,
            severity: Severity::Warning,
            volume: Some("db".to_owned()),
            initiator: None,
            address: Some("10.0.0.7".to_owned()),
            text: "login refused: no".to_owned(),
        }
    }

    #[test]
    fn an_event_is_a_line() {
        assert_eq!(
            line(&refused()),
            "1970-01-01 00:00:01.500Z  login_refused  db  10.0.0.7  warning: login refused: no \
             (3 times since 1970-01-01 00:00:00.000Z)\n"
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        let view = EventsView {
            events: vec![refused()],
            cursor: EventCursor::default(),
            lost: 2,
            left_out: 0,
        };
        let mut out = Vec::new();
        show(&view, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("(2 events were pushed out"), "{text}");
        let mut out = Vec::new();
        show(&view, true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().next(), Some("{\"lost\":2}"));
        assert!(text.contains("\"event\":\"login_refused\""), "{text}");
    }
}

//! `holdfast top`: the server at work, as it works.
//!
//! | file | what it is |
//! |---|---|
//! | `rates` | from two measurements to what happens a second |
//! | `text` | one look, as tables for `--once` |
//! | `screen` | what is drawn, and what the keys do: a state without a terminal |
//! | `live` | the terminal, which is left as it was |

mod live;
mod rates;
mod screen;
mod text;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

pub(super) use self::rates::Rates;
use super::client::Connection;
use super::{EXIT_USAGE, Failure};
use crate::control::api::{MeasurementView, method};
use crate::control::config::Span;
use crate::control::rpc::Client;

const EXAMPLES: &str = "\
Examples:
  holdfast top
      volumes, sessions, reactors and reservations, renewed every second
  holdfast top --interval 5s
      renewed every five seconds: rates and latencies are of those five seconds
  holdfast top --once
      one look, as tables
  holdfast top --once --json | jq '.volumes[] | select(.write.p99_us > 10000)'
      for programs; without --once one JSON object a line, until Ctrl-C

Keys: Tab or 1 to 4 choose what is shown, s and S what it is sorted by, r turns the order round,
up and down scroll, space holds still, q or Ctrl-C ends.

A latency is from the command to its status, right to a sixteenth and to the length of a
reactor's round.";

/// Flags of `top`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct TopArguments {
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: Span,
    /// Look once and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Nobody reads faster, and each look is a question to every reactor.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Looks at the server.
pub(super) fn run(arguments: TopArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let TopArguments {
        interval,
        once,
        connection,
    } = arguments;
    let usage = |message: String| Failure {
        code: EXIT_USAGE,
        message,
    };
    if interval.0 < INTERVAL_MIN {
        let least = Span(INTERVAL_MIN);
        return Err(usage(format!(
            "--interval {interval}; expected at least {least}"
        )));
    }
    let mut looks = Looks::begin(&connection)?;
    if once || connection.is_json() {
        loop {
            // Nobody sends there: it rings when the time is over.
            let _ = crossbeam_channel::after(interval.0).recv();
            let rates = looks.next()?;
            let text = if connection.is_json() {
                let line = serde_json::to_string(&rates).map_err(Failure::new)?;
                format!("{line}\n")
            } else {
                text::tables(&rates)
            };
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            if once || written.is_err() {
                return Ok(());
            }
        }
    }
    if !std::io::stdout().is_terminal() {
        return Err(usage(
            "the output is no terminal; expected --once, or --json for programs".to_owned(),
        ));
    }
    live::run(&mut looks, interval.0)
}

/// Measurements, one after the other.
struct Looks<'a> {
    connection: &'a Connection,
    /// `None` once the server has gone away; it may come back.
    client: Option<Client>,
    last: MeasurementView,
}

#[derive(serde::Serialize)]
struct Nothing {}

impl<'a> Looks<'a> {
    fn begin(connection: &'a Connection) -> Result<Self, Failure> {
        let mut client = connection.client()?;
        let last = client.call(method::SERVER_MEASURE, &Nothing {})?;
        Ok(Self {
            connection,
            client: Some(client),
            last,
        })
    }

    /// What happened since the last look.
    fn next(&mut self) -> Result<Rates, Failure> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.connection.client()?,
        };
        let now: MeasurementView = client.call(method::SERVER_MEASURE, &Nothing {})?;
        self.client = Some(client);
        let rates = Rates::between(&self.last, &now);
        self.last = now;
        Ok(rates)
    }
}

//! `holdfast reservation history --follow`: what happens, as it happens.

use std::io::{self, Write};

use serde::Serialize;

use super::text;
use crate::base::limits::HISTORY_WAIT_MAX;
use crate::cli::Failure;
use crate::cli::client::Connection;
use crate::control::api::{HistoryEntryView, HistoryQuery, HistoryView, method};

/// Prints what `query` asks for, and then what is new, until the server or the reader goes away.
pub(super) fn run(
    mut query: HistoryQuery,
    connection: &Connection,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = connection.client()?;
    let mut page = Page {
        out,
        json: connection.is_json(),
        begun: false,
    };
    let mut view: HistoryView = client.call(method::RESERVATION_HISTORY, &query)?;
    loop {
        if page.show(&view).is_err() {
            // Nobody reads on.
            return Ok(());
        }
        query = HistoryQuery {
            name: query.name,
            limit: None,
            since_ms: None,
            after: Some(view.cursor),
            wait_ms: u64::try_from(HISTORY_WAIT_MAX.as_millis()).unwrap_or(u64::MAX),
        };
        view = client
            .call(method::RESERVATION_HISTORY, &query)
            .map_err(|error| Failure::gone(error, "the history goes on"))?;
    }
}

/// Where entries are printed.
struct Page<'a> {
    out: &'a mut dyn Write,
    json: bool,
    /// Whether something stands there already.
    begun: bool,
}

/// What is printed in JSON where entries are missing.
#[derive(Serialize)]
struct Lost {
    lost: u64,
}

impl Page<'_> {
    fn show(&mut self, view: &HistoryView) -> io::Result<()> {
        if view.lost > 0 {
            let lost = view.lost;
            let told = format!("({lost} entries were pushed out before they could be read)\n");
            self.put(&told, &Lost { lost })?;
        }
        for entry in &view.entries {
            self.put(&text::entry(entry), entry as &HistoryEntryView)?;
        }
        self.out.flush()
    }

    /// One thing: as text with a blank line before it, or as a line of JSON.
    fn put(&mut self, text: &str, value: &impl Serialize) -> io::Result<()> {
        if self.json {
            let line = serde_json::to_string(value)?;
            return writeln!(self.out, "{line}");
        }
        if std::mem::replace(&mut self.begun, true) {
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(text.as_bytes())
    }
}

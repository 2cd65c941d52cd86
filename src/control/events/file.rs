//! Events on disk: lines of JSON, in two files that take turns so that neither grows for ever.
//!
//! An event that was repeated stands there again under its number; the last line of a number counts. A
//! line that can't be read, such as the last one after a power cut, is passed over.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::limits::{EVENT_FILE_BYTES_MAX, EVENT_LINE_BYTES_MAX, EVENTS_MAX};
use crate::control::api::EventView;

const NAME: &str = "events.jsonl";
const NAME_BEFORE: &str = "events.1.jsonl";

/// Where events are appended.
#[derive(Debug)]
pub(super) struct EventFile {
    directory: PathBuf,
    file: File,
    bytes: u64,
    /// The last append failed, and that was said.
    is_broken: bool,
    /// What stands at the end may be a torn line.
    is_torn: bool,
}

impl EventFile {
    /// The file of a data directory, if it can be had, and what it holds.
    pub(super) fn open(directory: &Path) -> (Option<Self>, Vec<EventView>) {
        let mut events = BTreeMap::new();
        for name in [NAME_BEFORE, NAME] {
            let path = directory.join(name);
            if let Err(error) = read(&path, &mut events)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "earlier events can't be read");
            }
        }
        let skipped = events.len().saturating_sub(EVENTS_MAX);
        let events = events.into_values().skip(skipped).collect();
        let file = append_to(&directory.join(NAME))
            .map_err(|error| {
                tracing::warn!(%error, "events are kept in memory alone: {NAME} can't be opened");
            })
            .ok();
        let file = file.map(|(file, bytes)| Self {
            directory: directory.to_owned(),
            file,
            is_torn: bytes > 0,
            bytes,
            is_broken: false,
        });
        (file, events)
    }

    /// Appends an event. A disk that is full costs events on disk and nothing else.
    pub(super) fn append(&mut self, event: &EventView) {
        let written = self.try_append(event);
        if let (Err(error), false) = (&written, self.is_broken) {
            tracing::warn!(%error, "events can't be written to {NAME}; they are kept in memory");
        }
        self.is_broken = written.is_err();
    }

    fn try_append(&mut self, event: &EventView) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if self.is_torn {
            line.insert(0, b'\n');
        }
        if self.bytes + line.len() as u64 > EVENT_FILE_BYTES_MAX {
            let path = self.directory.join(NAME);
            std::fs::rename(&path, self.directory.join(NAME_BEFORE))?;
            (self.file, self.bytes) = append_to(&path)?;
        }
        self.is_torn = true;
        self.file.write_all(&line)?;
        self.is_torn = false;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn read(path: &Path, events: &mut BTreeMap<u64, EventView>) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = EVENT_LINE_BYTES_MAX;
        if io::Read::take(&mut reader, limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(event) = serde_json::from_slice::<EventView>(&line) {
            events.insert(event.sequence, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, EventLog};
    use super::*;
    use crate::control::api::{EventKind, EventsQuery};
    use std::os::unix::fs::PermissionsExt;

    fn event(text: &str) -> Event {
        Event::new(EventKind::Login, text)
    }

    fn texts(log: &EventLog) -> Vec<(String, u64)> {
        let told = log.look(&EventsQuery::default()).events;
        told.into_iter()
            .map(|event| (event.text, event.times))
            .collect()
    }

    #[test]
    fn events_outlive_the_server_and_a_torn_line_costs_itself() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::default();
        log.keep_in(directory.path());
        for text in ["one", "two", "one"] {
            log.note(event(text));
        }
        drop(log);
        let path = directory.path().join(NAME);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"sequence\":9,\"at").unwrap();
        drop(file);
        let next = EventLog::default();
        next.keep_in(directory.path());
        let expected = [("one".to_owned(), 2), ("two".to_owned(), 1)];
        assert_eq!(texts(&next), expected);
        next.note(event("three"));
        drop(next);
        let last = EventLog::default();
        last.keep_in(directory.path());
        assert_eq!(texts(&last)[2], ("three".to_owned(), 1));
        assert_eq!(last.cursor().sequence, 3);
    }

    #[test]
    fn two_files_take_turns() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::default();
        log.keep_in(directory.path());
        let long = "x".repeat(8 << 10);
        let mut number = 0;
        let before = directory.path().join(NAME_BEFORE);
        while !before.exists() {
            log.note(event(&format!("{number} {long}")));
            number += 1;
            assert!(number < 10_000, "the file grows for ever");
        }
        let bytes = std::fs::metadata(&before).unwrap().len();
        assert!(bytes <= EVENT_FILE_BYTES_MAX);
        let next = EventLog::default();
        next.keep_in(directory.path());
        assert_eq!(texts(&next).len(), number.min(EVENTS_MAX));
    }

    #[test]
    fn a_directory_that_can_not_be_written_costs_the_file_alone() {
        let log = EventLog::default();
        log.keep_in(Path::new("/nowhere/at/all"));
        log.note(event("kept"));
        assert_eq!(texts(&log), [("kept".to_owned(), 1)]);
    }
}

//! What happened to the server: a bounded ring of events, for people who ask what went on.
//!
//! The reactors and the operations tell; a thread of its own takes note ([`Listener`]). What happens
//! again the same way within a minute is counted and not listed anew, so that a host that tries to log
//! in once a second pushes nothing out. Events are appended to a file of the data directory and read
//! back at the next start; what a kill takes away of its end is lost, and decides nothing.

mod file;
mod listen;
mod ring;

use std::path::Path;
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::{Condvar, Mutex};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

pub use self::listen::Listener;

use self::file::EventFile;
use self::ring::Ring;
use super::api::{EventCursor, EventKind, EventsQuery, EventsView};
use crate::base::clock::{Instant, wall_clock_ms};
use crate::base::limits::HISTORY_WAIT_MAX;

/// Something that happened, before it has a number and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is.
    pub kind: EventKind,
    /// The volume's name, if it is about one.
    pub volume: Option<String>,
    /// The initiator's iSCSI name.
    pub initiator: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// One line for people.
    pub text: String,
}

impl Event {
    /// An event about nothing but itself.
    #[must_use]
    pub fn new(kind: EventKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            volume: None,
            initiator: None,
            address: None,
            text: text.into(),
        }
    }

    /// About a volume.
    #[must_use]
    pub fn of_volume(mut self, name: impl Into<String>) -> Self {
        self.volume = Some(name.into());
        self
    }

    /// By or about an initiator.
    #[must_use]
    pub fn of_initiator(mut self, name: impl Into<String>) -> Self {
        self.initiator = Some(name.into());
        self
    }

    /// That came from there.
    #[must_use]
    pub fn from_address(mut self, address: impl ToString) -> Self {
        self.address = Some(address.to_string());
        self
    }
}

/// The events of a server.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub struct EventLog {
    kept: Mutex<Kept>,
    /// Rung when something is new.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    ring: Ring,
    /// `None`: they are kept in memory alone.
    file: Option<EventFile>,
}

impl EventLog {
    /// Goes on from what a file of the data directory holds, and keeps what comes there. A file that
    /// can't be read or written is told of and done without.
    pub fn keep_in(&self, directory: &Path) {
        let mut kept = self.kept();
        let (mut file, events) = EventFile::open(directory);
        for since in kept.ring.restore(events) {
            if let Some(file) = &mut file {
                file.append(&since);
            }
        }
        kept.file = file;
    }

    /// Takes note of something that happens now.
    pub fn note(&self, event: Event) {
        let mut kept = self.kept();
        let Kept { ring, file } = &mut *kept;
        let view = ring.push(event, wall_clock_ms());
        if let Some(file) = file {
            file.append(view);
        }
        self.news.notify_all();
    }

    /// How often each kind has happened since the start.
    #[must_use]
    pub fn counts(&self) -> Vec<(EventKind, u64)> {
        self.kept().ring.counts()
    }

    /// What `query` asks for, as it is.
    #[must_use]
    pub fn look(&self, query: &EventsQuery) -> EventsView {
        self.kept().ring.select(query)
    }

    /// What `query` asks for; where nothing is new, waits for it as long as it says.
    #[must_use]
    pub fn follow(&self, query: &EventsQuery) -> EventsView {
        let wait = Duration::from_millis(query.wait_ms).min(HISTORY_WAIT_MAX);
        let until = Instant::now() + wait;
        let seen = query.after.unwrap_or_default();
        let mut kept = self.kept();
        loop {
            let left = until.since(Instant::now());
            if kept.ring.cursor().revision > seen.revision || left.is_zero() {
                return kept.ring.select(query);
            }
            (kept, _) = self
                .news
                .wait_timeout(kept, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How far there is anything to read.
    #[must_use]
    pub fn cursor(&self) -> EventCursor {
        self.kept().ring.cursor()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic between two steps of a change leaves a ring that is short of an event at worst.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The audit log: who changed what, as lines of JSON in a file of mode 0600.
//!
//! Every request over the control socket that can change something is a line, with the process at the
//! other end of the socket (SO_PEERCRED), refused ones too; and so is every reservation command of an
//! initiator. The line of a request is on the disk before its answer is sent. Those of reservation
//! commands follow their commands, and are flushed together where several come at once: no command
//! waits for the log.
//!
//! A log that can't be written stops nothing. It is told once when it begins and once when it ends, by
//! the server's log, an event and a count. SIGHUP opens the file anew, for whoever rotates it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::api::{EventKind, HistoryEntryView};
use super::error::ControlError;
use super::events::{Event, EventLog};
use super::service::reservation_views as views;
use crate::base::clock::wall_clock_ms;
use crate::reservation::history::{self, Entry, Process};

/// Nobody but its owner reads what was done, or changes what is told of it.
const MODE: u32 = 0o600;
/// What stands in a line for the value of a parameter that may be a secret.
const HIDDEN: &str = "(hidden)";
/// Parameters whose names contain one of these are not written down.
const SECRET_WORDS: [&str; 4] = ["secret", "password", "chap", "token"];

/// The audit log can't be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "the audit log {} can't be opened: {source}; expected a file that this user may append to, in a \
     directory that exists (audit.path)", path.display()
)]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// The audit log of a server, which may be off, and may move while the server runs.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub struct Audit {
    events: Arc<EventLog>,
    /// `None`: nothing is written down.
    open: Mutex<Option<Open>>,
    failures: AtomicU64,
}

/// A file that has been opened for the log.
#[derive(Debug)]
pub struct AuditFile(Open);

impl AuditFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It can't be opened: whoever asks for an audit log does not want to run without one.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let path = path.to_owned();
        match append_to(&path) {
            Ok(file) => Ok(Self(Open {
                path,
                file,
                is_broken: false,
                is_dirty: false,
            })),
            Err(source) => Err(AuditError { path, source }),
        }
    }
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    /// The last line was not written, or not to its end.
    is_broken: bool,
    /// Lines have been written and not flushed.
    is_dirty: bool,
}

/// One line.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Line<'a> {
    /// A request over the control socket.
    Command {
        at_ms: u64,
        uid: Option<u32>,
        pid: Option<u32>,
        method: &'a str,
        params: Value,
        result: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A reservation command of an initiator, or a change that the target has made by itself.
    Reservation {
        at_ms: u64,
        volume: &'a str,
        #[serde(flatten)]
        entry: Box<HistoryEntryView>,
    },
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl Audit {
    /// A log in that file, or none. What is wrong with it later goes to `events`.
    #[must_use]
    pub fn new(file: Option<AuditFile>, events: Arc<EventLog>) -> Self {
        Self {
            events,
            open: Mutex::new(file.map(|file| file.0)),
            failures: AtomicU64::new(0),
        }
    }

    /// Goes on in another file, or not at all. What the former one has is flushed.
    pub fn move_to(&self, file: Option<AuditFile>) {
        let mut held = self.lock();
        self.settle_in(&mut held);
        *held = file.map(|file| file.0);
    }

    /// Writes down a request and what came of it. It is on the disk when this returns, unless the disk
    /// is in trouble.
    pub fn command(
        &self,
        caller: Option<Process>,
        method: &str,
        params: &Value,
        result: Result<(), &ControlError>,
    ) {
        self.append(&Line::Command {
            at_ms: wall_clock_ms(),
            uid: caller.map(|caller| caller.uid),
            pid: caller.map(|caller| caller.pid),
            method,
            params: without_secrets(params),
            result: if result.is_ok() { "done" } else { "refused" },
            error: result.err().map(|error| error.message.clone()),
        });
        self.settle();
    }

    /// Writes down a reservation command of an initiator. [`Audit::settle`] brings it to the disk.
    pub fn reservation(&self, volume: &str, entry: &Entry) {
        // An operator's is a request over the control socket, and written down as that.
        if matches!(entry.actor, history::Actor::Operator { .. }) {
            return;
        }
        self.append(&Line::Reservation {
            at_ms: entry.last_ms,
            volume,
            entry: Box::new(views::entry(entry)),
        });
    }

    /// Flushes what has been written.
    pub fn settle(&self) {
        self.settle_in(&mut self.lock());
    }

    fn settle_in(&self, held: &mut Option<Open>) {
        if let Some(open) = held
            && std::mem::take(&mut open.is_dirty)
        {
            let flushed = open.file.sync_data();
            self.judge(open, flushed);
        }
    }

    /// Opens the file at its path anew: the old one has been moved away.
    pub fn reopen(&self) {
        let mut held = self.lock();
        let Some(open) = &mut *held else { return };
        let path = open.path.clone();
        let path = path.display();
        match append_to(&open.path) {
            Ok(file) => {
                let flushed = open.file.sync_data();
                self.judge(open, flushed);
                open.file = file;
                drop(held);
                tracing::info!(%path, "the audit log was opened anew");
                let text = format!("{path} was opened anew");
                self.events.note(Event::new(EventKind::AuditReopened, text));
            }
            // The old file goes on; nothing is lost.
            Err(error) => {
                let path = open.path.clone();
                drop(held);
                self.report(&path, &error);
            }
        }
    }

    /// How many lines could not be written.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn append(&self, line: &Line<'_>) {
        let mut open = self.lock();
        let Some(open) = &mut *open else { return };
        let written = serde_json::to_vec(line)
            .map_err(io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                if open.is_broken {
                    // What came of the line that failed ends here.
                    text.insert(0, b'\n');
                }
                open.file.write_all(&text)
            });
        open.is_dirty = true;
        self.judge(open, written);
    }

    /// Counts a failure, and tells of the first one and of the end.
    fn judge(&self, open: &mut Open, outcome: io::Result<()>) {
        let was_broken = std::mem::replace(&mut open.is_broken, outcome.is_err());
        match outcome {
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !was_broken {
                    self.report(&open.path, &error);
                }
            }
            Ok(()) if was_broken => {
                let path = open.path.display();
                tracing::warn!(%path, "the audit log is written again; lines are missing before");
            }
            Ok(()) => {}
        }
    }

    fn report(&self, path: &Path, error: &io::Error) {
        let path = path.display();
        tracing::error!(%path, %error, "the audit log can't be written; the server goes on without");
        let text = format!("{path} can't be written: {error}");
        self.events.note(Event::new(EventKind::AuditFailed, text));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // A panic in between leaves a line that is torn at worst.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    let metadata = file.metadata()?;
    // A device or a pipe keeps the mode that it has.
    if metadata.is_file() && metadata.permissions().mode() & 0o777 != MODE {
        file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// The parameters of a request with nothing in them that may be a secret.
fn without_secrets(params: &Value) -> Value {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET_WORDS.iter().any(|word| name.contains(word))
    };
    match params {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let shown = if is_secret(name) && !value.is_null() {
                    Value::from(HIDDEN)
                } else {
                    without_secrets(value)
                };
                (name.clone(), shown)
            })
            .collect(),
        Value::Array(list) => list.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::EventsQuery;
    use crate::control::error::ErrorKind;
    use crate::reservation::ScopeAndType;
    use crate::reservation::history::Status;
    use serde_json::json;

    const CALLER: Process = Process { uid: 7, pid: 4711 };

    fn open(path: &Path, events: Arc<EventLog>) -> Audit {
        Audit::new(Some(AuditFile::open(path).unwrap()), events)
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_request_is_a_line_that_tells_who_what_and_what_came_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = open(&path, Arc::default());
        audit.command(
            Some(CALLER),
            "volume.delete",
            &json!({"name": "db"}),
            Ok(()),
        );
        let error = ControlError::new(ErrorKind::Busy, "volume db", "volume db is in use");
        let params = json!({"name": "db", "chap": {"user": "u"}, "list": [{"Secret": "s"}]});
        audit.command(None, "group.set", &params, Err(&error));
        let lines = lines(&path);
        assert_eq!(lines[0]["uid"], json!(7));
        assert_eq!(lines[0]["pid"], json!(4711));
        assert_eq!(lines[0]["kind"], json!("command"));
        assert_eq!(lines[0]["method"], json!("volume.delete"));
        assert_eq!(lines[0]["result"], json!("done"));
        assert_eq!(lines[1]["result"], json!("refused"));
        assert_eq!(lines[1]["error"], json!("volume db is in use"));
        let shown = json!({"name": "db", "chap": HIDDEN, "list": [{"Secret": HIDDEN}]});
        assert_eq!(lines[1]["params"], shown);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
    }

    #[test]
    fn a_reservation_command_is_a_line_as_in_the_history() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = open(&path, Arc::default());
        let event = history::Event::ReserveOut {
            action: 4,
            scope_and_type: ScopeAndType(5),
            parameters: None,
        };
        let entry = |actor| Entry {
            status: Status::CONFLICT,
            ..Entry::new(1000, actor, event)
        };
        audit.reservation("db", &entry(history::Actor::Target));
        audit.reservation(
            "db",
            &entry(history::Actor::Operator {
                process: Some(CALLER),
            }),
        );
        audit.settle();
        let lines = lines(&path);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["kind"], json!("reservation"));
        assert_eq!(lines[0]["volume"], json!("db"));
        assert_eq!(lines[0]["action"], json!("PREEMPT"));
        assert_eq!(lines[0]["status"], json!("RESERVATION CONFLICT"));
    }

    #[test]
    fn a_log_that_was_moved_away_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("a"), directory.path().join("b"));
        let events = Arc::new(EventLog::default());
        let audit = open(&path, events.clone());
        audit.command(None, "one", &json!({}), Ok(()));
        std::fs::rename(&path, &moved).unwrap();
        audit.command(None, "two", &json!({}), Ok(()));
        audit.reopen();
        audit.command(None, "three", &json!({}), Ok(()));
        assert_eq!(lines(&moved).len(), 2);
        assert_eq!(lines(&path)[0]["method"], json!("three"));
        assert_eq!(events.counts(), [(EventKind::AuditReopened, 1)]);
        // One that can't be opened leaves the old one.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        audit.reopen();
        audit.command(None, "four", &json!({}), Ok(()));
        assert_eq!(audit.failures(), 0);
    }

    #[test]
    fn a_full_disk_is_reported_once_and_stops_nothing() {
        let events = Arc::new(EventLog::default());
        let audit = open(Path::new("/dev/full"), events.clone());
        for _ in 0..3 {
            audit.command(None, "volume.create", &json!({}), Ok(()));
        }
        assert!(audit.failures() >= 3);
        let told = events.look(&EventsQuery::default()).events;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].event, EventKind::AuditFailed);
        assert!(told[0].text.contains("/dev/full"), "{}", told[0].text);
        assert_eq!(told[0].times, 1);
    }

    #[test]
    fn a_log_that_can_not_be_opened_is_told_with_its_path() {
        let error = AuditFile::open(Path::new("/nowhere/audit")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/audit can't be opened"), "{text}");
    }

    #[test]
    fn others_lose_their_look_at_a_log_that_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(open(&path, Arc::default()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
    }

    #[test]
    fn it_moves_and_ends_while_the_server_runs() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        let audit = Audit::new(None, Arc::default());
        audit.command(None, "unheard", &json!({}), Ok(()));
        audit.move_to(Some(AuditFile::open(&one).unwrap()));
        audit.command(None, "first", &json!({}), Ok(()));
        audit.move_to(Some(AuditFile::open(&two).unwrap()));
        audit.command(None, "second", &json!({}), Ok(()));
        audit.move_to(None);
        audit.reopen();
        audit.command(None, "unheard", &json!({}), Ok(()));
        for (path, method) in [(&one, "first"), (&two, "second")] {
            let lines = lines(path);
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0]["method"], json!(method));
        }
    }
}

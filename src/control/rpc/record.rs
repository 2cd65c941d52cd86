//! What is written down of a request: a line of the audit log, and an event if it was done.

use serde_json::Value;

use super::message::RpcError;
use crate::control::api::{EventKind, method};
use crate::control::error::{ControlError, ErrorDetail, ErrorKind};
use crate::control::events::Event;
use crate::control::service::Service;
use crate::reservation::history::Process;

/// Last words of methods that change nothing. Any other method is written down, a new one too.
const QUESTIONS: [&str; 8] = [
    "list", "show", "status", "history", "check", "measure", "events", "drains",
];

/// Whether a method can change anything.
pub(super) fn is_change(name: &str) -> bool {
    let verb = name.rsplit('.').next().unwrap_or(name);
    super::methods::NAMES.contains(&name) && !QUESTIONS.contains(&verb)
}

/// Writes down what came of a method that can change something.
pub(super) fn record(
    service: &Service,
    caller: Option<Process>,
    name: &str,
    params: &Value,
    result: Result<(), &RpcError>,
) {
    // One that is only thought of is a question.
    if params.get("dry_run").and_then(Value::as_bool) == Some(true) {
        return;
    }
    if let Some(audit) = service.audit() {
        let refusal = result.err().map(refusal);
        audit.command(caller, name, params, refusal.as_ref().map_or(Ok(()), Err));
    }
    // Another process that serves keeps the events now.
    if result.is_ok() && !service.has_departed() {
        service.events().note(event(caller, name, params));
    }
}

fn refusal(error: &RpcError) -> ControlError {
    ControlError {
        kind: ErrorKind::Failed,
        message: error.message.clone(),
        detail: ErrorDetail::default(),
    }
}

fn event(caller: Option<Process>, name: &str, params: &Value) -> Event {
    let kind = match name {
        method::VOLUME_CREATE => EventKind::VolumeCreated,
        method::VOLUME_RESIZE => EventKind::VolumeGrown,
        method::VOLUME_SET => EventKind::VolumeChanged,
        method::VOLUME_DELETE => EventKind::VolumeDeleted,
        method::GROUP_CREATE => EventKind::GroupCreated,
        method::GROUP_DELETE => EventKind::GroupDeleted,
        _ => EventKind::Command,
    };
    let mut text = name.to_owned();
    let Subject { volume, words } = subject(name, params);
    if !words.is_empty() {
        text.push_str(&format!(" {}", words.join(" ")));
    }
    if let Some(bytes) = params.get("size_bytes").and_then(Value::as_u64) {
        text.push_str(&format!(", {}", bytesize::ByteSize::b(bytes)));
    }
    if let Some(Process { uid, pid }) = caller {
        text.push_str(&format!(", by user {uid} (process {pid})"));
    }
    let event = Event::new(kind, text);
    match volume {
        Some(volume) => event.of_volume(volume),
        None => event,
    }
}

/// What a request is about.
struct Subject<'a> {
    /// The one volume, if it is one.
    volume: Option<&'a str>,
    /// What else says what was done.
    words: Vec<String>,
}

/// What a request is about, by the names of its parameters.
fn subject<'a>(name: &str, params: &'a Value) -> Subject<'a> {
    let text = |key: &str| params.get(key).and_then(Value::as_str);
    let named = |label: &str, key: &str| text(key).map(|value| format!("{label} {value}"));
    match name {
        method::SNAPSHOT_CREATE => {
            let volumes = params.get("volumes").and_then(Value::as_array);
            let volumes: Vec<_> = volumes
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let (volume, of) = match volumes.as_slice() {
                [] => (None, named("of group", "group")),
                [volume] => (Some(*volume), None),
                several => (None, Some(format!("of {}", several.join(", ")))),
            };
            let taken = text("name").map(str::to_owned);
            Subject {
                volume,
                words: taken.into_iter().chain(of).collect(),
            }
        }
        method::SNAPSHOT_DELETE => Subject {
            volume: text("volume"),
            words: text("snapshot").map(str::to_owned).into_iter().collect(),
        },
        method::SESSION_DRAIN | method::SESSION_ADMIT => {
            let everyone = params.get("everyone").and_then(Value::as_bool) == Some(true);
            let whom = everyone.then(|| "everyone".to_owned());
            let parts = [
                whom,
                text("initiator").map(str::to_owned),
                named("from", "address"),
                named("sent to", "redirect"),
            ];
            Subject {
                volume: text("volume"),
                words: parts.into_iter().flatten().collect(),
            }
        }
        _ if is_about_volume(name) => Subject {
            volume: text("name"),
            words: named("to", "to").into_iter().collect(),
        },
        _ => Subject {
            volume: None,
            words: text("name").map(str::to_owned).into_iter().collect(),
        },
    }
}

/// Whether the name among the parameters is a volume's.
fn is_about_volume(name: &str) -> bool {
    let noun = name.split('.').next().unwrap_or(name);
    matches!(noun, "volume" | "reservation")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn questions_are_not_written_down_and_all_else_is() {
        let changes: Vec<_> = super::super::methods::NAMES
            .into_iter()
            .filter(|name| is_change(name))
            .collect();
        for change in [
            "volume.create",
            "volume.resize",
            "volume.set",
            "volume.delete",
            "group.create",
            "group.delete",
            "reservation.clear",
            "server.stop",
        ] {
            assert!(changes.contains(&change), "{change}");
        }
        for question in [
            "volume.list",
            "reservation.check",
            "server.events",
            "session.drains",
            "volume.fly",
        ] {
            assert!(!is_change(question), "{question}");
        }
    }

    #[test]
    fn an_event_tells_what_was_done_to_what_and_by_whom() {
        let caller = Some(Process { uid: 7, pid: 11 });
        let params = json!({"name": "db", "size_bytes": 1 << 30});
        let made = event(caller, method::VOLUME_CREATE, &params);
        assert_eq!(made.kind, EventKind::VolumeCreated);
        assert_eq!(made.volume.as_deref(), Some("db"));
        assert_eq!(made.text, "volume.create, 1.0 GiB, by user 7 (process 11)");
        let group = event(None, method::GROUP_CREATE, &json!({"name": "databases"}));
        assert_eq!(group.text, "group.create databases");
        assert_eq!(group.volume, None);
    }

    #[test]
    fn an_event_names_what_a_request_was_about() {
        let told = |name: &str, params: Value| {
            let event = event(None, name, &params);
            (event.volume, event.text)
        };
        let of = |volume: &str, text: &str| (Some(volume.to_owned()), text.to_owned());
        let alone = |text: &str| (None, text.to_owned());
        for (name, params, expected) in [
            (
                method::SNAPSHOT_CREATE,
                json!({"volumes": ["db"], "name": "monday"}),
                of("db", "snapshot.create monday"),
            ),
            (
                method::SNAPSHOT_CREATE,
                json!({"volumes": ["db", "log"], "name": "monday"}),
                alone("snapshot.create monday of db, log"),
            ),
            (
                method::SNAPSHOT_CREATE,
                json!({"volumes": [], "group": "databases", "name": "monday"}),
                alone("snapshot.create monday of group databases"),
            ),
            (
                method::SNAPSHOT_DELETE,
                json!({"volume": "db", "snapshot": "monday"}),
                of("db", "snapshot.delete monday"),
            ),
            (
                method::VOLUME_REVERT,
                json!({"name": "db", "to": "monday"}),
                of("db", "volume.revert to monday"),
            ),
            (
                method::SESSION_DRAIN,
                json!({"initiator": "iqn.2024-01.test:a", "volume": "db", "deadline_ms": 5}),
                of("db", "session.drain iqn.2024-01.test:a"),
            ),
            (
                method::SESSION_DRAIN,
                json!({"everyone": true, "redirect": "10.0.0.2:3260", "deadline_ms": 5}),
                alone("session.drain everyone sent to 10.0.0.2:3260"),
            ),
            (
                method::SESSION_ADMIT,
                json!({"address": "10.0.0.7"}),
                alone("session.admit from 10.0.0.7"),
            ),
        ] {
            assert_eq!(told(name, params), expected);
        }
    }
}

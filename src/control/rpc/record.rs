//! What is written down of a request: a line of the audit log, and an event if it was done.

use serde_json::Value;

use super::message::RpcError;
use crate::control::api::{EventKind, method};
use crate::control::error::{ControlError, ErrorDetail, ErrorKind};
use crate::control::events::Event;
use crate::control::service::Service;
use crate::reservation::history::Process;

/// Last words of methods that change nothing. Any other method is written down, a new one too.
const QUESTIONS: [&str; 7] = [
    "list", "show", "status", "history", "check", "measure", "events",
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
    let subject = params.get("name").and_then(Value::as_str);
    if let (Some(subject), false) = (subject, is_about_volume(name)) {
        text.push_str(&format!(" {subject}"));
    }
    if let Some(bytes) = params.get("size_bytes").and_then(Value::as_u64) {
        text.push_str(&format!(", {}", bytesize::ByteSize::b(bytes)));
    }
    if let Some(Process { uid, pid }) = caller {
        text.push_str(&format!(", by user {uid} (process {pid})"));
    }
    let event = Event::new(kind, text);
    match subject.filter(|_| is_about_volume(name)) {
        Some(volume) => event.of_volume(volume),
        None => event,
    }
}

/// Whether the name among the parameters is a volume's.
fn is_about_volume(name: &str) -> bool {
    let noun = name.split('.').next().unwrap_or(name);
    matches!(noun, "volume" | "reservation" | "snapshot")
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
}

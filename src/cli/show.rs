//! Answers of the server for people.

#![allow(clippy::ptr_arg, reason = "they show what the answer was parsed to")]

use std::collections::BTreeSet;
use std::time::Duration;

use super::limits;
use super::table::{Column, describe, render};
use super::time::utc;
use super::values::{human, human_seconds};
use crate::control::api::{GroupView, ServerStatus, SessionView, VolumeState, VolumeView};
use crate::volume::ReservationScope;

pub(super) fn volumes(volumes: &Vec<VolumeView>) -> String {
    let columns = [
        Column::Text("NAME"),
        Column::Text("GROUP"),
        Column::Number("SIZE"),
        Column::Text("BACKEND"),
        Column::Text("STATE"),
        Column::Number("SESSIONS"),
        Column::Text("IQN"),
    ];
    render(
        &columns,
        volumes.iter().map(|volume| {
            vec![
                volume.name.clone(),
                volume.group.clone(),
                human(volume.size_bytes),
                volume.backend.clone(),
                state(volume).to_owned(),
                volume.sessions.to_string(),
                volume.iqn.clone(),
            ]
        }),
    )
}

/// Those that can be restored.
pub(super) fn deleted_volumes(volumes: &Vec<VolumeView>) -> String {
    let columns = [
        Column::Text("NAME"),
        Column::Text("GROUP"),
        Column::Number("SIZE"),
        Column::Number("SNAPSHOTS"),
        Column::Text("DELETED"),
        Column::Text("KEPT UNTIL"),
    ];
    render(
        &columns,
        volumes.iter().map(|volume| {
            vec![
                volume.name.clone(),
                volume.group.clone(),
                human(volume.size_bytes),
                volume.snapshots.to_string(),
                volume.deleted_ms.map_or_else(String::new, utc),
                volume.purge_ms.map_or_else(String::new, utc),
            ]
        }),
    )
}

/// What has become of a volume that was deleted.
pub(super) fn deleted(volume: &VolumeView, purged: bool) -> String {
    let name = &volume.name;
    match volume.purge_ms.filter(|_| !purged) {
        None => format!("deleted {name}\n"),
        Some(until) => format!(
            "deleted {name}; it is kept until {}\n`holdfast volume restore {name}` brings it back\n",
            utc(until)
        ),
    }
}

/// What is set for a group.
/// For how long a group keeps deleted volumes.
pub(super) fn retention(group: &GroupView) -> String {
    match group.retention_seconds {
        0 => "keeps no deleted volumes".to_owned(),
        seconds => format!("keeps deleted volumes for {}", human_seconds(seconds)),
    }
}

fn state(volume: &VolumeView) -> &'static str {
    match volume.state {
        VolumeState::Online => "online",
        VolumeState::Failed => "failed",
        VolumeState::Deleted => "deleted",
    }
}

pub(super) fn volume(volume: &VolumeView) -> String {
    let mut pairs = vec![
        ("name", volume.name.clone()),
        ("group", volume.group.clone()),
        ("iqn", volume.iqn.clone()),
        ("id", volume.id.clone()),
        (
            "size",
            format!("{} ({} bytes)", human(volume.size_bytes), volume.size_bytes),
        ),
        ("block", format!("{} bytes", volume.block_bytes)),
        (
            "access",
            if volume.read_only {
                "read-only"
            } else {
                "read and write"
            }
            .to_owned(),
        ),
        (
            "medium",
            if volume.removable {
                "removable"
            } else {
                "fixed"
            }
            .to_owned(),
        ),
        ("backend", volume.backend.clone()),
    ];
    if let Some(path) = &volume.path {
        pairs.push(("path", path.display().to_string()));
    }
    if let Some(route) = &volume.route {
        pairs.push(("route", route.clone()));
    }
    if volume.delay_us > 0 {
        let delay = Duration::from_micros(volume.delay_us);
        pairs.push(("delay", format!("at least {delay:?} for each request")));
    }
    for wrapper in &volume.test_wrappers {
        // Who looks at such a volume must see that its backend may fail, or lie.
        let text = serde_json::to_string(wrapper).unwrap_or_else(|error| error.to_string());
        pairs.push(("for tests", text));
    }
    pairs.push(("state", state(volume).to_owned()));
    if let Some(problem) = &volume.problem {
        pairs.push(("problem", problem.clone()));
    }
    pairs.push((
        "sessions",
        format!("{} of {}", volume.sessions, volume.sessions_max),
    ));
    if volume.snapshots > 0 {
        pairs.push(("snapshots", volume.snapshots.to_string()));
    }
    let scope = match volume.reservation_scope {
        ReservationScope::Nexus => "nexus: each session registers for itself",
        ReservationScope::Client => "client: all sessions of one initiator name register as one",
    };
    pairs.push(("scope", scope.to_owned()));
    pairs.extend(limits::of_volume(&volume.limits, &volume.group));
    pairs.push(("portals", volume.portals.join(", ")));
    for warning in &volume.warnings {
        pairs.push(("warning", warning.clone()));
    }
    if let Some(portal) = volume.portals.first() {
        let iqn = &volume.iqn;
        pairs.push((
            "connect",
            format!("iscsiadm -m node -T {iqn} -p {portal} -o new"),
        ));
        pairs.push(("", format!("iscsiadm -m node -T {iqn} -p {portal} --login")));
    }
    describe(&pairs)
}

pub(super) fn sessions(sessions: &Vec<SessionView>) -> String {
    let columns = [
        Column::Text("VOLUME"),
        Column::Text("INITIATOR"),
        Column::Text("ISID"),
        Column::Number("TSIH"),
        Column::Text("ADDRESS"),
        Column::Number("REACTOR"),
        Column::Text("DIGESTS"),
        Column::Number("SINCE"),
        Column::Number("COMMANDS"),
        Column::Number("READ"),
        Column::Number("WRITTEN"),
    ];
    let mut text = render(
        &columns,
        sessions.iter().map(|session| {
            let digests = match (session.header_digest, session.data_digest) {
                (true, true) => "header,data",
                (true, false) => "header",
                (false, true) => "data",
                (false, false) => "none",
            };
            vec![
                session
                    .volume
                    .clone()
                    .unwrap_or_else(|| "(discovery)".to_owned()),
                session.initiator.clone(),
                session.isid.clone(),
                session.tsih.to_string(),
                session.address.clone(),
                session.reactor.to_string(),
                digests.to_owned(),
                human_seconds(session.seconds),
                session.commands.to_string(),
                human(session.read_bytes),
                human(session.written_bytes),
            ]
        }),
    );
    text.push_str(&totals(sessions));
    let warnings: BTreeSet<&String> = sessions.iter().flat_map(|seen| &seen.warning).collect();
    for warning in warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

/// How many sessions there are, of how many initiators, on how many volumes.
fn totals(sessions: &[SessionView]) -> String {
    let count = |what: &str, count: usize| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {what}{plural}")
    };
    let initiators: BTreeSet<&String> = sessions.iter().map(|seen| &seen.initiator).collect();
    let volumes: BTreeSet<&String> = sessions.iter().flat_map(|seen| &seen.volume).collect();
    format!(
        "{} of {} on {}\n",
        count("session", sessions.len()),
        count("initiator", initiators.len()),
        count("volume", volumes.len())
    )
}

pub(super) fn status(status: &ServerStatus) -> String {
    describe(&[
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("san", status.san.clone()),
        ("data", status.data.display().to_string()),
        ("portals", status.portals.join(", ")),
        ("reactors", status.reactors.to_string()),
        ("volumes", status.volumes.to_string()),
        ("sessions", status.sessions.to_string()),
    ])
}

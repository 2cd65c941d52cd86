//! Five o'clock: what happened is told, to people and to programs.

use serde_json::Value;

use crate::hosts::named;
use crate::office::{Office, has};

/// Events, metrics, the audit log, health.
pub(crate) fn what_happened_is_told(office: &Office) {
    office.hears_of(&[
        "server_started",
        "volume_created  golden",
        "login_refused",
        "fence  golden",
        "volume_grown  orders  volume.resize, 96.0 MiB",
        "orders  snapshot.create noon",
        "orders  volume.revert to noon",
        &format!("session.drain {}", named("db1")),
        "volume_deleted  orders",
    ]);
    let all = office.asks("holdfast events");
    let all = all["events"].as_array().expect("a list");
    assert!(all.iter().all(|event| event["at_ms"].is_u64()), "{all:?}");
    assert_eq!(office.types("holdfast events --limit 2").lines().count(), 2);

    let (status, page) = office.fetches("/metrics");
    assert_eq!(status, 200);
    has(
        &page,
        &[
            "holdfast_volume_size_bytes{volume=\"orders\",group=\"databases\"} 100663296\n",
            "holdfast_volume_online{volume=\"golden\",group=\"databases\"} 1\n",
            "holdfast_ready 1\n",
            "# EOF\n",
        ],
    );
    assert!(value(&page, "holdfast_events_total{event=\"login_refused\"}") >= 3.0);
    // What was read since the volume came back.
    let read = "holdfast_volume_egress_bytes_total{volume=\"orders\",group=\"databases\"}";
    assert!(value(&page, read) >= 2_097_152.0);
    assert_eq!(office.fetches("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(office.fetches("/nothing").0, 404);

    the_audit_log_has_every_change(office);
    let top = office.types("holdfast top --once");
    has(&top, &["VOLUME", "orders", "REACTOR"]);
}

/// Who did what, refused or done, one object a line.
fn the_audit_log_has_every_change(office: &Office) {
    let text = std::fs::read_to_string(office.path("audit.jsonl")).expect("the audit log");
    let parse = |line: &str| serde_json::from_str(line).expect("one object a line");
    let lines: Vec<Value> = text.lines().map(parse).collect();
    let user = rustix::process::geteuid().as_raw();
    let count = |method: &str, result: &str| {
        let of = |line: &&Value| line["method"] == method && line["result"] == result;
        let found: Vec<_> = lines.iter().filter(of).collect();
        assert!(found.iter().all(|line| line["uid"] == user), "{found:?}");
        found.len()
    };
    assert_eq!(count("volume.delete", "done"), 2, "volume-1 and orders");
    assert_eq!(count("volume.delete", "refused"), 2);
    assert_eq!(count("volume.restore", "done"), 1);
    assert_eq!(count("reservation.clear", "done"), 1);
    assert_eq!(count("session.drain", "done"), 1);
    assert_eq!(
        count("session.drains", "done"),
        0,
        "a question changes nothing"
    );
    let of_hosts = lines.iter().filter(|line| line["kind"] == "reservation");
    let of_nodes = of_hosts.filter(|line| line["by"]["initiator"] == named("db1"));
    assert!(of_nodes.count() >= 3, "REGISTER, RESERVE, PREEMPT");
}

/// A metric's value.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("{name} in {page}"));
    line.trim().parse().expect("a number")
}

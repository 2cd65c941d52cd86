//! The page of a server on which everything has happened; `tests/monitoring.rs` has a real parser.

use super::*;
use crate::base::clock::Instant;
use crate::iscsi::Parameters;
use crate::reservation::ReservationType;
use crate::reservation::history::{Actor, Entry, Event, Status};
use crate::target::{Latency, Tally};

const README: &str = include_str!("../../../../README.md");

fn session() -> SessionInfo {
    SessionInfo {
        volume: None,
        initiator: "iqn.1993-08.org.debian:01:host1".to_owned(),
        isid: [0, 2, 0x3d, 0, 0, 1],
        port: 1,
        tsih: 7,
        address: "127.0.0.1:40000".parse().unwrap(),
        portal: "127.0.0.1:3260".parse().unwrap(),
        parameters: Parameters {
            header_digest: true,
            ..Parameters::default()
        },
        reactor: 0,
        header_digest: true,
        data_digest: false,
        since: Instant::ZERO,
        commands: 12,
        tally: Tally::default(),
        in_flight: 1,
        read_bytes: 4096,
        written_bytes: 8192,
    }
}

fn measured() -> VolumeMeasure {
    let mut latency = Latency::default();
    latency.total.record(20_000, 2);
    latency.total.record(3_000_000, 1);
    latency.total.record(60_000_000_000, 1);
    latency.server_nanos = 2_000_000_000;
    let mut measured = VolumeMeasure {
        tally: Tally {
            commands: 10,
            good: [4, 2, 1],
            read_bytes: 4096,
            written_bytes: 512,
            conflicts: 1,
            errors: 2,
            ..Tally::default()
        },
        sessions: 1,
        sessions_max: 128,
        reservation: Some(ReservationType::WriteExclusiveRegistrantsOnly),
        ..VolumeMeasure::default()
    };
    measured.latency[0] = latency;
    measured.reservation_commands.note(&Entry {
        status: Status::Good,
        ..Entry::new(0, Actor::Target, Event::Reserve)
    });
    measured
}

fn scrape() -> Scrape {
    Scrape {
        measurement: Measurement {
            reactors: vec![ReactorMeasure {
                busy_nanos: 1_500_000_000,
                ..ReactorMeasure::default()
            }],
            ..Measurement::default()
        },
        volumes: vec![
            Named {
                name: "db".to_owned(),
                group: "default".to_owned(),
                size_bytes: 1 << 30,
                measured: Some(measured()),
            },
            Named {
                name: "broken".to_owned(),
                group: "default".to_owned(),
                ..Named::default()
            },
        ],
        groups: vec![("default".to_owned(), 2, 1 << 30)],
        sessions: vec![(0, session())],
        events: vec![(EventKind::LoginRefused, 3)],
        audit_failures: 0,
        is_ready: true,
    }
}

fn page(scrape: Scrape) -> String {
    text(scrape).unwrap()
}

#[track_caller]
fn assert_has(page: &str, line: &str) {
    assert!(page.lines().any(|own| own == line), "no {line} in\n{page}");
}

#[test]
fn it_tells_what_was_counted() {
    let page = page(scrape());
    let of_db = r#"volume="db",group="default""#;
    for line in [
        "holdfast_ready 1".to_owned(),
        r#"holdfast_events_total{event="login_refused"} 3"#.to_owned(),
        format!("holdfast_volume_size_bytes{{{of_db}}} 1073741824"),
        format!("holdfast_volume_transactions_total{{{of_db},direction=\"read\"}} 4"),
        format!(
            "holdfast_volume_failed_transactions_total{{{of_db},status=\"check_condition\"}} 2"
        ),
        format!("holdfast_volume_ingress_bytes_total{{{of_db}}} 512"),
        format!("holdfast_volume_availability_ratio{{{of_db}}} 0.8"),
        format!("holdfast_volume_reservation_type{{{of_db}}} 5"),
        format!(
            "holdfast_volume_reservation_commands_total{{{of_db},command=\"reserve\",action=\"\",\
             result=\"good\"}} 1"
        ),
        r#"holdfast_volume_online{volume="broken",group="default"} 0"#.to_owned(),
        r#"holdfast_reactor_busy_seconds_total{reactor="0"} 1.5"#.to_owned(),
        r#"holdfast_group_size_bytes{group="default"} 1073741824"#.to_owned(),
    ] {
        assert_has(&page, &line);
    }
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn latencies_are_buckets_that_add_up() {
    let page = page(scrape());
    let bucket = |bound: &str| {
        let labels = format!(r#"le="{bound}",volume="db",group="default",direction="read""#);
        let start = format!("holdfast_volume_success_e2e_latency_seconds_bucket{{{labels}}} ");
        page.lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap_or_else(|| panic!("no {start} in\n{page}"))
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(bucket("0.000016384"), 0);
    assert_eq!(bucket("0.000032768"), 2);
    assert_eq!(bucket("17.179869184"), 3);
    assert_eq!(bucket("+Inf"), 4);
}

#[test]
fn every_family_is_on_the_page_with_its_labels_and_in_the_readme() {
    let page = page(scrape());
    for family in FAMILIES {
        let name = family.full_name();
        let stated = README.contains(&format!("`{name}`"));
        assert!(stated, "the README does not tell of {name}");
        let sample = page.lines().find(|line| {
            let rest = line.strip_prefix(&name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        });
        let sample = sample.unwrap_or_else(|| panic!("no {name} in\n{page}"));
        for label in family.labels {
            assert!(sample.contains(&format!("{label}=\"")), "{sample}");
        }
    }
}

#[test]
fn sessions_are_left_out_unless_asked_for() {
    let without = Scrape {
        sessions: Vec::new(),
        ..scrape()
    };
    assert!(!page(without).contains("holdfast_session_"));
    let line = "holdfast_session_egress_bytes_total{volume=\"db\",group=\"default\",\
                initiator=\"iqn.1993-08.org.debian:01:host1\",isid=\"00023d000001\",port=\"1\",\
                tsih=\"7\"} 4096";
    assert_has(&page(scrape()), line);
}

#[test]
fn what_nobody_has_used_is_available() {
    assert_eq!(availability(&VolumeMeasure::default()), 1.0);
}

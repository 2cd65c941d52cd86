use std::time::UNIX_EPOCH;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use super::*;
use crate::iscsi::event::Parameters;
use crate::load::crew::Interval;
use crate::load::failure::{FailureKind, Mismatch};
use crate::load::tally::Work;
use crate::load::{Address, Capacity, WrongBlock};
use crate::volume::IscsiName;

fn tally() -> Tally {
    let mut tally = Tally::default();
    for nanos in 1..=1000 {
        tally.count(Direction::Read, 4096, nanos * 1000);
    }
    tally.count(Direction::Write, 512, 7000);
    tally.fail(FailureKind::Status(0x18));
    tally.mismatch(WrongBlock {
        lba: 77,
        mismatch: Mismatch::Checksum,
    });
    tally
}

fn report() -> Report {
    let address: Address = "iscsi://h/iqn.2024-01.test:disk".parse().unwrap();
    let name = IscsiName::new("iqn.2024-01.test:bench").unwrap();
    let mut rates = Rates::default();
    rates.note(&tally(), Duration::from_secs(1));
    Report {
        plan: Plan::new(vec![address.clone()], name),
        volumes: vec![VolumeInfo {
            address,
            capacity: Capacity {
                blocks: 2048,
                block_bytes: 512,
            },
            parameters: Parameters::default(),
        }],
        started_at: Duration::from_millis(1_700_000_000_123),
        measured: Burst {
            elapsed: Duration::from_secs(2),
            jobs: vec![tally()],
            sessions: vec![vec![300, 700]],
            work: Work::default(),
        },
        outside: vec![Tally::default()],
        rates: vec![rates],
        error: None,
    }
}

#[test]
fn the_own_shape_has_what_is_promised() {
    let text = json::render(&report()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["format"], 1);
    assert_eq!(document["elapsed_s"], 2.0);
    assert_eq!(document["jobs"][0]["read"]["ios"], 1000);
    assert_eq!(document["jobs"][0]["read"]["iops"], 500.0);
    assert_eq!(document["jobs"][0]["size_bytes"], 1 << 20);
    let sessions = &document["jobs"][0]["sessions"];
    assert_eq!(sessions["each_iops"], serde_json::json!([150.0, 350.0]));
    let extent = serde_json::json!({ "min": 150.0, "mean": 250.0, "max": 350.0 });
    assert_eq!(sessions["iops"], extent);
    assert_eq!(report().measured.slowest_share(), Some(0.6));
    assert_eq!(document["jobs"][0]["wrong_blocks"][0]["lba"], 77);
    assert_eq!(document["total"]["both"]["ios"], 1001);
    assert_eq!(
        document["total"]["failures"][0]["kind"],
        "RESERVATION CONFLICT"
    );
    let latency = &document["total"]["read"]["latency_ns"];
    let at: Vec<u64> = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"]
        .map(|key| latency[key].as_u64().unwrap())
        .into();
    assert!(at.is_sorted(), "{at:?}");
    assert!((499_000..502_000).contains(&at[1]), "{at:?}");
}

#[test]
fn the_fio_shape_has_what_its_readers_want() {
    let text = fio::render(&report()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(
        document["fio version"]
            .as_str()
            .unwrap()
            .starts_with("fio-3.")
    );
    assert_eq!(document["timestamp_ms"], 1_700_000_000_123_u64);
    let job = &document["jobs"][0];
    assert_eq!(job["error"], 5, "an I/O failed");
    let read = &job["read"];
    assert_eq!(
        (&read["total_ios"], &read["io_bytes"]),
        (&1000.into(), &4_096_000.into())
    );
    assert_eq!((&read["iops"], &read["bw"]), (&500.0.into(), &2000.into()));
    assert_eq!(read["runtime"], 2000);
    assert_eq!(read["iops_mean"], 1000.0);
    let percentiles = read["clat_ns"]["percentile"].as_object().unwrap();
    assert_eq!(percentiles.len(), 17);
    let near = percentiles["99.000000"].as_u64().unwrap();
    assert!((989_000..992_000).contains(&near), "{near}");
    assert_eq!(read["lat_ns"]["N"], 1000);
    assert_eq!(job["write"]["total_ios"], 1);
    assert_eq!(job["trim"]["total_ios"], 0);
}

#[test]
fn the_percentile_text_rises_to_all_of_them() {
    let mut text = Vec::new();
    histogram::write_percentiles(&tally().read.latency, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().skip(2).filter(|line| !line.starts_with('#'));
    let rows: Vec<Vec<f64>> = lines
        .map(|line| {
            line.split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect()
        })
        .collect();
    assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
    let last = rows.last().unwrap();
    assert_eq!((last[1], last[2], last[3]), (1.0, 1000.0, f64::INFINITY));
    assert!((last[0] - 1000.0).abs() < 1.0, "microseconds: {}", last[0]);
}

#[test]
fn the_interval_log_is_read_again() {
    let interval = Interval {
        start: Duration::from_secs(3),
        length: Duration::from_secs(1),
        jobs: vec![tally()],
        sessions: vec![vec![300, 700]],
        work: Work::default(),
    };
    let mut log = Vec::new();
    histogram::write_log(&[interval], UNIX_EPOCH, &mut log).unwrap();
    let entries: Vec<_> = IntervalLogIterator::new(&log).map(Result::unwrap).collect();
    let intervals: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        })
        .collect();
    let tags: Vec<_> = intervals.iter().filter_map(|i| i.tag()).collect();
    assert_eq!(
        tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(),
        ["0-read", "0-write"]
    );
    assert_eq!(intervals[0].start_timestamp(), Duration::from_secs(3));
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(intervals[0].encoded_histogram())
        .unwrap();
    let read: hdrhistogram::Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .unwrap();
    assert_eq!(read, tally().read.latency);
}

#[test]
fn spreads_are_those_of_their_samples() {
    let mut spread = Spread::default();
    for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
        spread.note(value);
    }
    assert_eq!((spread.min, spread.max, spread.mean()), (2.0, 9.0, 5.0));
    assert!((spread.deviation() - 2.0).abs() < 1e-9);
    assert_eq!(Spread::default().mean(), 0.0);
}

//! `holdfast bench compare`: what it measures, what it leaves behind, what it refuses.

mod support;

use std::path::Path;
use std::process::{Command as Process, Output, Stdio};

use serde_json::Value;
use support::server::{Server, Setup, Volume, holdfast};

/// Kind to a machine with fewer cores than tests.
const GENTLE: [&str; 5] = ["--cores", "any", "--server-core", "any", "--yield"];
const BRIEF: [&str; 4] = ["--burst", "20ms", "--pairs", "4"];

fn url(server: &Server, volume: &Volume) -> String {
    format!("iscsi://{}/{}/0", server.portal(), volume.iqn)
}

/// Compares, with `temporary` as the directory of temporary files.
fn compare(temporary: &Path, arguments: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_holdfast"))
        .args([&["bench", "compare"], arguments, &BRIEF, &GENTLE].concat())
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = compare(temporary.path(), arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

/// Every kind of candidate in one run: a server that was there, one that is started, the floor.
#[test]
fn every_kind_of_candidate_takes_its_turn() {
    let server = Setup::default().start();
    let volume = server.create_small("disk");
    let there = format!("there={}", url(&server, &volume));
    let temporary = tempfile::tempdir().expect("a directory");
    let page = temporary.path().join("page.html");
    let page_name = page.to_str().expect("a name");
    let candidates = [
        &there,
        "ours=profile:efficiency,digests,sessions=2,idle=3",
        "floor:ram",
    ];
    let more = [
        "--depth",
        "4",
        "--depths",
        "1,2",
        "--backend",
        "ram",
        "--json",
    ];
    let report = ["--volume-size", "16MiB", "--report", page_name];
    let output = compare(
        temporary.path(),
        &[&candidates[..], &more, &report].concat(),
    );
    assert!(output.status.success(), "{output:?}");

    let study: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let line_names = |lines: &Value| -> Vec<String> {
        let lines = lines.as_array().expect("lines").iter();
        lines
            .map(|line| format!("{} {}", line["name"], line["role"]).replace('"', ""))
            .collect()
    };
    let expected = [
        "there reference",
        "there control",
        "ours candidate",
        "floor:ram candidate",
    ];
    assert_eq!(line_names(&study["lines"]), expected);
    for line in study["lines"].as_array().expect("lines") {
        assert_eq!(line["failures"], 0, "{line}");
        let ratio = &line["measures"]["iops"]["ratio"];
        let steps = ["min", "q1", "median", "q3", "max"];
        let steps = steps.map(|key| ratio[key].as_f64().expect("a ratio"));
        assert!(steps[0] > 0.0 && steps.is_sorted(), "{line}");
        // Only of servers that were started for this, and of the floor.
        let server_cpu = &line["measures"]["server_cpu_ns_per_io"]["median"];
        assert_eq!(server_cpu.is_null(), line["name"] == "there", "{line}");
    }
    let depths = study["by_depth"].as_array().expect("depths");
    assert_eq!(depths.len(), 2);
    for (one, depth) in depths.iter().zip([1, 2]) {
        assert_eq!(
            (&one["depth"], line_names(&one["lines"]).len()),
            (&depth.into(), 4)
        );
    }
    let settings = &study["candidates"][1]["settings"];
    let told = [
        "sessions",
        "data digest",
        "idle sessions",
        "profile",
        "backend",
    ];
    assert_eq!(
        told.map(|what| settings[what].as_str().expect("a setting")),
        ["2", "true", "3", "efficiency", "ram"]
    );

    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.contains("there") && html.contains("ours") && html.contains("floor:ram"));
    // The server that was there still answers, and what was started has left nothing.
    assert_eq!(server.session_count(&volume), 0);
    let left = std::fs::read_dir(temporary.path()).expect("the directory");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(left, [page]);
}

/// A server that slept finds more bytes at once than it has lent buffers for: the sockets that it polls
/// itself must get some too.
#[test]
fn every_session_goes_on_after_its_server_slept() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = compare(
        temporary.path(),
        &[
            "few=profile:latency,sessions=4,depth=32",
            "many=profile:latency,sessions=128",
            "--timeout",
            "15s",
        ],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn servers_that_spin_share_a_machine() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = compare(
        temporary.path(),
        &[
            "profile:latency",
            "--profile",
            "throughput",
            "--rw",
            "randwrite",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.starts_with("CANDIDATE"), "{table}");
    // Four measures of a reference, a control and a candidate.
    assert_eq!(table.lines().count(), 1 + 4 * 3, "{table}");
}

/// The floor of a file volume, and the volume: both read what was written before.
#[test]
fn a_file_volume_is_compared_with_echo_and_disk() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = compare(
        temporary.path(),
        &[
            "floor:disk",
            "profile:latency",
            "--backend",
            "file",
            "--volume-size",
            "8MiB",
            "--json",
        ],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("O_DIRECT") || errors.contains("Invalid argument") {
        support::skip(format!(
            "{errors}: the temporary files are where nothing passes the page cache"
        ));
        return;
    }
    assert!(output.status.success(), "{errors}");
    let study: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for line in study["lines"].as_array().expect("lines") {
        let p50 = line["measures"]["p50_ns"]["median"].as_f64();
        assert!(p50.expect("a latency") > 0.0, "{line}");
        let latency = &line["latency_ns"];
        assert!(latency["p50"].as_u64() <= latency["max"].as_u64(), "{line}");
    }
    let settings = &study["candidates"][0]["settings"];
    let file = settings["file"].as_str().expect("a file");
    assert!(Path::new(file).starts_with(temporary.path()), "{file}");
    let left = std::fs::read_dir(temporary.path()).expect("the directory");
    assert_eq!(left.count(), 0);
}

#[test]
fn the_slowest_of_several_sessions_is_told() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = compare(
        temporary.path(),
        &["floor", "many=floor,sessions=8", "--json"],
    );
    assert!(output.status.success(), "{output:?}");
    let study: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let share = |line: usize| &study["lines"][line]["measures"]["slowest_session_share"]["median"];
    assert!(share(0).is_null());
    let many = share(2).as_f64().expect("a share");
    assert!((0.0..=1.0).contains(&many), "{many}");
}

#[test]
fn a_server_is_weighed() {
    let output = Process::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["bench", "memory", "--sessions", "40", "--volumes", "10"])
        .args(["--profile", "efficiency", "--cores", "any", "--json"])
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (what, count) in [("session", 40), ("volume", 10)] {
        let weighed = &document[what];
        assert_eq!(weighed["count"], count);
        let bytes = |key: &str| weighed[key].as_u64().expect("bytes");
        // A process of nothing is a process that was not found.
        assert!(bytes("before_bytes") > 1 << 20, "{weighed}");
        let each = bytes("after_bytes").saturating_sub(bytes("before_bytes")) / count;
        assert_eq!(bytes("bytes_each"), each, "{weighed}");
    }
}

#[test]
fn limits_are_measured() {
    let output = Process::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["bench", "limits", "--time", "50ms", "--burst", "20ms"])
        .args(["--pairs", "2", "--profile", "efficiency", "--cores", "any"])
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let accuracy = document["accuracy"].as_array().expect("a list");
    let kinds = ["iops", "bandwidth"].map(|kind| {
        let of_kind = accuracy.iter().filter(|one| one["kind"] == kind);
        of_kind.count()
    });
    assert_eq!(
        kinds,
        [6, 6],
        "three limits each, by one and by many sessions"
    );
    for one in accuracy {
        let [measured, limit, ratio] =
            ["measured", "limit", "ratio"].map(|key| one[key].as_f64().expect("a number"));
        assert!(
            measured > 0.0 && (ratio - measured / limit).abs() < 1e-9,
            "{one}"
        );
    }
    for key in ["deep_ios", "shallow_ios"] {
        assert!(document["fairness"][key].as_u64() > Some(0), "{document}");
    }
    for key in ["iops", "p999", "control_iops", "control_p999"] {
        let median = document["neighbour"][key]["median"].as_f64();
        assert!(median > Some(0.0), "{key}");
    }
    let wrong = holdfast(&["bench", "limits", "--pairs", "0"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// What fio said of a kernel's block device, beside what the load generator says in fio's shape.
#[test]
fn runs_of_fio_become_a_page() {
    let server = Setup::default().start();
    let volume = server.create_small("disk");
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let own = holdfast(&[
        "bench",
        &url(&server, &volume),
        "--depth",
        "32",
        "--io-count",
        "500",
        "--output-format",
        "fio",
        "--cores",
        "any",
        "--yield",
    ]);
    assert!(own.status.success(), "{own:?}");
    std::fs::write(path("own.json"), &own.stdout).expect("written");
    let kernel = format!(
        "kernel={}/tests/support/fio.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let (own, page) = (path("own.json"), path("page.html"));
    let report = |files: &[&str]| {
        let words = [&["bench", "report"], files, &["--output", &page]].concat();
        holdfast(&words)
    };
    let output = report(&[&kernel, &own]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(table.contains("randread 4 KiB 1×32\n"), "{table}");
    assert!(
        table.contains("read 128 KiB 1×8: not in all files"),
        "{table}"
    );
    let html = std::fs::read_to_string(&page).expect("the page");
    for part in ["randread 4 KiB 1×32", "fio-3.33", "holdfast 0", "/dev/sdb"] {
        assert!(html.contains(part), "{part}");
    }
    // One file alone shows its depths.
    assert!(report(&[&kernel]).status.success());
    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.contains("over depth: randread 4 KiB"));
    assert_eq!(report(&[&own, &own]).status.code(), Some(2));
    std::fs::write(path("none.json"), "none").expect("written");
    let refused = report(&[&path("none.json")]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("none.json: not JSON"), "{errors}");
}

#[test]
fn refusals_are_explained() {
    let usage = Some(2);
    for (arguments, code, what) in [
        (&["floor"][..], usage, "two candidates"),
        (
            &["floor", "floor"],
            usage,
            "two candidates are called floor",
        ),
        (&["floor", "ceiling"], usage, "expected [NAME=]iscsi://"),
        (
            &["floor", "a=floor", "--rw", "randrw"],
            usage,
            "one direction",
        ),
        (&["floor", "a=floor", "--rate", "9"], usage, "no --rate"),
        (
            &["floor:disk", "a=floor", "--depth", "2"],
            usage,
            "one outstanding",
        ),
        (&["floor", "profile:warp"], Some(1), "no such profile"),
        (
            &["floor", "gone=iscsi://127.0.0.1:1/iqn.2024-01.example:a"],
            Some(1),
            "gone: iscsi://",
        ),
    ] {
        let (found, errors) = refused(arguments);
        assert_eq!(found, code, "{arguments:?}: {errors}");
        assert!(errors.contains(what), "{arguments:?}: {errors}");
    }
}

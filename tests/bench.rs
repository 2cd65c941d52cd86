//! `holdfast bench` against a real server: what it measures, what it finds wrong, what it says.

mod support;

use std::path::Path;
use std::process::{Command as Process, Output, Stdio};

use serde_json::Value;
use support::scsi::{BLOCK, pattern};
use support::server::{Server, Setup, Volume, holdfast};

engine_tests!(
    uring,
    Uring,
    1,
    "ram",
    every_workload_moves_what_it_says,
    sessions_volumes_and_threads_share_the_load,
    verified_data_survive_every_way_of_sending,
    a_planted_corruption_is_found,
    an_open_loop_counts_the_time_in_the_queue,
    refusals_are_explained
);
engine_tests!(
    mio,
    Mio,
    1,
    "ram",
    every_workload_moves_what_it_says,
    sessions_volumes_and_threads_share_the_load,
    verified_data_survive_every_way_of_sending,
    a_planted_corruption_is_found,
    an_open_loop_counts_the_time_in_the_queue,
    refusals_are_explained
);

/// Kind to a machine with fewer cores than tests.
const GENTLE: [&str; 3] = ["--cores", "any", "--yield"];

fn url(server: &Server, volume: &Volume) -> String {
    format!("iscsi://{}/{}/0", server.portal(), volume.iqn)
}

fn bench(url: &str, arguments: &[&str]) -> Output {
    holdfast(&[&["bench", url], arguments, &GENTLE].concat())
}

/// The JSON of a run that must go well.
fn measured(url: &str, arguments: &[&str]) -> Value {
    let output = bench(url, &[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    parsed(&output)
}

fn parsed(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What a run that must fail says.
fn refused(url: &str, arguments: &[&str]) -> String {
    let output = bench(url, arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn every_workload_moves_what_it_says(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    for (rw, extra) in [
        ("read", &["--stride", "64KiB"][..]),
        ("write", &["--fua"]),
        ("randread", &["--zipf", "1.1"]),
        ("randwrite", &["--bs", "4k:3,64k:1"]),
        ("rw", &["--mix", "70", "--bs", "256k"]),
        ("randrw", &["--offset", "1MiB", "--size", "2MiB"]),
    ] {
        let arguments = [&["--rw", rw, "--depth", "8", "--io-count", "400"], extra].concat();
        let run = measured(&url, &[&arguments[..], &["--time", "60s"]].concat());
        let total = &run["total"];
        let (reads, writes) = (
            number(&total["read"]["ios"]),
            number(&total["write"]["ios"]),
        );
        assert_eq!(reads + writes, 400, "{rw}");
        assert_eq!(reads > 0, rw != "write" && rw != "randwrite", "{rw}");
        assert_eq!(writes > 0, rw != "read" && rw != "randread", "{rw}");
        let bytes = number(&total["both"]["bytes"]);
        let whole = match rw {
            "rw" => bytes == 400 * (256 << 10),
            "randwrite" => bytes > 400 * 4096 && bytes < 400 * 65536,
            _ => bytes == 400 * 4096,
        };
        assert!(whole, "{rw}: {bytes} bytes");
        let latency = &total["both"]["latency_ns"];
        let steps = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];
        let steps: Vec<u64> = steps.iter().map(|key| number(&latency[*key])).collect();
        assert!(steps[0] > 0 && steps.is_sorted(), "{rw}: {steps:?}");
    }
}

fn sessions_volumes_and_threads_share_the_load(setup: Setup) {
    let server = setup.start();
    let volumes = [server.create_small("one"), server.create_small("two")];
    let urls = volumes.each_ref().map(|volume| url(&server, volume));
    // More sockets than are spun on, on one of the threads.
    let arguments = ["--sessions", "20", "--depth", "2", "--threads", "2"];
    let counted = ["--io-count", "1001", "--time", "60s"];
    let run = measured(
        &urls[0],
        &[&[urls[1].as_str()], &arguments[..], &counted].concat(),
    );
    for (job, url) in run["jobs"].as_array().expect("jobs").iter().zip(&urls) {
        assert_eq!(job["address"], **url);
        assert_eq!(number(&job["read"]["ios"]), 1001);
        assert_eq!(number(&job["size_bytes"]), 64 << 20);
    }
    assert_eq!(number(&run["total"]["read"]["ios"]), 2002);
    assert!(run["error"].is_null());
}

fn verified_data_survive_every_way_of_sending(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    for knobs in [
        &[][..],
        &["--initial-r2t"],
        &["--no-immediate-data"],
        &["--no-immediate-data", "--initial-r2t", "--data-digest"],
        &["--header-digest", "--data-digest", "--sessions", "3"],
    ] {
        let load = [
            "--rw", "randrw", "--verify", "--size", "3MiB", "--depth", "8",
        ];
        let lengths = [
            "--bs",
            "4k:8,512:2,384k:1",
            "--io-count",
            "600",
            "--time",
            "60s",
        ];
        let run = measured(&url, &[knobs, &load, &lengths].concat());
        let job = &run["jobs"][0];
        assert!(number(&job["verified_blocks"]) > 0, "{knobs:?}");
        for (flag, key) in [
            ("--header-digest", "header_digest"),
            ("--data-digest", "data_digest"),
        ] {
            assert_eq!(job[key], knobs.contains(&flag), "{knobs:?}");
        }
    }
}

fn a_planted_corruption_is_found(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    let whole = [
        "--verify",
        "--size",
        "1MiB",
        "--io-count",
        "256",
        "--time",
        "60s",
    ];
    let write = [&["--rw", "write"], &whole[..]].concat();
    let read = [&["--rw", "read"], &whole[..]].concat();
    let written = measured(&url, &write);
    let judged = number(&written["jobs"][0]["verified_blocks"]);
    assert_eq!(judged, 2048, "everything is read back");
    assert_eq!(
        number(&measured(&url, &read)["jobs"][0]["verified_blocks"]),
        2048
    );

    let mut session = server.session(&volume, "vandal");
    session.write_blocks(777, &pattern(1, 1)).good();
    let output = bench(&url, &[&read[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let job = &parsed(&output)["jobs"][0];
    assert_eq!(number(&job["wrong_blocks"][0]["lba"]), 777);
    assert_eq!(job["wrong_blocks"].as_array().map(Vec::len), Some(1));
    assert_eq!(job["failures"][0]["kind"], "verify: no stamp");

    // A block that is whole, and another one's.
    let other = session.read_blocks(778, 1).good();
    assert_eq!(other.len(), BLOCK);
    session.write_blocks(777, &other).good();
    let text = String::from_utf8(bench(&url, &read).stdout).expect("text");
    assert!(text.contains("LBA 777: verify: another block"), "{text}");

    server.text(&[
        "volume",
        "create",
        "void",
        "--size",
        "64MiB",
        "--backend",
        "null",
    ]);
    let void = format!(
        "iscsi://{}/{}/0",
        server.portal(),
        server.volume("void").iqn
    );
    for rw in ["write", "randrw"] {
        let words = [
            "--rw",
            rw,
            "--verify",
            "--size",
            "64KiB",
            "--io-count",
            "200",
        ];
        let output = bench(&void, &[&words[..], &["--time", "60s", "--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{rw}: {output:?}");
        assert_eq!(
            parsed(&output)["jobs"][0]["failures"][0]["kind"],
            "verify: no stamp"
        );
    }
}

fn an_open_loop_counts_the_time_in_the_queue(setup: Setup) {
    let server = setup.start();
    server.text(&[
        "volume",
        "create",
        "slow",
        "--size",
        "64MiB",
        "--backend",
        "null",
        "--delay",
        "50ms",
    ]);
    let url = url(&server, &server.volume("slow"));
    let median = |run: &Value| number(&run["total"]["read"]["latency_ns"]["p50"]);
    let closed = measured(&url, &["--time", "400ms"]);
    assert!(median(&closed) >= 50_000_000);
    assert_eq!(number(&closed["jobs"][0]["overdue"]), 0);
    // One at a time, it does 20 a second; what is due waits, and the wait counts.
    let open = measured(&url, &["--time", "600ms", "--rate", "200"]);
    assert!(
        median(&open) >= 2 * 50_000_000 && median(&open) > median(&closed),
        "{} ns open, {} ns closed",
        median(&open),
        median(&closed)
    );
    assert!(number(&open["jobs"][0]["overdue"]) > 0);
    // A rate that it can keep is kept.
    let kept = measured(&url, &["--time", "1s", "--rate", "40", "--depth", "32"]);
    let ios = number(&kept["total"]["read"]["ios"]);
    assert!((20..=41).contains(&ios), "{ios} in a second at 40 a second");
}

fn refusals_are_explained(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let here = url(&server, &volume);
    let says = |url: &str, arguments: &[&str], text: &str| {
        let errors = refused(url, arguments);
        assert!(errors.contains(text), "{text:?} is not in {errors:?}");
    };
    says(
        &here.replace(":disk", ":none"),
        &[],
        "there is no such target",
    );
    says(&here.replace("/0", "/7"), &[], "LOGICAL UNIT NOT SUPPORTED");
    says("iscsi://127.0.0.1:1/iqn.2024-01.test:disk", &[], "refused");
    says("127.0.0.1:3260", &[], "expected iscsi://HOST");
    says(&here, &["--size", "1GiB"], "the volume at 67108864");
    says(
        &here,
        &["--bs", "1000"],
        "on a volume whose blocks have 512",
    );
    says(&here, &["--depth", "0"], "depth 0");
    says(
        &here,
        &["--rw", "read", "--zipf", "1.2"],
        "--zipf is for random",
    );
    server.text(&[
        "volume",
        "create",
        "fixed",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--read-only",
    ]);
    let fixed = url(&server, &server.volume("fixed"));
    let arguments = ["--rw", "randwrite", "--io-count", "5", "--time", "60s"];
    let output = bench(&fixed, &[&arguments[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let failures = &parsed(&output)["total"]["failures"];
    assert_eq!(number(&failures[0]["count"]), 5);
    let kind = failures[0]["kind"].as_str().expect("a kind");
    assert!(kind.starts_with("DATA PROTECT (27h/"), "{kind}");
}

#[test]
fn chap_is_spoken_when_it_is_asked_for() {
    let account = "[[account]]\nuser = \"user\"\nsecret = \"initiator-secret-1\"\n";
    let server = Setup::default().accounts(account).start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    let directory = tempfile::tempdir().expect("a directory");
    let secret = |text: &str| {
        let path = directory.path().join(text.trim());
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let right = secret("initiator-secret-1\n");
    let counted = ["--io-count", "10", "--time", "60s"];
    let as_user = |path: &str| {
        let words = ["--user", "user", "--secret-file", path];
        bench(&url, &[&words[..], &counted].concat())
    };
    assert!(as_user(&right).status.success());
    for output in [as_user(&secret("another-secret-12")), bench(&url, &counted)] {
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("authentication failed"), "{errors}");
        assert!(!errors.contains("another-secret"), "{errors}");
    }
}

#[test]
fn mutual_chap_has_the_target_prove_itself() {
    let account = "[[account]]\nuser = \"user\"\nsecret = \"initiator-secret-1\"\n\
                   mutual_user = \"disk\"\nmutual_secret = \"the-target-secret-2\"\n";
    let server = Setup::default().accounts(account).start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    let directory = tempfile::tempdir().expect("a directory");
    let secret = |text: &str| {
        let path = directory.path().join(text);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let own = secret("initiator-secret-1");
    let proved_by = |user: &str, path: &str| {
        let words = ["--user", "user", "--secret-file", &own];
        let mutual = ["--mutual-user", user, "--mutual-secret-file", path];
        let counted = ["--io-count", "10", "--time", "60s"];
        let output = bench(&url, &[&words[..], &mutual, &counted].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    };
    assert_eq!(
        proved_by("disk", &secret("the-target-secret-2")),
        (Some(0), String::new())
    );
    for (user, text) in [
        ("disk", "some-other-secret-3"),
        ("tape", "the-target-secret-2"),
    ] {
        let (code, errors) = proved_by(user, &secret(text));
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("does not prove"), "{errors}");
        assert!(!errors.contains(text), "{errors}");
    }
    // The same secret both ways proves nothing.
    let (code, errors) = proved_by("disk", &own);
    assert_eq!(code, Some(2), "{errors}");
    let words = ["--mutual-user", "disk", "--mutual-secret-file", &own];
    assert_eq!(bench(&url, &words).status.code(), Some(2));
}

#[test]
fn every_output_is_written() {
    let server = Setup::default().start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (hgrm, log) = (path("run.hgrm"), path("run.hlog"));
    let words = [
        "--rw",
        "randrw",
        "--depth",
        "4",
        "--time",
        "300ms",
        "--interval",
        "100ms",
        "--warmup",
        "50ms",
        "--output-format",
        "fio",
        "--hgrm",
        &text(&hgrm),
        "--log",
        &text(&log),
    ];
    let output = bench(&url, &words);
    assert!(output.status.success(), "{output:?}");
    let fio = parsed(&output);
    let job = &fio["jobs"][0];
    for direction in ["read", "write"] {
        let lane = &job[direction];
        assert!(number(&lane["total_ios"]) > 0 && number(&lane["bw"]) > 0);
        assert!(number(&lane["iops_samples"]) >= 2, "{lane}");
        let percentiles = lane["clat_ns"]["percentile"]
            .as_object()
            .expect("percentiles");
        let values: Vec<u64> = percentiles.values().map(number).collect();
        assert_eq!(values.len(), 17);
        // `serde_json` sorts keys as texts: 1, 10, 20, …, 5, 50, …
        assert!(number(&percentiles["1.000000"]) <= number(&percentiles["99.990000"]));
        for key in ["min", "max", "mean", "stddev", "N"] {
            assert!(lane["lat_ns"][key].is_number(), "{key}");
        }
    }
    assert_eq!(job["error"], 0);
    let hgrm = std::fs::read_to_string(hgrm).expect("percentiles");
    assert!(
        hgrm.contains("1/(1-Percentile)") && hgrm.contains("#[Mean"),
        "{hgrm}"
    );
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(
        log.lines()
            .filter(|line| line.starts_with("Tag=0-read,"))
            .count()
            >= 2,
        "{log}"
    );

    let table = bench(&url, &["--io-count", "50", "--time", "60s"]);
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(
        table.starts_with("VOLUME") && table.contains("P99.99"),
        "{table}"
    );
    assert!(table.contains("50 I/Os in "), "{table}");
}

#[test]
fn an_interrupted_run_prints_what_it_measured() {
    let server = Setup::default().start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    let run = Process::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["bench", &url, "--time", "3600s", "--json"])
        .args(GENTLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The signal is caught before the login; until then it would end the process at once.
    while server.session_count(&volume) == 0 {
        std::thread::yield_now();
    }
    let pid = i32::try_from(run.id()).ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(parsed(&output)["elapsed_s"].as_f64().expect("seconds") < 3600.0);
}

#[test]
fn a_server_that_dies_ends_the_run_with_what_was_measured() {
    let mut server = Setup::default().start();
    let volume = server.create_small("disk");
    let url = url(&server, &volume);
    let run = Process::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["bench", &url, "--time", "3600s", "--depth", "8", "--json"])
        .args(GENTLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // So many reads that the load is on its way.
    let commands = |server: &Server| {
        let sessions = server.json(&["session", "list"]);
        sessions[0]["commands"].as_u64().unwrap_or(0)
    };
    while commands(&server) < 1000 {
        std::thread::yield_now();
    }
    server.kill_now();
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = parsed(&output);
    assert!(number(&report["total"]["read"]["ios"]) > 0);
    let error = report["error"].as_str().expect("an error");
    assert!(error.contains(&volume.iqn), "{error}");
}

#[test]
fn the_floor_has_every_row() {
    let anywhere = ["--server-cores", "any", "--client-cores", "any", "--yield"];
    let brief = ["--burst", "2ms", "--bursts", "1", "--json"];
    let output = holdfast(&[&["bench", "floor"], &anywhere[..], &brief].concat());
    assert!(output.status.success(), "{output:?}");
    let floor = parsed(&output);
    let rows = floor["echo"].as_array().expect("rows");
    assert_eq!(rows.len(), 16);
    for row in rows {
        assert!(row["iops"].as_f64().expect("a rate") > 0.0, "{row}");
        assert!(number(&row["latency_ns"]["p50"]) > 0, "{row}");
    }
    let missing = holdfast(&["bench", "floor", "--burst", "1ms", "--file", "/nonexistent"]);
    assert!(!missing.status.success());
    let errors = String::from_utf8_lossy(&missing.stderr);
    assert!(errors.contains("/nonexistent"), "{errors}");
}

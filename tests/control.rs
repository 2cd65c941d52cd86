//! The command line and the control socket: the first start on a fresh machine, volumes made, grown
//! and deleted under a running server, clear errors, and a clean end.

mod support;

use std::process::Command as Process;

use serde_json::Value;
use support::scsi::{BLOCK, pattern, sense};
use support::server::{Engine, Setup, holdfast};

on_every_engine!(
    the_first_start_serves_a_volume_of_one_gibibyte,
    volumes_are_made_shown_listed_and_deleted,
    growing_a_volume_tells_its_sessions,
    sessions_and_reservations_are_shown,
    what_was_made_is_there_after_a_restart,
);

fn the_first_start_serves_a_volume_of_one_gibibyte(setup: Setup) {
    let server = setup.start();
    let volumes = server.volumes();
    assert_eq!(volumes.len(), 1, "one volume: {volumes:?}");
    assert_eq!(volumes[0]["size_bytes"], 1_u64 << 30);
    let name = volumes[0]["name"].as_str().expect("a name");
    let volume = server.volume(name);
    let mut session = server.session(&volume, "a");
    assert_eq!(session.capacity(), ((1 << 30) / BLOCK as u64, 512));
    let data = pattern(1, 8);
    session.write_blocks(0, &data).good();
    assert_eq!(session.read_blocks(0, 8).good(), data);
    session.logout();

    let iqn = volume.iqn.clone();
    let port = server.portal().port().to_string();
    server.ask_to_stop();
    let mut output = server.banner.clone();
    output.extend(server.remaining_output());
    let output = output.join("\n");
    for promised in [iqn.as_str(), &port, "iscsiadm", "qemu-img", "iscsi://"] {
        assert!(output.contains(promised), "{promised} in\n{output}");
    }
    assert!(server.wait().0.success());
}

fn volumes_are_made_shown_listed_and_deleted(setup: Setup) {
    let server = setup.start();
    server.text(&[
        "volume", "create", "first", "--size", "1GiB", "--group", "finance",
    ]);
    server.text(&[
        "volume",
        "create",
        "second",
        "--size",
        "64MiB",
        "--backend",
        "ram",
    ]);
    server.text(&[
        "volume",
        "create",
        "third",
        "--size",
        "64MiB",
        "--backend",
        "null",
    ]);
    let shown = server.json(&["volume", "show", "first"]);
    assert_eq!(shown["size_bytes"], 1_u64 << 30);
    assert_eq!(shown["backend"], "file", "the default backend");
    assert_eq!(shown["group"], "finance");
    let iqn = shown["iqn"].as_str().expect("a name");
    assert!(iqn.starts_with("iqn.") && iqn.ends_with(":first"), "{iqn}");
    assert_eq!(server.json(&["volume", "show", "second"])["backend"], "ram");

    let names: Vec<_> = server
        .volumes()
        .iter()
        .filter_map(|v| v["name"].as_str().map(str::to_owned))
        .collect();
    for name in ["first", "second", "third"] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} in {names:?}"
        );
        assert!(
            server.text(&["volume", "list"]).contains(name),
            "the human table names it"
        );
    }
    server.text(&["volume", "delete", "third"]);
    assert!(
        !server
            .command(&["volume", "show", "third"])
            .status
            .success()
    );

    let second = server.volume("second");
    let session = server.session(&second, "a");
    let refused = server.command(&["volume", "delete", "second"]);
    assert!(
        !refused.status.success(),
        "a volume in use is not deleted by accident"
    );
    session.logout();
    server.text(&["volume", "delete", "second"]);
    assert!(server.login(&second, "a").try_connect().is_err());

    for bad in [
        &["volume", "create", "first", "--size", "1GiB"][..],
        &["volume", "create", "No Such Name", "--size", "1GiB"],
        &["volume", "create", "tiny", "--size", "1"],
        &["volume", "create", "huge", "--size", "65TiB"],
        &["volume", "create", "odd", "--size", "lots"],
        &["volume", "resize", "first", "--size", "512MiB"],
        &["volume", "resize", "nowhere", "--size", "2GiB"],
        &["volume", "show", "nowhere"],
        &["volume", "delete", "nowhere"],
    ] {
        let output = server.command(bad);
        assert!(!output.status.success(), "{bad:?} must fail");
        assert!(!output.stderr.is_empty(), "{bad:?} says why");
    }
}

fn growing_a_volume_tells_its_sessions(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    a.write_blocks(100, &pattern(1, 1)).good();
    server.text(&["volume", "resize", "disk", "--size", "128MiB"]);
    for session in [&mut a, &mut b] {
        session.expect_attention(sense::CAPACITY_CHANGED);
        assert_eq!(session.capacity().0, (128 << 20) / BLOCK as u64);
    }
    let last = (128 << 20) / BLOCK as u64 - 1;
    b.write_blocks(last, &pattern(2, 1)).good();
    assert_eq!(a.read_blocks(last, 1).good(), pattern(2, 1));
    assert_eq!(a.read_blocks(100, 1).good(), pattern(1, 1));
    let (key, asc, ascq) = sense::LBA_OUT_OF_RANGE;
    a.read_blocks(last + 1, 1).check(key, asc, ascq);
}

fn sessions_and_reservations_are_shown(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let mut a = server.session(&volume, "client-a");
    let _b = server.session(&volume, "client-b");
    let sessions = server.json(&["session", "list"]);
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    let of_a = |session: &&Value| {
        session["initiator"]
            .as_str()
            .is_some_and(|name| name.ends_with("client-a"))
    };
    let shown = sessions.iter().find(of_a).expect("the session of client-a");
    assert_eq!(shown["isid"], "800000000001");
    assert_eq!(
        shown["address"].as_str(),
        Some(a.local_addr().to_string().as_str())
    );

    assert!(server.json(&["reservation", "show", "disk"])["type"].is_null());
    a.register(0, 0xfeed).good();
    a.reserve(5, 0xfeed).good();
    let shown = server.json(&["reservation", "show", "disk"]);
    assert_eq!(shown["type_code"], 5);
    assert_eq!(shown["registrations"][0]["key"], "0x000000000000feed");
    assert_eq!(shown["registrations"][0]["holder"], true);
    let table = server.text(&["reservation", "show", "disk"]);
    assert!(table.contains("client-a"), "{table}");
    assert_eq!(server.session_count(&volume), 2);
}

fn what_was_made_is_there_after_a_restart(mut setup: Setup) {
    setup.backend = "file";
    let server = setup.start();
    let volume = server.create_small("kept");
    let data = pattern(3, 64);
    server.session(&volume, "a").write_blocks(5, &data).good();
    let before = server.volumes().len();
    let server = server.stop().start();
    assert_eq!(
        server.volumes().len(),
        before,
        "the first volume is not made again"
    );
    let again = server.volume("kept");
    assert_eq!(again.iqn, volume.iqn);
    assert_eq!(server.session(&again, "a").read_blocks(5, 64).good(), data);
}

#[test]
fn the_same_data_directory_is_refused_to_a_second_server() {
    let setup = Setup::default();
    let _server = setup.start();
    let failure = setup.try_start().expect_err("a second start");
    assert!(!failure.status.success());
    assert!(
        failure.errors.contains("data"),
        "it names the directory: {}",
        failure.errors
    );
}

#[test]
fn the_same_port_is_refused_to_a_second_server() {
    let server = Setup::default().start();
    let taken = server.portal().to_string();
    let failure = Setup::default()
        .listen(&[&taken])
        .try_start()
        .expect_err("a second start");
    assert!(!failure.status.success());
    assert!(
        failure.errors.contains(&taken),
        "it names the address: {}",
        failure.errors
    );
}

#[test]
fn sigterm_ends_with_success_at_rest_and_under_load() {
    let server = Setup::default().start();
    server.stop();
    let server = Setup::default().start();
    let volume = server.create_small("disk");
    let mut session = server.session(&volume, "a");
    server.ask_to_stop();
    // A session that never logs out must not keep the server.
    assert!(session.is_closed_by_target());
    assert!(server.wait().0.success());
}

#[test]
fn help_documents_every_flag() {
    for (arguments, promised) in [
        (
            &["--help"][..],
            &["serve", "volume", "session", "reservation"][..],
        ),
        (
            &["serve", "--help"],
            &[
                "--data",
                "--listen",
                "--control",
                "--reactors",
                "--cores",
                "--engine",
                "--profile",
                "--config",
                "--advertise",
                "uring",
                "mio",
                "auto",
            ],
        ),
        (
            &["volume", "create", "--help"],
            &["--size", "--group", "--backend", "--path", "--control"],
        ),
        (&["volume", "show", "--help"], &["--json", "--control"]),
    ] {
        let output = holdfast(arguments);
        assert!(output.status.success(), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        for flag in promised {
            assert!(text.contains(flag), "{flag} in {arguments:?}:\n{text}");
        }
    }
}

#[test]
fn mistakes_get_clear_errors() {
    for arguments in [
        &["serve", "--engine", "steam"][..],
        &["serve", "--listen", "nowhere"],
        &["serve", "--reactors", "0"],
        &["serve", "--no-such-flag"],
        &["serve", "--config", "/nonexistent/holdfast.toml"],
        &[
            "serve",
            "--profile",
            "no-such-profile",
            "--data",
            "/nonexistent/data",
        ],
        &["volume", "list", "--control", "/nonexistent/control"],
        &["volume", "create"],
    ] {
        let output = holdfast(arguments);
        assert!(!output.status.success(), "{arguments:?} must fail");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.trim().is_empty(), "{arguments:?} says why");
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
    }
    let failure = Setup::default()
        .config("[limits]\nsessions = 1\n")
        .try_start();
    let failure = failure.expect_err("an unknown key");
    assert!(
        failure.errors.contains("sessions"),
        "it names the key: {}",
        failure.errors
    );
}

#[test]
fn the_session_limit_is_configurable() {
    let setup = Setup::default().config("[limits]\nsessions_per_volume = 2\n");
    let server = setup.start();
    let volume = server.create_small("disk");
    let _two: Vec<_> = (0..2)
        .map(|i| server.login(&volume, "a").isid(i).connect())
        .collect();
    assert_eq!(
        server.login(&volume, "a").isid(2).refused().status() >> 8,
        3
    );
}

/// Containers forbid io_uring. `auto` goes on without it and says why, once; `uring` is an order.
#[test]
fn sockets_go_by_epoll_where_io_uring_is_forbidden() {
    const REASON: &str = "a seccomp filter is in force";
    let server = Setup::new(Engine::Auto, 2, "file")
        .io_uring_forbidden()
        .start();
    let volume = server.create_small("disk");
    let mut session = server.session(&volume, "a");
    let data = pattern(1, 8);
    session.write_blocks(0, &data).good();
    assert_eq!(session.read_blocks(0, 8).good(), data);
    session.logout();
    let log = server.errors();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("io_uring can't be used"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains(REASON) && told[0].contains("epoll"),
        "{log}"
    );

    let setup = Setup::new(Engine::Uring, 2, "file").io_uring_forbidden();
    let failure = setup.try_start().expect_err("io_uring was asked for");
    assert!(!failure.status.success());
    for part in ["io_uring", REASON, "--engine auto"] {
        assert!(
            failure.errors.contains(part),
            "{part} in {}",
            failure.errors
        );
    }
}

#[test]
fn json_logs_are_one_object_a_line() {
    let server = Setup::default()
        .config("[log]\nformat = \"json\"\n")
        .start();
    let volume = server.create_small("disk");
    server.session(&volume, "a").logout();
    let log = server.errors();
    assert!(!log.is_empty());
    for line in log.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

#[test]
fn a_raw_block_device_or_its_absence_is_told() {
    let server = Setup::new(Engine::Mio, 1, "ram").start();
    let output = server.command(&[
        "volume",
        "create",
        "raw",
        "--backend",
        "block",
        "--path",
        "/dev/null",
    ]);
    assert!(!output.status.success(), "/dev/null is no block device");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("/dev/null"), "{errors}");
}

/// A loop device is the nearest thing to a disk that a test can make; only root can.
#[test]
fn a_block_device_is_served() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let image = directory.path().join("disk");
    let file = std::fs::File::create(&image).expect("an image");
    file.set_len(64 << 20).expect("its size");
    let attached = Process::new("losetup")
        .args(["--find", "--show"])
        .arg(&image)
        .output();
    let Some(attached) = attached.ok().filter(|output| output.status.success()) else {
        support::skip("no loop device can be made here");
        return;
    };
    let device = String::from_utf8_lossy(&attached.stdout).trim().to_owned();
    let served = std::panic::catch_unwind(|| {
        let server = Setup::default().start();
        server.text(&[
            "volume",
            "create",
            "raw",
            "--backend",
            "block",
            "--path",
            &device,
        ]);
        let volume = server.volume("raw");
        assert_eq!(volume.bytes, 64 << 20);
        let mut session = server.session(&volume, "a");
        let data = pattern(4, 128);
        session.write_blocks_fua(9, &data).good();
        assert!(session.read_blocks(9, 128).good() == data);
    });
    let detached = Process::new("losetup").args(["--detach", &device]).status();
    assert!(detached.is_ok_and(|status| status.success()));
    served.expect("the device is served");
}

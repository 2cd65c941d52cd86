//! The end of a volume, and the way back.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::places::{content, fill, volume_files};
use crate::support::reserve::{action, flag, parameters};
use crate::support::server::{Engine, Server, Setup, holdfast};

fn setup() -> Setup {
    Setup::new(Engine::Mio, 2, "file")
}

fn deleted(server: &Server) -> Vec<String> {
    let listed = server.json(&["volume", "list", "--deleted"]);
    let name = |volume: &Value| volume["name"].as_str().expect("a name").to_owned();
    listed
        .as_array()
        .expect("a list")
        .iter()
        .map(name)
        .collect()
}

fn refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.command(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_volume_in_use_is_deleted_only_by_force_which_asks_first() {
    let server = setup()
        .config("[limits]\ndrain_timeout = \"20s\"\n")
        .start();
    let volume = server.create_small("db-1");
    let mut polite = server.session(&volume, "polite");
    let why = refused(&server, &["volume", "delete", "db-1"]);
    assert!(why.contains("in use by 1 session (iqn."), "{why}");
    assert!(why.contains(&polite.local_addr().to_string()), "{why}");
    let control = server.control().to_str().expect("text");
    let ended = std::thread::scope(|scope| {
        let delete = ["volume", "delete", "db-1", "--force", "--control", control];
        let asked = scope.spawn(move || holdfast(&delete));
        // Asynchronous message 1: the target asks for a logout (RFC 7143 section 11.9.1).
        let message = polite.wait_for_async().expect("a word before the end");
        assert_eq!(message.bhs[36], 1);
        let began = Instant::now();
        polite.logout();
        assert!(asked.join().expect("an answer").status.success());
        began.elapsed()
    });
    assert!(
        ended < Duration::from_secs(15),
        "nothing is left to wait for: {ended:?}"
    );
    assert!(server.login(&volume, "polite").try_connect().is_err());
}

#[test]
fn a_session_that_does_not_go_is_dropped() {
    let server = setup().config("[limits]\ndrain_timeout = \"1s\"\n").start();
    let volume = server.create_small("db-1");
    let mut stubborn = server.session(&volume, "stubborn");
    server.text(&["volume", "delete", "db-1", "--force"]);
    assert!(stubborn.is_closed_by_target());
}

#[test]
fn a_deleted_volume_comes_back_with_its_data_and_without_its_reservations() {
    let setup = setup();
    let server = setup.start();
    server.text(&["group", "create", "kept"]);
    server.text(&["group", "set", "kept", "--retention", "7d"]);
    server.text(&[
        "volume", "create", "db-1", "--size", "64MiB", "--group", "kept",
    ]);
    let volume = server.volume("db-1");
    let mut session = server.session(&volume, "a");
    fill(&mut session, 8, 4, 7);
    let list = parameters(0, 0xA1, flag::APTPL);
    session.reserve_out_with(action::REGISTER, 0, &list).good();
    session.logout();
    assert_eq!(
        server.json(&["reservation", "show", "db-1"])["registrations"][0]["key"],
        "0x00000000000000a1"
    );

    server.text(&["volume", "delete", "db-1"]);
    assert_eq!(deleted(&server), ["db-1"]);
    assert!(server.login(&volume, "a").try_connect().is_err());
    for arguments in [
        &["volume", "show", "db-1"][..],
        &["volume", "delete", "db-1"],
        &["volume", "resize", "db-1", "--size", "128MiB"],
        &["snapshot", "create", "db-1", "monday"],
    ] {
        let why = refused(&server, arguments);
        assert!(
            why.contains("was deleted, and is kept for another 6d 23h"),
            "{why}"
        );
        assert!(why.contains("`holdfast volume restore db-1`"), "{why}");
    }
    let why = refused(&server, &["volume", "create", "db-1", "--size", "64MiB"]);
    assert!(
        why.contains("its name is taken until it is purged"),
        "{why}"
    );
    let why = refused(&server, &["group", "delete", "kept"]);
    assert!(
        why.contains("1 volume, 1 of them deleted and kept"),
        "{why}"
    );

    // It is so after a crash, too.
    let server = server.kill().start();
    assert_eq!(deleted(&server), ["db-1"]);
    let text = server.text(&["volume", "restore", "db-1"]);
    assert!(
        text.contains("registrations and reservations are gone"),
        "{text}"
    );
    assert!(deleted(&server).is_empty());
    let shown = server.json(&["reservation", "show", "db-1"]);
    assert_eq!(shown["registrations"], Value::Array(Vec::new()));
    let again = server.volume("db-1");
    assert_eq!(again.iqn, volume.iqn);
    let mut session = server.session(&again, "a");
    assert_eq!(content(&mut session, 8, 4), vec![7; 2048]);
    session.logout();
    let why = refused(&server, &["volume", "restore", "db-1"]);
    assert!(why.contains("is not deleted"), "{why}");

    // And it is as good as any other.
    let server = server.kill().start();
    assert!(server.json(&["reservation", "show", "db-1"])["type"].is_null());
    server.text(&["volume", "delete", "db-1", "--purge"]);
    assert!(deleted(&server).is_empty());
}

#[test]
fn what_is_kept_is_purged_in_time_also_over_a_restart() {
    let setup = setup();
    let server = setup.start();
    server.text(&["group", "set", "default", "--retention", "2s"]);
    server.create_small("soon");
    server.text(&["volume", "delete", "soon"]);
    let before = volume_files(&setup.data()).len();
    let server = server.kill().start();
    let end = Instant::now() + Duration::from_secs(30);
    while !deleted(&server).is_empty() {
        assert!(Instant::now() < end, "it is never purged");
        std::thread::yield_now();
    }
    assert_eq!(volume_files(&setup.data()).len(), before - 1);
    server.create_small("soon");
}

#[test]
fn a_kept_volume_can_be_purged_at_once_and_memory_is_not_kept() {
    let setup = setup();
    let server = setup.start();
    server.text(&["group", "set", "default", "--retention", "1h"]);
    let files = volume_files(&setup.data());
    server.create_small("db-1");
    server.text(&["volume", "delete", "db-1"]);
    server.text(&["volume", "delete", "db-1", "--purge"]);
    assert_eq!(volume_files(&setup.data()), files);
    server.text(&[
        "volume",
        "create",
        "memory",
        "--size",
        "64MiB",
        "--backend",
        "ram",
    ]);
    server.text(&["volume", "delete", "memory"]);
    assert!(deleted(&server).is_empty());
}

#[test]
fn a_volume_whose_file_is_gone_can_not_be_restored_and_stays_deleted() {
    let setup = setup();
    let server = setup.start();
    server.text(&["group", "set", "default", "--retention", "1h"]);
    server.create_small("db-1");
    let shown = server.json(&["volume", "show", "db-1"]);
    server.text(&["volume", "delete", "db-1"]);
    std::fs::remove_file(shown["path"].as_str().expect("a path")).expect("removed");
    let why = refused(&server, &["volume", "restore", "db-1"]);
    assert!(
        why.contains("is missing although the volume exists"),
        "{why}"
    );
    assert_eq!(deleted(&server), ["db-1"]);
}

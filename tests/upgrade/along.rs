//! What lies beside the sessions: limits, drained nodes, and what lets others watch the server.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::assert_undisturbed;
use crate::on_every_file_engine;
use crate::support::initiator::Command;
use crate::support::login::initiator_name;
use crate::support::rig::until;
use crate::support::scsi::{BLOCK, pattern, read16, write16};
use crate::support::server::{Engine, Server, Setup};

on_every_file_engine!(commands_that_wait_for_limits_are_carried_out);

const SERVICE_UNAVAILABLE: u16 = 0x0301;

fn commands_that_wait_for_limits_are_carried_out(setup: Setup) {
    const BLOCKS: usize = 8;
    let mut server = setup.start();
    let volume = server.create_small("slow");
    server.text(&["volume", "set", "slow", "--iops-max", "30"]);
    let mut sessions = ["a", "b"].map(|name| server.session(&volume, name));
    let count = u32::try_from(BLOCKS).unwrap();
    // More than two seconds of them, so that most are waiting when the other process takes over.
    let mut tags = Vec::new();
    for (session, first) in sessions.iter_mut().zip([0, 1000]) {
        for lba in (first..).step_by(BLOCKS).take(40) {
            let write = Command::write(&write16(lba, count), &pattern(lba, BLOCKS));
            tags.push((first, lba, session.submit(&write).unwrap()));
        }
    }
    let limited = || {
        let told = server.json(&["volume", "show", "slow"]);
        told["limits"]["usage"]["limited_percent"].as_u64() > Some(0)
    };
    until("commands wait for the limit", limited);
    server.upgrade(&[]);
    let told = server.json(&["volume", "show", "slow"]);
    assert_eq!(told["limits"]["iops_max"], 30, "{told}");
    for (first, _, tag) in &tags {
        let session = &mut sessions[usize::from(*first > 0)];
        session.complete(*tag).unwrap().good();
    }
    server.text(&["volume", "set", "slow", "--limits", "none"]);
    for (first, lba, _) in tags {
        let session = &mut sessions[usize::from(first > 0)];
        let read = Command::read(&read16(lba, count), BLOCKS * BLOCK);
        let tag = session.submit(&read).unwrap();
        let got = session.complete(tag).unwrap().good();
        assert!(got == pattern(lba, BLOCKS), "block {lba}");
    }
    sessions.iter().for_each(assert_undisturbed);
}

#[test]
fn a_drained_node_stays_out_and_may_be_let_in_again() {
    let mut server = Setup::new(Engine::Mio, 2, "file").start();
    let volume = server.create_small("one");
    let mut staying = server.session(&volume, "staying");
    let name = initiator_name("leaving");
    // Its deadline is far, and what waits for it holds no upgrade up.
    server.text(&[
        "session",
        "drain",
        "--initiator",
        &name,
        "--deadline",
        "600s",
    ]);
    server.upgrade(&[]);
    staying.read_blocks(0, 1).good();
    let refused = server.login(&volume, "leaving").refused();
    assert_eq!(refused.status(), SERVICE_UNAVAILABLE);
    server.upgrade(&[]);
    server.text(&["session", "admit", "--initiator", &name]);
    server.login(&volume, "leaving").connect().logout();
    assert_undisturbed(&staying);
}

fn page(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn methods(path: &Path) -> Vec<String> {
    let lines = lines(path);
    let methods = lines.iter().filter_map(|line| line["method"].as_str());
    methods.map(str::to_owned).collect()
}

fn metrics_address(server: &Server) -> SocketAddr {
    let address = server.banner.iter().find_map(|line| {
        line.strip_prefix("metrics http://")?
            .strip_suffix("/metrics")
    });
    address.unwrap().parse().unwrap()
}

#[test]
fn metrics_events_and_the_audit_log_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let setup = Setup::new(Engine::Mio, 1, "file")
        .argument("--metrics")
        .argument("127.0.0.1:0")
        .config(&format!("[audit]\npath = {audit:?}\n"));
    let mut server = setup.start();
    let metrics = metrics_address(&server);
    let volume = server.create_small("one");
    let mut session = server.session(&volume, "a");
    session.read_blocks(0, 8).good();
    let mut before = Vec::new();
    for _ in 0..2 {
        before.push(server.process_id());
        server.upgrade(&[]);
        let page = page(metrics);
        assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
        let sessions = page
            .lines()
            .find(|line| line.starts_with("holdfast_volume_sessions{"));
        assert!(sessions.is_some_and(|line| line.ends_with(" 1")), "{page}");
    }
    let events = server.json(&["events"]);
    let events = events["events"].as_array().unwrap();
    let numbers: BTreeSet<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64())
        .collect();
    assert_eq!(numbers.len(), events.len(), "{events:?}");
    for pid in before {
        let told = format!("in the place of process {pid}");
        let tell = |event: &&Value| event["text"].as_str().unwrap().ends_with(&told);
        assert_eq!(events.iter().filter(tell).count(), 1, "{told}: {events:?}");
    }
    let logins = events.iter().filter(|event| event["event"] == "login");
    assert_eq!(logins.count(), 1, "nobody has logged in again: {events:?}");
    assert_eq!(
        methods(&audit),
        ["volume.create", "server.upgrade", "server.upgrade"]
    );
    // Whoever rotates the log tells the process that serves.
    std::fs::rename(&audit, directory.path().join("audit.1")).unwrap();
    let pid = Pid::from_raw(i32::try_from(server.process_id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    until("the audit log is a new file", || audit.exists());
    server.create_small("two");
    assert_eq!(methods(&audit), ["volume.create"]);
}

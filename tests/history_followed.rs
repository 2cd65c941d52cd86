//! `holdfast reservation history --follow`: a second process that hears of reservation commands as they
//! happen, judged by what initiators did; and what is asked of a volume's other settings while it is used.

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use support::cluster::{A, B, Cluster};
use support::reserve::kind;
use support::server::{Server, Setup};

on_every_engine!(
    who_follows_hears_of_every_attempt,
    who_follows_a_volume_that_goes_is_told,
    a_command_that_meets_a_unit_attention_is_in_the_history,
);

const VOLUME: &str = "cluster";

/// A process that follows.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// Follows with `--json`, from what there is.
    fn start(server: &Server) -> Self {
        let follow = ["reservation", "history", VOLUME, "--follow", "--json"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(follow)
            .arg("--control")
            .arg(server.control())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("piped");
        let lines = BufReader::new(output).lines();
        Self { child, lines }
    }

    /// The next line: `sequence action: status xN`.
    fn next(&mut self) -> String {
        let line = self.lines.next().expect("a line").expect("text");
        let entry: Value = serde_json::from_str(&line).expect("one object a line");
        format!(
            "{} {}: {} x{}",
            entry["sequence"],
            entry["action"].as_str().expect("an action"),
            entry["status"].as_str().expect("a status"),
            entry["times"]
        )
    }

    /// How it ended, and what it said about it.
    fn end(mut self) -> (Option<i32>, String) {
        assert!(self.lines.next().is_none(), "nothing more is told");
        let output = self.child.wait_with_output().expect("our child");
        let errors = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), errors)
    }
}

fn who_follows_hears_of_every_attempt(setup: Setup) {
    let Cluster {
        server,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    let mut follower = Follower::start(&server);
    assert_eq!(follower.next(), "1 REGISTER: GOOD x1");
    b.clear(B).conflict();
    assert_eq!(follower.next(), "2 CLEAR: RESERVATION CONFLICT x1");
    b.clear(B).conflict();
    assert_eq!(follower.next(), "2 CLEAR: RESERVATION CONFLICT x2");
    b.register(0, B).good();
    assert_eq!(follower.next(), "3 REGISTER: GOOD x1");
    a.reserve(kind::WE_RO, A).good();
    assert_eq!(follower.next(), "4 RESERVE: GOOD x1");
    b.preempt(kind::WE_RO, B, A).good();
    assert_eq!(follower.next(), "5 PREEMPT: GOOD x1");
    server.text(&["reservation", "clear", VOLUME, "--yes"]);
    assert!(follower.next().starts_with("6 "));
    drop((a, b));
    server.stop();
    let (code, errors) = follower.end();
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("the server has gone away"), "{errors}");
}

fn who_follows_a_volume_that_goes_is_told(setup: Setup) {
    let Cluster { server, mut a, .. } = Cluster::new(&setup);
    a.register(0, A).good();
    let mut follower = Follower::start(&server);
    assert_eq!(follower.next(), "1 REGISTER: GOOD x1");
    server.text(&["volume", "delete", VOLUME, "--force"]);
    let (code, errors) = follower.end();
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(VOLUME), "{errors}");
}

/// The initiator sends it again, and then it is judged; but an operator sees both attempts.
fn a_command_that_meets_a_unit_attention_is_in_the_history(setup: Setup) {
    let Cluster {
        server,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    b.register(0, B).good();
    a.clear(A).good();
    b.reserve(kind::WE_RO, B).check(6, 0x2a, 0x03);
    b.reserve(kind::WE_RO, B).conflict();
    let mut follower = Follower::start(&server);
    let told: Vec<_> = (0..5).map(|_| follower.next()).collect();
    assert_eq!(
        told[3..],
        [
            "4 RESERVE: CHECK CONDITION 6/2A/03 x1",
            "5 RESERVE: RESERVATION CONFLICT x1",
        ]
    );
    drop((a, b));
    server.stop();
    assert_eq!(follower.end().0, Some(3));
}

#[test]
fn what_changes_live_and_what_waits() {
    let server = Setup::new(support::server::Engine::Mio, 2, "file").start();
    let volume = server.create_small("disk");
    let mut first = server.session(&volume, "one");
    first.write_blocks(0, &support::scsi::pattern(1, 8)).good();
    let set = |more: &[&str]| server.command(&[&["volume", "set", "disk"], more].concat());
    assert!(set(&["--sessions-max", "1"]).status.success());
    assert!(server.login(&volume, "two").try_connect().is_err());
    assert!(set(&["--sessions-max", "default"]).status.success());
    server.session(&volume, "two").logout();
    assert_eq!(set(&["--read-only", "true"]).status.code(), Some(1));
    first.logout();
    for round in 0..3 {
        assert!(set(&["--read-only", "true"]).status.success(), "{round}");
        let setup = server.json(&["volume", "show", "disk"]);
        assert_eq!(setup["read_only"], true);
        let mut reader = server.session(&volume, "one");
        reader
            .write_blocks(0, &support::scsi::pattern(2, 8))
            .check(7, 0x27, 0);
        assert!(reader.read_blocks(0, 8).good() == support::scsi::pattern(1, 8));
        reader.logout();
        let output = set(&["--read-only", "false"]);
        assert!(output.status.success(), "{round}: {output:?}");
        let mut writer = server.session(&volume, "one");
        writer.write_blocks(0, &support::scsi::pattern(1, 8)).good();
        writer.logout();
    }
    let server = server.stop().start();
    assert_eq!(server.json(&["volume", "show", "disk"])["read_only"], false);
}

//! A server with something to lose, and what that is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::initiator::Initiator;
use crate::support::reserve::{action, flag, kind, parameters};
use crate::support::scsi::pattern;
use crate::support::server::{Engine, Server, Setup, Volume, holdfast};
use crate::transcript::Transcript;

const KEY: u64 = 0xa1;
/// Blocks of the volume that hold something, and where.
const WRITTEN: [(u64, usize); 2] = [(0, 64), (131_008, 64)];

/// A server with a volume that holds data and a reservation, and has a snapshot.
pub(super) struct House {
    pub(super) server: Server,
    volume: Volume,
    session: Initiator,
    before: Value,
    /// Whether its disk takes writes.
    pub(super) is_writable: bool,
}

impl House {
    /// A server to which permissions and limits of the file system apply, even as root.
    pub(super) fn new() -> Self {
        Self::with(Setup::new(Engine::Mio, 1, "file").confined())
    }

    pub(super) fn with(setup: Setup) -> Self {
        let server = setup.start();
        server.text(&["group", "create", "databases"]);
        let create = ["volume", "create", "db-1", "--group", "databases"];
        server.text(&[&create[..], &["--size", "64MiB"]].concat());
        server.text(&["snapshot", "create", "db-1", "monday", "--copy"]);
        server.text(&["volume", "delete", "volume-1"]);
        let volume = server.volume("db-1");
        let mut session = server.session(&volume, "a");
        for (lba, blocks) in WRITTEN {
            session.write_blocks(lba, &pattern(lba, blocks)).good();
        }
        let list = parameters(0, KEY, flag::APTPL);
        session.reserve_out_with(action::REGISTER, 0, &list).good();
        session.reserve(kind::WE_RO, KEY).good();
        let before = inventory(&server);
        Self {
            server,
            volume,
            session,
            before,
            is_writable: true,
        }
    }

    /// Everything is as it was, and hosts are served.
    pub(super) fn is_whole(&mut self, after: &str) {
        assert_eq!(inventory(&self.server), self.before, "{after}");
        self.has_its_data(after);
    }

    fn has_its_data(&mut self, after: &str) {
        for (lba, blocks) in WRITTEN {
            let found = self.session.read_blocks(lba, blocks).good();
            assert!(found == pattern(lba, blocks), "{after}: block {lba}");
            if self.is_writable {
                self.session.write_blocks(lba, &found).good();
            }
        }
        let mut other = self.server.session(&self.volume, "b");
        assert_eq!(other.keys(), [KEY], "{after}");
        other.write_blocks(0, &pattern(9, 1)).conflict();
        other.logout();
    }

    /// Runs every row against the server, and looks after each whether anything was lost.
    pub(super) fn refuses(&mut self, name: &str, rows: &[(&str, &str)]) {
        let mut told = String::new();
        for (wrong, line) in rows {
            let mut transcript = Transcript::with(&self.server);
            told += transcript.note(wrong).run(line).refused();
            self.is_whole(wrong);
        }
        Transcript::alone().append(&told).matches(name);
    }

    /// Stops the server; what it leaves.
    pub(super) fn closes(self) -> Closed {
        self.session.logout();
        let setup = self.server.stop();
        Closed {
            files: files(&setup.data()),
            contents: contents(&setup.data()),
            setup,
            volume: self.volume,
            before: self.before,
        }
    }

    /// After a `kill -9` and another start all of it is there, so it was on the disk.
    pub(super) fn survives_a_crash(self) {
        let mut again = self.crashes_and_starts();
        again.is_whole("a crash and a start");
    }

    pub(super) fn crashes_and_starts(self) -> Self {
        let server = self.server.kill().start();
        let session = server.session(&self.volume, "a");
        Self {
            server,
            session,
            ..self
        }
    }
}

/// The house at night: its files, and no server.
pub(super) struct Closed {
    pub(super) setup: Setup,
    volume: Volume,
    before: Value,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Of the catalogue, because opening it writes to its file.
    contents: Value,
}

impl Closed {
    pub(super) fn data(&self) -> PathBuf {
        self.setup.data()
    }

    /// Nothing has changed: no file of a volume, and nothing in the catalogue.
    pub(super) fn is_untouched(&self, after: &str) {
        let now = files(&self.data());
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&now), names(&self.files), "{after}");
        for (path, content) in &self.files {
            let is_same = match path.ends_with("catalogue.redb") {
                false => now[path] == *content,
                true => now[path] == *content || contents(&self.data()) == self.contents,
            };
            assert!(is_same, "{after}: {}", path.display());
        }
    }

    /// A server starts, and everything is there.
    pub(super) fn opens(self) -> House {
        let server = self.setup.start();
        let session = server.session(&self.volume, "a");
        let mut house = House {
            server,
            volume: self.volume,
            session,
            before: self.before,
            is_writable: true,
        };
        house.is_whole("the next start");
        house
    }
}

/// What the catalogue has, as it is told on the control socket: quickly, because it is asked after each row.
fn inventory(server: &Server) -> Value {
    let socket = UnixStream::connect(server.control()).expect("the server listens");
    let mut answers = BufReader::new(&socket);
    let mut ask = |method: &str, params: Value| {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        writeln!(&socket, "{request}").expect("the server listens");
        let mut line = String::new();
        answers.read_line(&mut line).expect("an answer");
        let mut answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    };
    let mut volumes = ask("volume.list", json!({}));
    for volume in volumes.as_array_mut().expect("a list") {
        // A session comes and goes while it is looked; that is no loss.
        for passing in ["sessions", "nexuses", "owed_attentions", "portals"] {
            volume[passing] = Value::Null;
        }
    }
    json!([
        volumes,
        ask("volume.list", json!({"deleted": true})),
        ask("snapshot.list", json!({})),
        ask("group.list", json!({})),
        ask("session.drains", json!({})),
    ])
}

/// What a catalogue holds that no server has open.
fn contents(data: &Path) -> Value {
    let data = data.to_str().expect("plain");
    let output = holdfast(&["repair", "--data", data, "--check", "--json"]);
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["contents"]["volumes"].take()
}

/// Every file that outlives a server, with its content.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
            && path.file_name().is_none_or(|name| name != "lock")
        {
            let content = std::fs::read(&path).expect("a file");
            found.insert(path, content);
        }
    }
    found
}

/// Runs `serve`, which must end by itself and soon.
pub(super) fn serve(arguments: &[&str]) -> std::process::Output {
    serve_with(arguments, |_| {})
}

pub(super) fn serve_with(
    arguments: &[&str],
    change: impl FnOnce(&mut Command),
) -> std::process::Output {
    let mut command = Command::new("timeout");
    command
        .args([
            "30",
            env!("CARGO_BIN_EXE_holdfast"),
            "serve",
            "--log",
            "off",
        ])
        .args(arguments)
        .stdin(std::process::Stdio::null());
    change(&mut command);
    command.output().expect("timeout(1) is there")
}

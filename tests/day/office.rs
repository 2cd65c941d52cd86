//! The admin's desk: a directory, a server that was started from it, and a command line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::places::Place;
use crate::support::rig::until;
use crate::support::server::own_loopback_address;

const BINARY: &str = env!("CARGO_BIN_EXE_holdfast");
/// Seconds that any command may take before it is killed.
const PATIENCE: &str = "60";
/// The authority and the name of the SAN, as they stand in targets' names.
const PREFIX: &str = "iqn.2026-11.com.example:harbour";

/// What the hosts of the group `databases` prove to know.
pub(crate) const SECRET: &str = "a-secret-of-databases";
/// The account it belongs to.
pub(crate) const USER: &str = "db";

/// The desk, and the server that was started there.
pub(crate) struct Office {
    /// An address that nobody else has, so that ports are as in real life.
    pub(crate) address: Ipv4Addr,
    /// Whether volumes' files can share blocks.
    pub(crate) shares_blocks: bool,
    data: PathBuf,
    /// The process that serves; ours to wait for.
    server: Option<Pid>,
    desk: TempDir,
    _place: Option<Place>,
}

/// What came of a command.
pub(crate) struct Told {
    line: String,
    output: Output,
}

impl Office {
    /// With the data directory on that file system, or on any.
    pub(crate) fn move_in(place: Option<Place>) -> Self {
        // Paths are short enough for a socket's.
        let desk = tempfile::Builder::new()
            .prefix("holdfast-")
            .tempdir_in(std::env::temp_dir())
            .expect("a directory");
        let home = place.as_ref().map_or(desk.path(), |place| &place.path);
        let data = home.join("data");
        let shares_blocks = place.is_some();
        Self {
            address: own_loopback_address(),
            shares_blocks,
            data,
            server: None,
            desk,
            _place: place,
        }
    }

    /// A file on the desk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    /// The same, as it is typed.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).to_str().expect("a plain path").to_owned()
    }

    /// Writes a file, for the admin's eyes alone.
    pub(crate) fn writes(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the file is written");
        self.chmod(name, 0o600);
    }

    /// `chmod`.
    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(name), permissions).expect("it is ours");
    }

    /// The beginning of the configuration: where all is, and that nobody may log in.
    pub(crate) fn configuration(&self) -> String {
        // Who may lock little memory has no room for the rings of two processes, as an upgrade needs it.
        let profile = match rustix::process::geteuid().is_root() {
            true => "efficiency",
            false => "compat",
        };
        format!(
            "data = {:?}\n\
             control = {:?}\n\
             profile = {profile:?}\n\
             reactors = 2\n\
             [san]\n\
             name = \"harbour\"\n\
             authority = \"2026-11.com.example\"\n\
             [[portal]]\n\
             listen = \"{}\"\n\
             [access]\n\
             allow = []\n\
             [metrics]\n\
             listen = \"{}:9260\"\n\
             [audit]\n\
             path = {:?}\n",
            self.data,
            self.path("control.sock"),
            self.portal(),
            self.address,
            self.path("audit.jsonl"),
        )
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn portal(&self) -> String {
        format!("{}:3260", self.address)
    }

    /// A volume's target.
    pub(crate) fn target(&self, volume: &str) -> String {
        format!("{PREFIX}:{volume}")
    }

    /// A volume as libiscsi names it.
    pub(crate) fn url(&self, volume: &str) -> String {
        format!("iscsi://{}/{}/0", self.portal(), self.target(volume))
    }

    // ---- the command line -----------------------------------------------------------------------

    /// Runs what is typed, its words separated by single spaces.
    pub(crate) fn tries(&self, line: &str) -> Told {
        self.tries_with(line, &[])
    }

    /// The same, with variables of its environment.
    pub(crate) fn tries_with(&self, line: &str, environment: &[(&str, &str)]) -> Told {
        let mut words = line.split(' ');
        let program = match words.next().expect("a command") {
            "holdfast" => BINARY,
            other => other,
        };
        let output = Command::new("timeout")
            .args([PATIENCE, program])
            .args(words)
            .env("HOLDFAST_CONTROL", self.path("control.sock"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("timeout(1) is there");
        Told {
            line: line.to_owned(),
            output,
        }
    }

    /// Runs what must succeed; what it prints.
    pub(crate) fn types(&self, line: &str) -> String {
        self.tries(line).succeeds()
    }

    /// Runs what must fail; what it says on standard error.
    pub(crate) fn is_refused(&self, line: &str) -> String {
        self.tries(line).fails()
    }

    /// Asks for the events until all of these stand there: what happens on a reactor is written down a
    /// moment later.
    #[track_caller]
    pub(crate) fn hears_of(&self, parts: &[&str]) {
        until(&format!("the events have {parts:?}"), || {
            let told = self.types("holdfast events");
            parts.iter().all(|part| told.contains(part))
        });
    }

    /// The answer to a question in JSON.
    pub(crate) fn asks(&self, line: &str) -> Value {
        let text = self.types(&format!("{line} --json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }

    /// The lines of JSON that long work prints: how far it is, and what came of it.
    pub(crate) fn follows(&self, line: &str) -> Vec<Value> {
        let text = self.types(&format!("{line} --json"));
        let parse = |row: &str| serde_json::from_str(row).expect("one object a line");
        text.lines().map(parse).collect()
    }

    /// `curl`, as far as it goes here: the status and the body.
    pub(crate) fn fetches(&self, page: &str) -> (u16, String) {
        let mut stream = TcpStream::connect((self.address, 9260)).expect("it listens");
        write!(
            stream,
            "GET {page} HTTP/1.1\r\nHost: harbour\r\nConnection: close\r\n\r\n"
        )
        .expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    // ---- the server -----------------------------------------------------------------------------

    /// `holdfast serve`, in another window, until it listens.
    #[allow(
        clippy::zombie_processes,
        reason = "it is waited for by its number, as is the one that an upgrade puts in its place"
    )]
    pub(crate) fn starts_the_server(&mut self) {
        let log = std::fs::File::options();
        let log = log.clone().create(true).append(true).open(self.path("log"));
        let mut child = Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(self.path("holdfast.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("a file for the log"))
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("its output");
        self.server = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (said, lines) = channel();
        // It reads on when nobody listens any more, so that the server can always speak.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _unheard = said.send(line);
            }
        });
        let listens = format!("listening on {}", self.portal());
        assert!(lines.iter().any(|line| line == listens), "{}", self.log());
    }

    /// `holdfast server stop`, and waits for the end.
    pub(crate) fn stops_the_server(&mut self) {
        assert_eq!(
            self.types("holdfast server stop"),
            "the server drains and stops\n"
        );
        self.sees_the_end_of_the_server();
    }

    /// `holdfast upgrade`: another process serves when this returns, and the one before has ended.
    pub(crate) fn upgrades_the_server(&mut self) -> Value {
        // The new process comes to this one when its parent ends, and not to the machine's first.
        set_child_subreaper(Some(rustix::process::getpid())).expect("a process may adopt");
        let told = self.asks("holdfast upgrade");
        self.sees_the_end_of_the_server();
        let pid = told["after"]["pid"].as_i64().expect("a process");
        self.server = i32::try_from(pid).ok().and_then(Pid::from_raw);
        told
    }

    fn sees_the_end_of_the_server(&mut self) {
        let server = self.server.take().expect("it runs");
        let ended = waitpid(Some(server), WaitOptions::empty());
        let (_, status) = ended.expect("it is ours").expect("it has ended");
        assert_eq!(status.exit_status(), Some(0), "{}", self.log());
    }

    /// What the server has logged, of all its runs.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).expect("the log")
    }

    /// What everybody can read of the server's process.
    pub(crate) fn process_list(&self) -> String {
        let id = self.server.expect("it runs").as_raw_nonzero();
        let line = std::fs::read(format!("/proc/{id}/cmdline")).expect("our child");
        String::from_utf8_lossy(&line).into_owned()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        if let Some(server) = self.server {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.desk.path().join("log"));
                eprintln!("the server's log:\n{}", log.unwrap_or_default());
            }
            let _gone = kill_process(server, Signal::KILL);
            let _reaped = waitpid(Some(server), WaitOptions::empty());
        }
    }
}

impl Told {
    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    /// What it printed.
    pub(crate) fn succeeds(self) -> String {
        let errors = Self::text(&self.output.stderr);
        let status = self.output.status;
        assert!(status.success(), "{}: {status}\n{errors}", self.line);
        Self::text(&self.output.stdout)
    }

    /// What it said on standard error.
    pub(crate) fn fails(self) -> String {
        let output = Self::text(&self.output.stdout);
        assert!(!self.output.status.success(), "{}: {output}", self.line);
        Self::text(&self.output.stderr)
    }
}

/// Every one of these stands in the text.
#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// None of these stands in the text.
#[track_caller]
pub(crate) fn has_not(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(!text.contains(part), "{part:?} is in:\n{text}");
    }
}

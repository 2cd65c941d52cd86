//! A server of this very program, started to be measured.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::study::Settings;
use crate::iscsi::settings::system_entropy;
use crate::load::address::Address;

/// The line before which the server is not ready, up to the address.
const READY: &str = "listening on ";
/// Name of the volume that it gets.
const VOLUME: &str = "measured";

/// What is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program.
    pub program: PathBuf,
    /// Profile by name or file, as `serve --profile` takes it.
    pub profile: String,
    /// The knobs of the profile, for the report.
    pub knobs: String,
    /// Cores of its reactors, as `serve --cores` takes them; none leaves them to the profile.
    pub cores: Option<String>,
    /// Backend of its volume, as `volume create --backend` takes it.
    pub backend: String,
    /// Bytes of its volume.
    pub volume_bytes: u64,
    /// Sessions that the volume admits.
    pub sessions_max: usize,
}

impl Setup {
    fn settings(&self) -> Settings {
        vec![
            ("server's program", self.program.display().to_string()),
            ("profile", self.profile.clone()),
            (
                "server's cores",
                self.cores
                    .clone()
                    .unwrap_or_else(|| "the profile's".to_owned()),
            ),
            ("backend", self.backend.clone()),
            ("volume", format!("{} bytes", self.volume_bytes)),
            ("profile's knobs", self.knobs.clone()),
        ]
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// This machine does not give what is needed.
    #[error("a server can't be started")]
    System(#[from] io::Error),
    /// It ended before it was ready, and said so on standard error.
    #[error("the server ended before it was ready; its last words: {0}")]
    Ended(String),
    /// It refused to make the volume.
    #[error("the server made no volume: {0}")]
    Volume(String),
}

/// A running server with one volume, in a directory of its own. Dropped, it is killed by its process
/// id and its directory is removed: nothing in it is worth a drain.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Kept open, so that the server's later lines find a reader's end.
    _output: BufReader<ChildStdout>,
    directory: Directory,
    address: Address,
    settings: Settings,
}

impl Server {
    /// Starts a server on a free loopback port and makes its volume.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(setup: &Setup) -> Result<Self, ServerError> {
        let directory = Directory::make()?;
        let errors = directory.0.join("errors.log");
        let mut command = Command::new(&setup.program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"])
            .args(["--profile", &setup.profile])
            .arg("--data")
            .arg(directory.0.join("data"))
            .arg("--control")
            .arg(directory.control());
        if let Some(cores) = &setup.cores {
            command.args(["--cores", cores]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&errors)?)
            .spawn()?;
        let output = child.stdout.take().map(BufReader::new);
        let mut started = Started(Some(child));
        let mut output = output.ok_or_else(|| io::Error::other("no standard output"))?;
        let Some(portal) = portal(&mut output)? else {
            let words = fs::read_to_string(&errors).unwrap_or_default();
            let last = words.lines().last().unwrap_or("none").to_owned();
            return Err(ServerError::Ended(last));
        };
        let address = make_volume(setup, &directory, &portal)?;
        let child = started.0.take();
        let child = child.ok_or_else(|| io::Error::other("the server is gone"))?;
        Ok(Self {
            child,
            _output: output,
            directory,
            address,
            settings: setup.settings(),
        })
    }

    /// Its volume.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What it was started with, its profile's knobs among it.
    #[must_use]
    pub fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// CPU time that its threads have used, from `/proc/PID/task/*/schedstat`, whose unit is the
    /// nanosecond where that of `/proc/PID/stat` is the tick. Exact to the scheduler's last tick;
    /// `None` where the kernel does not tell.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).ok()?;
        let mut nanos = 0_u64;
        for task in tasks {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(nanos))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("no process id"))?;
        Ok(kill_process(id, signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        tracing::debug!(directory = %self.directory.0.display(), "ended a measured server");
    }
}

/// A child that is killed unless it is taken over.
struct Started(Option<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Kills the child, stopped or not. It was not waited for before, so its id is still its own.
fn end(child: &mut Child) {
    let _ = child.kill().and_then(|()| child.wait());
}

/// Reads up to the line that names the portal; `None` when the output ends first.
fn portal(output: &mut impl BufRead) -> io::Result<Option<String>> {
    for line in output.lines() {
        if let Some(portal) = line?.strip_prefix(READY) {
            return Ok(Some(portal.trim().to_owned()));
        }
    }
    Ok(None)
}

fn make_volume(setup: &Setup, directory: &Directory, portal: &str) -> Result<Address, ServerError> {
    let control = |arguments: &[&str]| -> io::Result<Output> {
        Command::new(&setup.program)
            .args(["volume"])
            .args(arguments)
            .arg("--control")
            .arg(directory.control())
            .stdin(Stdio::null())
            .output()
    };
    let made = control(&[
        "create",
        VOLUME,
        "--backend",
        &setup.backend,
        "--size",
        &format!("{}B", setup.volume_bytes),
        "--sessions-max",
        &setup.sessions_max.to_string(),
    ])?;
    let refused = |output: &Output| {
        let words = String::from_utf8_lossy(&output.stderr);
        ServerError::Volume(words.trim().to_owned())
    };
    if !made.status.success() {
        return Err(refused(&made));
    }
    let shown = control(&["show", VOLUME, "--json"])?;
    if !shown.status.success() {
        return Err(refused(&shown));
    }
    let wrong = |told: String| ServerError::Volume(format!("an answer that is none: {told}"));
    let volume: serde_json::Value =
        serde_json::from_slice(&shown.stdout).map_err(|error| wrong(error.to_string()))?;
    let iqn = volume["iqn"].as_str().unwrap_or_default();
    format!("iscsi://{portal}/{iqn}/0")
        .parse()
        .map_err(|error: crate::load::AddressError| wrong(error.to_string()))
}

/// A new directory among the temporary ones, removed with everything in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn make() -> io::Result<Self> {
        let mut random = [0; 8];
        system_entropy(&mut random).map_err(io::Error::other)?;
        let name = format!("holdfast-compare-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn control(&self) -> PathBuf {
        Path::new(&self.0).join("control.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is in the directory of temporary files, where it may be left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

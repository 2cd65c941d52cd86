//! A server of this very program, started to be measured.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::scratch::Directory;
use super::study::Settings;
use crate::load::address::Address;

/// The line before which the server is not ready, up to the address.
const READY: &str = "listening on ";
/// Name of the volume that it gets.
pub const VOLUME: &str = "measured";

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
    portal: String,
    address: Address,
    setup: Setup,
    settings: Settings,
}

impl Server {
    /// Starts a server on a free loopback port and makes its volume.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(setup: &Setup) -> Result<Self, ServerError> {
        let directory = Directory::make()?;
        let errors = directory.path().join("errors.log");
        let mut command = Command::new(&setup.program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"])
            .args(["--profile", &setup.profile])
            .arg("--data")
            .arg(directory.path().join("data"))
            .arg("--control")
            .arg(control(&directory));
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
        make_volume(setup, &directory, VOLUME)?;
        let address = find_volume(setup, &directory, &portal, VOLUME)?;
        let child = started.0.take();
        let child = child.ok_or_else(|| io::Error::other("the server is gone"))?;
        Ok(Self {
            child,
            _output: output,
            directory,
            portal,
            address,
            setup: setup.clone(),
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

    /// Bytes of its memory: its proportional share of what is resident, and its huge pages, from
    /// `/proc/PID/smaps_rollup`; `None` where the kernel does not tell.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id())).ok()?;
        memory_in(&text)
    }

    /// Makes another volume like its own, under that name.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn add_volume(&self, name: &str) -> Result<Address, ServerError> {
        make_volume(&self.setup, &self.directory, name)?;
        find_volume(&self.setup, &self.directory, &self.portal, name)
    }

    /// Sets what of a volume may be set while it is used, by the arguments of `volume set`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn set_volume(&self, name: &str, arguments: &[&str]) -> Result<(), ServerError> {
        let all = [&["set", name], arguments].concat();
        volume(&self.setup, &self.directory, &all).map(drop)
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
        tracing::debug!(directory = %self.directory.path().display(), "ended a measured server");
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

/// `Pss` and both kinds of huge pages, which are in no `Pss`; in the file's unit, KiB.
fn memory_in(smaps_rollup: &str) -> Option<u64> {
    let kib = |key: &str| {
        let line = smaps_rollup.lines().find_map(|line| line.strip_prefix(key));
        line?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let huge = ["Private_Hugetlb:", "Shared_Hugetlb:"].map(|key| kib(key).unwrap_or(0));
    Some((kib("Pss:")? + huge.iter().sum::<u64>()) * 1024)
}

fn make_volume(setup: &Setup, directory: &Directory, name: &str) -> Result<(), ServerError> {
    volume(
        setup,
        directory,
        &[
            "create",
            name,
            "--backend",
            &setup.backend,
            "--size",
            &format!("{}B", setup.volume_bytes),
            "--sessions-max",
            &setup.sessions_max.to_string(),
        ],
    )
    .map(drop)
}

fn find_volume(
    setup: &Setup,
    directory: &Directory,
    portal: &str,
    name: &str,
) -> Result<Address, ServerError> {
    let shown = volume(setup, directory, &["show", name, "--json"])?;
    let wrong = |told: String| ServerError::Volume(format!("an answer that is none: {told}"));
    let volume: serde_json::Value =
        serde_json::from_slice(&shown).map_err(|error| wrong(error.to_string()))?;
    let iqn = volume["iqn"].as_str().unwrap_or_default();
    format!("iscsi://{portal}/{iqn}/0")
        .parse()
        .map_err(|error: crate::load::AddressError| wrong(error.to_string()))
}

/// What `holdfast volume` prints, asked of the server in `directory`.
fn volume(
    setup: &Setup,
    directory: &Directory,
    arguments: &[&str],
) -> Result<Vec<u8>, ServerError> {
    let output = Command::new(&setup.program)
        .arg("volume")
        .args(arguments)
        .arg("--control")
        .arg(control(directory))
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(ServerError::Volume(words.trim().to_owned()));
    }
    Ok(output.stdout)
}

/// Its control socket.
fn control(directory: &Directory) -> PathBuf {
    directory.path().join("control.sock")
}

#[cfg(test)]
mod tests {
    use super::memory_in;

    #[test]
    fn memory_is_the_share_and_the_huge_pages() {
        let text = "5566-7788 ---p 00000000 00:00 0  [rollup]\nRss:   9000 kB\nPss:   7000 kB\n\
                    Pss_Dirty:  6000 kB\nShared_Hugetlb: 0 kB\nPrivate_Hugetlb:  2048 kB\n";
        assert_eq!(memory_in(text), Some((7000 + 2048) * 1024));
        assert_eq!(memory_in("Rss: 9000 kB\n"), None);
    }
}

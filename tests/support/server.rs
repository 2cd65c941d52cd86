//! The built binary as a child process: started, asked over its control socket, stopped or killed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tempfile::TempDir;

use super::confine;
use super::initiator::Initiator;
use super::login::Login;
use super::seccomp;

const BINARY: &str = env!("CARGO_BIN_EXE_holdfast");
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The socket engine of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Auto,
    Uring,
    Mio,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Mio => "mio",
        }
    }

    /// Some containers forbid io_uring; a test of it has nothing to judge there.
    fn is_permitted(self) -> bool {
        self != Self::Uring || io_uring::IoUring::new(2).is_ok()
    }
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub engine: Engine,
    pub reactors: usize,
    pub backend: &'static str,
    /// Portals on the command line; empty where the configuration names them.
    pub listen: Vec<String>,
    /// How many portals there are.
    pub portals: usize,
    pub arguments: Vec<String>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// TOML of a configuration file.
    pub config: Option<String>,
    /// A file of CHAP accounts, which the configuration then names.
    pub accounts: Option<String>,
    /// The kernel refuses io_uring to the server.
    pub io_uring_forbidden: bool,
    /// Sockets are received from and sent to directly while a reactor polls.
    pub direct_sockets: bool,
    /// Permissions and limits of the file system apply to the server, even as root.
    pub confined: bool,
    data: Arc<TempDir>,
}

impl Setup {
    pub fn new(engine: Engine, reactors: usize, backend: &'static str) -> Self {
        Self {
            engine,
            reactors,
            backend,
            listen: vec!["127.0.0.1:0".to_owned()],
            portals: 1,
            arguments: Vec::new(),
            environment: Vec::new(),
            config: None,
            accounts: None,
            io_uring_forbidden: false,
            // A way of the io_uring engine alone; both of its ways want to be judged.
            direct_sockets: engine == Engine::Uring && reactors > 1,
            confined: false,
            data: Arc::new(temporary_directory(Path::new(env!("CARGO_TARGET_TMPDIR")))),
        }
    }

    /// The data directory lies in that one, such as on a file system of its own.
    pub fn data_in(mut self, parent: &Path) -> Self {
        self.data = Arc::new(temporary_directory(parent));
        self
    }

    pub fn listen(mut self, portals: &[&str]) -> Self {
        self.listen = portals.iter().map(|portal| (*portal).to_owned()).collect();
        self.portals = portals.len();
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The configuration names the portals, that many.
    pub fn portals_configured(mut self, portals: usize) -> Self {
        self.listen.clear();
        self.portals = portals;
        self
    }

    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    pub fn accounts(mut self, toml: &str) -> Self {
        self.accounts = Some(toml.to_owned());
        self
    }

    pub fn io_uring_forbidden(mut self) -> Self {
        self.io_uring_forbidden = true;
        self
    }

    pub fn confined(mut self) -> Self {
        self.confined = true;
        self
    }

    /// The data directory; it lives as long as the last setup or server that names it.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(failure) => panic!("the server does not start: {failure:?}"),
        }
    }

    /// Starts a server; hands back how it ended when it did not come up.
    pub fn try_start(&self) -> Result<Server, StartFailure> {
        Server::spawn(self)
    }

    /// Whether this machine can run the setup; says so when it can't.
    pub fn is_possible(&self) -> bool {
        let possible = self.engine.is_permitted();
        if !possible {
            super::skip("io_uring is not permitted here");
        }
        possible
    }
}

impl Default for Setup {
    /// One mio reactor and RAM: for tests that judge nothing below the protocol.
    fn default() -> Self {
        Self::new(Engine::Mio, 1, "ram")
    }
}

fn temporary_directory(parent: &Path) -> TempDir {
    tempfile::Builder::new()
        .prefix("holdfast-")
        .tempdir_in(parent)
        .expect("a temporary directory")
}

/// How a server ended that never came up.
#[derive(Debug)]
pub struct StartFailure {
    pub status: ExitStatus,
    pub output: Vec<String>,
    pub errors: String,
}

/// A volume as `volume show --json` tells it.
#[derive(Clone, Debug)]
pub struct Volume {
    pub name: String,
    pub iqn: String,
    pub bytes: u64,
}

/// A running server. Dropping it kills that process and no other.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The process that serves, once `upgrade` has put one in the child's place. It is ours to end: this
    /// process takes in those whose parents have ended.
    successor: Option<Pid>,
    /// It was killed, and has been reaped.
    is_killed: bool,
    pub portals: Vec<SocketAddr>,
    /// Everything it printed until it listened.
    pub banner: Vec<String>,
    pub setup: Setup,
    lines: Receiver<String>,
    control: PathBuf,
    errors: PathBuf,
    _sockets: TempDir,
}

impl Server {
    fn spawn(setup: &Setup) -> Result<Self, StartFailure> {
        let sockets = temporary_directory(&std::env::temp_dir()); // short enough for sun_path
        let control = sockets.path().join("control");
        let errors = sockets.path().join("stderr");
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--data").arg(setup.data());
        command.arg("--control").arg(&control);
        command.args(["--engine", setup.engine.name()]);
        command.args(["--reactors", &setup.reactors.to_string()]);
        command.args(["--profile", "efficiency"]);
        for portal in &setup.listen {
            command.args(["--listen", portal]);
        }
        if let Some(path) = write_configuration(setup, sockets.path()) {
            command.arg("--config").arg(path);
        }
        command.args(&setup.arguments);
        command.envs(setup.environment.iter().cloned());
        if setup.io_uring_forbidden {
            seccomp::forbid_io_uring(&mut command);
        }
        if setup.confined {
            confine::confine(&mut command);
        }
        let errors_file = File::create(&errors).expect("a file for stderr");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors_file)
            .spawn()
            .expect("the binary starts");
        let lines = read_lines(&mut child);
        let mut server = Self {
            child,
            successor: None,
            is_killed: false,
            portals: Vec::new(),
            banner: Vec::new(),
            setup: setup.clone(),
            lines,
            control,
            errors,
            _sockets: sockets,
        };
        if server.wait_until_listening() {
            Ok(server)
        } else {
            let status = server.child.wait().expect("the server is our child");
            let output = std::mem::take(&mut server.banner);
            Err(StartFailure {
                status,
                output,
                errors: server.errors(),
            })
        }
    }

    fn wait_until_listening(&mut self) -> bool {
        while self.portals.len() < self.setup.portals {
            match self.lines.recv_timeout(START_TIMEOUT) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("listening on ") {
                        self.portals
                            .push(address.trim().parse().expect("an address and port"));
                    }
                    self.banner.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no `listening on` line in time; stderr:\n{}", self.errors())
                }
            }
        }
        true
    }

    /// The rest of what it prints until its output ends.
    pub fn remaining_output(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(STOP_TIMEOUT).ok()).collect()
    }

    /// What stands on its standard error so far.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    pub fn portal(&self) -> SocketAddr {
        self.portals[0]
    }

    /// The control socket.
    pub fn control(&self) -> &std::path::Path {
        &self.control
    }

    pub fn process_id(&self) -> u32 {
        let successor = self.successor.map(|pid| pid.as_raw_nonzero().get());
        successor.map_or(self.child.id(), |pid| pid.unsigned_abs())
    }

    fn pid(&self) -> Pid {
        let own = || i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        self.successor.or_else(own).expect("a process id")
    }

    /// `holdfast upgrade --json`; what it tells. The process that served has ended well when this
    /// returns.
    pub fn upgrade(&mut self, arguments: &[&str]) -> Value {
        let told = self.upgrade_elsewhere(arguments)();
        self.succeed(&told);
        told
    }

    /// Whoever serves next is taken in by this process, and not by the first one of the machine.
    pub fn take_in_orphans(&self) {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .expect("a process may adopt");
    }

    /// What does the same on any thread, up to its answer; [`Server::succeed`] is to follow.
    pub fn upgrade_elsewhere(&self, arguments: &[&str]) -> impl FnOnce() -> Value + Send + use<> {
        self.take_in_orphans();
        let mut command = Command::new(BINARY);
        command.args(["upgrade", "--json"]).args(arguments);
        command
            .arg("--control")
            .arg(&self.control)
            .stdin(Stdio::null());
        move || {
            let output = command.output().expect("the binary starts");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "upgrade: {errors}");
            serde_json::from_slice(&output.stdout).expect("it answers in JSON")
        }
    }

    /// Another process serves, as `upgrade` told: waits for the end of the one before.
    pub fn succeed(&mut self, told: &Value) {
        assert_eq!(told["before"]["pid"], self.process_id());
        let status = self.reap();
        assert!(status.success(), "the process before ended with {status}");
        let pid = told["after"]["pid"].as_i64().expect("a process id");
        self.successor = i32::try_from(pid).ok().and_then(Pid::from_raw);
        assert!(self.successor.is_some(), "{told}");
    }

    /// Waits for the end of the process that serves, or did.
    fn reap(&mut self) -> ExitStatus {
        match self.successor {
            None => self.child.wait().expect("the server is our child"),
            Some(pid) => {
                let ended = waitpid(Some(pid), WaitOptions::empty());
                let (_, status) = ended.expect("we took it in").expect("it has ended");
                ExitStatus::from_raw(status.as_raw())
            }
        }
    }

    /// Runs a subcommand against this server.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY)
            .args(arguments)
            .arg("--control")
            .arg(&self.control)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    }

    /// Runs a subcommand that must succeed; its standard output.
    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{errors}",
            output.status
        );
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// Runs a subcommand with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Makes a volume on the setup's backend; `size` as `--size` takes it.
    pub fn create(&self, name: &str, size: &str) -> Volume {
        self.text(&[
            "volume",
            "create",
            name,
            "--size",
            size,
            "--backend",
            self.setup.backend,
        ]);
        self.volume(name)
    }

    /// A volume of the usual size for tests that move little data.
    pub fn create_small(&self, name: &str) -> Volume {
        self.create(name, "64MiB")
    }

    pub fn volume(&self, name: &str) -> Volume {
        let shown = self.json(&["volume", "show", name]);
        let text = |key: &str| {
            shown[key]
                .as_str()
                .unwrap_or_else(|| panic!("{key} in {shown}"))
        };
        Volume {
            name: name.to_owned(),
            iqn: text("iqn").to_owned(),
            bytes: shown["size_bytes"]
                .as_u64()
                .expect("size_bytes is a number"),
        }
    }

    /// Volumes as `volume list --json` lists them.
    pub fn volumes(&self) -> Vec<Value> {
        let listed = self.json(&["volume", "list"]);
        let list = listed.get("volumes").unwrap_or(&listed);
        list.as_array()
            .unwrap_or_else(|| panic!("a list of volumes: {listed}"))
            .clone()
    }

    /// Open sessions of a volume as `volume show` counts them.
    pub fn session_count(&self, volume: &Volume) -> u64 {
        let shown = self.json(&["volume", "show", &volume.name]);
        match &shown["sessions"] {
            Value::Array(sessions) => sessions.len() as u64,
            count => count
                .as_u64()
                .unwrap_or_else(|| panic!("sessions in {shown}")),
        }
    }

    /// A login of initiator `name` to a volume through the first portal.
    pub fn login(&self, volume: &Volume, name: &str) -> Login {
        Login::new(self.portal(), &volume.iqn, name)
    }

    /// A session of initiator `name` with no unit attention left from the login.
    pub fn session(&self, volume: &Volume, name: &str) -> Initiator {
        let mut session = self.login(volume, name).connect();
        session.take_attentions();
        session
    }

    /// The same, with the unit attentions that it had.
    pub fn session_with_attentions(
        &self,
        volume: &Volume,
        name: &str,
    ) -> (Initiator, Vec<(u8, u8, u8)>) {
        let mut session = self.login(volume, name).connect();
        let attentions = session.take_attentions();
        (session, attentions)
    }

    /// `kill -9`: nothing of the process runs after this returns.
    pub fn kill_now(&mut self) {
        if !std::mem::replace(&mut self.is_killed, true) {
            kill_process(self.pid(), Signal::KILL).expect("the server is ours");
            self.reap();
        }
    }

    /// `kill -9`; the setup starts it again on the same data.
    pub fn kill(mut self) -> Setup {
        self.kill_now();
        self.setup.clone()
    }

    /// Bounds how long the server's files may get, in bytes; `None` takes the bound away.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("the server is our child");
    }

    /// Writes its configuration file anew; the server learns of it when it is asked to read it again.
    pub fn reconfigure(&self, toml: &str) {
        let path = self._sockets.path().join("holdfast.toml");
        std::fs::write(path, toml).expect("the configuration is written");
    }

    /// Sends SIGHUP and does not wait.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).expect("it runs");
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&self) {
        kill_process(self.pid(), Signal::TERM).expect("it still runs");
    }

    /// Waits until the process has ended by itself.
    pub fn wait(mut self) -> (ExitStatus, Setup) {
        let _closed = self.remaining_output();
        let status = self.reap();
        self.successor = None;
        (status, self.setup.clone())
    }

    /// SIGTERM and a clean exit; the setup starts it again on the same data.
    pub fn stop(self) -> Setup {
        self.ask_to_stop();
        let errors = self.errors.clone();
        let kept = std::fs::File::open(errors);
        let (status, setup) = self.wait();
        assert!(
            status.success(),
            "SIGTERM ends in {status}, stderr {kept:?}"
        );
        setup
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_killed {
            // Its number may be somebody else's by now.
        } else if let Some(pid) = self.successor {
            let _gone = kill_process(pid, Signal::KILL);
            let _reaped = waitpid(Some(pid), WaitOptions::empty());
        } else if let Ok(None) = self.child.try_wait() {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- stderr of the server ---\n{}", self.errors());
        }
    }
}

/// A loopback address that nobody else uses, for portals whose ports must be known beforehand: the
/// whole of 127.0.0.0/8 is this machine.
pub fn own_loopback_address() -> Ipv4Addr {
    static ADDRESSES: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, ADDRESSES.fetch_add(1, Ordering::Relaxed))
}

/// Runs the binary without a server.
pub fn holdfast(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// Writes the configuration file, if the setup needs one, and the accounts that it names.
fn write_configuration(setup: &Setup, directory: &Path) -> Option<PathBuf> {
    let mut toml = setup.config.clone();
    if let Some(accounts) = &setup.accounts {
        let path = directory.join("accounts.toml");
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .expect("a file for the accounts");
        file.write_all(accounts.as_bytes())
            .expect("the accounts are written");
        let access = format!("[access]\nchap_accounts = {path:?}\n");
        toml = Some(toml.unwrap_or_default() + &access);
    }
    if setup.direct_sockets {
        let text = toml.unwrap_or_default();
        let knob = "[tuning]\ndirect_sockets = 16\n";
        toml = Some(match text.split_once("[tuning]\n") {
            Some((before, knobs)) => format!("{before}{knob}{knobs}"),
            None => format!("{text}\n{knob}"),
        });
    }
    let path = directory.join("holdfast.toml");
    std::fs::write(&path, toml?).expect("the configuration is written");
    Some(path)
}

fn read_lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let stdout = child.stdout.take().expect("stdout is a pipe");
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

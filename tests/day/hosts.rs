//! The hosts: initiators that share no code with Holdfast.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::office::{Office, SECRET, Told, USER};

/// How long a host may take to answer. A login that was refused is tried again after seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const PROMPT: &str = "qemu-io> ";
/// An address where nobody listens.
const NOWHERE: &str = "iscsi://127.0.0.1:1/iqn.2024-01.test:none/0";

fn qemu(variable: &str, program: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| program.into())
}

/// Passes if every program that plays a host is there; `tests/run day` installs them.
pub(crate) fn are_installed() -> Result<(), String> {
    let told = |program: &OsString, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.map_err(|error| format!("{}: {error}", program.display()))
    };
    for program in ["iscsi-ls", "iscsi-inq", "iscsi-readcapacity16"] {
        told(&program.into(), "--help")?;
    }
    told(&"qemu-img".into(), "--version")?;
    let (image, io) = (qemu("QEMU_IMG", "qemu-img"), qemu("QEMU_IO", "qemu-io"));
    told(&io, "--version")?;
    let tried = Command::new(&image).args(["info", NOWHERE]).output();
    let tried = tried.map_err(|error| format!("{}: {error}", image.display()))?;
    let said = String::from_utf8_lossy(&tried.stderr);
    match said.contains("onnect") {
        true => Ok(()),
        false => Err("QEMU has no iSCSI driver (Debian package qemu-block-extra)".to_owned()),
    }
}

/// An iSCSI name.
pub(crate) fn named(host: &str) -> String {
    format!("iqn.2024-01.test:{host}")
}

// ---- libiscsi's tools -----------------------------------------------------------------------------

/// Runs one of libiscsi's tools as a host of that name; with a secret it proves itself as [`USER`].
pub(crate) fn tool(office: &Office, line: &str, host: &str, secret: Option<&str>) -> Told {
    let name = named(host);
    let line = format!("{line} -i {name}");
    match secret {
        None => office.tries(&line),
        // Not among its arguments, which everybody can see.
        Some(secret) => {
            let account = [
                ("LIBISCSI_CHAP_USERNAME", USER),
                ("LIBISCSI_CHAP_PASSWORD", secret),
            ];
            office.tries_with(&line, &account)
        }
    }
}

/// The size that libiscsi reads, in bytes.
pub(crate) fn capacity(office: &Office, volume: &str) -> u64 {
    let line = format!("iscsi-readcapacity16 --size {}", office.url(volume));
    let told = tool(office, &line, "db1", Some(SECRET)).succeeds();
    told.trim().parse().expect("a number")
}

/// `qemu-img compare` of an image with a volume; it must find no difference.
pub(crate) fn compare(office: &Office, image: &str, format: &str, volume: &str) {
    let told = Command::new(qemu("QEMU_IMG", "qemu-img"))
        .args(["compare", "--object"])
        .arg(format!("secret,id=chap,file={}", office.file("secret")))
        .arg("--image-opts")
        .arg(format!(
            "driver={format},file.driver=file,file.filename={}",
            office.file(image)
        ))
        .arg(format!(
            "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={},file.target={},\
             file.lun=0,file.initiator-name={},file.user={USER},file.password-secret=chap",
            office.portal(),
            office.target(volume),
            named("db2")
        ))
        .output()
        .expect("qemu-img");
    assert!(told.status.success(), "{image} and {volume}: {told:?}");
}

// ---- a program that is told what to do -------------------------------------------------------------

/// A child that is spoken to on its standard input, and answers on its standard output.
struct Talking {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<u8>,
}

impl Talking {
    fn with(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdout = child.stdout.take().expect("its output");
        let (said, output) = channel();
        // It ends with the pipe.
        std::thread::spawn(move || {
            let mut byte = [0];
            while let Ok(1) = stdout.read(&mut byte) {
                if said.send(byte[0]).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            output,
        }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it listens");
        writeln!(input, "{line}").expect("it listens");
    }

    /// What it says up to that.
    fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(byte) => heard.push(byte),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&heard)),
            }
        }
        heard.truncate(heard.len() - end.len());
        String::from_utf8(heard).expect("text")
    }

    fn wait(&mut self) {
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

// ---- QEMU ------------------------------------------------------------------------------------------

/// A guest of QEMU, whose disk is a volume; in place of the guest's system, qemu-io does what is said.
pub(crate) struct Guest(Talking);

impl Guest {
    /// Runs the script that `holdfast connect --client qemu` has printed.
    pub(crate) fn boots(office: &Office, script: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/day");
        let mut command = Command::new("sh");
        command
            .arg(office.path(script))
            .env("QEMU", here.join("guest"))
            .env("HOLDFAST_SECRET_FILE", office.path("secret"))
            .stderr(std::fs::File::create(office.path("guest.log")).expect("a file"));
        let mut talking = Talking::with(command);
        assert_eq!(talking.hear(PROMPT), "");
        Self(talking)
    }

    /// What qemu-io says to a command.
    pub(crate) fn does(&mut self, command: &str) -> String {
        self.0.say(command);
        self.0.hear(PROMPT)
    }

    /// Fills a range, such as `1M 64k`, with a byte.
    pub(crate) fn writes(&mut self, byte: u8, range: &str) {
        let said = self.does(&format!("write -P {byte} {range}"));
        assert!(said.starts_with("wrote "), "{range}: {said}");
        assert_eq!(self.does("flush"), "");
    }

    /// Passes if every byte of a range is that one.
    #[track_caller]
    pub(crate) fn reads(&mut self, byte: u8, range: &str) {
        let said = self.does(&format!("read -P {byte} {range}"));
        assert!(said.starts_with("read "), "{range}: {said}");
    }

    /// Shuts down: it logs out.
    pub(crate) fn shuts_down(mut self) {
        self.0.say("quit");
        self.0.wait();
    }
}

// ---- a node of a cluster ---------------------------------------------------------------------------

/// A node of a cluster, with a session of libiscsi's.
pub(crate) struct Node(Talking);

impl Node {
    /// Logs in to a volume of the group `databases`.
    pub(crate) fn joins(office: &Office, host: &str, volume: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/day");
        let mut command = Command::new(here.join("node"));
        command
            .args([&office.portal(), &office.target(volume), host])
            .args(["--user", USER, "--secret-file"])
            .arg(office.path("secret"));
        let mut talking = Talking::with(command);
        assert_eq!(talking.hear("\n"), "good", "{host} logs in");
        Self(talking)
    }

    /// Does one thing, such as `register a1`; what came of it.
    pub(crate) fn does(&mut self, command: &str) -> String {
        self.0.say(command);
        self.0.hear("\n")
    }

    /// Logs out.
    pub(crate) fn leaves(mut self) {
        assert_eq!(self.does("logout"), "good");
        self.0.wait();
    }
}

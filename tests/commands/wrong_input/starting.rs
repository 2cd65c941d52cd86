//! Servers that can't start where they are told to, and commands that find no server they may ask.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::house::{House, serve_with};
use crate::support::confine::confine;
use crate::transcript::Transcript;

/// What is wrong, and the flags of `serve`: `{DATA}`, `{PORTAL}`, `{CONTROL}` are the running server's,
/// `{HERE}` is a directory beside them.
const ROWS: [(&str, &str); 17] = [
    ("a port in use", "--data {HERE}/new --listen {PORTAL}"),
    (
        "an address of another host",
        "--data {HERE}/new --listen 192.0.2.1:3260",
    ),
    (
        "a port for metrics in use",
        "--data {HERE}/new --listen 127.0.0.1:0 --metrics {PORTAL}",
    ),
    (
        "the data of a running server",
        "--data {DATA} --listen 127.0.0.1:0 --control {HERE}/control",
    ),
    (
        "the socket of a running server",
        "--data {HERE}/new --listen 127.0.0.1:0 --control {CONTROL}",
    ),
    (
        "a file for a data directory",
        "--data {HERE}/file --listen 127.0.0.1:0",
    ),
    (
        "a data directory below a file",
        "--data {HERE}/file/data --listen 127.0.0.1:0",
    ),
    (
        "a data directory that can't be made",
        "--data {HERE}/closed/data --listen 127.0.0.1:0",
    ),
    (
        "a data directory that can't be written",
        "--data {HERE}/closed --listen 127.0.0.1:0",
    ),
    (
        "a socket in no directory",
        "--data {HERE}/new --listen 127.0.0.1:0 --control {HERE}/none/control",
    ),
    (
        "a socket where a file is",
        "--data {HERE}/new --listen 127.0.0.1:0 --control {HERE}/file",
    ),
    (
        "a socket where everyone may write",
        "--data {HERE}/new --listen 127.0.0.1:0 --control {HERE}/open/control",
    ),
    (
        "a socket of too long a path",
        "--data {HERE}/new --listen 127.0.0.1:0 --control {HERE}/a-name-that-is-much-longer-than-what-the-kernel-takes-for-the-path-of-a-socket-which-is-one-hundred-and-seven-bytes",
    ),
    (
        "a portal without a port's number",
        "--data {HERE}/new --listen 127.0.0.1:iscsi",
    ),
    (
        "more addresses than portals",
        "--data {HERE}/new --listen 127.0.0.1:0 --advertise 10.0.0.1:3260 --advertise 10.0.0.2:3260",
    ),
    ("an engine of no name", "--data {HERE}/new --engine steam"),
    (
        "a profile that is no profile",
        "--data {HERE}/new --listen 127.0.0.1:0 --profile {HERE}/profile.toml",
    ),
];

#[test]
fn servers_that_do_not_start() {
    let mut house = House::new();
    let here = house.server.setup.data().with_file_name("beside");
    let mode = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(here.join(name), permissions).expect("ours");
    };
    for directory in ["", "closed", "open"] {
        std::fs::create_dir(here.join(directory)).expect("a directory");
    }
    mode("closed", 0o500);
    mode("open", 0o777);
    std::fs::write(here.join("file"), "somebody's").expect("a file");
    std::fs::write(here.join("profile.toml"), "idel = \"spin\"\n").expect("a file");
    let text = |path: &std::path::Path| path.to_str().expect("plain").to_owned();
    let words = [
        ("{DATA}", text(&house.server.setup.data())),
        ("{PORTAL}", house.server.portal().to_string()),
        ("{CONTROL}", text(house.server.control())),
        ("{HERE}", text(&here)),
    ];
    let mut told = String::new();
    for (wrong, line) in ROWS {
        let line = words.iter().fold(line.to_owned(), |line, (word, value)| {
            line.replace(word, value)
        });
        let arguments: Vec<_> = line.split(' ').collect();
        let output = serve_with(&arguments, confine);
        let mut transcript = Transcript::alone();
        transcript.note(wrong);
        told += transcript
            .record(&format!("serve {line}"), &output)
            .refused();
        house.is_whole(wrong);
        assert_eq!(
            std::fs::read(here.join("file")).expect("it stays"),
            b"somebody's"
        );
    }
    mode("closed", 0o700);
    Transcript::alone().append(&told).matches("wrong_starts");
    house.survives_a_crash();
}

#[test]
fn commands_that_find_no_server() {
    let house = House::new();
    let closed = house.closes();
    let here = closed.data().with_file_name("beside");
    std::fs::create_dir(&here).expect("a directory");
    std::fs::write(here.join("file"), "no socket").expect("a file");
    let path = |name: &str| here.join(name).to_str().expect("plain").to_owned();
    // One that hears nobody any more, one that answers nothing, one that may not be opened.
    drop(UnixListener::bind(path("dead")).expect("a socket"));
    let mute = UnixListener::bind(path("mute")).expect("a socket");
    let hangs_up = std::thread::spawn(move || {
        let (stream, _) = mute.accept().expect("somebody asks");
        // It hears the question, so that the end of the connection is the answer in every run.
        let mut question = String::new();
        BufReader::new(stream)
            .read_line(&mut question)
            .expect("a line");
    });
    let _guarded = UnixListener::bind(path("guarded")).expect("a socket");
    let permissions = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(path("guarded"), permissions).expect("ours");

    let mut transcript = Transcript::alone();
    for (wrong, name) in [
        ("no such socket", "none"),
        ("a file that is no socket", "file"),
        ("a socket of a server that is gone", "dead"),
        ("a socket of something else", "mute"),
        ("a socket of somebody else", "guarded"),
    ] {
        let line = format!("volume delete db-1 --purge --control {}", path(name));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
        confine(command.args(line.split(' ')));
        let output = command.output().expect("the binary starts");
        transcript.note(wrong).record(&line, &output);
        closed.is_untouched(wrong);
    }
    hangs_up.join().expect("it was asked");
    let data = closed.data();
    let data = data.to_str().expect("plain");
    transcript
        .note("a server that is stopped")
        .run(&format!("volume delete db-1 --purge --data {data}"));
    closed.is_untouched("a server that is stopped");
    transcript.matches("wrong_sockets");
    closed.opens();
}

/// A data directory that nobody may write to is looked at by nobody else either.
#[test]
fn a_data_directory_that_can_not_be_written() {
    let closed = House::new().closes();
    let data = closed.data();
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&data, permissions).expect("ours");
    };
    let line = format!("--data {} --listen 127.0.0.1:0", data.display());
    let arguments: Vec<_> = line.split(' ').collect();
    mode(0o500);
    let output = serve_with(&arguments, confine);
    mode(0o700);
    let mut transcript = Transcript::alone();
    transcript
        .record(&format!("serve {line}"), &output)
        .refused();
    transcript.matches("wrong_read_only");
    closed.is_untouched("a read-only directory");
    closed.opens();
}

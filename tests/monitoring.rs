//! What others see of a running server: the metrics page, health and readiness, events, the audit log,
//! the slow-I/O log and `top`; all of it through the program, judged by what initiators did.

mod support;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::cluster::{A, B, Cluster};
use support::login::Login;
use support::reserve::kind;
use support::rig::until;
use support::scsi::{pattern, read16};
use support::server::{Engine, Server, Setup};

fn setup() -> Setup {
    Setup::new(Engine::Auto, 2, "ram")
}

fn watched(config: &str) -> Setup {
    setup()
        .argument("--metrics")
        .argument("127.0.0.1:0")
        .config(config)
}

fn metrics_address(server: &Server) -> SocketAddr {
    let mut lines = server.banner.iter();
    let address = lines.find_map(|line| {
        let line = line.strip_prefix("metrics http://")?;
        line.strip_suffix("/metrics")
    });
    address
        .expect("a line that tells it")
        .parse()
        .expect("an address")
}

/// Sends a request; status line and body of the answer.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.lines().next().expect("a status line");
    (status.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"),
    )
}

/// A Python that has Prometheus' own parser (Debian: python3-prometheus-client).
fn python_with_parser() -> &'static str {
    let has_parser = |python: &&str| {
        let mut import = Command::new(python);
        let import = import.args(["-c", "import prometheus_client.openmetrics.parser"]);
        let ended = import.stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    };
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(has_parser)
        .expect("a python3 with prometheus_client; install python3-prometheus-client")
}

#[test]
fn the_page_is_right_by_its_standard_and_the_dashboard_draws_from_it() {
    let setup = watched("[metrics]\nsessions = true\n");
    let Cluster {
        server,
        mut a,
        mut b,
        c: _third,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    a.write_blocks(0, &pattern(1, 64)).good();
    b.read_blocks(0, 64).good();
    b.clear(0x9999).conflict();
    let (status, page) = get(metrics_address(&server), "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let value = |start: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(start));
        let line = line.unwrap_or_else(|| panic!("no {start} in\n{page}"));
        line.trim().parse().expect("a number")
    };
    let of_cluster = r#"volume="cluster",group="default""#;
    let ingress = format!("holdfast_volume_ingress_bytes_total{{{of_cluster}}} ");
    assert_eq!(value(&ingress), 64.0 * 512.0);
    let sessions = format!("holdfast_volume_sessions{{{of_cluster}}} ");
    assert_eq!(value(&sessions), 3.0);
    let clear = format!(
        "holdfast_volume_reservation_commands_total{{{of_cluster},\
         command=\"persistent_reserve_out\",action=\"clear\",result=\"conflict\"}} "
    );
    assert_eq!(value(&clear), 1.0);

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("page");
    std::fs::write(&path, &page).expect("a file");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let judged = Command::new(python_with_parser())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(root.join("tests/support/openmetrics.py"))
        .arg(&path)
        .arg(root.join("tuning/grafana-dashboard.json"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&judged.stdout);
    let errors = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{said}{errors}");
    assert!(said.contains(" 0 complaints"), "{said}");
}

#[test]
fn health_and_readiness_say_what_an_orchestrator_wants_to_know() {
    let server = watched("").start();
    let address = metrics_address(&server);
    assert_eq!(get(address, "/healthz").0, "HTTP/1.1 200 OK");
    let ready = ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned());
    assert_eq!(get(address, "/readyz?verbose"), ready);
    assert!(get(address, "/").1.contains("/metrics"));
    assert_eq!(get(address, "/other").0, "HTTP/1.1 404 Not Found");
    let posted = ask(address, "POST /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(posted.0, "HTTP/1.1 405 Method Not Allowed");
    let (head, body) = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_eq!((head.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(8192));
    assert!(ask(address, &long).0.starts_with("HTTP/1.1 431"));

    // A session that does not log out keeps the drain going for a while.
    let volume = server.create_small("held");
    let session = server.session(&volume, "a");
    server.ask_to_stop();
    until("it is no longer ready", || {
        let (status, why) = get(address, "/readyz");
        status.starts_with("HTTP/1.1 503") && why.starts_with("draining")
    });
    drop(session);
    let (status, _) = server.wait();
    assert!(status.success());
}

#[test]
fn nothing_listens_unless_asked() {
    let server = setup().start();
    assert!(!server.banner.iter().any(|line| line.contains("metrics")));
}

#[test]
fn what_can_not_be_had_is_told_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken
        .local_addr()
        .expect("a bound port has an address")
        .to_string();
    let failed = setup().argument("--metrics").argument(&address).try_start();
    let errors = failed.expect_err("the port is taken").errors;
    let expected = format!("can't serve metrics on {address}: Address already in use");
    assert!(errors.contains(&expected), "{errors}");
    assert!(errors.contains("--metrics ADDR:PORT"), "{errors}");

    let failed = setup()
        .config("[audit]\npath = \"/no/such/audit\"\n")
        .try_start();
    let errors = failed.expect_err("there is no such directory").errors;
    let expected = "the audit log /no/such/audit can't be opened: No such file or directory";
    assert!(errors.contains(expected), "{errors}");

    let failed = setup().config("[log]\nslow_io = \"0ms\"\n").try_start();
    let errors = failed.expect_err("that is no limit").errors;
    assert!(
        errors.contains("expected a time of at least 1ms"),
        "{errors}"
    );
}

/// A process that follows the events.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(server: &Server) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["events", "--follow", "--json", "--control"])
            .arg(server.control())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// The next event of that kind; what comes before it is passed over.
    #[track_caller]
    fn expect(&mut self, kind: &str) -> Value {
        for line in &mut self.lines {
            let event: Value = serde_json::from_str(&line.expect("text")).expect("an object");
            if event["event"] == kind {
                return event;
            }
        }
        panic!("no {kind}");
    }
}

#[test]
fn events_are_told_as_they_happen_and_outlive_the_server() {
    let setup = setup();
    let Cluster {
        server,
        volume,
        mut a,
        b,
        c,
    } = Cluster::registered(&setup);
    let mut follower = Follower::start(&server);
    follower.expect("server_started");
    let made = follower.expect("volume_created");
    assert_eq!(made["volume"], "cluster");
    let login = follower.expect("login");
    assert_eq!(login["address"], "127.0.0.1");
    assert_eq!(login["severity"], "info");

    let refused = Login::new(server.portal(), "iqn.2024-01.test:none", "stranger").try_connect();
    assert!(refused.is_err(), "there is no such target");
    let refusal = follower.expect("login_refused");
    assert_eq!(refusal["severity"], "warning");
    let text = refusal["text"].as_str().expect("text");
    assert!(
        text.contains("iqn.2024-01.test:none") && text.contains("no such target"),
        "{text}"
    );

    a.reserve(kind::WE_RO, A).good();
    a.preempt_and_abort(kind::WE_RO, A, B).good();
    let fence = follower.expect("fence");
    let text = fence["text"].as_str().expect("text");
    assert!(text.starts_with("PREEMPT AND ABORT: "), "{text}");
    assert_eq!(fence["volume"], "cluster");

    b.logout();
    follower.expect("logout");
    c.cut();
    follower.expect("session_lost");
    let again = server.session(&volume, "a");
    follower.expect("session_reinstated");
    drop((a, again));
    let setup = server.stop();
    follower.expect("server_stopping");
    while follower.lines.next().is_some() {}
    let ended = follower.child.wait().expect("our child");
    assert_eq!(ended.code(), Some(3));

    let server = setup.start();
    let told = server.text(&["events", "--since", "1h"]);
    for kind in [
        "server_started",
        "fence",
        "server_stopping",
        "login_refused",
    ] {
        assert!(told.contains(kind), "no {kind} in\n{told}");
    }
    let newest = server.text(&["events", "--limit", "1"]);
    assert!(newest.contains("server_started"), "{newest}");
    assert_eq!(newest.lines().count(), 1);
}

#[test]
fn a_volume_that_fills_up_with_sessions_is_warned_of() {
    let server = setup()
        .config("[limits]\nsessions_per_volume = 2\n")
        .start();
    let volume = server.create_small("small");
    let one = server.session(&volume, "one");
    let two = server.session(&volume, "two");
    let mut follower = Follower::start(&server);
    let near = follower.expect("session_limit_near");
    assert_eq!(near["text"], "2 of at most 2 sessions are logged in");
    assert!(server.login(&volume, "three").try_connect().is_err());
    let refused = follower.expect("login_refused");
    assert_eq!(refused["volume"], "small");
    drop((one, two));
    drop(server);
    let _ended = follower.child.wait().expect("our child");
}

fn audit_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the audit log");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

fn audited(path: &Path) -> Setup {
    setup().config(&format!(
        "[audit]\npath = {:?}\n",
        path.display().to_string()
    ))
}

fn audit_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("audit.jsonl");
    (directory, path)
}

#[test]
fn the_audit_log_tells_who_changed_what() {
    let (_directory, path) = audit_directory();
    let Cluster {
        server,
        mut a,
        mut b,
        ..
    } = Cluster::new(&audited(&path));
    // A command's line is there before its answer.
    let created = audit_lines(&path);
    assert_eq!(
        created.len(),
        1,
        "questions are not written down: {created:?}"
    );
    assert_eq!(created[0]["method"], "volume.create");
    assert_eq!(created[0]["params"]["name"], "cluster");
    assert_eq!(created[0]["result"], "done");
    assert_eq!(created[0]["uid"], rustix::process::getuid().as_raw());
    assert!(created[0]["pid"].as_u64().is_some());
    assert!(
        !server
            .command(&["volume", "delete", "cluster"])
            .status
            .success()
    );
    let refused = audit_lines(&path);
    assert_eq!(refused[1]["result"], "refused");
    let error = refused[1]["error"].as_str().expect("an error");
    assert!(error.contains("sessions"), "{error}");
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    a.register(0, A).good();
    b.register(0, B).good();
    a.clear(0x9999).conflict();
    until("the reservation commands are written down", || {
        audit_lines(&path).len() == 5
    });
    let lines = audit_lines(&path);
    let told = |line: &Value| {
        let key = line["action_key"].as_str().unwrap_or_default().to_owned();
        (line["action"].clone(), line["status"].clone(), key)
    };
    assert_eq!(told(&lines[2]).0, "REGISTER");
    assert_eq!(told(&lines[2]).2, "0x000000000000aaaa");
    assert_eq!(lines[3]["kind"], "reservation");
    assert_eq!(lines[3]["volume"], "cluster");
    assert_eq!(lines[4]["action"], "CLEAR");
    assert_eq!(lines[4]["status"], "RESERVATION CONFLICT");
}

#[test]
fn a_rotated_audit_log_goes_on_in_a_new_file() {
    let (directory, path) = audit_directory();
    let server = audited(&path).start();
    server.text(&["group", "create", "one"]);
    let moved = directory.path().join("audit.1");
    std::fs::rename(&path, &moved).expect("it is ours");
    let pid = i32::try_from(server.process_id()).expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    until("the file is there again", || path.exists());
    server.text(&["group", "create", "two"]);
    assert_eq!(audit_lines(&moved).len(), 1);
    let lines = audit_lines(&path);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["params"]["name"], "two");
    assert!(server.text(&["events"]).contains("audit_reopened"));
}

#[test]
fn a_full_disk_under_the_audit_log_stops_nothing_and_is_told() {
    let server = audited(Path::new("/dev/full")).start();
    let volume = server.create_small("disk");
    let mut session = server.session(&volume, "a");
    session.write_blocks(0, &pattern(1, 8)).good();
    session.register(0, A).good();
    let told = server.text(&["events"]);
    assert!(told.contains("audit_failed"), "{told}");
    assert!(told.contains("/dev/full can't be written"), "{told}");
}

#[test]
fn a_slow_io_is_logged_with_where_its_time_went() {
    let server = setup().config("[log]\nslow_io = \"10ms\"\n").start();
    server.text(&[
        "volume",
        "create",
        "slow",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--delay",
        "50ms",
    ]);
    let volume = server.volume("slow");
    let mut session = server.session(&volume, "a");
    session.write_blocks(0, &pattern(1, 8)).good();
    until("it is told", || server.errors().contains("slow I/O"));
    let errors = server.errors();
    let line = errors
        .lines()
        .find(|line| line.contains("slow I/O"))
        .expect("a line");
    let field = |name: &str| -> u64 {
        let start = line
            .find(&format!("{name}="))
            .unwrap_or_else(|| panic!("no {name}: {line}"));
        let value = &line[start + name.len() + 1..];
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    assert!(
        line.contains("volume=\"slow\"") || line.contains("volume=slow"),
        "{line}"
    );
    assert!(line.contains("direction=\"write\""), "{line}");
    assert_eq!(field("bytes"), 8 * 512);
    assert!(field("backend_us") >= 50_000, "{line}");
    assert!(field("total_us") >= field("backend_us"), "{line}");
    let parts = ["waiting_us", "transfer_us", "queue_us", "backend_us"];
    let sum: u64 = parts.into_iter().map(field).sum();
    assert!(
        sum.abs_diff(field("total_us")) <= 4,
        "the parts are the whole: {line}"
    );
    // More of them within a second are counted and not told.
    let told = |server: &Server| server.errors().matches("slow I/O").count();
    for _ in 0..3 {
        session.read(&read16(0, 1), 512).good();
    }
    assert!(told(&server) < 4, "{}", server.errors());
    assert!(server.text(&["events"]).contains("slow_io"));
}

#[test]
fn nothing_is_slow_unless_a_limit_is_set() {
    let server = setup().start();
    server.text(&[
        "volume",
        "create",
        "slow",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--delay",
        "50ms",
    ]);
    let volume = server.volume("slow");
    server
        .session(&volume, "a")
        .write_blocks(0, &pattern(1, 8))
        .good();
    assert!(!server.errors().contains("slow I/O"));
}

#[test]
fn a_backend_that_fails_is_an_event_and_a_count() {
    let server = watched("").start();
    let wrapper = r#"{"type":"fault","seed":7,"rules":[{"on":"write","when":"always","action":{"fail":"medium"}}]}"#;
    server.text(&[
        "volume",
        "create",
        "bad",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--test-wrapper",
        wrapper,
    ]);
    let volume = server.volume("bad");
    let mut session = server.session(&volume, "a");
    // MEDIUM ERROR, WRITE ERROR.
    let failed = session.write_blocks(0, &pattern(1, 8));
    assert_eq!(failed.sense_code(), (3, 0x0c, 0));
    until("it is an event", || {
        server.text(&["events"]).contains("backend_error")
    });
    let page = get(metrics_address(&server), "/metrics").1;
    let line = r#"holdfast_volume_backend_errors_total{volume="bad",group="default"} 1"#;
    assert!(page.lines().any(|own| own == line), "{page}");
}

#[test]
fn one_look_shows_what_goes_on() {
    let server = setup().start();
    let volume = server.create_small("busy");
    let mut session = server.session(&volume, "a");
    session.register(0, A).good();
    let look = server.json(&["top", "--once", "--interval", "200ms"]);
    let seconds = look["seconds"].as_f64().expect("a number");
    assert!(
        seconds >= Duration::from_millis(200).as_secs_f64(),
        "{seconds}"
    );
    let volumes = look["volumes"].as_array().expect("a list");
    let busy = volumes
        .iter()
        .find(|one| one["name"] == "busy")
        .expect("it is served");
    assert_eq!(
        (busy["sessions"].as_u64(), busy["registrations"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(look["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(look["reactors"].as_array().map(Vec::len), Some(2));
    let text = server.text(&["top", "--once", "--interval", "100ms"]);
    for title in ["VOLUME", "REACTOR", "SESSION", "busy"] {
        assert!(text.contains(title), "{text}");
    }
    let without_terminal = server.command(&["top"]);
    assert_eq!(without_terminal.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&without_terminal.stderr).into_owned();
    assert!(
        errors.contains("the output is no terminal; expected --once"),
        "{errors}"
    );
}

/// In a terminal of its own, which `stty` describes before and after.
#[test]
fn top_leaves_the_terminal_as_it_was() {
    let server = setup().start();
    for key in ["q", "\x03"] {
        let binary = env!("CARGO_BIN_EXE_holdfast");
        let control = server.control().display();
        let settings = "echo settings; stty -a; echo end";
        let line = format!(
            "stty rows 24 cols 120; {settings}; timeout --foreground 60 '{binary}' top --control '{control}'; echo code=$?; {settings}"
        );
        let mut terminal = Command::new("script")
            .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux starts");
        let mut input = terminal.stdin.take().expect("piped");
        let mut output = terminal.stdout.take().expect("piped");
        let mut seen = Vec::new();
        let text = |seen: &[u8]| String::from_utf8_lossy(seen).into_owned();
        while !text(&seen).contains("reservations") {
            let mut part = [0; 4096];
            let bytes = output.read(&mut part).expect("it is drawn");
            assert!(bytes > 0, "{}", text(&seen));
            seen.extend_from_slice(&part[..bytes]);
        }
        input.write_all(key.as_bytes()).expect("it reads keys");
        output.read_to_end(&mut seen).expect("it ends");
        terminal.wait().expect("our child");
        let all = text(&seen);
        let described: Vec<&str> = all
            .split("settings\r\n")
            .skip(1)
            .filter_map(|rest| rest.split("end\r\n").next())
            .collect();
        assert_eq!(described.len(), 2, "{all}");
        assert_eq!(
            described[0], described[1],
            "what the terminal does with keys"
        );
        assert!(all.contains("code=0"), "{all}");
        for (on, off) in [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")] {
            let (begin, end) = (all.rfind(on), all.rfind(off));
            assert!(begin.is_some() && begin < end, "{all:?}");
        }
    }
}

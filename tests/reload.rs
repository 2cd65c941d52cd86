//! The configuration, read again by a server that runs, judged by what initiators, scrapers and files see of
//! it.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::chap::Chap;
use support::copy::{Segment, copy_target, extended_copy};
use support::initiator::Initiator;
use support::login::{Login, initiator_name};
use support::rig::until;
use support::scsi::pattern;
use support::server::{Server, Setup, Volume, own_loopback_address};
use tempfile::TempDir;

const SECRET: &str = "initiator-secret-1";
const OTHER_SECRET: &str = "initiator-secret-2";

const AUTHENTICATION_FAILURE: u16 = 0x0201;
const AUTHORIZATION_FAILURE: u16 = 0x0202;
const OUT_OF_RESOURCES: u16 = 0x0302;
const INITIATOR_ERROR: u16 = 0x0200;

/// Writes a file of accounts of mode 0600.
fn write_accounts(path: &Path, users: &[(&str, &str)]) {
    let mut toml = String::new();
    for (user, secret) in users {
        toml += &format!("[[account]]\nuser = \"{user}\"\nsecret = \"{secret}\"\n");
    }
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let written = file
        .open(path)
        .and_then(|mut file| file.write_all(toml.as_bytes()));
    written.expect("the accounts are written");
}

fn create_in(server: &Server, group: &str, name: &str) -> Volume {
    let size = ["--size", "64MiB", "--backend", "ram"];
    server.text(&[&["volume", "create", name, "--group", group], &size[..]].concat());
    server.volume(name)
}

/// Has the server read `toml`.
fn reload(server: &Server, toml: &str, options: &[&str]) -> Value {
    server.reconfigure(toml);
    server.json(&[&["config", "reload"], options].concat())
}

/// What became of a key; nothing if it is as it was.
fn outcome<'a>(reloaded: &'a Value, key: &str) -> Option<&'a str> {
    let keys = reloaded["keys"].as_array().expect("a list");
    let found = keys.iter().find(|entry| entry["key"] == key)?;
    found["outcome"].as_str()
}

/// Initiators that could not log in again, and the rules that they break.
fn refused(reloaded: &Value) -> Vec<(String, String)> {
    let sessions = reloaded["refused_sessions"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let told = sessions.iter();
    told.map(|session| (text(&session["initiator"]), text(&session["rule"])))
        .collect()
}

fn broken(initiator: &str, rule: &str) -> (String, String) {
    (initiator_name(initiator), rule.to_owned())
}

fn status(login: &Login) -> u16 {
    match login.try_connect() {
        Ok(session) => {
            session.logout();
            0
        }
        Err(refusal) => refusal.status(),
    }
}

#[test]
fn what_is_live_is_applied_and_all_else_says_what_it_waits_for() {
    let before = "reactors = 1\n[limits]\nsessions_per_volume = 8\n[san]\nvendor = \"BEFORE\"\n";
    let server = Setup::default().config(before).start();
    let delay = ["--delay", "30ms", "--backend", "ram", "--size", "64MiB"];
    server.text(&[&["volume", "create", "disk"], &delay[..]].concat());
    let volume = server.volume("disk");
    let mut first = server.session(&volume, "first");
    let after = "reactors = 4\n[limits]\nsessions_per_volume = 1\nnop_interval = \"7s\"\n\
                 [san]\nvendor = \"AFTER\"\nname = \"other-san\"\n[log]\nslow_io = \"10ms\"\n\
                 [tuning]\narena = \"64MiB\"\n";

    let dry = reload(&server, after, &["--dry-run"]);
    assert_eq!(dry["dry_run"], true);
    assert_eq!(outcome(&dry, "log.slow_io"), Some("applied"));
    server.login(&volume, "second").connect().logout();

    let reloaded = reload(&server, after, &[]);
    assert_eq!(
        reloaded["keys"], dry["keys"],
        "a dry run tells what then happens"
    );
    for (key, expected) in [
        ("limits.sessions_per_volume", "applied"),
        ("limits.nop_interval", "applied"),
        ("log.slow_io", "applied"),
        ("tuning.arena", "needs_upgrade"),
        ("san.vendor", "needs_restart"),
        ("san.name", "fixed"),
        ("reactors", "hidden"),
    ] {
        assert_eq!(outcome(&reloaded, key), Some(expected), "{key}: {reloaded}");
    }
    assert_eq!(outcome(&reloaded, "limits.fence_timeout"), None);
    let unchanged = reloaded["unchanged"].as_array().expect("a list");
    assert!(
        unchanged.contains(&json!("limits.fence_timeout")),
        "{reloaded}"
    );

    let full = server.login(&volume, "second").refused();
    assert_eq!(full.status(), OUT_OF_RESOURCES);
    first.write_blocks(0, &pattern(1, 8)).good();
    until("a slow I/O is told", || {
        server.errors().contains("slow I/O")
    });

    let running = server.json(&["config", "show", "--running"]);
    assert_eq!(running["limits"]["sessions_per_volume"], 1);
    assert_eq!(running["log"]["slow_io"], "10ms");
    assert_eq!(running["san"]["vendor"], "BEFORE", "it waits for a restart");
    assert_eq!(running["reactors"], 1, "a flag decides");
    assert_eq!(running["tuning"]["idle"], "adaptive", "every knob is there");

    // What waits is told again, what was applied is not.
    let again = reload(&server, after, &[]);
    assert_eq!(outcome(&again, "san.vendor"), Some("needs_restart"));
    assert_eq!(outcome(&again, "log.slow_io"), None);
    // A key that is taken away has its default again.
    let back = reload(
        &server,
        "reactors = 4\n[limits]\nsessions_per_volume = 1\n",
        &[],
    );
    assert_eq!(outcome(&back, "log.slow_io"), Some("applied"));
    assert_eq!(outcome(&back, "san.vendor"), Some("needs_restart"));
    assert!(server.text(&["events"]).contains("config_reloaded"));
}

#[test]
fn a_file_with_an_error_changes_nothing_and_is_named_with_its_place() {
    let open = "[access]\nallow = [\"127.0.0.0/8\"]\n";
    let server = Setup::default().config(open).start();
    let volume = server.create_small("disk");
    let login = server.login(&volume, "a");
    for (wrong, told) in [
        (
            "[access]\nallow = []\n[limits]\nfence_timeout = \"60s\"\n",
            ":4:17: limits.fence_timeout: ",
        ),
        ("[access]\nallow = []\nalow = []\n", ":3:1: "),
        (
            "[access]\nallow = []\nchap_accounts = \"/no/such/file\"\n",
            "/no/such/file: the CHAP accounts",
        ),
        (
            "[access]\nallow = []\n[metrics]\nlisten = \"192.0.2.1:9260\"\n",
            "metrics.listen: can't serve metrics on 192.0.2.1:9260",
        ),
        (
            "[access]\nallow = []\n[audit]\npath = \"/no/such/directory/audit\"\n",
            "audit.path: the audit log /no/such/directory/audit can't be opened",
        ),
        (
            "[access]\nallow = []\n[limits]\nregistrations_per_volume = 8192\n",
            "limits.registrations_per_volume: expected at most 8064",
        ),
    ] {
        server.reconfigure(wrong);
        let output = server.command(&["config", "reload"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let answer = String::from_utf8(output.stderr).expect("text");
        for (place, text) in [
            ("the answer", answer),
            ("the log", server.errors()),
            ("the events", server.text(&["events"])),
        ] {
            assert!(text.contains(told), "{told} in {place}: {text}");
        }
        assert_eq!(status(&login), 0, "nothing has changed: {wrong}");
    }
    assert!(server.text(&["events"]).contains("config_refused"));

    let server = Setup::default().start();
    let output = server.command(&["config", "reload"]);
    let answer = String::from_utf8(output.stderr).expect("text");
    assert!(answer.contains("without a configuration file"), "{answer}");
}

#[test]
fn a_hang_up_reads_the_configuration_and_opens_the_audit_log() {
    let directory = TempDir::new().expect("a directory");
    let paths = ["one", "two"].map(|name| directory.path().join(name));
    let config = |path: &Path| format!("[audit]\npath = {path:?}\n");
    let server = Setup::default().config(&config(&paths[0])).start();
    server.text(&["group", "create", "first"]);
    server.reconfigure(&config(&paths[1]));
    server.hang_up();
    until("it is told", || {
        server.text(&["events"]).contains("config_reloaded")
    });
    server.text(&["group", "create", "second"]);
    let [one, two] = paths
        .each_ref()
        .map(|path| std::fs::read_to_string(path).expect("a log"));
    assert!(one.contains("first") && !one.contains("second"), "{one}");
    assert!(two.contains("second") && !two.contains("first"), "{two}");
    assert!(server.errors().contains("(SIGHUP)"), "{}", server.errors());

    server.reconfigure("limits = 5\n");
    server.hang_up();
    until("it is refused", || {
        server.text(&["events"]).contains("config_refused")
    });
    let told = server.text(&["events"]);
    assert!(told.contains("holdfast.toml:1:"), "{told}");
    server.text(&["group", "create", "third"]);
    let two = std::fs::read_to_string(&paths[1]).expect("a log");
    assert!(two.contains("third"), "{two}");
}

#[test]
fn the_log_says_more_from_the_reload_on() {
    let server = Setup::default()
        .config("[log]\nlevel = \"error\"\n")
        .start();
    let volume = server.create_small("quiet");
    server.login(&volume, "unheard").connect().logout();
    reload(&server, "[log]\nlevel = \"info\"\n", &[]);
    server.login(&volume, "heard").connect().logout();
    until("it is logged", || {
        server.errors().contains("iqn.2024-01.test:heard")
    });
    assert!(!server.errors().contains("unheard"), "{}", server.errors());
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_metrics_move_and_end() {
    let [one, two] = [9260, 9261].map(|port| SocketAddr::from((own_loopback_address(), port)));
    let config = |address: SocketAddr, sessions: bool| {
        format!("[metrics]\nlisten = \"{address}\"\nsessions = {sessions}\n")
    };
    let mut server = Setup::new(support::server::Engine::Mio, 1, "file")
        .config(&config(one, false))
        .start();
    let volume = server.create_small("disk");
    let _session = server.session(&volume, "scraped");
    let name = initiator_name("scraped");
    assert!(!get(one, "/metrics").expect("a page").contains(&name));
    reload(&server, &config(two, true), &[]);
    assert!(get(one, "/metrics").is_err(), "nobody listens there");
    assert!(get(two, "/metrics").expect("a page").contains(&name));
    // Whoever takes the server's place finds the metrics where they are now.
    server.upgrade(&[]);
    until("the successor answers", || {
        get(two, "/healthz").is_ok_and(|answer| answer.contains("alive"))
    });
    reload(&server, "", &[]);
    assert!(get(two, "/metrics").is_err(), "nobody listens any more");
}

#[test]
fn portals_tell_and_redirect_otherwise() {
    let address = own_loopback_address();
    let portal = |more: &str| format!("[[portal]]\nlisten = \"{address}:3260\"\n{more}\n");
    let server = Setup::default()
        .portals_configured(1)
        .config(&portal(""))
        .start();
    let volume = server.create_small("disk");
    let told = || {
        let mut session = Login::discovery(server.portal(), "a").connect();
        let keys = session.text(&[("SendTargets", "All")]).expect("an answer");
        session.logout();
        let address = keys.into_iter().find(|(key, _)| key == "TargetAddress");
        address.expect("an address").1
    };
    assert_eq!(told(), format!("{address}:3260,1"));
    let reloaded = reload(&server, &portal("advertise = \"san.example:3260\""), &[]);
    assert_eq!(outcome(&reloaded, "portal[0].advertise"), Some("applied"));
    assert_eq!(told(), "san.example:3260,1");
    assert_eq!(
        server.json(&["server", "status"])["portals"],
        json!(["san.example:3260"])
    );
    reload(&server, &portal("redirect = \"10.0.0.2:3260\""), &[]);
    let moved = server.login(&volume, "a").refused();
    assert_eq!(
        (moved.status(), moved.key("TargetAddress")),
        (0x0101, Some("10.0.0.2:3260"))
    );
    let waits = reload(&server, &portal("tag = 9"), &[]);
    assert_eq!(outcome(&waits, "portal[0].tag"), Some("needs_restart"));
    server.login(&volume, "a").connect().logout();
}

#[test]
fn new_rules_judge_new_logins_and_name_the_sessions_that_break_them() {
    let directory = TempDir::new().expect("a directory");
    let accounts = directory.path().join("accounts");
    let users = [("kept", SECRET), ("gone", SECRET), ("rotated", SECRET)];
    write_accounts(&accounts, &users);
    let open = format!(
        "[groups.named]\n[groups.near]\n[groups.proved]\nchap_accounts = {accounts:?}\n[groups.whole]\n"
    );
    let server = Setup::default().config(&open).start();
    let [named, near, proved, whole] =
        ["named", "near", "proved", "whole"].map(|group| create_in(&server, group, group));
    let far = Ipv4Addr::new(127, 0, 0, 9);
    let account = |user: &str, secret: &str| {
        let login = server.login(&proved, user);
        login.chap(Chap::one_way(user, secret))
    };
    let logins = [
        server.login(&named, "listed"),
        server.login(&named, "unlisted"),
        server.login(&near, "local"),
        server.login(&near, "distant").from(far),
        account("kept", SECRET),
        account("gone", SECRET),
        account("rotated", SECRET),
        server.login(&whole, "checked").digests("CRC32C", "CRC32C"),
        server.login(&whole, "unchecked").digests("CRC32C", "None"),
    ];
    let mut sessions = logins.each_ref().map(Login::connect);
    let nothing = reload(&server, &open, &[]);
    assert_eq!(refused(&nothing), [], "all are within the rules: {nothing}");

    write_accounts(&accounts, &[("kept", SECRET), ("rotated", OTHER_SECRET)]);
    let strict = format!(
        "[groups.named]\ninitiators = [\"{}\"]\n[groups.near]\nallow = [\"127.0.0.1\"]\n\
         [groups.proved]\nchap_accounts = {accounts:?}\n[groups.whole]\nenforce_crc = true\n",
        initiator_name("listed")
    );
    let expected = [
        broken("unlisted", "initiators"),
        broken("distant", "allow"),
        broken("gone", "chap_accounts"),
        broken("rotated", "chap_accounts"),
        broken("unchecked", "enforce_crc"),
    ];
    let dry = reload(&server, &strict, &["--dry-run"]);
    let mut told = refused(&dry);
    told.sort();
    let mut sorted = expected.to_vec();
    sorted.sort();
    assert_eq!(told, sorted, "{dry}");
    for login in &logins {
        assert_eq!(
            status(&login.clone().isid(7)),
            0,
            "a dry run changes nothing"
        );
    }

    let reloaded = reload(&server, &strict, &[]);
    assert_eq!(refused(&reloaded), refused(&dry));
    assert_eq!(
        outcome(&reloaded, "groups.proved.chap_accounts"),
        Some("applied"),
        "{reloaded}"
    );
    let now = [
        0,
        AUTHORIZATION_FAILURE,
        0,
        AUTHORIZATION_FAILURE,
        0,
        AUTHENTICATION_FAILURE,
        AUTHENTICATION_FAILURE,
        0,
        INITIATOR_ERROR,
    ];
    for (login, expected) in logins.iter().zip(now) {
        assert_eq!(status(&login.clone().isid(7)), expected, "{login:?}");
    }
    assert_eq!(status(&account("rotated", OTHER_SECRET).isid(7)), 0);
    for session in &mut sessions {
        session.take_attentions();
        session.read_blocks(0, 1).good();
    }
    let text = format!("{reloaded} {}", server.errors());
    for secret in [SECRET, OTHER_SECRET] {
        assert!(!text.contains(secret), "{text}");
    }
    // For as long as they are there they are named, whatever else changes or not.
    let again = reload(&server, &strict, &[]);
    assert_eq!(refused(&again), refused(&reloaded));
}

/// Runs `config reload --disconnect` beside the test.
fn disconnect(server: &Server) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["config", "reload", "--disconnect", "--json", "--control"])
        .arg(server.control())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[test]
fn who_could_not_log_in_again_is_asked_to_leave_and_then_dropped() {
    let limits = "[limits]\ndrain_timeout = \"20s\"\n";
    let server = Setup::default().config(limits).start();
    let [one, two] = ["one", "two"].map(|name| create_in(&server, "databases", name));
    let mut staying = server.session(&one, "staying");
    let mut leaving = [&one, &two].map(|volume| server.session(volume, "leaving"));
    leaving[0].register_and_ignore(0xfeed).good();
    let rules = |timeout: &str| {
        format!(
            "[limits]\ndrain_timeout = \"{timeout}\"\n[groups.databases]\ninitiators = [\"{}\"]\n",
            initiator_name("staying")
        )
    };
    server.reconfigure(&rules("20s"));
    let reloading = disconnect(&server);
    for mut session in leaving {
        let message = session.wait_for_async().expect("a word before the end");
        assert_eq!(
            message.bhs[36], 1,
            "AsyncEvent 1: the target requests logout"
        );
        assert_eq!(message.bhs[42..44], [0, 20], "Parameter3: seconds");
        session.logout();
    }
    let output = reloading.wait_with_output().expect("our child");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["disconnected"], json!({"sessions": 2, "dropped": 0}));
    staying.read_blocks(0, 1).good();
    assert_eq!(staying.keys(), [0xfeed], "registrations stay");
    assert_eq!(
        status(&server.login(&one, "leaving")),
        AUTHORIZATION_FAILURE
    );

    // One that does not go is dropped; the rules are those that were there already.
    reload(&server, limits, &[]);
    let mut stubborn = server.session(&two, "stubborn");
    reload(&server, &rules("1s"), &[]);
    stubborn.read_blocks(0, 1).good();
    let told = server.json(&["config", "reload", "--disconnect"]);
    assert_eq!(told["disconnected"], json!({"sessions": 1, "dropped": 1}));
    assert!(stubborn.is_closed_by_target());
    let told = server.json(&["config", "reload", "--disconnect"]);
    assert_eq!(told["disconnected"], json!({"sessions": 0, "dropped": 0}));
    staying.read_blocks(0, 1).good();
}

#[test]
fn a_group_asks_for_no_proof_though_all_others_do() {
    let directory = TempDir::new().expect("a directory");
    let accounts = directory.path().join("accounts");
    write_accounts(&accounts, &[("user", SECRET)]);
    let config = |open: &str| {
        format!("[access]\nchap_accounts = {accounts:?}\n[groups.open]\nchap = \"{open}\"\n")
    };
    let server = Setup::default().config(&config("none")).start();
    let [open, other] = ["open", "other"].map(|group| create_in(&server, group, group));
    let chap = |login: Login| login.chap(Chap::one_way("user", SECRET));
    assert_eq!(status(&server.login(&open, "a")), 0);
    assert_eq!(status(&server.login(&other, "a")), AUTHENTICATION_FAILURE);
    assert_eq!(status(&chap(server.login(&other, "a"))), 0);
    let shown = server.json(&["group", "show", "open"]);
    assert_eq!(
        (&shown["chap"], &shown["origins"]["chap_accounts"]),
        (&json!(false), &json!("group"))
    );

    let mut session = server.session(&open, "a");
    let reloaded = reload(&server, &config("inherit"), &[]);
    assert_eq!(refused(&reloaded), [broken("a", "chap_accounts")]);
    assert_eq!(status(&server.login(&open, "b")), AUTHENTICATION_FAILURE);
    assert_eq!(status(&chap(server.login(&open, "b"))), 0);
    session.read_blocks(0, 1).good();
    let shown = server.json(&["group", "show", "open"]);
    assert_eq!(shown["origins"]["chap_accounts"], "access");

    // The environment is inherited by [access], and switched off there for all.
    let pair = format!("user:{SECRET}");
    let setup = Setup::default().variable("HOLDFAST_CHAP_ACCOUNTS", &pair);
    let server = setup.config("").start();
    let volume = server.create_small("disk");
    assert_eq!(status(&server.login(&volume, "a")), AUTHENTICATION_FAILURE);
    reload(&server, "[access]\nchap = \"none\"\n", &[]);
    assert_eq!(status(&server.login(&volume, "a")), 0);

    let both = format!("[access]\nchap = \"none\"\nchap_accounts = {accounts:?}\n");
    let failure = Setup::default()
        .config(&both)
        .try_start()
        .expect_err("a refusal");
    assert!(
        failure.errors.contains("access.chap: expected either"),
        "{}",
        failure.errors
    );
}

/// What a session has not proved at its login it has not proved later, whatever its volume asks for now.
#[test]
fn a_session_comes_by_no_proof_through_a_reload() {
    let directory = TempDir::new().expect("a directory");
    let accounts = directory.path().join("accounts");
    write_accounts(&accounts, &[("user", SECRET)]);
    let guarded = format!("[groups.guarded]\nchap_accounts = {accounts:?}\n");
    let server = Setup::default().config(&guarded).start();
    let secret = create_in(&server, "guarded", "secret");
    let open = create_in(&server, "open", "open");
    let chap = Chap::one_way("user", SECRET);
    let mut owner = server.login(&secret, "owner").chap(chap).connect();
    owner.take_attentions();
    owner.write_blocks(0, &pattern(7, 1)).good();
    let source = copy_target(&mut owner);
    let mut stranger = server.session(&open, "stranger");
    let copied = |session: &mut Initiator| {
        let targets = [source.clone(), copy_target(session)];
        let segment = Segment {
            to: 1,
            from_lba: 0,
            to_lba: 0,
            blocks: 1,
        };
        session.run(&extended_copy(1, &targets, &segment, false));
        session.read_blocks(0, 1).good() == pattern(7, 1)
    };
    assert!(!copied(&mut stranger));
    let both = format!("{guarded}[groups.open]\nchap_accounts = {accounts:?}\n");
    let reloaded = reload(&server, &both, &[]);
    assert_eq!(refused(&reloaded), [broken("stranger", "chap_accounts")]);
    assert!(
        !copied(&mut stranger),
        "its volume asks for it now, and it has not proved it"
    );
}

/// Which account a session has proved goes along with an upgrade, so that the rules are judged as before.
#[test]
fn a_successor_knows_what_sessions_have_proved() {
    let directory = TempDir::new().expect("a directory");
    let accounts: PathBuf = directory.path().join("accounts");
    write_accounts(&accounts, &[("kept", SECRET), ("gone", SECRET)]);
    let config = format!("[groups.guarded]\nchap_accounts = {accounts:?}\n");
    let setup = Setup::new(support::server::Engine::Mio, 1, "file");
    let mut server = setup.config(&config).start();
    let create = [
        "volume", "create", "disk", "--group", "guarded", "--size", "64MiB",
    ];
    server.text(&create);
    let volume = server.volume("disk");
    let login = |user: &str| {
        let login = server.login(&volume, user);
        login.chap(Chap::one_way(user, SECRET))
    };
    let mut sessions = ["kept", "gone"].map(|user| login(user).connect());
    server.upgrade(&[]);
    let reloaded = reload(&server, &config, &[]);
    assert_eq!(refused(&reloaded), []);
    write_accounts(&accounts, &[("kept", SECRET)]);
    let reloaded = reload(&server, &config, &[]);
    assert_eq!(refused(&reloaded), [broken("gone", "chap_accounts")]);
    for session in &mut sessions {
        session.take_attentions();
        session.read_blocks(0, 1).good();
    }
}

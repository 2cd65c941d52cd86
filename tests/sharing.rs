//! Who shares a volume: its sessions and their cap, the budget of one initiator, nodes that are taken
//! out of service, and what a group lets its logins agree on.

mod support;

use std::process::{Command, Stdio};
use std::sync::Barrier;

use serde_json::Value;
use support::initiator::Initiator;
use support::login::{Login, LoginError, initiator_name};
use support::pdu::Pdu;
use support::scsi::pattern;
use support::server::{Server, Setup, Volume};

const SESSIONS_MAX: usize = 128;
const OUT_OF_RESOURCES: u16 = 0x0302;
const SERVICE_UNAVAILABLE: u16 = 0x0301;
const MOVED_TEMPORARILY: u16 = 0x0101;

on_every_engine!(
    of_200_logins_at_once_128_are_accepted,
    a_drained_node_leaves_and_stays_out_until_it_is_admitted,
    a_session_that_does_not_leave_is_dropped_at_the_deadline,
);

fn of_200_logins_at_once_128_are_accepted(setup: Setup) {
    const LOGINS: u16 = 200;
    let server = setup.start();
    let volume = server.create_small("shared");
    let together = Barrier::new(usize::from(LOGINS));
    let outcomes: Vec<Result<Initiator, LoginError>> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..LOGINS)
            .map(|index| {
                let login = server
                    .login(&volume, &format!("node{}", index % 5))
                    .isid(index);
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    login.try_connect()
                })
            })
            .collect();
        let ended = logins
            .into_iter()
            .map(|login| login.join().expect("a login"));
        ended.collect()
    });
    let (accepted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(accepted.len(), SESSIONS_MAX);
    for refusal in refused.into_iter().filter_map(Result::err) {
        assert_eq!(refusal.status(), OUT_OF_RESOURCES, "{refusal:?}");
    }
    assert_eq!(server.session_count(&volume), SESSIONS_MAX as u64);
    for mut session in accepted.into_iter().flatten() {
        session.take_attentions();
        session.read_blocks(0, 1).good();
    }
}

fn create_in(server: &Server, group: &str, name: &str) -> Volume {
    let arguments = [
        "volume", "create", name, "--group", group, "--size", "64MiB",
    ];
    server.text(&[&arguments[..], &["--backend", server.setup.backend]].concat());
    server.volume(name)
}

#[test]
fn an_initiator_has_its_budget_on_each_volume_and_no_more() {
    let config =
        "[limits]\nsessions_per_initiator = 3\n[groups.wide]\nsessions_per_initiator = 5\n";
    let server = Setup::default().config(config).start();
    let [first, second] = ["first", "second"].map(|name| server.create_small(name));
    let wide = create_in(&server, "wide", "third");
    let fill = |volume: &Volume, budget: u16| {
        let mut all: Vec<_> = (0..budget)
            .map(|index| server.login(volume, "greedy").isid(index).connect())
            .collect();
        let refused = server.login(volume, "greedy").isid(99).refused();
        assert_eq!(refused.status(), OUT_OF_RESOURCES);
        // Names compare without case, and a session that comes back takes its own place.
        let refused = server.login(volume, "GREEDY").isid(98).refused();
        assert_eq!(refused.status(), OUT_OF_RESOURCES);
        all[0] = server.login(volume, "greedy").isid(0).connect();
        all.push(server.login(volume, "modest").connect());
        all
    };
    let mut of_first = fill(&first, 3);
    let _of_second = fill(&second, 3);
    let _of_third = fill(&wide, 5);
    of_first.swap_remove(1).logout();
    server.login(&first, "greedy").isid(99).connect();
    let log = server.errors();
    assert!(
        log.contains("all 3 sessions that sessions_per_initiator lets it have"),
        "{log}"
    );
}

#[test]
fn an_operator_is_told_once_before_the_last_place_is_taken() {
    let server = Setup::default().start();
    let volume = server.create_small("shared");
    server.text(&["volume", "set", "shared", "--sessions-max", "20"]);
    let shortage = || server.errors().matches("sessions run short").count();
    let warned = || {
        let shown = server.json(&["volume", "show", "shared"]);
        let warnings = shown["warnings"].as_array().expect("a list").clone();
        let text = |warning: &Value| {
            warning
                .as_str()
                .is_some_and(|text| text.contains("of 20 sessions"))
        };
        warnings.iter().any(text)
    };
    let login = |index: u16| server.login(&volume, "client").isid(index).connect();
    let mut all: Vec<_> = (0..17).map(login).collect();
    assert!(!warned() && shortage() == 0, "17 of 20");
    all.push(login(17));
    assert!(warned() && shortage() == 1, "18 of 20");
    all.push(login(18));
    all.push(login(19));
    assert_eq!(shortage(), 1, "said once");
    assert_eq!(
        server.login(&volume, "client").isid(20).refused().status(),
        OUT_OF_RESOURCES
    );
    for _ in 0..4 {
        all.pop().expect("one of 20").logout();
    }
    assert!(!warned(), "16 of 20");
    all.extend((16..18).map(login));
    assert!(warned() && shortage() == 2, "and again when it comes again");
    let listed = server.text(&["session", "list"]);
    assert!(
        listed.contains("18 sessions of 1 initiator on 1 volume\n"),
        "{listed}"
    );
}

/// AsyncEvent of RFC 7143 section 11.9.1: the target wants this session to log out.
fn assert_asked_to_log_out(message: &Pdu, seconds: u8) {
    assert_eq!(message.bhs[36], 1, "AsyncEvent: the target requests logout");
    assert_eq!(message.bhs[42..44], [0, seconds], "Parameter3: seconds");
}

fn a_drained_node_leaves_and_stays_out_until_it_is_admitted(setup: Setup) {
    let server = setup.start();
    let volumes = ["one", "two"].map(|name| server.create_small(name));
    let mut staying = server.session(&volumes[0], "staying");
    let mut leaving = volumes
        .each_ref()
        .map(|volume| server.session(volume, "leaving"));
    leaving[0].register_and_ignore(0xfeed).good();
    let name = initiator_name("leaving");

    let drain = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args([
            "session",
            "drain",
            "--initiator",
            &name,
            "--deadline",
            "20s",
            "--json",
        ])
        .arg("--control")
        .arg(server.control())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    for mut session in leaving {
        let message = session.wait_for_async().expect("a word before the end");
        assert_asked_to_log_out(&message, 20);
        session.logout();
    }
    let output = drain.wait_with_output().expect("our child");
    assert!(output.status.success(), "{output:?}");
    let drained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(drained["sessions"], 0);
    assert_eq!(drained["initiator"], name.as_str());
    for volume in &volumes {
        let refused = server.login(volume, "leaving").refused();
        assert_eq!(refused.status(), SERVICE_UNAVAILABLE);
    }
    staying.read_blocks(0, 1).good();
    server.login(&volumes[1], "staying").connect().logout();
    assert_eq!(staying.keys(), [0xfeed], "registrations stay");
    let names = Login::discovery(server.portal(), "leaving").connect();
    names.logout();

    // The server that comes after keeps it out, too.
    drop(staying);
    let server = server.stop().start();
    let on_disk = server.setup.backend == "file";
    let volume = if on_disk {
        volumes[0].clone()
    } else {
        server.volume("one")
    };
    assert_eq!(
        server.login(&volume, "leaving").refused().status(),
        SERVICE_UNAVAILABLE
    );
    let shown = server.text(&["session", "drains"]);
    assert!(
        shown.contains(&name) && shown.contains("refused"),
        "{shown}"
    );
    let warnings = server.json(&["volume", "show", "one"])["warnings"].to_string();
    assert!(warnings.contains("is drained"), "{warnings}");

    let stranger = server.command(&["session", "admit", "--initiator", &initiator_name("other")]);
    assert_eq!(stranger.status.code(), Some(1));
    server.text(&["session", "admit", "--initiator", &name]);
    server.login(&volume, "leaving").connect().logout();
    assert_eq!(
        server.json(&["session", "drains"]).as_array().map(Vec::len),
        Some(0)
    );
}

fn a_session_that_does_not_leave_is_dropped_at_the_deadline(setup: Setup) {
    let server = setup.start();
    let volumes = ["one", "two"].map(|name| server.create_small(name));
    let [mut stubborn, mut elsewhere] = volumes
        .each_ref()
        .map(|volume| server.session(volume, "stubborn"));
    let mut other = server.session(&volumes[0], "other");
    stubborn.write_blocks(3, &pattern(1, 1)).good();
    let name = initiator_name("stubborn");
    let drain = ["session", "drain", "--initiator", &name, "--volume", "one"];
    let text = server.text(&[&drain[..], &["--deadline", "100ms"]].concat());
    assert!(
        text.contains("on one is drained: no session is left"),
        "{text}"
    );
    assert!(stubborn.is_closed_by_target());
    elsewhere.read_blocks(0, 1).good();
    assert_eq!(other.read_blocks(3, 1).good(), pattern(1, 1));
    assert_eq!(
        server.login(&volumes[0], "stubborn").refused().status(),
        SERVICE_UNAVAILABLE
    );
    server
        .login(&volumes[1], "stubborn")
        .isid(2)
        .connect()
        .logout();
}

#[test]
fn a_drained_node_can_be_sent_elsewhere() {
    let server = Setup::default()
        .listen(&["127.0.0.1:0", "127.0.0.1:0"])
        .start();
    let volume = server.create_small("shared");
    let elsewhere = "192.0.2.7:3260";
    let drain = [
        "session",
        "drain",
        "--address",
        "127.0.0.1",
        "--redirect",
        elsewhere,
    ];
    server.text(&drain);
    let redirected = server.login(&volume, "a").refused();
    assert_eq!(redirected.status(), MOVED_TEMPORARILY);
    assert_eq!(redirected.key("TargetAddress"), Some(elsewhere));
    // The same again takes the place of the one before.
    server.text(&["session", "drain", "--address", "127.0.0.1"]);
    assert_eq!(
        server.login(&volume, "a").refused().status(),
        SERVICE_UNAVAILABLE
    );
    assert_eq!(
        server.json(&["session", "drains"]).as_array().map(Vec::len),
        Some(1)
    );
    server.text(&["session", "admit", "--address", "127.0.0.1"]);
    let mut session = server.session(&volume, "a");

    // To another portal of this server: it arrives there, and who is there already stays.
    let second = server.portals[1];
    let mut there = server.login(&volume, "b").portal(second).connect();
    there.take_attentions();
    let portal = second.to_string();
    let drain = [
        "session",
        "drain",
        "--address",
        "127.0.0.1",
        "--deadline",
        "0s",
    ];
    server.text(&[&drain[..], &["--redirect", &portal]].concat());
    assert!(session.is_closed_by_target());
    there.read_blocks(0, 1).good();
    let login = server.login(&volume, "a");
    assert_eq!(login.refused().key("TargetAddress"), Some(portal.as_str()));
    login.portal(second).connect().logout();
}

#[test]
fn a_drained_server_goes_on_without_initiators() {
    let server = Setup::default().start();
    let volume = server.create_small("shared");
    let mut session = server.session(&volume, "a");
    let text = server.text(&["server", "drain", "--deadline", "0s"]);
    assert!(
        text.contains("every initiator is drained: no session is left"),
        "{text}"
    );
    assert!(session.is_closed_by_target());
    assert_eq!(
        server.login(&volume, "b").refused().status(),
        SERVICE_UNAVAILABLE
    );
    server.text(&["server", "admit"]);
    server.login(&volume, "b").connect().logout();
}

#[test]
fn an_admitted_node_is_not_dropped_at_the_deadline_of_its_drain() {
    let server = Setup::default().start();
    let volume = server.create_small("shared");
    let mut session = server.session(&volume, "a");
    let name = initiator_name("a");
    let drain = [
        "session",
        "drain",
        "--initiator",
        &name,
        "--deadline",
        "300ms",
        "--no-wait",
    ];
    let begun = server.json(&drain);
    assert_eq!(begun["sessions"], 1);
    server.text(&["session", "admit", "--initiator", &name]);
    // A later drain of another node ends after the first one would have.
    let mut other = server.session(&volume, "b");
    let other_name = initiator_name("b");
    server.text(&[
        "session",
        "drain",
        "--initiator",
        &other_name,
        "--deadline",
        "600ms",
    ]);
    assert!(other.is_closed_by_target());
    session.read_blocks(0, 1).good();
}

#[test]
fn what_can_not_be_drained_is_told() {
    let server = Setup::default().start();
    let told = |arguments: &[&str]| {
        let output = server.command(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(told(&["session", "drain"]).contains("--initiator"));
    let name = ["session", "drain", "--initiator", "iqn.2024-01.test:a"];
    let with = |more: &[&str]| told(&[&name[..], more].concat());
    assert!(with(&["--volume", "nowhere"]).contains("volume nowhere does not exist"));
    assert!(with(&["--deadline", "2h"]).contains("at most 3600 s"));
    assert!(with(&["--redirect", "0.0.0.0:3260"]).contains("ADDR:PORT"));
    assert!(told(&["session", "drain", "--initiator", "nobody"]).contains("iqn"));
    assert!(told(&["server", "admit"]).contains("every initiator is not drained"));
}

#[test]
fn a_group_bounds_what_its_logins_agree_on() {
    let config = "[groups.narrow]\nmax_burst_length = \"32KiB\"\nfirst_burst_length = \"8KiB\"\n\
                  max_receive_segment = \"4KiB\"\n";
    let server = Setup::default().config(config).start();
    let narrow = create_in(&server, "narrow", "in-narrow");
    let wide = server.create_small("in-wide");
    let login = |volume: &Volume| {
        let login = server.login(volume, "a").key("MaxBurstLength", "262144");
        let login = login
            .key("FirstBurstLength", "262144")
            .key("InitialR2T", "No");
        let mut session = login.connect();
        session.take_attentions();
        session
    };
    for (volume, burst, first, segment) in [
        (&narrow, "32768", "8192", "4096"),
        (&wide, "262144", "262144", "262144"),
    ] {
        let mut session = login(volume);
        assert_eq!(session.answer("MaxBurstLength"), Some(burst));
        assert_eq!(session.answer("FirstBurstLength"), Some(first));
        assert_eq!(session.answer("MaxRecvDataSegmentLength"), Some(segment));
        // Both ways, in as many bursts as it takes.
        session.write_blocks(0, &pattern(9, 512)).good();
        assert_eq!(session.read_blocks(0, 512).good(), pattern(9, 512));
        let listed = server.json(&["session", "list", "--volume", &volume.name]);
        let agreed = &listed[0]["negotiated"];
        assert_eq!(agreed["max_burst_length"].to_string(), burst);
        assert_eq!(agreed["first_burst_length"].to_string(), first);
        assert_eq!(agreed["target_max_receive_segment"].to_string(), segment);
        assert_eq!(listed[0]["portal"], server.portal().to_string());
    }
}

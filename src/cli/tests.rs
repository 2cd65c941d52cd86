use clap::{CommandFactory, Parser};

use super::*;
use crate::base::tuning::Tuning;
use crate::control::config::{Config, PortalConfig};
use crate::control::server::Running;
use crate::control::service::fake::FakeLaunch;

/// Runs a command line; what it printed, and how it ended.
fn holdfast(arguments: &[&str]) -> (String, ExitCode) {
    let mut out = Vec::new();
    let cli = Cli::try_parse_from([&["holdfast"], arguments].concat()).unwrap();
    let code = run(cli, &FakeLaunch::default(), &mut out);
    (String::from_utf8(out).unwrap(), code)
}

/// What the parser says against a command line.
fn refused(arguments: &[&str]) -> String {
    Cli::try_parse_from([&["holdfast"], arguments].concat())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_flag_explains_itself() {
    fn check(command: &clap::Command) {
        assert!(
            command.get_about().is_some(),
            "{} says nothing",
            command.get_name()
        );
        for argument in command.get_arguments() {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let (command, argument) = (command.get_name(), argument.get_id());
            assert!(
                !help.is_empty() || argument == "help",
                "{command} {argument} says nothing"
            );
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn serve_has_the_flags_that_scripts_rely_on() {
    let line = "serve --data d --listen 127.0.0.1:0 --listen [::1]:0 --control s --reactors 2 \
                --engine auto --profile latency --config c --advertise 192.0.2.1:3260 \
                --log debug --log-format json";
    let words: Vec<_> = std::iter::once("holdfast")
        .chain(line.split_whitespace())
        .collect();
    assert!(Cli::try_parse_from(words).is_ok());
    assert!(Cli::try_parse_from(["holdfast", "serve", "--cores", "0-1"]).is_ok());
    let help = Cli::command()
        .find_subcommand_mut("serve")
        .unwrap()
        .render_long_help()
        .to_string();
    for flag in [
        "--data <DIR>",
        "--listen <ADDR:PORT>",
        "--control <SOCKET>",
        "--reactors <N>",
        "--cores <LIST>",
        "--engine <ENGINE>",
        "--profile <NAME|FILE>",
        "--config <FILE>",
        "--advertise <ADDR:PORT>",
        "--log <FILTER>",
        "--log-format",
    ] {
        assert!(help.contains(flag), "{flag} in\n{help}");
    }
    assert!(
        help.contains("holdfast serve --profile latency --cores 2,3"),
        "{help}"
    );
}

#[test]
fn wrong_usage_is_told_with_what_was_expected() {
    let (_, code) = holdfast(&["volume", "create", "db-1"]);
    assert_eq!(code, ExitCode::from(EXIT_USAGE));
    assert!(refused(&["volume", "create", "db-1", "--backend", "block"]).contains("--path"));
    assert!(refused(&["volume", "create", "X", "--size", "1GiB"]).contains("3 to 63 of a-z"));
    assert!(refused(&["volume", "create", "db-1", "--size", "big"]).contains("such as 1GiB"));
    assert!(refused(&["volume", "create", "a1b", "--backend", "tape"]).contains("file, ram"));
    assert!(refused(&["volume", "create", "a1b", "--block-size", "520"]).contains("512 or 4096"));
    assert!(refused(&["volume", "create", "a1b", "--delay", "5"]).contains("such as 250us, 5ms"));
    let wrapper = [
        "volume",
        "create",
        "a1b",
        "--test-wrapper",
        "{\"type\":\"ram\"}",
    ];
    assert!(refused(&wrapper).contains("unknown variant `ram`, expected `fault` or `delay`"));
}

#[test]
fn nobody_there_ends_with_its_own_code() {
    let (_, code) = holdfast(&["volume", "list", "--control", "/nowhere/control.sock"]);
    assert_eq!(code, ExitCode::from(EXIT_UNREACHABLE));
}

/// Runs `test` with a way to ask a server on a fake data path: what a command line printed.
fn against_a_server(test: impl FnOnce(&FakeLaunch, &dyn Fn(&[&str]) -> Result<String, ExitCode>)) {
    let data = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let portals = vec![PortalConfig {
        listen,
        ..PortalConfig::default()
    }];
    let config = Config {
        data: data.path().to_owned(),
        portals,
        ..Config::default()
    };
    let launch = FakeLaunch::default();
    let (stop, stopped) = crossbeam_channel::bounded(1);
    let running = Running::start(config, Tuning::default(), &launch, stop).unwrap();
    let socket = data.path().join("control.sock");
    test(&launch, &|arguments| {
        let (text, code) =
            holdfast(&[arguments, &["--control", socket.to_str().unwrap()]].concat());
        if code == ExitCode::SUCCESS {
            Ok(text)
        } else {
            Err(code)
        }
    });
    running.until(&stopped, &crossbeam_channel::never());
}

#[test]
fn the_commands_work_against_a_server() {
    against_a_server(|launch, ask| {
        let ask = |arguments: &[&str]| ask(arguments).unwrap();
        let created = ask(&[
            "volume",
            "create",
            "db-1",
            "--size",
            "64MiB",
            "--group",
            "databases",
        ]);
        assert_eq!(
            created,
            "created db-1: iqn.2024-01.internal.holdfast:holdfast:db-1\n"
        );
        ask(&["volume", "resize", "db-1", "--size", "1GiB"]);
        launch.plane.log_in(launch.plane.volumes()[0]);

        let list = ask(&["volume", "list"]);
        assert_eq!(list.lines().count(), 3, "{list}");
        assert!(list.starts_with("NAME"), "{list}");
        let shown: serde_json::Value =
            serde_json::from_str(&ask(&["volume", "show", "db-1", "--json"])).unwrap();
        assert_eq!(shown["iqn"], "iqn.2024-01.internal.holdfast:holdfast:db-1");
        assert_eq!(shown["size_bytes"], 1 << 30);
        assert_eq!(shown["backend"], "file");
        assert!(shown["sessions"].is_u64());
        assert!(ask(&["volume", "show", "db-1"]).contains("iscsiadm -m node -T iqn.2024-01"));
        assert!(ask(&["group", "list"]).contains("databases"));
        assert!(ask(&["session", "list"]).contains("iqn.1993-08.org.debian:01:host1"));
        assert!(ask(&["session", "list", "--json"]).starts_with('['));
        assert!(ask(&["server", "status"]).contains("reactors"));
        ask(&["volume", "delete", "db-1", "--force"]);
        assert!(!ask(&["volume", "list"]).contains("db-1"));
        ask(&["server", "stop"]);
    });
}

#[test]
fn reservations_are_explained() {
    against_a_server(|launch, ask| {
        let told = |arguments: &[&str]| ask(arguments).unwrap();
        launch.plane.log_in(launch.plane.volumes()[0]);
        let shown = told(&["reservation", "show", "volume-1"]);
        for line in [
            "type           WRITE EXCLUSIVE - REGISTRANTS ONLY",
            "scope          LU_SCOPE",
            "holder         iqn.1993-08.org.debian:01:host1,i,0x00023d000001 at target port 1",
            "since          1970-01-01 00:00:01.000Z (",
            "0x0000000000000abc  holder     1  00023d000001",
            "127.0.0.1:40000  iqn.1993-08.org.debian:01:host1",
            "0x5652545330303032  -          1  00023d000001",
            "not logged in    iqn.1993-08.org.debian:01:host2  \"VRTS0002\"",
        ] {
            assert!(shown.contains(line), "{line} in\n{shown}");
        }

        let nexus = "iqn.1993-08.org.debian:01:host1,i,0x00023d000001 at target port 1";
        let history = format!(
            "\
#1  1970-01-01 00:00:01.000Z  REGISTER: GOOD
    by          {nexus} from 127.0.0.1:40000
    key         0x0000000000000000
    action key  0x0000000000000abc
    aptpl       yes
    generation  1

#2  1970-01-01 00:00:02.000Z  CLEAR: RESERVATION CONFLICT
    times       7, the last at 1970-01-01 00:00:03.000Z
    by          {nexus} from 127.0.0.1:40000
    key         0x0000000000000bad
    generation  1
"
        );
        assert_eq!(told(&["reservation", "history", "volume-1"]), history);
        assert_eq!(
            told(&["reservation", "history", "volume-1", "--since", "1m"]),
            "nothing in that time; 2 entries are older\n"
        );

        let check = ["reservation", "check", "volume-1", "--preempt", "0xabc"];
        let check = told(&[&check[..], &["--type", "ea"]].concat());
        for line in [
            "(EXCLUSIVE ACCESS)",
            ": GOOD",
            "type then           EXCLUSIVE ACCESS",
            "registrations then  2",
            "would be told       2A/04 iqn.1993-08.org.debian:01:host2",
        ] {
            assert!(check.contains(line), "{line} in\n{check}");
        }
        ask(&["server", "stop"]).unwrap();
    });
}

#[test]
fn nothing_is_cleared_by_accident() {
    against_a_server(|_, ask| {
        let clear = ["reservation", "clear", "volume-1"];
        let count = || {
            let shown = ask(&["reservation", "show", "volume-1", "--json"]).unwrap();
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            shown["registrations"].as_array().unwrap().len()
        };
        let unknown = [&clear[..], &["--key", "0x77", "--yes"]].concat();
        assert_eq!(ask(&unknown), Err(ExitCode::from(EXIT_FAILED)));
        assert_eq!(count(), 2);
        let one = [&clear[..], &["--key", "0xabc", "--yes"]].concat();
        let told = ask(&one).unwrap();
        assert!(
            told.contains("host1,i,0x00023d000001 at target port 1: registration, reservation")
        );
        assert!(
            told.ends_with("left: 1 registrations, not reserved\n"),
            "{told}"
        );
        let all = [&clear[..], &["--yes", "--json"]].concat();
        let told: serde_json::Value = serde_json::from_str(&ask(&all).unwrap()).unwrap();
        assert_eq!(told["after"]["registrations"], serde_json::json!([]));
        assert_eq!(count(), 0);
        assert!(refused(&[&clear[..], &["--key", "77"]].concat()).contains("such as 0x123abc"));
        ask(&["server", "stop"]).unwrap();
    });
}

#[test]
fn a_history_is_followed_until_the_server_stops() {
    against_a_server(|_, ask| {
        let mut text = Vec::new();
        let socket = ask(&["server", "status", "--json"]).unwrap();
        let status: serde_json::Value = serde_json::from_str(&socket).unwrap();
        let socket = format!("{}/control.sock", status["data"].as_str().unwrap());
        let mut follow = |more: &[&str]| {
            text.clear();
            let follow = ["holdfast", "reservation", "history", "volume-1", "--follow"];
            let arguments = [&follow[..], &["--control", &socket], more].concat();
            let code = run(
                Cli::try_parse_from(arguments).unwrap(),
                &FakeLaunch::default(),
                &mut text,
            );
            assert_eq!(code, ExitCode::from(EXIT_UNREACHABLE));
            String::from_utf8(text.clone()).unwrap()
        };
        let told = follow(&["--lines", "1"]);
        let headlines: Vec<_> = told.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            headlines,
            [
                "#2  1970-01-01 00:00:02.000Z  CLEAR: RESERVATION CONFLICT",
                "",
                "(3 entries were pushed out before they could be read)",
                "",
                "#6  1970-01-01 00:00:01.000Z  REGISTER: GOOD",
            ]
        );
        let told = follow(&["--json", "-n", "0"]);
        let lines = told.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<serde_json::Value> = lines.collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert_eq!(lines[0], serde_json::json!({ "lost": 3 }));
        assert_eq!(
            (&lines[1]["sequence"], &lines[1]["action"]),
            (&6.into(), &"REGISTER".into())
        );
        ask(&["server", "stop"]).unwrap();
    });
}

#[test]
fn what_is_to_be_set_is_told() {
    let set = ["volume", "set", "db-1"];
    let wrong = |more: &[&str]| refused(&[&set[..], more].concat());
    assert!(wrong(&[]).contains("--reservation-scope"), "{}", wrong(&[]));
    assert!(wrong(&["--sessions-max", "many"]).contains("a number of sessions, or `default`"));
    assert!(wrong(&["--reservation-scope", "host"]).contains("nexus, client"));
    assert!(wrong(&["--read-only", "yes"]).contains("true, false"));
    let help = refused(&[&set[..], &["--help"]].concat());
    for taught in [
        "At any time:",
        "Only while nobody uses",
        "Never:",
        "volume resize",
    ] {
        assert!(help.contains(taught), "{taught} in\n{help}");
    }
    against_a_server(|launch, ask| {
        ask(&["volume", "create", "db-1", "--size", "64MiB"]).unwrap();
        let shown = ask(&[&set[..], &["--sessions-max", "7"]].concat()).unwrap();
        assert!(shown.contains("of 7"), "{shown}");
        let json = ask(&[&set[..], &["--sessions-max", "default", "--json"]].concat()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["name"], &json["sessions_max"]),
            (&"db-1".into(), &128.into())
        );
        // The fake's volumes have registrations.
        let scope = [&set[..], &["--reservation-scope", "client"]].concat();
        assert_eq!(ask(&scope), Err(ExitCode::from(EXIT_FAILED)));
        ask(&["reservation", "clear", "db-1", "--yes"]).unwrap();
        let shown = ask(&[&scope[..], &["--json"]].concat()).unwrap();
        assert!(
            shown.contains("\"reservation_scope\": \"client\""),
            "{shown}"
        );
        assert_eq!(launch.plane.volumes().len(), 2);
        ask(&["server", "stop"]).unwrap();
    });
}

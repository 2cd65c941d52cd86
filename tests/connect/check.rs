//! `connect --check`, against clients that are there.

use serde_json::Value;

use super::server;
use super::support::initiator::Initiator;
use super::support::login::{Login, initiator_name};
use super::support::server::Server;

/// A session as the scripts make open-iscsi ask for it.
fn scripted(server: &Server, client: &str, index: u16) -> Login {
    let volume = server.volume("db-1");
    let portal = server.portals[usize::from(index) % server.portals.len()];
    let mut login = Login::new(portal, &volume.iqn, client).isid(index);
    for (key, value) in [
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "262144"),
        ("FirstBurstLength", "262144"),
        ("MaxRecvDataSegmentLength", "262144"),
    ] {
        login = login.key(key, value);
    }
    login.digests("CRC32C,None", "CRC32C,None")
}

fn check(server: &Server, more: &[&str]) -> (Option<i32>, Value) {
    let output = server.command(&[&["connect", "db-1", "--check", "--json"], more].concat());
    let report = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), report)
}

fn subjects(report: &Value) -> Vec<(String, String)> {
    let clients = report["clients"].as_array().expect("a list");
    let findings = clients
        .iter()
        .flat_map(|client| client["findings"].as_array().expect("a list"));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    findings
        .map(|finding| (text(&finding["severity"]), text(&finding["subject"])))
        .collect()
}

#[test]
fn a_client_is_judged_by_what_the_target_sees() {
    let server = server("");
    let (code, report) = check(&server, &[]);
    assert_eq!(
        (code, &report["ok"]),
        (Some(1), &Value::Bool(false)),
        "nobody is there"
    );

    let mut sound: Vec<Initiator> = (0..4)
        .map(|index| scripted(&server, "sound", index).connect())
        .collect();
    let (code, report) = check(&server, &["--sessions", "4"]);
    assert_eq!((code, subjects(&report)), (Some(0), vec![]), "{report}");
    let client = &report["clients"][0];
    assert_eq!(client["initiator"], initiator_name("sound").as_str());
    assert_eq!(client["sessions"], 4);
    for portal in &server.portals {
        assert_eq!(client["portals"][portal.to_string()], 2);
    }
    let text = server.text(&["connect", "db-1", "--check"]);
    assert!(text.contains("as it should be"), "{text}");

    let pair = |severity: &str, subject: &str| (severity.to_owned(), subject.to_owned());
    sound.pop().expect("one of four").logout();
    let (code, report) = check(&server, &["--sessions", "4"]);
    assert_eq!(
        (code, subjects(&report)),
        (Some(1), vec![pair("error", "sessions")])
    );

    let _lame = scripted(&server, "lame", 0)
        .digests("None", "CRC32C")
        .key("InitialR2T", "Yes")
        .connect();
    let (code, report) = check(&server, &["--initiator", &initiator_name("LAME")]);
    let expected = vec![
        pair("error", "digests"),
        pair("warning", "negotiation"),
        pair("error", "paths"),
    ];
    assert_eq!((code, subjects(&report)), (Some(1), expected), "{report}");
    assert_eq!(report["clients"].as_array().map(Vec::len), Some(1));
    let (code, _) = check(&server, &["--initiator", &initiator_name("sound")]);
    assert_eq!(code, Some(0), "the other client's faults are not its own");
}

#[test]
fn two_hosts_of_one_name_are_told() {
    let server = server("");
    let volume = server.volume("db-1");
    let host = |last: u8| {
        let login = Login::new(server.portal(), &volume.iqn, "twin").digests("CRC32C", "CRC32C");
        login
            .from(std::net::Ipv4Addr::new(127, 0, 0, last))
            .connect()
    };
    let mut one = host(2);
    let _other = host(3);
    assert!(
        one.is_closed_by_target(),
        "the same name and ISID: the first session is taken over"
    );
    let (code, report) = check(&server, &[]);
    assert_eq!(code, Some(1));
    let twin = subjects(&report)
        .into_iter()
        .filter(|(_, subject)| subject == "name");
    assert_eq!(twin.count(), 1, "{report}");
}

use std::path::Path;

use super::*;
use crate::control::config::PortalConfig;
use crate::control::rpc::Client;
use crate::control::service::fake::FakeLaunch;

fn config(data: &Path, listen: &[&str]) -> Config {
    let portal = |text: &&str| PortalConfig {
        listen: text.parse().unwrap(),
        ..PortalConfig::default()
    };
    Config {
        data: data.to_owned(),
        portals: listen.iter().map(portal).collect(),
        ..Config::default()
    }
}

fn start(config: Config, launch: &FakeLaunch) -> Result<Running, ServeError> {
    let (stop, _) = crossbeam_channel::bounded(1);
    Running::start(config, Tuning::default(), launch, stop)
}

#[test]
fn it_says_where_it_listens_and_how_to_connect() {
    let data = tempfile::tempdir().unwrap();
    let launch = FakeLaunch::default();
    let running = start(
        config(data.path(), &["127.0.0.1:0", "127.0.0.1:0"]),
        &launch,
    )
    .unwrap();
    let mut out = Vec::new();
    running.announce(&mut out);
    let text = String::from_utf8(out).unwrap();
    let portals = running.portals().to_vec();
    for portal in &portals {
        assert_ne!(portal.port(), 0);
        assert!(
            text.lines()
                .any(|line| line == format!("listening on {portal}")),
            "{text}"
        );
    }
    let iqn = "iqn.2024-01.internal.holdfast:holdfast:volume-1";
    for line in [
        format!("  iscsiadm -m node -T {iqn} -p {} -o new", portals[0]),
        format!("  qemu-img info iscsi://{}/{iqn}/0", portals[0]),
        format!("  iscsi-inq iscsi://{}/{iqn}/0", portals[0]),
    ] {
        assert!(text.contains(&line), "{text}");
    }
    running.stop();
    assert_eq!(launch.plane.calls(), ["drain", "stop"]);
}

#[test]
fn a_request_over_the_control_socket_stops_it() {
    let data = tempfile::tempdir().unwrap();
    let launch = FakeLaunch::default();
    let config = config(data.path(), &["127.0.0.1:0"]);
    let socket = config.control_socket();
    let (stop, stopped) = crossbeam_channel::bounded(1);
    let running = Running::start(config, Tuning::default(), &launch, stop).unwrap();
    let mut client = Client::connect(&socket).unwrap();
    client
        .call::<()>("server.stop", &serde_json::json!({}))
        .unwrap();
    drop(client);
    running.until(&stopped, &crossbeam_channel::never());
    assert!(!socket.exists());
    assert_eq!(launch.plane.calls(), ["drain", "stop"]);
}

#[test]
fn a_second_start_is_told_what_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let launch = FakeLaunch::default();
    let running = start(config(data.path(), &["127.0.0.1:0"]), &launch).unwrap();
    let told = |config: Config| start(config, &launch).err().unwrap().to_string();

    let same_data = told(config(data.path(), &["127.0.0.1:0"]));
    assert!(same_data.contains(&format!("in use by process {}", std::process::id())));

    let portal = running.portals()[0].to_string();
    let same_port = told(config(other.path(), &[&portal]));
    assert!(
        same_port.contains(&format!("can't listen on {portal}")),
        "{same_port}"
    );
    assert!(same_port.contains("--listen 127.0.0.1:PORT"), "{same_port}");

    let control = Some(data.path().join("control.sock"));
    let same_socket = told(Config {
        control,
        ..config(other.path(), &["127.0.0.1:0"])
    });
    assert!(
        same_socket.contains("belongs to a running server"),
        "{same_socket}"
    );

    assert!(
        Client::connect(&data.path().join("control.sock")).is_ok(),
        "the first still serves"
    );
    running.stop();
}

#[test]
fn a_failed_start_leaves_nothing_taken() {
    let data = tempfile::tempdir().unwrap();
    let launch = FakeLaunch::default();
    assert!(start(config(data.path(), &["192.0.2.1:0"]), &launch).is_err());
    start(config(data.path(), &["127.0.0.1:0"]), &launch)
        .unwrap()
        .stop();
}

#[test]
fn an_advertised_address_is_the_one_to_paste() {
    let bound: Vec<SocketAddr> = ["0.0.0.0:3260", "[::]:3260", "10.0.0.1:3260"]
        .map(|text| text.parse().unwrap())
        .into();
    let mut portals = vec![PortalConfig::default(); 3];
    portals[2].advertise = Some("san.example:860".parse().unwrap());
    assert_eq!(
        announce::reachable(&portals, &bound),
        ["127.0.0.1:3260", "[::1]:3260", "san.example:860"]
    );
}

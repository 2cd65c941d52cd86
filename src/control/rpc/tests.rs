use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::control::api::{self, VolumeView, method};
use crate::control::service::fake::{FakePlane, service};

struct Fixture {
    _data: tempfile::TempDir,
    socket: PathBuf,
    stopped: crossbeam_channel::Receiver<crate::control::service::StopReason>,
    _server: Server,
}

fn serve() -> Fixture {
    let data = tempfile::tempdir().unwrap();
    let (service, stopped) = service(data.path(), &Arc::new(FakePlane::default()));
    let socket = data.path().join("control.sock");
    let server = Server::start(ControlSocket::bind(&socket).unwrap(), Arc::new(service)).unwrap();
    Fixture {
        _data: data,
        socket,
        stopped,
        _server: server,
    }
}

/// What the server answers to a line of text.
fn raw(socket: &Path, line: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn a_socket_stands_where_nobody_else_can_put_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let set_mode = |mode: u32| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path(), permissions).unwrap();
    };
    for (mode, taken) in [(0o700, true), (0o755, true), (0o1777, true), (0o777, false)] {
        set_mode(mode);
        match ControlSocket::bind(&path) {
            Ok(socket) => {
                assert!(taken, "{mode:o}");
                let made = std::fs::metadata(socket.path()).unwrap().permissions();
                assert_eq!(made.mode() & 0o777, 0o600);
            }
            Err(error) => {
                let told = error.to_string();
                assert!(!taken, "{mode:o}: {told}");
                assert!(
                    told.contains("mode 0777") && told.contains("chmod o-w"),
                    "{told}"
                );
                assert!(!path.exists(), "nothing is left behind");
            }
        }
    }
    set_mode(0o700);
}

#[test]
fn a_client_creates_lists_and_deletes() {
    let fixture = serve();
    let mut client = Client::connect(&fixture.socket).unwrap();
    let create = json!({ "name": "db-1", "size_bytes": 1 << 30, "backend": "ram" });
    let made: VolumeView = client.call(method::VOLUME_CREATE, &create).unwrap();
    assert_eq!((made.size_bytes, made.backend.as_str()), (1 << 30, "ram"));
    let volumes: Vec<VolumeView> = client.call(method::VOLUME_LIST, &json!({})).unwrap();
    assert_eq!(volumes.len(), 2);
    let name = json!({ "name": "db-1" });
    let _: VolumeView = client.call(method::VOLUME_DELETE, &name).unwrap();
    let error = client
        .call::<VolumeView>(method::VOLUME_SHOW, &name)
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { code: -32_001, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("hint: `holdfast volume list`"),
        "{error}"
    );
    let status: api::ServerStatus = client.call(method::SERVER_STATUS, &json!({})).unwrap();
    assert_eq!(status.pid, std::process::id());
    client.call::<()>(method::SERVER_STOP, &json!({})).unwrap();
    // It is answered first.
    let patience = std::time::Duration::from_secs(10);
    assert!(fixture.stopped.recv_timeout(patience).is_ok());
}

#[test]
fn every_method_exists() {
    let fixture = serve();
    for name in super::methods::NAMES {
        let answer = raw(
            &fixture.socket,
            &format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{name}\"}}\n"),
        );
        assert_ne!(answer["error"]["code"], json!(-32_601), "{name}");
    }
}

#[test]
fn broken_requests_get_the_codes_of_the_standard() {
    let fixture = serve();
    let code = |line: &str| raw(&fixture.socket, &format!("{line}\n"))["error"]["code"].as_i64();
    assert_eq!(code("{"), Some(-32_700));
    assert_eq!(code("7"), Some(-32_600));
    assert_eq!(code("[]"), Some(-32_600));
    assert_eq!(code(r#"{"id":1,"method":"volume.list"}"#), Some(-32_600));
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":[],"method":"volume.list"}"#),
        Some(-32_600)
    );
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":1,"method":"volume.fly"}"#),
        Some(-32_601)
    );
    let wrong = r#"{"jsonrpc":"2.0","id":1,"method":"volume.list","params":{"x":1}}"#;
    assert_eq!(code(wrong), Some(-32_602));
    let deep = "[".repeat(5000);
    assert_eq!(code(&deep), Some(-32_700));
}

#[test]
fn a_wrong_name_is_told_with_its_rule() {
    let fixture = serve();
    let answer = raw(
        &fixture.socket,
        "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"volume.show\",\"params\":{\"name\":\"X\"}}\n",
    );
    assert_eq!(answer["id"], json!("a"));
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("3 to 63 of a-z")
    );
    assert_eq!(answer["error"]["data"]["what"], json!("params"));
}

#[test]
fn a_batch_answers_what_asks_for_it() {
    let fixture = serve();
    let answer = raw(
        &fixture.socket,
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"volume.list\"},\
          {\"jsonrpc\":\"2.0\",\"method\":\"volume.list\"},5]\n",
    );
    assert_eq!(answer.as_array().unwrap().len(), 2);
    assert!(answer[0]["result"].is_array());
    assert_eq!(answer[1]["error"]["code"], json!(-32_600));
}

#[test]
fn a_request_without_end_is_refused() {
    let fixture = serve();
    let answer = raw(&fixture.socket, &" ".repeat(64 << 10));
    assert!(
        answer["error"]["data"]["expected"]
            .as_str()
            .unwrap()
            .contains("65536")
    );
}

#[test]
fn connections_are_bounded() {
    let fixture = serve();
    let held: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|_| Client::connect(&fixture.socket).unwrap())
        .collect();
    let mut refusal = String::new();
    let one_more = UnixStream::connect(&fixture.socket).unwrap();
    BufReader::new(one_more).read_line(&mut refusal).unwrap();
    assert!(refusal.contains("fewer connections"), "{refusal}");
    drop(held);
}

#[test]
fn the_socket_is_private_and_its_place_is_respected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let first = ControlSocket::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        ControlSocket::bind(&path),
        Err(SocketError::InUse(_))
    ));
    drop(first);
    assert!(!path.exists());

    // A server that died leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(ControlSocket::bind(&path).unwrap());

    std::fs::write(&path, b"precious").unwrap();
    assert!(matches!(
        ControlSocket::bind(&path),
        Err(SocketError::NoSocket(_))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    let long = directory.path().join("x".repeat(120));
    assert!(matches!(
        ControlSocket::bind(&long),
        Err(SocketError::TooLong(_))
    ));
}

#[test]
fn nobody_there_is_told_with_a_hint() {
    let error = Client::connect(Path::new("/nowhere/control.sock"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nowhere/control.sock") && error.contains("holdfast serve"),
        "{error}"
    );
}

//! `holdfast session` and `holdfast server`.

use crate::support::server::Setup;
use crate::transcript::Transcript;

#[test]
fn who_is_logged_in() {
    let server = Setup::default().start();
    let volume = server.create_small("db-1");
    let session = server.session(&volume, "node-a");
    Transcript::with(&server)
        .run("session list")
        .run("session list --volume db-1")
        .run("session list --volume db-2")
        .matches("session");
    session.logout();
}

#[test]
fn the_server_itself() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("server status")
        .run("server stop")
        .matches("server");
}

#[test]
fn nodes_out_of_service() {
    let server = Setup::default().start();
    server.create_small("db-1");
    let node = "--initiator iqn.2024-01.test:node-a";
    Transcript::with(&server)
        .run(&format!("session drain {node} --deadline 5s"))
        .run("session drain --address 10.0.0.7 --volume db-1 --redirect 10.0.0.2:3260 --json")
        .run("session drains")
        .run("volume show db-1")
        .run(&format!("session admit {node}"))
        .run(&format!("session admit {node}"))
        .run("session drain")
        .run("session drain --initiator node-a")
        .run("session drain --address 10.0.0.7 --deadline soon")
        .run("session drain --address 10.0.0.7 --deadline 2h")
        .run("session drain --address 10.0.0.7 --volume nowhere")
        .run("server drain")
        .run("server admit")
        .run("server admit")
        .matches("session_drain");
}

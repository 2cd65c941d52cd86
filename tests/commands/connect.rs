//! `holdfast connect`.

use crate::support::server::Setup;
use crate::transcript::Transcript;

const PORTALS: &str = "--portal 10.0.0.5:3260 --portal 10.0.1.5:3260";

#[test]
fn what_connects_each_client() {
    let server = Setup::default().start();
    server.create_small("db-1");
    for client in ["linux", "windows", "esxi", "qemu", "k8s"] {
        Transcript::with(&server)
            .run(&format!("connect db-1 --client {client} {PORTALS}"))
            .matches(&format!("connect_{client}"));
    }
}

#[test]
fn clients_that_are_connected_and_what_is_refused() {
    let config = "[groups.narrow]\nsessions_per_initiator = 8\n";
    let server = Setup::default().config(config).start();
    let volume = server.create_small("db-1");
    server.text(&[
        "volume",
        "create",
        "db-2",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--group",
        "narrow",
    ]);
    let session = server
        .login(&volume, "node-a")
        .digests("CRC32C", "CRC32C")
        .connect();
    Transcript::with(&server)
        .run("connect db-1 --check")
        .run("connect db-1 --check --sessions 2 --json")
        .run("connect db-2 --check")
        .run("connect db-2 --client linux --sessions 9")
        .run("connect db-2 --client linux --mutual")
        .run("connect db-2 --client esxi --sessions 4")
        .run("connect db-2 --client linux --portal nowhere")
        .run("connect db-2 --client k8s --namespace Nowhere")
        .run("connect db-2")
        .run("connect db-3 --client linux")
        .matches("connect_check");
    session.logout();
}

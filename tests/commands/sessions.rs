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

//! `holdfast reservation`.

use crate::support::server::Setup;
use crate::transcript::Transcript;

#[test]
fn a_reservation_and_its_history() {
    let server = Setup::default().start();
    let volume = server.create_small("db-1");
    let mut a = server.session(&volume, "node-a");
    let mut b = server.session(&volume, "node-b");
    a.register(0, 0xA1).good();
    b.register(0, 0xB2).good();
    a.reserve(5, 0xA1).good();
    Transcript::with(&server)
        .run("reservation show db-1")
        .run("reservation check db-1 --preempt 0xa1")
        .run("reservation check db-1 --preempt 0xc3")
        .run("reservation history db-1")
        .run("reservation clear db-1")
        .run("reservation clear db-1 --yes")
        .run("reservation show db-1")
        .run("reservation show db-2")
        .matches("reservation");
    a.logout();
    b.logout();
}

//! `holdfast events` and `holdfast top`: what they refuse. What they tell depends on the moment, and is
//! judged by `tests/monitoring.rs`; how it looks, by the tests beside the code.

use crate::support::server::Setup;
use crate::transcript::Transcript;

#[test]
fn events() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("group create databases")
        .run("group create databases")
        .run("group delete databases")
        .run("events --limit 2")
        .run("events --since yesterday")
        .run("events --limit some")
        .matches("events");
}

#[test]
fn top() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("top")
        .run("top --once --interval 10ms")
        .run("top --once --interval soon")
        .matches("top");
}

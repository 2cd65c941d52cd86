//! `holdfast connect`: what it prints is run against programs that record what they are asked for, read
//! by the parsers of its languages, and held against clients that are really connected.

#[path = "../support/mod.rs"]
mod support;

mod check;
mod host;
mod linux;
mod others;

use support::server::{Server, Setup};

/// Two portals of a server and what a client may be told of them.
const TWO_PORTALS: [&str; 4] = ["--portal", "10.0.0.5:3260", "--portal", "[fd00::5]:3261"];

/// A server with a volume `db-1` in group `databases`.
fn server(rules: &str) -> Server {
    let config = format!("[groups.databases]\n{rules}");
    let server = Setup::default()
        .config(&config)
        .listen(&["127.0.0.1:0", "127.0.0.1:0"])
        .start();
    let volume = ["volume", "create", "db-1", "--group", "databases"];
    server.text(&[&volume[..], &["--size", "64MiB", "--backend", "ram"]].concat());
    server
}

fn connect(server: &Server, client: &str, more: &[&str]) -> String {
    server.text(&[&["connect", "db-1", "--client", client], more].concat())
}

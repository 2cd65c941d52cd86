//! `holdfast upgrade`.

use serde_json::json;

use crate::support::server::{Engine, Setup};
use crate::transcript::Transcript;

#[test]
fn what_it_says_and_why_it_refuses() {
    let mut server = Setup::new(Engine::Mio, 1, "file").start();
    let _session = server.session(&server.create_small("db-1"), "a");
    server.take_in_orphans();
    let before = server.process_id();
    Transcript::with(&server)
        .run("upgrade --check")
        .run("upgrade --check --json")
        .run("upgrade --check --binary /nowhere/holdfast")
        .run("upgrade --binary /bin/false")
        .run("upgrade --patience 16s")
        .run("upgrade --patience soon")
        .run("volume create scratch --size 64MiB --backend ram")
        .run("upgrade --check")
        .run("volume delete scratch")
        .run("upgrade")
        .run("serve --take-over")
        .matches("upgrade");
    let after = server.json(&["server", "status"])["pid"].clone();
    server.succeed(&json!({ "before": { "pid": before }, "after": { "pid": after } }));
}

//! `holdfast group`.

use crate::support::server::Setup;
use crate::transcript::Transcript;

#[test]
fn groups_and_what_they_refuse() {
    let server = Setup::default()
        .config("[groups.finance]\nallow = [\"10.1.0.0/16\"]\n")
        .start();
    Transcript::with(&server)
        .run("group create finance")
        .run("group list")
        .run("group list --json")
        .run("group create finance")
        .run("group create F")
        .run("volume create ledger --size 64MiB --backend null --group finance")
        .run("group delete finance")
        .run("volume delete ledger")
        .run("group delete finance")
        .run("group delete finance")
        .matches("group");
}

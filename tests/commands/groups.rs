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

#[test]
fn the_rules_of_a_group_and_what_says_so() {
    let config = "[limits]\nsessions_per_initiator = 64\n\
                  [access]\nallow = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n\
                  [groups.databases]\ninitiators = [\"iqn.2024-01.test:db1\"]\nenforce_crc = true\n\
                  sessions_per_initiator = 32\nmax_burst_length = \"256KiB\"\n";
    let server = Setup::default().config(config).start();
    Transcript::with(&server)
        .run("group show databases")
        .run("group show databases --json")
        .run("group show default")
        .run("group show nowhere")
        .run("group show X")
        .matches("group_show");
}

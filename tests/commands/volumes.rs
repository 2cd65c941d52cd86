//! `holdfast volume`.

use crate::support::server::Setup;
use crate::transcript::Transcript;

#[test]
fn a_volume_from_its_making_to_its_end() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("volume create db-1 --size 64MiB --backend ram --group databases")
        .run("volume list")
        .run("volume show db-1")
        .run("volume show db-1 --json")
        .run("volume resize db-1 --size 128MiB")
        .run("volume set db-1 --sessions-max 2")
        .run("volume list --json")
        .run("volume delete db-1")
        .run("volume list")
        .matches("volume");
}

#[test]
fn what_volumes_refuse() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("volume create DB --size 1GiB")
        .run("volume create db--1 --size 1GiB")
        .run("volume create ab --size 1GiB")
        .run("volume create db-1")
        .run("volume create db-1 --size 0")
        .run("volume create db-1 --size 1KiB")
        .run("volume create db-1 --size 65TiB --backend null")
        .run("volume create db-1 --size 1048577 --backend null")
        .run("volume create db-1 --size much")
        .run("volume create db-1 --size 64MiB --backend tape")
        .run("volume create db-1 --size 64MiB --backend block --path /dev/null")
        .run("volume create db-1 --size 64MiB --path /no/such/directory/file")
        .run("volume create db-1 --size 64MiB --group A")
        .run("volume create db-1 --size 64MiB --backend null --sessions-max 0")
        .run("volume create db-1 --size 64MiB --backend null")
        .run("volume create db-1 --size 64MiB --backend null")
        .run("volume resize db-1 --size 32MiB")
        .run("volume resize db-2 --size 1GiB")
        .run("volume show db-2")
        .run("volume show db-2 --json")
        .run("volume set db-1 --block-size 4096")
        .run("volume set db-1")
        .run("volume delete db-2")
        .matches("volume_refusals");
}

//! Limits of operations and bytes: `volume create`, `volume set`, `group set`, and how they are shown.

use crate::support::server::Setup;
use crate::transcript::Transcript;

#[test]
fn limits_of_volumes_and_groups() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("volume create db-1 --size 4GiB --backend null --group databases --limits provisioned")
        .run("volume show db-1")
        .run("volume resize db-1 --size 8GiB")
        .run("volume set db-1 --iops-max 5000 --burst 2s")
        .run("volume show db-1 --json")
        .run("volume set db-1 --limits none --bandwidth-max 64MiB/s")
        .run("volume create db-2 --size 1GiB --backend null --group databases")
        .run("group set databases --iops-max 20000 --bandwidth-max 500MB/s --limits provisioned")
        .run("volume show db-2")
        .run("volume set db-2 --limits none")
        .run("group list")
        .run("group set databases --burst 5s --iops-max none")
        .run("group set databases --limits none --json")
        .run("volume set db-2 --limits inherit")
        .run("volume set db-1 --limits inherit")
        .matches("limits");
}

#[test]
fn what_limits_refuse() {
    let server = Setup::default().start();
    Transcript::with(&server)
        .run("volume create db-1 --size 4GiB --backend null --iops-max 100")
        .run("volume create db-2 --size 4GiB --backend null --iops-max 1")
        .run("volume set db-1 --iops-max 9")
        .run("volume set db-1 --iops-max 10000001")
        .run("volume set db-1 --iops-max many")
        .run("volume set db-1 --iops-max -1")
        .run("volume set db-1 --bandwidth-max 100kB/s")
        .run("volume set db-1 --bandwidth-max 2TB/s")
        .run("volume set db-1 --bandwidth-max 100")
        .run("volume set db-1 --bandwidth-max fast")
        .run("volume set db-1 --burst 1ms")
        .run("volume set db-1 --burst 2h")
        .run("volume set db-1 --burst 90m")
        .run("volume set db-1 --limits gold")
        .run("volume set db-3 --limits none")
        .run("group set nobody --iops-max 100")
        .run("group set default --iops-max 5")
        .run("group set default --limits inherit")
        .run("group set default")
        .matches("limits_refusals");
}

//! Windows Server: failover cluster validation, a cluster disk or CSV in use, a SQL Server failover
//! cluster instance.
//!
//! Source: MS-CSVP sections 3.2.4.15–3.2.4.24 for the validation. The type, the attempts of an unregistered
//! node, and a disk in use, whose owner looks at its keys and its reservation every three seconds, are
//! common practice that no public text lays down.

use super::stage::{NodeId, Stage, in_every_form};
use crate::support::cluster::{A, B, C, held};
use crate::support::reserve::kind;
use crate::support::scsi::{pattern, sense};
use crate::support::server::Setup;

crate::on_every_engine!(
    validation,
    cluster_disk_in_use,
    owner_defends_its_disk,
    sql_server_failover,
);

fn validation(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("witness");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        stage.register_and_ignore(a, A).good();
        stage.on(a).reserve(kind::WE_RO, A).good();
        for node in [a, b] {
            assert_eq!(stage.on(node).keys(), [A]);
            assert_eq!(stage.on(node).read_reservation(), held(A, kind::WE_RO));
        }
        stage.on(a).write_blocks(0, &pattern(1, 8)).good();

        stage.on(b).write_blocks(0, &pattern(2, 8)).conflict();
        assert_eq!(stage.on(b).read_blocks(0, 8).good(), pattern(1, 8));
        stage.on(b).preempt(kind::WE_RO, B, A).conflict();
        stage.on(b).reserve(kind::WE_RO, B).conflict();
        stage.register_and_ignore(b, B).good();
        stage.on(b).reserve(kind::WE_RO, B).conflict();
        stage.on(b).preempt(kind::WE_RO, B, A).good();
        assert_eq!(stage.on(b).read_reservation(), held(B, kind::WE_RO));

        stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(a).write_blocks(0, &pattern(3, 8)).conflict();
        stage.on(b).write_blocks(0, &pattern(4, 8)).good();
        stage.on(b).release(kind::WE_RO, B).good();
        stage.register_and_ignore(b, 0).good();
        assert!(stage.on(a).keys().is_empty());

        // The clean-up registers for CLEAR, which takes everybody's key.
        stage.register_and_ignore(a, A).good();
        stage.register_and_ignore(b, B).good();
        stage.on(a).clear(A).good();
        stage.expect(b, &[sense::RESERVATIONS_PREEMPTED]);
        assert!(stage.on(b).keys().is_empty());
        assert_eq!(stage.on(b).read_reservation(), None);
    });
}

/// What the owner does every three seconds.
fn assert_owns(stage: &mut Stage, owner: NodeId, key: u64) {
    assert!(stage.on(owner).keys().contains(&key));
    assert_eq!(stage.on(owner).read_reservation(), held(key, kind::WE_RO));
}

fn cluster_disk_in_use(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("csv-disk");
        let [a, b, c] = ["a", "b", "c"].map(|name| stage.join(disk, name));
        for (node, key) in [(a, A), (b, B), (c, C)] {
            stage.register_and_ignore(node, key).good();
        }
        stage.on(a).reserve(kind::WE_RO, A).good();
        for _ in 0..3 {
            assert_owns(stage, a, A);
        }
        // Every node of a cluster shared volume writes to its own place.
        for (node, lba) in [(a, 0), (b, 8), (c, 16)] {
            stage.on(node).write_blocks(lba, &pattern(lba, 8)).good();
        }

        stage.on(b).preempt(kind::WE_RO, B, A).good();
        stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(a).write_blocks(0, &pattern(9, 8)).conflict();
        stage.on(a).reserve(kind::WE_RO, A).conflict();
        stage.expect(c, &[]);
        stage.on(c).write_blocks(16, &pattern(9, 8)).good();
        assert_owns(stage, b, B);

        stage.on(b).release(kind::WE_RO, B).good();
        stage.expect(c, &[sense::RESERVATIONS_RELEASED]);
        stage.expect(a, &[]);
        stage.expect(b, &[]);
        // Whoever comes first is the next owner.
        stage.on(c).reserve(kind::WE_RO, C).good();
        stage.on(b).reserve(kind::WE_RO, B).conflict();
        assert_eq!(stage.on(a).read_blocks(0, 8).good(), pattern(0, 8));
    });
}

/// Arbitration that the owner wins: it finds a key that is not its own and removes it.
fn owner_defends_its_disk(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("quorum");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        stage.register_and_ignore(a, A).good();
        stage.on(a).reserve(kind::WE_RO, A).good();
        // The challenger registers, and gives the owner time to show that it lives.
        stage.register_and_ignore(b, B).good();
        assert_eq!(stage.on(b).read_reservation(), held(A, kind::WE_RO));
        assert_eq!(stage.on(a).keys(), [A, B]);
        stage.on(a).preempt(kind::WE_RO, A, B).good();
        assert_owns(stage, a, A);

        stage.expect(b, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(b).preempt(kind::WE_RO, B, A).conflict();
        stage.on(b).write_blocks(0, &pattern(1, 1)).conflict();
        stage.expect(a, &[]);
        stage.on(a).write_blocks(0, &pattern(2, 1)).good();
    });
}

fn sql_server_failover(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("sql-data");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        stage.register_and_ignore(a, A).good();
        stage.on(a).reserve(kind::WE_RO, A).good();
        let committed = pattern(1, 8);
        stage.on(a).write_blocks_fua(0, &committed).good();

        // The active node dies. The passive one takes the disk, and finds what was committed.
        stage.lose(a);
        stage.register_and_ignore(b, B).good();
        assert_eq!(stage.on(b).read_reservation(), held(A, kind::WE_RO));
        stage.on(b).preempt(kind::WE_RO, B, A).good();
        assert_eq!(stage.on(b).keys(), [B]);
        assert_eq!(stage.on(b).read_blocks(0, 8).good(), committed);
        let recovered = pattern(2, 8);
        stage.on(b).write_blocks_fua(0, &recovered).good();

        // What it still wanted to write when it comes back comes too late.
        stage.restore(a);
        stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(a).write_blocks_fua(0, &committed).conflict();
        stage.register_and_ignore(a, A).good();
        assert_eq!(stage.on(a).read_blocks(0, 8).good(), recovered);

        // A planned move back.
        stage.on(b).flush().good();
        stage.on(b).release(kind::WE_RO, B).good();
        stage.expect(a, &[sense::RESERVATIONS_RELEASED]);
        stage.on(a).reserve(kind::WE_RO, A).good();
        assert_owns(stage, a, A);
        stage.on(b).reserve(kind::WE_RO, B).conflict();
    });
}

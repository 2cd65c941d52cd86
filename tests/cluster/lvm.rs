//! LVM's persistent reservations (`vgchange --persist`, `lvmpersist`).
//!
//! Source: `scripts/lvmpersist.sh` of lvm2. It sends TEST UNIT READY to each device, reads the
//! capabilities, registers with the key ignored (`--ptpl`: APTPL), and reserves type 1 for one host or
//! type 7 for several; a takeover is PREEMPT AND ABORT of the other's key; a stop unregisters.

use super::stage::{NodeId, Stage, in_every_form};
use crate::support::cluster::{A, B, C, held};
use crate::support::reserve::{flag, kind};
use crate::support::scsi::{pattern, sense, test_unit_ready};
use crate::support::server::Setup;

crate::on_every_engine!(
    exclusive_to_one_host,
    shared_by_hosts,
    takeover,
    remove_and_clear,
);

/// `lvmpersist start`.
fn start(stage: &mut Stage, node: NodeId, key: u64, kind: u8) {
    stage.on(node).none(&test_unit_ready()).good();
    let capabilities = stage.on(node).report_capabilities();
    assert_eq!(
        capabilities.0[2..],
        [0xea, 0x01],
        "the type mask: all six types"
    );
    stage.register_and_ignore(node, key).good();
    let reservation = stage.on(node).read_reservation();
    if reservation.is_none_or(|held| held.kind != kind) {
        stage.on(node).reserve(kind, key).good();
    }
}

/// `lvmpersist stop`.
fn stop(stage: &mut Stage, node: NodeId, key: u64) {
    stage.register(node, key, 0).good();
    assert!(!stage.on(node).keys().contains(&key));
}

fn exclusive_to_one_host(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("group");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        start(stage, a, A, kind::WE);
        assert_eq!(stage.on(b).read_reservation(), held(A, kind::WE));
        stage.on(a).write_blocks(0, &pattern(1, 8)).good();
        stage.on(b).write_blocks(0, &pattern(2, 8)).conflict();
        assert_eq!(stage.on(b).read_blocks(0, 8).good(), pattern(1, 8));
        // A second host that starts the group registers, may not reserve, and takes its key back.
        stage.register_and_ignore(b, B).good();
        stage.on(b).reserve(kind::WE, B).conflict();
        stage.on(b).write_blocks(0, &pattern(2, 8)).conflict();
        stop(stage, b, B);
        stop(stage, a, A);
        assert_eq!(
            stage.on(b).read_reservation(),
            None,
            "it went with its holder"
        );
        // Write Exclusive: nobody is told.
        stage.expect(a, &[]);
        stage.expect(b, &[]);
        start(stage, b, B, kind::WE);
    });
}

fn shared_by_hosts(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("shared-vg");
        let [a, b, c] = ["a", "b", "c"].map(|name| stage.join(disk, name));
        start(stage, a, A, kind::WE_AR);
        start(stage, b, B, kind::WE_AR);
        assert_eq!(stage.on(c).read_reservation(), held(0, kind::WE_AR));
        for (node, lba) in [(a, 0), (b, 8)] {
            stage.on(node).write_blocks(lba, &pattern(lba, 8)).good();
        }
        stage.on(c).write_blocks(0, &pattern(3, 8)).conflict();
        stop(stage, a, A);
        stage.on(a).write_blocks(0, &pattern(3, 8)).conflict();
        stage.on(b).write_blocks(8, &pattern(4, 8)).good();
        stop(stage, b, B);
        assert_eq!(
            stage.on(c).read_reservation(),
            None,
            "it goes with the last host"
        );
        stage.on(c).write_blocks(0, &pattern(5, 8)).good();
    });
}

fn takeover(setup: Setup) {
    for (kind, reported) in [(kind::WE, B), (kind::WE_AR, 0)] {
        in_every_form(&setup, |stage| {
            let disk = stage.disk("group");
            let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
            start(stage, a, A, kind);
            stage.on(a).write_blocks(0, &pattern(1, 8)).good();
            assert!(stage.on(b).keys().contains(&A));
            stage.register_and_ignore(b, B).good();
            stage.on(b).preempt_and_abort(kind, B, A).good();
            assert_eq!(stage.on(b).keys(), [B]);
            assert_eq!(stage.on(b).read_reservation(), held(reported, kind));
            stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
            stage.on(a).write_blocks(0, &pattern(2, 8)).conflict();
            assert_eq!(stage.on(b).read_blocks(0, 8).good(), pattern(1, 8));
            stage.on(b).write_blocks(0, &pattern(3, 8)).good();
        });
    }
}

/// `--ptpl`, `lvmpersist remove` of one key, `lvmpersist clear`.
fn remove_and_clear(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("group");
        let [a, b, c] = ["a", "b", "c"].map(|name| stage.join(disk, name));
        for (node, key) in [(a, A), (b, B), (c, C)] {
            stage.on(node).register_with(0, key, flag::APTPL).good();
        }
        let capabilities = stage.on(a).report_capabilities();
        assert_eq!(capabilities.0[0] & 1, 1, "PTPL_C");
        assert_eq!(capabilities.0[1] & 1, 1, "PTPL_A");
        stage.on(a).reserve(kind::WE_AR, A).good();
        stage.on(a).preempt_and_abort(kind::WE_AR, A, C).good();
        stage.expect(c, &[sense::REGISTRATIONS_PREEMPTED]);
        assert_eq!(stage.on(a).keys(), [A, B]);
        stage.on(b).clear(B).good();
        stage.expect(a, &[sense::RESERVATIONS_PREEMPTED]);
        stage.expect(c, &[]);
        assert!(stage.on(c).keys().is_empty());
        stage.on(c).write_blocks(0, &pattern(1, 1)).good();
    });
}

//! VMware vSphere: clustered virtual disks, whose guests' reservations the hosts hold as Write Exclusive
//! – All Registrants, and the locks of VMFS by ATS, which is COMPARE AND WRITE.
//!
//! Sources: "Clustered VMDK" and "VAAI Hardware Assisted Locking" of the vSphere storage documentation.

use super::stage::{NodeId, Stage, in_every_form};
use crate::support::cluster::{A, B, C, held};
use crate::support::reserve::kind;
use crate::support::scsi::{BLOCK, Outcome, compare_and_write, pattern, sense};
use crate::support::server::Setup;

crate::on_every_engine!(clustered_disk, host_fails, atomic_test_and_set);

fn clustered_disk(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("datastore");
        let [a, b, c] = ["a", "b", "c"].map(|name| stage.join(disk, name));
        stage.register(a, 0, A).good();
        stage.register(b, 0, B).good();
        stage.on(a).reserve(kind::WE_AR, A).good();
        assert_eq!(stage.on(c).read_reservation(), held(0, kind::WE_AR));
        stage.on(b).reserve(kind::WE_AR, B).good();
        stage.on(b).reserve(kind::WE_RO, B).conflict();
        stage.on(c).reserve(kind::WE_AR, C).conflict();
        for node in [a, b] {
            stage.on(node).write_blocks(0, &pattern(1, 8)).good();
        }
        stage.on(c).write_blocks(0, &pattern(2, 8)).conflict();
        assert_eq!(stage.on(c).read_blocks(0, 8).good(), pattern(1, 8));
        // A host that joins later is a holder as soon as it has registered.
        stage.register(c, 0, C).good();
        stage.on(c).write_blocks(0, &pattern(3, 8)).good();

        stage.register(a, A, 0).good();
        stage.on(a).write_blocks(0, &pattern(4, 8)).conflict();
        stage.register(b, B, 0).good();
        assert!(stage.on(a).read_reservation().is_some());
        stage.register(c, C, 0).good();
        let left = stage.on(a).read_reservation();
        assert_eq!(left, None, "it ends with the last registrant");
        stage.on(a).write_blocks(0, &pattern(5, 8)).good();
    });
}

fn host_fails(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("datastore");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        stage.register(a, 0, A).good();
        stage.register(b, 0, B).good();
        stage.on(a).reserve(kind::WE_AR, A).good();
        stage.lose(a);
        stage.on(b).preempt_and_abort(kind::WE_AR, B, A).good();
        assert_eq!(stage.on(b).keys(), [B]);
        assert_eq!(stage.on(b).read_reservation(), held(0, kind::WE_AR));
        stage.restore(a);
        stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(a).write_blocks(0, &pattern(1, 1)).conflict();
        // All others at once, with key zero; the type may change.
        stage.register(a, 0, A).good();
        stage.on(b).preempt(kind::WE_RO, B, 0).good();
        stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
        assert_eq!(stage.on(a).read_reservation(), held(B, kind::WE_RO));
    });
}

/// Takes or gives up the lock in block 0.
fn test_and_set(stage: &mut Stage, node: NodeId, from: &[u8], to: &[u8]) -> Outcome {
    let data = [from, to].concat();
    stage.on(node).write(&compare_and_write(0, 1), &data)
}

fn atomic_test_and_set(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("vmfs");
        let [a, b, c] = ["a", "b", "c"].map(|name| stage.join(disk, name));
        stage.register(a, 0, A).good();
        stage.register(b, 0, B).good();
        stage.on(a).reserve(kind::WE_AR, A).good();
        let (free, of_a, of_b) = (vec![0; BLOCK], pattern(1, 1), pattern(2, 1));
        test_and_set(stage, a, &free, &of_a).good();
        let (key, asc, ascq) = sense::MISCOMPARE;
        test_and_set(stage, b, &free, &of_b).check(key, asc, ascq);
        assert_eq!(stage.on(b).read_blocks(0, 1).good(), of_a);
        // A stranger conflicts, whether the comparison would hold or not, and learns nothing by it.
        test_and_set(stage, c, &of_a, &of_b).conflict();
        test_and_set(stage, c, &free, &of_b).conflict();
        test_and_set(stage, a, &of_a, &free).good();
        test_and_set(stage, b, &free, &of_b).good();
        assert_eq!(stage.on(c).read_blocks(0, 1).good(), of_b);
        // A lock holder that was fenced can neither renew its lock nor give it up.
        stage.on(a).preempt_and_abort(kind::WE_AR, A, B).good();
        stage.expect(b, &[sense::REGISTRATIONS_PREEMPTED]);
        test_and_set(stage, b, &of_b, &free).conflict();
        test_and_set(stage, a, &of_b, &of_a).good();
    });
}

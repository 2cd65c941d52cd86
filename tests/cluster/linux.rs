//! Linux: the block layer's `pr_ops` on a SCSI disk, the same below dm-multipath, and the NFS server
//! with the SCSI layout, which fences its clients by them.
//!
//! Sources: `drivers/scsi/sd.c` (REGISTER always with APTPL), `drivers/md/dm.c` (registrations on every
//! path, undone where one fails) and `fs/nfsd/blocklayout.c` of Linux.

use super::stage::{NodeId, Stage, in_every_form};
use crate::support::cluster::{A, B, held};
use crate::support::reserve::{action, flag, kind, parameters};
use crate::support::scsi::{Outcome, pattern, sense};
use crate::support::server::Setup;

crate::on_every_engine!(
    block_layer,
    device_mapper_preempts_without_abort,
    device_mapper_undoes_a_registration,
    nfs_server_fences_a_client,
);

/// `IOC_PR_REGISTER`.
fn pr_register(stage: &mut Stage, node: NodeId, key: u64, new_key: u64) -> Outcome {
    stage.on(node).register_with(key, new_key, flag::APTPL)
}

/// `IOC_PR_REGISTER` with `PR_FL_IGNORE_KEY`.
fn pr_register_ignore(stage: &mut Stage, node: NodeId, new_key: u64) -> Outcome {
    let list = parameters(0, new_key, flag::APTPL);
    let session = stage.on(node);
    session.reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
}

fn block_layer(setup: Setup) {
    in_every_form(&setup, |stage| {
        let disk = stage.disk("scsi-disk");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        for kind in kind::ALL {
            let is_shared = kind >= kind::WE_AR;
            pr_register(stage, a, 0, A).good();
            pr_register(stage, a, 0, A).conflict();
            pr_register_ignore(stage, b, B).good();
            stage.on(a).reserve(kind, A).good();
            assert_eq!(stage.on(b).reserve(kind, B).is_conflict(), !is_shared);
            let reported = if is_shared { 0 } else { A };
            assert_eq!(stage.on(b).read_reservation(), held(reported, kind));
            assert_eq!(stage.on(b).keys(), [A, B]);
            stage.on(b).preempt(kind, B, A).good();
            stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
            stage.on(a).release(kind, A).conflict();
            pr_register(stage, a, 0, A).good();
            stage.on(b).preempt_and_abort(kind, B, A).good();
            stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
            pr_register(stage, a, 0, A).good();
            stage.on(a).clear(A).good();
            stage.expect(b, &[sense::RESERVATIONS_PREEMPTED]);
            assert_eq!(stage.on(b).read_reservation(), None);
        }
    });
}

/// Whoever asked dm-multipath for PREEMPT AND ABORT gets PREEMPT, and counts on the fence all the same:
/// after GOOD the victim's writes are over, those included that were on their way.
fn device_mapper_preempts_without_abort(setup: Setup) {
    const WRITES: u64 = 32;
    in_every_form(&setup, |stage| {
        let disk = stage.disk("dm-0");
        let [a, b] = ["a", "b"].map(|name| stage.join(disk, name));
        pr_register(stage, a, 0, A).good();
        pr_register(stage, b, 0, B).good();
        stage.on(a).reserve(kind::WE_RO, A).good();

        let (preemptor, victim) = stage.both(b, a);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let answers = (1..=WRITES).map(|stamp| victim.write_blocks(0, &pattern(stamp, 8)));
                answers.collect::<Vec<_>>()
            });
            preemptor.preempt(kind::WE_RO, B, A).good();
            let after_good = preemptor.read_blocks(0, 8).good();
            let answers = writer.join().expect("it is answered");
            assert_eq!(preemptor.read_blocks(0, 8).good(), after_good);
            answers
        });
        // It may write, then it hears of it, then it may not write.
        let told: Vec<usize> = (0..written.len())
            .filter(|&at| written[at].sense_code() == sense::REGISTRATIONS_PREEMPTED)
            .collect();
        let first_refused = written.iter().position(|answer| !answer.is_good());
        let first_refused = first_refused.unwrap_or(written.len());
        for (at, answer) in written.iter().enumerate().skip(first_refused) {
            assert!(
                told.contains(&at) || answer.is_conflict(),
                "write {at}: {answer:?}"
            );
        }
        assert!(told.len() <= 1, "told once");
        if told.is_empty() {
            stage.expect(a, &[sense::REGISTRATIONS_PREEMPTED]);
        }
        stage.on(a).write_blocks(0, &pattern(99, 8)).conflict();
    });
}

fn device_mapper_undoes_a_registration(setup: Setup) {
    let setup = setup.listen(&["127.0.0.1:0", "127.0.0.1:0"]);
    in_every_form(&setup, |stage| {
        let disk = stage.disk("dm-0");
        let paths = [(0, 1), (1, 2)].map(|(portal, isid)| stage.join_by(disk, "a", portal, isid));
        // One path has a key that the others do not know of.
        pr_register(stage, paths[1], 0, B).good();
        pr_register(stage, paths[0], 0, A).good();
        pr_register(stage, paths[1], 0, A).conflict();
        pr_register_ignore(stage, paths[0], 0).good();
        assert_eq!(stage.on(paths[0]).keys(), [B]);
        pr_register_ignore(stage, paths[1], 0).good();
        for path in paths {
            pr_register(stage, path, 0, A).good();
        }
        // One path reserves for all; another may release only if the first one did not hold it.
        stage.on(paths[0]).reserve(kind::WE_RO, A).good();
        stage.on(paths[1]).reserve(kind::WE_RO, A).conflict();
        stage.on(paths[1]).release(kind::WE_RO, A).good();
        let still = stage.on(paths[1]).read_reservation();
        assert_eq!(still, held(A, kind::WE_RO));
        stage.on(paths[0]).release(kind::WE_RO, A).good();
        stage.expect(paths[1], &[sense::RESERVATIONS_RELEASED]);
    });
}

/// The metadata server reserves for registrants, exclusively; each client registers before its first
/// I/O; a client that does not give its layouts back is preempted.
fn nfs_server_fences_a_client(setup: Setup) {
    const SERVER: u64 = 0x0100_0000_0000_0000;
    const CLIENT: u64 = 0x5f3c_1a2b_0000_0001;
    in_every_form(&setup, |stage| {
        let disk = stage.disk("export");
        let [server, client, another] =
            ["server", "client", "another"].map(|name| stage.join(disk, name));
        pr_register_ignore(stage, server, SERVER).good();
        let reserve = stage.on(server).reserve(kind::EA_RO, SERVER);
        reserve.good();
        stage.on(client).read_blocks(0, 1).conflict();
        pr_register(stage, client, 0, CLIENT).good();
        pr_register(stage, another, 0, CLIENT + 1).good();
        stage.on(client).write_blocks(0, &pattern(1, 1)).good();
        let fence = stage
            .on(server)
            .preempt_and_abort(kind::EA_RO, SERVER, CLIENT);
        fence.good();
        stage.expect(client, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(client).write_blocks(0, &pattern(2, 1)).conflict();
        stage.on(client).read_blocks(0, 1).conflict();
        let kept = stage.on(another).read_blocks(0, 1).good();
        assert_eq!(kept, pattern(1, 1));
        assert_eq!(
            stage.on(server).read_reservation(),
            held(SERVER, kind::EA_RO)
        );
    });
}

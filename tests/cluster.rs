//! What cluster software sends, sequence by sequence: Windows failover clusters, Pacemaker's fence
//! agents, LVM, VMware; and what its nodes do when they come back or start all at once.

mod support;

use std::time::{Duration, Instant};

use support::cluster::{A, B, C, Cluster, held};
use support::initiator::{Command, Initiator};
use support::reserve::{action, flag, kind, parameters};
use support::scsi::{BLOCK, compare_and_write, pattern, sense, status, test_unit_ready};
use support::server::Setup;

on_every_engine!(
    windows_cluster_validation,
    cluster_disk_in_use,
    fence_scsi,
    fence_mpath,
    lvm_takeover,
    vmware_clustered_disk,
    a_thousand_returns_do_not_grow_the_table,
    thirty_two_sessions_register_at_once,
    two_nodes_compare_and_write_one_place,
    of_two_nodes_that_fence_each_other_one_wins,
);

fn windows_cluster_validation(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register_and_ignore(A).good();
    a.reserve(kind::WE_RO, A).good();
    assert_eq!(a.read_reservation(), held(A, kind::WE_RO));
    assert_eq!(b.read_reservation(), held(A, kind::WE_RO));
    a.write_blocks(0, &pattern(1, 8)).good();

    b.write_blocks(0, &pattern(2, 8)).conflict();
    assert_eq!(b.read_blocks(0, 8).good(), pattern(1, 8));
    b.preempt(kind::WE_RO, B, A).conflict();
    b.reserve(kind::WE_RO, B).conflict();
    b.register_and_ignore(B).good();
    b.reserve(kind::WE_RO, B).conflict();
    b.preempt(kind::WE_RO, B, A).good();

    a.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    a.write_blocks(0, &pattern(3, 8)).conflict();
    b.release(kind::WE_RO, B).good();
    b.register_and_ignore(0).good();
    a.register_and_ignore(A).good();
    a.clear(A).good();
    assert!(b.keys().is_empty());
}

fn cluster_disk_in_use(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    for _ in 0..3 {
        assert_eq!(a.keys(), [A, B, C]);
        assert_eq!(a.read_reservation(), held(A, kind::WE_RO));
    }
    b.preempt(kind::WE_RO, B, A).good();
    a.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    a.write_blocks(0, &pattern(1, 1)).conflict();
    c.expect_no_attention();
    b.release(kind::WE_RO, B).good();
    c.expect_attention(sense::RESERVATIONS_RELEASED);
    a.expect_no_attention();
}

fn fence_scsi(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    for (node, key) in [(&mut a, A), (&mut b, B)] {
        node.none(&test_unit_ready()).good();
        node.read_reservation();
        let list = parameters(0, key, flag::APTPL);
        node.reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
            .good();
        assert!(node.keys().contains(&key));
        if node.read_reservation().is_none() {
            node.reserve(kind::WE_RO, key).good();
        }
    }
    a.none(&test_unit_ready()).good();
    a.preempt_and_abort(kind::WE_RO, A, B).good();
    assert_eq!(a.keys(), [A]);
    assert!(a.read_reservation().is_some());
    b.take_attentions();
    b.write_blocks(0, &pattern(1, 1)).conflict();

    // The same node with another ISID is a stranger to its key and cleans up behind itself.
    a.cut();
    let mut moved = server.login(&volume, "a").isid(9).connect();
    moved.take_attentions();
    moved.register_and_ignore(A).good();
    assert_eq!(moved.keys(), [A, A]);
    moved.preempt(kind::WE_RO, A, A).good();
    assert_eq!(
        moved.keys(),
        [A],
        "the old registration with the same key is gone"
    );
    assert_eq!(moved.read_reservation(), held(A, kind::WE_RO));
    moved.write_blocks(0, &pattern(2, 1)).good();
}

fn fence_mpath(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    let mut second_path = server.login(&volume, "a").isid(2).connect();
    second_path.take_attentions();
    a.register(0, A).good();
    second_path.register(0, A).good();
    b.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    second_path.reserve(kind::WE_RO, A).conflict();
    second_path.release(kind::WE_RO, A).good();
    assert_eq!(
        b.read_reservation(),
        held(A, kind::WE_RO),
        "the other path is not the holder"
    );
    let holders: Vec<bool> = b
        .read_full_status()
        .iter()
        .map(|entry| entry.is_holder)
        .collect();
    assert_eq!(holders.iter().filter(|holder| **holder).count(), 1);

    b.preempt_and_abort(kind::WE_RO, B, A).good();
    assert_eq!(b.keys(), [B], "all of the victim's paths are removed");
    for path in [&mut a, &mut second_path] {
        assert!(
            path.take_attentions()
                .contains(&sense::REGISTRATIONS_PREEMPTED)
        );
        path.write_blocks(0, &pattern(1, 1)).conflict();
    }
}

fn lvm_takeover(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    for (reserved, reported) in [(kind::WE, A), (kind::WE_AR, 0)] {
        a.none(&test_unit_ready()).good();
        assert_eq!(a.report_capabilities().0[2..], [0xea, 0x01]);
        a.register_and_ignore(A).good();
        a.reserve(reserved, A).good();
        assert_eq!(b.read_reservation(), held(reported, reserved));
        b.register_and_ignore(B).good();
        b.preempt_and_abort(reserved, B, A).good();
        let holder = if reserved == kind::WE { B } else { 0 };
        assert_eq!(b.read_reservation(), held(holder, reserved));
        a.take_attentions();
        a.write_blocks(0, &pattern(1, 1)).conflict();
        b.clear(B).good();
    }
}

fn vmware_clustered_disk(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    b.register(0, B).good();
    a.reserve(kind::WE_AR, A).good();
    assert_eq!(c.read_reservation(), held(0, kind::WE_AR));
    b.reserve(kind::WE_AR, B).good();
    b.reserve(kind::WE_RO, B).conflict();
    // Atomic test and set.
    let (zero, mine) = (vec![0; BLOCK], pattern(1, 1));
    a.write(
        &compare_and_write(0, 1),
        &[zero.clone(), mine.clone()].concat(),
    )
    .good();
    let lost = b.write(&compare_and_write(0, 1), &[zero, pattern(2, 1)].concat());
    let (key, asc, ascq) = sense::MISCOMPARE;
    lost.check(key, asc, ascq);
    assert_eq!(b.read_blocks(0, 1).good(), mine);
    a.register(A, 0).good();
    assert!(c.read_reservation().is_some());
    b.register(B, 0).good();
    assert!(
        c.read_reservation().is_none(),
        "it ends with the last registrant"
    );
}

// open-iscsi derives the ISID from its session number, so a node may come back as a stranger.
fn a_thousand_returns_do_not_grow_the_table(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut c,
        ..
    } = Cluster::new(&setup);
    for index in 0..1000 {
        let mut node = server.login(&volume, "node").isid(100 + index).connect();
        node.take_attentions();
        node.register_and_ignore(A).good();
        if index == 0 {
            node.reserve(kind::WE_RO, A).good();
        } else {
            node.preempt(kind::WE_RO, A, A).good();
        }
        node.cut();
    }
    assert_eq!(c.keys(), [A]);
    assert_eq!(c.read_reservation(), held(A, kind::WE_RO));
}

fn thirty_two_sessions_register_at_once(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut c,
        ..
    } = Cluster::new(&setup);
    std::thread::scope(|scope| {
        for index in 0..32_u16 {
            let login = server.login(&volume, "node").isid(index);
            scope.spawn(move || {
                let mut session = login.connect();
                session.take_attentions();
                session.register(0, 0x100 + u64::from(index)).good();
            });
        }
    });
    let keys = c.keys();
    assert_eq!(keys, (0x100..0x120).collect::<Vec<u64>>());
    assert_eq!(c.generation(), 32);
    assert_eq!(c.write_blocks(0, &pattern(1, 1)).status, status::GOOD);
}

/// Two nodes take a counter from step to step by COMPARE AND WRITE (SBC-4 section 5.3), as ATS locks
/// do, with all steps under way at once. However they come to be executed, each step is taken once at
/// most, none is left out, and everybody gets an answer.
fn two_nodes_compare_and_write_one_place(setup: Setup) {
    const STEPS: u64 = 64;
    const SHARD_BLOCKS: u64 = (1 << 20) / BLOCK as u64;
    let setup = setup
        .config("[tuning]\nshards = \"spread\"\nshard_size = \"1MiB\"\nconnections = \"spread\"\n");
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    // In one shard, in the next reactor's, and over the border between two.
    for (lba, blocks) in [(0, 1), (SHARD_BLOCKS + 7, 1), (SHARD_BLOCKS - 1, 2)] {
        let value = |step: u64| match step {
            0 => vec![0; blocks * BLOCK],
            step => pattern(step, blocks),
        };
        let take_all = |session: &mut Initiator| -> Vec<u64> {
            let steps = (0..STEPS).map(|step| {
                let cdb = compare_and_write(lba, u8::try_from(blocks).expect("few"));
                let data = [value(step), value(step + 1)].concat();
                let itt = session.submit(&Command::write(&cdb, &data)).expect("sent");
                (step, itt)
            });
            let steps: Vec<_> = steps.collect();
            let is_taken = |&(_, itt): &(u64, u32)| {
                let outcome = session.complete(itt).expect("an answer");
                let is_good = outcome.is_good();
                if !is_good {
                    let (key, asc, ascq) = sense::MISCOMPARE;
                    outcome.check(key, asc, ascq);
                }
                is_good
            };
            let taken = steps.into_iter().filter(is_taken);
            taken.map(|(step, _)| step).collect()
        };
        let mut taken = std::thread::scope(|scope| {
            let other = scope.spawn(|| take_all(&mut b));
            let mut taken = take_all(&mut a);
            taken.extend(other.join().expect("the other node is done"));
            taken
        });
        taken.sort_unstable();
        let count = taken.len() as u64;
        assert!(count > 0, "the first to compare finds what it expects");
        assert_eq!(
            taken,
            (0..count).collect::<Vec<u64>>(),
            "each step once, in order"
        );
        assert_eq!(a.read_blocks(lba, blocks).good(), value(count));
    }
}

/// The split brain: both nodes PREEMPT AND ABORT each other at once. Whichever comes first ends the
/// other's command; waiting for each other, or failing both, would leave the cluster without a winner.
/// A wait shows as half the fence's limit of ten seconds; without one a round takes milliseconds.
#[allow(
    clippy::disallowed_methods,
    reason = "a deadlock here ends by the fence's limit"
)]
fn of_two_nodes_that_fence_each_other_one_wins(setup: Setup) {
    const ROUNDS: u32 = 40;
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let setup = setup.config("[tuning]\nconnections = \"spread\"\n");
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    tell_of_aborts(&mut a);
    b.take_attentions();
    for round in 0..ROUNDS {
        a.register_and_ignore(A).good();
        b.register_and_ignore(B).good();
        a.reserve(kind::WE_RO, A).good();
        let start = Instant::now();
        let (of_a, of_b) = std::thread::scope(|scope| {
            let other = scope.spawn(|| b.preempt_and_abort(kind::WE_RO, B, A));
            let of_a = a.preempt_and_abort(kind::WE_RO, A, B);
            (of_a, other.join().expect("the other node is answered"))
        });
        assert!(
            start.elapsed() < WAIT_MAX,
            "round {round}: they waited for each other"
        );
        let (winner, key, loser) = match (of_a.is_good(), of_b.is_good()) {
            (true, false) => (&mut a, A, of_b),
            (false, true) => (&mut b, B, of_a),
            _ => panic!("round {round}: {of_a:?} and {of_b:?}"),
        };
        let late = status::RESERVATION_CONFLICT;
        match loser.status {
            status::CHECK_CONDITION => {
                assert_eq!(loser.sense_code(), sense::REGISTRATIONS_PREEMPTED);
            }
            told => assert!(
                [status::TASK_ABORTED, status::BUSY, late].contains(&told),
                "{loser:?}"
            ),
        }
        assert_eq!(winner.keys(), [key]);
        assert_eq!(winner.read_reservation(), held(key, kind::WE_RO));
        winner.clear(key).good();
        a.take_attentions();
        b.take_attentions();
    }
}

/// TAS of the control mode page: a command that another nexus ends is answered TASK ABORTED.
fn tell_of_aborts(session: &mut Initiator) {
    let sensed = session.read(&[0x1a, 0x08, 0x0a, 0, 255, 0], 255).good();
    let mut list = vec![0; 4];
    list.extend_from_slice(&sensed[4..]);
    list[4] &= 0x3f; // PS is reserved in MODE SELECT
    list[4 + 5] |= 0x40;
    let length = u8::try_from(list.len()).expect("one page");
    session.write(&[0x15, 0x10, 0, 0, length, 0], &list).good();
}

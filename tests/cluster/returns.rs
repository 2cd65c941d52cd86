//! Nodes that come back under other names, start all at once, or fight: no software in particular.

use std::time::{Duration, Instant};

use crate::support::cluster::{A, B, Cluster, held};
use crate::support::initiator::{Command, Initiator};
use crate::support::reserve::kind;
use crate::support::scsi::{BLOCK, compare_and_write, pattern, sense, status};
use crate::support::server::Setup;

crate::on_every_engine!(
    a_thousand_returns_do_not_grow_the_table,
    thirty_two_sessions_register_at_once,
    two_nodes_compare_and_write_one_place,
    of_two_nodes_that_fence_each_other_one_wins,
);

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
    a.tell_of_aborts();
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

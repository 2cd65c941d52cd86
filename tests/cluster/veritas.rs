//! Veritas I/O fencing (vxfen): three coordinator disks decide a race, and the winner shuts the loser
//! out of the data disks.
//!
//! Source: "About I/O fencing" in the Veritas InfoScale administrator's guides. Keys are eight ASCII
//! bytes: on a coordinator disk `VF`, the cluster and the node; on a data disk the node's letter and
//! `PGR` with a count. Coordinator disks carry registrations alone; data disks are reserved for
//! registrants.

use super::stage::{DiskId, NodeId, Stage, in_every_form};
use crate::support::initiator::Initiator;
use crate::support::reserve::kind;
use crate::support::scsi::{Outcome, pattern, sense};
use crate::support::server::Setup;

crate::on_every_engine!(
    node_leaves_and_is_ejected,
    two_nodes_race_for_the_coordinators,
);

const COORDINATORS: usize = 3;

/// One node on all disks.
struct Node {
    coordinators: [NodeId; COORDINATORS],
    data: NodeId,
    coordinator_key: u64,
    data_key: u64,
}

impl Node {
    fn join(stage: &mut Stage, disks: &Disks, name: &str, keys: [&[u8; 8]; 2]) -> Self {
        let [coordinator_key, data_key] = keys.map(|key| u64::from_be_bytes(*key));
        Self {
            coordinators: disks.coordinators.map(|disk| stage.join(disk, name)),
            data: stage.join(disks.data, name),
            coordinator_key,
            data_key,
        }
    }

    /// The fencing driver starts with the coordinators, and the volume manager takes its disk group.
    fn start(&self, stage: &mut Stage) {
        for disk in self.coordinators {
            stage.register(disk, 0, self.coordinator_key).good();
            assert!(stage.on(disk).keys().contains(&self.coordinator_key));
        }
        stage.register(self.data, 0, self.data_key).good();
        if stage.on(self.data).read_reservation().is_none() {
            let session = stage.on(self.data);
            session.reserve(kind::WE_RO, self.data_key).good();
        }
    }

    /// The winner removes the loser from the data disk.
    fn fence_data(&self, stage: &mut Stage, loser: &Self) {
        let session = stage.on(self.data);
        let (key, victim) = (self.data_key, loser.data_key);
        session.preempt_and_abort(kind::WE_RO, key, victim).good();
        assert_eq!(stage.on(self.data).keys(), [key]);
        stage.expect(loser.data, &[sense::REGISTRATIONS_PREEMPTED]);
        stage
            .on(loser.data)
            .write_blocks(0, &pattern(1, 1))
            .conflict();
        let late = stage.on(loser.data);
        late.preempt_and_abort(kind::WE_RO, victim, key).conflict();
        stage.on(self.data).write_blocks(0, &pattern(2, 1)).good();
    }
}

struct Disks {
    coordinators: [DiskId; COORDINATORS],
    data: DiskId,
}

fn cluster(stage: &mut Stage) -> [Node; 2] {
    let disks = Disks {
        coordinators: ["coordinator1", "coordinator2", "coordinator3"].map(|name| stage.disk(name)),
        data: stage.disk("data"),
    };
    let nodes = [
        Node::join(stage, &disks, "a", [b"VF07A400", b"APGR0001"]),
        Node::join(stage, &disks, "b", [b"VF07A401", b"BPGR0001"]),
    ];
    for node in &nodes {
        node.start(stage);
    }
    nodes
}

fn node_leaves_and_is_ejected(setup: Setup) {
    in_every_form(&setup, |stage| {
        let [a, b] = cluster(stage);
        for disk in b.coordinators {
            assert_eq!(
                stage.on(disk).read_reservation(),
                None,
                "registrations alone"
            );
        }
        // The other node hangs. It is ejected everywhere while it says nothing.
        for (mine, theirs) in a.coordinators.into_iter().zip(b.coordinators) {
            let session = stage.on(mine);
            session
                .preempt_and_abort(kind::WE_RO, a.coordinator_key, b.coordinator_key)
                .good();
            assert_eq!(stage.on(mine).keys(), [a.coordinator_key]);
            let left = stage.on(mine).read_reservation();
            assert_eq!(left, None, "a registration was preempted, nothing reserved");
            stage.expect(theirs, &[sense::REGISTRATIONS_PREEMPTED]);
        }
        a.fence_data(stage, &b);
        // It comes back clean.
        b.start(stage);
        stage.on(b.data).write_blocks(0, &pattern(3, 1)).good();
    });
}

/// Both nodes eject each other, disk by disk. Each disk has one winner, whatever the timing.
fn two_nodes_race_for_the_coordinators(setup: Setup) {
    const ROUNDS: usize = 4;
    in_every_form(&setup, |stage| {
        let [a, b] = cluster(stage);
        for _ in 0..ROUNDS {
            let mut won_by_a = 0;
            for (of_a, of_b) in a.coordinators.into_iter().zip(b.coordinators) {
                let (first, second) = stage.both(of_a, of_b);
                let eject = |session: &mut Initiator, mine: &Node, other: &Node| {
                    session.preempt(kind::WE_RO, mine.coordinator_key, other.coordinator_key)
                };
                let (by_a, by_b) = std::thread::scope(|scope| {
                    let racer = scope.spawn(|| eject(second, &b, &a));
                    (eject(first, &a, &b), racer.join().expect("it is answered"))
                });
                let a_wins = by_a.is_good();
                assert_ne!(a_wins, by_b.is_good(), "{by_a:?} and {by_b:?}");
                won_by_a += usize::from(a_wins);
                let (winner, loser, answer) = if a_wins {
                    (of_a, of_b, by_b)
                } else {
                    (of_b, of_a, by_a)
                };
                let heard_at_once = is_told(&answer);
                let owed = [sense::REGISTRATIONS_PREEMPTED];
                stage.expect(loser, if heard_at_once { &[] } else { &owed });
                stage.expect(winner, &[]);
            }
            let (winner, loser) = if won_by_a * 2 > COORDINATORS {
                (&a, &b)
            } else {
                (&b, &a)
            };
            winner.fence_data(stage, loser);
            // Next round: the loser has rebooted, and its keys of this life are made anew.
            for node in [winner, loser] {
                for disk in node.coordinators {
                    stage.register_and_ignore(disk, node.coordinator_key).good();
                }
                stage.register_and_ignore(node.data, node.data_key).good();
            }
        }
    });
}

/// The loser is turned away: its key is gone, or it hears first that it is.
fn is_told(answer: &Outcome) -> bool {
    let told = answer.sense_code() == sense::REGISTRATIONS_PREEMPTED;
    assert!(told || answer.is_conflict(), "{answer:?}");
    told
}

//! sanlock: leases in plain sectors, no reservations. Each host writes a sector of its own and reads all
//! of them; what it needs of a target is that a write that was answered GOOD is what everybody reads.
//!
//! Source: "Light-Weight Leases for Storage-Centric Coordination" (Chockler and Malkhi) and `sanlock(8)`:
//! delta leases for host identifiers, Disk Paxos with a block for each host for resources.

use super::stage::{NodeId, Stage, in_every_form};
use crate::support::cluster::A;
use crate::support::reserve::kind;
use crate::support::scsi::{BLOCK, pattern};
use crate::support::server::Setup;

crate::on_every_engine!(delta_lease, paxos_lease, a_reserved_disk_stops_the_renewal);

/// The leader record, and after it one sector for each host.
const LEADER: u64 = 0;
const HOSTS: usize = 3;

fn hosts(stage: &mut Stage) -> [NodeId; HOSTS] {
    let disk = stage.disk("lockspace");
    ["a", "b", "c"].map(|name| stage.join(disk, name))
}

fn sector(stage: &mut Stage, host: NodeId, lba: u64) -> Vec<u8> {
    stage.on(host).read_blocks(lba, 1).good()
}

/// A host takes an identifier: it reads the sector free, writes itself in, waits, and reads it again.
fn delta_lease(setup: Setup) {
    in_every_form(&setup, |stage| {
        let [a, b, _] = hosts(stage);
        let (of_a, of_b) = (pattern(1, 1), pattern(2, 1));
        assert_eq!(sector(stage, a, LEADER), vec![0; BLOCK]);
        assert_eq!(sector(stage, b, LEADER), vec![0; BLOCK]);
        stage.on(a).write_blocks_fua(LEADER, &of_a).good();
        stage.on(b).write_blocks_fua(LEADER, &of_b).good();
        // The later writer finds itself and has the lease; the other one finds that it lost.
        assert_eq!(sector(stage, b, LEADER), of_b);
        assert_eq!(sector(stage, a, LEADER), of_b);
        for renewal in 3..6 {
            stage
                .on(b)
                .write_blocks_fua(LEADER, &pattern(renewal, 1))
                .good();
            assert_eq!(sector(stage, a, LEADER), pattern(renewal, 1));
        }
    });
}

/// A ballot: each host writes its own block and reads the blocks of all.
fn paxos_lease(setup: Setup) {
    in_every_form(&setup, |stage| {
        let hosts = hosts(stage);
        for ballot in 1..4_u64 {
            for (index, host) in (1..).zip(hosts) {
                let mine = pattern(ballot << 8 | index, 1);
                stage
                    .on(host)
                    .write_blocks_fua(LEADER + index, &mine)
                    .good();
            }
            for host in hosts {
                let all = stage.on(host).read_blocks(LEADER + 1, HOSTS).good();
                let expected: Vec<u8> = (1..=HOSTS as u64)
                    .flat_map(|index| pattern(ballot << 8 | index, 1))
                    .collect();
                assert_eq!(all, expected, "ballot {ballot}");
            }
        }
    });
}

/// Somebody reserves the disk for other software: a renewal fails at once and is no more than that.
fn a_reserved_disk_stops_the_renewal(setup: Setup) {
    in_every_form(&setup, |stage| {
        let [a, b, c] = hosts(stage);
        let renewed = pattern(1, 1);
        stage.on(b).write_blocks_fua(LEADER, &renewed).good();
        stage.register(a, 0, A).good();
        stage.on(a).reserve(kind::WE, A).good();
        let refused = stage.on(b).write_blocks_fua(LEADER, &pattern(2, 1));
        refused.conflict();
        assert_eq!(sector(stage, b, LEADER), renewed);
        assert_eq!(sector(stage, c, LEADER), renewed);
        stage.on(a).release(kind::WE, A).good();
        stage.register(a, A, 0).good();
        stage.on(b).write_blocks_fua(LEADER, &pattern(3, 1)).good();
        assert_eq!(sector(stage, c, LEADER), pattern(3, 1));
    });
}

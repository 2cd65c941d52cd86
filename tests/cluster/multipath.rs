//! Multipath: `mpathpersist`, `multipathd` and Pacemaker's `fence_mpath`. A node has several paths, each
//! a nexus of its own, all with the same key.
//!
//! Sources: `libmpathpersist` and `multipathd` of opensvc/multipath-tools (registration on every path,
//! release while the holder's path is down, registration of a path that returns) and
//! `agents/mpath/fence_mpath.py` of ClusterLabs/fence-agents.

use super::stage::{DiskId, NodeId, Stage, in_every_form};
use crate::support::cluster::{A, B, held};
use crate::support::reserve::{FullStatus, flag, kind};
use crate::support::scsi::{pattern, sense};
use crate::support::server::Setup;

crate::on_every_engine!(
    fence_a_node_of_two_paths,
    release_by_another_path,
    release_while_the_holders_path_is_down,
    a_path_returns,
    all_target_ports,
    reserved_for_all_registrants,
);

/// The two paths of a node: one through each portal.
type Paths = [NodeId; 2];

fn two_portals(setup: &Setup) -> Setup {
    setup.clone().listen(&["127.0.0.1:0", "127.0.0.1:0"])
}

fn node(stage: &mut Stage, disk: DiskId, name: &str) -> Paths {
    [(0, 1), (1, 2)].map(|(portal, isid)| stage.join_by(disk, name, portal, isid))
}

/// `mpathpersist --register`: on every path.
fn register(stage: &mut Stage, paths: Paths, key: u64) {
    for path in paths {
        stage.register(path, 0, key).good();
    }
}

/// Two nodes, registered, the first one's first path the holder; as `fence_mpath on` leaves them.
fn unfenced(stage: &mut Stage, kind: u8) -> (Paths, Paths) {
    let disk = stage.disk("mpath-map");
    let (a, b) = (node(stage, disk, "a"), node(stage, disk, "b"));
    register(stage, a, A);
    assert_eq!(stage.on(a[0]).keys(), [A, A]);
    stage.on(a[0]).reserve(kind, A).good();
    register(stage, b, B);
    assert_eq!(stage.on(b[1]).keys(), [A, A, B, B]);
    (a, b)
}

fn holders(full: &[FullStatus]) -> Vec<(u64, u16)> {
    let held = full.iter().filter(|entry| entry.is_holder);
    held.map(|entry| (entry.key, entry.port)).collect()
}

fn fence_a_node_of_two_paths(setup: Setup) {
    in_every_form(&two_portals(&setup), |stage| {
        let (a, b) = unfenced(stage, kind::WE_RO);
        // The key is the holder's, the nexus is not.
        stage.on(a[1]).reserve(kind::WE_RO, A).conflict();
        for path in [a[0], a[1], b[0], b[1]] {
            stage.on(path).write_blocks(0, &pattern(1, 1)).good();
        }
        let full = stage.on(b[0]).read_full_status();
        let mut ports: Vec<_> = full.iter().map(|entry| (entry.key, entry.port)).collect();
        ports.sort_unstable();
        assert_eq!(ports, [(A, 1), (A, 2), (B, 1), (B, 2)]);
        assert_eq!(holders(&full), [(A, 1)]);
        assert!(full.iter().all(|entry| !entry.all_target_ports));

        stage.on(b[1]).preempt_and_abort(kind::WE_RO, B, A).good();
        assert_eq!(stage.on(b[0]).keys(), [B, B]);
        assert_eq!(stage.on(b[0]).read_reservation(), held(B, kind::WE_RO));
        assert_eq!(holders(&stage.on(b[0]).read_full_status()), [(B, 2)]);
        for path in a {
            stage.expect(path, &[sense::REGISTRATIONS_PREEMPTED]);
            stage.on(path).write_blocks(0, &pattern(2, 1)).conflict();
            stage.on(path).reserve(kind::WE_RO, A).conflict();
        }
        for path in b {
            stage.expect(path, &[]);
            stage.on(path).write_blocks(0, &pattern(3, 1)).good();
        }
    });
}

/// `mpathpersist --release` sends RELEASE on every path, in any order.
fn release_by_another_path(setup: Setup) {
    in_every_form(&two_portals(&setup), |stage| {
        let (a, b) = unfenced(stage, kind::WE_RO);
        stage.on(a[1]).release(kind::WE_RO, A).good();
        assert_eq!(stage.on(b[0]).read_reservation(), held(A, kind::WE_RO));
        stage.on(a[0]).release(kind::WE_RO, A).good();
        assert_eq!(stage.on(a[0]).read_reservation(), None);
        // The node's own other path is another nexus, and hears of it as all others do.
        for path in [a[1], b[0], b[1]] {
            stage.expect(path, &[sense::RESERVATIONS_RELEASED]);
        }
        stage.expect(a[0], &[]);
        assert_eq!(stage.on(b[0]).keys(), [A, A, B, B]);
    });
}

/// The release changes nothing, so the library moves the reservation to a path that is up by preempting
/// its own key, releases it there, and registers that key again on all paths.
fn release_while_the_holders_path_is_down(setup: Setup) {
    in_every_form(&two_portals(&setup), |stage| {
        let (a, b) = unfenced(stage, kind::WE_RO);
        stage.lose(a[0]);
        stage.on(a[1]).release(kind::WE_RO, A).good();
        let still = stage.on(a[1]).read_reservation();
        assert_eq!(still, held(A, kind::WE_RO));
        stage.on(a[1]).preempt(kind::WE_RO, A, A).good();
        assert_eq!(stage.on(b[0]).keys(), [A, B, B]);
        stage.on(a[1]).release(kind::WE_RO, A).good();
        assert_eq!(stage.on(a[1]).read_reservation(), None);
        stage.register_and_ignore(a[1], A).good();
        for path in b {
            stage.expect(path, &[sense::RESERVATIONS_RELEASED]);
        }
        stage.expect(a[1], &[]);
        stage.restore(a[0]);
        stage.expect(a[0], &[sense::REGISTRATIONS_PREEMPTED]);
        stage.register_and_ignore(a[0], A).good();
        assert_eq!(stage.on(b[0]).keys(), [A, A, B, B]);
    });
}

/// `multipathd` sees a path again, reads the keys on it, and registers its key there if some path of
/// the node has it still.
fn a_path_returns(setup: Setup) {
    in_every_form(&two_portals(&setup), |stage| {
        let (a, b) = unfenced(stage, kind::WE_RO);
        // The path was gone; the registration was not. Registering it again changes nothing.
        stage.lose(a[1]);
        stage.restore(a[1]);
        stage.expect(a[1], &[]);
        assert!(stage.on(a[1]).keys().contains(&A));
        stage.register_and_ignore(a[1], A).good();
        assert_eq!(stage.on(b[0]).keys(), [A, A, B, B]);
        stage.on(a[1]).write_blocks(0, &pattern(1, 1)).good();

        // Fenced while a path was down: the key is gone, and must stay so when the path returns.
        stage.lose(a[1]);
        stage.on(b[0]).preempt_and_abort(kind::WE_RO, B, A).good();
        stage.restore(a[1]);
        stage.expect(a[1], &[sense::REGISTRATIONS_PREEMPTED]);
        assert!(!stage.on(a[1]).keys().contains(&A));
        stage.on(a[1]).write_blocks(0, &pattern(2, 1)).conflict();
        stage.register(a[1], A, A).conflict();
        stage.expect(a[0], &[sense::REGISTRATIONS_PREEMPTED]);

        // A path that comes up with another ISID is a new one.
        register(stage, a, A);
        stage.lose(a[1]);
        stage.restore_with_isid(a[1], 7);
        stage.on(a[1]).write_blocks(0, &pattern(3, 1)).conflict();
        stage.register_and_ignore(a[1], A).good();
        stage.on(a[1]).write_blocks(0, &pattern(3, 1)).good();
        assert_eq!(stage.on(b[0]).keys(), [A, A, A, B, B]);
        // All of them go together.
        stage.on(b[0]).preempt_and_abort(kind::WE_RO, B, A).good();
        assert_eq!(stage.on(b[0]).keys(), [B, B]);
        for path in a {
            stage.expect(path, &[sense::REGISTRATIONS_PREEMPTED]);
        }
        // A conflict on one path: the library tries that one again with the key ignored.
        stage.register(a[0], 0, A).good();
        stage.register(a[0], 0, A).conflict();
        stage.register_and_ignore(a[0], A).good();
    });
}

/// `--param-alltgpt`: one registration for each initiator port, and the paths of that port through the
/// other portal have it too.
fn all_target_ports(setup: Setup) {
    in_every_form(&two_portals(&setup), |stage| {
        let disk = stage.disk("mpath-map");
        let paths = [0, 1].map(|portal| stage.join_by(disk, "a", portal, 1));
        let other = stage.join_by(disk, "b", 1, 1);
        let flags = stage.flags() | flag::ALL_TG_PT;
        stage.on(paths[0]).register_with(0, A, flags).good();
        let mut full = stage.on(other).read_full_status();
        full.sort_by_key(|entry| entry.port);
        assert!(
            full.iter()
                .all(|entry| entry.key == A && entry.all_target_ports)
        );
        stage.on(paths[1]).reserve(kind::WE_RO, A).good();
        for path in paths {
            stage.on(path).write_blocks(0, &pattern(1, 1)).good();
        }
        stage.on(other).write_blocks(0, &pattern(2, 1)).conflict();
        stage.register(other, 0, B).good();
        stage.on(other).preempt_and_abort(kind::WE_RO, B, A).good();
        assert_eq!(stage.on(other).keys(), [B]);
        for path in paths {
            stage.expect(path, &[sense::REGISTRATIONS_PREEMPTED]);
            stage.on(path).write_blocks(0, &pattern(3, 1)).conflict();
        }
    });
}

/// With an all-registrants type no path is special.
fn reserved_for_all_registrants(setup: Setup) {
    in_every_form(&two_portals(&setup), |stage| {
        let (a, b) = unfenced(stage, kind::WE_AR);
        assert_eq!(stage.on(b[0]).read_reservation(), held(0, kind::WE_AR));
        assert_eq!(holders(&stage.on(b[0]).read_full_status()).len(), 4);
        stage.on(a[1]).reserve(kind::WE_AR, A).good();
        stage.lose(a[0]);
        stage.on(b[0]).preempt_and_abort(kind::WE_AR, B, A).good();
        assert_eq!(stage.on(b[1]).keys(), [B, B]);
        assert_eq!(stage.on(b[1]).read_reservation(), held(0, kind::WE_AR));
        stage.expect(a[1], &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(a[1]).write_blocks(0, &pattern(1, 1)).conflict();
        stage.restore(a[0]);
        stage.expect(a[0], &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(a[0]).write_blocks(0, &pattern(1, 1)).conflict();
        for path in b {
            stage.on(path).write_blocks(0, &pattern(2, 1)).good();
        }
    });
}

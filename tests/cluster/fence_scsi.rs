//! Pacemaker's `fence_scsi`: on, status, off, and the node that comes back with another ISID.
//!
//! Source: `agents/scsi/fence_scsi.py` of ClusterLabs/fence-agents, versions with and without the
//! preemption of the own key. Each call of `sg_persist` comes after one `sg_turs` whose result nobody
//! looks at, and none is retried: one unit attention is all that may wait for a node that is to go on.

use super::stage::{NodeId, Stage, in_every_form};
use crate::support::cluster::{A, B, held};
use crate::support::reserve::{action, flag, kind, parameters};
use crate::support::scsi::{pattern, sense};
use crate::support::server::Setup;

crate::on_every_engine!(
    unfence_and_fence,
    fenced_node_rejoins,
    another_isid_of_the_holder,
    another_isid_of_a_registrant,
);

/// `--aptpl`.
#[derive(Clone, Copy)]
enum Aptpl {
    AsTheStageNeeds,
    Always,
}

/// The agent on one node, with the node's key.
struct Agent {
    node: NodeId,
    key: u64,
    aptpl: Aptpl,
}

impl Agent {
    /// Action `on`.
    fn unfence(&self, stage: &mut Stage) {
        let is_there_already = self.keys(stage).contains(&self.key);
        self.register(stage);
        if is_there_already {
            // Maybe under another nexus: its own key is taken from all but this one.
            let tool = stage.after_test_unit_ready(self.node);
            tool.preempt(kind::WE_RO, self.key, self.key).good();
            let holder = self.reservation(stage);
            if holder != Some(self.key) {
                self.register(stage);
            }
        }
        assert!(self.keys(stage).contains(&self.key));
        if self.reservation(stage).is_none() {
            let tool = stage.after_test_unit_ready(self.node);
            tool.reserve(kind::WE_RO, self.key).good();
        }
    }

    /// Action `off` for the node of that key.
    fn fence(&self, stage: &mut Stage, victim: u64) {
        if self.keys(stage).contains(&victim) {
            let tool = stage.after_test_unit_ready(self.node);
            tool.preempt_and_abort(kind::WE_RO, self.key, victim).good();
        }
        assert!(!self.keys(stage).contains(&victim));
        assert!(self.reservation(stage).is_some());
    }

    fn register(&self, stage: &mut Stage) {
        let flags = match self.aptpl {
            Aptpl::AsTheStageNeeds => stage.flags(),
            Aptpl::Always => flag::APTPL,
        };
        let list = parameters(0, self.key, flags);
        let tool = stage.after_test_unit_ready(self.node);
        tool.reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
            .good();
    }

    /// Action `status`, `monitor` and the watchdog check look for their key in this.
    fn keys(&self, stage: &mut Stage) -> Vec<u64> {
        stage.after_test_unit_ready(self.node).keys()
    }

    fn reservation(&self, stage: &mut Stage) -> Option<u64> {
        let held = stage.after_test_unit_ready(self.node).read_reservation();
        held.map(|held| held.key)
    }
}

fn agents(stage: &mut Stage, aptpl: Aptpl) -> [Agent; 2] {
    let disk = stage.disk("shared");
    [("a", A), ("b", B)].map(|(name, key)| Agent {
        node: stage.join(disk, name),
        key,
        aptpl,
    })
}

fn unfence_and_fence(setup: Setup) {
    for aptpl in [Aptpl::AsTheStageNeeds, Aptpl::Always] {
        in_every_form(&setup, |stage| {
            let [a, b] = agents(stage, aptpl);
            a.unfence(stage);
            b.unfence(stage);
            assert_eq!(a.keys(stage), [A, B]);
            assert_eq!(a.reservation(stage), Some(A));
            for node in [a.node, b.node] {
                stage.on(node).write_blocks(0, &pattern(1, 1)).good();
            }
            // The victim is no holder, then it is.
            a.fence(stage, B);
            stage.expect(b.node, &[sense::REGISTRATIONS_PREEMPTED]);
            stage.on(b.node).write_blocks(0, &pattern(2, 1)).conflict();
            assert_eq!(stage.on(b.node).read_blocks(0, 1).good(), pattern(1, 1));
            b.unfence(stage);
            b.fence(stage, A);
            stage.expect(a.node, &[sense::REGISTRATIONS_PREEMPTED]);
            assert_eq!(b.reservation(stage), Some(B));
            stage.on(a.node).write_blocks(0, &pattern(2, 1)).conflict();
            stage.on(b.node).write_blocks(0, &pattern(3, 1)).good();
            // A second time there is nothing to do.
            b.fence(stage, A);
            stage.expect(a.node, &[]);
        });
    }
}

fn fenced_node_rejoins(setup: Setup) {
    in_every_form(&setup, |stage| {
        let [a, b] = agents(stage, Aptpl::AsTheStageNeeds);
        a.unfence(stage);
        b.unfence(stage);
        stage.lose(b.node);
        a.fence(stage, B);
        stage.restore(b.node);
        stage.expect(b.node, &[sense::REGISTRATIONS_PREEMPTED]);
        stage.on(b.node).write_blocks(0, &pattern(1, 1)).conflict();
        b.unfence(stage);
        stage.on(b.node).write_blocks(0, &pattern(1, 1)).good();
        assert_eq!(b.keys(stage), [A, B]);
        assert_eq!(b.reservation(stage), Some(A));
        stage.expect(a.node, &[]);
    });
}

fn another_isid_of_the_holder(setup: Setup) {
    in_every_form(&setup, |stage| {
        let [a, b] = agents(stage, Aptpl::AsTheStageNeeds);
        a.unfence(stage);
        b.unfence(stage);
        stage.lose(a.node);
        stage.restore_with_isid(a.node, 9);
        stage.on(a.node).write_blocks(0, &pattern(1, 1)).conflict();
        a.unfence(stage);
        assert_eq!(
            a.keys(stage),
            [A, B],
            "the old nexus with the same key is gone"
        );
        let reservation = stage.on(a.node).read_reservation();
        assert_eq!(reservation, held(A, kind::WE_RO));
        let of_a = stage.on(b.node).read_full_status();
        let of_a: Vec<_> = of_a.iter().filter(|entry| entry.key == A).collect();
        assert!(of_a[0].is_holder && of_a[0].initiator.ends_with("0009"));
        stage.on(a.node).write_blocks(0, &pattern(2, 1)).good();
        // Same type, same scope: nothing that the other registrants would have to hear.
        stage.expect(b.node, &[]);
    });
}

/// Who is not the holder loses its new registration with the old one, and registers once more.
fn another_isid_of_a_registrant(setup: Setup) {
    in_every_form(&setup, |stage| {
        let [a, b] = agents(stage, Aptpl::AsTheStageNeeds);
        a.unfence(stage);
        b.unfence(stage);
        stage.lose(b.node);
        stage.restore_with_isid(b.node, 9);
        b.unfence(stage);
        assert_eq!(a.keys(stage), [A, B]);
        assert_eq!(a.reservation(stage), Some(A));
        let full = stage.on(a.node).read_full_status();
        let of_b: Vec<_> = full.iter().filter(|entry| entry.key == B).collect();
        assert!(of_b[0].initiator.ends_with("0009"));
        stage.on(b.node).write_blocks(0, &pattern(1, 1)).good();
        stage.expect(a.node, &[]);
    });
}

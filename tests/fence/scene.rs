//! Three nodes on a gated volume, and what most tests do with them.

use std::time::Duration;

use crate::support::cluster::{A, B, C};
use crate::support::initiator::{Command, Initiator};
use crate::support::pdu::opcode;
use crate::support::reserve::{kind, out_cdb, parameters};
use crate::support::rig::{NEVER, Rig, SHARD_BLOCKS, until};
use crate::support::scsi::{Outcome, pattern, write16};
use crate::support::server::Setup;

/// Three nodes that have registered their keys; nothing is reserved.
pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) a: Initiator,
    pub(crate) b: Initiator,
    pub(crate) c: Initiator,
}

impl Scene {
    /// Nothing that a test waits for ends because time is up.
    pub(crate) fn new(setup: &Setup) -> Self {
        Self::bounded(setup, NEVER)
    }

    pub(crate) fn bounded(setup: &Setup, fence_timeout: Duration) -> Self {
        let rig = Rig::start(setup, fence_timeout);
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| rig.session(name));
        a.register(0, A).good();
        b.register(0, B).good();
        c.register(0, C).good();
        Self { rig, a, b, c }
    }

    /// Node `b` holds Write Exclusive, Registrants Only.
    pub(crate) fn held_by_b(setup: &Setup) -> Self {
        let mut scene = Self::new(setup);
        scene.b.reserve(kind::WE_RO, B).good();
        scene
    }

    /// Node `b` becomes one that sends no data before it is asked to.
    pub(crate) fn with_reticent_b(mut self) -> Self {
        self.b = self.rig.reticent_session("b");
        self
    }
}

/// A PERSISTENT RESERVE OUT with the basic parameter list, to be sent without waiting.
pub(crate) fn reserve_out(action: u8, kind: u8, key: u64, action_key: u64) -> Command {
    let list = parameters(key, action_key, 0);
    let length = u32::try_from(list.len()).expect("a list fits");
    Command::write(&out_cdb(action, kind, length), &list)
}

/// WRITE (16) of some blocks with the pattern of `seed`.
pub(crate) fn write_of(lba: u64, blocks: u32, seed: u64) -> Command {
    let data = pattern(seed, blocks as usize);
    Command::write(&write16(lba, blocks), &data)
}

/// The first block of a shard of each reactor, on the first volume.
pub(crate) fn shard_starts(rig: &Rig) -> Vec<u64> {
    (0..rig.reactors as u64)
        .map(|shard| shard * SHARD_BLOCKS)
        .collect()
}

/// Sends a command and takes the R2T that it gets, unanswered: the command waits for its data. The
/// tags of the task and of the transfer.
pub(crate) fn submit_unfed(session: &mut Initiator, command: &Command) -> (u32, u32) {
    let task = session.submit(command).expect("the command is sent");
    let r2t = session.receive().expect("an R2T");
    assert_eq!(
        (r2t.opcode(), r2t.itt()),
        (opcode::R2T, task),
        "the target asks for the data"
    );
    (task, r2t.ttt())
}

/// Sends a command without waiting.
#[track_caller]
pub(crate) fn submit(session: &mut Initiator, command: &Command) -> u32 {
    session.submit(command).expect("the command is sent")
}

/// Waits for the status of a command that was sent.
#[track_caller]
pub(crate) fn complete(session: &mut Initiator, task: u32) -> Outcome {
    session.complete(task).expect("a status")
}

/// Returns when `count` commands of that operation code have got as far as the home.
pub(crate) fn arrive_at_the_home(rig: &Rig, session: &mut Initiator, opcode: u8, count: u32) {
    until("the commands have arrived", || {
        let all = rig.target.in_flight(rig.volumes[0].id);
        let all = all.expect("the reactors answer");
        let outstanding = all.iter().filter_map(|entry| entry.commands.get(&opcode));
        outstanding.sum::<u32>() == count
    });
    // Data that came along is taken in the ticks in which these are answered.
    for _ in 0..3 {
        session.ping(b"?").expect("an answer");
        rig.settle();
    }
}

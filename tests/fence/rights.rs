//! Every command that takes the right to write away waits for the writes of those who lose it: on
//! every shard, through every port, and for nobody else.

use super::scene::{Scene, complete, reserve_out, shard_starts, submit, write_of};
use crate::support::cluster::{A, B, C};
use crate::support::initiator::{Command, Initiator};
use crate::support::login::initiator_name;
use crate::support::reserve::{action, kind, move_parameters, out_cdb, transport_id};
use crate::support::rig::{NEVER, Rig, until};
use crate::support::scsi::{pattern, sense};
use crate::support::server::Setup;

const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];
const RESERVE_6: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE_6: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

crate::on_every_engine!(
    preempt_waits_for_writes_on_every_shard,
    preempting_oneself_to_another_type_waits_for_the_others,
    reserve_waits_for_writes_of_strangers,
    spc2_reserve_waits_for_everybody_else,
    unregistering_waits_for_the_own_writes,
    register_and_move_waits_for_the_former_holder,
    preempt_waits_for_every_nexus_of_the_key,
    whoever_keeps_its_right_is_not_waited_for,
    commands_that_take_no_right_do_not_wait,
);

/// `nodes[victim]` has a write in flight on a shard of every reactor when `nodes[taker]` sends
/// `command`, which must not be answered before the last of them is over. Both may be the same node.
fn waits_for_all(
    rig: &Rig,
    nodes: &mut [Initiator],
    (taker, victim): (usize, usize),
    command: &Command,
) {
    let shards = shard_starts(rig);
    let gate = rig.gate();
    gate.close();
    let before = gate.changes();
    let writes: Vec<u32> = shards
        .iter()
        .map(|lba| submit(&mut nodes[victim], &write_of(*lba, 8, lba + 1)))
        .collect();
    gate.wait_for(shards.len());
    let task = submit(&mut nodes[taker], command);
    rig.wait_for_conflict(&mut nodes[victim]);
    for passed in 0..shards.len() {
        until("a write has passed the gate", || {
            gate.changes() == before + passed
        });
        rig.assert_unanswered(&mut nodes[taker], task);
        gate.pass(1);
    }
    complete(&mut nodes[taker], task).good();
    assert_eq!(gate.held(), 0, "no write is in flight after GOOD");
    gate.open();
    for write in writes {
        complete(&mut nodes[victim], write).good();
    }
    let after = gate.changes();
    nodes[victim].write_blocks(0, &pattern(99, 8));
    assert_eq!(
        gate.changes(),
        after,
        "a fenced write never reaches the store"
    );
}

/// What was in flight has taken effect, and nothing after it.
fn holds_what_was_in_flight(rig: &Rig, reader: &mut Initiator) {
    for lba in shard_starts(rig) {
        assert_eq!(reader.read_blocks(lba, 8).good(), pattern(lba + 1, 8));
    }
}

fn preempt_waits_for_writes_on_every_shard(setup: Setup) {
    let Scene { rig, a, b, .. } = Scene::held_by_b(&setup);
    let mut nodes = [a, b];
    let preempt = reserve_out(action::PREEMPT, kind::WE_RO, A, B);
    waits_for_all(&rig, &mut nodes, (0, 1), &preempt);
    let [mut a, mut b] = nodes;
    assert_eq!(a.keys(), [A, C]);
    holds_what_was_in_flight(&rig, &mut a);
    b.write_blocks(0, &pattern(99, 8)).conflict();
    holds_what_was_in_flight(&rig, &mut a);
}

fn preempting_oneself_to_another_type_waits_for_the_others(setup: Setup) {
    let Scene { rig, mut a, b, .. } = Scene::new(&setup);
    a.reserve(kind::WE_RO, A).good();
    let mut nodes = [a, b];
    let preempt = reserve_out(action::PREEMPT, kind::WE, A, A);
    waits_for_all(&rig, &mut nodes, (0, 1), &preempt);
    let [mut a, mut b] = nodes;
    // The first write after GOOD has taken this one with it.
    b.expect_no_attention();
    b.write_blocks(0, &pattern(99, 8)).conflict();
    holds_what_was_in_flight(&rig, &mut a);
}

fn reserve_waits_for_writes_of_strangers(setup: Setup) {
    let Scene { rig, a, .. } = Scene::new(&setup);
    let mut nodes = [a, rig.session("stranger")];
    let reserve = reserve_out(action::RESERVE, kind::WE_RO, A, 0);
    waits_for_all(&rig, &mut nodes, (0, 1), &reserve);
    let [mut a, mut stranger] = nodes;
    stranger.write_blocks(0, &pattern(99, 8)).conflict();
    holds_what_was_in_flight(&rig, &mut a);
}

fn spc2_reserve_waits_for_everybody_else(setup: Setup) {
    let rig = Rig::start(&setup, NEVER);
    let mut nodes = ["a", "b"].map(|name| rig.session(name));
    waits_for_all(&rig, &mut nodes, (0, 1), &Command::none(&RESERVE_6));
    let [mut a, mut b] = nodes;
    b.write_blocks(0, &pattern(99, 8)).conflict();
    holds_what_was_in_flight(&rig, &mut a);
    a.none(&RELEASE_6).good();
    b.write_blocks(0, &pattern(99, 8)).good();
}

fn unregistering_waits_for_the_own_writes(setup: Setup) {
    let Scene { rig, a, mut b, .. } = Scene::new(&setup);
    b.reserve(kind::WE_RO, B).good();
    let mut nodes = [a, b];
    let unregister = reserve_out(action::REGISTER, 0, A, 0);
    waits_for_all(&rig, &mut nodes, (0, 0), &unregister);
    let [mut a, mut b] = nodes;
    a.write_blocks(0, &pattern(99, 8)).conflict();
    holds_what_was_in_flight(&rig, &mut b);
}

fn register_and_move_waits_for_the_former_holder(setup: Setup) {
    let Scene { rig, mut a, b, .. } = Scene::new(&setup);
    a.reserve(kind::WE, A).good();
    let mut nodes = [a, b];
    let id = transport_id(&initiator_name("b"), Some(ISID));
    let list = move_parameters(A, B, 0, 1, &id);
    let length = u32::try_from(list.len()).expect("a list fits");
    let cdb = out_cdb(action::REGISTER_AND_MOVE, 0, length);
    waits_for_all(&rig, &mut nodes, (0, 0), &Command::write(&cdb, &list));
    let [mut a, mut b] = nodes;
    a.write_blocks(0, &pattern(99, 8)).conflict();
    b.write_blocks(500, &pattern(7, 8)).good();
    holds_what_was_in_flight(&rig, &mut b);
}

/// Two sessions of one node, one of them through another target port, under one key.
fn preempt_waits_for_every_nexus_of_the_key(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(&setup);
    let mut more = [
        rig.login("b").isid(2).connect(),
        rig.other_port(rig.login("b")).connect(),
    ];
    for session in &mut more {
        session.take_attentions();
        session.register(0, B).good();
    }
    rig.gate().close();
    let mut writes = Vec::new();
    for (number, session) in more.iter_mut().enumerate() {
        let lba = 1000 * (number as u64 + 1);
        writes.push(submit(session, &write_of(lba, 8, lba)));
    }
    rig.gate().wait_for(2);
    let task = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    rig.wait_for_conflict(&mut b);
    rig.assert_unanswered(&mut a, task);
    rig.gate().pass(1);
    until("a write has passed the gate", || rig.gate().held() == 1);
    rig.assert_unanswered(&mut a, task);
    rig.gate().open();
    complete(&mut a, task).good();
    for (session, write) in more.iter_mut().zip(writes) {
        complete(session, write).good();
        session.expect_attention(sense::REGISTRATIONS_PREEMPTED);
        session.write_blocks(0, &pattern(99, 8)).conflict();
    }
}

fn whoever_keeps_its_right_is_not_waited_for(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::new(&setup);
    rig.gate().close();
    let own = submit(&mut a, &write_of(0, 8, 1));
    let other = submit(&mut c, &write_of(64, 8, 2));
    rig.gate().wait_for(2);
    a.reserve(kind::WE_RO, A).good();
    a.preempt(kind::WE_RO, A, B).good();
    assert_eq!(rig.gate().held(), 2, "both go on");
    rig.gate().open();
    complete(&mut a, own).good();
    complete(&mut c, other).good();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    b.write_blocks(0, &pattern(99, 8)).conflict();
    assert_eq!(a.read_blocks(64, 8).good(), pattern(2, 8));
}

fn commands_that_take_no_right_do_not_wait(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::new(&setup);
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    a.register(A, A + 1).good();
    a.preempt(kind::WE_RO, A + 1, C).good();
    a.clear(A + 1).good();
    assert_eq!(rig.gate().held(), 1, "the write goes on");
    rig.gate().open();
    complete(&mut b, write).good();
    b.take_attentions();
    b.write_blocks(0, &pattern(99, 8)).good();
}

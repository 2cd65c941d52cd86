//! PREEMPT AND ABORT ends the commands of the victims, and of nobody else.

use super::scene::{
    Scene, arrive_at_the_home, complete, reserve_out, submit, submit_unfed, write_of,
};
use crate::support::cluster::{A, B, C};
use crate::support::initiator::{Attribute, Command, Initiator};
use crate::support::login::ANSWER_TIMEOUT;
use crate::support::reserve::{action, flag, in_cdb, kind};
use crate::support::rig::{NEVER, Rig, until};
use crate::support::scsi::{BLOCK, pattern, read16, sense, status, test_unit_ready};
use crate::support::server::Setup;

const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;
const PERSISTENT_RESERVE_IN: u8 = 0x5e;
const PERSISTENT_RESERVE_OUT: u8 = 0x5f;

// A command that waits for its own end would end by its bound alone: no test waits that long.
const _: () = assert!(NEVER.as_secs() > ANSWER_TIMEOUT.as_secs());

crate::on_every_engine!(
    the_victims_commands_end_and_no_others,
    what_is_queued_ends_ahead_of_the_fence,
    with_task_aborted_status_the_victim_is_told_so,
    data_of_an_aborted_write_is_ignored,
    naming_the_own_key_ends_the_own_other_commands,
    aborted_writes_are_waited_for_where_nothing_is_reserved,
    a_victim_that_waits_to_read_keys_holds_nobody_up,
    a_victim_that_comes_while_the_fence_waits_is_busy,
    a_change_that_is_not_durable_aborts_nothing,
    a_newcomer_is_not_taken_for_a_victim,
);

fn preempt_and_abort(victim: u64) -> Command {
    reserve_out(action::PREEMPT_AND_ABORT, kind::WE_RO, A, victim)
}

/// Sends PREEMPT AND ABORT, which waits for what is in flight, and returns when the commands of `node`
/// have been aborted: nothing is left of them but what `left` lists, by operation code. What is aborted
/// and at the backend stays until the backend is done with it.
fn abort_up_to(rig: &Rig, a: &mut Initiator, victim: u64, node: &str, left: &[u8]) -> u32 {
    let task = submit(a, &preempt_and_abort(victim));
    until("the commands have been aborted", || {
        let counted = rig.in_flight(node);
        let codes = counted.iter().flat_map(|entry| entry.commands.keys());
        codes.eq(left)
    });
    rig.assert_unanswered(a, task);
    task
}

/// With TAS=0 the victim hears nothing of what was aborted but the unit attention, neither of what had
/// not begun nor of a write that is on its way to the medium and that the fence waits for.
fn the_victims_commands_end_and_no_others(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    let mut waiting = rig.login("c").isid(2).key("ImmediateData", "No").connect();
    waiting.take_attentions();
    waiting.register(0, C).good();
    rig.gate().close_for_reads_too();
    let write = submit(&mut b, &write_of(0, 8, 1));
    let read = submit(&mut b, &Command::read(&read16(64, 8), 8 * BLOCK));
    let ordered = submit(&mut b, &test_unit_ready_in_order());
    let dormant = submit(&mut b, &write_of(128, 8, 2));
    b.ping(b"?").expect("an answer behind them");
    let own = submit(&mut a, &Command::read(&read16(256, 8), 8 * BLOCK));
    let other = submit(&mut c, &Command::read(&read16(512, 8), 8 * BLOCK));
    let (unfed, transfer) = submit_unfed(&mut waiting, &write_of(1024, 8, 5));
    rig.gate().wait_for(4);
    let task = abort_up_to(&rig, &mut a, B, "b", &[READ_16, WRITE_16]);
    rig.gate().open();
    complete(&mut a, task).good();
    complete(&mut a, own).good();
    complete(&mut c, other).good();
    waiting
        .send_data_out(unfed, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    complete(&mut waiting, unfed).good();
    assert_eq!(
        b.take_attentions(),
        [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
    );
    for ended in [write, read, ordered, dormant] {
        assert!(!b.is_answered(ended), "an aborted command has no status");
    }
    c.expect_no_attention();
    a.expect_no_attention();
    assert_eq!(
        a.read_blocks(0, 8).good(),
        pattern(1, 8),
        "over before GOOD"
    );
    assert_eq!(a.read_blocks(128, 8).good(), vec![0; 8 * BLOCK]);
    assert_eq!(a.keys(), [A, C, C]);
}

/// A write of the victim hangs, and the fence waits for it. What else the victim has sent is aborted at
/// once, and told so, instead of meeting a conflict when its data or its turn come.
fn what_is_queued_ends_ahead_of_the_fence(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup).with_reticent_b();
    tell_of_aborts(&mut a);
    b.take_attentions();
    c.take_attentions();
    rig.gate().close();
    let (hung, transfer) = submit_unfed(&mut b, &write_of(0, 8, 1));
    b.send_data_out(hung, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    rig.gate().wait_for(1);
    let (unfed, _) = submit_unfed(&mut b, &write_of(64, 8, 2));
    let dormant = submit(&mut b, &test_unit_ready_in_order());
    b.ping(b"?").expect("an answer behind it");
    let task = abort_up_to(&rig, &mut a, B, "b", &[WRITE_16]);
    assert_eq!(complete(&mut b, dormant).status, status::TASK_ABORTED);
    assert_eq!(complete(&mut b, unfed).status, status::TASK_ABORTED);
    assert!(!b.is_answered(hung), "it is not quiet yet");
    rig.assert_unanswered(&mut a, task);
    rig.gate().open();
    complete(&mut a, task).good();
    assert_eq!(complete(&mut b, hung).status, status::TASK_ABORTED);
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(a.read_blocks(0, 8).good(), pattern(1, 8));
    assert_eq!(a.read_blocks(64, 8).good(), vec![0; 8 * BLOCK]);
    c.expect_no_attention();
}

/// Waits for everything that was sent before it.
fn test_unit_ready_in_order() -> Command {
    Command::none(&test_unit_ready()).attribute(Attribute::Ordered)
}

/// TAS of the control mode page (SPC-4 section 7.5.8).
fn tell_of_aborts(session: &mut Initiator) {
    let sensed = session.read(&[0x1a, 0x08, 0x0a, 0, 255, 0], 255).good();
    let mut list = vec![0; 4];
    list.extend_from_slice(&sensed[4..]);
    list[4] &= 0x3f; // PS is reserved in MODE SELECT
    list[4 + 5] |= 0x40;
    let length = u8::try_from(list.len()).expect("one page");
    session.write(&[0x15, 0x10, 0, 0, length, 0], &list).good();
}

fn with_task_aborted_status_the_victim_is_told_so(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup).with_reticent_b();
    tell_of_aborts(&mut a);
    b.take_attentions();
    c.take_attentions();
    rig.gate().close_for_reads_too();
    let read = submit(&mut b, &Command::read(&read16(64, 8), 8 * BLOCK));
    rig.gate().wait_for(1);
    let (unfed, transfer) = submit_unfed(&mut b, &write_of(0, 8, 1));
    let task = abort_up_to(&rig, &mut a, B, "b", &[READ_16]);
    b.send_data_out(unfed, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    assert_eq!(complete(&mut b, unfed).status, status::TASK_ABORTED);
    assert!(!b.is_answered(read), "it is not quiet yet");
    rig.gate().open();
    complete(&mut a, task).good();
    assert_eq!(complete(&mut b, read).status, status::TASK_ABORTED);
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(a.read_blocks(0, 8).good(), vec![0; 8 * BLOCK]);
}

/// The victim had been asked for the data, and sends it when its command is no more.
fn data_of_an_aborted_write_is_ignored(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(&setup).with_reticent_b();
    let before = rig.gate().changes();
    let (unfed, transfer) = submit_unfed(&mut b, &write_of(0, 8, 1));
    a.run(&preempt_and_abort(B)).good();
    b.send_data_out(unfed, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    assert_eq!(
        b.take_attentions(),
        [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
    );
    assert!(!b.is_answered(unfed));
    assert_eq!(rig.gate().changes(), before);
    b.write_blocks(0, &pattern(1, 8)).conflict();
}

/// A registrant that names its own key removes itself; its PERSISTENT RESERVE OUT goes on.
fn naming_the_own_key_ends_the_own_other_commands(setup: Setup) {
    let Scene {
        rig,
        a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    drop(a);
    let mut a = rig.reticent_session("a");
    rig.gate().close_for_reads_too();
    let read = submit(&mut a, &Command::read(&read16(0, 8), 8 * BLOCK));
    let other = submit(&mut c, &Command::read(&read16(64, 8), 8 * BLOCK));
    rig.gate().wait_for(2);
    let (unfed, _) = submit_unfed(&mut a, &write_of(0, 8, 1));
    // PERSISTENT RESERVE OUT asks for its data, and gets it while the test waits for the abort.
    let task = submit(&mut a, &preempt_and_abort(A));
    until("the own commands have been aborted", || {
        a.ping(b"?").expect("an answer");
        let counted = rig.in_flight("a");
        let codes = counted.iter().flat_map(|entry| entry.commands.keys());
        codes.eq(&[PERSISTENT_RESERVE_OUT, READ_16])
    });
    rig.assert_unanswered(&mut a, task);
    rig.gate().open();
    complete(&mut a, task).good();
    complete(&mut c, other).good();
    a.expect_no_attention();
    for ended in [read, unfed] {
        assert!(!a.is_answered(ended), "aborted by its own nexus: no status");
    }
    a.write_blocks(0, &pattern(3, 8)).conflict();
    assert_eq!(b.keys(), [B, C]);
}

/// Without a reservation the victim keeps its right to write. What was aborted must be over all the
/// same.
fn aborted_writes_are_waited_for_where_nothing_is_reserved(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::new(&setup);
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let generation = rig.state().generation();
    let task = submit(&mut a, &preempt_and_abort(B));
    rig.wait_for_generation(generation);
    rig.assert_unanswered(&mut a, task);
    rig.gate().open();
    complete(&mut a, task).good();
    assert_eq!(a.read_blocks(0, 8).good(), pattern(1, 8));
    assert_eq!(
        b.take_attentions(),
        [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
    );
    assert!(!b.is_answered(write), "an aborted command has no status");
    b.write_blocks(0, &pattern(2, 8)).good();
}

/// PERSISTENT RESERVE IN waits behind the change that will abort it: neither waits for the other.
fn a_victim_that_waits_to_read_keys_holds_nobody_up(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    // The home is busy fencing `c` as `a` asks it to fence `b`, and `b` asks for the keys.
    rig.gate().close();
    let write = submit(&mut c, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let generation = rig.state().generation();
    let preempt = reserve_out(action::PREEMPT, kind::WE_RO, A, C);
    let first = submit(&mut a, &preempt);
    rig.wait_for_generation(generation);
    let second = submit(&mut a, &preempt_and_abort(B));
    arrive_at_the_home(&rig, &mut a, PERSISTENT_RESERVE_OUT, 2);
    let keys = submit(&mut b, &Command::read(&in_cdb(0, 256), 256));
    arrive_at_the_home(&rig, &mut b, PERSISTENT_RESERVE_IN, 1);
    rig.gate().open();
    complete(&mut a, first).good();
    complete(&mut a, second).good();
    complete(&mut c, write).good();
    assert_eq!(
        b.take_attentions(),
        [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
    );
    assert!(!b.is_answered(keys), "an aborted command has no status");
}

/// A reservation command of a victim that comes when its others have been aborted is not one of those. It
/// is not to wait for the end of the abort either, and is to be sent again. Of the abort the victim hears
/// when its write is over: what it sends again must not be overtaken by that.
fn a_victim_that_comes_while_the_fence_waits_is_busy(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let generation = rig.state().generation();
    let task = submit(&mut a, &preempt_and_abort(B));
    rig.wait_for_generation(generation);
    rig.settle();
    let keys = submit(&mut c, &Command::read(&in_cdb(0, 256), 256));
    arrive_at_the_home(&rig, &mut c, PERSISTENT_RESERVE_IN, 1);
    let refused = b.run(&Command::read(&in_cdb(0, 256), 256));
    assert_eq!(refused.status, status::BUSY);
    rig.assert_unanswered(&mut a, task);
    assert!(!c.is_answered(keys), "who is no victim waits for the fence");
    rig.gate().open();
    complete(&mut a, task).good();
    complete(&mut c, keys).good();
    assert_eq!(
        b.take_attentions(),
        [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
    );
    assert_eq!(b.keys(), [A, C]);
    assert!(!b.is_answered(write), "an aborted command has no status");
}

/// The marks come after the store: a PREEMPT AND ABORT that fails because of it has ended nothing.
fn a_change_that_is_not_durable_aborts_nothing(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(&setup).with_reticent_b();
    a.register_with(A, A, flag::APTPL).good();
    let (unfed, transfer) = submit_unfed(&mut b, &write_of(0, 8, 1));
    rig.records.fail(true);
    let (key, asc, ascq) = (5, 0x55, 4);
    a.run(&preempt_and_abort(B)).check(key, asc, ascq);
    rig.records.fail(false);
    b.send_data_out(unfed, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    complete(&mut b, unfed).good();
    b.expect_no_attention();
    assert_eq!(a.read_blocks(0, 8).good(), pattern(1, 8));
}

/// One of the victims has logged out. Its place in the volume's table is not given to a node that logs
/// in while the command waits: that node's commands would be aborted for the victim's.
fn a_newcomer_is_not_taken_for_a_victim(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::new(&setup);
    for isid in 2..6 {
        let mut gone = rig.login("b").isid(isid).connect();
        gone.take_attentions();
        gone.register(0, B).good();
        gone.logout();
    }
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let generation = rig.state().generation();
    let task = submit(&mut a, &preempt_and_abort(B));
    rig.wait_for_generation(generation);
    let mut newcomers: Vec<_> = (0..4)
        .map(|number| {
            let mut session = rig.reticent_session(&format!("newcomer-{number}"));
            let lba = 1000 + 8 * number;
            let (task, transfer) = submit_unfed(&mut session, &write_of(lba, 8, lba));
            (session, task, transfer)
        })
        .collect();
    rig.assert_unanswered(&mut a, task);
    rig.gate().open();
    complete(&mut a, task).good();
    for (session, task, transfer) in &mut newcomers {
        session
            .send_data_out(*task, *transfer, 0, 8 * BLOCK)
            .expect("the data is sent");
        complete(session, *task).good();
        session.none(&test_unit_ready()).good();
    }
    assert!(!b.is_answered(write), "an aborted command has no status");
}

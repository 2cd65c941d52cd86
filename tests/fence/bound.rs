//! A backend or a store that hangs: an honest error in time, the state as it was, in the store too, and a
//! fence that works once both do again.

use std::time::Duration;

use holdfast::base::clock::Instant;
use holdfast::reservation::{Key, State};

use super::scene::{Scene, complete, reserve_out, submit, write_of};
use crate::support::cluster::{A, B, C};
use crate::support::initiator::Command;
use crate::support::reserve::{action, flag, kind};
use crate::support::rig::{Rig, until};
use crate::support::scsi::{BLOCK, pattern, read16, sense, status};
use crate::support::server::Setup;

/// HARDWARE ERROR, TIMEOUT ON LOGICAL UNIT.
const TIMED_OUT: (u8, u8, u8) = (0x04, 0x3e, 0x02);
/// A bound that tests can wait for, and that a busy machine does not reach by itself.
const SHORT: Duration = Duration::from_secs(2);
/// Reservation commands at once. If each had [`SHORT`] for itself, they would take that many times as
/// long.
const QUEUED: u32 = 16;

crate::on_every_engine!(
    a_hung_backend_is_an_error_that_changes_nothing,
    what_preempt_and_abort_has_ended_stays_ended,
    what_was_made_durable_is_taken_back,
    what_could_not_be_taken_back_is_put_right,
    a_store_that_hangs_is_an_error_that_changes_nothing,
    what_a_hung_store_saves_after_all_is_put_right,
    what_waited_behind_a_hung_save_is_given_up,
    commands_behind_a_hung_one_are_answered,
    a_hung_read_does_not_fail_preempt_and_abort,
);

fn a_hung_backend_is_an_error_that_changes_nothing(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::bounded(&setup, SHORT);
    b.reserve(kind::WE_RO, B).good();
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let state = rig.state();
    let (key, asc, ascq) = TIMED_OUT;
    a.preempt(kind::WE_RO, A, B).check(key, asc, ascq);
    assert_eq!(rig.state(), state, "a command that fails changes nothing");
    assert_eq!(a.keys(), [A, B, C]);
    rig.gate().open();
    complete(&mut b, write).good();
    b.write_blocks(0, &pattern(2, 8)).good();
    for session in [&mut a, &mut b, &mut c] {
        session.expect_no_attention();
    }
    a.preempt(kind::WE_RO, A, B).good();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    b.write_blocks(0, &pattern(3, 8)).conflict();
    assert_eq!(a.read_blocks(0, 8).good(), pattern(2, 8));
    assert_eq!(a.keys(), [A, C]);
}

/// The reservation is as it was. What had been aborted before the backend turned out to hang is over, and
/// its initiator is told when nothing of it can take effect any more: nothing brings a command back that
/// has ended.
fn what_preempt_and_abort_has_ended_stays_ended(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::bounded(&setup, SHORT);
    b.reserve(kind::WE_RO, B).good();
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let state = rig.state();
    let (key, asc, ascq) = TIMED_OUT;
    a.preempt_and_abort(kind::WE_RO, A, B).check(key, asc, ascq);
    assert_eq!(rig.state(), state);
    assert_eq!(a.keys(), [A, B, C]);
    b.expect_no_attention();
    rig.gate().open();
    until("the victim is told, once its write is over", || {
        b.take_attentions() == [sense::COMMANDS_CLEARED]
    });
    b.write_blocks(0, &pattern(2, 8)).good();
    assert!(!b.is_answered(write), "an aborted command has no status");
    for session in [&mut a, &mut b, &mut c] {
        session.expect_no_attention();
    }
    assert_eq!(b.keys(), [A, B, C], "nor is it turned away any longer");
    a.preempt_and_abort(kind::WE_RO, A, B).good();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    b.write_blocks(0, &pattern(3, 8)).conflict();
    assert_eq!(a.read_blocks(0, 8).good(), pattern(2, 8));
}

fn what_was_made_durable_is_taken_back(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::bounded(&setup, SHORT);
    b.register_with(B, B, flag::APTPL).good();
    b.reserve(kind::WE_RO, B).good();
    let durable = rig.records.take().pop().expect("APTPL asks for a record");
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let (key, asc, ascq) = TIMED_OUT;
    a.preempt(kind::WE_RO, A, B).check(key, asc, ascq);
    let records = rig.records.take();
    assert_eq!(records.last(), Some(&durable), "the record is as it was");
    rig.gate().open();
    complete(&mut b, write).good();
    a.preempt(kind::WE_RO, A, B).good();
    // REGISTER set APTPL, and PREEMPT leaves it.
    let record = rig.records.take().pop().expect("a record");
    assert_eq!(record, rig.state().after_power_loss());
}

/// Waits until the store holds what is in force, by records that are saved from now on: no command asks
/// for them. Returns all of them.
#[track_caller]
fn saved_until_put_right(rig: &Rig) -> Vec<State> {
    let in_force = rig.state().after_power_loss();
    let mut saved = Vec::new();
    until("the state in force is saved", || {
        saved.extend(rig.records.take());
        saved.last() == Some(&in_force)
    });
    saved
}

/// The store fails as the change is to be taken back. It holds a change that was answered with an error
/// then, until it works again.
fn what_could_not_be_taken_back_is_put_right(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::bounded(&setup, SHORT);
    b.register_with(B, B, flag::APTPL).good();
    b.reserve(kind::WE_RO, B).good();
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let generation = rig.state().generation();
    let task = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    rig.wait_for_generation(generation);
    rig.records.fail(true);
    let (key, asc, ascq) = TIMED_OUT;
    complete(&mut a, task).check(key, asc, ascq);
    let saved = rig.records.take().pop().expect("the change was durable");
    assert_ne!(saved, rig.state().after_power_loss());
    rig.records.fail(false);
    assert_eq!(rig.state().generation(), generation);
    saved_until_put_right(&rig);
    rig.gate().open();
    complete(&mut b, write).good();
}

/// What hangs is the store of reservations. No command waits longer for it than the bound.
fn a_store_that_hangs_is_an_error_that_changes_nothing(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::bounded(&setup, SHORT);
    b.register_with(B, B, flag::APTPL).good();
    b.reserve(kind::WE_RO, B).good();
    let state = rig.state();
    rig.records.hang(true);
    let (key, asc, ascq) = TIMED_OUT;
    a.preempt(kind::WE_RO, A, B).check(key, asc, ascq);
    assert_eq!(rig.state(), state, "a command that fails changes nothing");
    b.write_blocks(0, &pattern(1, 8)).good();
    b.expect_no_attention();
    rig.records.hang(false);
    a.preempt(kind::WE_RO, A, B).good();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    b.write_blocks(0, &pattern(2, 8)).conflict();
}

/// The store saves the change once it comes to itself, long after the command was answered with an error.
/// A restart would find it there, so it does not stay.
fn what_a_hung_store_saves_after_all_is_put_right(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::bounded(&setup, SHORT);
    b.register_with(B, B, flag::APTPL).good();
    b.reserve(kind::WE_RO, B).good();
    rig.records.take();
    rig.records.hang(true);
    let (key, asc, ascq) = TIMED_OUT;
    a.preempt(kind::WE_RO, A, B).check(key, asc, ascq);
    rig.records.hang(false);
    let saved = saved_until_put_right(&rig);
    let has_b = |state: &State| state.registrations().any(|(_, own)| own.key == Key(B));
    let of_b: Vec<_> = saved.iter().map(has_b).collect();
    assert_eq!(of_b, [false, true], "the late change, and what is in force");
    b.write_blocks(0, &pattern(1, 8)).good();
    a.preempt(kind::WE_RO, A, B).good();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    let saved = rig.records.take();
    assert_eq!(saved, [rig.state().after_power_loss()]);
}

/// The store hangs over the change of one volume; that of another one waits behind it, and is answered in
/// time too. It is not saved any more when the store comes to itself.
fn what_waited_behind_a_hung_save_is_given_up(setup: Setup) {
    const LATE: u64 = 0x1a7e;
    let Scene {
        mut rig,
        mut a,
        mut b,
        ..
    } = Scene::bounded(&setup, SHORT);
    rig.add_volume();
    let mut other = rig.session_with(1, "other");
    b.register_with(B, B, flag::APTPL).good();
    rig.records.take();
    rig.records.hang(true);
    let first = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    until("the store hangs over it", || rig.records.waits() == 1);
    let (key, asc, ascq) = TIMED_OUT;
    other
        .register_with(0, LATE, flag::APTPL)
        .check(key, asc, ascq);
    complete(&mut a, first).check(key, asc, ascq);
    rig.records.hang(false);
    // What puts the first volume right was handed over behind the change that was given up.
    let saved = saved_until_put_right(&rig);
    let is_late = |state: &State| state.registrations().any(|(_, own)| own.key == Key(LATE));
    assert!(!saved.iter().any(is_late));
    assert!(other.keys().is_empty());
    other.register_with(0, LATE, flag::APTPL).good();
    assert!(rig.records.take().iter().any(is_late));
}

/// All reservation commands that were sent behind the one that waits are answered in time, none GOOD.
fn commands_behind_a_hung_one_are_answered(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::bounded(&setup, SHORT);
    b.reserve(kind::WE_RO, B).good();
    rig.gate().close();
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let state = rig.state();
    let start = Instant::now();
    let preempts: Vec<(bool, u32)> = (0..QUEUED)
        .map(|number| {
            let by_a = number % 2 == 0;
            let (session, key) = if by_a { (&mut a, A) } else { (&mut c, C) };
            let preempt = reserve_out(action::PREEMPT, kind::WE_RO, key, B);
            (by_a, submit(session, &preempt))
        })
        .collect();
    for (by_a, task) in preempts {
        let outcome = complete(if by_a { &mut a } else { &mut c }, task);
        assert!(
            outcome.status == status::BUSY || outcome.sense_code() == TIMED_OUT,
            "{outcome:?}"
        );
    }
    let taken = Instant::now().since(start);
    assert!(
        taken < SHORT * QUEUED / 2,
        "the bound holds for all of them together, not for each: {taken:?}"
    );
    assert_eq!(rig.state(), state);
    rig.gate().open();
    complete(&mut b, write).good();
    c.preempt(kind::WE_RO, C, B).good();
    assert_eq!(c.keys(), [A, C]);
}

/// The fence is about writes. A read that hangs has been aborted, and its initiator hears no more of it.
fn a_hung_read_does_not_fail_preempt_and_abort(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::bounded(&setup, SHORT);
    b.reserve(kind::WE_RO, B).good();
    rig.gate().close_for_reads_too();
    let read = submit(&mut b, &Command::read(&read16(0, 8), 8 * BLOCK));
    rig.gate().wait_for(1);
    a.preempt_and_abort(kind::WE_RO, A, B).good();
    rig.gate().open();
    assert_eq!(
        b.take_attentions(),
        [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
    );
    assert!(!b.is_answered(read));
    assert_eq!(a.keys(), [A, C]);
}

//! What else may happen while a fence waits: aborts, resets, sessions that end and come back, and
//! commands on their way to the home. A write of a session that is gone counts as long as it is with
//! the backend.

use std::io::Read;
use std::net::Shutdown;

use holdfast::target::InFlight;

use super::scene::{
    Scene, arrive_at_the_home, complete, reserve_out, submit, submit_unfed, write_of,
};
use crate::support::cluster::{A, B, C};
use crate::support::initiator::{Attribute, Command, Initiator};
use crate::support::pdu::{FINAL, NO_TAG, Pdu, opcode};
use crate::support::reserve::{action, kind};
use crate::support::rig::{Rig, until};
use crate::support::scsi::{BLOCK, pattern, read16, sense};
use crate::support::server::Setup;

const ABORT_TASK: u8 = 1;
const LOGICAL_UNIT_RESET: u8 = 5;
const MODE_SELECT_6: u8 = 0x15;
const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 2, 0];

crate::on_every_engine!(
    the_write_of_a_lost_connection_counts,
    the_write_of_a_reinstated_session_counts,
    the_write_of_a_session_that_logs_out_counts,
    an_aborted_write_counts,
    a_logical_unit_reset_does_not_hurry_the_fence,
    a_fenced_node_does_not_change_the_mode_pages,
    the_counts_of_what_is_in_flight_are_right,
);

/// What gives the session of `b` in the end: the old one, or a new login.
type Return = Box<dyn FnOnce() -> Initiator>;

/// `b` has a write in flight; something happens to it (its tag and CmdSN are told) or to the session;
/// then `a` preempts `b`, which must wait for the write.
fn still_counts(setup: &Setup, happens: impl FnOnce(&Rig, Initiator, (u32, u32)) -> Return) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(setup);
    rig.gate().close();
    let cmd_sn = b.sequence.cmd_sn;
    let write = submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let returns = happens(&rig, b, (write, cmd_sn));
    let generation = rig.state().generation();
    let task = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    rig.wait_for_generation(generation);
    rig.assert_unanswered(&mut a, task);
    assert_eq!(rig.gate().held(), 1);
    rig.gate().open();
    complete(&mut a, task).good();
    assert_eq!(
        a.read_blocks(0, 8).good(),
        pattern(1, 8),
        "over before GOOD"
    );
    let mut b = returns();
    let told = b.take_attentions();
    assert!(
        told.contains(&sense::REGISTRATIONS_PREEMPTED),
        "{told:02x?}"
    );
    b.write_blocks(0, &pattern(2, 8)).conflict();
    assert_eq!(a.read_blocks(0, 8).good(), pattern(1, 8));
}

/// The node logs in again.
fn returns_later(rig: &Rig) -> Return {
    let login = rig.login("b");
    Box::new(move || login.connect())
}

/// Ends this side of the connection, and returns when the target has ended its own.
fn hang_up(session: &mut Initiator) {
    session
        .stream
        .shutdown(Shutdown::Write)
        .expect("the socket is connected");
    let mut rest = Vec::new();
    // Reset or closed in order: the target is done with it.
    let _ = session.stream.read_to_end(&mut rest);
}

fn the_write_of_a_lost_connection_counts(setup: Setup) {
    still_counts(&setup, |rig, mut b, _| {
        hang_up(&mut b);
        returns_later(rig)
    });
}

/// A login with the same name and ISID ends the old session, and waits for it to be quiet.
fn the_write_of_a_reinstated_session_counts(setup: Setup) {
    still_counts(&setup, |rig, mut b, _| {
        let login = rig.login("b");
        let again = std::thread::spawn(move || login.connect());
        let mut rest = Vec::new();
        // The target has dropped the old session.
        let _ = b.stream.read_to_end(&mut rest);
        Box::new(|| again.join().expect("the login succeeds"))
    });
}

fn the_write_of_a_session_that_logs_out_counts(setup: Setup) {
    still_counts(&setup, |rig, mut b, _| {
        let total = || -> u32 {
            let counted = rig.in_flight("b");
            counted.iter().map(InFlight::commands_total).sum()
        };
        submit(&mut b, &write_of(8, 8, 2).attribute(Attribute::Ordered));
        until("a second command waits for its turn", || total() == 2);
        b.submit_request(Pdu::new(opcode::LOGOUT).with_flags(FINAL))
            .expect("the logout is sent");
        until("the logout has ended it", || total() == 1);
        // The answer to the logout comes after the write.
        b.cut();
        returns_later(rig)
    });
}

/// Sends a task management function and returns when it has been taken, not when it is answered.
fn manage(session: &mut Initiator, function: u8, referenced: (u32, u32)) {
    let request = Pdu::new(opcode::TASK_MANAGEMENT)
        .immediate()
        .with_flags(FINAL | function)
        .with_ttt(referenced.0)
        .with_u32(32, referenced.1);
    session
        .submit_request(request)
        .expect("the request is sent");
    session.ping(b"?").expect("an answer");
}

fn an_aborted_write_counts(setup: Setup) {
    still_counts(&setup, |rig, mut b, write| {
        manage(&mut b, ABORT_TASK, write);
        rig.settle();
        Box::new(|| b)
    });
}

fn a_logical_unit_reset_does_not_hurry_the_fence(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    rig.gate().close();
    submit(&mut b, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    manage(&mut c, LOGICAL_UNIT_RESET, (NO_TAG, 0));
    rig.settle();
    let generation = rig.state().generation();
    let task = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    rig.wait_for_generation(generation);
    rig.assert_unanswered(&mut a, task);
    rig.gate().open();
    complete(&mut a, task).good();
    assert_eq!(a.take_attentions().len(), 1, "the reset");
    assert_eq!(a.read_blocks(0, 8).good(), pattern(1, 8));
    b.take_attentions();
    b.write_blocks(0, &pattern(2, 8)).conflict();
}

/// MODE SELECT changes no block; it works on the logical unit of everybody. One that was allowed when it
/// came, and that waits for the home while its sender is fenced, is refused all the same.
fn a_fenced_node_does_not_change_the_mode_pages(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    let page = |session: &mut Initiator| session.read(&[0x1a, 0x08, 0x0a, 0, 255, 0], 255).good();
    let sensed = page(&mut b);
    let mut list = vec![0; 4];
    list.extend_from_slice(&sensed[4..]);
    list[4] &= 0x3f; // PS is reserved in MODE SELECT
    list[4 + 5] ^= 0x40;
    let length = u8::try_from(list.len()).expect("one page");
    // The home is busy fencing `c` as `a` asks it to fence `b` next.
    rig.gate().close();
    let write = submit(&mut c, &write_of(0, 8, 1));
    rig.gate().wait_for(1);
    let generation = rig.state().generation();
    let first = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, C));
    rig.wait_for_generation(generation);
    let second = submit(&mut a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    arrive_at_the_home(&rig, &mut a, PERSISTENT_RESERVE_OUT, 2);
    let select = Command::write(&[0x15, 0x10, 0, 0, length, 0], &list);
    let select = submit(&mut b, &select);
    arrive_at_the_home(&rig, &mut b, MODE_SELECT_6, 1);
    rig.gate().open();
    complete(&mut a, first).good();
    complete(&mut a, second).good();
    complete(&mut c, write).good();
    complete(&mut b, select).conflict();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    b.none(&EJECT).conflict();
    assert_eq!(page(&mut a), sensed);
}

fn the_counts_of_what_is_in_flight_are_right(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::new(&setup).with_reticent_b();
    assert_eq!(rig.in_flight("b"), []);
    let (unfed, transfer) = submit_unfed(&mut b, &write_of(0, 8, 1));
    rig.gate().close_for_reads_too();
    let read = submit(&mut b, &Command::read(&read16(64, 8), 8 * BLOCK));
    rig.gate().wait_for(1);
    let counted = rig.in_flight("b");
    assert_eq!(counted.len(), 1, "one nexus: {counted:?}");
    let entry = &counted[0];
    let commands: Vec<_> = entry.commands.iter().map(|(code, n)| (*code, *n)).collect();
    assert_eq!(commands, [(0x88, 1), (0x8a, 1)]);
    assert_eq!(entry.commands_total(), 2);
    assert_eq!(
        (entry.awaiting_data, entry.issued, entry.issued_writes),
        (1, 1, 0)
    );
    b.send_data_out(unfed, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    rig.gate().wait_for(2);
    let entry = rig.in_flight("b").remove(0);
    assert_eq!(
        (entry.awaiting_data, entry.issued, entry.issued_writes),
        (0, 2, 1)
    );
    rig.gate().open();
    complete(&mut b, read).good();
    complete(&mut b, unfed).good();
    assert_eq!(rig.in_flight("b"), []);
    a.expect_no_attention();
}

//! What can become of a command while it waits.

use std::time::Duration;

use crate::stage::{Stage, operations};
use crate::support::initiator::{Attribute, Command, Initiator};
use crate::support::scsi::{BLOCK, read10, test_unit_ready};
use crate::support::server::Setup;

crate::on_every_engine!(
    an_aborted_command_leaves_the_line,
    an_aborted_head_gives_its_place_back,
    a_lost_session_leaves_the_line,
    a_session_that_logs_out_leaves_the_line,
    a_reset_finds_what_waits,
    an_ordered_command_waits_for_those_before_it,
    the_command_window_stays_shut,
);
const TEN_MS: Duration = Duration::from_millis(10);
const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const LOGICAL_UNIT_RESET: u8 = 5;
const AT_ONCE: usize = 6;

fn an_aborted_command_leaves_the_line(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let mut a = stage.session(0, "a");
    let first_cmd_sn = a.sequence.cmd_sn;
    let tags = stage.reads(&mut a, 20);
    // The head is number six; one in the middle goes.
    let aborted = 10;
    let cmd_sn = first_cmd_sn + u32::try_from(aborted).expect("small");
    let response = stage.during(|_| a.manage(ABORT_TASK, Some((tags[aborted], cmd_sn))));
    assert_eq!(response, 0);
    a.forget(tags[aborted]);
    for done in AT_ONCE + 1..=19 {
        stage.pass_with(TEN_MS, [&mut a]);
        assert_eq!(stage.done("a"), done, "its turn goes to the next");
    }
    assert!(!a.is_answered(tags[aborted]));
    assert!(
        tags.iter()
            .all(|tag| *tag == tags[aborted] || a.is_answered(*tag))
    );
}

fn an_aborted_head_gives_its_place_back(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, crate::stage::bytes(1 << 20), None);
    let (mut a, mut b) = (stage.session(0, "a"), stage.session(0, "b"));
    // A megabyte goes at once; the next is charged, and due in 950 ms.
    let long = Command::read(&read10(0, 2048), 2048 * BLOCK);
    stage.submit(&mut a, 2, &long);
    assert_eq!(stage.moved("a"), 1 << 20);
    stage.reads(&mut b, 2);
    assert_eq!(stage.during(|_| a.manage(ABORT_TASK_SET, None)), 0);
    stage.pass_with(Duration::from_millis(949), [&mut b]);
    assert_eq!(stage.done("b"), 0);
    stage.pass_with(TEN_MS, [&mut b]);
    assert_eq!(
        stage.done("b"),
        2,
        "not behind the megabyte that never went"
    );
    assert_eq!(stage.moved("a"), 1 << 20);
}

fn a_lost_session_leaves_the_line(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let (mut a, mut b) = (stage.session(0, "a"), stage.session(0, "b"));
    stage.reads(&mut a, 100);
    stage.reads(&mut b, 20);
    assert_eq!((stage.done("a"), stage.done("b")), (AT_ONCE, 0));
    a.cut();
    stage.during(
        |target| {
            while target.sessions().expect("an answer").len() > 1 {}
        },
    );
    takes_every_turn(&mut stage, &mut b, 20);
}

fn a_session_that_logs_out_leaves_the_line(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let (mut a, mut b) = (stage.session(0, "a"), stage.session(0, "b"));
    stage.writes(&mut a, 50);
    stage.reads(&mut b, 10);
    stage.during(|_| a.logout());
    takes_every_turn(&mut stage, &mut b, 10);
}

/// All turns are those of `b` now.
fn takes_every_turn(stage: &mut Stage, b: &mut Initiator, turns: usize) {
    for turn in 1..=turns {
        stage.pass_with(TEN_MS, [&mut *b]);
        let done = stage.done("b");
        assert_eq!(done, turn);
    }
}

fn a_reset_finds_what_waits(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let (mut a, mut b) = (stage.session(0, "a"), stage.session(0, "b"));
    stage.writes(&mut a, 30);
    stage.reads(&mut b, 30);
    let before = (stage.done("a"), stage.done("b"));
    assert_eq!(stage.during(|_| b.manage(LOGICAL_UNIT_RESET, None)), 0);
    stage.pass_with(Duration::from_secs(1), [&mut a, &mut b]);
    assert_eq!((stage.done("a"), stage.done("b")), before);
    stage.during(|_| {
        a.take_attentions();
        b.take_attentions();
    });
    stage.reads(&mut b, 3);
    assert_eq!(stage.done("b"), before.1 + 3);
}

/// It is enabled once all before it have ended; what comes after it waits for it.
fn an_ordered_command_waits_for_those_before_it(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let mut a = stage.session(0, "a");
    stage.reads(&mut a, AT_ONCE + 2);
    let ordered = Command::none(&test_unit_ready()).attribute(Attribute::Ordered);
    let ordered = stage.submit(&mut a, 1, &ordered)[0];
    let last = stage.reads(&mut a, 1)[0];
    stage.pass_with(TEN_MS, [&mut a]);
    assert!(!a.is_answered(ordered), "one read still waits");
    stage.pass_with(TEN_MS, [&mut a]);
    assert!(a.is_answered(ordered));
    assert!(!a.is_answered(last));
    stage.pass_with(TEN_MS, [&mut a]);
    assert!(a.is_answered(last));
}

/// What waits keeps its place in the window, so that an initiator can't have more than a window of it.
fn the_command_window_stays_shut(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let mut a = stage.session(0, "a");
    let window = |a: &Initiator| a.sequence.max_cmd_sn.wrapping_sub(a.sequence.cmd_sn) as usize + 1;
    let room = window(&a);
    stage.reads(&mut a, room);
    assert_eq!(window(&a), AT_ONCE);
    stage.pass_with(TEN_MS, [&mut a]);
    assert_eq!(window(&a), AT_ONCE + 1);
}

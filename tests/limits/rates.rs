//! How many go on, and when.

use std::time::Duration;

use holdfast::base::rate::Rates;

use crate::stage::{BYTES, Stage, bytes, operations};
use crate::support::copy::{Segment, copy_target, extended_copy_lid1};
use crate::support::initiator::Command;
use crate::support::scsi::{
    get_lba_status, inquiry, read10, synchronize_cache10, test_unit_ready, unmap, unmap_list,
    verify10, write_same16,
};
use crate::support::server::Setup;

crate::on_every_engine!(
    reads_go_at_their_rate,
    writes_go_at_their_rate,
    bytes_go_at_their_rate,
    what_is_not_limited_goes_at_once,
    other_commands_of_the_medium_count,
    copies_of_the_target_count,
    limits_change_while_commands_wait,
);
crate::engine_tests!(
    mio_null,
    Mio,
    1,
    "null",
    reads_go_at_their_rate,
    writes_go_at_their_rate
);

const TEN_MS: Duration = Duration::from_millis(10);

/// A hundred per second: five have been saved up, and one waits for nothing that went before.
const AT_ONCE: usize = 6;

fn reads_go_at_their_rate(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let mut a = stage.session(0, "a");
    stage.reads(&mut a, 40);
    assert_eq!(stage.done("a"), AT_ONCE);
    for done in AT_ONCE + 1..=20 {
        stage.pass_with(TEN_MS, [&mut a]);
        assert_eq!(stage.done("a"), done);
    }
    // However late a reactor looks, as long as it is within the burst, nothing is lost.
    stage.pass_with(5 * TEN_MS, [&mut a]);
    assert_eq!(stage.done("a"), 25);
    stage.pass_with(Duration::from_secs(1), [&mut a]);
    assert_eq!(
        stage.done("a"),
        26 + AT_ONCE,
        "later, there is the burst and no more"
    );
    stage.pass_with(5 * TEN_MS, [&mut a]);
    stage.pass_with(5 * TEN_MS, [&mut a]);
    assert_eq!(stage.done("a"), 40);
    stage.pass(Duration::from_secs(7));
    stage.reads(&mut a, 40);
    assert_eq!(stage.done("a"), 40 + AT_ONCE, "a rest saves up as much");
}

fn writes_go_at_their_rate(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let mut a = stage.session(0, "a");
    let tags = stage.writes(&mut a, 30);
    assert_eq!(stage.done("a"), AT_ONCE);
    for done in AT_ONCE + 1..=30 {
        stage.pass_with(TEN_MS, [&mut a]);
        assert_eq!(stage.done("a"), done);
    }
    stage.during(|_| {
        for tag in tags {
            a.complete(tag).expect("a status").good();
        }
    });
}

/// Half a megabyte per second, in pieces of 4 KiB: one for each 8.192 ms.
fn bytes_go_at_their_rate(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, bytes(500_000), None);
    let mut a = stage.session(0, "a");
    stage.reads(&mut a, 60);
    // What has gone at a time: those whose beginning is less than the burst ahead.
    let gone = |ms: usize| (50 + ms) * 1000 / 8192 + 1;
    assert_eq!(stage.done("a"), gone(0));
    for step in 1..=30 {
        stage.pass_with(TEN_MS, [&mut a]);
        assert_eq!(stage.done("a"), gone(10 * step));
    }
    // A long one goes when it may, and those behind it wait for its length: 64 KiB are 131 ms.
    for _ in 0..40 {
        stage.pass_with(TEN_MS, [&mut a]);
    }
    stage.pass(Duration::from_secs(1));
    let done = stage.moved("a");
    assert_eq!(done, 60 * BYTES as u64);
    let long = Command::read(&read10(0, 128), 128 * 512);
    stage.submit(&mut a, 1, &long);
    assert_eq!(stage.moved("a"), done + (64 << 10));
    stage.reads(&mut a, 1);
    stage.pass_with(8 * TEN_MS, [&mut a]);
    assert_eq!(stage.moved("a"), done + (64 << 10), "81 ms are to go");
    stage.pass_with(2 * TEN_MS, [&mut a]);
    assert_eq!(stage.moved("a"), done + (64 << 10) + BYTES as u64);
}

/// Commands that tell whether a path lives, and those that a cluster waits for.
fn what_is_not_limited_goes_at_once(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let (mut a, mut b) = (stage.session(0, "a"), stage.session(0, "b"));
    stage.reads(&mut a, 100);
    stage.during(|_| {
        for session in [&mut a, &mut b] {
            session.none(&test_unit_ready()).good();
            session.read(&inquiry(None, 96), 96).good();
            session.register_and_ignore(0xa).good();
            session.keys();
            session.none(&synchronize_cache10()).good();
        }
        a.reserve(5, 0xa).good();
        a.release(5, 0xa).good();
        assert_eq!(a.manage(1, Some((0xffff, 0xffff_0000))), 1, "no such task");
    });
    assert_eq!(stage.done("a"), AT_ONCE);
}

fn other_commands_of_the_medium_count(setup: Setup) {
    let mut stage = Stage::set(&setup);
    let list = unmap_list(64, 8);
    let length = u16::try_from(list.len()).expect("short");
    let commands = [
        Command::write(&unmap(length), &list),
        Command::write(&write_same16(64, 8, false), &[0; 512]),
        Command::read(&get_lba_status(0, 64), 64),
        Command::none(&verify10(0, 8, 0)),
        // Longer than a buffer, which makes it a procedure.
        Command::read(&read10(0, 4096), 4096 * 512),
    ];
    for command in &commands {
        stage.limit(0, operations(100), None);
        let mut a = stage.session(0, "a");
        let tags = stage.submit(&mut a, 20, command);
        let answered = |a: &mut crate::support::initiator::Initiator| {
            tags.iter().filter(|tag| a.is_answered(**tag)).count()
        };
        assert_eq!(answered(&mut a), AT_ONCE, "{command:?}");
        stage.pass_with(TEN_MS, [&mut a]);
        assert_eq!(answered(&mut a), AT_ONCE + 1, "{command:?}");
        stage.limit(0, Rates::default(), None);
        stage.settle([&mut a]);
        assert_eq!(answered(&mut a), 20, "{command:?}");
    }
}

/// 32 MiB from one place to another: a read and a write of a buffer each, 64 operations in all.
fn copies_of_the_target_count(setup: Setup) {
    let mut stage = Stage::set(&setup);
    let mut a = stage.session(0, "a");
    let target = stage.during(|_| copy_target(&mut a));
    stage.limit(0, operations(100), None);
    let segment = Segment {
        to: 0,
        from_lba: 0,
        to_lba: 65_536,
        blocks: 65_535,
    };
    let tag = stage.submit(&mut a, 1, &extended_copy_lid1(1, &target, &segment))[0];
    // Six at once; the others take 580 ms.
    for _ in 0..57 {
        stage.pass_with(TEN_MS, [&mut a]);
    }
    assert!(
        !a.is_answered(tag),
        "58 operations wait for ten milliseconds each"
    );
    for _ in 0..8 {
        stage.pass_with(TEN_MS, [&mut a]);
    }
    stage.during(|_| a.complete(tag).expect("a status").good());
}

fn limits_change_while_commands_wait(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let mut a = stage.session(0, "a");
    stage.reads(&mut a, 100);
    assert_eq!(stage.done("a"), AT_ONCE);
    // Higher: the new limit's burst is there at once.
    stage.limit(0, operations(200), None);
    stage.pass_with(Duration::ZERO, [&mut a]);
    assert_eq!(stage.done("a"), AT_ONCE + 11);
    stage.pass_with(TEN_MS, [&mut a]);
    assert_eq!(stage.done("a"), AT_ONCE + 13);
    // Of another kind.
    stage.limit(0, bytes(4096), None);
    stage.pass_with(Duration::ZERO, [&mut a]);
    assert_eq!(stage.done("a"), AT_ONCE + 14);
    stage.pass_with(Duration::from_millis(949), [&mut a]);
    assert_eq!(stage.done("a"), AT_ONCE + 14);
    stage.pass_with(Duration::from_millis(1), [&mut a]);
    assert_eq!(stage.done("a"), AT_ONCE + 15);
    // None.
    stage.limit(0, Rates::default(), None);
    stage.settle([&mut a]);
    assert_eq!(stage.done("a"), 100);
    stage.reads(&mut a, 20);
    assert_eq!(stage.done("a"), 120);
}

//! Who gets how much of a limit that several share.

use std::sync::Arc;
use std::time::Duration;

use holdfast::base::rate::{Limiter, Rates};

use crate::stage::{Stage, operations};
use crate::support::initiator::{Command, Initiator};
use crate::support::scsi::read10;
use crate::support::server::Setup;

crate::on_every_engine!(
    a_deep_session_does_not_starve_a_shallow_one,
    sessions_on_all_reactors_share_one_limit,
    a_group_shares_its_limit,
    volumes_keep_their_own_limits_in_a_group,
    shares_are_of_bytes_where_bytes_are_short,
    a_volume_without_limits_feels_nothing,
);
const TEN_MS: Duration = Duration::from_millis(10);

/// Keeps one read outstanding. `tag` is that of the last.
fn go_round(stage: &mut Stage, session: &mut Initiator, tag: &mut u32) {
    if session.is_answered(*tag) {
        *tag = stage.reads(session, 1)[0];
    }
}

fn a_deep_session_does_not_starve_a_shallow_one(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, operations(100), None);
    let (mut deep, mut shallow) = (stage.session(0, "deep"), stage.session(0, "shallow"));
    stage.reads(&mut deep, 120);
    let mut tag = stage.reads(&mut shallow, 1)[0];
    let before = (stage.done("deep"), stage.done("shallow"));
    for _ in 0..40 {
        stage.pass_with(TEN_MS, [&mut deep, &mut shallow]);
        go_round(&mut stage, &mut shallow, &mut tag);
    }
    let (deep, shallow) = (
        stage.done("deep") - before.0,
        stage.done("shallow") - before.1,
    );
    assert_eq!(deep + shallow, 40);
    assert!(deep.abs_diff(shallow) <= 2, "{deep} and {shallow}");
}

fn sessions_on_all_reactors_share_one_limit(setup: Setup) {
    let mut stage = Stage::set(&setup);
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut sessions: Vec<_> = names.map(|name| stage.session(0, name)).into();
    stage.limit(0, operations(100), None);
    for session in &mut sessions {
        stage.reads(session, 40);
    }
    let total = |stage: &mut Stage| names.map(|name| stage.done(name)).iter().sum::<usize>();
    let at_once = total(&mut stage);
    assert_eq!(at_once, 6);
    for step in 1..=60 {
        stage.pass_with(TEN_MS, &mut sessions);
        assert_eq!(total(&mut stage), at_once + step, "never more, never less");
    }
    // The first six went as they came, to the first session.
    let each = names.map(|name| stage.done(name));
    let (least, most) = (each[1..].iter().min(), each[1..].iter().max());
    let (least, most) = (least.expect("some"), most.expect("some"));
    assert!(most - least <= 2, "{each:?}");
}

/// Two volumes of a group of 100 operations per second, one asked deeply.
fn a_group_shares_its_limit(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.add_volume(&setup);
    let group = Arc::new(Limiter::new(operations(100)));
    stage.limit(0, Rates::default(), Some(&group));
    stage.limit(1, Rates::default(), Some(&group));
    let (mut a, mut b) = (stage.session(0, "a"), stage.session(1, "b"));
    stage.reads(&mut a, 120);
    assert_eq!(stage.done("a"), 6, "alone, it may have all of it");
    stage.reads(&mut b, 10);
    for step in 1..=20 {
        stage.pass_with(TEN_MS, [&mut a, &mut b]);
        assert_eq!(stage.done("a") + stage.done("b"), 6 + step);
    }
    assert!(stage.done("b").abs_diff(10) <= 1, "{}", stage.done("b"));
}

fn volumes_keep_their_own_limits_in_a_group(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.add_volume(&setup);
    let group = Arc::new(Limiter::new(operations(100)));
    stage.limit(0, operations(20), Some(&group));
    stage.limit(1, Rates::default(), Some(&group));
    let (mut slow, mut rest) = (stage.session(0, "slow"), stage.session(1, "rest"));
    stage.reads(&mut slow, 60);
    stage.reads(&mut rest, 120);
    let before = (stage.done("slow"), stage.done("rest"));
    for _ in 0..100 {
        stage.pass_with(TEN_MS, [&mut slow, &mut rest]);
    }
    let (slow, rest) = (stage.done("slow") - before.0, stage.done("rest") - before.1);
    assert_eq!(slow, 20, "its own");
    assert!(rest.abs_diff(80) <= 1, "what it leaves: {rest}");
}

/// One megabyte per second: the session with pieces of 64 KiB gets as many bytes as that with 4 KiB.
fn shares_are_of_bytes_where_bytes_are_short(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.limit(0, crate::stage::bytes(1 << 20), None);
    let (mut large, mut small) = (stage.session(0, "large"), stage.session(0, "small"));
    let long = Command::read(&read10(0, 128), 128 * 512);
    stage.submit(&mut large, 60, &long);
    stage.reads(&mut small, 120);
    let before = (stage.moved("large"), stage.moved("small"));
    for _ in 0..80 {
        stage.pass_with(TEN_MS, [&mut large, &mut small]);
    }
    let (large, small) = (
        stage.moved("large") - before.0,
        stage.moved("small") - before.1,
    );
    assert!(large.abs_diff(small) <= 128 << 10, "{large} and {small}");
    assert!((large + small).abs_diff((1 << 20) * 8 / 10) <= 128 << 10);
}

fn a_volume_without_limits_feels_nothing(setup: Setup) {
    let mut stage = Stage::set(&setup);
    stage.add_volume(&setup);
    stage.limit(0, operations(100), None);
    let (mut limited, mut free) = (stage.session(0, "limited"), stage.session(1, "free"));
    stage.reads(&mut limited, 100);
    stage.reads(&mut free, 100);
    assert_eq!(stage.done("limited"), 6);
    assert_eq!(stage.done("free"), 100);
}

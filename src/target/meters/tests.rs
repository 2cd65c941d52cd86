//! What is counted, and what a latency is.

use super::*;
use crate::scsi::sense::Code;
use std::time::Duration;

const VOLUME: VolumeIndex = VolumeIndex(3);

fn micros(micros: u64) -> Instant {
    Instant::from_nanos(micros * 1000)
}

fn stages(came: u64, launched: u64) -> Stages {
    Stages {
        came: micros(came),
        begun: micros(came),
        launched: micros(launched),
    }
}

fn meters() -> Meters {
    let mut meters = Meters::new(SlowLimit::default());
    meters.open(VOLUME);
    meters
}

fn latency(meters: &Meters, direction: Direction) -> &Latency {
    &meters.get(VOLUME).unwrap().latency[direction as usize]
}

#[test]
fn a_command_took_from_the_tick_it_came_in_to_the_tick_it_ended_in() {
    let mut meters = meters();
    meters.tick(micros(100));
    meters.ended(VOLUME, Direction::Write, &stages(20, 70));
    let write = latency(&meters, Direction::Write);
    assert_eq!((write.total.count(), write.total.sum_nanos()), (1, 80_000));
    assert_eq!(
        write.server_nanos, 30_000,
        "the initiator's data is not the server's time"
    );
    assert_eq!(latency(&meters, Direction::Read), &Latency::default());
}

#[test]
fn commands_of_one_tick_took_as_long_as_it() {
    let mut meters = meters();
    meters.tick(micros(100));
    for _ in 0..5 {
        meters.ended(VOLUME, Direction::Read, &stages(100, 100));
    }
    meters.tick(micros(100));
    assert_eq!(latency(&meters, Direction::Read).total.count(), 0);
    meters.tick(micros(140));
    let read = latency(&meters, Direction::Read);
    assert_eq!((read.total.count(), read.total.sum_nanos()), (5, 200_000));
    assert_eq!(read.server_nanos, 200_000);
    // They are not counted twice.
    meters.tick(micros(180));
    assert_eq!(latency(&meters, Direction::Read).total.count(), 5);
}

#[test]
fn counting_allocates_nothing_once_the_volume_is_open() {
    let mut meters = meters();
    let room = meters.touched.capacity();
    assert!(room > usize::from(VOLUME.0));
    for tick in 1..1000 {
        meters.tick(micros(tick));
        meters.ended(VOLUME, Direction::Read, &stages(tick, tick));
    }
    assert_eq!(meters.touched.capacity(), room);
}

#[test]
fn a_volume_that_is_not_metered_here_is_not_counted() {
    let mut meters = meters();
    meters.tick(micros(5));
    for volume in [VolumeIndex(2), VolumeIndex(9)] {
        meters.ended(volume, Direction::Read, &stages(5, 5));
        meters.ended(volume, Direction::Read, &stages(1, 1));
    }
    meters.tick(micros(9));
    meters.close(VOLUME);
    meters.ended(VOLUME, Direction::Read, &stages(1, 1));
    assert!(meters.get(VOLUME).is_none() && meters.get(VolumeIndex(2)).is_none());
}

#[test]
fn failures_are_told_apart() {
    let mut tally = Tally::default();
    for failure in [
        Failure::RESERVATION_CONFLICT,
        Failure::BUSY,
        Failure::TASK_ABORTED,
        Failure::check(SenseKey::UnitAttention, Code::NONE),
        Failure::check(SenseKey::MediumError, Code::NONE),
        Failure::check(SenseKey::IllegalRequest, Code::NONE),
    ] {
        tally.count_failure(&failure);
    }
    let expected = Tally {
        conflicts: 1,
        busy: 1,
        aborted: 1,
        attentions: 1,
        errors: 2,
        ..Tally::default()
    };
    assert_eq!(tally, expected);
    let mut twice = tally;
    twice.add(&tally);
    assert_eq!((twice.errors, twice.conflicts), (4, 2));
}

#[test]
fn what_began_long_ago_is_slow_where_a_limit_is_set() {
    let limit = SlowLimit::new(Some(Duration::from_millis(1)));
    let meters = Meters::new(limit);
    assert!(!meters.is_slow(micros(0), micros(999)));
    assert!(meters.is_slow(micros(0), micros(1000)));
    assert!(!Meters::default().is_slow(micros(0), micros(u64::MAX / 1000)));
}

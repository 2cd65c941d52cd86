//! What the target counts, judged by what an initiator did: nothing is lost, nothing is counted twice,
//! and it outlives the session.

mod support;

use std::time::Duration;

use holdfast::target::{Direction, Measurement, VolumeMeasure};
use support::initiator::Initiator;
use support::reserve::kind;
use support::rig::{Rig, SHARD_BLOCKS, until};
use support::scsi::{pattern, test_unit_ready};
use support::server::Setup;

on_every_engine!(
    what_was_done_is_counted_once_and_outlives_its_session,
    failures_are_counted_by_their_status,
    what_is_under_way_is_shown,
    reservation_commands_are_counted_by_action_and_result,
);

const BLOCK: u64 = 512;
const FENCE_TIMEOUT: Duration = Duration::from_secs(10);

fn measure(rig: &Rig) -> Measurement {
    rig.target.measure().expect("the reactors answer")
}

fn volume(rig: &Rig) -> VolumeMeasure {
    measure(rig).volumes[&rig.volumes[0].id].clone()
}

/// Commands that ended GOOD in that direction, and how many of them have a latency. What ended in
/// the last tick has its latency with the next.
fn good(volume: &VolumeMeasure, direction: Direction) -> (u64, u64) {
    let latency = &volume.latency[direction as usize];
    (volume.tally.good[direction as usize], latency.total.count())
}

fn what_was_done_is_counted_once_and_outlives_its_session(setup: Setup) {
    let rig = Rig::start(&setup, FENCE_TIMEOUT);
    let mut session = rig.session("a");
    let before = volume(&rig);
    let start = SHARD_BLOCKS - 8;
    for number in 0..3 {
        let data = pattern(number, 8);
        session.write_blocks(start + number * 8, &data).good();
    }
    // Over the end of a shard, and so of several pieces.
    let all = session.read_blocks(start, 24).good();
    assert_eq!(all.len() as u64, 24 * BLOCK);
    session.read_blocks(start, 8).good();
    session.none(&test_unit_ready()).good();
    until("every command has its latency", || {
        let volume = volume(&rig);
        Direction::ALL.into_iter().all(|direction| {
            let (good, timed) = good(&volume, direction);
            good == timed
        })
    });
    let after = volume(&rig);
    let ended = |direction| good(&after, direction).0 - good(&before, direction).0;
    assert_eq!(ended(Direction::Write), 3);
    assert_eq!(ended(Direction::Read), 2);
    assert_eq!(ended(Direction::Other), 1);
    assert_eq!(after.tally.commands - before.tally.commands, 6);
    assert_eq!(after.tally.read_bytes - before.tally.read_bytes, 32 * BLOCK);
    assert_eq!(
        after.tally.written_bytes - before.tally.written_bytes,
        24 * BLOCK
    );
    assert_eq!((after.sessions, after.sessions_max), (1, 128));
    assert_eq!(after.in_flight, 0);

    session.logout();
    until("the session is gone", || volume(&rig).sessions == 0);
    let gone = volume(&rig);
    assert_eq!(gone.tally, after.tally);
    assert_eq!(gone.latency, after.latency);
    let mut again = rig.session("a");
    again.write_blocks(0, &pattern(9, 8)).good();
    assert!(volume(&rig).tally.commands > gone.tally.commands);
}

fn failures_are_counted_by_their_status(setup: Setup) {
    let rig = Rig::start(&setup, FENCE_TIMEOUT);
    let (mut holder, mut other) = (rig.session("a"), rig.session("b"));
    holder.register(0, 1).good();
    holder.reserve(kind::WE, 1).good();
    let before = volume(&rig).tally;
    other.write_blocks(0, &pattern(1, 1)).conflict();
    other.write_blocks(0, &pattern(1, 1)).conflict();
    let beyond = u64::MAX / BLOCK;
    assert!(!other.read_blocks(beyond, 1).is_good());
    let after = volume(&rig).tally;
    assert_eq!(after.conflicts - before.conflicts, 2);
    assert_eq!(after.errors - before.errors, 1);
    assert_eq!(after.good, before.good, "a failure is no transaction");
    assert!(
        before.attentions > 0,
        "the first command after a login is told of it"
    );
}

fn what_is_under_way_is_shown(setup: Setup) {
    let rig = Rig::start(&setup, FENCE_TIMEOUT);
    let mut session = rig.session("a");
    rig.gate().close();
    let write = support::initiator::Command::write(&support::scsi::write16(0, 8), &pattern(1, 8));
    let tag = session.submit(&write).expect("it is sent");
    rig.gate().wait_for(1);
    assert_eq!(volume(&rig).in_flight, 1);
    let sessions = rig.target.sessions().expect("the reactors answer");
    assert_eq!(sessions[0].in_flight, 1);
    let issued =
        |all: &Measurement| -> u64 { all.reactors.iter().map(|one| one.backend_requests).sum() };
    assert_eq!(issued(&measure(&rig)), 1);
    rig.gate().open();
    session.complete(tag).expect("an answer").good();
    let all = measure(&rig);
    assert_eq!((issued(&all), volume(&rig).in_flight), (0, 0));
    let connections: u64 = all.reactors.iter().map(|one| one.connections).sum();
    assert_eq!(connections, 1);
    let pdus: u64 = all.reactors.iter().map(|one| one.pdus_received).sum();
    let commands = volume(&rig).tally.commands;
    assert!(
        pdus > commands,
        "logins are PDUs too: {pdus} and {commands}"
    );
    assert!(all.reactors.iter().all(|one| one.ticks >= one.busy_ticks));
    assert!(all.reactors.iter().any(|one| one.busy_nanos > 0));
    assert!(
        all.reactors
            .iter()
            .all(|one| one.buffer_bytes_lent <= one.buffer_bytes)
    );
}

fn reservation_commands_are_counted_by_action_and_result(setup: Setup) {
    let rig = Rig::start(&setup, FENCE_TIMEOUT);
    let (mut a, mut b): (Initiator, Initiator) = (rig.session("a"), rig.session("b"));
    a.register(0, 1).good();
    b.register(0, 2).good();
    a.reserve(kind::WE_RO, 1).good();
    b.clear(9).conflict();
    b.preempt(kind::WE_RO, 2, 1).good();
    let _keys = b.read_keys();
    let measured = volume(&rig);
    let told: Vec<_> = measured
        .reservation_commands
        .iter()
        .map(|told| {
            format!(
                "{} {}: {} x{}",
                told.command, told.action, told.result, told.count
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "persistent_reserve_out register: good x2",
            "persistent_reserve_out reserve: good x1",
            "persistent_reserve_out clear: conflict x1",
            "persistent_reserve_out preempt: good x1",
            "persistent_reserve_in read_keys: good x1",
        ]
    );
    assert_eq!(measured.registrations, 1);
    assert!(measured.reservation.is_some());
}

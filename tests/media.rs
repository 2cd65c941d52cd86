//! Volumes of another kind than the ordinary one: read-only, removable, of large blocks, for few
//! sessions, slow.

#![allow(clippy::disallowed_methods, reason = "tests wait in real time")]

mod support;

use std::time::{Duration, Instant};

use support::initiator::Initiator;
use support::reserve::kind;
use support::scsi::{
    BLOCK, mode_sense6, pattern, read16, synchronize_cache10, test_unit_ready, write16,
};
use support::server::{Server, Setup, Volume};

const WRITE_PROTECTED: (u8, u8, u8) = (0x07, 0x27, 0x00);
const NO_MEDIUM: (u8, u8, u8) = (0x02, 0x3a, 0x02);
const REMOVAL_PREVENTED: (u8, u8, u8) = (0x05, 0x53, 0x02);
const MEDIUM_CHANGED: (u8, u8, u8) = (0x06, 0x28, 0x00);
const LOGICAL_UNIT_RESET: u8 = 5;
const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
const ALLOW: [u8; 6] = [0x1e, 0, 0, 0, 0, 0];
const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 2, 0];
const LOAD: [u8; 6] = [0x1b, 0, 0, 0, 3, 0];

on_every_engine!(
    a_read_only_volume_refuses_writes,
    large_blocks_are_addressed_as_such,
    a_full_volume_refuses_sessions,
    a_slow_volume_is_slow_and_right,
    an_ejected_medium_is_gone_for_everyone,
    whoever_may_not_write_may_load_and_not_eject,
    whoever_prevents_removal_prevents_it_for_all,
    prevention_ends_with_its_session,
    prevention_ends_with_a_reset_and_with_preempt_and_abort,
);

fn create(server: &Server, setup: &Setup, options: &[&str]) -> Volume {
    let common = [
        "volume",
        "create",
        "disk",
        "--size",
        "64MiB",
        "--backend",
        setup.backend,
    ];
    server.text(&[&common, options].concat());
    server.volume("disk")
}

fn a_read_only_volume_refuses_writes(setup: Setup) {
    let server = setup.start();
    let volume = create(&server, &setup, &["--read-only"]);
    let mut session = server.session(&volume, "a");
    let (key, asc, ascq) = WRITE_PROTECTED;
    let refused = session.write_blocks(0, &pattern(1, 8));
    refused.check(key, asc, ascq);
    assert_eq!(session.read_blocks(0, 8).good(), vec![0; 8 * BLOCK]);
    let header = session.read(&mode_sense6(0x3f), 4).good();
    assert_eq!(header[2] & 0x80, 0x80, "WP of MODE SENSE");
    session.none(&synchronize_cache10()).good();
    let shown = server.json(&["volume", "show", "disk"]);
    assert_eq!(shown["read_only"], true);
}

fn large_blocks_are_addressed_as_such(setup: Setup) {
    let server = setup.start();
    let volume = create(&server, &setup, &["--block-size", "4096"]);
    let mut session = server.session(&volume, "a");
    assert_eq!(session.capacity(), ((64 << 20) / 4096, 4096));
    let data = pattern(1, 16);
    session.write(&write16(5, 2), &data).good();
    assert_eq!(session.read(&read16(6, 1), 4096).good(), data[4096..]);
    let shown = server.json(&["volume", "show", "disk"]);
    assert_eq!(shown["block_bytes"], 4096);
}

fn a_full_volume_refuses_sessions(setup: Setup) {
    let server = setup.start();
    let volume = create(&server, &setup, &["--sessions-max", "1"]);
    let session = server.session(&volume, "a");
    assert!(server.login(&volume, "b").try_connect().is_err());
    session.logout();
    server.session(&volume, "b").logout();
}

fn a_slow_volume_is_slow_and_right(setup: Setup) {
    let server = setup.start();
    let volume = create(&server, &setup, &["--delay", "50ms"]);
    let mut session = server.session(&volume, "a");
    let started = Instant::now();
    session.write_blocks(0, &pattern(1, 8)).good();
    assert_eq!(session.read_blocks(0, 8).good(), pattern(1, 8));
    assert!(started.elapsed() >= Duration::from_millis(100));
    let shown = server.json(&["volume", "show", "disk"]);
    assert_eq!(shown["delay_us"], 50_000);
}

fn removable(server: &Server, setup: &Setup) -> (Volume, Initiator, Initiator) {
    let volume = create(server, setup, &["--removable"]);
    let (a, b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    (volume, a, b)
}

#[track_caller]
fn refused(session: &mut Initiator, cdb: &[u8], (key, asc, ascq): (u8, u8, u8)) {
    session.none(cdb).check(key, asc, ascq);
}

fn an_ejected_medium_is_gone_for_everyone(setup: Setup) {
    let server = setup.start();
    let (_volume, mut a, mut b) = removable(&server, &setup);
    a.write_blocks(0, &pattern(1, 8)).good();
    a.none(&EJECT).good();
    refused(&mut a, &test_unit_ready(), NO_MEDIUM);
    let (key, asc, ascq) = NO_MEDIUM;
    b.read_blocks(0, 8).check(key, asc, ascq);
    a.none(&LOAD).good();
    b.expect_attention(MEDIUM_CHANGED);
    a.expect_no_attention();
    a.none(&LOAD).good();
    b.expect_no_attention();
    assert_eq!(b.read_blocks(0, 8).good(), pattern(1, 8));
}

/// START STOP UNIT with START=1 never conflicts (SPC-4 section 5.13.1).
fn whoever_may_not_write_may_load_and_not_eject(setup: Setup) {
    let server = setup.start();
    let (_volume, mut a, mut b) = removable(&server, &setup);
    a.register(0, 1).good();
    a.reserve(kind::EA, 1).good();
    b.none(&EJECT).conflict();
    b.none(&PREVENT).conflict();
    a.none(&EJECT).good();
    b.none(&LOAD).good();
    b.none(&ALLOW).good();
    a.expect_attention(MEDIUM_CHANGED);
    a.write_blocks(0, &pattern(1, 8)).good();
}

fn whoever_prevents_removal_prevents_it_for_all(setup: Setup) {
    let server = setup.start();
    let (_volume, mut a, mut b) = removable(&server, &setup);
    a.none(&PREVENT).good();
    b.none(&PREVENT).good();
    refused(&mut b, &EJECT, REMOVAL_PREVENTED);
    b.none(&ALLOW).good();
    refused(&mut b, &EJECT, REMOVAL_PREVENTED);
    a.none(&ALLOW).good();
    b.none(&EJECT).good();
}

fn prevention_ends_with_its_session(setup: Setup) {
    let server = setup.start();
    let (volume, mut a, mut b) = removable(&server, &setup);
    a.none(&PREVENT).good();
    a.logout();
    eject_soon(&mut b);
    b.none(&LOAD).good();

    let mut a = server.session(&volume, "a");
    a.none(&PREVENT).good();
    a.cut();
    eject_soon(&mut b);
    b.none(&LOAD).good();

    // The same port logs in again: the old session goes, and what it asked for with it.
    let mut a = server.session(&volume, "a");
    a.none(&PREVENT).good();
    let _again = server.session(&volume, "a");
    b.none(&EJECT).good();
}

/// A session ends a moment after its connection.
#[track_caller]
fn eject_soon(session: &mut Initiator) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !session.none(&EJECT).is_good() {
        assert!(Instant::now() < deadline, "removal is still prevented");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn prevention_ends_with_a_reset_and_with_preempt_and_abort(setup: Setup) {
    let server = setup.start();
    let (_volume, mut a, mut b) = removable(&server, &setup);
    a.none(&PREVENT).good();
    b.manage(LOGICAL_UNIT_RESET, None);
    b.take_attentions();
    b.none(&EJECT).good();
    b.none(&LOAD).good();
    a.take_attentions();

    a.register(0, 0xa).good();
    b.register(0, 0xb).good();
    a.reserve(kind::WE_RO, 0xa).good();
    a.none(&PREVENT).good();
    refused(&mut b, &EJECT, REMOVAL_PREVENTED);
    b.preempt_and_abort(kind::WE_RO, 0xb, 0xa).good();
    b.none(&EJECT).good();
}

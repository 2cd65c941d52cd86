//! RESERVE and RELEASE of SPC-2 beside persistent reservations (CRH = 1): who is answered what, what
//! they keep out, what ends them, and that they are a fence.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::cluster::{A, B, Cluster, held};
use support::initiator::{Command, Initiator};
use support::reserve::{action, in_cdb, kind, out_cdb, parameters};
use support::scsi::{self, BLOCK, pattern, sense, test_unit_ready};
use support::server::Setup;

const RESERVE_6: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE_6: [u8; 6] = [0x17, 0, 0, 0, 0, 0];
const RESERVE_10: [u8; 10] = [0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const RELEASE_10: [u8; 10] = [0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const READ_CAPACITY_10: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const LOG_SENSE: [u8; 10] = [0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0]; // the pages that there are
const START: [u8; 6] = [0x1b, 0, 0, 0, 1, 0];
const STOP: [u8; 6] = [0x1b, 0, 0, 0, 0, 0];
const ALLOW_MEDIUM_REMOVAL: [u8; 6] = [0x1e, 0, 0, 0, 0, 0];
const ALL: [&[u8]; 4] = [&RESERVE_6, &RELEASE_6, &RESERVE_10, &RELEASE_10];

/// Task management functions (RFC 7143 section 11.5.1, RFC 7144 section 4).
const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;
const TARGET_COLD_RESET: u8 = 7;
const NEXUS_RESET: u8 = 11;

on_every_engine!(
    beside_a_persistent_reservation,
    beside_registrations_alone,
    the_holder_alone_gets_in,
    only_the_holder_releases,
    the_holder_may_turn_to_persistent_reservations,
    it_ends_with_its_session,
    it_ends_with_any_reset,
    it_ends_with_the_target,
    third_parties_and_extents_are_refused,
    writes_of_the_others_are_over,
);

/// SPC-4 section 5.13.3: the holder, and under registrants-only and all-registrants types every
/// registrant, is told GOOD and nothing happens; everybody else conflicts.
fn beside_a_persistent_reservation(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    for reserved in kind::ALL {
        let is_for_registrants = reserved >= kind::WE_RO;
        a.register_and_ignore(A).good();
        b.register_and_ignore(B).good();
        a.reserve(reserved, A).good();
        let before = (a.read_keys(), a.read_reservation());
        for cdb in ALL {
            for (session, is_served) in [
                (&mut a, true),
                (&mut b, is_for_registrants),
                (&mut c, false),
            ] {
                let answer = session.none(cdb);
                if is_served {
                    answer.good();
                } else {
                    answer.conflict();
                }
            }
            assert_eq!((a.read_keys(), a.read_reservation()), before);
        }
        // Nothing was reserved: each has the rights that the persistent reservation gives.
        b.none(&test_unit_ready()).good();
        let writes = b.write_blocks(0, &pattern(1, 1));
        assert_eq!(writes.is_good(), is_for_registrants, "type {reserved}");
        c.none(&test_unit_ready()).good();
        a.clear(A).good();
        b.expect_attention(sense::RESERVATIONS_PREEMPTED);
        c.expect_no_attention();
    }
}

fn beside_registrations_alone(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    for cdb in ALL {
        a.none(cdb).conflict();
        b.none(cdb).conflict();
    }
    a.write_blocks(0, &pattern(1, 1)).good();
    b.write_blocks(0, &pattern(2, 1)).good();
    a.register(A, 0).good();
    b.none(&RESERVE_6).good();
    a.read_blocks(0, 1).conflict();
}

/// Commands that conflict while another nexus holds the unit, persistent reservations among them.
fn kept_out() -> Vec<Command> {
    let list = parameters(0, B, 0);
    let mut commands = vec![
        Command::none(&test_unit_ready()),
        Command::read(&scsi::read16(0, 1), BLOCK),
        Command::write(&scsi::write16(0, 1), &pattern(1, 1)),
        Command::none(&scsi::synchronize_cache10()),
        Command::none(&STOP),
        Command::read(&scsi::mode_sense6(0x3f), 255),
        Command::none(&RESERVE_6),
        Command::none(&RESERVE_10),
    ];
    commands.extend((0..4).map(|service| Command::read(&in_cdb(service, 64), 64)));
    commands.extend(
        (action::REGISTER..=action::REGISTER_AND_IGNORE)
            .map(|service| Command::write(&out_cdb(service, kind::WE, 24), &list)),
    );
    commands
}

/// Commands that nobody's reservation keeps out (SPC-2 section 5.5.1 and annex B).
fn let_through() -> Vec<Command> {
    vec![
        Command::read(&scsi::inquiry(None, 96), 96),
        Command::read(&scsi::report_luns(), 256),
        Command::read(&scsi::request_sense(), 252),
        Command::read(&READ_CAPACITY_10, 8),
        Command::read(&scsi::read_capacity16(), 32),
        Command::read(&LOG_SENSE, 255),
        Command::none(&START),
        Command::none(&ALLOW_MEDIUM_REMOVAL),
    ]
}

fn the_holder_alone_gets_in(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    for reserve in [&RESERVE_6[..], &RESERVE_10] {
        a.none(reserve).good();
        a.none(reserve).good();
        for session in [&mut b, &mut c] {
            for command in kept_out() {
                session.run(&command).conflict();
            }
            for command in let_through() {
                session.run(&command).good();
            }
        }
        a.write_blocks(0, &pattern(2, 1)).good();
        assert!(a.keys().is_empty(), "nobody has registered meanwhile");
        a.none(&RELEASE_6).good();
        assert_eq!(b.read_blocks(0, 1).good(), pattern(2, 1));
    }
    for session in [&mut a, &mut b, &mut c] {
        session.expect_no_attention();
    }
}

fn only_the_holder_releases(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server,
        volume,
        ..
    } = Cluster::new(&setup);
    let mut other_path = server.login(&volume, "a").isid(2).connect();
    other_path.take_attentions();
    for (reserve, release) in [(&RESERVE_6[..], &RELEASE_10[..]), (&RESERVE_10, &RELEASE_6)] {
        a.none(reserve).good();
        for session in [&mut b, &mut other_path] {
            session.none(release).good(); // SPC-2 section 7.16: GOOD, and nothing is released
            session.read_blocks(0, 1).conflict();
        }
        a.none(release).good();
        a.none(release).good();
        b.read_blocks(0, 1).good();
        other_path.read_blocks(0, 1).good();
    }
}

fn the_holder_may_turn_to_persistent_reservations(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.none(&RESERVE_6).good();
    a.register(0, A).good();
    a.reserve(kind::WE_RO, A).good();
    b.register(0, B).conflict();
    b.read_blocks(0, 1).conflict();
    a.none(&RELEASE_6).good();
    assert_eq!(b.read_reservation(), held(A, kind::WE_RO));
    b.read_blocks(0, 1).good();
    b.write_blocks(0, &pattern(1, 1)).conflict();
    b.expect_no_attention();
}

fn it_ends_with_its_session(setup: Setup) {
    let Cluster {
        mut b,
        server,
        volume,
        ..
    } = Cluster::new(&setup);
    // I_T NEXUS RESET came with RFC 7144.
    let login = server.login(&volume, "holder");
    let login = login.key("iSCSIProtocolLevel", "2");
    let reserved = || {
        let mut session = login.connect();
        session.take_attentions();
        session.none(&RESERVE_6).good();
        session
    };
    let session = reserved();
    b.read_blocks(0, 1).conflict();
    session.logout();
    b.read_blocks(0, 1).good();

    // Reinstatement ends the session, and what it held, before the next one begins.
    let mut session = reserved();
    let mut again = login.connect();
    assert!(session.is_closed_by_target());
    b.read_blocks(0, 1).good();
    again.take_attentions();
    again.none(&RESERVE_6).good();
    b.read_blocks(0, 1).conflict();

    assert_eq!(again.manage(NEXUS_RESET, None), 0, "function complete");
    assert!(again.is_closed_by_target());
    let mut next = login.connect(); // answered once the session of this nexus is gone
    b.read_blocks(0, 1).good();

    // A cut connection is a lost nexus as soon as the target knows; the next login makes it know.
    next.take_attentions();
    next.none(&RESERVE_6).good();
    next.cut();
    login.connect().take_attentions();
    b.read_blocks(0, 1).good();
}

fn it_ends_with_any_reset(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    for function in [LOGICAL_UNIT_RESET, TARGET_WARM_RESET] {
        a.none(&RESERVE_6).good();
        b.read_blocks(0, 1).conflict();
        assert_eq!(c.manage(function, None), 0, "function complete");
        for session in [&mut a, &mut b, &mut c] {
            session.take_attentions();
        }
        b.write_blocks(0, &pattern(1, 1)).good();
        b.none(&RESERVE_6).good();
        a.read_blocks(0, 1).conflict();
        b.none(&RELEASE_6).good();
    }
    a.none(&RESERVE_6).good();
    assert_eq!(a.manage(LOGICAL_UNIT_RESET, None), 0, "its own reset, too");
    b.take_attentions();
    b.read_blocks(0, 1).good();
}

fn it_ends_with_the_target(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server,
        volume,
        ..
    } = Cluster::new(&setup);
    a.none(&RESERVE_6).good();
    assert_eq!(b.manage(TARGET_COLD_RESET, None), 0, "function complete");
    for session in [&mut a, &mut b] {
        assert!(session.is_closed_by_target());
    }
    let mut b = server.session(&volume, "b");
    b.read_blocks(0, 1).good();

    b.none(&RESERVE_6).good();
    let server = server.kill().start();
    let mut a = server.session(&volume, "a");
    a.read_blocks(0, 1).good();
}

/// A third party's reservation and reservations of extents (SPC-2 sections 7.16 and 7.22) are obsolete.
fn third_parties_and_extents_are_refused(setup: Setup) {
    const THIRD_PARTY: u8 = 0x10;
    const EXTENT: u8 = 0x01;
    const LONG_IDENTIFIER: u8 = 0x02;
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    let (key, asc, ascq) = sense::INVALID_FIELD_IN_CDB;
    for cdb in ALL {
        for flags in [
            THIRD_PARTY,
            THIRD_PARTY | 0x0e,
            EXTENT,
            THIRD_PARTY | LONG_IDENTIFIER,
        ] {
            let mut refused = cdb.to_vec();
            refused[1] = flags;
            a.none(&refused).check(key, asc, ascq);
            b.read_blocks(0, 1).good();
        }
    }
    // Refused while it is held, it does not release.
    a.none(&RESERVE_10).good();
    let mut release = RELEASE_10;
    release[1] = THIRD_PARTY;
    a.none(&release).check(key, asc, ascq);
    b.read_blocks(0, 1).conflict();
}

/// RESERVE takes the right to write from everybody else. After its GOOD no write of theirs takes
/// effect, whatever was on its way.
fn writes_of_the_others_are_over(setup: Setup) {
    const ROUNDS: usize = 12;
    const WRITERS: u64 = 3;
    const BLOCKS: usize = 8;
    /// Reads until one of the writers must have been heard of.
    const READS_MAX: usize = 20_000;
    let setup = setup
        .config("[tuning]\nshards = \"spread\"\nshard_size = \"1MiB\"\nconnections = \"spread\"\n");
    let Cluster {
        mut a,
        server,
        volume,
        ..
    } = Cluster::new(&setup);
    let stopped = AtomicBool::new(false);
    let place = |writer: u64| writer * (2 << 20) / BLOCK as u64;
    let seen = |holder: &mut Initiator| -> Vec<Vec<u8>> {
        let mut read = |writer| holder.read_blocks(place(writer), BLOCKS).good();
        (0..WRITERS).map(&mut read).collect()
    };
    let write_on = |writer: u64, session: &mut Initiator| {
        let mut kept_out = 0_u64;
        for stamp in 1.. {
            let answer = session.write_blocks(place(writer), &pattern(stamp, BLOCKS));
            if !answer.is_good() {
                answer.conflict();
                kept_out += 1;
            }
            if stopped.load(Ordering::Relaxed) {
                break;
            }
        }
        kept_out
    };
    let kept_out: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut session = server.session(&volume, &format!("writer{writer}"));
                scope.spawn(move || write_on(writer, &mut session))
            })
            .collect();
        for _ in 0..ROUNDS {
            a.none(&RESERVE_6).good();
            let first = seen(&mut a);
            for _ in 0..8 {
                assert!(seen(&mut a) == first, "a write took effect after the GOOD");
            }
            a.none(&RELEASE_6).good();
            // Somebody writes before the next round, or there was nothing to stop.
            let is_changed = (0..READS_MAX).any(|_| seen(&mut a) != first);
            assert!(is_changed, "nobody writes any more");
        }
        stopped.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|writer| writer.join().expect("it was answered"))
            .sum()
    });
    assert!(kept_out > 0, "no writer ever met the reservation");
}

//! Persistent reservations over real sockets: every service action of PERSISTENT RESERVE OUT and IN,
//! whose unit attentions they raise, what a nexus is, and which commands conflict.

mod support;

use std::time::{Duration, Instant};

use support::cluster::{A, B, C, Cluster, held};
use support::initiator::{Command, Initiator};
use support::login::initiator_name;
use support::pdu::Pdu;
use support::reserve::{
    action, flag, in_cdb, kind, listed_parameters, move_parameters, out_cdb, parameters,
    transport_id,
};
use support::scsi::{
    self, BLOCK, Outcome, compare_and_write, pattern, sense, test_unit_ready, unmap, unmap_list,
    write_same16,
};
use support::server::Setup;

const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];

on_every_engine!(
    register_needs_the_right_key,
    register_and_ignore_replaces_any_key,
    only_the_holder_changes_the_reservation,
    release_needs_the_type_and_tells_the_other_registrants,
    clear_tells_every_other_registrant,
    preempt_follows_its_table,
    preempting_all_registrants_with_key_zero_takes_all,
    preempt_and_abort_fences_and_removes,
    a_write_whose_data_come_after_the_preempt_conflicts,
    a_victim_that_reads_the_keys_is_not_waited_for,
    unregistering_the_holder_releases,
    all_registrants_reservations_end_with_the_last,
    register_and_move_hands_the_reservation_over,
    specified_initiator_ports_register_together_or_not_at_all,
    generation_counts_each_successful_change_once,
    a_failed_command_changes_nothing,
    allocation_lengths_truncate_only,
    unit_attentions_are_per_nexus,
    the_registration_belongs_to_name_and_isid,
    reservations_survive_resets,
    every_command_class_obeys_the_matrix,
    legacy_reservations_meet_persistent_ones,
);

#[track_caller]
fn check(outcome: Outcome, (key, asc, ascq): (u8, u8, u8)) {
    outcome.check(key, asc, ascq);
}

fn register_needs_the_right_key(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register(A, B).conflict();
    a.register(0, 0).good();
    assert!(
        a.keys().is_empty(),
        "unregistered with a key of zero: GOOD, and nothing happens"
    );
    a.register(0, A).good();
    a.register(B, C).conflict();
    a.register(A, C).good();
    assert_eq!(b.keys(), [C], "the key changes");
    a.register(C, 0).good();
    assert!(b.keys().is_empty());
    b.expect_no_attention();
}

fn register_and_ignore_replaces_any_key(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.reserve_out(action::REGISTER_AND_IGNORE, 0, 0xdead, A)
        .good();
    a.reserve(kind::WE, A).good();
    a.reserve_out(action::REGISTER_AND_IGNORE, 0, 0xdead, B)
        .good();
    assert_eq!(
        b.read_reservation(),
        held(B, kind::WE),
        "the holder's new key is reported"
    );
    b.write_blocks(0, &pattern(1, 1)).conflict();
    a.write_blocks(0, &pattern(1, 1)).good();
    a.register_and_ignore(0).good();
    assert!(b.keys().is_empty());
    assert_eq!(b.read_reservation(), None);
}

fn only_the_holder_changes_the_reservation(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    b.register(0, B).good();
    for reserved in kind::ALL {
        let all_registrants = reserved >= kind::WE_AR;
        a.reserve(reserved, A).good();
        a.reserve(reserved, A).good();
        let another = if reserved == kind::WE {
            kind::EA
        } else {
            kind::WE
        };
        a.reserve(another, A).conflict();
        let again = b.reserve(reserved, B);
        assert_eq!(again.is_conflict(), !all_registrants);
        b.reserve(another, B).conflict();
        c.reserve(reserved, C).conflict();
        c.release(reserved, C).conflict();
        if !all_registrants {
            b.release(reserved, B).good();
            assert!(
                c.read_reservation().is_some(),
                "a registrant's release changes nothing"
            );
        }
        c.read_reservation().expect("still reserved");
        a.release(reserved, A).good();
        b.take_attentions();
    }
}

fn release_needs_the_type_and_tells_the_other_registrants(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    b.register(0, B).good();
    a.release(kind::WE, A).good();
    for reserved in kind::ALL {
        a.reserve(reserved, A).good();
        let wrong = if reserved == kind::EA {
            kind::WE
        } else {
            kind::EA
        };
        check(a.release(wrong, A), sense::INVALID_RELEASE);
        a.release(reserved, A).good();
        assert_eq!(a.read_reservation(), None);
        assert_eq!(a.keys(), [A, B], "registrations stay");
        if matches!(reserved, kind::WE | kind::EA) {
            b.expect_no_attention();
        } else {
            b.expect_attention(sense::RESERVATIONS_RELEASED);
        }
        a.expect_no_attention();
        c.expect_no_attention();
    }
}

fn clear_tells_every_other_registrant(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    b.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    c.clear(0).conflict();
    b.clear(B).good();
    a.expect_attention(sense::RESERVATIONS_PREEMPTED);
    b.expect_no_attention();
    c.expect_no_attention();
    assert!(a.keys().is_empty());
    assert_eq!(a.read_reservation(), None);
    c.write_blocks(0, &pattern(1, 1)).good();
}

fn preempt_follows_its_table(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    // No reservation.
    check(a.preempt(kind::WE, A, 0), sense::INVALID_FIELD_IN_LIST);
    a.preempt(kind::WE, A, 0x1234).conflict();
    a.preempt(kind::WE, A, C).good();
    c.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(
        a.read_reservation(),
        None,
        "preempting a registration reserves nothing"
    );
    c.register(0, C).good();

    // Not all registrants.
    a.reserve(kind::WE_RO, A).good();
    check(b.preempt(kind::WE_RO, B, 0), sense::INVALID_FIELD_IN_LIST);
    b.preempt(kind::EA, B, C).good();
    c.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(
        b.read_reservation(),
        held(A, kind::WE_RO),
        "untouched by another key"
    );
    c.register(0, C).good();
    b.preempt(kind::EA_RO, B, A).good();
    a.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    c.expect_attention(sense::RESERVATIONS_RELEASED);
    b.expect_no_attention();
    assert_eq!(b.read_reservation(), held(B, kind::EA_RO));
    assert_eq!(b.keys(), [B, C]);

    // The holder preempts itself to change the type.
    b.preempt(kind::WE_RO, B, B).good();
    c.expect_attention(sense::RESERVATIONS_RELEASED);
    assert_eq!(b.read_reservation(), held(B, kind::WE_RO));
    assert_eq!(b.keys(), [B, C]);

    // A registrant that names its own key while not taking the reservation removes itself.
    c.preempt(kind::WE_RO, C, C).good();
    assert_eq!(b.keys(), [B]);
    c.preempt(kind::WE_RO, C, B).conflict();
}

fn preempting_all_registrants_with_key_zero_takes_all(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_AR, A).good();
    b.preempt(kind::WE_AR, B, C).good();
    c.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(
        b.read_reservation(),
        held(0, kind::WE_AR),
        "it keeps its type"
    );
    b.preempt(kind::EA, B, 0).good();
    a.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(b.keys(), [B]);
    assert_eq!(b.read_reservation(), held(B, kind::EA));
}

fn preempt_and_abort_fences_and_removes(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    // A write that still waits for its data: it must neither hold up the fence nor take effect.
    let before = pattern(1, 512);
    a.write_blocks(0, &before).good();
    let hanging = hanging_write(&mut a, 0, 512 * BLOCK);
    b.preempt_and_abort(kind::WE_RO, B, A).good();
    assert_eq!(b.keys(), [B, C]);
    assert_eq!(b.read_reservation(), held(B, kind::WE_RO));
    a.forget(hanging);
    let told = a.take_attentions();
    assert!(
        told.contains(&sense::REGISTRATIONS_PREEMPTED),
        "{told:02x?}"
    );
    a.write_blocks(0, &pattern(2, 512)).conflict();
    assert!(b.read_blocks(0, 512).good() == before);
}

/// PERSISTENT RESERVE IN waits for a change that is under way, and that change for the commands that
/// it aborts: they must not wait for each other until the fence's limit.
#[allow(
    clippy::disallowed_methods,
    reason = "a deadlock here ends by the fence's limit"
)]
fn a_victim_that_reads_the_keys_is_not_waited_for(setup: Setup) {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let server = setup.start();
    let size = ["--size", "64MiB", "--backend", setup.backend];
    let slow = ["--delay", "500ms"];
    server.text(&[&["volume", "create", "slow"], &size[..], &slow].concat());
    let volume = server.volume("slow");
    let [mut a, mut b] = ["a", "b"].map(|name| server.session(&volume, name));
    a.register(0, A).good();
    b.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    // The fence waits for this write.
    let write = Command::write(&scsi::write16(0, 1), &pattern(1, 1));
    let write = b.submit(&write).expect("a write is sent");
    b.none(&test_unit_ready()).good();
    let start = Instant::now();
    let preempt = Command::write(
        &out_cdb(action::PREEMPT_AND_ABORT, kind::WE_RO, 24),
        &parameters(A, B, 0),
    );
    let preempt = a.submit(&preempt).expect("the preemption is sent");
    a.none(&test_unit_ready()).good();
    // The home has begun to preempt: the reader has to wait for it.
    let read = b
        .submit(&Command::read(&in_cdb(0, 512), 512))
        .expect("the question is sent");
    a.complete(preempt).expect("an answer").good();
    assert!(start.elapsed() < WAIT_MAX, "it waited for its victim");
    assert_eq!(a.keys(), [A]);
    // Aborted, they are never answered.
    for itt in [write, read] {
        b.forget(itt);
    }
    b.cut();
}

/// The write was permitted when it came. What counts is the right when its blocks are to change, also on
/// a store that is done as soon as it is asked, where no write is ever seen in flight.
fn a_write_whose_data_come_after_the_preempt_conflicts(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    let before = pattern(7, 16);
    b.write_blocks(0, &before).good();

    let (write, ready) = write_without_data(&mut b, 0, 16 * BLOCK);
    a.preempt(kind::WE_RO, A, B).good();
    assert_eq!(a.read_blocks(0, 16).good(), before);
    b.send_data_out(write, ready.ttt(), 0, 16 * BLOCK)
        .expect("the data are sent");
    b.complete(write).expect("an answer").conflict();
    assert_eq!(a.read_blocks(0, 16).good(), before, "nothing was written");
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);

    let (write, ready) = write_without_data(&mut a, 0, 16 * BLOCK);
    a.send_data_out(write, ready.ttt(), 0, 16 * BLOCK)
        .expect("the data are sent");
    a.complete(write).expect("an answer").good();
    assert_ne!(
        a.read_blocks(0, 16).good(),
        before,
        "whoever has the right writes"
    );
}

/// Starts a write and leaves the R2T that answers it without data.
fn hanging_write(session: &mut Initiator, lba: u64, bytes: usize) -> u32 {
    write_without_data(session, lba, bytes).0
}

/// Starts a write; its tag, and the R2T that answers it.
fn write_without_data(session: &mut Initiator, lba: u64, bytes: usize) -> (u32, Pdu) {
    let kept = session.negotiated.clone();
    session.negotiated.immediate_data = false;
    session.negotiated.initial_r2t = true;
    let blocks = u32::try_from(bytes / BLOCK).expect("a block count fits");
    let command = Command::write(&scsi::write16(lba, blocks), &vec![0xee; bytes]);
    let itt = session.submit(&command).expect("the command is sent");
    let ready = session.receive().expect("an R2T");
    assert_eq!(ready.opcode(), support::pdu::opcode::R2T);
    session.negotiated = kept;
    (itt, ready)
}

fn unregistering_the_holder_releases(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    b.register(0, B).good();
    for reserved in [kind::WE, kind::EA, kind::WE_RO, kind::EA_RO] {
        a.register(0, A).good();
        a.reserve(reserved, A).good();
        a.register(A, 0).good();
        if reserved >= kind::WE_RO {
            b.expect_attention(sense::RESERVATIONS_RELEASED);
        } else {
            b.expect_no_attention();
        }
        assert_eq!(b.read_reservation(), None);
        c.expect_no_attention();
        a.expect_no_attention();
    }
}

fn all_registrants_reservations_end_with_the_last(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::EA_AR, A).good();
    assert!(
        c.read_full_status()
            .iter()
            .all(|entry| entry.is_holder && entry.kind == kind::EA_AR)
    );
    a.register(A, 0).good();
    a.write_blocks(0, &pattern(1, 1)).conflict();
    b.register(B, 0).good();
    assert_eq!(c.read_reservation(), held(0, kind::EA_AR));
    c.register(C, 0).good();
    assert_eq!(a.read_reservation(), None);
    a.write_blocks(0, &pattern(1, 1)).good();
}

fn register_and_move_hands_the_reservation_over(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    let port = relative_port(&mut a, A);
    let to_b = transport_id(&initiator_name("b"), Some(ISID));
    let move_to = |key, new_key, flags, id: &[u8]| move_parameters(key, new_key, flags, port, id);
    let moving = action::REGISTER_AND_MOVE;

    a.reserve_out_with(moving, kind::WE, &move_to(A, B, 0, &to_b))
        .conflict();
    a.register(0, A).good();
    check(
        a.reserve_out_with(moving, kind::WE, &move_to(A, B, 0, &to_b)),
        sense::INVALID_FIELD_IN_CDB,
    );
    a.reserve(kind::WE, A).good();
    c.register(0, C).good();
    c.reserve_out_with(moving, kind::WE, &move_to(C, B, 0, &to_b))
        .conflict();
    a.reserve_out_with(moving, kind::WE, &move_to(B, B, 0, &to_b))
        .conflict();
    let invalid = sense::INVALID_FIELD_IN_LIST;
    check(
        a.reserve_out_with(moving, kind::WE, &move_to(A, 0, 0, &to_b)),
        invalid,
    );
    let to_self = transport_id(&initiator_name("a"), Some(ISID));
    check(
        a.reserve_out_with(moving, kind::WE, &move_to(A, B, 0, &to_self)),
        invalid,
    );

    a.reserve_out_with(moving, kind::WE, &move_to(A, B, 0, &to_b))
        .good();
    assert_eq!(c.read_reservation(), held(B, kind::WE));
    assert_eq!(c.keys(), [A, B, C]);
    b.expect_no_attention();
    b.write_blocks(0, &pattern(1, 1)).good();
    a.write_blocks(0, &pattern(2, 1)).conflict();

    const UNREGISTER: u8 = 0x02;
    let to_a = transport_id(&initiator_name("a"), Some(ISID));
    b.reserve_out_with(moving, kind::WE, &move_to(B, A, UNREGISTER, &to_a))
        .good();
    assert_eq!(c.keys(), [A, C], "UNREG removes the sender");
    assert_eq!(c.read_reservation(), held(A, kind::WE));
}

/// The relative target port identifier of a nexus, as READ FULL STATUS tells it.
fn relative_port(session: &mut Initiator, key: u64) -> u16 {
    session.register_and_ignore(key).good();
    let port = session.read_full_status()[0].port;
    session.register(key, 0).good();
    port
}

fn specified_initiator_ports_register_together_or_not_at_all(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    let id = |name: &str| transport_id(&initiator_name(name), Some(ISID));
    let register =
        |session: &mut Initiator, list: &[u8]| session.reserve_out_with(action::REGISTER, 0, list);

    let unknown = listed_parameters(0, A, &[id("b"), id("nobody-knows-it")]);
    assert_eq!(
        register(&mut a, &unknown).sense_code().0,
        5,
        "an unknown port is refused"
    );
    assert!(
        b.keys().is_empty(),
        "a list that fails half-way registers none"
    );

    let mut overrun = listed_parameters(0, A, &[id("b"), id("c")]);
    let length = u32::try_from(overrun.len() - 28 + 64).expect("fits");
    overrun[24..28].copy_from_slice(&length.to_be_bytes());
    assert_eq!(register(&mut a, &overrun).sense_code().0, 5);
    assert!(b.keys().is_empty());

    let both = listed_parameters(0, A, &[id("b"), id("c")]);
    let flagged = parameters(0, A, flag::SPEC_I_PT);
    let ignoring = a.reserve_out_with(action::REGISTER_AND_IGNORE, 0, &flagged);
    check(ignoring, sense::INVALID_FIELD_IN_LIST);
    register(&mut a, &both).good();
    assert_eq!(b.keys(), [A, A, A]);
    assert_eq!(
        b.generation(),
        1,
        "many registrations, one command, one generation"
    );
    check(
        register(&mut a, &listed_parameters(A, A, &[id("b")])),
        sense::INVALID_FIELD_IN_LIST,
    );
    c.reserve(kind::WE, A).good();
}

fn generation_counts_each_successful_change_once(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::new(&setup);
    let mut expected = a.generation();
    assert_eq!(expected, 0, "zero at power-on");
    let mut counted = |a: &mut Initiator, by: u32, what: &str| {
        expected += by;
        assert_eq!(a.generation(), expected, "{what}");
    };
    a.register(0, A).good();
    counted(&mut a, 1, "REGISTER");
    a.register_and_ignore(A).good();
    counted(&mut a, 1, "REGISTER AND IGNORE EXISTING KEY");
    b.register(0, B).good();
    counted(&mut a, 1, "REGISTER");
    a.reserve(kind::WE, A).good();
    counted(&mut a, 0, "RESERVE");
    a.read_full_status();
    counted(&mut a, 0, "PR IN");
    a.reserve(kind::EA, A).conflict();
    counted(&mut a, 0, "a failed RESERVE");
    a.release(kind::WE, A).good();
    counted(&mut a, 0, "RELEASE");
    a.preempt(kind::WE, A, B).good();
    counted(&mut a, 1, "PREEMPT");
    b.take_attentions();
    b.register(0, B).good();
    counted(&mut a, 1, "REGISTER");
    a.preempt_and_abort(kind::WE, A, B).good();
    counted(&mut a, 1, "PREEMPT AND ABORT");
    a.clear(A).good();
    counted(&mut a, 1, "CLEAR");
}

fn a_failed_command_changes_nothing(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    let before = (a.read_keys(), a.read_reservation(), a.read_full_status());
    let list = parameters(A, B, 0);
    let failures = [
        Command::write(&out_cdb(action::REGISTER, 0, 23), &list[..23]),
        Command::write(&out_cdb(action::RESERVE, kind::WE, 0), &[]),
        Command::write(&out_cdb(0x1f, 0, 24), &list),
        Command::write(&out_cdb(0x08, 0, 24), &list),
        Command::write(&out_cdb(action::RESERVE, 0x10 | kind::WE_RO, 24), &list), // element scope
        Command::write(&out_cdb(action::RESERVE, 4, 24), &list),
        Command::write(
            &out_cdb(action::PREEMPT, kind::WE, 24),
            &parameters(A, 0x77, 0),
        ),
        Command::write(&out_cdb(action::PREEMPT, 2, 24), &parameters(A, A, 0)),
        Command::write(&out_cdb(action::REGISTER, 0, 24), &parameters(B, C, 0)),
        Command::write(&out_cdb(action::RELEASE, kind::EA, 24), &list),
    ];
    for failure in &failures {
        let outcome = a.run(failure);
        assert!(!outcome.is_good(), "{:02x?} must fail", failure.cdb);
    }
    assert_eq!(
        (a.read_keys(), a.read_reservation(), a.read_full_status()),
        before
    );
    b.expect_no_attention();
    c.expect_no_attention();
    for length in [0_usize, 8, 23, 25, 32] {
        let list = vec![0; length];
        let cdb = out_cdb(action::CLEAR, 0, u32::try_from(length).expect("fits"));
        check(
            a.run(&Command::write(&cdb, &list)),
            sense::PARAMETER_LIST_LENGTH,
        );
    }
    for unknown in 4..=0x1f {
        check(
            a.read(&in_cdb(unknown, 64), 64),
            sense::INVALID_FIELD_IN_CDB,
        );
    }
}

fn allocation_lengths_truncate_only(setup: Setup) {
    let Cluster {
        mut a,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE, A).good();
    for service_action in 0..=3 {
        let whole = a.reserve_in(service_action);
        for length in [0_u16, 1, 4, 7, 8, 12, 20] {
            let part = a
                .read(&in_cdb(service_action, length), usize::from(length))
                .good();
            let expected = &whole[..whole.len().min(usize::from(length))];
            assert_eq!(
                part, expected,
                "service action {service_action}, length {length}"
            );
        }
    }
}

fn unit_attentions_are_per_nexus(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        mut c,
    } = Cluster::registered(&setup);
    let mut second = server.login(&volume, "b").isid(2).connect();
    second.take_attentions();
    second.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    // INQUIRY, REPORT LUNS and REQUEST SENSE must not eat another command's unit attention.
    b.inquire(None);
    b.read(&scsi::report_luns(), 256).good();
    for session in [&mut b, &mut second, &mut c] {
        session.expect_attention(sense::RESERVATIONS_RELEASED);
        session.expect_no_attention();
    }
    a.expect_no_attention();

    // Reported by REQUEST SENSE, a unit attention is taken (SPC-4 section 6.39).
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    let reported = b.read(&scsi::request_sense(), 252).good();
    let reported = Outcome {
        sense: reported,
        ..Outcome::default()
    };
    assert_eq!(reported.sense_code(), sense::RESERVATIONS_RELEASED);
    b.expect_no_attention();
    c.expect_attention(sense::RESERVATIONS_RELEASED);
}

fn the_registration_belongs_to_name_and_isid(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    a.reserve(kind::EA, A).good();
    a.logout();
    let mut a = server.session(&volume, "a");
    a.register(A, C).good();
    a.write_blocks(0, &pattern(1, 1)).good();
    assert_eq!(b.keys(), [C]);

    // Reinstatement: the same port logs in again while its old session is open.
    let mut again = server.session(&volume, "a");
    assert!(a.is_closed_by_target());
    again.write_blocks(0, &pattern(2, 1)).good();
    assert_eq!(b.keys(), [C]);

    let mut other_port = server.login(&volume, "a").isid(2).connect();
    other_port.take_attentions();
    other_port.write_blocks(0, &pattern(3, 1)).conflict();
    other_port.register(C, A).conflict();
}

fn reservations_survive_resets(setup: Setup) {
    const LOGICAL_UNIT_RESET: u8 = 5;
    const TARGET_WARM_RESET: u8 = 6;
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE, A).good();
    for function in [LOGICAL_UNIT_RESET, TARGET_WARM_RESET] {
        assert_eq!(b.manage(function, None), 0, "function complete");
        b.take_attentions();
        assert_eq!(b.keys(), [A, B, C]);
        assert_eq!(b.read_reservation(), held(A, kind::WE));
        b.write_blocks(0, &pattern(1, 1)).conflict();
        a.take_attentions();
        a.write_blocks(0, &pattern(1, 1)).good();
    }
}

/// Commands of the classes N, R and W with the least they need; all are legal.
fn command_classes() -> [Vec<Command>; 3] {
    let block = pattern(1, 1);
    let two = pattern(2, 2);
    let none = Command::none;
    let read = Command::read;
    let write = Command::write;
    let free = vec![
        read(&scsi::inquiry(None, 96), 96),
        read(&scsi::report_luns(), 256),
        none(&test_unit_ready()),
        read(&scsi::request_sense(), 252),
        read(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8),
        read(&scsi::read_capacity16(), 32),
        read(&in_cdb(0, 64), 64),
        read(&scsi::mode_sense6(0x3f), 255),
        read(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256), // REPORT TARGET PORT GROUPS
        read(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], 4096), // REPORT SUPPORTED OPCODES
        none(&[0x1b, 0, 0, 0, 1, 0]),                           // START STOP UNIT, START=1
    ];
    let readers = vec![
        read(&[0x08, 0, 0, 0, 1, 0], BLOCK),
        read(&scsi::read10(0, 1), BLOCK),
        read(&scsi::read16(0, 1), BLOCK),
        none(&scsi::verify10(0, 1, 0)),
        none(&scsi::prefetch10(0, 1)),
        read(&scsi::get_lba_status(0, 24), 24),
    ];
    let writers = vec![
        write(&[0x0a, 0, 0, 0, 1, 0], &block),
        write(&scsi::write10(0, 1), &block),
        write(&scsi::write16(0, 1), &block),
        write(&scsi::write_and_verify10(0, 1), &block),
        write(&compare_and_write(0, 1), &two),
        write(&scsi::write_atomic16(0, 1), &block),
        write(&scsi::orwrite16(0, 1), &block),
        write(&write_same16(0, 1, false), &block),
        write(&write_same16(0, 1, true), &vec![0; BLOCK]),
        write(&unmap(24), &unmap_list(0, 1)),
        none(&unmap(0)), // an empty UNMAP writes nothing, and conflicts all the same
        none(&scsi::synchronize_cache10()),
        none(&[0x1b, 0, 0, 0, 0, 0]), // START STOP UNIT, START=0
        write(&[0x15, 0x10, 0, 0, 4, 0], &[0; 4]), // MODE SELECT (6), an empty list
    ];
    [free, readers, writers]
}

fn every_command_class_obeys_the_matrix(setup: Setup) {
    // Type; does class R conflict, and class W, for a registered non-holder and for a stranger.
    const MATRIX: [(u8, [[bool; 2]; 2]); 6] = [
        (kind::WE, [[false, true], [false, true]]),
        (kind::EA, [[true, true], [true, true]]),
        (kind::WE_RO, [[false, false], [false, true]]),
        (kind::EA_RO, [[false, false], [true, true]]),
        (kind::WE_AR, [[false, false], [false, true]]),
        (kind::EA_AR, [[false, false], [true, true]]),
    ];
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::new(&setup);
    let [free, readers, writers] = command_classes();
    for (reserved, [registrant, stranger]) in MATRIX {
        a.register_and_ignore(A).good();
        b.register_and_ignore(B).good();
        a.reserve(reserved, A).good();
        let columns = [
            (&mut a, [false, false]),
            (&mut b, registrant),
            (&mut c, stranger),
        ];
        for (session, [reads_conflict, writes_conflict]) in columns {
            for (class, conflicts) in [
                (&free, false),
                (&readers, reads_conflict),
                (&writers, writes_conflict),
            ] {
                // START STOP UNIT with START=0 would stop the unit for everyone who may send it.
                for command in class
                    .iter()
                    .filter(|c| conflicts || c.cdb != [0x1b, 0, 0, 0, 0, 0])
                {
                    let outcome = session.run(command);
                    assert_eq!(
                        outcome.is_conflict(),
                        conflicts,
                        "type {reserved}, {:02x?}: status {:#04x}",
                        command.cdb,
                        outcome.status
                    );
                }
            }
        }
        // None of them changed what anybody would have to be told; an empty MODE SELECT changes
        // no parameter.
        for session in [&mut a, &mut b, &mut c] {
            session.expect_no_attention();
        }
        a.clear(A).good();
        b.expect_attention(sense::RESERVATIONS_PREEMPTED);
        c.expect_no_attention();
    }
}

fn legacy_reservations_meet_persistent_ones(setup: Setup) {
    const RESERVE_6: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
    const RELEASE_6: [u8; 6] = [0x17, 0, 0, 0, 0, 0];
    let Cluster {
        mut a,
        mut b,
        mut c,
        server,
        volume,
    } = Cluster::new(&setup);
    a.none(&RESERVE_6).good();
    b.none(&RESERVE_6).conflict();
    b.read_blocks(0, 1).conflict();
    b.run(&Command::read(&in_cdb(0, 64), 64)).conflict();
    b.register(0, B).conflict();
    b.none(&RELEASE_6).good(); // SPC-2: GOOD, and nothing is released
    b.read_blocks(0, 1).conflict();
    a.logout();
    b.read_blocks(0, 1).good();

    b.register(0, B).good();
    b.reserve(kind::WE_RO, B).good();
    b.none(&RESERVE_6).good(); // CRH=1: no effect
    b.none(&RELEASE_6).good();
    c.none(&RESERVE_6).conflict();
    c.read_blocks(0, 1).good();
    b.clear(B).good();

    let mut a = server.session(&volume, "a");
    a.none(&RESERVE_6).good();
    assert_eq!(c.manage(5, None), 0, "LOGICAL UNIT RESET");
    c.take_attentions();
    c.read_blocks(0, 1).good();
}

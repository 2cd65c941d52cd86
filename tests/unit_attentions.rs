//! Unit attentions over real sockets (SAM-5 section 5.14): each is told once, to the nexus that it
//! concerns and to no other, in order of precedence, and those about reservations wait for a nexus that
//! is not there.

mod support;

use support::cluster::{A, B, C, Cluster, held};
use support::initiator::{Command, Initiator};
use support::login::initiator_name;
use support::reserve::{action, kind, listed_parameters, transport_id};
use support::scsi::{self, BLOCK, Outcome, pattern, sense, status, test_unit_ready};
use support::server::Setup;

const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;
const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];

/// Bytes of the control mode page (SPC-4 section 7.5.8).
mod control {
    pub(crate) const NUAR: (usize, u8) = (3, 0x08);
    pub(crate) const UA_INTLCK: (usize, u8) = (4, 0x30);
    pub(crate) const KEEP: u8 = 0x20;
    pub(crate) const KEEP_AND_RAISE: u8 = 0x30;
}

on_every_engine!(
    each_reaches_whom_it_concerns,
    all_at_once_come_in_order_of_precedence,
    one_is_told_to_one_of_many_commands,
    some_commands_pass_it_by,
    request_sense_takes_one_at_a_time,
    those_about_reservations_wait_for_their_nexus,
    no_other_nexus_gets_them,
    a_node_that_logs_in_meanwhile_is_told,
    each_of_many_absent_nexuses_is_told,
    thirty_two_sessions_are_told_at_once,
    a_restart_leaves_one_alone,
    interlocked_they_stay,
    no_attention_on_release_is_about_release_alone,
);

type SenseCode = (u8, u8, u8);

fn each_reaches_whom_it_concerns(setup: Setup) {
    use sense::{REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED};
    type Act = fn(&mut Cluster);
    // What happens, with `a` holding a reservation of that type; what `a`, `b` and `c` hear of it.
    let table: [(&str, u8, Act, [&[SenseCode]; 3]); 12] = [
        (
            "RELEASE",
            kind::WE_RO,
            |on| drop(on.a.release(kind::WE_RO, A).good()),
            [&[], &[RESERVATIONS_RELEASED], &[RESERVATIONS_RELEASED]],
        ),
        (
            "RELEASE, exclusive",
            kind::WE,
            |on| drop(on.a.release(kind::WE, A).good()),
            [&[], &[], &[]],
        ),
        (
            "RELEASE, all registrants",
            kind::EA_AR,
            |on| drop(on.b.release(kind::EA_AR, B).good()),
            [&[RESERVATIONS_RELEASED], &[], &[RESERVATIONS_RELEASED]],
        ),
        (
            "the holder unregisters",
            kind::EA_RO,
            |on| drop(on.a.register(A, 0).good()),
            [&[], &[RESERVATIONS_RELEASED], &[RESERVATIONS_RELEASED]],
        ),
        (
            "the holder unregisters, exclusive",
            kind::EA,
            |on| drop(on.a.register_and_ignore(0).good()),
            [&[], &[], &[]],
        ),
        (
            "a registrant unregisters",
            kind::WE_RO,
            |on| drop(on.b.register(B, 0).good()),
            [&[], &[], &[]],
        ),
        (
            "CLEAR",
            kind::WE_AR,
            |on| drop(on.b.clear(B).good()),
            [&[RESERVATIONS_PREEMPTED], &[], &[RESERVATIONS_PREEMPTED]],
        ),
        (
            "PREEMPT of a registrant",
            kind::WE_RO,
            |on| drop(on.a.preempt(kind::WE_RO, A, C).good()),
            [&[], &[], &[REGISTRATIONS_PREEMPTED]],
        ),
        (
            "PREEMPT of the holder",
            kind::WE_RO,
            |on| drop(on.b.preempt(kind::WE_RO, B, A).good()),
            [&[REGISTRATIONS_PREEMPTED], &[], &[]],
        ),
        (
            "PREEMPT of the holder, another type",
            kind::WE_RO,
            |on| drop(on.b.preempt(kind::WE, B, A).good()),
            [&[REGISTRATIONS_PREEMPTED], &[], &[RESERVATIONS_RELEASED]],
        ),
        (
            "PREEMPT of all",
            kind::WE_AR,
            |on| drop(on.b.preempt_and_abort(kind::WE_AR, B, 0).good()),
            [&[REGISTRATIONS_PREEMPTED], &[], &[REGISTRATIONS_PREEMPTED]],
        ),
        (
            "the holder preempts itself, another type",
            kind::WE_RO,
            |on| drop(on.a.preempt(kind::EA_RO, A, A).good()),
            [&[], &[RESERVATIONS_RELEASED], &[RESERVATIONS_RELEASED]],
        ),
    ];
    let mut on = Cluster::new(&setup);
    let mut stranger = on.server.session(&on.volume, "stranger");
    for (what, reserved, act, heard) in table {
        on.a.register_and_ignore(A).good();
        on.b.register_and_ignore(B).good();
        on.c.register_and_ignore(C).good();
        on.a.reserve(reserved, A).good();
        act(&mut on);
        for (session, heard) in [&mut on.a, &mut on.b, &mut on.c].into_iter().zip(heard) {
            assert_eq!(session.take_attentions(), heard, "{what}");
            session.expect_no_attention();
        }
        stranger.expect_no_attention();
        on.c.register_and_ignore(C).good();
        on.c.clear(C).good();
        for session in [&mut on.a, &mut on.b] {
            session.take_attentions();
        }
    }
}

/// Everything that can befall a nexus that says nothing meanwhile.
fn all_at_once_come_in_order_of_precedence(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        mut c,
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    let hanging = hang(&mut b);
    server.text(&["volume", "resize", &volume.name, "--size", "65MiB"]);
    c.take_attentions(); // CAPACITY DATA HAS CHANGED
    a.take_attentions();
    c.change_control(control::NUAR.0, control::NUAR.1, control::NUAR.1);
    c.change_control(control::NUAR.0, control::NUAR.1, 0);
    a.take_attentions(); // MODE PARAMETERS CHANGED, once
    a.release(kind::WE_RO, A).good();
    c.take_attentions();
    a.preempt_and_abort(kind::WE_RO, A, B).good();
    // Somebody else registers the nexus again, and clears it away.
    a.register(A, 0).good();
    let of_b = transport_id(&initiator_name("b"), Some(ISID));
    let both = listed_parameters(0, A, &[of_b]);
    a.reserve_out_with(action::REGISTER, 0, &both).good();
    a.clear(A).good();
    assert_eq!(a.manage(LOGICAL_UNIT_RESET, None), 0, "function complete");
    b.forget(hanging);
    assert_eq!(
        b.take_attentions(),
        [
            sense::UNIT_RESET,
            sense::COMMANDS_CLEARED,
            sense::RESERVATIONS_PREEMPTED,
            sense::REGISTRATIONS_PREEMPTED,
            sense::RESERVATIONS_RELEASED,
            sense::CAPACITY_CHANGED,
            sense::MODE_CHANGED,
        ]
    );
    b.expect_no_attention();

    // Of the resets the strongest stands for all, and each counts once.
    for function in [LOGICAL_UNIT_RESET, TARGET_WARM_RESET, LOGICAL_UNIT_RESET] {
        assert_eq!(a.manage(function, None), 0, "function complete");
    }
    b.expect_attention(sense::TARGET_RESET);
}

/// Starts a write and leaves the R2T that answers it without data.
fn hang(session: &mut Initiator) -> u32 {
    let kept = session.negotiated.clone();
    session.negotiated.immediate_data = false;
    session.negotiated.initial_r2t = true;
    let command = Command::write(&scsi::write16(0, 8), &pattern(1, 8));
    let itt = session.submit(&command).expect("the command is sent");
    let ready = session.receive().expect("an R2T");
    assert_eq!(ready.opcode(), support::pdu::opcode::R2T);
    session.negotiated = kept;
    itt
}

fn one_is_told_to_one_of_many_commands(setup: Setup) {
    const COMMANDS: usize = 16;
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    for round in 0..8 {
        a.reserve(kind::WE_RO, A).good();
        a.release(kind::WE_RO, A).good();
        let sent: Vec<u32> = (0..COMMANDS)
            .map(|_| b.submit(&Command::read(&scsi::read16(0, 1), BLOCK)))
            .map(|itt| itt.expect("the command is sent"))
            .collect();
        let answers: Vec<Outcome> = sent
            .into_iter()
            .map(|itt| b.complete(itt).expect("an answer"))
            .collect();
        // The commands are enabled in their order, so it is the first one that hears of it.
        assert_eq!(answers[0].status, status::CHECK_CONDITION, "round {round}");
        assert_eq!(answers[0].sense_code(), sense::RESERVATIONS_RELEASED);
        assert!(answers[1..].iter().all(Outcome::is_good), "round {round}");
    }
}

fn some_commands_pass_it_by(setup: Setup) {
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    b.inquire(None);
    b.inquire(Some(0x83));
    b.read(&scsi::report_luns(), 256).good();
    // A logical unit that is not there has no unit attentions, and takes none.
    let (key, asc, ascq) = sense::LUN_NOT_SUPPORTED;
    let elsewhere = Command::none(&test_unit_ready()).lun(7);
    b.run(&elsewhere).check(key, asc, ascq);
    let sensed = b.run(&Command::read(&scsi::request_sense(), 252).lun(7));
    assert_eq!(reported(sensed.good()), sense::LUN_NOT_SUPPORTED);
    // Task management is no command.
    assert_eq!(b.manage(2, None), 0, "ABORT TASK SET is complete");
    b.ping(b"still here").expect("an answer");
    b.expect_attention(sense::RESERVATIONS_RELEASED);

    // What it refuses changes nothing.
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    let before = a.read_keys();
    let (key, asc, ascq) = sense::RESERVATIONS_RELEASED;
    b.register(B, 0).check(key, asc, ascq);
    assert_eq!(a.read_keys(), before);
}

fn reported(sense: Vec<u8>) -> SenseCode {
    let outcome = Outcome {
        sense,
        ..Outcome::default()
    };
    outcome.sense_code()
}

fn request_sense_takes_one_at_a_time(setup: Setup) {
    const NOTHING: SenseCode = (0, 0, 0);
    let Cluster {
        mut a,
        mut b,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    let mut in_descriptors = scsi::request_sense();
    in_descriptors[1] = 1;
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    a.preempt(kind::WE_RO, A, B).good();
    assert_eq!(a.manage(LOGICAL_UNIT_RESET, None), 0, "function complete");
    let fixed = b.read(&scsi::request_sense(), 252).good();
    assert_eq!(fixed[0] & 0x7f, 0x70);
    assert_eq!(reported(fixed), sense::UNIT_RESET);
    let described = b.read(&in_descriptors, 252).good();
    assert_eq!(described[0], 0x72);
    assert_eq!(reported(described), sense::REGISTRATIONS_PREEMPTED);
    b.expect_attention(sense::RESERVATIONS_RELEASED);
    assert_eq!(
        reported(b.read(&scsi::request_sense(), 252).good()),
        NOTHING
    );
}

fn those_about_reservations_wait_for_their_nexus(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        b,
        mut c,
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    // It was gone when it happened.
    b.logout();
    a.preempt(kind::WE_RO, A, B).good();
    let mut b = server.login(&volume, "b").connect();
    let both = [sense::POWER_ON, sense::REGISTRATIONS_PREEMPTED];
    assert_eq!(b.take_attentions(), both);
    b.logout();
    let mut b = server.login(&volume, "b").connect();
    b.expect_attention(sense::POWER_ON); // the other one was told

    // It was there, did not ask, and went; what it owes to other events goes with the session.
    b.register(0, B).good();
    c.change_control(control::NUAR.0, control::NUAR.1, control::NUAR.1);
    c.change_control(control::NUAR.0, control::NUAR.1, 0);
    a.take_attentions();
    a.preempt(kind::WE_RO, A, B).good();
    b.logout();
    let mut b = server.login(&volume, "b").connect();
    assert_eq!(b.take_attentions(), both);

    // Its connection was cut, or its session reinstated, again and again.
    b.register(0, B).good();
    a.preempt(kind::WE_RO, A, B).good();
    for _ in 0..4 {
        b.cut();
        b = server.login(&volume, "b").connect();
        let reinstated = server.login(&volume, "b").connect();
        assert!(b.is_closed_by_target());
        b = reinstated;
    }
    let told = b.take_attentions();
    assert_eq!(told[1..], [sense::REGISTRATIONS_PREEMPTED]);
    assert!([sense::POWER_ON, sense::NEXUS_LOSS].contains(&told[0]));
    b.expect_no_attention();

    // A reset that came later does not wipe it out.
    b.register(0, B).good();
    a.preempt(kind::WE_RO, A, B).good();
    assert_eq!(a.manage(TARGET_WARM_RESET, None), 0, "function complete");
    let both = [sense::TARGET_RESET, sense::REGISTRATIONS_PREEMPTED];
    assert_eq!(b.take_attentions(), both);
}

/// The place of a nexus in the target's tables is given to others when it is gone; what it is owed is
/// not.
fn no_other_nexus_gets_them(setup: Setup) {
    let setup = setup.listen(&["127.0.0.1:0", "127.0.0.1:0"]);
    let Cluster {
        server,
        volume,
        mut a,
        b,
        c,
    } = Cluster::registered(&setup);
    a.reserve(kind::WE_RO, A).good();
    b.logout();
    c.cut();
    a.clear(A).good();
    let login = server.login(&volume, "b");
    let strangers = [
        server.login(&volume, "x"),
        server.login(&volume, "y"),
        login.clone().isid(2),
        login.clone().portal(server.portals[1]),
    ];
    let mut strangers = strangers.map(|login| login.connect());
    for session in &mut strangers {
        session.expect_attention(sense::POWER_ON);
        session.register(0, C).good();
    }
    let both = [sense::POWER_ON, sense::RESERVATIONS_PREEMPTED];
    assert_eq!(login.connect().take_attentions(), both);
    let told = server.login(&volume, "c").connect().take_attentions();
    assert_eq!(told[1..], [sense::RESERVATIONS_PREEMPTED]);
    for session in &mut strangers {
        session.expect_no_attention();
    }
}

/// A login takes its way over reactors. A PREEMPT that comes meanwhile is told to the session that
/// begins, whether it finds the nexus gone, coming, or there.
fn a_node_that_logs_in_meanwhile_is_told(setup: Setup) {
    const ROUNDS: usize = 150;
    /// Commands that the session sends before it counts as not told.
    const ASKED_MAX: usize = 2000;
    let setup = setup.config("[tuning]\nconnections = \"spread\"\n");
    let Cluster {
        server,
        volume,
        mut a,
        ..
    } = Cluster::new(&setup);
    a.register(0, A).good();
    let login = server.login(&volume, "b");
    let mut b = server.session(&volume, "b");
    for round in 0..ROUNDS {
        b.register(0, B).good();
        b.logout();
        b = std::thread::scope(|scope| {
            let coming = scope.spawn(|| login.connect());
            a.preempt(kind::WE_RO, A, B).good();
            coming.join().expect("it may come in")
        });
        // A session that was on its way just then may hear of it a moment later.
        let mut told = Vec::new();
        for _ in 0..ASKED_MAX {
            told.extend(b.take_attentions());
            if told.len() > 1 {
                break;
            }
        }
        let both = [sense::POWER_ON, sense::REGISTRATIONS_PREEMPTED];
        assert_eq!(told, both, "round {round}");
        b.expect_no_attention();
    }
    a.expect_no_attention();
}

fn each_of_many_absent_nexuses_is_told(setup: Setup) {
    const NODES: u16 = 200;
    let Cluster {
        server,
        volume,
        mut a,
        ..
    } = Cluster::new(&setup);
    let login = |node: u16| {
        server
            .login(&volume, &format!("node{}", node / 4))
            .isid(node)
    };
    for node in 0..NODES {
        let mut session = login(node).connect();
        session.take_attentions();
        session.register(0, B).good();
        session.logout();
    }
    a.register(0, A).good();
    a.reserve(kind::WE_AR, A).good();
    a.preempt(kind::WE_AR, A, B).good();
    assert_eq!(a.keys(), [A]);
    for node in (0..NODES).rev() {
        let told = login(node).connect().take_attentions();
        let both = [sense::POWER_ON, sense::REGISTRATIONS_PREEMPTED];
        assert_eq!(told, both, "node {node}");
    }
}

fn thirty_two_sessions_are_told_at_once(setup: Setup) {
    const SESSIONS: u16 = 32;
    let setup = setup.config("[tuning]\nconnections = \"spread\"\n");
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    let mut sessions: Vec<Initiator> = (0..SESSIONS)
        .map(|isid| server.login(&volume, "node").isid(isid).connect())
        .collect();
    for session in &mut sessions {
        session.take_attentions();
    }
    for _ in 0..4 {
        for session in &mut sessions {
            session.register_and_ignore(C).good();
        }
        a.register_and_ignore(A).good();
        a.reserve(kind::WE_RO, A).good();
        // Each asks while it happens, until it has heard of it.
        std::thread::scope(|scope| {
            let asking: Vec<_> = sessions
                .iter_mut()
                .map(|session| scope.spawn(|| ask_until_told(session)))
                .collect();
            a.preempt(kind::WE_RO, A, C).good();
            for asked in asking {
                let told = asked.join().expect("it was answered");
                assert_eq!(told, sense::REGISTRATIONS_PREEMPTED);
            }
        });
        for session in &mut sessions {
            session.expect_no_attention();
        }
        b.expect_no_attention();
        assert_eq!(b.read_reservation(), held(A, kind::WE_RO));
    }
}

fn ask_until_told(session: &mut Initiator) -> SenseCode {
    loop {
        let answer = session.none(&test_unit_ready());
        if !answer.is_good() {
            return answer.sense_code();
        }
    }
}

/// Power on clears all other unit attentions (SAM-5 section 5.14), and stands for them.
fn a_restart_leaves_one_alone(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        b: _b,
        ..
    } = Cluster::registered(&setup);
    a.preempt(kind::WE_RO, A, B).good();
    assert_eq!(a.manage(LOGICAL_UNIT_RESET, None), 0, "function complete");
    let server = server.kill().start();
    let mut b = server.login(&volume, "b").connect();
    b.expect_attention(sense::POWER_ON);
}

/// UA_INTLCK_CTRL (SPC-4 section 7.5.8).
fn interlocked_they_stay(setup: Setup) {
    let (byte, mask) = control::UA_INTLCK;
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.change_control(byte, mask, control::KEEP);
    for session in [&mut b, &mut c] {
        let sensed = session.read(&scsi::request_sense(), 252).good();
        assert_eq!(reported(sensed), sense::MODE_CHANGED);
    }
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    let (key, asc, ascq) = sense::RESERVATIONS_RELEASED;
    for _ in 0..3 {
        b.none(&test_unit_ready()).check(key, asc, ascq);
        b.read_blocks(0, 1).check(key, asc, ascq);
    }
    let sensed = b.read(&scsi::request_sense(), 252).good();
    assert_eq!(reported(sensed), sense::RESERVATIONS_RELEASED);
    b.none(&test_unit_ready()).good();

    // A conflict is told once more, by the next command.
    a.change_control(byte, mask, control::KEEP_AND_RAISE);
    for session in [&mut b, &mut c] {
        while reported(session.read(&scsi::request_sense(), 252).good()).0 != 0 {}
    }
    a.reserve(kind::WE, A).good();
    b.write_blocks(0, &pattern(1, 1)).conflict();
    let (key, asc, ascq) = sense::PREVIOUS_CONFLICT;
    b.write_blocks(0, &pattern(1, 1)).check(key, asc, ascq);
    b.none(&test_unit_ready()).check(key, asc, ascq);
    let sensed = b.read(&scsi::request_sense(), 252).good();
    assert_eq!(reported(sensed), sense::PREVIOUS_CONFLICT);
    b.none(&test_unit_ready()).good();
    c.none(&test_unit_ready()).good(); // whom it did not happen to

    a.change_control(byte, mask, 0);
    b.expect_attention(sense::MODE_CHANGED);
    b.write_blocks(0, &pattern(1, 1)).conflict();
    b.expect_no_attention();
}

/// NUAR (SPC-4 sections 5.13.11.2.2 and 7.5.8).
fn no_attention_on_release_is_about_release_alone(setup: Setup) {
    let (byte, mask) = control::NUAR;
    let Cluster {
        mut a,
        mut b,
        mut c,
        server: _server,
        ..
    } = Cluster::registered(&setup);
    a.change_control(byte, mask, mask);
    for session in [&mut b, &mut c] {
        session.expect_attention(sense::MODE_CHANGED);
    }
    a.reserve(kind::WE_RO, A).good();
    a.release(kind::WE_RO, A).good();
    for session in [&mut b, &mut c] {
        session.expect_no_attention();
    }
    a.reserve(kind::WE_RO, A).good();
    a.register(A, 0).good();
    for session in [&mut b, &mut c] {
        session.expect_attention(sense::RESERVATIONS_RELEASED);
    }
    b.reserve(kind::WE_RO, B).good();
    b.preempt(kind::EA_RO, B, B).good();
    c.expect_attention(sense::RESERVATIONS_RELEASED);
    c.preempt(kind::EA_RO, C, B).good();
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
}

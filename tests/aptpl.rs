//! Activate Persist Through Power Loss (SPC-4 section 5.13.5), over `kill -9` and a restart: what
//! survives, what does not, and which command decides.

mod support;

use support::initiator::Initiator;
use support::login::initiator_name;
use support::reserve::{FullStatus, Reservation, action, flag, kind, move_parameters, parameters};
use support::reserve::{listed_parameters, transport_id};
use support::scsi::pattern;
use support::server::{Engine, Server, Setup, Volume};

const KEY_A: u64 = 0xa1;
const KEY_B: u64 = 0xb2;
const KEY_C: u64 = 0xc3;
const PTPL_A: u8 = 1;
/// Of every test initiator.
const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];

fn setup() -> Setup {
    Setup::new(Engine::Mio, 2, "file")
}

fn start(setup: &Setup) -> (Server, Volume) {
    let server = setup.start();
    let volume = server.create_small("disk");
    (server, volume)
}

fn register(session: &mut Initiator, key: u64, flags: u8) {
    let list = parameters(0, key, flags);
    session
        .reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
        .good();
}

fn is_active(session: &mut Initiator) -> bool {
    session.report_capabilities().0[1] & PTPL_A != 0
}

/// What a restart must not change: everything that READ FULL STATUS tells, and the reservation.
fn state(session: &mut Initiator) -> (Vec<FullStatus>, Option<Reservation>, bool) {
    let active = is_active(session);
    (
        session.read_full_status(),
        session.read_reservation(),
        active,
    )
}

/// Kills the server; the state after the restart, with the generation that a power-on begins with.
fn after_kill(
    server: Server,
    volume: &Volume,
) -> (Server, (Vec<FullStatus>, Option<Reservation>, bool)) {
    let server = server.kill().start();
    let mut stranger = server.session(volume, "stranger");
    assert_eq!(
        stranger.generation(),
        0,
        "zero at power-on, even with APTPL"
    );
    let found = state(&mut stranger);
    stranger.logout();
    (server, found)
}

#[test]
fn every_type_survives_with_its_holders_and_what_it_permits() {
    let (mut server, volume) = start(&setup());
    for kind in kind::ALL {
        let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
        register(&mut a, KEY_A, flag::APTPL);
        register(&mut b, KEY_B, flag::APTPL);
        a.reserve(kind, KEY_A).good();
        let before = state(&mut a);
        let (again, found) = after_kill(server, &volume);
        server = again;
        assert_eq!(found, before, "type {kind}");
        let all_hold = matches!(kind, kind::WE_AR | kind::EA_AR);
        let key = if all_hold { 0 } else { KEY_A };
        assert_eq!(found.1, Some(Reservation { key, kind }));
        let holders = found.0.iter().filter(|entry| entry.is_holder).count();
        assert_eq!(holders, if all_hold { 2 } else { 1 }, "type {kind}");

        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| server.session(&volume, name));
        let block = pattern(1, 1);
        a.write_blocks(0, &block).good();
        c.write_blocks(0, &block).conflict();
        match kind {
            kind::WE | kind::EA => b.write_blocks(0, &block).conflict(),
            _ => drop(b.write_blocks(0, &block).good()),
        }
        match kind {
            kind::WE | kind::WE_RO | kind::WE_AR => drop(c.read_blocks(0, 1).good()),
            _ => c.read_blocks(0, 1).conflict(),
        }
        a.clear(KEY_A).good();
        [a, b, c].into_iter().for_each(Initiator::logout);
    }
}

#[test]
fn an_all_registrants_reservation_outlives_its_first_holder() {
    let (server, volume) = start(&setup());
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    register(&mut a, KEY_A, flag::APTPL);
    register(&mut b, KEY_B, flag::APTPL);
    a.reserve(kind::WE_AR, KEY_A).good();
    register(&mut a, 0, flag::APTPL);
    let (server, (full, held, _)) = after_kill(server, &volume);
    assert_eq!(full.len(), 1);
    let kind = kind::WE_AR;
    assert_eq!(held, Some(Reservation { key: 0, kind }));
    server
        .session(&volume, "a")
        .write_blocks(0, &pattern(1, 1))
        .conflict();
    let mut b = server.session(&volume, "b");
    register(&mut b, 0, flag::APTPL);
    let (_server, (full, held, _)) = after_kill(server, &volume);
    assert!(full.is_empty());
    assert_eq!(held, None, "it ends with the last registrant");
}

#[test]
fn without_aptpl_nothing_survives() {
    let (server, volume) = start(&setup());
    let mut a = server.session(&volume, "a");
    register(&mut a, KEY_A, 0);
    a.reserve(kind::EA, KEY_A).good();
    assert!(!is_active(&mut a));
    let (_server, found) = after_kill(server, &volume);
    assert_eq!(found, (Vec::new(), None, false));
}

/// Each command that carries the bit decides for the whole logical unit.
#[test]
fn the_last_accepted_value_governs() {
    let (mut server, volume) = start(&setup());
    for last in [true, false] {
        let bit = |on: bool| if on { flag::APTPL } else { 0 };
        type Decide = fn(&mut Initiator, u8);
        let commands: [(&str, Decide); 3] = [
            ("REGISTER", |b, bit| {
                b.register_with(KEY_B, KEY_C, bit).good();
            }),
            ("REGISTER AND IGNORE EXISTING KEY", |b, bit| {
                register(b, KEY_C, bit);
            }),
            ("REGISTER that unregisters", |b, bit| {
                b.register_with(KEY_B, 0, bit).good();
            }),
        ];
        for (name, decide) in commands {
            let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
            register(&mut a, KEY_A, bit(!last));
            register(&mut b, KEY_B, bit(!last));
            a.reserve(kind::WE_RO, KEY_A).good();
            decide(&mut b, bit(last));
            assert_eq!(is_active(&mut a), last, "{name}");
            let before = state(&mut a);
            let (again, found) = after_kill(server, &volume);
            server = again;
            if last {
                assert_eq!(found, before, "{name}");
                server.session(&volume, "a").clear(KEY_A).good();
            } else {
                assert_eq!(found, (Vec::new(), None, false), "{name}");
            }
        }
    }
}

/// A refused command decides nothing, whatever its bit says.
#[test]
fn a_refused_command_leaves_aptpl_as_it_is() {
    let (server, volume) = start(&setup());
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    register(&mut a, KEY_A, flag::APTPL);
    b.register_with(KEY_B, KEY_B, 0).conflict();
    assert!(is_active(&mut a));
    let before = state(&mut a);
    let (_server, found) = after_kill(server, &volume);
    assert_eq!(found, before);
}

/// From 1 to 0 the record goes, durably: a later crash does not bring the old registrations back.
#[test]
fn turning_aptpl_off_removes_the_record() {
    let (server, volume) = start(&setup());
    let mut a = server.session(&volume, "a");
    register(&mut a, KEY_A, flag::APTPL);
    a.reserve(kind::EA, KEY_A).good();
    register(&mut a, KEY_A, 0);
    assert!(!is_active(&mut a));
    let (server, found) = after_kill(server, &volume);
    assert_eq!(found, (Vec::new(), None, false));
    let (_server, found) = after_kill(server, &volume);
    assert_eq!(
        found,
        (Vec::new(), None, false),
        "nor does a second restart"
    );
}

#[test]
fn every_change_of_a_persistent_state_is_durable_when_it_is_told() {
    let (mut server, volume) = start(&setup());
    type Change = fn(&mut Initiator, &mut Initiator);
    let changes: [(&str, Change); 6] = [
        ("RELEASE", |a, _| drop(a.release(kind::WE_RO, KEY_A).good())),
        ("CLEAR", |_, b| drop(b.clear(KEY_B).good())),
        ("PREEMPT", |_, b| {
            b.preempt(kind::EA_RO, KEY_B, KEY_A).good();
        }),
        ("PREEMPT AND ABORT", |a, _| {
            a.preempt_and_abort(kind::WE_RO, KEY_A, KEY_B).good();
        }),
        ("a new key", |a, _| {
            a.register_with(KEY_A, KEY_C, flag::APTPL).good();
        }),
        ("REGISTER AND MOVE", |a, b| {
            let to = b.read_full_status();
            let to = to.iter().find(|entry| entry.key == KEY_B).expect("b");
            let (name, isid) = to.initiator.split_once(",i,0x").expect("an ISID");
            let isid = u64::from_str_radix(isid, 16)
                .expect("hexadecimal")
                .to_be_bytes();
            let id = transport_id(name, Some(isid[2..].try_into().expect("six bytes")));
            let list = move_parameters(KEY_A, KEY_C, flag::APTPL, to.port, &id);
            a.reserve_out_with(action::REGISTER_AND_MOVE, 0, &list)
                .good();
        }),
    ];
    for (name, change) in changes {
        let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
        register(&mut a, KEY_A, flag::APTPL);
        register(&mut b, KEY_B, flag::APTPL);
        a.reserve(kind::WE_RO, KEY_A).good();
        change(&mut a, &mut b);
        a.take_attentions();
        let before = state(&mut a);
        let (again, found) = after_kill(server, &volume);
        server = again;
        assert_eq!(found, before, "{name}");
        let mut a = server.session(&volume, "a");
        register(&mut a, KEY_A, flag::APTPL);
        a.clear(KEY_A).good();
    }
}

#[test]
fn target_ports_and_listed_nexuses_survive() {
    let setup = setup().listen(&["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]);
    let (server, volume) = start(&setup);
    let through = |server: &Server, name: &str, portal: usize| {
        let login = server.login(&volume, name).portal(server.portals[portal]);
        let mut session = login.connect();
        session.take_attentions();
        session
    };
    let mut a = through(&server, "a", 0);
    let mut b = through(&server, "b", 1);
    register(&mut a, KEY_A, flag::APTPL | flag::ALL_TG_PT);
    register(&mut b, KEY_B, flag::APTPL);
    let mut c = through(&server, "c", 2);
    // Only a port that the target knows can be listed.
    let _d = through(&server, "d", 2);
    let listed = transport_id(&initiator_name("d"), Some(ISID));
    let mut list = listed_parameters(0, KEY_C, &[listed]);
    list[20] |= flag::APTPL;
    c.reserve_out_with(action::REGISTER, 0, &list).good();
    b.reserve(kind::EA_RO, KEY_B).good();
    let before = state(&mut a);
    assert_eq!(
        before
            .0
            .iter()
            .filter(|entry| entry.all_target_ports)
            .count(),
        3
    );
    assert_eq!(before.0.len(), 6, "a on three ports, and b, c, d");
    let (server, found) = after_kill(server, &volume);
    assert_eq!(found, before);
    // A registration on all ports is one on those that were never used as well.
    through(&server, "a", 2)
        .write_blocks(0, &pattern(1, 1))
        .good();
    through(&server, "b", 1)
        .write_blocks(0, &pattern(1, 1))
        .good();
    through(&server, "b", 0)
        .write_blocks(0, &pattern(1, 1))
        .conflict();
}

#[test]
fn a_deleted_volume_takes_its_registrations_with_it() {
    let (server, volume) = start(&setup());
    let mut a = server.session(&volume, "a");
    register(&mut a, KEY_A, flag::APTPL);
    a.reserve(kind::EA, KEY_A).good();
    server.text(&["volume", "delete", "disk", "--force"]);
    let again = server.create_small("disk");
    let (server, found) = after_kill(server, &again);
    assert_eq!(found, (Vec::new(), None, false));
    server
        .session(&again, "b")
        .write_blocks(0, &pattern(1, 1))
        .good();
}

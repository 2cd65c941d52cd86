//! Volumes made with `--reservation-scope client`: all sessions of one initiator name share one
//! registration, whatever their ISIDs and target ports.

mod support;

use support::cluster::held;
use support::initiator::{Command, Initiator};
use support::login::initiator_name;
use support::reserve::{
    FullStatus, action, flag, in_cdb, kind, listed_parameters, move_parameters, transport_id,
};
use support::scsi::{self, BLOCK, pattern, sense};
use support::server::{Server, Setup, Volume};

const A: u64 = 0xaaaa;
const B: u64 = 0xbbbb;

on_every_engine!(
    all_sessions_of_a_client_share_its_registration,
    a_client_that_comes_back_is_still_registered,
    who_preempts_a_client_preempts_all_its_sessions,
    preempt_and_abort_ends_the_commands_of_all_sessions,
    the_fence_waits_for_the_writes_of_all_sessions,
    a_client_is_told_when_it_comes_back,
    transport_ids_name_clients,
    a_legacy_reservation_ends_with_the_last_session,
    sessions_stay_apart_in_everything_else,
    the_scope_outlives_a_restart,
    the_scope_changes_while_nobody_uses_the_volume,
);

fn start(setup: Setup) -> (Server, Volume) {
    start_with(setup, &[])
}

fn start_with(setup: Setup, more: &[&str]) -> (Server, Volume) {
    let config = "[tuning]\nconnections = \"spread\"\nshards = \"spread\"\n";
    let server = setup
        .listen(&["127.0.0.1:0", "127.0.0.1:0"])
        .config(config)
        .start();
    let volume = create(&server, more);
    (server, volume)
}

fn create(server: &Server, more: &[&str]) -> Volume {
    let backend = server.setup.backend;
    let create = [
        "volume",
        "create",
        "shared",
        "--size",
        "64MiB",
        "--backend",
        backend,
    ];
    let scope = ["--reservation-scope", "client"];
    server.text(&[&create[..], &scope, more].concat());
    server.volume("shared")
}

/// A session of a client, through the first portal or the second.
fn session(server: &Server, volume: &Volume, client: &str, isid: u16, portal: usize) -> Initiator {
    let login = server.login(volume, client).isid(isid);
    let mut session = login.portal(server.portals[portal]).connect();
    session.take_attentions();
    session
}

/// Sessions of one client, through both portals.
fn sessions(server: &Server, volume: &Volume, client: &str) -> [Initiator; 3] {
    [(1, 0), (2, 0), (1, 1)].map(|(isid, portal)| session(server, volume, client, isid, portal))
}

/// What READ FULL STATUS tells of a client.
fn status(client: &str, key: u64, held: Option<u8>) -> FullStatus {
    FullStatus {
        key,
        is_holder: held.is_some(),
        all_target_ports: true,
        kind: held.unwrap_or(0),
        port: 0,
        initiator: initiator_name(client),
    }
}

fn all_sessions_of_a_client_share_its_registration(setup: Setup) {
    let (server, volume) = start(setup);
    let mut own = sessions(&server, &volume, "client");
    let mut other = session(&server, &volume, "other", 1, 0);
    own[0].register(0, A).good();
    own[0].reserve(kind::EA, A).good();
    for (index, session) in (0..).zip(&mut own) {
        session.write_blocks(index, &pattern(index, 1)).good();
        // It is registered, so a REGISTER has to know the key.
        session.register(0, A).conflict();
        session.register(A, A).good();
        session.register_and_ignore(A).good();
        session.reserve(kind::EA, A).good();
    }
    assert_eq!(other.generation(), 1 + 3 * 2);
    assert_eq!(
        other.read_full_status(),
        [status("client", A, Some(kind::EA))]
    );
    other.read_blocks(0, 1).conflict();

    own[1].register(A, B).good();
    own[2].reserve(kind::EA, B).good();
    // Any session gives up what all share.
    own[2].register(B, 0).good();
    assert!(other.keys().is_empty());
    assert_eq!(other.read_reservation(), None);
    own[0].register(B, 0).conflict();
    for session in &mut own {
        session.expect_no_attention();
    }
}

fn a_client_that_comes_back_is_still_registered(setup: Setup) {
    let (server, volume) = start(setup);
    let mut other = session(&server, &volume, "other", 1, 0);
    let mut first = session(&server, &volume, "client", 0, 0);
    first.register(0, A).good();
    first.reserve(kind::WE, A).good();
    first.cut();
    for isid in 1..100 {
        let mut client = session(&server, &volume, "client", isid, usize::from(isid % 2));
        client.write_blocks(0, &pattern(1, 1)).good();
        other.write_blocks(0, &pattern(2, 1)).conflict();
        client.cut();
    }
    assert_eq!(other.keys(), [A]);
    assert_eq!(other.generation(), 1);
}

fn who_preempts_a_client_preempts_all_its_sessions(setup: Setup) {
    let (server, volume) = start(setup);
    let mut victims = sessions(&server, &volume, "victim");
    let mut own = sessions(&server, &volume, "winner");
    victims[0].register(0, A).good();
    victims[1].reserve(kind::WE_RO, A).good();
    own[0].register(0, B).good();
    own[1].preempt(kind::EA_RO, B, A).good();
    for victim in &mut victims {
        victim.expect_attention(sense::REGISTRATIONS_PREEMPTED);
        victim.expect_no_attention();
        victim.read_blocks(0, 1).conflict();
    }
    for session in &mut own {
        session.expect_no_attention();
        session.write_blocks(0, &pattern(1, 1)).good();
    }
    assert_eq!(
        own[2].read_full_status(),
        [status("winner", B, Some(kind::EA_RO))]
    );

    // A client that names its own key changes the type and stays.
    own[2].preempt(kind::WE, B, B).good();
    assert_eq!(own[0].read_reservation(), held(B, kind::WE));
    own[1].write_blocks(0, &pattern(1, 1)).good();

    // A release tells every session of every other client.
    victims[2].register_and_ignore(A).good();
    own[0].preempt(kind::WE_RO, B, B).good();
    victims
        .iter_mut()
        .for_each(|victim| drop(victim.take_attentions()));
    own[1].release(kind::WE_RO, B).good();
    for victim in &mut victims {
        victim.expect_attention(sense::RESERVATIONS_RELEASED);
    }
    own.iter_mut().for_each(Initiator::expect_no_attention);
}

/// A WRITE whose data never comes.
fn hanging_write(session: &mut Initiator, lba: u64) -> u32 {
    let kept = session.negotiated.clone();
    session.negotiated.immediate_data = false;
    session.negotiated.initial_r2t = true;
    let command = Command::write(&scsi::write16(lba, 1), &[0xee; BLOCK]);
    let itt = session.submit(&command).expect("the command is sent");
    let ready = session.receive().expect("an R2T");
    assert_eq!(ready.opcode(), support::pdu::opcode::R2T);
    session.negotiated = kept;
    itt
}

fn preempt_and_abort_ends_the_commands_of_all_sessions(setup: Setup) {
    let (server, volume) = start(setup);
    let mut victims = sessions(&server, &volume, "victim");
    let mut winner = session(&server, &volume, "winner", 1, 0);
    victims[0].register(0, A).good();
    victims[0].reserve(kind::WE_RO, A).good();
    winner.register(0, B).good();
    let hanging: Vec<_> = (10..)
        .zip(&mut victims)
        .map(|(lba, victim)| hanging_write(victim, lba))
        .collect();
    winner.preempt_and_abort(kind::WE_RO, B, A).good();
    for (victim, itt) in victims.iter_mut().zip(hanging) {
        victim.forget(itt);
        let told = victim.take_attentions();
        assert_eq!(
            told,
            [sense::COMMANDS_CLEARED, sense::REGISTRATIONS_PREEMPTED]
        );
        victim.write_blocks(0, &pattern(1, 1)).conflict();
    }
    assert_eq!(winner.read_blocks(10, 3).good(), vec![0; 3 * BLOCK]);
}

fn the_fence_waits_for_the_writes_of_all_sessions(setup: Setup) {
    let (server, volume) = start_with(setup, &["--delay", "100ms"]);
    let mut victims = sessions(&server, &volume, "victim");
    let mut winner = session(&server, &volume, "winner", 1, 0);
    victims[0].register(0, A).good();
    victims[0].reserve(kind::WE_RO, A).good();
    winner.register(0, B).good();
    let under_way: Vec<_> = (0..)
        .zip(&mut victims)
        .map(|(lba, victim)| {
            let write = Command::write(&scsi::write16(lba, 1), &pattern(7 + lba, 1));
            victim.submit(&write).expect("the write is sent")
        })
        .collect();
    winner.preempt(kind::WE_RO, B, A).good();
    let after = winner.read_blocks(0, 3).good();
    for ((lba, victim), itt) in (0..).zip(&mut victims).zip(under_way) {
        let outcome = victim.complete(itt).expect("a status");
        let expected = if outcome.is_good() {
            pattern(7 + lba, 1)
        } else {
            vec![0; BLOCK]
        };
        let block = usize::try_from(lba).expect("fits") * BLOCK;
        assert!(
            after[block..block + BLOCK] == expected,
            "block {lba} as it was when PREEMPT ended, status {:#04x}",
            outcome.status
        );
    }
    assert!(winner.read_blocks(0, 3).good() == after);
}

fn a_client_is_told_when_it_comes_back(setup: Setup) {
    let (server, volume) = start(setup);
    let mut winner = session(&server, &volume, "winner", 1, 0);
    winner.register(0, B).good();
    let mut victims = sessions(&server, &volume, "victim");
    victims[0].register(0, A).good();
    victims.into_iter().for_each(Initiator::logout);
    winner.preempt(kind::WE, B, A).good();
    let mut back = server.login(&volume, "victim").isid(77).connect();
    let told = back.take_attentions();
    assert!(
        told.contains(&sense::REGISTRATIONS_PREEMPTED),
        "{told:02x?}"
    );
    let mut next = server.login(&volume, "victim").isid(78).connect();
    let told = next.take_attentions();
    assert!(
        !told.contains(&sense::REGISTRATIONS_PREEMPTED),
        "told once: {told:02x?}"
    );
}

fn transport_ids_name_clients(setup: Setup) {
    let (server, volume) = start(setup);
    let mut own = sessions(&server, &volume, "client");
    let mut other = session(&server, &volume, "other", 9, 1);
    let of_port = transport_id(&initiator_name("other"), Some([0x80, 0, 0, 0, 0, 0x63]));
    let of_node = transport_id(&initiator_name("other"), None);
    let unknown = transport_id(&initiator_name("nobody"), None);
    let register = |session: &mut Initiator, ids: &[Vec<u8>]| {
        session.reserve_out_with(action::REGISTER, 0, &listed_parameters(0, A, ids))
    };
    let (key, asc, ascq) = sense::INVALID_FIELD_IN_LIST;
    register(&mut own[0], &[unknown]).check(key, asc, ascq);
    register(&mut own[0], &[of_port.clone(), of_node.clone()]).good();
    assert_eq!(other.keys(), [A, A]);

    // REGISTER AND MOVE through any target port of the volume; there is none of another number.
    own[1].reserve(kind::WE, A).good();
    let moving = |session: &mut Initiator, port, id: &[u8]| {
        let list = move_parameters(A, B, 0, port, id);
        session.reserve_out_with(action::REGISTER_AND_MOVE, kind::WE, &list)
    };
    for nowhere in [0, 3, u16::MAX] {
        moving(&mut own[1], nowhere, &of_port).check(key, asc, ascq);
    }
    let to_itself = transport_id(&initiator_name("client"), Some([1; 6]));
    moving(&mut own[1], 1, &to_itself).check(key, asc, ascq);
    moving(&mut own[2], 1, &of_node).good();
    assert_eq!(
        own[0].read_full_status(),
        [
            status("client", A, None),
            status("other", B, Some(kind::WE))
        ]
    );
    other.write_blocks(0, &pattern(1, 1)).good();
    own[0].write_blocks(0, &pattern(1, 1)).conflict();
}

fn a_legacy_reservation_ends_with_the_last_session(setup: Setup) {
    const RESERVE_6: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
    let (server, volume) = start(setup);
    let [mut first, mut second, third] = sessions(&server, &volume, "client");
    let mut other = session(&server, &volume, "other", 1, 0);
    third.logout();
    first.none(&RESERVE_6).good();
    second.write_blocks(0, &pattern(1, 1)).good();
    other.read_blocks(0, 1).conflict();
    first.logout();
    other.run(&Command::read(&in_cdb(0, 64), 64)).conflict();
    second.write_blocks(0, &pattern(1, 1)).good();
    second.logout();
    other.read_blocks(0, 1).good();
}

fn sessions_stay_apart_in_everything_else(setup: Setup) {
    let (server, volume) = start(setup);
    let [mut first, mut second, mut third] = sessions(&server, &volume, "client");
    first.register(0, A).good();
    // What one session changes, the client's others are told as any other nexus is.
    server.text(&["volume", "resize", "shared", "--size", "128MiB"]);
    for session in [&mut first, &mut second, &mut third] {
        session.expect_attention(sense::CAPACITY_CHANGED);
    }
    let mut control = first.read(&scsi::mode_sense6(0x0a), 64).good();
    let descriptors = usize::from(control[3]);
    let page = 4 + descriptors;
    control[0] = 0;
    control[2] = 0;
    control[page] &= 0x3f;
    control[page + 4] |= 0x08; // SWP: refuse writes
    let length = u8::try_from(control.len()).expect("a short page");
    first.write(&[0x15, 0x10, 0, 0, length, 0], &control).good();
    first.expect_no_attention();
    for session in [&mut second, &mut third] {
        session.expect_attention((6, 0x2a, 1));
    }
    // Reinstatement is of one session.
    let again = session(&server, &volume, "client", 2, 0);
    assert!(second.is_closed_by_target());
    first.read_blocks(0, 1).good();
    drop(again);
}

fn the_scope_outlives_a_restart(setup: Setup) {
    let (server, volume) = start(setup);
    assert_eq!(
        server.json(&["volume", "show", "shared"])["reservation_scope"],
        "client"
    );
    let shown = server.text(&["volume", "show", "shared"]);
    assert!(
        shown.contains("all sessions of one initiator name"),
        "{shown}"
    );
    let mut client = session(&server, &volume, "client", 1, 0);
    client.register_with(0, A, flag::APTPL).good();
    client.reserve(kind::EA, A).good();
    let registered = client.read_full_status();
    let server = server.kill().start();
    let mut client = session(&server, &volume, "client", 55, 1);
    assert_eq!(client.read_full_status(), registered);
    client.read_blocks(0, 1).good();
    session(&server, &volume, "other", 1, 0)
        .read_blocks(0, 1)
        .conflict();
    let listed = server.json(&["reservation", "show", "shared"]);
    let registration = &listed["registrations"][0];
    assert_eq!(
        (&registration["isid"], &registration["port"]),
        (&"any".into(), &0.into())
    );
    let plain = server.create_small("plain");
    let shown = server.json(&["volume", "show", &plain.name]);
    assert_eq!(shown["reservation_scope"], "nexus");
}

fn the_scope_changes_while_nobody_uses_the_volume(setup: Setup) {
    let (server, volume) = start(setup);
    let set = ["volume", "set", "shared", "--reservation-scope", "nexus"];
    let refusal = || {
        let output = server.command(&set);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    let mut node = server.session(&volume, "node");
    node.write_blocks(0, &pattern(3, 8)).good();
    node.register(0, A).good();
    let used = refusal();
    let name = initiator_name("node");
    assert!(
        used.contains(&format!("1 session ({name} from 127.0.0.1:")),
        "{used}"
    );
    assert!(
        used.contains(&format!("1 registration (0x000000000000aaaa of {name})")),
        "{used}"
    );
    node.logout();
    let registered = refusal();
    assert!(!registered.contains("session ("), "{registered}");
    assert!(registered.contains("1 registration ("), "{registered}");
    let mut node = server.session(&volume, "node");
    assert_eq!(node.keys(), [A], "a refusal changes nothing");
    node.register(A, 0).good();
    node.logout();

    let shown = server.json(&set);
    assert_eq!(shown["reservation_scope"], "nexus");
    let mut first = server.session(&volume, "node");
    let mut second = server.login(&volume, "node").isid(2).connect();
    second.take_attentions();
    assert!(
        first.read_blocks(0, 8).good() == pattern(3, 8),
        "the data stay"
    );
    first.register(0, A).good();
    // Each nexus is a registrant of its own now: the second one has no key to give.
    second.register(A, B).conflict();
    second.register(0, B).good();
    assert_eq!(first.keys().len(), 2);
    drop((first, second));
    let server = server.stop();
    if server.backend == "file" {
        let server = server.start();
        let shown = server.json(&["volume", "show", "shared"]);
        assert_eq!(shown["reservation_scope"], "nexus");
    }
}

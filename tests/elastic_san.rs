//! What the shared-volume service promises, fact by fact, over real sockets with separate initiators:
//! sharing and its limits, the reservation commands and types, every cell of the access table for
//! reads and for writes, and both flows (failover, readers).

mod support;

use support::initiator::Initiator;
use support::login::{LoginError, initiator_name};
use support::reserve::{Reservation, kind};
use support::scsi::{BLOCK, pattern, sense};
use support::server::{Server, Setup, Volume};

const SESSIONS_MAX: u16 = 128;
/// Class 3 is "target error": try again later (RFC 7143 section 11.13.5).
const TARGET_ERROR: u8 = 3;

const KEY_1: u64 = 0x1111;
const KEY_2: u64 = 0x2222;

on_every_engine!(
    one_volume_serves_several_clients_at_once,
    the_129th_session_is_refused_and_the_128_are_unharmed,
    a_freed_place_admits_one_session,
    reinstatement_takes_no_second_place,
    four_clients_of_32_sessions_fill_one_volume_and_no_other,
    nothing_is_locked_without_a_reservation,
    a_client_connects_without_discovery,
    a_reservation_outlives_logout_and_a_dropped_connection,
    a_returning_client_still_holds_its_reservation,
    each_service_command_answers,
    the_six_types_are_reported_and_none_is_no_type,
    failover_moves_the_right_to_write,
    many_read_while_one_writes,
);
on_every_backend!(access_table);

fn start(setup: &Setup) -> (Server, Volume) {
    let server = setup.start();
    let volume = server.create_small("shared");
    (server, volume)
}

/// The sessions of one client: ISIDs that differ in their qualifier.
fn sessions(server: &Server, volume: &Volume, client: &str, count: u16) -> Vec<Initiator> {
    (0..count)
        .map(|index| server.login(volume, client).isid(index).connect())
        .collect()
}

fn assert_unharmed(sessions: &mut [Initiator]) {
    for session in sessions {
        session.take_attentions();
        session.read_blocks(0, 1).good();
    }
}

fn assert_full(refusal: &LoginError) {
    let [class, detail] = refusal.status().to_be_bytes();
    assert_eq!(
        class, TARGET_ERROR,
        "a full volume asks to try again later: {refusal:?}"
    );
    assert!(
        matches!(detail, 1 | 2),
        "service unavailable or out of resources: {refusal:?}"
    );
}

// Fact 1.
fn one_volume_serves_several_clients_at_once(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut clients: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| server.session(&volume, name))
        .collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let index = index as u64;
        client.write_blocks(index, &pattern(index, 1)).good();
    }
    for client in &mut clients {
        for index in 0..4 {
            assert_eq!(client.read_blocks(index, 1).good(), pattern(index, 1));
        }
    }
    assert_eq!(server.session_count(&volume), 4);
}

// Fact 2.
fn the_129th_session_is_refused_and_the_128_are_unharmed(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut all = sessions(&server, &volume, "client", SESSIONS_MAX);
    assert_full(&server.login(&volume, "late").refused());
    assert_full(&server.login(&volume, "client").isid(999).refused());
    assert_unharmed(&mut all);
    assert_eq!(server.session_count(&volume), u64::from(SESSIONS_MAX));
}

// Fact 2.
fn a_freed_place_admits_one_session(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut all = sessions(&server, &volume, "client", SESSIONS_MAX);

    all.pop().expect("one of 128").logout();
    all.push(server.login(&volume, "late").connect());
    assert_full(&server.login(&volume, "later").refused());

    all.pop().expect("one of 128").cut();
    // The target sees the end of the connection when it sees it; then there is one place.
    let admitted = (0..10_000).find_map(|_| server.login(&volume, "later").try_connect().ok());
    all.push(admitted.expect("a dropped connection frees its place"));
    assert_full(&server.login(&volume, "latest").refused());
    assert_unharmed(&mut all);
}

// Fact 2.
fn reinstatement_takes_no_second_place(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut all = sessions(&server, &volume, "client", SESSIONS_MAX);
    let again = server.login(&volume, "client").isid(5).connect();
    let mut old = std::mem::replace(&mut all[5], again);
    assert!(old.is_closed_by_target(), "the old session ends");
    assert_full(&server.login(&volume, "late").refused());
    assert_unharmed(&mut all);
}

// Fact 3.
fn four_clients_of_32_sessions_fill_one_volume_and_no_other(setup: Setup) {
    let (server, volume) = start(&setup);
    let other = server.create_small("other");
    let mut all: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|client| sessions(&server, &volume, client, 32))
        .collect();
    assert_full(&server.login(&volume, "fifth").refused());
    assert_unharmed(&mut sessions(&server, &other, "fifth", 32));
    assert_unharmed(&mut all);
}

// Fact 4: write locking is the cluster manager's job.
fn nothing_is_locked_without_a_reservation(setup: Setup) {
    let (server, volume) = start(&setup);
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    for round in 0..8 {
        a.write_blocks(0, &pattern(round, 1)).good();
        b.write_blocks(0, &pattern(round + 100, 1)).good();
        assert_eq!(a.read_blocks(0, 1).good(), pattern(round + 100, 1));
    }
}

// Fact 5, with the values that the connection scripts make open-iscsi offer.
fn a_client_connects_without_discovery(setup: Setup) {
    let (server, volume) = start(&setup);
    let login = |index: u16| {
        server
            .login(&volume, "script")
            .isid(index)
            .key("HeaderDigest", "CRC32C,None")
            .key("DataDigest", "CRC32C,None")
            .key("DefaultTime2Wait", "2")
            .key("DefaultTime2Retain", "0")
            .key("IFMarker", "No")
            .key("OFMarker", "No")
            .key("ErrorRecoveryLevel", "0")
            .key("InitialR2T", "No")
            .key("ImmediateData", "Yes")
            .key("MaxBurstLength", "262144")
            .key("FirstBurstLength", "262144")
            .key("MaxOutstandingR2T", "1")
            .key("MaxConnections", "1")
            .key("DataPDUInOrder", "Yes")
            .key("DataSequenceInOrder", "Yes")
            .key("MaxRecvDataSegmentLength", "262144")
    };
    let mut all: Vec<_> = (0..32).map(|index| login(index).connect()).collect();
    let data = pattern(5, 512);
    for session in &mut all {
        session.take_attentions();
        assert_eq!(session.answer("HeaderDigest"), Some("CRC32C"));
        assert_eq!(session.answer("DataDigest"), Some("CRC32C"));
        assert!(
            !session.negotiated.initial_r2t,
            "InitialR2T=No is agreed to"
        );
    }
    all[0].write_blocks(0, &data).good();
    assert_eq!(all[31].read_blocks(0, 512).good(), data);
}

// Fact 6.
fn a_reservation_outlives_logout_and_a_dropped_connection(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut witness = server.session(&volume, "witness");
    for leave in [Initiator::logout, Initiator::cut] {
        let mut holder = server.session(&volume, "holder");
        holder.register_and_ignore(KEY_1).good();
        holder.reserve(kind::EA, KEY_1).good();
        leave(holder);
        witness.write_blocks(0, &pattern(1, 1)).conflict();
        witness.read_blocks(0, 1).conflict();
        let held = Some(Reservation {
            key: KEY_1,
            kind: kind::EA,
        });
        assert_eq!(witness.read_reservation(), held);
        let mut holder = server.session(&volume, "holder");
        holder.clear(KEY_1).good();
    }
}

// Fact 6, and what two other targets lose: the nexus is the name and the ISID, not the connection.
fn a_returning_client_still_holds_its_reservation(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut holder = server.session(&volume, "holder");
    holder.register_and_ignore(KEY_1).good();
    holder.reserve(kind::WE, KEY_1).good();
    holder.cut();

    let mut same = server.session(&volume, "HOLDER"); // names compare without case
    same.write_blocks(0, &pattern(2, 1)).good();
    assert_eq!(
        same.keys(),
        [KEY_1],
        "its registration was found, not doubled"
    );
    let status = same.read_full_status();
    assert!(status[0].is_holder);
    let isid = format!("{},i,0x800000000001", initiator_name("holder"));
    assert_eq!(status[0].initiator, isid);

    let mut stranger = server.login(&volume, "holder").isid(7).connect();
    stranger.take_attentions();
    stranger.write_blocks(0, &pattern(3, 1)).conflict();
    same.release(kind::WE, KEY_1).good();
}

// Fact 7.
fn each_service_command_answers(setup: Setup) {
    let (server, volume) = start(&setup);
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    a.register(0, KEY_1).good(); // PR_REGISTER_KEY
    b.register_and_ignore(KEY_2).good(); // PR_REGISTER_AND_IGNORE
    a.reserve(kind::WE_RO, KEY_1).good(); // PR_RESERVE
    // PR_GET_CONFIGURATION: the four service actions of PR IN.
    assert_eq!(b.keys(), [KEY_1, KEY_2]);
    assert_eq!(
        b.read_reservation(),
        Some(Reservation {
            key: KEY_1,
            kind: kind::WE_RO
        })
    );
    assert_eq!(
        b.report_capabilities().0[2..],
        [0xea, 0x01],
        "all six types"
    );
    assert_eq!(b.read_full_status().len(), 2);
    b.preempt(kind::WE_RO, KEY_2, KEY_1).good(); // PR_PREEMPT_RESERVATION
    a.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(b.keys(), [KEY_2]);
    b.release(kind::WE_RO, KEY_2).good(); // PR_RELEASE_RESERVATION
    assert_eq!(b.read_reservation(), None);
    b.clear(KEY_2).good(); // PR_CLEAR_RESERVATION
    assert!(b.keys().is_empty());

    // The key is needed for all of them but get configuration.
    a.register(0, KEY_1).good();
    a.register(KEY_2, KEY_2).conflict();
    a.reserve(kind::WE, KEY_2).conflict();
    a.reserve(kind::WE, KEY_1).good();
    a.release(kind::WE, KEY_2).conflict();
    a.preempt(kind::WE, KEY_2, KEY_1).conflict();
    a.clear(KEY_2).conflict();
}

// Fact 8.
fn the_six_types_are_reported_and_none_is_no_type(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut a = server.session(&volume, "a");
    a.register_and_ignore(KEY_1).good();
    assert_eq!(
        a.read_reservation(),
        None,
        "PR_NONE is what get configuration reports"
    );
    for reserved in kind::ALL {
        a.reserve(reserved, KEY_1).good();
        let key = if reserved >= kind::WE_AR { 0 } else { KEY_1 };
        assert_eq!(
            a.read_reservation(),
            Some(Reservation {
                key,
                kind: reserved
            })
        );
        a.release(reserved, KEY_1).good();
    }
    for unknown in [0, 2, 4, 9, 15] {
        let (key, asc, ascq) = sense::INVALID_FIELD_IN_CDB;
        a.reserve(unknown, KEY_1).check(key, asc, ascq);
    }
}

/// What a cell of the table allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
    Nothing,
}

use Access::{Nothing, ReadOnly, ReadWrite};

/// The service's access table: type, and what holder, registered and others may do. With no
/// reservation nobody holds, and the first of the two registered clients stands in that column.
const TABLE: [(Option<u8>, [Access; 3]); 7] = [
    (None, [ReadWrite, ReadWrite, ReadWrite]),
    (Some(kind::WE), [ReadWrite, ReadOnly, ReadOnly]),
    (Some(kind::EA), [ReadWrite, Nothing, Nothing]),
    (Some(kind::WE_RO), [ReadWrite, ReadWrite, ReadOnly]),
    (Some(kind::EA_RO), [ReadWrite, ReadWrite, Nothing]),
    (Some(kind::WE_AR), [ReadWrite, ReadWrite, ReadOnly]),
    (Some(kind::EA_AR), [ReadWrite, ReadWrite, Nothing]),
];

// Fact 9: 21 cells, read and write each.
fn access_table(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut clients = ["holder", "registered", "other"].map(|name| server.session(&volume, name));
    let mut cells = 0;
    for (row, (reserved, columns)) in TABLE.into_iter().enumerate() {
        clients[0].register_and_ignore(KEY_1).good();
        clients[1].register_and_ignore(KEY_2).good();
        if let Some(reserved) = reserved {
            clients[0].reserve(reserved, KEY_1).good();
        }
        for (column, access) in columns.into_iter().enumerate() {
            check_cell(&mut clients, column, access, (row * 3 + column) as u64);
            cells += 1;
        }
        clients[0].clear(KEY_1).good();
        for client in &mut clients {
            client.take_attentions();
        }
    }
    assert_eq!(cells, 21);
}

/// One client reads and writes; the holder (who always may) sees what became of it.
fn check_cell(clients: &mut [Initiator; 3], column: usize, access: Access, seed: u64) {
    const BLOCKS: usize = 16;
    let lba = seed * 64;
    let (before, after) = (pattern(seed, BLOCKS), pattern(seed + 1000, BLOCKS));
    clients[0].write_blocks(lba, &before).good();

    let read = clients[column].read_blocks(lba, BLOCKS);
    if access == Nothing {
        assert!(
            read.is_conflict() && read.data.is_empty(),
            "column {column}: read {read:?}"
        );
    } else {
        assert!(
            read.good() == before,
            "column {column}: the data that stand there"
        );
    }

    let written = clients[column].write_blocks(lba, &after);
    let found = clients[0].read_blocks(lba, BLOCKS).good();
    assert_eq!(found.len(), BLOCKS * BLOCK);
    if access == ReadWrite {
        written.good();
        assert!(
            found == after,
            "column {column}: an allowed write takes effect"
        );
    } else {
        written.conflict();
        assert!(
            found == before,
            "column {column}: a denied write changes nothing"
        );
    }
}

// Fact 10.
fn failover_moves_the_right_to_write(setup: Setup) {
    let (server, volume) = start(&setup);
    let (mut vm1, mut vm2) = (
        server.session(&volume, "vm1"),
        server.session(&volume, "vm2"),
    );
    vm1.register(0, KEY_1).good();
    vm2.register(0, KEY_2).good();
    vm1.reserve(kind::WE, KEY_1).good();
    vm1.write_blocks(0, &pattern(1, 8)).good();
    vm2.write_blocks(0, &pattern(2, 8)).conflict();
    vm1.cut();

    vm2.write_blocks(0, &pattern(2, 8)).conflict();
    vm2.preempt(kind::WE, KEY_2, KEY_1).good();
    let held = Some(Reservation {
        key: KEY_2,
        kind: kind::WE,
    });
    assert_eq!(vm2.read_reservation(), held);
    vm2.write_blocks(0, &pattern(3, 8)).good();

    let mut vm1 = server.login(&volume, "vm1").connect();
    let told = vm1.take_attentions();
    assert!(
        told.contains(&sense::REGISTRATIONS_PREEMPTED),
        "VM1 learns that it was fenced"
    );
    vm1.write_blocks(0, &pattern(4, 8)).conflict();
    assert_eq!(vm2.read_blocks(0, 8).good(), pattern(3, 8));
}

// Fact 11.
fn many_read_while_one_writes(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut nodes: Vec<_> = (0..4)
        .map(|index| server.session(&volume, &format!("node{index}")))
        .collect();
    for (index, node) in nodes.iter_mut().enumerate() {
        node.register(0, KEY_1 + index as u64).good();
    }
    nodes[0].reserve(kind::WE, KEY_1).good();
    for round in 0..4 {
        nodes[0].write_blocks(0, &pattern(round, 8)).good();
        for node in &mut nodes {
            assert_eq!(node.read_blocks(0, 8).good(), pattern(round, 8));
        }
        for node in &mut nodes[1..] {
            node.write_blocks(0, &pattern(99, 8)).conflict();
        }
    }
}

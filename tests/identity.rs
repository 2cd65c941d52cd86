//! Who a registration belongs to, over real sockets: many sessions of one client at once, clients
//! that come back as strangers, names and ISIDs used again, hosts under one name, and target ports
//! that keep their identifiers while portals come and go.

mod support;

use std::net::Ipv4Addr;
use std::sync::Barrier;

use serde_json::Value;
use support::cluster::held;
use support::initiator::{Command, Initiator};
use support::login::{Login, initiator_name};
use support::reserve::{FullStatus, action, flag, kind, out_cdb, parameters};
use support::scsi::{pattern, sense};
use support::server::{Server, Setup, Volume, own_loopback_address};

const A: u64 = 0xaaaa;
const B: u64 = 0xbbbb;
const SESSIONS: u16 = 32;
const HOST_1: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const HOST_2: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

on_every_engine!(
    sessions_of_one_client_register_at_once,
    re_logins_with_new_isids_leave_nothing_behind,
    an_attention_waits_for_a_registered_node_through_any_churn,
    an_attention_is_not_lost_to_a_login_on_its_way,
    a_place_used_again_gives_no_rights,
    name_and_isid_make_the_registrant_and_nothing_else_does,
    a_session_that_dies_registers_itself_or_nobody,
    a_login_that_races_the_old_sessions_death_keeps_the_registration,
    two_hosts_under_one_name_are_reported,
    one_host_on_many_paths_is_not_reported,
    target_ports_keep_their_identifiers_when_portals_change,
);

/// Connections of one volume on all reactors.
fn spread(setup: Setup) -> Setup {
    setup.config("[tuning]\nconnections = \"spread\"\nshards = \"spread\"\n")
}

fn start(setup: Setup) -> (Server, Volume) {
    let server = spread(setup).start();
    let volume = server.create_small("shared");
    (server, volume)
}

/// `volume show --json`.
fn shown(server: &Server, volume: &Volume) -> Value {
    server.json(&["volume", "show", &volume.name])
}

fn count(shown: &Value, key: &str) -> u64 {
    shown[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {shown}"))
}

fn warnings(server: &Server, volume: &Volume) -> Vec<String> {
    let shown = shown(server, volume);
    let list = shown["warnings"].as_array().expect("a list of warnings");
    let text = |warning: &Value| warning.as_str().expect("a text").to_owned();
    list.iter().map(text).collect()
}

fn port_name(name: &str, isid: u16) -> String {
    format!("{},i,0x80000000{isid:04x}", initiator_name(name))
}

fn sessions_of_one_client_register_at_once(setup: Setup) {
    let (server, volume) = start(setup);
    let mut watcher = server.session(&volume, "watcher");
    let rounds = [
        (action::REGISTER, false),
        (action::REGISTER, true),
        (action::REGISTER_AND_IGNORE, false),
        (action::REGISTER_AND_IGNORE, true),
    ];
    for (round, (service_action, same_key)) in (1..).zip(rounds) {
        let key = |index: u16| 0x1000 + if same_key { 0 } else { u64::from(index) };
        let before = watcher.generation();
        let together = Barrier::new(usize::from(SESSIONS));
        std::thread::scope(|scope| {
            for index in 0..SESSIONS {
                let (login, together) = (server.login(&volume, "client").isid(index), &together);
                scope.spawn(move || {
                    let mut session = login.connect();
                    session.take_attentions();
                    together.wait();
                    session.reserve_out(service_action, 0, 0, key(index)).good();
                    // Who registered late must not have undone who registered early.
                    together.wait();
                    let own = port_name("client", index);
                    let mine = |status: &&FullStatus| status.initiator == own;
                    let all = session.read_full_status();
                    let mine: Vec<_> = all.iter().filter(mine).collect();
                    assert_eq!(mine.len(), 1, "{own} in {all:?}");
                    assert_eq!(mine[0].key, key(index));
                    together.wait();
                    session.logout();
                });
            }
        });
        assert_eq!(
            watcher.generation() - before,
            u32::from(SESSIONS),
            "round {round}: every registration counts once"
        );
        let mut ports: Vec<_> = watcher
            .read_full_status()
            .into_iter()
            .map(|status| status.initiator)
            .collect();
        ports.sort_unstable();
        let expected: Vec<_> = (0..SESSIONS)
            .map(|index| port_name("client", index))
            .collect();
        assert_eq!(ports, expected, "round {round}: none lost, none twice");
        watcher.register(0, B).good();
        watcher.clear(B).good();
        watcher.take_attentions();
    }
}

/// What newer fence_scsi does when it finds itself registered under another ISID.
fn come_back(session: &mut Initiator, key: u64) {
    session.register_and_ignore(key).good();
    session.preempt(kind::WE_RO, key, key).good();
    if !session.keys().contains(&key) {
        // Nobody held the reservation: the PREEMPT has removed every registration of the key.
        session.register_and_ignore(key).good();
        session.reserve(kind::WE_RO, key).good();
    }
}

/// Resident memory of the server, in bytes.
fn resident_bytes(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.process_id());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: u64 = number.and_then(|n| n.parse().ok()).expect("VmRSS in KiB");
    kibibytes << 10
}

fn re_logins_with_new_isids_leave_nothing_behind(setup: Setup) {
    const RETURNS: u16 = 1000;
    const SETTLED: u16 = 300;
    // What is exact is counted below. Resident memory moves by some MiB as buffers are touched for
    // the first time; sessions that stayed behind would be 20 MiB and more.
    const GROWTH_BYTES_MAX: u64 = 12 << 20;
    let (server, volume) = start(setup);
    let mut watcher = server.session(&volume, "watcher");
    let mut settled = (0, 0);
    for index in 0..RETURNS {
        let mut node = server.login(&volume, "node").isid(index).connect();
        node.take_attentions();
        come_back(&mut node, A);
        node.write_blocks(0, &pattern(1, 1)).good();
        if index % 2 == 0 {
            node.cut();
        } else {
            node.logout();
        }
        if index == SETTLED {
            let owed = count(&shown(&server, &volume), "owed_attentions");
            settled = (owed, resident_bytes(&server));
        }
    }
    let status = watcher.read_full_status();
    assert_eq!(status.len(), 1, "{status:?}");
    assert_eq!(status[0].initiator, port_name("node", RETURNS - 1));
    assert_eq!(watcher.read_reservation(), held(A, kind::WE_RO));
    let shown = shown(&server, &volume);
    assert_eq!(count(&shown, "nexuses"), 2, "the node and the watcher");
    assert_eq!(count(&shown, "owed_attentions"), settled.0);
    let grown = resident_bytes(&server).saturating_sub(settled.1);
    assert!(
        grown < GROWTH_BYTES_MAX,
        "{grown} bytes after {} more returns",
        RETURNS - SETTLED
    );
}

fn an_attention_waits_for_a_registered_node_through_any_churn(setup: Setup) {
    let (server, volume) = start(setup);
    let mut member = server.session(&volume, "member");
    member.register(0, B).good();
    member.logout();
    let mut holder = server.session(&volume, "holder");
    holder.register(0, A).good();
    holder.reserve(kind::WE_RO, A).good();
    holder.release(kind::WE_RO, A).good();
    // More strangers than are remembered, all told that their registration is gone.
    for index in 0..200 {
        let mut node = server.login(&volume, "node").isid(index).connect();
        node.take_attentions();
        come_back(&mut node, 0xc);
        node.logout();
    }
    let mut member = server.session_with_attentions(&volume, "member");
    assert!(member.1.contains(&sense::RESERVATIONS_RELEASED));
    member.0.register(B, 0).good();
}

fn an_attention_is_not_lost_to_a_login_on_its_way(setup: Setup) {
    let (server, volume) = start(setup);
    let mut holder = server.session(&volume, "holder");
    holder.register(0, A).good();
    for round in 0..50 {
        let mut victim = server.session(&volume, "victim");
        victim.register(0, B).good();
        victim.cut();
        let login = server.login(&volume, "victim");
        let together = Barrier::new(2);
        let mut victim = std::thread::scope(|scope| {
            let back = scope.spawn(|| {
                together.wait();
                login.connect()
            });
            together.wait();
            holder.preempt(kind::WE_RO, A, B).good();
            back.join().expect("the victim logs in")
        });
        // It may have been told in this session or, if that was only on its way, in none so far.
        let mut told = victim.take_attentions();
        for _ in 0..1000 {
            if told.contains(&sense::REGISTRATIONS_PREEMPTED) {
                break;
            }
            told.extend(victim.take_attentions());
        }
        assert!(
            told.contains(&sense::REGISTRATIONS_PREEMPTED),
            "round {round}: {told:02x?}"
        );
        victim.logout();
    }
}

fn a_place_used_again_gives_no_rights(setup: Setup) {
    let (server, volume) = start(setup);
    let mut holder = server.session(&volume, "holder");
    holder.register(0, A).good();
    holder.reserve(kind::WE_RO, A).good();
    for round in 0..20 {
        let name = format!("member-{round}");
        let mut member = server.session(&volume, &name);
        member.register(0, B).good();
        member.write_blocks(0, &pattern(1, 1)).good();
        match round % 3 {
            0 => drop(member.register(B, 0).good()),
            1 => drop(holder.preempt(kind::WE_RO, A, B).good()),
            _ => drop(holder.preempt_and_abort(kind::WE_RO, A, B).good()),
        }
        member.cut();
        let strangers: Vec<_> = (0..4)
            .map(|index| {
                let stranger = format!("stranger-{round}-{index}");
                let mut stranger = server.session(&volume, &stranger);
                stranger.write_blocks(0, &pattern(2, 1)).conflict();
                stranger.register(B, B).conflict();
                stranger
            })
            .collect();
        strangers.into_iter().for_each(Initiator::logout);
    }
    assert_eq!(holder.keys(), [A]);
}

fn name_and_isid_make_the_registrant_and_nothing_else_does(setup: Setup) {
    let (server, volume) = start(setup.listen(&["127.0.0.1:0", "127.0.0.1:0"]));
    let login = server.login(&volume, "node").isid(7);
    let mut node = login.connect();
    node.take_attentions();
    node.register(0, A).good();
    node.reserve(kind::EA, A).good();

    // Names compare case-insensitively: the same port, so its session is reinstated.
    let shouted = initiator_name("node").to_uppercase();
    let mut again = login.clone().named(&shouted).connect();
    assert!(
        again.take_attentions().contains(&(6, 0x29, 7)),
        "nexus loss"
    );
    assert!(node.is_closed_by_target());
    again.write_blocks(0, &pattern(1, 1)).good();
    assert_eq!(again.read_full_status().len(), 1);

    let others: [(&str, Login); 4] = [
        (
            "another name, the same ISID",
            server.login(&volume, "other").isid(7),
        ),
        (
            "the same name, another ISID",
            server.login(&volume, "node").isid(8),
        ),
        (
            "another target port",
            login.clone().portal(server.portals[1]),
        ),
        ("a longer name", server.login(&volume, "node2").isid(7)),
    ];
    for (what, login) in others {
        let mut other = login.connect();
        other.take_attentions();
        assert!(
            other.write_blocks(0, &pattern(2, 1)).is_conflict(),
            "{what}"
        );
        other.register(A, A).conflict();
        other.logout();
    }
    again.write_blocks(0, &pattern(3, 1)).good();
}

fn a_session_that_dies_registers_itself_or_nobody(setup: Setup) {
    const ROUNDS: u16 = 60;
    let (server, volume) = start(setup);
    let mut watcher = server.session(&volume, "watcher");
    for round in 0..ROUNDS {
        let key = 0x100 + u64::from(round);
        let mut dying = server.login(&volume, "dying").isid(round).connect();
        dying.take_attentions();
        let register = Command::write(
            &out_cdb(action::REGISTER_AND_IGNORE, 0, 24),
            &parameters(0, key, 0),
        );
        dying.submit(&register).expect("it is sent");
        dying.cut();
        // The next one is likely to get the dead session's place.
        let mut heir = server.login(&volume, "heir").isid(round).connect();
        heir.take_attentions();
        heir.register(key, key).conflict();
        heir.logout();
    }
    for status in watcher.read_full_status() {
        let round = u16::try_from(status.key - 0x100).expect("a key of ours");
        assert_eq!(status.initiator, port_name("dying", round));
    }
    // Each of the dead comes back to what is its own, and can take it away.
    for round in 0..ROUNDS {
        let mut back = server.login(&volume, "dying").isid(round).connect();
        back.take_attentions();
        back.register_and_ignore(0).good();
        back.logout();
    }
    assert!(watcher.keys().is_empty());
    watcher.take_attentions();
    assert_eq!(count(&shown(&server, &volume), "nexuses"), 1);
}

fn a_login_that_races_the_old_sessions_death_keeps_the_registration(setup: Setup) {
    let (server, volume) = start(setup);
    let login = server.login(&volume, "node");
    let mut node = login.connect();
    node.take_attentions();
    node.register(0, A).good();
    node.reserve(kind::EA, A).good();
    for round in 0..40 {
        let (together, stranger) = (Barrier::new(3), server.login(&volume, "other"));
        node = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                together.wait();
                let mut other = stranger.connect();
                other.take_attentions();
                other.write_blocks(0, &pattern(2, 1)).conflict();
                other.logout();
            });
            let back = scope.spawn(|| {
                together.wait();
                login.connect()
            });
            together.wait();
            node.cut();
            other.join().expect("a stranger stays one");
            back.join().expect("the node logs in")
        });
        node.take_attentions();
        assert!(
            node.write_blocks(0, &pattern(1, 1)).is_good(),
            "round {round}"
        );
        assert_eq!(node.keys(), [A]);
    }
}

fn two_hosts_under_one_name_are_reported(setup: Setup) {
    let (server, volume) = start(setup);
    let login = |host| server.login(&volume, "clone").from(host);
    let mut first = login(HOST_1).connect();
    assert!(warnings(&server, &volume).is_empty());

    let mut second = login(HOST_2).connect();
    assert!(first.is_closed_by_target(), "reinstatement");
    let told = warnings(&server, &volume);
    assert_eq!(told.len(), 1, "{told:?}");
    let moved = "test:clone from 127.0.0.1 was taken over by a login from 127.0.0.2";
    assert!(told[0].contains(moved), "{told:?}");

    let mut first = login(HOST_1).connect();
    assert!(second.is_closed_by_target());
    let told = warnings(&server, &volume);
    assert_eq!(told.len(), 1, "{told:?}");
    let shared = "test:clone is used from 127.0.0.1 and 127.0.0.2: two hosts share one initiator \
                  name; reservations cannot tell them apart (2 sessions taken over";
    assert!(told[0].contains(shared), "{told:?}");
    let listed = server.text(&["session", "list"]);
    assert!(
        listed.contains("\nwarning: name iqn.2024-01.test:clone"),
        "{listed}"
    );
    let volume_text = server.text(&["volume", "show", &volume.name]);
    assert!(volume_text.contains("two hosts share"), "{volume_text}");
    let sessions = server.json(&["session", "list"]);
    let warning = sessions[0]["warning"].as_str().unwrap_or_default();
    assert!(warning.contains(shared), "{sessions}");

    for _ in 0..10 {
        let second = login(HOST_2).connect();
        assert!(first.is_closed_by_target());
        first = login(HOST_1).connect();
        drop(second);
    }
    let told = warnings(&server, &volume);
    assert!(told[0].contains("(22 sessions taken over"), "{told:?}");
    let log = server.errors();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("a login from another address took"), 1, "{log}");
    assert_eq!(lines("two hosts share one initiator name and"), 1, "{log}");
}

fn one_host_on_many_paths_is_not_reported(setup: Setup) {
    let (server, volume) = start(setup.listen(&["127.0.0.1:0", "127.0.0.1:0"]));
    let login = |isid, host| server.login(&volume, "host").isid(isid).from(host);
    // Multi-path: an ISID for each path, or the same one through another target port.
    let mut paths = vec![
        login(1, HOST_1).connect(),
        login(2, HOST_2).connect(),
        login(1, HOST_2).portal(server.portals[1]).connect(),
    ];
    for path in &mut paths {
        path.take_attentions();
        path.read_blocks(0, 1).good();
    }
    // A path that comes back where it was, while its old session is still there.
    for _ in 0..3 {
        paths[0] = login(1, HOST_1).connect();
    }
    assert_eq!(server.session_count(&volume), 3);
    assert_eq!(warnings(&server, &volume), Vec::<String>::new());
}

/// The portal group tag that the target says in login (RFC 7143 section 13.9).
fn tag_of(session: &Initiator) -> Option<&str> {
    session.answer("TargetPortalGroupTag")
}

fn target_ports_keep_their_identifiers_when_portals_change(setup: Setup) {
    let [a, b, c] = [(); 3].map(|()| format!("{}:3260", own_loopback_address()));
    let setup = setup.listen(&[&a, &b]);
    let server = setup.start();
    let volume = server.create("kept", "64MiB");
    let through = |server: &Server, portal: &str| {
        let portal = portal.parse().expect("an address");
        let mut session = server.login(&volume, "node").portal(portal).connect();
        session.take_attentions();
        session
    };
    // Volumes in memory are empty after a restart; what is registered is not.
    let mut node = through(&server, &b);
    assert_eq!(tag_of(&node), Some("2"));
    node.register_with(0, A, flag::APTPL).good();
    node.reserve(kind::EA, A).good();
    let registered = node.read_full_status();
    assert_eq!(registered[0].port, 2);

    let mut setup = server.stop();
    for portals in [vec![&b], vec![&c, &b], vec![&b, &c, &a]] {
        let portals: Vec<&str> = portals.into_iter().map(String::as_str).collect();
        let server = setup.listen(&portals).start();
        let mut node = through(&server, &b);
        assert_eq!(tag_of(&node), Some("2"), "{portals:?}");
        assert_eq!(node.read_full_status(), registered, "{portals:?}");
        node.read_blocks(0, 1).good();
        for (portal, tag) in [(&a, "1"), (&c, "3")] {
            if portals.contains(&portal.as_str()) {
                let mut other = through(&server, portal);
                assert_eq!(tag_of(&other), Some(tag), "{portal} of {portals:?}");
                other.read_blocks(0, 1).conflict();
            }
        }
        setup = server.stop();
    }

    let taken = format!("[[portal]]\nlisten = \"{b}\"\n[[portal]]\nlisten = \"{c}\"\ntag = 2\n");
    let failure = setup
        .clone()
        .portals_configured(2)
        .config(&taken)
        .try_start()
        .expect_err("a tag of another portal");
    let expected = format!("portal {c} can't have tag 2: portal {b} has had it");
    assert!(failure.errors.contains(&expected), "{}", failure.errors);

    // The same target port at another address: the configuration says so.
    let moved = format!("[[portal]]\nlisten = \"{c}\"\ntag = 2\n");
    let server = setup.portals_configured(1).config(&moved).start();
    let mut node = through(&server, &c);
    assert_eq!(tag_of(&node), Some("2"));
    assert_eq!(node.read_full_status(), registered);
    node.read_blocks(0, 1).good();
}

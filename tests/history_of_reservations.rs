//! What an operator sees of reservations and may do: `holdfast reservation show`, `history`, `check`
//! and `clear`, judged by what initiators did and were told.

mod support;

use std::time::Duration;

use holdfast::base::clock::Instant;
use holdfast::base::limits::HISTORY_SAVE_INTERVAL;
use holdfast::reservation::Key;
use holdfast::reservation::history::{Event, Status};
use holdfast::target::TargetError;
use redb::ReadableTable;
use serde_json::Value;
use support::cluster::{A, B, C, Cluster};
use support::initiator::{Command, Initiator};
use support::login::initiator_name;
use support::reserve::{action, flag, kind, out_cdb, parameters};
use support::rig::{Rig, until};
use support::scsi::{pattern, sense, write16};
use support::server::{Server, Setup};

on_every_engine!(
    a_cluster_s_story_is_told_exactly,
    what_a_check_foretells_happens,
    a_node_is_removed_while_it_writes,
    nothing_is_cleared_without_a_word,
);

on_every_file_engine!(
    the_story_outlives_a_stop_and_a_kill,
    a_damaged_history_is_no_reason_not_to_serve,
);

const VOLUME: &str = "cluster";
/// RESERVE and RELEASE of SPC-2.
const RESERVE_6: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE_6: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

/// The history, one line for each entry.
fn story(server: &Server) -> Vec<String> {
    let history = server.json(&["reservation", "history", VOLUME, "--limit", "1000"]);
    let entries = history["entries"].as_array().expect("a list");
    entries.iter().map(line).collect()
}

/// `who: what (type) key>action-key: status xN [who lost what]`, as far as the entry has it.
fn line(entry: &Value) -> String {
    let mut line = match entry["by"]["who"].as_str().expect("somebody") {
        "initiator" => node(&entry["by"]),
        other => other.to_owned(),
    };
    line += &format!(": {}", entry["action"].as_str().expect("an action"));
    if let Some(byte) = entry["scope_and_type"].as_u64() {
        line += &format!(" ({byte})");
    }
    for (mark, key) in [(" ", "key"), (">", "action_key")] {
        if let Some(key) = entry[key].as_str() {
            line += &format!("{mark}{:x}", hex(key));
        }
    }
    line += &format!(": {}", entry["status"].as_str().expect("a status"));
    if entry["times"] != 1 {
        line += &format!(" x{}", entry["times"]);
    }
    for loss in entry["losses"].as_array().expect("a list") {
        line += &format!(" [{} {}]", node(loss), list(&loss["lost"]));
    }
    line
}

/// The last part of the initiator's name.
fn node(nexus: &Value) -> String {
    let name = nexus["initiator"].as_str().expect("a name");
    let (_, node) = name.rsplit_once(':').expect("a name of the test");
    node.to_owned()
}

fn list(values: &Value) -> String {
    let values = values.as_array().expect("a list");
    let values: Vec<_> = values
        .iter()
        .map(|value| value.as_str().expect("text"))
        .collect();
    values.join("+")
}

fn hex(key: &str) -> u64 {
    u64::from_str_radix(key.trim_start_matches("0x"), 16).expect("a key")
}

fn a_cluster_s_story_is_told_exactly(setup: Setup) {
    let Cluster {
        server,
        mut a,
        mut b,
        mut c,
        ..
    } = Cluster::new(&setup);
    assert!(story(&server).is_empty());
    c.none(&RESERVE_6).good();
    a.register(0, A).conflict();
    c.none(&RELEASE_6).good();
    a.register(0, A).good();
    b.register(0, B).good();
    for _ in 0..3 {
        c.clear(C).conflict();
    }
    a.reserve(kind::WE_RO, A).good();
    for _ in 0..5 {
        b.reserve(kind::WE_RO, B).conflict();
        b.reserve(kind::EA, B).conflict();
    }
    let (key, asc, ascq) = sense::INVALID_RELEASE;
    a.release(kind::WE, A).check(key, asc, ascq);
    let (key, asc, ascq) = sense::PARAMETER_LIST_LENGTH;
    let short = parameters(A, 0, 0);
    a.write(&out_cdb(action::CLEAR, 0, 20), &short[..20])
        .check(key, asc, ascq);
    let (key, asc, ascq) = sense::INVALID_FIELD_IN_CDB;
    a.reserve_out(0x1f, 0, A, 0).check(key, asc, ascq);
    let (key, asc, ascq) = sense::INVALID_FIELD_IN_LIST;
    a.preempt(kind::WE_RO, A, 0).check(key, asc, ascq);
    b.preempt_and_abort(kind::EA_RO, B, A).good();
    a.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    b.register(B, 0).good();
    let expected = [
        "c: SPC-2 RESERVE: GOOD [a write+read] [b write+read]",
        "a: REGISTER: RESERVATION CONFLICT",
        "c: SPC-2 RELEASE: GOOD [c reservation]",
        "a: REGISTER 0>aaaa: GOOD",
        "b: REGISTER 0>bbbb: GOOD",
        "c: CLEAR cccc: RESERVATION CONFLICT x3",
        "a: RESERVE (5) aaaa: GOOD [c write]",
        "b: RESERVE (5) bbbb: RESERVATION CONFLICT x5",
        "b: RESERVE (3) bbbb: RESERVATION CONFLICT x5",
        "a: RELEASE (1) aaaa: CHECK CONDITION 5/26/04",
        "a: CLEAR: CHECK CONDITION 5/1A/00",
        "a: SERVICE ACTION 1Fh: CHECK CONDITION 5/24/00",
        "a: PREEMPT (5) aaaa>0: CHECK CONDITION 5/26/00",
        "b: PREEMPT AND ABORT (6) bbbb>aaaa: GOOD [a registration+reservation+write+read] [c read]",
        "b: REGISTER bbbb>0: GOOD [b registration+reservation]",
    ];
    assert_eq!(story(&server), expected);

    let history = server.json(&["reservation", "history", VOLUME, "--limit", "2"]);
    assert_eq!(history["left_out"], 13);
    let preempted = &history["entries"][0];
    assert_eq!(preempted["sequence"], 14);
    assert_eq!(preempted["generation"], 3);
    assert_eq!(preempted["by"]["isid"], "800000000001");
    assert_eq!(preempted["by"]["port"], 1);
    let address = b.local_addr().to_string();
    assert_eq!(preempted["by"]["address"], address.as_str());
    assert!(preempted["fence_us"].is_u64(), "{preempted}");
    let text = server.text(&["reservation", "history", VOLUME]);
    assert!(text.contains("PREEMPT AND ABORT (EXCLUSIVE ACCESS - REGISTRANTS ONLY): GOOD"));
}

/// What is under way is counted by a check, what was waited for and aborted by the history.
#[test]
fn commands_in_flight_and_aborted_are_counted() {
    let server = Setup::default().start();
    let volume = [
        "volume",
        "create",
        VOLUME,
        "--size",
        "64MiB",
        "--backend",
        "ram",
    ];
    server.text(&[&volume[..], &["--delay", "900ms"]].concat());
    let volume = server.volume(VOLUME);
    let mut a = server.session(&volume, "a");
    let solicited = server.login(&volume, "b").key("InitialR2T", "Yes");
    let mut b = solicited.key("ImmediateData", "No").connect();
    b.take_attentions();
    let mut c = server.session(&volume, "c");
    a.register(0, A).good();
    b.register(0, B).good();
    c.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    // b owes the data of its writes, which nobody waits for; c's write is at the backend, and the fence
    // waits for it. All of them are aborted, and have no status.
    let data = pattern(1, 1);
    let submit = |node: &mut Initiator, lba| {
        let write = Command::write(&write16(lba, 1), &data);
        node.submit(&write).expect("sent")
    };
    let waiting: Vec<u32> = (0..3).map(|lba| submit(&mut b, lba)).collect();
    let written = submit(&mut c, 9);
    let victim = format!("{B:#x}");
    let counts = |told: &Value| -> Vec<[u64; 3]> {
        let victims = told["victims"].as_array().expect("a list").iter();
        let number = |value: &Value| value.as_u64().expect("a number");
        victims
            .map(|one| ["commands", "awaiting_data", "writes"].map(|name| number(&one[name])))
            .collect()
    };
    loop {
        let told = server.json(&["reservation", "check", VOLUME, "--preempt", &victim]);
        if counts(&told) == [[3, 3, 0], [1, 0, 1]] {
            break;
        }
    }
    a.preempt_and_abort(kind::WE_RO, A, B).good();
    let history = server.json(&["reservation", "history", VOLUME, "--limit", "1"]);
    let entry = &history["entries"][0];
    assert!(entry["fence_us"].as_u64() > Some(0), "{entry}");
    assert_eq!(entry["aborted"], 4, "{entry}");
    waiting.into_iter().for_each(|write| b.forget(write));
    c.forget(written);
}

/// Registrations as `show` lists them, without what a check can't know.
fn registrations(view: &Value) -> Vec<Value> {
    let mut list = view["registrations"].as_array().expect("a list").clone();
    for entry in &mut list {
        let entry = entry.as_object_mut().expect("an object");
        entry.remove("since_ms");
    }
    list
}

fn what_a_check_foretells_happens(setup: Setup) {
    let Cluster {
        server,
        mut a,
        mut b,
        mut c,
        ..
    } = Cluster::new(&setup);
    // b and c share a key here and there; `c` never registers in the last round.
    for keys in [[A, B, C], [A, B, B], [A, B, 0]] {
        for held in kind::ALL {
            for victim in [A, B, C, 0] {
                for asked in [kind::WE, kind::EA_RO] {
                    for (node, key) in [&mut a, &mut b, &mut c].into_iter().zip(keys) {
                        if key != 0 {
                            node.register_and_ignore(key).good();
                        }
                    }
                    b.reserve(held, B).good();
                    compare(&server, [&mut a, &mut b, &mut c], victim, asked);
                    // Whoever is left, and cleared by whoever may.
                    a.register_and_ignore(A).good();
                    a.clear(A).good();
                    for node in [&mut a, &mut b, &mut c] {
                        node.take_attentions();
                    }
                }
            }
        }
    }
}

/// `a`'s PREEMPT of `victim`, foretold and done.
fn compare(server: &Server, [a, b, c]: [&mut Initiator; 3], victim: u64, asked: u8) {
    let show = || {
        let mut shown = server.json(&["reservation", "show", VOLUME]);
        shown["now_ms"] = 0.into();
        shown
    };
    let case = format!("{victim:#x} by type {asked} from {}", show());
    let before = show();
    let key = format!("{victim:#x}");
    let (name, asked_text) = (initiator_name("a"), asked.to_string());
    let output = server.command(&[
        "reservation",
        "check",
        VOLUME,
        "--preempt",
        &key,
        "--as",
        &name,
        "--type",
        &asked_text,
        "--json",
    ]);
    assert_eq!(show(), before, "a check changes nothing: {case}");
    let outcome = a.preempt(asked, A, victim);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("expected one of 0x"), "{errors}");
        return outcome.conflict();
    }
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    if outcome.is_good() {
        assert_eq!(told["status"], "GOOD", "{case}");
    } else {
        let status = if outcome.is_conflict() {
            "RESERVATION CONFLICT".to_owned()
        } else {
            let (key, asc, ascq) = outcome.sense_code();
            format!("CHECK CONDITION {key:X}/{asc:02X}/{ascq:02X}")
        };
        assert_eq!(told["status"], status.as_str(), "{case}");
        assert_eq!(show(), before, "{case}");
        return;
    }
    let (after, foretold) = (show(), &told["after"]);
    for same in ["type_code", "generation", "aptpl", "scope"] {
        assert_eq!(foretold[same], after[same], "{same}: {case}");
    }
    assert_eq!(registrations(foretold), registrations(&after), "{case}");
    let history = server.json(&["reservation", "history", VOLUME, "--limit", "1"]);
    let lost = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|loss| format!("{} {}", node(loss), list_of(loss)))
            .collect()
    };
    assert_eq!(
        lost(&told["victims"]),
        lost(&history["entries"][0]["losses"]),
        "{case}"
    );
    for (name, session) in [("a", a), ("b", b), ("c", c)] {
        let attentions = told["attentions"].as_array().expect("a list").iter();
        let expected: Vec<_> = attentions
            .filter(|told| node(told) == name)
            .map(|told| told["sense"].as_str().expect("text").to_owned())
            .collect();
        let found: Vec<_> = session
            .take_attentions()
            .iter()
            .map(|(_, asc, ascq)| format!("{asc:02X}/{ascq:02X}"))
            .collect();
        assert_eq!(found, expected, "{name}: {case}");
    }
}

fn list_of(loss: &Value) -> String {
    list(&loss["lost"])
}

/// The node writes on and on; once the operator's command has returned, nothing of it comes any more.
fn a_node_is_removed_while_it_writes(mut setup: Setup) {
    setup.backend = "ram";
    let server = setup.start();
    let create = [
        "volume",
        "create",
        VOLUME,
        "--size",
        "64MiB",
        "--backend",
        "ram",
    ];
    server.text(&[&create[..], &["--delay", "5ms"]].concat());
    let volume = server.volume(VOLUME);
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    a.register(0, A).good();
    b.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    let (first_write, has_written) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        for stamp in 1_u64.. {
            // Several at a time, so that there is always one at the backend.
            let data = pattern(stamp, 1);
            let sent: Vec<_> = (0..8)
                .map(|lba| {
                    b.submit(&Command::write(&write16(lba, 1), &data))
                        .expect("sent")
                })
                .collect();
            let done: Vec<_> = sent
                .into_iter()
                .map(|itt| b.complete(itt).expect("answered"))
                .collect();
            let _ = first_write.send(());
            if let Some(refused) = done.into_iter().find(|outcome| !outcome.is_good()) {
                return (b, refused);
            }
        }
        unreachable!("it writes until it is stopped");
    });
    has_written.recv().expect("it writes");
    let key = format!("{B:#x}");
    let clear = ["reservation", "clear", VOLUME];
    let cleared = server.text(&[&clear[..], &["--key", &key, "--yes"]].concat());
    let left = a.read_blocks(0, 8).good();
    assert!(cleared.contains("registration, write"), "{cleared}");
    let (mut b, refused) = writer.join().expect("the writer ends");
    // A conflict, or the unit attention that says why, whichever came first.
    if !refused.is_conflict() {
        assert_eq!(refused.sense_code(), sense::REGISTRATIONS_PREEMPTED);
    }
    b.take_attentions();
    b.write_blocks(0, &pattern(77, 1)).conflict();
    assert!(
        a.read_blocks(0, 8).good() == left,
        "nothing came after the clear"
    );
    assert_eq!(a.keys(), [A]);
    a.expect_no_attention();

    server.text(&[&clear[..], &["--yes"]].concat());
    a.expect_attention(sense::RESERVATIONS_PREEMPTED);
    b.expect_no_attention();
    assert_eq!((a.keys(), a.read_reservation()), (vec![], None));
    b.write_blocks(0, &pattern(78, 1)).good();
    let told = story(&server);
    assert_eq!(
        told[told.len() - 2..],
        [
            "operator: OPERATOR REMOVE KEY>bbbb: GOOD [b registration+write]",
            "operator: OPERATOR CLEAR: GOOD [a registration+reservation]"
        ]
    );
    let history = server.json(&["reservation", "history", VOLUME, "--limit", "1"]);
    let own = std::fs::metadata("/proc/self").expect("this process");
    let uid = std::os::unix::fs::MetadataExt::uid(&own);
    assert_eq!(history["entries"][0]["by"]["uid"], uid);
    assert!(history["entries"][0]["by"]["pid"].is_u64());
    let log = server.errors();
    assert!(
        log.contains("an operator has removed registrations"),
        "{log}"
    );
}

fn nothing_is_cleared_without_a_word(setup: Setup) {
    let Cluster {
        server, mut a, b, ..
    } = Cluster::registered(&setup);
    a.reserve(kind::EA, A).good();
    b.logout();
    let told = |arguments: &[&str]| {
        let output = server.command(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    };
    let (code, errors) = told(&["reservation", "clear", VOLUME]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(
        errors.contains("no terminal") && errors.contains("--yes"),
        "{errors}"
    );
    let (code, errors) = told(&["reservation", "clear", VOLUME, "--key", "0x77", "--yes"]);
    assert_eq!(code, Some(1), "{errors}");
    let listed = "0x000000000000aaaa, 0x000000000000bbbb, 0x000000000000cccc";
    assert!(errors.contains(listed), "{errors}");
    let (_, errors) = told(&["reservation", "check", VOLUME, "--preempt", "bbbb"]);
    assert!(errors.contains("such as 0x123abc"), "{errors}");
    let (_, errors) = told(&["reservation", "history", "nowhere"]);
    assert!(errors.contains("volume nowhere does not exist"), "{errors}");
    let mut keys = a.keys();
    keys.sort_unstable();
    assert_eq!(keys, [A, B, C]);
    a.expect_no_attention();

    let shown = server.json(&["reservation", "show", VOLUME]);
    let of = |name: &str| {
        let list = shown["registrations"].as_array().expect("a list");
        let found = list.iter().find(|own| node(own) == name);
        found.unwrap_or_else(|| panic!("{name} in {shown}")).clone()
    };
    let address = a.local_addr().to_string();
    assert_eq!(of("a")["addresses"], serde_json::json!([address]));
    assert_eq!(of("b")["addresses"], serde_json::json!([]));
    assert!(
        server
            .text(&["reservation", "show", VOLUME])
            .contains("not logged in")
    );
}

/// Neither a command nor an operator gets a node out whose write hangs; that is told, and seen while it
/// lasts.
#[test]
fn a_fence_that_hangs_is_told() {
    const TIMED_OUT: (u8, u8, u8) = (0x04, 0x3e, 0x02);
    let rig = Rig::start(&Setup::default(), Duration::from_secs(2));
    let volume = rig.volumes[0].id;
    let (mut a, mut b) = (rig.session("a"), rig.session("b"));
    a.register(0, A).good();
    b.register(0, B).good();
    a.reserve(kind::WE_RO, A).good();
    rig.gate().close();
    let write = Command::write(&write16(0, 1), &pattern(1, 1));
    let write = b.submit(&write).expect("sent");
    rig.gate().wait_for(1);
    let (key, asc, ascq) = TIMED_OUT;
    a.preempt(kind::WE_RO, A, B).check(key, asc, ascq);
    let clear = || rig.target.clear_reservation(volume, Some(Key(B)), None);
    std::thread::scope(|scope| {
        let operator = scope.spawn(clear);
        until("the change is shown as being under way", || {
            rig.target.reservation(volume).expect("an answer").changing
        });
        let failed = operator.join().expect("no panic");
        let timed_out = Status::CheckCondition(key, asc, ascq);
        assert!(
            matches!(&failed, Err(TargetError::Reservations(status)) if *status == timed_out),
            "{failed:?}"
        );
    });
    assert_eq!(a.keys(), [A, B]);
    rig.gate().open();
    b.complete(write).expect("answered").good();
    b.expect_no_attention();
    let cleared = clear().expect("it works now").expect("there is something");
    assert_eq!(cleared.after.registrations().len(), 1);
    b.expect_attention(sense::REGISTRATIONS_PREEMPTED);
    let history = rig
        .target
        .reservation_history(volume)
        .expect("an answer")
        .entries;
    let [.., preempt, failed, done] = &history[..] else {
        panic!("three at least: {history:?}");
    };
    for entry in [preempt, failed] {
        assert_eq!(entry.status, Status::CheckCondition(key, asc, ascq));
        assert!(entry.fence_us >= Some(1_000_000), "{entry:?}");
        assert!(entry.losses.is_empty() && !entry.effect, "{entry:?}");
        assert_eq!(entry.generation, 2, "a command that fails changes nothing");
    }
    assert_eq!(failed.event, Event::Removed(Key(B)));
    assert_eq!((done.event, done.status), (failed.event, Status::Good));
    assert_eq!((done.generation, done.losses.len()), (3, 1));
}

/// An SPC-2 reservation that nobody released ends all the same, and the history says why.
#[test]
fn the_ends_of_spc_2_reservations_are_told() {
    const LOGICAL_UNIT_RESET: u8 = 5;
    let Cluster {
        server,
        mut a,
        b: _b,
        mut c,
        ..
    } = Cluster::new(&Setup::default());
    a.none(&RESERVE_6).good();
    c.none(&RESERVE_6).conflict();
    c.write(&out_cdb(action::CLEAR, 0, 24), &parameters(C, 0, 0))
        .conflict();
    let shown = server.json(&["reservation", "show", VOLUME]);
    assert_eq!(node(&shown["spc2_holder"]), "a");
    c.manage(LOGICAL_UNIT_RESET, None);
    c.take_attentions();
    c.none(&RESERVE_6).good();
    c.logout();
    a.take_attentions();
    a.none(&RESERVE_6).good();
    let expected = [
        "a: SPC-2 RESERVE: GOOD [b write+read] [c write+read]",
        "c: SPC-2 RESERVE: RESERVATION CONFLICT",
        "c: CLEAR: RESERVATION CONFLICT",
        "target: SPC-2 RESERVATION ENDED BY RESET: GOOD [a reservation]",
        "c: SPC-2 RESERVE: GOOD [a write+read] [b write+read]",
        "target: SPC-2 RESERVATION ENDED WITH ITS SESSION: GOOD [c reservation]",
        "a: SPC-2 RESERVE: GOOD [b write+read]",
    ];
    assert_eq!(story(&server), expected);
}

/// What is saved with the reservations is exact after a kill; a clean stop loses nothing.
fn the_story_outlives_a_stop_and_a_kill(setup: Setup) {
    let Cluster {
        server,
        volume,
        mut a,
        mut b,
        mut c,
    } = Cluster::new(&setup);
    a.register_with(0, A, flag::APTPL).good();
    for _ in 0..4 {
        c.clear(C).conflict();
    }
    b.register_with(0, B, flag::APTPL).good();
    a.reserve(kind::WE_RO, A).good();
    b.preempt(kind::WE_RO, B, A).good();
    let ages = |server: &Server| {
        let shown = server.json(&["reservation", "show", VOLUME]);
        let number = |value: &Value| value.as_u64().expect("it is known");
        let registered = number(&shown["registrations"][0]["since_ms"]);
        (number(&shown["since_ms"]), registered)
    };
    let young = ages(&server);
    assert!(young.1 <= young.0, "{young:?}");
    let saved = [
        "a: REGISTER 0>aaaa: GOOD",
        "c: CLEAR cccc: RESERVATION CONFLICT x4",
        "b: REGISTER 0>bbbb: GOOD",
        "a: RESERVE (5) aaaa: GOOD [c write]",
    ];
    let last = "b: PREEMPT (5) bbbb>aaaa: GOOD [a registration+reservation+write]";
    assert_eq!(story(&server), [&saved[..], &[last]].concat());

    let server = server.kill().start();
    let mut told = story(&server);
    assert_eq!(told.pop().as_deref(), Some("target: RESTART: GOOD"));
    // Whether the answer of the last one was saved is a matter of time.
    let end = told.pop().expect("the PREEMPT");
    assert!(
        [last.to_owned(), last.replace("GOOD", "unfinished")].contains(&end),
        "{end}"
    );
    assert_eq!(told, saved);
    assert_eq!(
        ages(&server),
        young,
        "the ages are those from before the kill"
    );
    let mut b = server.session(&volume, "b");
    b.release(kind::WE_RO, B).good();
    b.register_with(B, B, 0).good();
    b.reserve(kind::EA, B).good();
    b.reserve(kind::WE, B).conflict();
    let before = story(&server);
    let server = server.stop().start();
    let mut after = story(&server);
    assert_eq!(after.pop().as_deref(), Some("target: RESTART: GOOD"));
    assert_eq!(after, before, "a stop loses nothing");
    let last = server.json(&["reservation", "history", VOLUME, "--limit", "1"]);
    // The last accepted APTPL of zero took registrations and reservation with it.
    assert_eq!(last["entries"][0]["count"], 0);
    assert!(last["entries"][0]["type"].is_null());
}

/// Nobody waits for a disk because of the history, and nobody can make it write.
#[test]
fn refusals_write_nothing_by_themselves() {
    let setup = Setup::new(support::server::Engine::Mio, 1, "file");
    let Cluster {
        server,
        mut a,
        mut b,
        ..
    } = Cluster::new(&setup);
    let began = Instant::now();
    a.register_with(0, A, flag::APTPL).good();
    let store = || std::fs::read(setup.data().join("catalogue.redb")).expect("the store");
    let before = store();
    for key in 0..500 {
        b.clear(key).conflict();
    }
    let after = store();
    // What has waited for the interval is saved for that reason.
    if Instant::now().since(began) < HISTORY_SAVE_INTERVAL - Duration::from_secs(1) {
        assert!(before == after, "500 refusals have been written");
    }
    let told = story(&server);
    assert_eq!(told.len(), 1 + 64, "refusals have a quarter of the history");
    assert_eq!(told[0], "a: REGISTER 0>aaaa: GOOD");
}

const HISTORY: redb::TableDefinition<'_, (u128, u64), &[u8]> =
    redb::TableDefinition::new("reservation_history");

fn a_damaged_history_is_no_reason_not_to_serve(setup: Setup) {
    let Cluster {
        server,
        mut a,
        b: _b,
        c: _c,
        ..
    } = Cluster::new(&setup);
    a.register_with(0, A, flag::APTPL).good();
    a.reserve(kind::EA, A).good();
    let setup = server.stop();
    let store = redb::Database::open(setup.data().join("catalogue.redb")).expect("the store");
    let change = store.begin_write().expect("a transaction");
    {
        let mut table = change.open_table(HISTORY).expect("the history");
        let places: Vec<_> = table
            .iter()
            .expect("its entries")
            .map(|entry| entry.expect("an entry").0.value())
            .collect();
        assert_eq!(places.len(), 2);
        table.insert(places[0], &b"nonsense"[..]).expect("damage");
    }
    change.commit().expect("it is written");
    drop(store);
    let server = setup.start();
    let expected = [
        "a: RESERVE (3) aaaa: GOOD [b write+read] [c write+read]",
        "target: ENTRIES LOST: GOOD",
        "target: RESTART: GOOD",
    ];
    assert_eq!(story(&server), expected);
    let shown = server.json(&["reservation", "show", VOLUME]);
    assert_eq!(shown["type_code"], 3);
    assert_eq!(shown["registrations"][0]["key"], "0x000000000000aaaa");
    // The note has taken the place of what it tells of, for good.
    let server = server.stop().start();
    let told = story(&server);
    assert_eq!(told[..2], expected[..2]);
    assert!(told[2].starts_with("target: RESTART: GOOD"), "{told:?}");
}

/// Sessions that share a registration are told of as one client, but who sent a command by its own name.
#[test]
fn a_client_s_sessions_are_shown_together() {
    let server = Setup::default().start();
    let create = [
        "volume",
        "create",
        VOLUME,
        "--size",
        "64MiB",
        "--backend",
        "ram",
    ];
    server.text(&[&create[..], &["--reservation-scope", "client"]].concat());
    let volume = server.volume(VOLUME);
    let session = |name: &str, isid| {
        let mut session = server.login(&volume, name).isid(isid).connect();
        session.take_attentions();
        session
    };
    let (mut one, mut two, mut b) = (session("a", 1), session("a", 2), session("b", 1));
    one.register(0, A).good();
    two.reserve(kind::WE_RO, A).good();
    b.register(0, B).good();
    let shown = server.json(&["reservation", "show", VOLUME]);
    let client = &shown["registrations"][0];
    assert_eq!(
        (client["isid"].as_str(), client["port"].as_u64()),
        (Some("any"), Some(0))
    );
    let mut hosts = [&one, &two].map(|session| session.local_addr().to_string());
    hosts.sort_unstable();
    let mut told: Vec<_> = client["addresses"].as_array().expect("a list").clone();
    told.sort_unstable_by_key(ToString::to_string);
    assert_eq!(told, hosts);
    let history = server.json(&["reservation", "history", VOLUME]);
    let isids = history["entries"].as_array().expect("a list").iter();
    let isids: Vec<_> = isids.map(|entry| entry["by"]["isid"].as_str()).collect();
    assert_eq!(
        isids,
        [
            Some("800000000001"),
            Some("800000000002"),
            Some("800000000001")
        ]
    );
    let key = format!("{A:#x}");
    let told = server.json(&["reservation", "check", VOLUME, "--preempt", &key]);
    assert_eq!(
        (node(&told["by"]), told["status"].as_str()),
        ("b".to_owned(), Some("GOOD"))
    );
    let victims = told["victims"].as_array().expect("a list");
    assert_eq!((victims.len(), node(&victims[0])), (1, "a".to_owned()));
    assert_eq!(list(&victims[0]["lost"]), "registration+reservation+write");
}

//! `holdfast upgrade`: a new process takes the server's place under the feet of its initiators. They see a
//! pause; where the new process fails, nothing else than that.

#![allow(
    clippy::disallowed_methods,
    reason = "pauses are measured in real time"
)]
#![allow(
    clippy::unwrap_used,
    reason = "what can't be had is the test's failure"
)]

#[path = "upgrade/along.rs"]
mod along;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast::control::succession::Heir;
use serde_json::Value;
use support::initiator::{Command, Initiator};
use support::pdu::Pdu;
use support::reserve::{Reservation, action, kind, out_cdb, parameters};
use support::rig::until;
use support::scsi::{BLOCK, pattern, read16, test_unit_ready, write16};
use support::server::{Engine, Server, Setup, Volume, holdfast};

on_every_file_engine!(
    sessions_go_on_through_several_upgrades,
    commands_at_the_moment_of_the_cut_are_carried_out,
    a_write_goes_on_in_the_middle_of_its_data,
    reservations_and_attentions_go_along,
    whoever_fails_to_take_over_leaves_all_as_it_was,
    verified_load_runs_through_an_upgrade
);

const KEY_A: u64 = 0xa1;
const KEY_B: u64 = 0xb2;
const KEY_D: u64 = 0xd4;

/// Whatever the initiator's side notices of an upgrade beyond a pause is in here.
fn assert_undisturbed(session: &Initiator) {
    assert!(session.asyncs.is_empty(), "{:?}", session.asyncs);
}

/// A program that calls the server's binary with other arguments, made by `sed`.
fn program(directory: &Path, name: &str, script: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// What `holdfast upgrade` says where nothing comes of it.
fn refused(server: &Server, arguments: &[&str]) -> String {
    refused_at(server.control(), arguments)
}

fn refused_at(control: &Path, arguments: &[&str]) -> String {
    let output = holdfast(&[&["upgrade", "--control", text(control)], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sessions_go_on_through_several_upgrades(setup: Setup) {
    let mut server = setup.start();
    let volumes = [server.create_small("one"), server.create_small("two")];
    let mut sessions = [
        server.session(&volumes[0], "a"),
        server
            .login(&volumes[0], "b")
            .digests("CRC32C", "CRC32C")
            .connect(),
        server
            .login(&volumes[1], "c")
            .digests("CRC32C", "None")
            .connect(),
    ];
    let handles = sessions.each_ref().map(|session| session.tsih);
    sessions
        .iter_mut()
        .for_each(|session| drop(session.take_attentions()));
    let directory = tempfile::tempdir().unwrap();
    // Another engine, and another number of reactors.
    let other = program(
        directory.path(),
        "other",
        &format!(
            "exec {} $(echo \"$@\" | sed 's/--reactors [0-9]*/--reactors 2/; s/--engine [a-z]*/--engine mio/')",
            env!("CARGO_BIN_EXE_holdfast")
        ),
    );
    let mut written = Vec::new();
    for round in 0..4_u64 {
        for (lba, session) in (round * 1000..).step_by(300).zip(&mut sessions) {
            let data = pattern(lba, 300);
            session.write_blocks(lba, &data).good();
            written.push((lba, data));
        }
        let told = match round {
            1 => server.upgrade(&["--binary", text(&other)]),
            _ => server.upgrade(&[]),
        };
        assert_eq!(told["sessions"], 3, "{told}");
        for (position, (lba, data)) in written.iter().enumerate() {
            let session = &mut sessions[position % 3];
            assert!(
                session.read_blocks(*lba, 300).good() == *data,
                "round {round}"
            );
        }
        for (session, tsih) in sessions.iter_mut().zip(handles) {
            session.expect_no_attention();
            assert_eq!(session.ping(b"still there").unwrap(), b"still there");
            assert_undisturbed(session);
            assert_eq!(session.tsih, tsih);
        }
        assert_eq!(
            server.json(&["server", "status"])["pid"],
            server.process_id()
        );
    }
    let listed = server.json(&["session", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    // Who comes now finds what was there before, portal included.
    let mut late = server.session(&volumes[0], "late");
    assert!(late.read_blocks(0, 300).good() == pattern(0, 300));
    sessions.into_iter().for_each(Initiator::logout);
    until("the sessions are gone", || {
        server.session_count(&volumes[1]) == 0
    });
    late.logout();
    let server = server.stop().start();
    let mut session = server.session(&volumes[0], "a");
    assert!(session.read_blocks(3000, 300).good() == pattern(3000, 300));
}

/// Writes and reads back without a break until told to stop; the longest that it waited for an answer.
fn keep_busy(
    session: &mut Initiator,
    first_lba: u64,
    rounds: &AtomicUsize,
    stop: &AtomicBool,
) -> Duration {
    const DEPTH: u64 = 16;
    const BLOCKS: usize = 24;
    let mut longest = Duration::ZERO;
    for round in 0_u64.. {
        let began = Instant::now();
        let data = |slot: u64| pattern(first_lba + slot * 1000 + round, BLOCKS);
        let lba = |slot: u64| first_lba + slot * BLOCKS as u64;
        let count = u32::try_from(BLOCKS).unwrap();
        let writes: Vec<_> = (0..DEPTH)
            .map(|slot| session.submit(&Command::write(&write16(lba(slot), count), &data(slot))))
            .collect();
        for tag in writes {
            session.complete(tag.unwrap()).unwrap().good();
        }
        let reads: Vec<_> = (0..DEPTH)
            .map(|slot| session.submit(&Command::read(&read16(lba(slot), count), BLOCKS * BLOCK)))
            .collect();
        for (slot, tag) in (0..).zip(reads) {
            let got = session.complete(tag.unwrap()).unwrap().good();
            assert!(got == data(slot), "round {round}, slot {slot}");
        }
        longest = longest.max(began.elapsed());
        rounds.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    longest
}

fn commands_at_the_moment_of_the_cut_are_carried_out(setup: Setup) {
    let mut server = setup.start();
    let plain = server.create_small("plain");
    server.text(&[
        "volume", "create", "slow", "--size", "64MiB", "--delay", "3ms",
    ]);
    let slow = server.volume("slow");
    let mut sessions = [
        server.session(&plain, "a"),
        server
            .login(&plain, "b")
            .digests("CRC32C", "CRC32C")
            .connect(),
        server.session(&slow, "a"),
        // Every write asks for its data by R2T.
        server
            .login(&slow, "b")
            .key("InitialR2T", "Yes")
            .key("ImmediateData", "No")
            .connect(),
    ];
    sessions
        .iter_mut()
        .for_each(|session| drop(session.take_attentions()));
    let (stop, rounds) = (
        AtomicBool::new(false),
        [(); 4].map(|()| AtomicUsize::new(0)),
    );
    let mut pauses = Vec::new();
    std::thread::scope(|scope| {
        let stop = &stop;
        let busy: Vec<_> = sessions
            .iter_mut()
            .zip(&rounds)
            .zip((0..).step_by(20_000))
            .map(|((session, rounds), lba)| {
                scope.spawn(move || keep_busy(session, lba, rounds, stop))
            })
            .collect();
        for _ in 0..3 {
            let before = rounds
                .each_ref()
                .map(|rounds| rounds.load(Ordering::Relaxed));
            until("all of them have gone on", || {
                let now = rounds
                    .each_ref()
                    .map(|rounds| rounds.load(Ordering::Relaxed));
                now.iter().zip(before).all(|(now, before)| *now > before)
            });
            let told = server.upgrade(&[]);
            pauses.push(Duration::from_micros(told["pause_us"].as_u64().unwrap()));
        }
        stop.store(true, Ordering::Relaxed);
        for thread in busy {
            let longest = thread.join().unwrap();
            println!("the longest round took {longest:?}");
        }
    });
    println!("the server's own pauses: {pauses:?}");
    sessions.iter().for_each(assert_undisturbed);
}

fn a_write_goes_on_in_the_middle_of_its_data(setup: Setup) {
    let mut server = setup.start();
    let volume = server.create_small("disk");
    let digests = [("None", "None"), ("CRC32C", "CRC32C")];
    for (number, (header, data)) in (0_u64..).zip(digests) {
        let login = server
            .login(&volume, "a")
            .isid(u16::try_from(number).unwrap());
        let login = login.digests(header, data).key("InitialR2T", "Yes");
        let mut session = login.key("ImmediateData", "No").connect();
        session.take_attentions();
        session.holds_r2ts = true;
        let (lba, wanted) = (number * 4096, pattern(77 + number, 512));
        let count = u32::try_from(wanted.len() / BLOCK).unwrap();
        let tag = session
            .submit(&Command::write(&write16(lba, count), &wanted))
            .unwrap();
        let r2t = loop {
            let pdu = session.receive().unwrap();
            if pdu.opcode() == support::pdu::opcode::R2T {
                break pdu;
            }
        };
        let length = r2t.u32_at(44) as usize;
        assert_eq!(length, wanted.len(), "one burst takes it all");
        // The bytes of all Data-Outs, to be cut anywhere.
        let chunk = session.negotiated.send_bytes.min(50_000);
        let pieces: Vec<_> = wanted.chunks(chunk).collect();
        let mut bytes = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            let pdu = Pdu::new(support::pdu::opcode::DATA_OUT)
                .with_flags(if last { support::pdu::FINAL } else { 0 })
                .with_itt(tag)
                .with_ttt(r2t.ttt())
                .with_u32(28, session.sequence.exp_stat_sn)
                .with_u32(36, u32::try_from(index).unwrap())
                .with_u32(40, u32::try_from(index * chunk).unwrap())
                .with_data(*piece);
            bytes.extend(pdu.to_bytes(session.negotiated.digests));
        }
        // In a header, behind it, in the data, in the last digest.
        let mut sent = 0;
        for cut in [20, 48, 50_010, 120_001, bytes.len() - 2] {
            send(&mut session, &bytes[sent..cut]);
            sent = cut;
            server.upgrade(&[]);
        }
        send(&mut session, &bytes[sent..]);
        session.complete(tag).unwrap().good();
        assert!(session.read_blocks(lba, 512).good() == wanted);
        assert_undisturbed(&session);
        // A command whose parameters the initiator keeps back runs, and can't be handed over.
        let list = parameters(0, KEY_A, 0);
        let length = u32::try_from(list.len()).unwrap();
        let cdb = out_cdb(action::REGISTER_AND_IGNORE, 0, length);
        let tag = session.submit(&Command::write(&cdb, &list)).unwrap();
        until("it is asked for them", || {
            session.serve().unwrap();
            session.has_held_r2ts()
        });
        let error = refused(&server, &["--patience", "50ms"]);
        assert!(error.contains("on volume disk has not ended"), "{error}");
        assert!(error.contains("code 5Fh"), "{error}");
        assert!(session.answer_held_r2t().unwrap());
        session.complete(tag).unwrap().good();
        assert_eq!(session.keys(), [KEY_A], "and nothing was lost by it");
        session.holds_r2ts = false;
        session.clear(KEY_A).good();
        session.logout();
    }
}

fn send(session: &mut Initiator, bytes: &[u8]) {
    use std::io::Write;
    session.stream.write_all(bytes).unwrap();
}

fn reservations_and_attentions_go_along(setup: Setup) {
    let mut server = setup.start();
    let volume = server.create_small("disk");
    let old = server.create_small("old");
    let names = ["a", "b", "c"];
    let [mut a, mut b, mut c] = names.map(|name| server.session(&volume, name));
    let mut d = server.session(&volume, "d");
    a.register(0, KEY_A).good();
    b.register(0, KEY_B).good();
    d.register(0, KEY_D).good();
    d.logout();
    a.reserve(kind::WE_RO, KEY_A).good();
    // B and D lose their registrations; B has not heard of it, and D is not there to hear.
    a.preempt(kind::WE_RO, KEY_A, KEY_B).good();
    a.preempt(kind::WE_RO, KEY_A, KEY_D).good();
    b.register_and_ignore(KEY_B).check(6, 0x2a, 5);
    b.register_and_ignore(KEY_B).good();
    a.preempt(kind::WE_RO, KEY_A, KEY_B).good();
    // Descriptor format sense data, for every nexus; the others have to be told.
    a.change_control(2, 0x04, 0x04);
    let generation = a.generation();
    let history = |server: &Server| server.json(&["reservation", "history", "disk"]);
    let before = history(&server);
    let mut holder = server.session(&old, "a");
    let mut other = server.session(&old, "b");
    holder.none(&[0x16, 0, 0, 0, 0, 0]).good();

    server.upgrade(&[]);

    assert_eq!(a.keys(), [KEY_A]);
    assert_eq!(a.generation(), generation);
    let held = Reservation {
        key: KEY_A,
        kind: kind::WE_RO,
    };
    assert_eq!(a.read_reservation(), Some(held));
    a.write_blocks(0, &pattern(1, 8)).good();
    let told = b.take_attentions_raw();
    assert!(
        told.contains(&(0x2a, 5)) && told.contains(&(0x2a, 1)),
        "{told:02x?}"
    );
    let told = c.take_attentions_raw();
    assert_eq!(told, [(0x2a, 1)]);
    c.write_blocks(0, &pattern(2, 8)).conflict();
    b.write_blocks(0, &pattern(2, 8)).conflict();
    assert!(a.read_blocks(0, 8).good() == pattern(1, 8));
    let mut d = server.login(&volume, "d").connect();
    let told = d.take_attentions_raw();
    assert!(told.contains(&(0x2a, 5)), "it was owed that: {told:02x?}");
    // The SPC-2 reservation holds, and ends with its session.
    other.write_blocks(0, &pattern(3, 8)).conflict();
    holder.write_blocks(0, &pattern(4, 8)).good();
    holder.logout();
    other.write_blocks(0, &pattern(5, 8)).good();
    // What happened is known, and nothing is told of a restart that there was not.
    let after = history(&server);
    let entries = |history: &Value| history["entries"].as_array().unwrap().clone();
    assert_eq!(entries(&after)[..entries(&before).len()], entries(&before));
    assert!(!after.to_string().contains("RESTART"), "{after}");
    // The next one works, too, and so does the fence.
    server.upgrade(&[]);
    a.release(kind::WE_RO, KEY_A).good();
    c.write_blocks(0, &pattern(6, 8)).good();
    assert_undisturbed(&a);
}

impl Initiator {
    /// Additional sense codes of the unit attentions that wait, whatever the format of the sense data.
    fn take_attentions_raw(&mut self) -> Vec<(u8, u8)> {
        let mut taken = Vec::new();
        for _ in 0..32 {
            let outcome = self.none(&test_unit_ready());
            if outcome.is_good() {
                return taken;
            }
            taken.push(match outcome.sense[0] & 0x7f {
                0x72 => (outcome.sense[2], outcome.sense[3]),
                _ => (outcome.sense[12], outcome.sense[13]),
            });
        }
        panic!("unit attentions never end: {taken:02x?}");
    }
}

fn whoever_fails_to_take_over_leaves_all_as_it_was(setup: Setup) {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = |more: &str| format!("[[portal]]\nlisten = \"127.0.0.1:0\"\n{more}");
    let setup = setup.config(&config("")).portals_configured(1);
    let mut server = setup.start();
    let volume = server.create_small("disk");
    let mut session = server.session(&volume, "a");
    session.register(0, KEY_A).good();
    let configuration = server.control().with_file_name("holdfast.toml");
    let check = |server: &Server, session: &mut Initiator, seed: u64| {
        let data = pattern(seed, 64);
        session.write_blocks(seed, &data).good();
        assert!(session.read_blocks(seed, 64).good() == data);
        assert_eq!(session.keys(), [KEY_A]);
        session.expect_no_attention();
        assert_undisturbed(session);
        let made = format!("made-{seed}");
        server.create_small(&made);
        server.session(&server.volume(&made), "b").logout();
    };

    let error = refused(&server, &["--binary", "/nowhere/holdfast"]);
    assert!(
        error.contains("/nowhere/holdfast can't be started: No such file"),
        "{error}"
    );
    let error = refused(&server, &["--binary", "/bin/false"]);
    assert!(
        error.contains("did not become ready: it is gone; it ended with exit status: 1"),
        "{error}"
    );
    let open = program(directory.path(), "open", "exec true");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = refused(&server, &["--binary", text(&open)]);
    assert!(
        error.contains("others may write to it (mode 0777)"),
        "{error}"
    );
    check(&server, &mut session, 1);

    // It reads its configuration before anybody is disturbed.
    std::fs::write(&configuration, "reactors = \"many\"").unwrap();
    for arguments in [&["--check"][..], &[]] {
        let error = refused(&server, arguments);
        assert!(error.contains("the new process refused"), "{error}");
        assert!(error.contains("holdfast.toml"), "{error}");
    }
    check(&server, &mut session, 2);

    // It finds out when everything has been handed over.
    let portal = format!("[[portal]]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    std::fs::write(&configuration, config(&portal)).unwrap();
    let error = refused(&server, &[]);
    assert!(error.contains("can't listen on 127.0.0.1"), "{error}");
    check(&server, &mut session, 3);

    // It dies with everything in its hands.
    std::fs::write(&configuration, config("")).unwrap();
    let own = std::env::current_exe().unwrap();
    let dying =
        "exec \"$OWN\" --exact an_heir_that_dies --ignored --nocapture".replace("$OWN", text(&own));
    let dying = program(directory.path(), "dying", &dying);
    let error = refused(&server, &["--binary", text(&dying)]);
    assert!(
        error.contains("did not take over: it is gone; it ended with signal: 6"),
        "{error}"
    );
    check(&server, &mut session, 4);

    let told = server.json(&["upgrade", "--check"]);
    assert_eq!(
        (&told["checked_only"], &told["pause_us"]),
        (&Value::Bool(true), &Value::Null)
    );
    check(&server, &mut session, 5);
    server.upgrade(&[]);
    check(&server, &mut session, 6);
}

#[test]
#[ignore = "another test runs it as the new program"]
fn an_heir_that_dies() {
    let heir = Heir::greet().expect("a predecessor greets");
    let _everything = heir.inherit().expect("it gives everything");
    std::process::abort();
}

#[test]
#[ignore = "another test runs it as the new program"]
fn an_heir_that_says_nothing() {
    let heir = Heir::greet().expect("a predecessor greets");
    let _everything = heir.inherit().expect("it gives everything");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_new_process_that_hangs_is_ended_and_the_old_one_goes_on() {
    let server = Setup::new(Engine::Mio, 2, "file").start();
    let volume = server.create_small("disk");
    let mut session = server.session(&volume, "a");
    let directory = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let hanging = format!(
        "echo $$ > {}/pid; exec {} --exact an_heir_that_says_nothing --ignored --nocapture",
        text(directory.path()),
        text(&own)
    );
    let hanging = program(directory.path(), "hanging", &hanging);
    std::thread::scope(|scope| {
        let (control, hanging) = (server.control(), &hanging);
        let told = scope.spawn(move || refused_at(control, &["--binary", text(hanging)]));
        // Some of these are in time, and one of them waits for the old process to go on.
        for round in 0.. {
            let data = pattern(round, 8);
            session.write_blocks(round, &data).good();
            assert!(session.read_blocks(round, 8).good() == data);
            if told.is_finished() {
                break;
            }
        }
        let error = told.join().unwrap();
        assert!(
            error.contains("did not take over: nothing was heard of it in time"),
            "{error}"
        );
    });
    assert_undisturbed(&session);
    let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(!process.exists(), "it has been ended, and waited for");
}

fn verified_load_runs_through_an_upgrade(setup: Setup) {
    let mut server = setup.start();
    let volume = server.create_small("disk");
    let url = format!("iscsi://{}/{}/0", server.portal(), volume.iqn);
    let mut sessions = 0;
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            holdfast(&[
                "bench",
                &url,
                "--rw",
                "randrw",
                "--verify",
                "--size",
                "32MiB",
                "--depth",
                "8",
                "--sessions",
                "4",
                "--time",
                "4s",
                "--json",
                "--cores",
                "any",
                "--yield",
            ])
        });
        until("the load has begun", || {
            sessions = server.session_count(&volume);
            sessions == 4
        });
        for _ in 0..3 {
            let told = server.upgrade(&[]);
            assert_eq!(told["sessions"], 4, "{told}");
            println!("the server's own pause: {} us", told["pause_us"]);
        }
        load.join().unwrap()
    });
    let errors = String::from_utf8_lossy(&report.stderr);
    assert!(report.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["error"], Value::Null);
    let job = &report["jobs"][0];
    assert_eq!(job["failures"], Value::Array(Vec::new()), "{job}");
    assert_eq!(job["wrong_blocks"], Value::Array(Vec::new()), "{job}");
    assert!(job["verified_blocks"].as_u64().unwrap() > 0, "{job}");
    let longest = report["total"]["both"]["latency_ns"]["max"]
        .as_u64()
        .unwrap();
    println!(
        "the longest that a command took: {:?}",
        Duration::from_nanos(longest)
    );
}

#[test]
fn volumes_in_memory_are_named_and_nobody_is_disturbed() {
    let server = Setup::new(Engine::Mio, 1, "ram").start();
    let volume = server.create_small("scratch");
    let mut session = server.session(&volume, "a");
    session.write_blocks(0, &pattern(1, 8)).good();
    let error = refused(&server, &[]);
    assert!(
        error.contains("the bytes of scratch are in this process's memory"),
        "{error}"
    );
    assert!(session.read_blocks(0, 8).good() == pattern(1, 8));
}

#[test]
fn an_erasure_is_waited_for_and_named() {
    let server = Setup::new(Engine::Mio, 1, "file").start();
    server.text(&[
        "volume", "create", "disk", "--size", "1GiB", "--delay", "500ms",
    ]);
    let volume: Volume = server.volume("disk");
    let mut session = server.session(&volume, "a");
    // SANITIZE, OVERWRITE, with IMMED: GOOD at once, and long at work.
    let list = [0x01, 0, 0, 4, 1, 2, 3, 4];
    let cdb = [0x48, 0x81, 0, 0, 0, 0, 0, 0, 8, 0];
    session.write(&cdb, &list).good();
    let error = refused(&server, &[]);
    assert!(error.contains("volume disk is being erased ("), "{error}");
    assert!(error.contains("nobody was disturbed"), "{error}");
    assert_eq!(session.none(&test_unit_ready()).sense_code(), (2, 4, 0x1b));
}

#[test]
fn systemd_is_told_who_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    systemd
        .set_read_timeout(Some(support::login::ANSWER_TIMEOUT))
        .unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = systemd.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec())
            .unwrap()
            .trim()
            .to_owned()
    };
    let setup = Setup::new(Engine::Mio, 1, "file").variable("NOTIFY_SOCKET", text(&path));
    let mut server = setup.start();
    assert_eq!(told(), "READY=1");
    for _ in 0..2 {
        server.upgrade(&[]);
        assert_eq!(told(), format!("MAINPID={}", server.process_id()));
    }
    server.stop();
    assert_eq!(told(), "STOPPING=1");
}

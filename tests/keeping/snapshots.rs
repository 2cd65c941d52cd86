//! Snapshots on real file systems, under load.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::places::{Place, content, fill, reflink_places, volume_files};
use crate::support::initiator::{Command, Initiator};
use crate::support::scsi::{BLOCK, write16};
use crate::support::server::{Engine, Server, Setup, Volume};

/// Blocks of a write that is cut into many pieces.
const LONG_BLOCKS: u32 = 8192;
const ROUNDS: usize = 8;

fn setups(place: &Place) -> Vec<Setup> {
    let spread = "[tuning]\nshards = \"spread\"\nshard_size = \"1MiB\"\n";
    let setups = [
        Setup::new(Engine::Uring, 3, "file").config(spread),
        Setup::new(Engine::Uring, 1, "file"),
        Setup::new(Engine::Mio, 2, "file"),
    ];
    setups
        .into_iter()
        .filter(Setup::is_possible)
        .map(|setup| setup.data_in(&place.path))
        .collect()
}

fn refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.command(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// What a snapshot's file holds from a block on.
fn held(view: &Value, lba: u64, blocks: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let path = view["path"].as_str().expect("a path");
    let mut bytes = vec![0; blocks as usize * BLOCK];
    let file = std::fs::File::open(path).expect("the snapshot's file");
    file.read_exact_at(&mut bytes, lba * BLOCK as u64)
        .expect("read");
    bytes
}

fn snapshot_files(setup: &Setup) -> Vec<String> {
    let mut files = volume_files(&setup.data());
    files.retain(|name| name.ends_with(".snap"));
    files
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

fn write_number(session: &mut Initiator, number: u64) {
    let mut block = vec![0; BLOCK];
    block[..8].copy_from_slice(&number.to_le_bytes());
    session.write_blocks(3, &block).good();
}

/// A writer counts on one volume and then on the other. Of one instant, the second is never ahead of the
/// first, and never more than one behind. Another writes ranges that are cut into pieces: they are never
/// mixed.
#[test]
fn snapshots_of_two_volumes_are_of_one_instant_and_tear_no_write() {
    for place in reflink_places() {
        for setup in setups(&place) {
            let server = setup.start();
            let (first, second) = (server.create_small("data"), server.create_small("log"));
            take_under_load(&server, &first, &second);
        }
    }
}

/// Has the writers stop when it is dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn take_under_load(server: &Server, first: &Volume, second: &Volume) {
    let stop = AtomicBool::new(false);
    let mut sessions = [first, second].map(|volume| server.session(volume, "counter"));
    let mut session = server.session(first, "filler");
    let stop_now = &stop;
    std::thread::scope(|scope| {
        // Also where a judgement fails: the writers are waited for.
        let stopping = Stopping(stop_now);
        let counting = scope.spawn(move || {
            let mut count = 0;
            while !stop_now.load(Ordering::Acquire) {
                count += 1;
                for session in &mut sessions {
                    write_number(session, count);
                }
            }
            count
        });
        let filling = scope.spawn(move || {
            let mut byte = 0_u8;
            while !stop_now.load(Ordering::Acquire) {
                byte = byte.wrapping_add(1);
                fill(&mut session, 64, LONG_BLOCKS, byte);
            }
        });
        let mut last = 0;
        for round in 0..ROUNDS {
            let name = format!("round-{round}");
            let taken = server.json(&["snapshot", "create", "data", "log", &name]);
            assert_eq!(taken[0]["set"], taken[1]["set"]);
            assert!(taken[0]["set"].is_string(), "{taken}");
            let [ahead, behind] = [&taken[0], &taken[1]].map(|view| number(&held(view, 3, 1)));
            assert!(
                ahead == behind || ahead == behind + 1,
                "{name}: {ahead} on the first volume, {behind} on the second"
            );
            assert!(
                ahead >= last,
                "{name}: what was acknowledged before is in it"
            );
            last = ahead;
            let range = held(&taken[0], 64, LONG_BLOCKS);
            let torn = range.iter().position(|byte| *byte != range[0]);
            assert_eq!(torn, None, "{name}: a write is torn");
        }
        drop(stopping);
        filling.join().expect("no write failed");
        assert!(
            counting.join().expect("no write failed") > last,
            "I/O goes on"
        );
        assert!(last > 0, "there was a load");
    });
}

#[test]
fn a_clone_is_there_at_once_and_goes_its_own_way() {
    for place in reflink_places() {
        let setup = Setup::new(Engine::Mio, 1, "file").data_in(&place.path);
        let server = setup.start();
        server.text(&[
            "volume",
            "create",
            "origin",
            "--size",
            "256MiB",
            "--group",
            "databases",
        ]);
        let origin = server.volume("origin");
        let mut session = server.session(&origin, "a");
        fill(&mut session, 0, LONG_BLOCKS, 1);
        session.register(0, 0xA1).good();
        session.reserve(5, 0xA1).good();
        server.text(&["snapshot", "create", "origin", "monday"]);
        fill(&mut session, 0, 8, 2);

        server.text(&[
            "volume",
            "create",
            "clone",
            "--from-snapshot",
            "origin@monday",
            "--size",
            "512MiB",
        ]);
        let shown = server.json(&["volume", "show", "clone"]);
        assert_eq!(
            (&shown["group"], &shown["size_bytes"]),
            (&"databases".into(), &(512_u64 << 20).into())
        );
        let clone = server.volume("clone");
        assert_ne!(clone.iqn, origin.iqn);
        let mut other = server.session(&clone, "b");
        assert_eq!(
            content(&mut other, 0, 8),
            vec![1; 8 * BLOCK],
            "as it was then"
        );
        assert!(
            server.json(&["reservation", "show", "clone"])["type"].is_null(),
            "no reservation came along"
        );
        fill(&mut other, 16, 8, 3);
        assert_eq!(
            content(&mut session, 16, 8),
            vec![1; 8 * BLOCK],
            "the origin does not change"
        );
        assert_eq!(content(&mut session, 0, 8), vec![2; 8 * BLOCK]);
        let last = (512 << 20) / BLOCK as u64 - 8;
        assert_eq!(
            content(&mut other, last, 8),
            vec![0; 8 * BLOCK],
            "zeros behind the snapshot"
        );

        // The snapshot can go, and the clone stays; all of it over a crash.
        server.text(&["snapshot", "delete", "origin@monday"]);
        other.logout();
        session.logout();
        let server = server.kill().start();
        assert_eq!(server.json(&["snapshot", "list"]), Value::Array(Vec::new()));
        let mut other = server.session(&server.volume("clone"), "b");
        assert_eq!(content(&mut other, 16, 8), vec![3; 8 * BLOCK]);
        let smaller = refused(&server, &["snapshot", "show", "origin@monday"]);
        assert!(
            smaller.contains("snapshot origin@monday does not exist"),
            "{smaller}"
        );
    }
}

#[test]
fn a_volume_goes_back_to_its_snapshot() {
    for place in reflink_places() {
        let setup = Setup::new(Engine::Mio, 2, "file").data_in(&place.path);
        let server = setup.start();
        let volume = server.create_small("db-1");
        let mut session = server.session(&volume, "a");
        fill(&mut session, 0, 64, 1);
        server.text(&["snapshot", "create", "db-1", "monday"]);
        fill(&mut session, 0, 64, 2);
        server.text(&["volume", "resize", "db-1", "--size", "128MiB"]);
        session.take_attentions();
        let end = (128 << 20) / BLOCK as u64 - 8;
        fill(&mut session, end, 8, 9);
        let revert = ["volume", "revert", "db-1", "--to", "monday"];
        let why = refused(&server, &revert);
        assert!(why.contains("volume db-1 is in use by 1 session"), "{why}");
        session.register(0, 0xA1).good();
        session.logout();
        let why = refused(&server, &revert);
        assert!(why.contains("0x00000000000000a1 of iqn."), "{why}");
        server.text(&["reservation", "clear", "db-1", "--yes"]);
        server.text(&revert);
        let mut session = server.session(&server.volume("db-1"), "a");
        assert_eq!(content(&mut session, 0, 64), vec![1; 64 * BLOCK]);
        assert_eq!(
            content(&mut session, end, 8),
            vec![0; 8 * BLOCK],
            "its size stays"
        );
        fill(&mut session, 0, 8, 4);
        server.text(&["volume", "revert", "db-1", "--to", "monday", "--force"]);
        assert!(session.is_closed_by_target());
        let mut session = server.session(&server.volume("db-1"), "a");
        assert_eq!(
            content(&mut session, 0, 64),
            vec![1; 64 * BLOCK],
            "the snapshot has not changed"
        );
        assert!(
            volume_files(&setup.data())
                .iter()
                .all(|name| !name.ends_with(".revert"))
        );
    }
}

/// Where files can't share blocks: the same machinery, by copying, while nobody is logged in.
#[test]
fn without_reflink_a_snapshot_is_a_copy_that_nobody_disturbs() {
    let setup = Setup::new(Engine::Mio, 2, "file").data_in(std::path::Path::new("/dev/shm"));
    let server = setup.start();
    let (first, second) = (server.create_small("data"), server.create_small("log"));
    let mut sessions = [&first, &second].map(|volume| server.session(volume, "a"));
    for (session, byte) in sessions.iter_mut().zip([1, 2]) {
        fill(session, 0, 64, byte);
    }
    let files = volume_files(&setup.data());
    let create = ["snapshot", "create", "data", "log", "monday"];
    let why = refused(&server, &create);
    assert!(
        why.contains("lies on tmpfs, where files can't share blocks (reflink)"),
        "{why}"
    );
    assert!(
        why.contains("expected XFS made with reflink=1") && why.contains("--copy"),
        "{why}"
    );
    let copy = [&create[..], &["--copy"]].concat();
    let why = refused(&server, &copy);
    assert!(why.contains("is in use by 1 session"), "{why}");
    assert_eq!(volume_files(&setup.data()), files, "all or nothing");
    assert_eq!(server.json(&["snapshot", "list"]), Value::Array(Vec::new()));
    // They were held and let go.
    for session in &mut sessions {
        fill(session, 8, 1, 5);
    }
    for session in sessions {
        session.logout();
    }
    server.text(&copy);
    let listed = server.json(&["snapshot", "list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let mut session = server.session(&first, "a");
    fill(&mut session, 0, 64, 7);
    session.logout();
    let why = refused(
        &server,
        &[
            "volume",
            "create",
            "clone",
            "--from-snapshot",
            "data@monday",
        ],
    );
    assert!(why.contains("tmpfs") && why.contains("--copy"), "{why}");
    assert_eq!(
        volume_files(&setup.data()).len(),
        files.len() + 2,
        "half a volume is none"
    );
    server.text(&[
        "volume",
        "create",
        "clone",
        "--from-snapshot",
        "data@monday",
        "--copy",
    ]);
    server.text(&["volume", "revert", "data", "--to", "monday", "--copy"]);
    for name in ["clone", "data"] {
        let mut session = server.session(&server.volume(name), "a");
        assert_eq!(content(&mut session, 0, 8), vec![1; 8 * BLOCK], "{name}");
        assert_eq!(content(&mut session, 8, 1), vec![5; BLOCK], "{name}");
        session.logout();
    }
}

#[test]
fn a_volume_with_snapshots_goes_with_them_or_not_at_all() {
    let setup = Setup::new(Engine::Mio, 1, "file").data_in(std::path::Path::new("/dev/shm"));
    let server = setup.start();
    let files = volume_files(&setup.data());
    server.text(&["group", "set", "default", "--retention", "1h"]);
    server.create_small("db-1");
    for name in ["monday", "tuesday"] {
        server.text(&["snapshot", "create", "db-1", name, "--copy"]);
    }
    let why = refused(&server, &["volume", "delete", "db-1"]);
    assert!(
        why.contains("volume db-1 still has 2 snapshots: monday, tuesday"),
        "{why}"
    );
    server.text(&["volume", "delete", "db-1", "--delete-snapshots"]);
    assert_eq!(server.json(&["snapshot", "list"]), Value::Array(Vec::new()));
    server.text(&["volume", "restore", "db-1"]);
    let listed = server.json(&["snapshot", "list", "db-1"]);
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(2),
        "they come back with it"
    );
    server.text(&["volume", "delete", "db-1", "--delete-snapshots", "--purge"]);
    assert_eq!(volume_files(&setup.data()), files);
}

#[test]
fn a_crash_in_the_middle_leaves_no_part_of_a_set() {
    let setup = Setup::new(Engine::Mio, 1, "file").data_in(std::path::Path::new("/dev/shm"));
    let mut server = setup.start();
    for name in ["data", "log"] {
        server.create_small(name);
        let mut session = server.session(&server.volume(name), "a");
        fill(&mut session, 0, LONG_BLOCKS, 1);
        session.logout();
    }
    let (mut found, mut whole) = ([0; 2], 0);
    for round in 0..6 {
        let name = format!("round-{round}");
        std::thread::scope(|scope| {
            let control = server.control().to_owned();
            let taking = scope.spawn({
                let name = name.clone();
                move || {
                    let control = control.to_str().expect("text").to_owned();
                    crate::support::server::holdfast(&[
                        "snapshot",
                        "create",
                        "data",
                        "log",
                        &name,
                        "--copy",
                        "--control",
                        &control,
                    ])
                }
            });
            // In the middle: the first file of the set is there, and then a little later each time.
            while !taking.is_finished() && snapshot_files(&setup).len() <= whole {
                std::thread::yield_now();
            }
            for _ in 0..round * 3 {
                std::thread::yield_now();
            }
            server.kill_now();
            taking.join().expect("the command ends");
        });
        server = setup.start();
        let listed = server.json(&["snapshot", "list"]);
        let of_round: Vec<_> = listed
            .as_array()
            .expect("a list")
            .iter()
            .filter(|view| view["name"] == name.as_str())
            .collect();
        assert!([0, 2].contains(&of_round.len()), "{of_round:?}");
        found[of_round.len() / 2] += 1;
        whole = listed.as_array().map_or(0, Vec::len);
        let files = snapshot_files(&setup);
        assert_eq!(
            files.len(),
            whole,
            "a file for each, and no other: {files:?}"
        );
    }
    eprintln!(
        "{} crashes left nothing, {} the whole set",
        found[0], found[1]
    );
}

/// An initiator that does not send the data of a long write holds no snapshot up for long, and itself
/// not at all.
#[test]
fn a_write_whose_data_does_not_come_lets_a_snapshot_fail_in_time() {
    let setup = Setup::new(Engine::Mio, 2, "file").data_in(std::path::Path::new("/dev/shm"));
    let server = setup.start();
    let volume = server.create_small("data");
    let (mut slow, mut other) = (
        server.session(&volume, "slow"),
        server.session(&volume, "other"),
    );
    let data = vec![7; LONG_BLOCKS as usize * BLOCK];
    slow.holds_r2ts = true;
    let command = Command::write(&write16(64, LONG_BLOCKS), &data);
    let itt = slow.submit(&command).expect("sent");
    // Its first piece is on the medium once data behind it is asked for.
    while slow.held_r2t_offset().is_none_or(|offset| offset < 1 << 20) {
        if !slow.answer_held_r2t().expect("sent") {
            slow.serve().expect("an R2T");
        }
    }
    let files = volume_files(&setup.data());
    let why = refused(&server, &["snapshot", "create", "data", "monday"]);
    assert!(
        why.contains("no snapshot was taken: writes of volume data"),
        "{why}"
    );
    assert!(
        why.contains("an initiator has not sent their data"),
        "{why}"
    );
    assert_eq!(volume_files(&setup.data()), files);
    // All go on, the slow one too.
    fill(&mut other, 0, 8, 1);
    slow.holds_r2ts = false;
    while slow.answer_held_r2t().expect("sent") {}
    slow.complete(itt).expect("an answer").good();
    assert_eq!(content(&mut slow, 64, LONG_BLOCKS), data);
}

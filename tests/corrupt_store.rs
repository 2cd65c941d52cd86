//! A catalogue that is damaged, unreadable, too new, gone or out of space: what can't be believed is
//! not served, everything else goes on, and `holdfast repair` leads back. Never does a volume come up
//! as if nobody had reserved it.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use redb::ReadableTable;
use serde_json::Value;
use support::initiator::Initiator;
use support::reserve::{action, flag, kind, parameters};
use support::scsi::pattern;
use support::server::{Engine, Server, Setup, StartFailure, Volume, holdfast};

const KEY_A: u64 = 0xa1;
const KEY_B: u64 = 0xb2;
/// The table of reservation records, by the volume's UUID.
const RECORDS: redb::TableDefinition<'_, u128, &[u8]> = redb::TableDefinition::new("reservations");
const META: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("meta");

const EXIT_FAILED: Option<i32> = Some(1);
const EXIT_DAMAGED: Option<i32> = Some(4);

/// Two volumes that node A has reserved, and a server that was killed.
struct Store {
    setup: Setup,
    disk: Volume,
    other: Volume,
    disk_id: u128,
    other_id: u128,
}

impl Store {
    fn new() -> Self {
        Self::with(Setup::new(Engine::Mio, 1, "file"))
    }

    fn with(setup: Setup) -> Self {
        let server = setup.start();
        let [disk, other] = ["disk", "other"].map(|name| {
            let volume = server.create_small(name);
            let mut a = server.session(&volume, "a");
            register(&mut a, KEY_A);
            a.reserve(kind::EA, KEY_A).good();
            volume
        });
        let id = |name| {
            let shown = server.json(&["volume", "show", name]);
            let id: uuid::Uuid = shown["id"]
                .as_str()
                .expect("an id")
                .parse()
                .expect("a UUID");
            id.as_u128()
        };
        let (disk_id, other_id) = (id("disk"), id("other"));
        Self {
            setup: server.kill(),
            disk,
            other,
            disk_id,
            other_id,
        }
    }

    fn file(&self) -> PathBuf {
        self.setup.data().join("catalogue.redb")
    }

    fn change(&self, change: impl FnOnce(&redb::WriteTransaction)) {
        let database = redb::Database::open(self.file()).expect("the catalogue");
        let transaction = database.begin_write().expect("a transaction");
        change(&transaction);
        transaction.commit().expect("a commit");
    }

    /// Changes the record of the volume `disk`; `None` takes it away.
    fn change_record(&self, change: impl FnOnce(Vec<u8>, Vec<u8>) -> Option<Vec<u8>>) {
        self.change(|transaction| {
            let mut records = transaction.open_table(RECORDS).expect("the records");
            let row = |id| records.get(id).expect("a look-up").expect("a record");
            let (disk, other) = (
                row(self.disk_id).value().to_vec(),
                row(self.other_id).value().to_vec(),
            );
            match change(disk, other) {
                Some(row) => drop(records.insert(self.disk_id, row.as_slice()).expect("put")),
                None => drop(records.remove(self.disk_id).expect("removed")),
            }
        });
    }

    fn refused(&self) -> StartFailure {
        match self.setup.try_start() {
            Ok(_) => panic!("the server starts"),
            Err(failure) => {
                assert!(failure.output.is_empty(), "nothing is served");
                failure
            }
        }
    }

    fn repair(&self, arguments: &[&str]) -> Output {
        let data = self.setup.data();
        let data = data.to_str().expect("a plain path");
        holdfast(&[&["repair", "--data", data], arguments].concat())
    }

    fn repair_json(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let output = self.repair(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", stderr(&output)));
        (report, output.status.code())
    }

    /// The record that was damaged keeps its volume, and it alone, from being served.
    fn assert_only_disk_is_refused(&self, server: &Server, why: &str) {
        let shown = server.json(&["volume", "show", "disk"]);
        assert_eq!(shown["state"], "failed");
        let problem = shown["problem"].as_str().expect("a problem");
        for told in ["reservation record", why, "holdfast repair --data"] {
            assert!(problem.contains(told), "{told:?} in {problem}");
        }
        assert!(server.errors().contains(why), "it is logged as well");
        server.login(&self.disk, "b").refused();
        assert_still_reserved(server, &self.other);
    }
}

fn register(session: &mut Initiator, key: u64) {
    let list = parameters(0, key, flag::APTPL);
    session
        .reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
        .good();
}

fn assert_still_reserved(server: &Server, volume: &Volume) {
    let mut b = server.session(volume, "b");
    assert_eq!(b.keys(), [KEY_A]);
    b.write_blocks(0, &pattern(1, 1)).conflict();
    server
        .session(volume, "a")
        .write_blocks(0, &pattern(2, 1))
        .good();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_checksum(mut row: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c(&row).to_le_bytes();
    row.extend(checksum);
    row
}

/// CRC32C bit by bit, so that this test does not lean on the code that it judges.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// What is done to the record of `disk`, given its row and that of `other`, and what is told of it.
type Damage = (
    &'static str,
    fn(Vec<u8>, Vec<u8>) -> Option<Vec<u8>>,
    &'static str,
);

const DAMAGES: [Damage; 7] = [
    (
        "a flipped bit",
        |mut row, _| {
            let middle = row.len() / 2;
            row[middle] ^= 0x10;
            Some(row)
        },
        "its checksum is",
    ),
    (
        "cut short",
        |row, _| Some(row[..row.len() - 9].to_vec()),
        "its checksum is",
    ),
    (
        "all but gone",
        |row, _| Some(row[..3].to_vec()),
        "too early",
    ),
    ("gone", |_, _| None, "there is none"),
    (
        "another volume's",
        |_, other| Some(other),
        "it is the record of volume",
    ),
    (
        "of a newer program",
        |mut row, _| {
            row.truncate(row.len() - 4);
            row[4] = 2;
            Some(with_checksum(row))
        },
        "it has version 2, this program knows 1",
    ),
    (
        "whole, with content of a newer program",
        |row, _| {
            let (head, content) = row.split_at(24);
            let mut content = content[..content.len() - 8].to_vec();
            content[4] = 7;
            Some(with_checksum([head, &with_checksum(content)].concat()))
        },
        "record version 7, expected 1",
    ),
];

#[test]
fn a_damaged_record_keeps_its_volume_from_being_served_and_no_other() {
    let store = Store::new();
    let pristine = std::fs::read(store.file()).expect("the catalogue");
    for (name, damage, why) in DAMAGES {
        eprintln!("record: {name}");
        std::fs::write(store.file(), &pristine).expect("the catalogue");
        store.change_record(damage);
        let server = store.setup.start();
        store.assert_only_disk_is_refused(&server, why);
        // A restart changes nothing of it.
        let server = server.kill().start();
        store.assert_only_disk_is_refused(&server, why);
        drop(server.kill());
    }
}

#[test]
fn repair_says_what_is_wrong_and_discards_only_when_told_to() {
    let store = Store::new();
    store.change_record(|_, other| Some(other));
    let damaged = std::fs::read(store.file()).expect("the catalogue");

    let (report, code) = store.repair_json(&[]);
    assert_eq!(code, EXIT_DAMAGED);
    assert_eq!(report["sound"], false);
    assert_eq!(report["problem"], Value::Null);
    let volumes = report["contents"]["volumes"].as_array().expect("a list");
    let found = |name: &str| {
        let found = volumes.iter().find(|volume| volume["name"] == name);
        found.expect("every volume is listed")
    };
    let problem = found("disk")["problem"].as_str().expect("a problem");
    assert!(problem.contains("it is the record of volume"), "{problem}");
    assert_eq!(found("other")["problem"], Value::Null);
    assert_eq!(found("other")["reservations"]["registrations"], 1);
    assert_eq!(found("other")["reservations"]["kind"], kind::EA);

    let output = store.repair(&[]);
    assert_eq!(output.status.code(), EXIT_DAMAGED);
    let told = stdout(&output);
    assert!(told.contains("--reservations disk=discard"), "{told}");
    let asked = ["--reservations", "disk=discard"];
    let output = store.repair(&asked);
    assert_eq!(output.status.code(), EXIT_FAILED, "nobody confirmed it");
    assert!(stdout(&output).contains("discard the reservations of volume disk"));
    assert!(stderr(&output).contains("--yes"));
    let output = store.repair(&[&asked[..], &["--check"]].concat());
    assert_eq!(output.status.code(), EXIT_DAMAGED);
    assert_eq!(std::fs::read(store.file()).expect("it"), damaged);

    let (report, code) = store.repair_json(&[&asked[..], &["--yes"]].concat());
    assert_eq!(code, Some(0));
    assert_eq!(
        (&report["sound"], &report["done"]),
        (&true.into(), &true.into())
    );
    let kept = report["replaced"].as_str().expect("a copy is kept");
    let kept = std::fs::read(store.setup.data().join(kept)).expect("the copy");
    assert_eq!(kept, damaged);
    assert_eq!(report["kept"].as_array().map(Vec::len), Some(1));

    let server = store.setup.start();
    let mut b = server.session(&store.disk, "b");
    assert!(b.keys().is_empty());
    b.write_blocks(0, &pattern(3, 1)).good();
    assert_still_reserved(&server, &store.other);
    let output = store.repair(&[]);
    assert_eq!(output.status.code(), EXIT_FAILED, "the server has it");
    assert!(stderr(&output).contains(&format!("process {}", server.process_id())));
}

#[test]
fn a_damaged_file_is_not_served_and_a_backup_brings_it_back() {
    let store = Store::new();
    // A backup is taken of a server that is stopped.
    drop(store.setup.start().stop());
    let backup = store.setup.data().join("backup");
    std::fs::copy(store.file(), &backup).expect("a backup");
    let pristine = std::fs::read(&backup).expect("the backup");
    type Spoil = fn(&mut Vec<u8>);
    let damages: [(&str, Spoil); 5] = [
        ("no database", |bytes| bytes[..16].fill(0)),
        ("a slot of the header", |bytes| bytes[64..320].fill(0xff)),
        ("zeroed pages", |bytes| bytes[4096..].fill(0)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
    ];
    for (name, damage) in damages {
        eprintln!("file: {name}");
        let mut bytes = pristine.clone();
        damage(&mut bytes);
        std::fs::write(store.file(), &bytes).expect("the catalogue");
        let failure = store.refused();
        for told in ["catalogue.redb is damaged", "holdfast repair --data"] {
            assert!(failure.errors.contains(told), "{}", failure.errors);
        }
        let left = std::fs::read(store.file()).expect("the catalogue");
        assert!(left == bytes, "what is damaged is not touched");
        let (report, code) = store.repair_json(&[]);
        assert_eq!(code, EXIT_DAMAGED);
        assert!(report["problem"].as_str().expect("one").contains("damaged"));
    }
    let backup = backup.to_str().expect("a plain path");
    let restore = ["--restore-from", backup, "--yes"];
    let output = store.repair(&restore);
    assert_eq!(output.status.code(), EXIT_FAILED);
    assert!(stderr(&output).contains("Undecided: disk, other, volume-1"));
    let decide = [
        "--reservations",
        "disk=discard",
        "--reservations",
        "ALL=keep",
    ];
    let output = store.repair(&[&restore[..], &decide[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let server = store.setup.start();
    assert!(server.session(&store.disk, "b").keys().is_empty());
    assert_still_reserved(&server, &store.other);
}

#[test]
fn a_file_of_a_newer_program_is_refused_by_its_version() {
    let store = Store::new();
    store.change(|transaction| {
        let mut meta = transaction.open_table(META).expect("the table");
        let _former = meta.insert("version", "3").expect("put");
    });
    let failure = store.refused();
    let told = "has version 3, this program knows 1 to 2";
    assert!(failure.errors.contains(told), "{}", failure.errors);
}

#[test]
fn a_catalogue_that_is_gone_is_not_founded_anew() {
    let store = Store::new();
    std::fs::remove_file(store.file()).expect("it was there");
    let failure = store.refused();
    for told in ["is missing", "3 volumes' files", "holdfast repair --data"] {
        assert!(failure.errors.contains(told), "{}", failure.errors);
    }
    assert!(!store.file().exists(), "no new one was made");
    let (report, code) = store.repair_json(&[]);
    assert_eq!(code, EXIT_DAMAGED);
    assert_eq!(report["stray_files"].as_array().map(Vec::len), Some(3));
    let output = store.repair(&["--start-empty", "--yes"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let server = store.setup.start();
    assert_eq!(server.volumes().len(), 1, "the volume of a first start");
    let files = std::fs::read_dir(store.setup.data().join("volumes")).expect("the volumes");
    assert_eq!(files.count(), 4, "the others' data stays");
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn what_can_not_be_read_or_written_is_told_and_nothing_is_served() {
    let store = Store::with(Setup::new(Engine::Mio, 1, "file").confined());
    let data = store.setup.data();
    for (path, mode, denied) in [
        (store.file(), 0o000, "catalogue.redb"),
        (store.file(), 0o400, "catalogue.redb"),
        (data.join("lock"), 0o400, "lock"),
        (data.clone(), 0o000, "data"),
    ] {
        let before = std::fs::metadata(&path).expect("it is there").permissions();
        set_mode(&path, mode);
        let failure = store.refused();
        std::fs::set_permissions(&path, before).expect("it is ours");
        let told = format!("{denied}: Permission denied");
        assert!(
            failure.errors.contains(&told),
            "{mode:o}: {}",
            failure.errors
        );
    }
    let server = store.setup.start();
    assert_still_reserved(&server, &store.disk);
}

#[test]
fn a_full_disk_refuses_what_must_be_durable_and_the_rest_goes_on() {
    let setup = Setup::new(Engine::Mio, 1, "ram").confined();
    let server = setup.start();
    let volume = server.create_small("disk");
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    register(&mut a, KEY_A);
    a.reserve(kind::WE_RO, KEY_A).good();
    let before = a.read_full_status();
    let generation = a.generation();

    server.limit_file_size(Some(1));
    for _ in 0..3 {
        let list = parameters(0, KEY_B, flag::APTPL);
        b.reserve_out_with(action::REGISTER, 0, &list)
            .check(5, 0x55, 4);
        a.preempt(kind::EA, KEY_A, KEY_A).check(5, 0x55, 4);
        a.clear(KEY_A).check(5, 0x55, 4);
    }
    assert_eq!(a.read_full_status(), before, "nothing has changed");
    assert_eq!(a.generation(), generation);
    a.write_blocks(0, &pattern(1, 8)).good();
    b.read_blocks(0, 8).good();
    b.write_blocks(0, &pattern(2, 8)).conflict();
    let refused = server.command(&[
        "volume",
        "create",
        "more",
        "--size",
        "1MiB",
        "--backend",
        "ram",
    ]);
    assert_eq!(refused.status.code(), EXIT_FAILED);

    server.limit_file_size(None);
    register(&mut b, KEY_B);
    server.text(&[
        "volume",
        "create",
        "more",
        "--size",
        "1MiB",
        "--backend",
        "ram",
    ]);
    let server = server.kill().start();
    let mut c = server.session(&volume, "c");
    assert_eq!(c.keys(), [KEY_A, KEY_B]);
    c.write_blocks(0, &pattern(3, 1)).conflict();
    assert_eq!(server.volume("more").bytes, 1 << 20);
}

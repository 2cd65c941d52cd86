//! Disks that take no more, files that are not what they were, and a catalogue that is damaged.

use std::path::{Path, PathBuf};

use super::house::{Closed, House, serve};
use crate::transcript::Transcript;

/// What needs space, and the command.
const ROWS: [(&str, &str); 8] = [
    ("a volume", "volume create db-2 --size 64MiB"),
    (
        "a volume in memory",
        "volume create db-2 --size 64MiB --backend ram",
    ),
    ("a group", "group create finance"),
    ("a larger volume", "volume resize db-1 --size 128MiB"),
    ("a setting", "volume set db-1 --sessions-max 7"),
    ("a retention", "group set databases --retention 7d"),
    (
        "a clone",
        "volume create db-2 --from-snapshot db-1@monday --copy",
    ),
    ("a deletion", "snapshot delete db-1@monday"),
];

/// No file may become larger, not by a byte: as on a disk that is full.
#[test]
fn a_disk_that_is_full() {
    let mut house = House::new();
    house.server.limit_file_size(Some(1));
    house.is_writable = false;
    house.refuses("wrong_full_disk", &ROWS);
    house.server.limit_file_size(None);
    house.is_writable = true;
    house.is_whole("there is room again");
    house.survives_a_crash();
}

/// A volume's file that is not what it was keeps that volume from service and nothing else, and is all
/// right again when it is put back.
#[test]
fn files_that_are_not_what_they_were() {
    let mut told = String::new();
    let mut closed = House::new().closes();
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("a file that vanished", |file| {
            std::fs::remove_file(file).expect("ours")
        }),
        ("a file that shrank", |file| {
            let file = std::fs::File::options().write(true).open(file);
            file.and_then(|file| file.set_len(1 << 20)).expect("ours");
        }),
        ("a directory in its place", |file| {
            std::fs::remove_file(file).expect("ours");
            std::fs::create_dir(file).expect("a directory");
        }),
        ("a file that can't be opened", |file| {
            use std::os::unix::fs::PermissionsExt;
            let permissions = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(file, permissions).expect("ours");
        }),
    ];
    for (wrong, harm) in harms {
        let file = volume_file(&closed);
        let kept = file.with_extension("kept");
        std::fs::copy(&file, &kept).expect("a copy");
        harm(&file);
        let server = closed.setup.start();
        let mut transcript = Transcript::with(&server);
        transcript.note(wrong).run("volume list");
        let shown = server.json(&["volume", "show", "db-1"]);
        let problem = shown["problem"].as_str().expect("a problem");
        told += transcript.append(&format!("problem: {problem}\n\n")).text();
        drop(server.stop());
        match file.is_dir() {
            true => std::fs::remove_dir(&file).expect("ours"),
            false => std::fs::remove_file(&file).unwrap_or_default(),
        }
        std::fs::rename(&kept, &file).expect("put back");
        closed = closed.opens().closes();
    }
    Transcript::alone().append(&told).matches("wrong_files");
}

/// Nothing is served, nothing is mended without a word, and the way back is named.
#[test]
fn a_catalogue_that_is_damaged() {
    let closed = House::new().closes();
    let (data, file) = (closed.data(), closed.data().join("catalogue.redb"));
    let sound = std::fs::read(&file).expect("the catalogue");
    let mut told = String::new();
    for (wrong, left) in [
        ("no database", Some(b"something else".to_vec())),
        ("half of it", Some(sound[..sound.len() / 2].to_vec())),
        ("an empty file", Some(Vec::new())),
        ("no file", None),
    ] {
        match &left {
            Some(bytes) => std::fs::write(&file, bytes).expect("ours"),
            None => std::fs::remove_file(&file).expect("ours"),
        }
        let line = format!("--data {} --listen 127.0.0.1:0", data.display());
        let arguments: Vec<_> = line.split(' ').collect();
        let mut transcript = Transcript::alone();
        transcript.note(wrong);
        let output = serve(&arguments);
        told += transcript
            .record(&format!("serve {line}"), &output)
            .refused();
        assert_eq!(std::fs::read(&file).ok(), left, "{wrong}: it is left alone");
        std::fs::write(&file, &sound).expect("ours");
        closed.is_untouched(wrong);
    }
    Transcript::alone().append(&told).matches("wrong_catalogue");
    closed.opens();
}

/// The file of `db-1`: the only one in `volumes` that is no snapshot.
fn volume_file(closed: &Closed) -> PathBuf {
    let entries = std::fs::read_dir(closed.data().join("volumes")).expect("a directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let is_image = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "img");
    paths.find(is_image).expect("the volume's file")
}

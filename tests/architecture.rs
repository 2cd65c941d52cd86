//! The rules of the house, held by tests: rooms import only from rooms of a lower layer, `unsafe`
//! stays in its named leaves, nothing on the data path takes a lock or reads the clock behind its
//! caller's back, no file is an orphan or too long to be one room, the README has its table.

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, module_tree, rust_files};

const LINES_MAX: usize = 900;
/// The last layer of the data path.
const DATA_PATH_LAYER_MAX: u32 = 6;

/// The files that may hold `unsafe`, and for what.
const UNSAFE_LEAVES: [(&str, &str); 10] = [
    (
        "backend/ram/copy.rs",
        "copies into that memory, past the caches",
    ),
    (
        "backend/ram/mapping.rs",
        "the memory that a RAM volume maps",
    ),
    ("base/buffer.rs", "buffers that the kernel writes to"),
    (
        "base/mailbox.rs",
        "slots that two threads hand to each other",
    ),
    ("base/rcu.rs", "the pointer that readers load"),
    ("ring/arenas.rs", "registered buffers"),
    ("ring/core.rs", "submission and completion"),
    ("ring/flight.rs", "buffers while the kernel owns them"),
    ("ring/polled.rs", "submission to the ring that polls"),
    ("ring/provided.rs", "the ring of provided buffers"),
];

/// Files of the data path's layers that may name a lock, read the clock or sleep, and why that is
/// not on the path of an I/O.
const EXCEPTIONS: [(&str, &str); 12] = [
    (
        "backend/lossy.rs",
        "a store that loses unflushed writes, for tests",
    ),
    (
        "base/clock.rs",
        "the one place that asks the system for the time",
    ),
    ("reactor/run.rs", "reads the clock once a tick, for all"),
    (
        "ring/core.rs",
        "draining at the end, when no tick runs any more",
    ),
    (
        "ring/setup.rs",
        "setting a ring up, before it carries an I/O",
    ),
    (
        "backend/disk/patience.rs",
        "opening a store, on a thread of the control plane",
    ),
    ("target/shared.rs", "the wall clock, once at the start"),
    (
        "target/handle.rs",
        "the control plane's handle: outside the reactors",
    ),
    (
        "target/instant.rs",
        "the control plane's thread, which waits for volumes to be held",
    ),
    (
        "target/dismiss.rs",
        "the control plane's thread, which waits for sessions to go",
    ),
    (
        "target/handover/handle.rs",
        "the control plane's handle of a handover: outside the reactors",
    ),
    (
        "target/follow.rs",
        "who follows a history waits on a thread of the control plane",
    ),
];

const FORBIDDEN_ON_THE_DATA_PATH: [&str; 5] = [
    "sync::Mutex",
    "sync::RwLock",
    "Instant::now",
    "thread::sleep",
    "SystemTime",
];

const TOP_LEVEL: [&str; 13] = [
    ".ci",
    ".git",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "clippy.toml",
    "rustfmt.toml",
    "src",
    "tests",
    "tuning",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn crate_sources() -> Vec<Source> {
    module_tree(&root().join("src"), "lib.rs")
}

/// Room → layer, from the table in `lib.rs`.
type Layers = BTreeMap<String, u32>;

fn layers() -> Layers {
    parse_layers(&fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs"))
}

fn parse_layers(text: &str) -> Layers {
    let mut layers = Layers::new();
    for line in text.lines() {
        let cells: Vec<&str> = line
            .trim_start_matches("//!")
            .split('|')
            .map(str::trim)
            .collect();
        if let ["", number, room, ..] = cells[..]
            && let Ok(number) = number.parse()
        {
            let room = room.trim_matches(['[', ']', '`']);
            assert!(
                layers.insert(room.to_owned(), number).is_none(),
                "{room} stands twice"
            );
        }
    }
    layers
}

/// Imports that do not point to a strictly lower layer, as `file: from -> to`.
fn layer_violations(sources: &[Source], layers: &Layers) -> Vec<String> {
    let mut found = BTreeSet::new();
    for source in sources {
        let Some(from) = source.room() else { continue };
        let Some(own) = layers.get(from) else {
            found.insert(format!("{}: `{from}` has no layer", source.path.display()));
            continue;
        };
        for to in named_rooms(source, layers) {
            if to != from && layers[to] >= *own {
                found.insert(format!("{}: {from} -> {to}", source.path.display()));
            }
        }
    }
    found.into_iter().collect()
}

/// The rooms that a file names by `crate::…`, `crate::{…}` or a `super` chain up to the root.
fn named_rooms<'a>(source: &Source, layers: &'a Layers) -> BTreeSet<&'a str> {
    let mut names = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        if !ends_in_word(&source.code[..at]) {
            names.extend(first_segments(&source.code[at + "crate::".len()..]));
        }
    }
    let climb = "super::".repeat(source.module.len());
    for (at, _) in source
        .code
        .match_indices(&climb)
        .filter(|_| !climb.is_empty())
    {
        names.extend(first_segments(&source.code[at + climb.len()..]));
    }
    names
        .iter()
        .filter_map(|name| layers.get_key_value(*name))
        .map(|(room, _)| room.as_str())
        .collect()
}

fn ends_in_word(text: &str) -> bool {
    text.chars()
        .next_back()
        .is_some_and(|last| last.is_alphanumeric() || last == '_')
}

/// The first segment of a path, or of each path of a `{…}` group.
fn first_segments(text: &str) -> Vec<&str> {
    let Some(group) = text.trim_start().strip_prefix('{') else {
        return vec![leading_word(text)];
    };
    let mut depth = 0_usize;
    let mut segments = Vec::new();
    let mut start = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                segments.push(leading_word(&group[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    segments
}

fn leading_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// Words of the code, so that `unsafe_code` is not `unsafe`.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

/// `files` of which `holds` is true against a list of those that may; both ways.
fn compare_with_list(found: &BTreeSet<String>, list: &[(&str, &str)], what: &str) {
    let listed: BTreeSet<String> = list.iter().map(|(file, _)| (*file).to_owned()).collect();
    let strays: Vec<_> = found.difference(&listed).collect();
    assert!(
        strays.is_empty(),
        "{what} outside the files that may: {strays:?}"
    );
    let idle: Vec<_> = listed.difference(found).collect();
    assert!(
        idle.is_empty(),
        "listed for {what}, but without it: {idle:?}"
    );
}

fn name_of(source: &Source) -> String {
    source.path.display().to_string()
}

#[test]
fn imports_point_to_lower_layers() {
    let violations = layer_violations(&crate_sources(), &layers());
    assert!(
        violations.is_empty(),
        "imports that point up or sideways:\n{}",
        violations.join("\n")
    );
}

#[test]
fn the_table_of_layers_names_every_room() {
    let rooms: BTreeSet<String> = crate_sources()
        .iter()
        .filter(|source| source.module.len() == 1)
        .map(|source| source.module[0].clone())
        .collect();
    let listed: BTreeSet<String> = layers().into_keys().collect();
    assert_eq!(
        rooms, listed,
        "rooms in src, and in the table of src/lib.rs"
    );
}

#[test]
fn planted_violations_are_caught() {
    let layers = parse_layers(
        "//! | # | module | what |\n//! |---|---|---|\n//! | 0 | [`base`] | |\n\
         //! | 1 | [`iscsi`] | |\n//! | 1 | [`volume`] | |\n//! | 2 | [`scsi`] | |",
    );
    assert_eq!(layers.len(), 4);
    let caught = |module: &[&str], text: &str| {
        !layer_violations(&[Source::new("planted.rs", module, text)], &layers).is_empty()
    };
    for (module, text) in [
        (&["base"][..], "use crate::iscsi::Pdu;"),
        (&["base", "slots"], "pub(crate) use crate::scsi;"),
        (&["iscsi"], "use crate::{base::slots, scsi::{Cdb, plan}};"),
        (
            &["iscsi"],
            "use crate::{\n    base::{a, b},\n    volume,\n};",
        ),
        (&["iscsi"], "fn f() { crate::volume::name() }"),
        (&["iscsi", "login"], "use super::super::scsi::Cdb;"),
        (&["iscsi"], "mod tests { use crate::scsi::Cdb; }"),
        (&["garage"], "fn f() {}"),
    ] {
        assert!(caught(module, text), "{module:?}: {text}");
    }
    for (module, text) in [
        (&["scsi"][..], "use crate::{base::slots, iscsi::Pdu};"),
        (&["scsi"], "use crate::scsi::plan;"),
        (
            &["base"],
            "// use crate::iscsi::Pdu;\n/* crate::iscsi /* nested */ crate::scsi */ fn f() {}",
        ),
        (
            &["base"],
            r###"const A: &str = "crate::iscsi"; const B: &str = r#"crate::"scsi"#;"###,
        ),
        (
            &["base"],
            "const Q: char = '\"'; const L: &str = \"crate::scsi\"; fn f<'a>(x: &'a u8) {}",
        ),
        (&["base"], "use other_crate::iscsi::Pdu;"),
        (&["iscsi", "login"], "use super::volume_name;"),
    ] {
        assert!(!caught(module, text), "{module:?}: {text}");
    }
}

#[test]
fn unsafe_stays_in_its_leaves() {
    let found = crate_sources()
        .iter()
        .filter(|source| has_word(&source.code, "unsafe"))
        .map(name_of)
        .collect();
    compare_with_list(&found, &UNSAFE_LEAVES, "unsafe");
}

#[test]
fn the_data_path_takes_no_lock_and_reads_no_clock() {
    let layers = layers();
    let on_the_path = |source: &&Source| {
        let layer = source.room().and_then(|room| layers.get(room));
        !source.is_test && layer.is_some_and(|layer| *layer <= DATA_PATH_LAYER_MAX)
    };
    let found = crate_sources()
        .iter()
        .filter(on_the_path)
        .filter(|source| {
            let code = source.code_without_tests();
            FORBIDDEN_ON_THE_DATA_PATH
                .iter()
                .any(|name| code.contains(name))
        })
        .map(name_of)
        .collect();
    compare_with_list(&found, &EXCEPTIONS, "a lock, a clock or a sleep");
}

/// Files below `src` that neither root reaches.
fn orphans(src: &Path) -> Vec<PathBuf> {
    let roots = ["lib.rs", "main.rs"];
    let reached: BTreeSet<PathBuf> = roots
        .iter()
        .filter(|root| src.join(root).is_file())
        .flat_map(|root| module_tree(src, root))
        .map(|source| source.path)
        .collect();
    rust_files(src)
        .into_iter()
        .filter(|file| !reached.contains(file))
        .collect()
}

#[test]
fn no_file_is_an_orphan() {
    let orphans = orphans(&root().join("src"));
    assert!(orphans.is_empty(), "no `mod` declares {orphans:?}");
}

#[test]
fn a_planted_orphan_is_caught() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    };
    write(
        "lib.rs",
        "pub mod room;\n#[cfg(test)]\nmod tests;\n// mod ghost;",
    );
    write("tests.rs", "");
    write("room/mod.rs", "mod corner;");
    write("room/corner.rs", "mod shelf;");
    write("room/corner/shelf.rs", "");
    assert!(orphans(directory.path()).is_empty());
    write("ghost.rs", "");
    write("room/corner/dust.rs", "");
    let expected: Vec<PathBuf> = ["ghost.rs", "room/corner/dust.rs"]
        .map(PathBuf::from)
        .into();
    assert_eq!(orphans(directory.path()), expected);
    let tree = module_tree(directory.path(), "lib.rs");
    assert!(
        tree.iter()
            .any(|source| source.is_test && source.path == Path::new("tests.rs"))
    );
}

#[test]
fn no_file_is_too_long_to_be_one_room() {
    let long: Vec<String> = ["src", "tests", "bench"]
        .iter()
        .map(|directory| root().join(directory))
        .filter(|directory| directory.is_dir())
        .flat_map(|directory| {
            rust_files(&directory)
                .into_iter()
                .map(move |f| directory.join(f))
        })
        .filter_map(|path| {
            let lines = fs::read_to_string(&path)
                .expect("a source file")
                .lines()
                .count();
            (lines > LINES_MAX).then(|| format!("{}: {lines}", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn the_top_level_is_as_agreed() {
    let ignored = fs::read_to_string(root().join(".gitignore")).expect(".gitignore");
    let strays: Vec<String> = fs::read_dir(root())
        .expect("the repository")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .filter(|name| !ignored.lines().any(|line| line.trim_matches('/') == name))
        .collect();
    assert!(strays.is_empty(), "outside the agreed layout: {strays:?}");
}

#[test]
fn the_readme_has_its_conformance_table() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, section) = readme
        .split_once("# Conformance\n")
        .expect("a section Conformance");
    assert!(
        section
            .lines()
            .any(|line| line.starts_with("| `") && line.ends_with('|')),
        "a table of what the conformance run leaves red or skips, and why"
    );
}

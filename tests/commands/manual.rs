//! `holdfast man`: the pages, as the programs that show them see them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::help::every_command;
use crate::support::server::holdfast;
use crate::support::skip;
use crate::transcript::Transcript;

/// The pages by their files' names, written by the command.
fn pages(directory: &Path) -> BTreeMap<String, String> {
    let output = holdfast(&["man", "--output", &directory.display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    let files = fs::read_dir(directory).expect("it was made");
    files
        .map(|file| {
            let path = file.expect("listed").path();
            let name = path
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(&path).expect("UTF-8"))
        })
        .collect()
}

fn all_pages() -> (tempfile::TempDir, BTreeMap<String, String>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pages = pages(&directory.path().join("man1"));
    (directory, pages)
}

#[test]
fn every_command_has_a_page_and_it_is_the_same_each_time() {
    let (directory, pages) = all_pages();
    let expected: BTreeSet<String> = every_command()
        .iter()
        .map(|path| {
            format!(
                "{}.1",
                [&["holdfast".to_owned()], &path[..]].concat().join("-")
            )
        })
        .collect();
    let written: BTreeSet<String> = pages.keys().cloned().collect();
    assert_eq!(written, expected);
    assert_eq!(self::pages(&directory.path().join("again")), pages);
    let printed = holdfast(&["man", "volume", "create"]).stdout;
    assert_eq!(
        String::from_utf8_lossy(&printed),
        pages["holdfast-volume-create.1"]
    );
}

#[test]
fn a_page_refers_only_to_pages_that_are_there() {
    let (_directory, pages) = all_pages();
    for (name, text) in &pages {
        let (_, referred) = text.split_once(".SH \"SEE ALSO\"\n").expect(name);
        let mut count = 0;
        for line in referred.lines() {
            let page = line.trim_start_matches(".BR ").replace("\\-", "-");
            let page = page.split(' ').next().expect("a word");
            assert!(pages.contains_key(&format!("{page}.1")), "{name}: {line}");
            count += 1;
        }
        assert!(count > 0, "{name}");
    }
}

/// Runs a formatter over a page and hands back what it prints and what it complains about; `None` if
/// this machine does not have it.
fn formatted(program: &str, arguments: &[&str], page: &Path) -> Option<(String, String)> {
    let output = Command::new(program)
        .args(arguments)
        .arg(page)
        .env("MANWIDTH", "100")
        .env("MANROFFOPT", "-ww")
        .env("LC_ALL", "C.UTF-8")
        .output();
    let Ok(output) = output else {
        skip(format!("no {program} here"));
        return None;
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Some((text(output.stdout), text(output.stderr)))
}

#[test]
fn groff_shows_every_page_without_a_warning() {
    let (directory, pages) = all_pages();
    for name in pages.keys() {
        let page = directory.path().join("man1").join(name);
        let arguments = ["-k", "-man", "-Tutf8", "-ww", "-P-cbou"];
        let Some((text, complaints)) = formatted("groff", &arguments, &page) else {
            return;
        };
        assert_eq!(complaints, "", "{name}");
        assert!(text.contains("SYNOPSIS"), "{name}: {text}");
    }
}

#[test]
fn examples_keep_their_lines() {
    let (directory, _) = all_pages();
    let page = directory.path().join("man1/holdfast-volume-create.1");
    let arguments = ["-k", "-man", "-Tutf8", "-P-cbou"];
    let Some((text, _)) = formatted("groff", &arguments, &page) else {
        return;
    };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .position(|line| *line == "EXAMPLES")
        .expect("examples");
    let example = [
        "holdfast volume create db-1 --size 100GiB",
        "a thin volume in a file of the data directory",
    ];
    assert_eq!(&lines[at + 1..at + 3], &example);
}

#[test]
fn mandoc_finds_nothing_wrong() {
    // A page is as old as its program and has no date of its own. Lists of possible values have a line
    // break too many, which shows nowhere.
    const MEANT: [&str; 2] = ["missing date", "skipping paragraph macro: br"];
    let (directory, pages) = all_pages();
    for name in pages.keys() {
        let page = directory.path().join("man1").join(name);
        let Some((complaints, errors)) = formatted("mandoc", &["-Tlint", "-Wwarning"], &page)
        else {
            return;
        };
        let complaints: Vec<_> = complaints
            .lines()
            .filter(|line| !MEANT.iter().any(|meant| line.contains(meant)))
            .collect();
        assert!(
            complaints.is_empty() && errors.is_empty(),
            "{complaints:#?} {errors}"
        );
    }
}

#[test]
fn refusals() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    let message = |words: &[&str]| {
        let output = holdfast(words);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let told = message(&["man", "--output", &file.join("man1").display().to_string()]);
    assert!(
        told.contains("file/man1: the manual can't be written: Not a directory"),
        "{told}"
    );
    Transcript::alone()
        .run("man volume crate")
        .run("man volume create now")
        .run("man volume --output man1")
        .matches("man");
}

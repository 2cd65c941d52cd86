//! Volumes from images and images from volumes, judged by qemu-img itself.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::places::{content, fill, volume_files};
use crate::support::scsi::BLOCK;
use crate::support::server::{Engine, Server, Setup};

const MIB: u64 = 1 << 20;

/// A server and a directory for images; nothing where there is no qemu-img.
fn stage() -> Option<(Server, TempDir)> {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no qemu-img (Debian package qemu-utils)");
        return None;
    }
    let server = Setup::new(Engine::Mio, 1, "file").start();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    Some((server, directory))
}

fn qemu_img(arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).output();
    let output = output.expect("qemu-img");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A raw disk of 48 MiB: data at its beginning and its end, a hole between.
fn raw(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("disk.raw");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(48 * MIB).expect("a size");
    file.write_all_at(&[7; 4096], 0).expect("data");
    file.write_all_at(&[9; 4096], 48 * MIB - 4096)
        .expect("data");
    path
}

fn refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.command(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn check_content(server: &Server, name: &str) {
    let mut session = server.session(&server.volume(name), "a");
    assert_eq!(content(&mut session, 0, 8), vec![7; 4096], "{name}");
    let last = 48 * MIB / BLOCK as u64 - 8;
    assert_eq!(content(&mut session, last, 8), vec![9; 4096], "{name}");
    assert_eq!(content(&mut session, 1000, 8), vec![0; 4096], "{name}");
    session.logout();
}

#[test]
fn every_format_goes_in_and_out_and_stays_sparse() {
    let Some((server, directory)) = stage() else {
        return;
    };
    let disk = raw(&directory);
    for (format, driver) in [
        ("raw", "raw"),
        ("qcow2", "qcow2"),
        ("vhd", "vpc"),
        ("vhdx", "vhdx"),
    ] {
        let image = directory.path().join(format!("in.{format}"));
        let options: &[&str] = if driver == "vpc" {
            &["-o", "force_size=on"]
        } else {
            &[]
        };
        let convert = ["convert", "-f", "raw", "-O", driver];
        qemu_img(&[&convert[..], options, &[text(&disk), text(&image)]].concat());
        let name = format!("from-{format}");
        server.text(&["volume", "create", &name, "--from-image", text(&image)]);
        let shown = server.json(&["volume", "show", &name]);
        assert_eq!(shown["size_bytes"], 48 * MIB, "{format}");
        let file = std::fs::metadata(shown["path"].as_str().expect("a path")).expect("a file");
        assert!(
            file.blocks() * 512 < MIB,
            "{format}: {} blocks",
            file.blocks()
        );
        check_content(&server, &name);

        let out = directory.path().join(format!("out.{format}"));
        server.text(&["volume", "export", &name, text(&out)]);
        let metadata = std::fs::metadata(&out).expect("an image");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{format}");
        assert!(metadata.blocks() * 512 < 8 * MIB, "{format}");
        qemu_img(&[
            "compare",
            "-f",
            "raw",
            "-F",
            driver,
            text(&disk),
            text(&out),
        ]);
        let info = Command::new("qemu-img")
            .args(["info", "--output=json", "-f", driver, text(&out)])
            .output()
            .expect("qemu-img");
        let info: Value = serde_json::from_slice(&info.stdout).expect("JSON");
        assert_eq!(info["virtual-size"], 48 * MIB, "{format}");
    }
}

#[test]
fn an_image_can_have_room_behind_it_and_never_less() {
    let Some((server, directory)) = stage() else {
        return;
    };
    let disk = raw(&directory);
    let create = [
        "volume",
        "create",
        "roomy",
        "--from-image",
        text(&disk),
        "--size",
    ];
    let files = volume_files(&server.setup.data());
    let why = refused(&server, &[&create[..], &["32MiB"]].concat());
    assert!(
        why.contains("its source has 50331648; expected at least 50331648 bytes"),
        "{why}"
    );
    assert_eq!(volume_files(&server.setup.data()), files);
    let output = server.text(&[&create[..], &["64MiB", "--json"]].concat());
    let lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON each"))
        .collect();
    let (volume, progress) = lines.split_last().expect("lines");
    assert_eq!(volume["size_bytes"], 64 * MIB);
    let last = &progress.last().expect("how far it is")["progress"];
    assert_eq!(
        (&last["task"], &last["volume"]),
        (&"import".into(), &"roomy".into())
    );
    assert_eq!(last["percent"], 100.0);
    check_content(&server, "roomy");
}

#[test]
fn a_format_is_never_guessed_from_what_is_in_a_file() {
    let Some((server, directory)) = stage() else {
        return;
    };
    let qcow2 = directory.path().join("image.qcow2");
    qemu_img(&[
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        text(&raw(&directory)),
        text(&qcow2),
    ]);
    let nameless = directory.path().join("image");
    std::fs::copy(&qcow2, &nameless).expect("a copy");
    let create = ["volume", "create", "guest", "--from-image", text(&nameless)];
    let why = refused(&server, &create);
    assert!(
        why.contains("does not tell its format") && why.contains("--image-format"),
        "{why}"
    );
    // Said to be raw, its bytes are the disk: it is not opened as what it looks like.
    server.text(&[&create[..], &["--image-format", "raw", "--size", "8MiB"]].concat());
    let mut session = server.session(&server.volume("guest"), "a");
    assert_eq!(content(&mut session, 0, 1)[..4], *b"QFI\xfb");
}

#[test]
fn an_image_that_names_other_files_is_refused() {
    let Some((server, directory)) = stage() else {
        return;
    };
    let (disk, image) = (raw(&directory), directory.path().join("over.qcow2"));
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        text(&disk),
        text(&image),
    ]);
    let why = refused(
        &server,
        &["volume", "create", "over", "--from-image", text(&image)],
    );
    assert!(why.contains("refers to another file"), "{why}");
    assert!(why.contains("expected an image that stands alone"), "{why}");
}

#[test]
fn a_snapshot_is_exported_while_the_volume_is_used() {
    let Some((_, directory)) = stage() else {
        return;
    };
    let setup = Setup::new(Engine::Mio, 1, "file").data_in(Path::new("/dev/shm"));
    let server = setup.start();
    let volume = server.create_small("db-1");
    let mut session = server.session(&volume, "a");
    fill(&mut session, 0, 8, 1);
    session.logout();
    server.text(&["snapshot", "create", "db-1", "monday", "--copy"]);
    let mut session = server.session(&volume, "a");
    fill(&mut session, 0, 8, 2);
    let out = directory.path().join("out.raw");
    let why = refused(&server, &["volume", "export", "db-1", text(&out)]);
    assert!(
        why.contains("is in use by 1 session") && why.contains("db-1@NAME"),
        "{why}"
    );
    server.text(&["volume", "export", "db-1@monday", text(&out)]);
    let bytes = std::fs::read(&out).expect("an image");
    assert_eq!(
        (bytes.len() as u64, &bytes[..4096]),
        (64 * MIB, &[1; 4096][..])
    );
    let why = refused(&server, &["volume", "export", "db-1@monday", text(&out)]);
    assert!(why.contains("it exists already"), "{why}");
    fill(&mut session, 0, 8, 3);
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let Some((server, directory)) = stage() else {
        return;
    };
    let big = directory.path().join("big.raw");
    let file = std::fs::File::create(&big).expect("a file");
    let chunk = vec![1; 1 << 20];
    for number in 0..384 {
        file.write_all_at(&chunk, number * MIB).expect("data");
    }
    let files = volume_files(&server.setup.data());
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args([
            "volume",
            "create",
            "big",
            "--from-image",
            text(&big),
            "--json",
        ])
        .arg("--control")
        .arg(server.control())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command");
    // The first word of progress: it is under way.
    use std::io::BufRead;
    let mut line = String::new();
    let output = command.stdout.take().expect("its output");
    std::io::BufReader::new(output)
        .read_line(&mut line)
        .expect("a line");
    if !line.contains("\"progress\"") || line.contains("100.0") {
        eprintln!("SKIPPED: the import was over before it could be interrupted");
    }
    let busy = server.command(&["volume", "create", "big", "--size", "64MiB"]);
    let of_name = String::from_utf8_lossy(&busy.stderr).into_owned();
    command.kill().expect("ours");
    command.wait().expect("ours");
    assert!(
        of_name.contains("volume big is being made") || of_name.contains("exists already"),
        "{of_name}"
    );
    // Either it was over already, or nothing is left of it.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let made = server.command(&["volume", "show", "big"]).status.success();
        let now = volume_files(&server.setup.data());
        if made || now == files {
            break;
        }
        assert!(std::time::Instant::now() < end, "{now:?} stays");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_wrong_with_an_image_is_told() {
    let Some((server, directory)) = stage() else {
        return;
    };
    let disk = raw(&directory);
    let create = |path: &str, more: &[&str]| {
        let arguments = [
            &["volume", "create", "db-1", "--from-image", path][..],
            more,
        ]
        .concat();
        refused(&server, &arguments)
    };
    let why = create(text(&disk), &["--image-format", "qcow2"]);
    assert!(
        why.contains("qemu-img can't read") && why.contains("not in qcow2 format"),
        "{why}"
    );
    let why = create("/no/such/image.raw", &[]);
    assert!(
        why.contains("/no/such/image.raw can't be read: No such file"),
        "{why}"
    );
    let why = create(text(directory.path()), &["--image-format", "raw"]);
    assert!(why.contains("is a directory, expected a file"), "{why}");
    let why = refused(
        &server,
        &["volume", "export", "volume-1", "/no/such/directory/out.raw"],
    );
    assert!(
        why.contains("can't create /no/such/directory/out.raw.part: No such file"),
        "{why}"
    );
    let nothing = server.json(&["volume", "list"]);
    assert_eq!(
        nothing.as_array().map(Vec::len),
        Some(1),
        "half a volume is none"
    );
}

#[test]
fn without_qemu_img_the_package_is_named() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let server = Setup::new(Engine::Mio, 1, "file")
        .variable("PATH", "/nowhere")
        .start();
    let disk = raw(&directory);
    let why = refused(
        &server,
        &["volume", "create", "db-1", "--from-image", text(&disk)],
    );
    assert!(
        why.contains("qemu-img is not installed, or not in PATH"),
        "{why}"
    );
    assert!(why.contains("apt install qemu-utils"), "{why}");
}

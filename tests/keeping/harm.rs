//! What happens to files and directories behind the server's back, and what it says.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::places::{Place, content, fill};
use crate::support::scsi::BLOCK;
use crate::support::server::{Engine, Server, Setup};

fn show(server: &Server, name: &str) -> Value {
    server.json(&["volume", "show", name])
}

fn path_of(server: &Server, name: &str) -> std::path::PathBuf {
    show(server, name)["path"].as_str().expect("a path").into()
}

fn wait_until(server: &Server, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let shown = show(server, "db-1");
        if is_so(&shown) {
            return shown;
        }
        assert!(Instant::now() < end, "{what}: {shown}");
        std::thread::yield_now();
    }
}

fn two_volumes() -> Server {
    let server = Setup::new(Engine::Mio, 2, "file").start();
    server.create_small("db-1");
    server.create_small("other");
    server
}

fn serves_the_other(server: &Server) {
    let mut session = server.session(&server.volume("other"), "a");
    fill(&mut session, 0, 8, 5);
    assert_eq!(content(&mut session, 0, 8), vec![5; 8 * BLOCK]);
    session.logout();
}

#[test]
fn a_file_that_is_cut_at_run_time_ends_its_volume_and_no_other() {
    let server = two_volumes();
    let volume = server.volume("db-1");
    let mut session = server.session(&volume, "a");
    fill(&mut session, 0, 8, 1);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path_of(&server, "db-1"));
    file.expect("the file").set_len(1 << 20).expect("cut");
    let shown = wait_until(&server, "it is noticed", |shown| shown["state"] == "failed");
    let problem = shown["problem"].as_str().expect("why");
    assert!(
        problem.contains("has been cut to 1048576 bytes, and the volume has 67108864"),
        "{problem}"
    );
    assert!(problem.contains("Put back a copy of the file"), "{problem}");
    assert!(session.is_closed_by_target());
    assert!(server.login(&volume, "a").try_connect().is_err());
    serves_the_other(&server);
}

#[test]
fn a_file_that_is_removed_at_run_time_is_served_on_with_a_warning() {
    let server = two_volumes();
    let mut session = server.session(&server.volume("db-1"), "a");
    fill(&mut session, 0, 8, 1);
    std::fs::remove_file(path_of(&server, "db-1")).expect("removed");
    let is_warned = |shown: &Value| !shown["warnings"].as_array().expect("a list").is_empty();
    let shown = wait_until(&server, "it is noticed", is_warned);
    assert_eq!(shown["state"], "online");
    let warning = shown["warnings"][0].as_str().expect("text");
    assert!(
        warning.contains("its content is there until the server stops, and gone then"),
        "{warning}"
    );
    assert_eq!(
        content(&mut session, 0, 8),
        vec![1; 8 * BLOCK],
        "it can be saved"
    );
    serves_the_other(&server);
}

#[test]
fn a_file_that_is_gone_or_short_at_start_keeps_its_volume_and_no_other_from_service() {
    for (cut, said) in [
        (
            false,
            "is missing although the volume exists; restore the file, or delete the volume",
        ),
        (
            true,
            "holds 512 bytes, but the volume has 67108864; it was truncated or is the wrong one",
        ),
    ] {
        let server = two_volumes();
        let path = path_of(&server, "db-1");
        let setup = server.stop();
        match cut {
            true => std::fs::write(&path, [0; 512]).expect("cut"),
            false => std::fs::remove_file(&path).expect("removed"),
        }
        let server = setup.start();
        let shown = show(&server, "db-1");
        let problem = shown["problem"].as_str().expect("why");
        assert!(problem.contains(said), "{problem}");
        assert_eq!(shown["state"], "failed");
        serves_the_other(&server);
        for arguments in [
            &["snapshot", "create", "db-1", "monday"][..],
            &["volume", "resize", "db-1", "--size", "128MiB"],
        ] {
            assert!(!server.command(arguments).status.success(), "{arguments:?}");
        }
        server.text(&["volume", "delete", "db-1"]);
    }
}

/// Every row: what is asked for, and what is said of it. Nothing is changed by any of them.
#[test]
fn a_full_disk_and_a_read_only_directory_are_told_as_such() {
    let place = match Place::small(48 << 20) {
        Ok(place) => place,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let setup = Setup::new(Engine::Mio, 1, "file")
        .data_in(&place.path)
        .confined();
    let server = setup.start();
    let volume = server.create_small("db-1");
    let mut session = server.session(&volume, "a");
    fill(&mut session, 0, 8192, 1);
    session.logout();
    let before = server.json(&["volume", "list"]);
    let tell = |rows: &[(&str, &[&str])]| {
        for (line, said) in rows {
            let arguments: Vec<_> = line.split(' ').collect();
            let output = server.command(&arguments);
            assert!(!output.status.success(), "{line}");
            let errors = String::from_utf8_lossy(&output.stderr);
            for part in *said {
                assert!(errors.contains(part), "{line}: {part} in {errors}");
            }
        }
        assert_eq!(
            server.json(&["volume", "list"]),
            before,
            "nothing has changed"
        );
        assert_eq!(server.json(&["snapshot", "list"]), Value::Array(Vec::new()));
    };
    tell(&[
        (
            "snapshot create db-1 monday",
            &[
                "bytes free, and 67108864 are needed",
                "delete what is not needed",
            ],
        ),
        (
            "snapshot create db-1 monday --copy",
            &["bytes free, and 67108864 are needed"],
        ),
    ]);
    let volumes = setup.data().join("volumes");
    let permissions = |mode| {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&volumes, permissions).expect("permissions");
    };
    permissions(0o500);
    tell(&[
        (
            "volume create db-2 --size 64MiB",
            &["cannot create", "volumes/", "Permission denied"],
        ),
        (
            "volume export db-1 /proc/out.raw",
            &["can't create /proc/out.raw.part"],
        ),
    ]);
    permissions(0o700);
    let mut session = server.session(&volume, "a");
    assert_eq!(
        content(&mut session, 0, 8),
        vec![1; 8 * BLOCK],
        "I/O goes on"
    );
}

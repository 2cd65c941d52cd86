//! Deleting and restoring, `holdfast snapshot`, images.

use std::path::Path;

use crate::support::server::{Engine, Setup};
use crate::transcript::Transcript;

/// A server whose volumes' files can't share blocks, wherever the tests run.
fn in_memory() -> Setup {
    Setup::new(Engine::Mio, 1, "file").data_in(Path::new("/dev/shm"))
}

#[test]
fn a_volume_is_deleted_and_restored() {
    let server = in_memory().start();
    Transcript::with(&server)
        .run("group create databases")
        .run("group set databases --retention 7d")
        .run("group set databases --retention 7d --json")
        .run("group set databases")
        .run("group set databases --retention 1w")
        .run("group set databases --retention 999999d")
        .run("group set nowhere --retention 7d")
        .run("group list")
        .run("volume create db-1 --size 64MiB --group databases")
        .run("volume list --deleted")
        .run("volume restore db-1")
        .run("volume restore db-2")
        .run("volume delete db-1")
        .run("volume delete db-1")
        .run("volume list --deleted")
        .run("volume list --deleted --json")
        .run("volume show db-1")
        .run("volume create db-1 --size 64MiB")
        .run("group delete databases")
        .run("volume restore db-1")
        .run("volume delete db-1 --purge")
        .run("volume list --deleted")
        .matches("deleting");
}

#[test]
fn a_volume_in_use_is_not_deleted() {
    let server = in_memory().start();
    let volume = server.create_small("db-1");
    let (a, b) = (
        server.session(&volume, "node-a"),
        server.session(&volume, "node-b"),
    );
    Transcript::with(&server)
        .run("volume delete db-1")
        .run("volume revert db-1 --to monday")
        .run("volume export db-1 /no/such/directory/db-1.raw")
        .matches("in_use");
    a.logout();
    b.logout();
}

#[test]
fn snapshots_and_what_they_refuse() {
    let server = in_memory().start();
    let scratch = ["memory ram", "nothing null"];
    for words in scratch.map(|text| text.split_once(' ').expect("two words")) {
        server.text(&[
            "volume",
            "create",
            words.0,
            "--size",
            "64MiB",
            "--backend",
            words.1,
        ]);
    }
    Transcript::with(&server)
        .run("snapshot create volume-1")
        .run("snapshot create monday --group default")
        .run("snapshot create volume-1 monday")
        .run("snapshot create volume-1 monday --copy")
        .run("snapshot create volume-1 monday --copy")
        .run("snapshot create volume-2 monday")
        .run("snapshot create memory monday")
        .run("snapshot create nothing monday")
        .run("snapshot create volume-1 Monday")
        .run("snapshot list")
        .run("snapshot list volume-1 --json")
        .run("snapshot list volume-2")
        .run("snapshot show volume-1@monday")
        .run("snapshot show volume-1")
        .run("snapshot show volume-1@tuesday")
        .run("volume create clone --from-snapshot volume-1@monday")
        .run("volume create clone --from-snapshot volume-1@monday --copy --size 512MiB")
        .run("volume create clone --from-snapshot volume-1@monday --copy --block-size 4096")
        .run("volume create clone --from-snapshot volume-1@monday --copy")
        .run("volume revert volume-1 --to tuesday")
        .run("volume revert volume-1 --to monday")
        .run("volume revert volume-1 --to monday --copy")
        .run("volume delete volume-1")
        .run("snapshot delete volume-1@monday")
        .run("snapshot delete volume-1@monday")
        .matches("snapshot");
}

#[test]
fn images_and_what_they_refuse() {
    let server = in_memory().start();
    let images = tempfile::Builder::new()
        .prefix("holdfast-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory");
    let path = |name: &str| images.path().join(name).to_str().expect("text").to_owned();
    let disk = path("disk.raw");
    std::fs::write(&disk, vec![1; 2 << 20]).expect("an image");
    std::fs::write(path("disk"), b"anything").expect("an image");
    if std::process::Command::new("qemu-img")
        .arg("--version")
        .output()
        .is_err()
    {
        return eprintln!("SKIPPED: there is no qemu-img (Debian package qemu-utils)");
    }
    Transcript::with(&server)
        .run(&format!("volume create db-1 --from-image {}", path("disk")))
        .run(&format!(
            "volume create db-1 --from-image {disk} --image-format vmdk"
        ))
        .run(&format!(
            "volume create db-1 --from-image {}",
            path("none.raw")
        ))
        .run(&format!(
            "volume create db-1 --from-image {disk} --image-format qcow2"
        ))
        .run(&format!(
            "volume create db-1 --from-image {disk} --size 1MiB"
        ))
        .run(&format!(
            "volume create db-1 --from-image {disk} --backend ram"
        ))
        .run(&format!("volume create db-1 --from-image {disk}"))
        .run("volume export db-1 /no/such/directory/out.qcow2")
        .run(&format!("volume export db-1 {}", path("out")))
        .run(&format!("volume export db-1 {}", path("out.raw")))
        .run(&format!("volume export db-1 {}", path("out.raw")))
        .run(&format!("volume export db-1@monday {}", path("more.raw")))
        .matches("image");
}

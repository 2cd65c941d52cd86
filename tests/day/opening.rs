//! Seven o'clock: a configuration, a server, and volumes.

use std::process::Command;

use crate::office::{Office, has};

pub(crate) const MIB: u64 = 1 << 20;

/// The first start, from a file that was wrong at first.
pub(crate) fn a_server_is_set_up(office: &mut Office) {
    let good = office.configuration();
    office.writes("holdfast.toml", &good.replace("[access]", "[acess]"));
    let check = format!(
        "holdfast config check --config {}",
        office.file("holdfast.toml")
    );
    let said = office.is_refused(&check);
    has(
        &said,
        &["holdfast.toml:10:2: unknown field `acess`", "`access`"],
    );
    office.writes("holdfast.toml", &good);
    has(&office.types(&check), &["can be used", &office.portal()]);

    has(
        &office.is_refused("holdfast server status"),
        &["no server answers at", "is `holdfast serve` running?"],
    );
    office.starts_the_server();
    let status = office.asks("holdfast server status");
    assert_eq!(status["san"], "harbour");
    assert_eq!(status["portals"][0], office.portal());
    assert_eq!(office.fetches("/readyz"), (200, "ready\n".to_owned()));

    // The first start has made a volume to try, which is not wanted here.
    has(&office.types("holdfast volume list"), &["volume-1"]);
    office.types("holdfast volume delete volume-1");
}

/// One from nothing and one from an image, in a group that keeps what is deleted for a week.
pub(crate) fn volumes_are_made(office: &Office) {
    office.types("holdfast group create databases");
    assert_eq!(
        office.types("holdfast group set databases --retention 7d"),
        "group databases: limits none; keeps deleted volumes for 7d00h\n"
    );
    assert_eq!(
        office.types("holdfast volume create orders --size 64MiB --group databases"),
        format!("created orders: {}\n", office.target("orders"))
    );

    make_image(office);
    let create = format!(
        "holdfast volume create golden --group databases --from-image {}",
        office.file("golden.qcow2")
    );
    let mut told = office.follows(&create);
    let golden = told.pop().expect("the volume");
    assert_eq!(
        golden["size_bytes"],
        48 * MIB,
        "as large as the disk in the image"
    );
    let percents: Vec<_> = told
        .iter()
        .map(|line| line["progress"]["percent"].as_f64().expect("a number"))
        .collect();
    assert_eq!(told[0]["progress"]["task"], "import");
    assert!(percents.is_sorted(), "{percents:?}");
    assert_eq!(percents.last(), Some(&100.0));

    let listed = office.asks("holdfast volume list");
    let names = listed.as_array().expect("a list").iter();
    let names: Vec<_> = names.map(|volume| &volume["name"]).collect();
    assert_eq!(names, ["golden", "orders"]);
}

/// A disk of 48 MiB with something at its beginning and at its end, as QEMU's tools make it.
fn make_image(office: &Office) {
    let image = office.file("golden.qcow2");
    office.types(&format!("qemu-img create -q -f qcow2 {image} 48M"));
    let program = std::env::var_os("QEMU_IO").unwrap_or_else(|| "qemu-io".into());
    let written = Command::new(program)
        .args([
            "-f",
            "qcow2",
            "-c",
            "write -P 7 0 1M",
            "-c",
            "write -P 9 47M 1M",
            &image,
        ])
        .output()
        .expect("qemu-io");
    assert!(written.status.success(), "{written:?}");
}

//! Nine o'clock: a host is connected by what `holdfast connect` prints.

use crate::hosts::{Guest, compare, named};
use crate::office::{Office, SECRET, has, has_not};

/// Prints a script for a guest of QEMU, with no secret in it.
pub(crate) fn script_for(office: &Office, volume: &str) -> String {
    let name = named("db1");
    let script = office.types(&format!(
        "holdfast connect {volume} --client qemu --initiator {name}"
    ));
    has(
        &script,
        &[&office.target(volume), "password-secret", "header-digest"],
    );
    has_not(&script, &[SECRET]);
    let file = format!("connect-{volume}.sh");
    office.writes(&file, &script);
    file
}

/// The script attaches the volume, and the target finds nothing wrong with it.
pub(crate) fn a_script_connects_a_host(office: &Office) -> Guest {
    has(
        &office.is_refused("holdfast connect orders --check"),
        &["no session of any client on volume orders"],
    );
    let guest = Guest::boots(office, &script_for(office, "orders"));
    let sessions = office.asks("holdfast session list --volume orders");
    assert_eq!(sessions.as_array().map(Vec::len), Some(1));
    assert_eq!(sessions[0]["initiator"], named("db1"));
    assert_eq!(sessions[0]["header_digest"], true);
    has(
        &office.types("holdfast session list"),
        &["1 session of 1 initiator on 1 volume"],
    );

    let report = office.asks("holdfast connect orders --check --sessions 1");
    assert_eq!(report["ok"], true, "{report}");
    let told = office.types("holdfast connect orders --check");
    has(
        &told,
        &["without DataDigest=CRC32C: the initiator of QEMU has none"],
    );
    let wanted = "holdfast connect orders --check --sessions 32";
    has(
        &office.is_refused(wanted),
        &["not connected as they should be"],
    );
    guest
}

/// What was written is what is read, also by another host, and the image is in its volume.
pub(crate) fn data_is_what_was_written(office: &Office, mut guest: Guest) -> Guest {
    guest.writes(0x11, "0 1M");
    guest.writes(0x22, "63M 1M");
    guest.reads(0x11, "0 1M");
    guest.reads(0, "1M 1M");
    guest.reads(0x22, "63M 1M");
    compare(office, "golden.qcow2", "qcow2", "golden");
    let shown = office.asks("holdfast session list --volume orders");
    assert_eq!(shown[0]["written_bytes"], 2 << 20);
    guest
}

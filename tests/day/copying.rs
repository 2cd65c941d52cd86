//! Twelve o'clock: copies of what a volume held at one instant.

use crate::connecting::script_for;
use crate::hosts::{Guest, compare};
use crate::office::{Office, has};
use crate::opening::MIB;

/// `--copy`, where blocks can't be shared.
fn how(office: &Office) -> &'static str {
    if office.shares_blocks { "" } else { " --copy" }
}

/// A snapshot, a clone to try things on, a mistake, and the way back.
pub(crate) fn a_mistake_is_undone(office: &Office) {
    let how = how(office);
    let script = script_for(office, "orders");
    let mut guest = Guest::boots(office, &script);
    guest.writes(0x33, "2M 1M");
    let take = format!("holdfast snapshot create orders noon{how}");
    if office.shares_blocks {
        // In the middle of the guest's work.
        assert_eq!(office.types(&take), "created orders@noon\n");
    } else {
        has(
            &office.is_refused(&take),
            &["1 session", "iqn.2024-01.test:db1"],
        );
        guest.shuts_down();
        assert_eq!(office.types(&take), "created orders@noon\n");
        guest = Guest::boots(office, &script);
    }
    let shown = office.asks("holdfast snapshot show orders@noon");
    assert_eq!(shown["size_bytes"], 64 * MIB);

    guest.writes(0x66, "0 64M");
    let made = format!("holdfast volume create orders-test --from-snapshot orders@noon{how}");
    assert_eq!(
        office.types(&made),
        format!("created orders-test: {}\n", office.target("orders-test"))
    );
    let clone = office.asks("holdfast volume show orders-test");
    assert_eq!(clone["group"], "databases", "and its rules");
    let mut tester = Guest::boots(office, &script_for(office, "orders-test"));
    tester.reads(0x11, "0 1M");
    tester.reads(0x33, "2M 1M");
    tester.writes(0x44, "2M 1M");
    tester.shuts_down();

    let revert = format!("holdfast volume revert orders --to noon{how}");
    has(
        &office.is_refused(&revert),
        &["1 session", "iqn.2024-01.test:db1"],
    );
    guest.reads(0x66, "2M 1M");
    guest.shuts_down();
    assert_eq!(
        office.types(&revert),
        "orders has the content of noon again\n"
    );
    let mut guest = Guest::boots(office, &script);
    guest.reads(0x11, "0 1M");
    guest.reads(0x33, "2M 1M");
    guest.reads(0x22, "63M 1M");
    guest.shuts_down();
}

/// The snapshot as an image, compared with the volume by QEMU's own tool.
pub(crate) fn a_snapshot_leaves_the_house(office: &Office) {
    let (image, part) = (office.file("orders.vhdx"), office.path("orders.vhdx.part"));
    let export = format!("holdfast volume export orders@noon {image}");
    // Somebody has left something where the export would be made.
    std::fs::write(&part, "somebody's").expect("a file");
    let said = office.is_refused(&export);
    has(
        &said,
        &["orders.vhdx.part", "exists already", "hint: another export"],
    );
    assert_eq!(std::fs::read(&part).expect("it stays"), b"somebody's");
    std::fs::remove_file(&part).expect("ours");

    let told = office.types(&export);
    has(
        &told,
        &["wrote orders@noon (64.0 MiB) to", "orders.vhdx: vhdx"],
    );
    compare(office, "orders.vhdx", "vhdx", "orders");
    has(
        &office.is_refused(&export),
        &["orders.vhdx: it exists already"],
    );
    assert!(!part.exists());
}

//! Eleven o'clock: a volume is held to a limit, and let go.

use crate::hosts::Guest;
use crate::office::{Office, has};

/// Reads that the guest has outstanding at once: six seconds' worth under the limit.
const READS: usize = 300;

/// The limit holds for a session that is logged in, is seen at work, and is gone when it is lifted.
pub(crate) fn limits_hold_at_once(office: &Office, mut guest: Guest) {
    let told = office.types("holdfast volume set orders --iops-max 50 --bandwidth-max 20MB/s");
    has(
        &told,
        &[
            "50 IOPS (set for the volume)",
            "20 MB/s (set for the volume)",
        ],
    );
    for number in 0..READS {
        assert_eq!(guest.does(&format!("aio_read -q {}k 4k", number * 4)), "");
    }
    let shown = office.asks("holdfast volume show orders");
    let limits = &shown["limits"];
    assert_eq!(
        (&limits["iops_max"], &limits["iops_origin"]),
        (&50.into(), &"volume".into())
    );
    let usage = &limits["usage"];
    assert!(usage["limited_percent"].as_u64() > Some(50), "{usage}");
    let (iops, done) = (usage["iops"].as_u64(), usage["operations"].as_u64());
    assert!(iops < Some(100), "{usage}");
    assert!(done < Some(READS as u64), "the rest waits: {usage}");
    has(
        &office.types("holdfast volume show orders"),
        &["IOPS, ", "% of the time"],
    );

    let told = office.types("holdfast volume set orders --limits none");
    has(&told, &["limits", "none"]);
    assert_eq!(guest.does("aio_flush"), "");
    guest.reads(0x11, "0 1M");
    guest.shuts_down();

    // All volumes of the group together, for the rest of the day.
    let told = office.types("holdfast group set databases --iops-max 20000");
    has(&told, &["limits 20000 IOPS"]);
}

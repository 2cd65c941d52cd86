//! Six o'clock: another version of the program takes over, and nobody logs out.

use crate::connecting::script_for;
use crate::hosts::Guest;
use crate::office::{Office, has};

/// A guest works on through an upgrade, in the session that it had.
pub(crate) fn another_process_takes_over(office: &mut Office) {
    let mut guest = Guest::boots(office, &script_for(office, "orders"));
    guest.writes(0x77, "32M 1M");
    let before = office.asks("holdfast session list --volume orders");
    has(
        &office.types("holdfast upgrade --check"),
        &["could take over from", "1 session"],
    );
    let told = office.upgrades_the_server();
    assert_ne!(told["before"]["pid"], told["after"]["pid"]);
    assert_eq!(told["sessions"], 1);
    guest.reads(0x77, "32M 1M");
    guest.writes(0x78, "33M 1M");
    guest.reads(0x78, "33M 1M");
    let after = office.asks("holdfast session list --volume orders");
    for key in ["initiator", "isid", "tsih", "address"] {
        assert_eq!(after[0][key], before[0][key], "{key}");
    }
    guest.shuts_down();
}

//! The afternoon: a volume grows, a node is serviced, and a deletion was a mistake.

use crate::connecting::script_for;
use crate::hosts::{Guest, Node, capacity, named};
use crate::office::{Office, has, has_not};
use crate::opening::MIB;

/// CAPACITY DATA HAS CHANGED (SPC-4 table of additional sense codes).
const CAPACITY_CHANGED: &str = "2a09";

/// Hosts that are logged in are told, and see the new size.
pub(crate) fn a_volume_grows_under_its_hosts(office: &Office) {
    let mut node = Node::joins(office, "db2", "orders");
    assert_eq!(node.does("attentions"), "2900");
    assert_eq!(node.does("capacity"), (64 * MIB).to_string());
    has(
        &office.is_refused("holdfast volume resize orders --size 32MiB"),
        &["at least the present", "volumes only grow"],
    );
    assert_eq!(
        office.types("holdfast volume resize orders --size 96MiB"),
        "orders has 96.0 MiB now\n"
    );
    assert_eq!(node.does("attentions"), CAPACITY_CHANGED);
    assert_eq!(node.does("capacity"), (96 * MIB).to_string());
    node.leaves();
    assert_eq!(capacity(office, "orders"), 96 * MIB);
}

/// A node is asked to leave, kept out, and let in again. Its initiator tries for as long as that takes, and
/// its I/O waits.
pub(crate) fn a_node_is_drained(office: &Office) {
    let name = named("db1");
    let mut guest = Guest::boots(office, &script_for(office, "orders"));
    guest.writes(0x55, "95M 1M");
    let drain = format!("holdfast session drain --initiator {name} --deadline 30s");
    assert_eq!(
        office.types(&drain),
        format!("{name} is drained: no session is left\n")
    );
    let sessions = office.asks("holdfast session list --volume orders");
    assert_eq!(sessions.as_array().map(Vec::len), Some(0));
    has(
        &office.types("holdfast session drains"),
        &[&name, "refused"],
    );
    has(
        &office.types("holdfast volume show orders"),
        &["is drained: logins are refused"],
    );

    let admit = format!("holdfast session admit --initiator {name}");
    assert_eq!(office.types(&admit), format!("{name} may log in again\n"));
    guest.reads(0x55, "95M 1M");
    has(
        &office.is_refused(&admit),
        &["is not drained", "`holdfast session drains` shows who is"],
    );
    guest.shuts_down();
}

/// A volume that is in use is not deleted; one that was is there for a week.
pub(crate) fn a_deletion_is_taken_back(office: &Office) {
    let script = script_for(office, "orders");
    let mut guest = Guest::boots(office, &script);
    let said = office.is_refused("holdfast volume delete orders --delete-snapshots");
    has(&said, &["1 session", &named("db1")]);
    guest.reads(0x55, "95M 1M");
    guest.shuts_down();
    let said = office.is_refused("holdfast volume delete orders");
    has(
        &said,
        &[
            "1 snapshot: noon",
            "`holdfast snapshot delete orders@SNAPSHOT`",
        ],
    );

    let told = office.types("holdfast volume delete orders --delete-snapshots");
    has(
        &told,
        &[
            "it is kept until",
            "`holdfast volume restore orders` brings it back",
        ],
    );
    has_not(&office.types("holdfast volume list"), &["orders "]);
    has(
        &office.types("holdfast volume list --deleted"),
        &["orders "],
    );
    has(
        &office.types("holdfast volume restore orders"),
        &["restored orders:"],
    );
    has(&office.types("holdfast snapshot list orders"), &["noon"]);
    let mut guest = Guest::boots(office, &script);
    guest.reads(0x11, "0 1M");
    guest.reads(0x55, "95M 1M");
    guest.shuts_down();
}

//! Seven o'clock: a restart, and the end.

use serde_json::{Value, json};

use crate::connecting::script_for;
use crate::hosts::{Guest, Node};
use crate::office::{Office, has};

/// All that the catalogue has, as the commands tell it; without what is measured anew at each look.
fn inventory(office: &Office) -> Value {
    let listed = |what: &str, keep: &[&str]| -> Vec<Vec<Value>> {
        let all = office.asks(&format!("holdfast {what}"));
        let all = all.as_array().expect("a list").iter();
        all.map(|one| keep.iter().map(|key| one[key].clone()).collect())
            .collect()
    };
    let of_volumes = [
        "name",
        "group",
        "id",
        "iqn",
        "size_bytes",
        "limits",
        "state",
    ];
    json!([
        listed("volume list", &of_volumes),
        listed(
            "snapshot list",
            &["volume", "name", "id", "created_ms", "size_bytes"]
        ),
        listed(
            "session drains",
            &["initiator", "address", "volume", "redirect"]
        ),
        office.asks("holdfast group show databases"),
    ])
}

/// Volumes, snapshots, groups, a drain, a registration that is to outlive it, and every byte.
pub(crate) fn a_restart_loses_nothing(office: &mut Office) {
    let mut node = Node::joins(office, "db2", "golden");
    node.does("attentions");
    assert_eq!(node.does("register-aptpl c3"), "good");
    assert_eq!(node.does("reserve c3"), "good");
    office.types("holdfast session drain --address 192.0.2.7 --no-wait");
    let before = inventory(office);
    drop(node); // it does not even log out

    office.stops_the_server();
    has(
        &office.is_refused("holdfast volume list"),
        &["no server answers at"],
    );
    office.starts_the_server();
    assert_eq!(inventory(office), before);
    let after = office.asks("holdfast reservation show golden");
    assert_eq!(
        (&after["type_code"], &after["aptpl"]),
        (&5.into(), &true.into())
    );
    let registration = &after["registrations"][0];
    assert_eq!(registration["key"], "0x00000000000000c3");
    assert_eq!(registration["holder"], true);
    let mut guest = Guest::boots(office, &script_for(office, "orders"));
    guest.reads(0x11, "0 1M");
    guest.reads(0x33, "2M 1M");
    guest.reads(0x55, "95M 1M");
    guest.shuts_down();
    let mut other = Node::joins(office, "db1", "golden");
    other.does("attentions");
    assert_eq!(other.does("write"), "conflict", "the reservation holds");
    other.leaves();
    office.types("holdfast session admit --address 192.0.2.7");
}

/// Everything is deleted, and nothing of it is left on the disk.
pub(crate) fn all_is_cleared_away(mut office: Office) {
    office.types("holdfast snapshot delete orders@noon");
    for volume in ["orders", "orders-test", "golden", "books"] {
        has(
            &office.types(&format!("holdfast volume delete {volume} --purge")),
            &[&format!("deleted {volume}")],
        );
    }
    office.types("holdfast group delete databases");
    office.types("holdfast group delete ledger");
    for what in [
        "volume list",
        "volume list --deleted",
        "snapshot list",
        "session list",
    ] {
        assert_eq!(
            office.asks(&format!("holdfast {what}")),
            json!([]),
            "{what}"
        );
    }
    office.stops_the_server();
    let files = std::fs::read_dir(office.data().join("volumes")).expect("a directory");
    assert_eq!(files.count(), 0);
    assert!(!office.path("control.sock").exists());
}

//! Ten o'clock: two nodes of a cluster share a volume.

use serde_json::Value;

use crate::hosts::{Node, named};
use crate::office::{Office, has};

/// The unit attention of a new session: POWER ON OCCURRED (SPC-4 section 4.5.6).
const POWER_ON: &str = "2900";
/// RESERVATIONS PREEMPTED and REGISTRATIONS PREEMPTED.
const PREEMPTED: [&str; 2] = ["2a03", "2a05"];

/// They register and reserve, one fences the other, and the admin sees and ends all of it.
pub(crate) fn two_nodes_share_a_volume(office: &Office) {
    let mut one = Node::joins(office, "db1", "golden");
    let mut two = Node::joins(office, "db2", "golden");
    for (node, key) in [(&mut one, "a1"), (&mut two, "b2")] {
        assert_eq!(node.does("attentions"), POWER_ON);
        assert_eq!(node.does(&format!("register {key}")), "good");
    }
    assert_eq!(one.does("reserve a1"), "good");
    assert_eq!(two.does("keys"), "a1 b2");
    assert_eq!(two.does("write"), "good", "registrants may write");

    let shown = office.asks("holdfast reservation show golden");
    assert_eq!(shown["type_code"], 5);
    let keys = shown["registrations"].as_array().expect("a list").iter();
    let keys: Vec<_> = keys
        .map(|entry| (&entry["key"], &entry["holder"]))
        .collect();
    let text = |key: &str| Value::from(format!("0x{key:0>16}"));
    assert_eq!(
        keys,
        [
            (&text("a1"), &Value::from(true)),
            (&text("b2"), &Value::from(false))
        ]
    );
    let table = office.types("holdfast reservation show golden");
    has(
        &table,
        &[
            "WRITE EXCLUSIVE - REGISTRANTS ONLY",
            &named("db1"),
            &named("db2"),
        ],
    );

    // What the cluster's fencing would do is asked before the node does it.
    let foretold = office.types("holdfast reservation check golden --preempt 0xb2");
    has(&foretold, &[&named("db2"), "registration"]);
    assert_eq!(one.does("preempt a1 b2"), "good");
    assert!(PREEMPTED.contains(&two.does("attentions").as_str()));
    assert_eq!(two.does("write"), "conflict");
    let history = office.types("holdfast reservation history golden --lines 1");
    has(&history, &["PREEMPT", "0x00000000000000b2", &named("db2")]);

    // The first node dies; what it holds is in everybody's way.
    let asked = office.is_refused("holdfast reservation clear golden");
    has(&asked, &["with --yes it is done without a question"]);
    let cleared = office.types("holdfast reservation clear golden --yes");
    has(
        &cleared,
        &[&named("db1"), "left: 0 registrations, not reserved"],
    );
    assert!(office.asks("holdfast reservation show golden")["type"].is_null());
    assert_eq!(two.does("write"), "good");
    one.leaves();
    two.leaves();
}

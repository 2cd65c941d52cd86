//! Commands that ask a running server for what can't be.

use super::house::House;

/// What is wrong, and the command.
const ROWS: [(&str, &str); 34] = [
    // names
    ("a capital letter", "volume create Db-2 --size 64MiB"),
    ("a name of two characters", "volume create db --size 64MiB"),
    ("a separator at the end", "volume create db-2- --size 64MiB"),
    ("a path for a name", "volume create ../db-2 --size 64MiB"),
    ("letters beyond ASCII", "volume create dätä --size 64MiB"),
    ("a name that is taken", "volume create db-1 --size 64MiB"),
    ("an underscore in a group's name", "group create data_bases"),
    (
        "a snapshot's name with a slash",
        "snapshot create db-1 mon/day",
    ),
    (
        "a snapshot of nothing",
        "snapshot create db-9 tuesday --copy",
    ),
    (
        "a snapshot's name that is taken",
        "snapshot create db-1 monday --copy",
    ),
    ("a snapshot without its volume", "snapshot delete monday"),
    (
        "a host's name that is no iSCSI name",
        "session drain --initiator db-1",
    ),
    (
        "an address that is none",
        "session drain --address 10.0.0.300",
    ),
    // sizes
    ("a size of nothing", "volume create db-2 --size 0"),
    ("a size below zero", "volume create db-2 --size=-1GiB"),
    ("a size without a number", "volume create db-2 --size GiB"),
    ("a size of an unknown unit", "volume create db-2 --size 64Q"),
    (
        "a size that no number holds",
        "volume create db-2 --size 99999999999999TiB",
    ),
    ("a size beyond 64 TiB", "volume create db-2 --size 65TiB"),
    ("half a block", "volume create db-2 --size 1048832"),
    (
        "a block size of 520",
        "volume create db-2 --size 64MiB --block-size 520",
    ),
    ("less than there is", "volume resize db-1 --size 32MiB"),
    ("more than 64 TiB", "volume resize db-1 --size 65TiB"),
    // settings
    ("a limit below the least", "volume set db-1 --iops-max 1"),
    (
        "more sessions than any volume has",
        "volume set db-1 --sessions-max 5000",
    ),
    (
        "another scope while it is in use",
        "volume set db-1 --reservation-scope client",
    ),
    (
        "a retention of no unit",
        "group set databases --retention 7",
    ),
    ("a group that holds volumes", "group delete databases"),
    // what is in use or not there
    ("a volume in use", "volume delete db-1 --delete-snapshots"),
    (
        "a volume with snapshots, by force",
        "volume delete db-1 --force",
    ),
    ("a revert in use", "volume revert db-1 --to monday --copy"),
    ("a volume that is not deleted", "volume restore db-1"),
    (
        "a block device that is none",
        "volume create db-2 --backend block --path /dev/null",
    ),
    ("reservations without a word", "reservation clear db-1"),
];

#[test]
fn what_commands_ask_for_in_vain() {
    let mut house = House::new();
    house.refuses("wrong_commands", &ROWS);
    house.survives_a_crash();
}

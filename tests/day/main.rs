//! A day in a storage admin's life, through the command line alone.
//!
//! One story, hour by hour: what the admin types stands in it as it is typed, and what has to come of it.
//! The hosts are not this project's: libiscsi's own tools, a cluster's nodes on libiscsi (`node`), and QEMU's
//! block layer with its iSCSI driver, started by what `holdfast connect` prints (`guest`).
//!
//! | hour | room | what happens |
//! |---|---|---|
//! | 07 | `opening` | a configuration, a server, a group, volumes from nothing and from an image |
//! | 08 | `access` | nobody may log in; then who the rules name, with CHAP; digests enforced |
//! | 09 | `connecting` | a script for a host, what it attached, data compared |
//! | 10 | `cluster` | two nodes register, reserve and fence; the reservation is cleared |
//! | 11 | `limiting` | limits are set, felt, seen and lifted |
//! | 12 | `copying` | snapshot, clone, revert, export |
//! | 14 | `changing` | growth under a session, a drain, a deletion and the way back |
//! | 17 | `watching` | events, metrics, audit log, health |
//! | 18 | `renewing` | another version of the program takes over, and nobody logs out |
//! | 19 | `closing` | a restart that loses nothing, and the end of everything |
//!
//! `office` is the admin's desk, `hosts` are the initiators.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod changing;
mod closing;
mod cluster;
mod connecting;
mod copying;
mod hosts;
mod limiting;
mod office;
mod opening;
mod renewing;
mod watching;

use office::Office;
use support::places::Place;
use support::skip;

/// Where blocks can't be shared snapshots are copies, and volumes have to be at rest for them.
#[test]
fn a_day_on_any_file_system() {
    live_through(None);
}

#[test]
fn a_day_on_a_file_system_that_shares_blocks() {
    match Place::with_reflink("xfs") {
        Ok(place) => live_through(Some(place)),
        Err(why) => skip(format!("no file system with reflink: {why}")),
    }
}

fn live_through(place: Option<Place>) {
    if let Err(missing) = hosts::are_installed() {
        return skip(missing);
    }
    let mut office = Office::move_in(place);
    opening::a_server_is_set_up(&mut office);
    opening::volumes_are_made(&office);
    access::nobody_may_log_in(&office);
    access::rules_let_hosts_in(&mut office);
    access::a_host_proves_itself(&office);
    access::digests_are_enforced(&office);
    let guest = connecting::a_script_connects_a_host(&office);
    let guest = connecting::data_is_what_was_written(&office, guest);
    cluster::two_nodes_share_a_volume(&office);
    limiting::limits_hold_at_once(&office, guest);
    copying::a_mistake_is_undone(&office);
    copying::a_snapshot_leaves_the_house(&office);
    changing::a_volume_grows_under_its_hosts(&office);
    changing::a_node_is_drained(&office);
    changing::a_deletion_is_taken_back(&office);
    watching::what_happened_is_told(&office);
    renewing::another_process_takes_over(&mut office);
    closing::a_restart_loses_nothing(&mut office);
    closing::all_is_cleared_away(office);
}

//! `holdfast group set`.

use std::io::Write;

use clap::Args;

use super::client::Connection;
use super::limits::{self, GroupPreset, LimitArguments};
use super::values::Retention;
use super::{Failure, show};
use crate::control::api::{GroupSet, GroupView, LimitsPreset, method};
use crate::volume::GroupName;

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast group set databases --iops-max 20000 --bandwidth-max 500MB/s
      what all of its volumes may have together, whatever each may have for itself
  holdfast group set databases --iops-max 20000 --burst 5s
      after five seconds at rest, 100000 operations may go at once
  holdfast group set databases --limits provisioned
      each of its volumes is limited by its size, unless it has chosen otherwise
  holdfast group set databases --limits none
      no limits any more, neither of the group nor by it; those that a volume has set stay
  holdfast group set databases --retention 7d
      keep deleted volumes of the group for a week
  holdfast group set databases --retention 0
      keep nothing from now on; what is kept already stays for its time

Who may log in is said by the configuration, not here: `holdfast config reload` applies a change.

Limits hold at once, for sessions that are logged in too, and are durable when the command returns.
Volumes that share a group's limits go on by turns. `holdfast volume show` tells what holds for a volume,
and where it comes from.";

#[derive(Debug, Args)]
#[group(id = "settings", required = true, multiple = true, args = [
    "limits", "iops_max", "bandwidth_max", "burst", "retention",
])]
pub(super) struct SetArguments {
    /// The group's name
    name: GroupName,
    /// Begin anew: by the size of each volume, or without limits; the other options come on top
    #[arg(long, value_enum, value_name = "PRESET")]
    limits: Option<GroupPreset>,
    #[command(flatten)]
    values: LimitArguments,
    /// For how long its deleted volumes are kept, such as 7d; 0: not at all
    #[arg(long, value_name = "TIME")]
    retention: Option<Retention>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: SetArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let preset = arguments.limits.map(LimitsPreset::from);
    let set = GroupSet {
        name: arguments.name,
        retention_seconds: arguments.retention.map(|retention| retention.0),
        limits: arguments.values.request(preset),
    };
    let connection = arguments.connection;
    connection.ask(out, method::GROUP_SET, &set, |group: &GroupView| {
        let limits = limits::of_group(&group.limits);
        let kept = show::retention(group);
        format!("group {}: limits {limits}; {kept}\n", group.name)
    })
}

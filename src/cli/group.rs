//! `holdfast group`.

use std::io::Write;

use clap::Subcommand;

use super::client::{Connection, Nothing};
use super::table::{Column, render};
use super::values::{human, human_seconds};
use super::{Failure, group_set, limits};
use crate::control::access::Origin;
use crate::control::api::{GroupLimitsView, GroupSelect, GroupView, method};
use crate::volume::GroupName;

const SHOW_EXAMPLES: &str = "\
Examples:
  holdfast group show databases
      who may log in to the volumes of this group and on what terms, and which table of the
      configuration says so
  holdfast group show databases --json | jq -r '.allow[]'
      the networks alone

Rules are set in the configuration: [groups.NAME] for one group, [access] for all that say nothing
else; `holdfast config reload` has a running server take them. What is inherited is switched off by
allow = [], initiators = [], enforce_crc = false, and CHAP by chap = \"none\". A login is judged in this order, and refused at the first rule that it breaks:
  allow                   the initiator's address            status 0202, authorization failure
  initiators              its iSCSI name                     status 0202
  chap_accounts           the secret that it proves          status 0201, authentication failure
  enforce_crc             HeaderDigest and DataDigest        status 0200, initiator error
  sessions_per_initiator  sessions of that name, per volume  status 0302, out of resources
Discovery shows an initiator the volumes that the first two let it use. Volumes that ask for CHAP are
shown to a discovery session that has proved an account of theirs, and to no other.";

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// List all groups and who may log in to their volumes
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the rules that hold for one group, and what says so
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show {
        /// The group's name
        name: GroupName,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a group; its access rules are [groups.NAME] of the configuration, or [access]
    Create {
        /// Name: 3 to 63 lowercase letters, digits, single '-' between them
        name: GroupName,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change what is set for a group: limits, and for how long deleted volumes are kept
    #[command(after_long_help = group_set::EXAMPLES)]
    Set(group_set::SetArguments),
    /// Delete an empty group
    Delete {
        /// The group's name
        name: GroupName,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(super) fn run(command: GroupCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        GroupCommand::List { connection } => {
            connection.ask(out, method::GROUP_LIST, &Nothing {}, list)
        }
        GroupCommand::Show { name, connection } => {
            connection.ask(out, method::GROUP_SHOW, &GroupSelect { name }, show)
        }
        GroupCommand::Create { name, connection } => connection.ask(
            out,
            method::GROUP_CREATE,
            &GroupSelect { name },
            |group: &GroupView| format!("created {}\n", group.name),
        ),
        GroupCommand::Set(arguments) => group_set::run(arguments, out),
        GroupCommand::Delete { name, connection } => connection.ask(
            out,
            method::GROUP_DELETE,
            &GroupSelect { name },
            |group: &GroupView| format!("deleted {}\n", group.name),
        ),
    }
}

#[allow(clippy::ptr_arg, reason = "it shows what the answer was parsed to")]
fn list(groups: &Vec<GroupView>) -> String {
    let columns = [
        Column::Text("NAME"),
        Column::Number("VOLUMES"),
        Column::Text("CHAP"),
        Column::Text("DIGESTS"),
        Column::Text("LIMITS"),
        Column::Number("RETENTION"),
        Column::Text("INITIATORS"),
        Column::Text("NETWORKS"),
    ];
    let row = |group: &GroupView| {
        vec![
            group.name.clone(),
            group.volumes.to_string(),
            if group.chap { "required" } else { "no" }.to_owned(),
            digests(group).to_owned(),
            limits::of_group(&group.limits),
            match group.retention_seconds {
                0 => "none".to_owned(),
                seconds => human_seconds(seconds),
            },
            joined(&group.initiators, "any"),
            joined(&group.allow, "nobody"),
        ]
    };
    render(&columns, groups.iter().map(row))
}

fn show(group: &GroupView) -> String {
    let columns = [
        Column::Text("RULE"),
        Column::Text("VALUE"),
        Column::Text("FROM"),
    ];
    let origins = &group.origins;
    let sessions = group.sessions_per_initiator;
    let rules = [
        (
            "allow",
            joined(&group.allow, "none: nobody may log in"),
            origins.allow,
        ),
        (
            "initiators",
            joined(&group.initiators, "any"),
            origins.initiators,
        ),
        ("chap_accounts", chap(group), origins.chap_accounts),
        (
            "enforce_crc",
            format!("{} ({})", group.enforce_crc, digests(group)),
            origins.enforce_crc,
        ),
        (
            "sessions_per_initiator",
            sessions.map_or("no limit of its own".to_owned(), |count| count.to_string()),
            origins.sessions_per_initiator,
        ),
        (
            "max_burst_length",
            human(group.max_burst_length.into()),
            origins.max_burst_length,
        ),
        (
            "first_burst_length",
            human(group.first_burst_length.into()),
            origins.first_burst_length,
        ),
        (
            "max_receive_segment",
            human(group.max_receive_segment.into()),
            origins.max_receive_segment,
        ),
    ];
    let told = limits::of_group(&group.limits);
    let GroupLimitsView {
        iops_max,
        bandwidth_max,
        preset,
        ..
    } = group.limits;
    // The burst alone limits nothing.
    let chosen = match (iops_max, bandwidth_max, preset) {
        (None, None, None) => "default",
        _ => "group set",
    };
    let (retention, kept) = match group.retention_seconds {
        0 => ("none".to_owned(), "default"),
        seconds => (human_seconds(seconds), "group set"),
    };
    let rows = rules
        .map(|(rule, value, origin)| vec![rule.to_owned(), value, place(origin, &group.name)])
        .into_iter()
        .chain([
            vec!["limits".to_owned(), told, chosen.to_owned()],
            vec!["retention".to_owned(), retention, kept.to_owned()],
        ]);
    let plural = if group.volumes == 1 { "" } else { "s" };
    let table = render(&columns, rows);
    format!(
        "group {}: {} volume{plural}\n{table}",
        group.name, group.volumes
    )
}

fn digests(group: &GroupView) -> &'static str {
    match group.enforce_crc {
        true => "required",
        false => "optional",
    }
}

fn chap(group: &GroupView) -> String {
    if !group.chap {
        return match group.origins.chap_accounts {
            Origin::Default => "none: no proof is asked for",
            _ => "none: switched off by chap = \"none\"",
        }
        .to_owned();
    }
    let users = group.chap_users.join(",");
    match &group.chap_mutual {
        Some(own) => format!("{users}; mutual as {own}"),
        None => format!("{users}; one-way"),
    }
}

fn joined(items: &[String], none: &str) -> String {
    match items {
        [] => none.to_owned(),
        items => items.join(","),
    }
}

/// Which part of the configuration it is.
fn place(origin: Origin, group: &str) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::Environment => "HOLDFAST_CHAP_ACCOUNTS".to_owned(),
        Origin::Limits => "[limits]".to_owned(),
        Origin::Access => "[access]".to_owned(),
        Origin::Group => format!("[groups.{group}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::access::Origins;

    #[test]
    fn every_rule_is_shown_with_its_place() {
        let group = GroupView {
            name: "databases".to_owned(),
            volumes: 1,
            allow: vec!["10.7.0.0/16".to_owned(), "fd00::/8".to_owned()],
            initiators: Vec::new(),
            chap: true,
            chap_users: vec!["db1".to_owned(), "db2".to_owned()],
            chap_mutual: Some("san".to_owned()),
            enforce_crc: true,
            require_digests: true,
            sessions_per_initiator: Some(32),
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            max_receive_segment: 262_144,
            limits: GroupLimitsView::default(),
            retention_seconds: 0,
            deleted_volumes: 0,
            origins: Origins {
                allow: Origin::Access,
                initiators: Origin::Default,
                chap_accounts: Origin::Environment,
                enforce_crc: Origin::Group,
                sessions_per_initiator: Origin::Limits,
                ..Origins::default()
            },
        };
        let shown = "\
group databases: 1 volume
RULE                    VALUE                   FROM
allow                   10.7.0.0/16,fd00::/8    [access]
initiators              any                     default
chap_accounts           db1,db2; mutual as san  HOLDFAST_CHAP_ACCOUNTS
enforce_crc             true (required)         [groups.databases]
sessions_per_initiator  32                      [limits]
max_burst_length        256.0 KiB               default
first_burst_length      64.0 KiB                default
max_receive_segment     256.0 KiB               default
limits                  none                    default
retention               none                    default
";
        assert_eq!(show(&group), shown);
    }
}

//! `holdfast snapshot`.

use std::io::Write;

use clap::Subcommand;

use super::client::Connection;
use super::table::{Column, describe, render};
use super::time::utc;
use super::values::{SnapshotName, human};
use super::{EXIT_USAGE, Failure};
use crate::control::api::{SnapshotCreate, SnapshotList, SnapshotSelect, SnapshotView, method};
use crate::volume::{GroupName, VolumeName};

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast snapshot create db-1 monday
      the content of db-1 at this instant, while its hosts are at work
  holdfast snapshot create db-1 db-1-log monday
      of two volumes at one and the same instant; the last name is the snapshot's
  holdfast snapshot create --group databases monday
      of every volume of a group, at one instant
  holdfast snapshot create db-1 monday --copy
      where the file system can't share blocks; nobody may be logged in then

A snapshot is crash-consistent: what was acknowledged before the command is in it, no write is
torn, and of several volumes all are of the same instant. It is what a power cut at that instant
would have left, so file systems and databases recover from it as from one; what a host has only in
its own memory is not in it. I/O waits for as long as the blocks are being shared, at most 5 s; if
that is not enough nothing is taken.

Blocks are shared by reflink, which takes XFS (reflink=1, mkfs.xfs's default) or btrfs. Reservations
are no part of a snapshot.";

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Take a snapshot of a volume, or of several at one instant
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create {
        /// The volumes, and last the snapshot's name
        #[arg(required = true, value_name = "VOLUME|NAME")]
        names: Vec<VolumeName>,
        /// Every volume of this group, at one instant
        #[arg(long)]
        group: Option<GroupName>,
        /// Copy where blocks can't be shared; nobody may be logged in
        #[arg(long)]
        copy: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// List snapshots, the oldest first
    List {
        /// Only those of this volume
        volume: Option<VolumeName>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one snapshot
    Show {
        /// The snapshot: VOLUME@NAME
        snapshot: SnapshotName,
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete a snapshot; volumes that were made from it stay as they are
    Delete {
        /// The snapshot: VOLUME@NAME
        snapshot: SnapshotName,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(super) fn run(command: SnapshotCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create {
            mut names,
            group,
            copy,
            connection,
        } => {
            let name = names.pop();
            let Some(name) = name.filter(|_| group.is_some() || !names.is_empty()) else {
                return Err(Failure {
                    code: EXIT_USAGE,
                    message: "a snapshot needs a volume and a name, such as `snapshot create db-1 \
                              monday`, or --group"
                        .to_owned(),
                });
            };
            let create = SnapshotCreate {
                volumes: names,
                group,
                name,
                copy,
            };
            connection.ask_for_long(
                out,
                method::SNAPSHOT_CREATE,
                &create,
                |taken: &Vec<SnapshotView>| taken.iter().map(made).collect(),
            )
        }
        SnapshotCommand::List { volume, connection } => connection.ask(
            out,
            method::SNAPSHOT_LIST,
            &SnapshotList { volume },
            |all: &Vec<SnapshotView>| list(all),
        ),
        SnapshotCommand::Show {
            snapshot,
            connection,
        } => connection.ask(out, method::SNAPSHOT_SHOW, &select(snapshot), show),
        SnapshotCommand::Delete {
            snapshot,
            connection,
        } => connection.ask(
            out,
            method::SNAPSHOT_DELETE,
            &select(snapshot),
            |view: &SnapshotView| format!("deleted {}@{}\n", view.volume, view.name),
        ),
    }
}

fn select(SnapshotName { volume, snapshot }: SnapshotName) -> SnapshotSelect {
    SnapshotSelect { volume, snapshot }
}

fn made(view: &SnapshotView) -> String {
    let mut text = format!("created {}@{}\n", view.volume, view.name);
    if let Some(warning) = &view.warning {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

fn list(snapshots: &[SnapshotView]) -> String {
    let columns = [
        Column::Text("VOLUME"),
        Column::Text("SNAPSHOT"),
        Column::Number("SIZE"),
        Column::Text("TAKEN"),
        Column::Text("SET"),
        Column::Text("STATE"),
    ];
    render(
        &columns,
        snapshots.iter().map(|view| {
            let set = view.set.as_deref().and_then(|set| set.get(..8));
            vec![
                view.volume.clone(),
                view.name.clone(),
                human(view.size_bytes),
                utc(view.created_ms),
                set.unwrap_or("-").to_owned(),
                if view.warning.is_some() {
                    "warning"
                } else {
                    "ok"
                }
                .to_owned(),
            ]
        }),
    )
}

fn show(view: &SnapshotView) -> String {
    let mut pairs = vec![
        ("snapshot", format!("{}@{}", view.volume, view.name)),
        ("id", view.id.clone()),
        ("taken", utc(view.created_ms)),
        (
            "size",
            format!("{} ({} bytes)", human(view.size_bytes), view.size_bytes),
        ),
    ];
    if let Some(set) = &view.set {
        pairs.push(("set", set.clone()));
    }
    pairs.push(("path", view.path.display().to_string()));
    if let Some(allocated) = view.allocated_bytes {
        pairs.push((
            "occupies",
            format!("{}, shared blocks included", human(allocated)),
        ));
    }
    if let Some(warning) = &view.warning {
        pairs.push(("warning", warning.clone()));
    }
    pairs.push((
        "use",
        format!(
            "holdfast volume create NEW --from-snapshot {}@{}",
            view.volume, view.name
        ),
    ));
    describe(&pairs)
}

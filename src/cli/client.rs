//! The commands that ask a running server.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{LimitArguments, VolumePreset};
use super::progress::Shown;
use super::values::{Delay, Size, SnapshotName, human, wrapper};
use super::{EXIT_UNREACHABLE, EXIT_USAGE, Failure, print, show, volume_image, volume_set};
use crate::backend::Wrapper;
use crate::control::api::{
    BackendKind, DrainSelect, LimitsPreset, VolumeCreate, VolumeDelete, VolumeList, VolumeResize,
    VolumeRevert, VolumeSelect, VolumeSource, VolumeView, method,
};
use crate::control::config::{Config, control_socket_in};
use crate::control::rpc::{Client, ClientError};
use crate::volume::{BlockSize, GroupName, ReservationScope, VolumeName};

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast volume create db-1 --size 100GiB
      a thin volume in a file of the data directory
  holdfast volume create db-1 --size 100GiB --group databases
      in a group of its own, with the access rules of [groups.databases] in the configuration
  holdfast volume create fast --backend block --path /dev/nvme1n1
      a whole block device; its size is the device's unless --size is smaller
  holdfast volume create scratch --size 4GiB --backend ram
      memory: its content is gone when the server stops
  holdfast volume create archive --backend block --path /dev/sdb --read-only
      a device whose content no initiator may change
  holdfast volume create db-2 --size 100GiB --limits provisioned
      at most as many operations and bytes per second as come with its size (75000 IOPS, 1280 MB/s)
  holdfast volume create db-2 --from-snapshot db-1@monday
      the content of a snapshot, usable at once: its blocks are shared until one of them is written
  holdfast volume create golden --from-image /images/debian.qcow2 --size 20GiB
      the content of an image, and zeros behind it; qemu-img reads it where the server runs
  holdfast volume create nothing --size 1TiB --backend null
      keeps nothing, for measuring everything but the disk

The format of an image is said by --image-format or by its name (.raw, .img, .qcow2, .vhd, .vhdx),
never found out from what is in it. An image that refers to another file is refused. A volume that
is made from a snapshot or an image is there when all of it is, and not at all if the command fails
or is interrupted. With --json, lines with how far it is come before the volume.

What can be changed later: `holdfast volume set --help`.

The target's name is iqn.<authority>:<san>:<volume>; `volume show` tells it. GiB is 1024³ bytes, GB
is 1000³.";

const SERVER_DRAIN_EXAMPLES: &str = "\
Examples:
  holdfast server drain --deadline 1m
      everybody is asked to log out, who has not within a minute is dropped, and nobody can log in
  holdfast server drain --redirect 10.0.0.2:3260
      everybody is sent to another node that serves the same volumes
  holdfast server admit
      the end of it

It outlives a restart. `session drain` does the same for one node.";
const DELETE_NOTES: &str = "\
A volume whose group has a retention is kept for that long, with its snapshots: `volume list
--deleted` shows it, `volume restore` brings it back, and its name stays taken. Its registrations
and reservations are gone at once. Volumes in memory are not kept. `holdfast group set --help`
tells how to set it.

With --force, sessions are asked to log out (asynchronous message, RFC 7143 section 11.9); those
that are left after limits.drain_timeout (5s) are dropped. Whoever logs in again finds no such
target.

A block device stays as it is.";

const REVERT_NOTES: &str = "\
The volume keeps its size: what it has grown by since the snapshot reads as zeros. It keeps its
name, identifier and snapshots. Nobody may use it: no session, and no registration, for whoever has
registered means to come back to the content that there is. With --force sessions are ended, and of
registrations only those stand that APTPL keeps. What was written since the snapshot is gone; take
another snapshot first if it may be wanted.";

/// How to find the server, and how to answer.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Control socket of the server [default: control.sock in the data directory]
    #[arg(long, value_name = "SOCKET", env = "HOLDFAST_CONTROL")]
    control: Option<PathBuf>,
    /// Data directory of the server, to find its control socket
    #[arg(
        long,
        value_name = "DIR",
        env = "HOLDFAST_DATA",
        default_value = "holdfast-data"
    )]
    data: PathBuf,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum VolumeCommand {
    /// Make a volume and serve it at once
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create(CreateArguments),
    /// List all volumes
    List {
        /// Those that are deleted and can be restored, instead
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one volume, with lines to paste into iscsiadm
    Show {
        /// The volume's name
        name: VolumeName,
        #[command(flatten)]
        connection: Connection,
    },
    /// Grow a volume online; initiators are told by a unit attention
    Resize {
        /// The volume's name
        name: VolumeName,
        /// New size, such as 2GiB; volumes only grow
        #[arg(long)]
        size: Size,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change a volume's settings, as far as it can be done without hurting those who use it
    #[command(after_long_help = volume_set::EXAMPLES)]
    Set(volume_set::SetArguments),
    /// Give a volume the content of one of its snapshots
    #[command(after_long_help = REVERT_NOTES)]
    Revert {
        /// The volume's name
        name: VolumeName,
        /// The snapshot's name
        #[arg(long, value_name = "SNAPSHOT")]
        to: VolumeName,
        /// Ask its sessions to log out, and drop those that don't; without it a volume in use stays
        #[arg(long)]
        force: bool,
        /// Copy where blocks can't be shared
        #[arg(long)]
        copy: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Write a snapshot, or a volume that nobody uses, to an image
    #[command(after_long_help = volume_image::EXPORT_EXAMPLES)]
    Export(volume_image::ExportArguments),
    /// Delete a volume with its data and its reservations
    #[command(after_long_help = DELETE_NOTES)]
    Delete {
        /// The volume's name
        name: VolumeName,
        /// Ask its sessions to log out, and drop those that don't; without it a volume in use stays
        #[arg(long)]
        force: bool,
        /// Delete it for good, whatever its group keeps, or if it is deleted already
        #[arg(long)]
        purge: bool,
        /// Delete its snapshots with it
        #[arg(long)]
        delete_snapshots: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Bring a deleted volume back, while its group keeps it
    Restore {
        /// The volume's name
        name: VolumeName,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// Name: 3 to 63 lowercase letters, digits, single '-' or '_' between them
    name: VolumeName,
    /// Size, such as 1GiB; for a block device, a snapshot or an image theirs if left out
    #[arg(long)]
    size: Option<Size>,
    /// Fill it with a snapshot: VOLUME@NAME
    #[arg(long, value_name = "VOLUME@NAME", conflicts_with_all = ["backend", "path", "block_size", "from_image"])]
    from_snapshot: Option<SnapshotName>,
    /// Fill it with an image: a file where the server runs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backend", "path"])]
    from_image: Option<PathBuf>,
    /// The image's format [default: by its name, such as .qcow2]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "from_image")]
    image_format: Option<volume_image::FormatArgument>,
    /// With --from-snapshot: copy where blocks can't be shared
    #[arg(long, requires = "from_snapshot")]
    copy: bool,
    /// Group, made if it does not exist [default: default]
    #[arg(long)]
    group: Option<GroupName>,
    /// Where its blocks are
    #[arg(long, value_enum, default_value = "file")]
    backend: BackendArgument,
    /// Block device, or file to make [default for a file: one in the data directory]
    #[arg(long, required_if_eq("backend", "block"))]
    path: Option<PathBuf>,
    /// Bytes of a logical block: 512 or 4096
    #[arg(long, value_name = "BYTES", default_value = "512")]
    block_size: BlockSize,
    /// Refuse every write (DATA PROTECT)
    #[arg(long)]
    read_only: bool,
    /// Let initiators eject and load the medium; clusters refuse removable disks
    #[arg(long)]
    removable: bool,
    /// Sessions that may be logged in at once [default: limits.sessions_per_volume, 128]
    #[arg(long, value_name = "N")]
    sessions_max: Option<u32>,
    /// Whose a reservation registration is [default: san.reservation_scope, nexus]
    #[arg(long, value_enum, value_name = "SCOPE")]
    reservation_scope: Option<ScopeArgument>,
    /// Limits: by its size, none, or as its group says; the next options come on top [default: inherit]
    #[arg(long, value_enum, value_name = "PRESET")]
    limits: Option<VolumePreset>,
    #[command(flatten)]
    limit_values: LimitArguments,
    /// For tests: hold each request in the backend for that long, such as 5ms
    #[arg(long, value_name = "TIME")]
    delay: Option<Delay>,
    /// For tests: what stands before the backend, as JSON; repeated, the innermost first
    #[arg(long, value_name = "JSON", hide = true, value_parser = wrapper)]
    test_wrapper: Vec<Wrapper>,
    #[command(flatten)]
    connection: Connection,
}

/// [`BackendKind`] as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BackendArgument {
    /// A thin file
    File,
    /// Memory, gone when the server stops
    Ram,
    /// Discards writes, reads zeros
    Null,
    /// A raw block device
    Block,
}

/// [`ReservationScope`] as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ScopeArgument {
    /// Each session's nexus registers for itself, as SPC-4 says
    Nexus,
    /// All sessions of one initiator name share one registration
    Client,
}

#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    /// Show the server: portals, volumes, sessions
    Status {
        #[command(flatten)]
        connection: Connection,
    },
    /// Take every node out of service, while the server goes on
    #[command(after_long_help = SERVER_DRAIN_EXAMPLES)]
    Drain(super::session::DrainArguments),
    /// Let everyone log in again after `server drain`
    Admit {
        #[command(flatten)]
        connection: Connection,
    },
    /// Drain and stop the server, as SIGTERM does
    Stop {
        #[command(flatten)]
        connection: Connection,
    },
}

/// No parameters.
#[derive(Serialize)]
pub(super) struct Nothing {}

impl Connection {
    /// One to that socket, or to that of that data directory, or of the usual one.
    pub(super) fn to(control: Option<PathBuf>, data: Option<PathBuf>, json: bool) -> Self {
        Self {
            control,
            data: data.unwrap_or_else(|| Config::default().data),
            json,
        }
    }

    /// Calls a method and prints its answer: as JSON, or as `show` puts it.
    pub(super) fn ask<R: Serialize + DeserializeOwned>(
        &self,
        out: &mut dyn Write,
        method: &str,
        params: &impl Serialize,
        show: impl FnOnce(&R) -> String,
    ) -> Result<(), Failure> {
        let answer: R = self.call(method, params)?;
        if self.json {
            let text = serde_json::to_string_pretty(&answer).map_err(Failure::new)?;
            print(out, &format!("{text}\n"));
        } else {
            print(out, &show(&answer));
        }
        Ok(())
    }

    /// As [`Connection::ask`], for work that may be long: it is shown how far that is. As JSON, each of
    /// these is a line, and so is the answer.
    pub(super) fn ask_for_long<R: Serialize + DeserializeOwned>(
        &self,
        out: &mut dyn Write,
        method: &str,
        params: &impl Serialize,
        show: impl FnOnce(&R) -> String,
    ) -> Result<(), Failure> {
        let mut told = 0;
        let answer: R = {
            let shown = Shown::new(self.json, &mut *out);
            self.client()?
                .call_for_long(method, params, &mut |progress| {
                    told += 1;
                    shown.tell(progress);
                })?
        };
        let text = match (self.json, told) {
            (false, _) => show(&answer),
            (true, 0) => serde_json::to_string_pretty(&answer).map_err(Failure::new)? + "\n",
            (true, _) => serde_json::to_string(&answer).map_err(Failure::new)? + "\n",
        };
        print(out, &text);
        Ok(())
    }

    /// Calls a method and hands back its answer.
    pub(super) fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, Failure> {
        self.client()?.call(method, params).map_err(Failure::from)
    }

    /// A connection for several calls.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let socket = self
            .control
            .clone()
            .unwrap_or_else(|| control_socket_in(&self.data));
        Ok(Client::connect(&socket)?)
    }

    /// Whether programs read the answer.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self {
            code: exit_code(&error),
            message: error.to_string(),
        }
    }
}

fn exit_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Unreachable { .. } => EXIT_UNREACHABLE,
        ClientError::NoAnswer { .. } | ClientError::Refused { .. } => super::EXIT_FAILED,
    }
}

pub(super) fn volume(command: VolumeCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        VolumeCommand::Create(arguments) => {
            let (create, connection) = arguments.request()?;
            connection.ask_for_long(
                out,
                method::VOLUME_CREATE,
                &create,
                |volume: &VolumeView| format!("created {}: {}\n", volume.name, volume.iqn),
            )
        }
        VolumeCommand::List {
            deleted,
            connection,
        } => {
            let show = if deleted { show::deleted_volumes } else { show::volumes };
            connection.ask(out, method::VOLUME_LIST, &VolumeList { deleted }, show)
        }
        VolumeCommand::Show { name, connection } => connection.ask(
            out,
            method::VOLUME_SHOW,
            &VolumeSelect { name },
            show::volume,
        ),
        VolumeCommand::Resize {
            name,
            size,
            connection,
        } => {
            let resize = VolumeResize {
                name,
                size_bytes: size.0,
            };
            connection.ask(
                out,
                method::VOLUME_RESIZE,
                &resize,
                |volume: &VolumeView| {
                    format!("{} has {} now\n", volume.name, human(volume.size_bytes))
                },
            )
        }
        VolumeCommand::Set(arguments) => volume_set::run(arguments, out),
        VolumeCommand::Revert {
            name,
            to,
            force,
            copy,
            connection,
        } => {
            let revert = VolumeRevert {
                name,
                to: to.clone(),
                force,
                copy,
            };
            connection.ask_for_long(
                out,
                method::VOLUME_REVERT,
                &revert,
                |volume: &VolumeView| format!("{} has the content of {to} again\n", volume.name),
            )
        }
        VolumeCommand::Export(arguments) => volume_image::export(arguments, out),
        VolumeCommand::Delete {
            name,
            force,
            purge,
            delete_snapshots,
            connection,
        } => {
            let delete = VolumeDelete {
                name,
                force,
                purge,
                delete_snapshots,
            };
            connection.ask(out, method::VOLUME_DELETE, &delete, |volume| {
                show::deleted(volume, purge)
            })
        }
        VolumeCommand::Restore { name, connection } => connection.ask(
            out,
            method::VOLUME_RESTORE,
            &VolumeSelect { name },
            |volume: &VolumeView| {
                format!(
                    "restored {}: {}\nits registrations and reservations are gone; hosts have to register \
                     again\n",
                    volume.name, volume.iqn
                )
            },
        ),
    }
}

fn everyone() -> DrainSelect {
    DrainSelect {
        everyone: true,
        ..DrainSelect::default()
    }
}

pub(super) fn server(command: ServerCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        ServerCommand::Status { connection } => {
            connection.ask(out, method::SERVER_STATUS, &Nothing {}, show::status)
        }
        ServerCommand::Drain(drain) => drain.run(everyone(), out),
        ServerCommand::Admit { connection } => super::session::admit(&connection, everyone(), out),
        ServerCommand::Stop { connection } => {
            connection.ask(out, method::SERVER_STOP, &Nothing {}, |(): &()| {
                "the server drains and stops\n".to_owned()
            })
        }
    }
}

impl From<ScopeArgument> for ReservationScope {
    fn from(argument: ScopeArgument) -> Self {
        match argument {
            ScopeArgument::Nexus => Self::Nexus,
            ScopeArgument::Client => Self::Client,
        }
    }
}

impl CreateArguments {
    fn request(self) -> Result<(VolumeCreate, Connection), Failure> {
        let is_filled = self.from_snapshot.is_some() || self.from_image.is_some();
        let has_size = is_filled || matches!(self.backend, BackendArgument::Block);
        if self.size.is_none() && !has_size {
            let message = "a volume that is no block device needs --size, such as --size 1GiB";
            return Err(Failure {
                code: EXIT_USAGE,
                message: message.to_owned(),
            });
        }
        // The server's working directory is another one.
        let absolute = |path: PathBuf| {
            std::path::absolute(&path)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let copy = self.copy;
        let from_snapshot = self.from_snapshot.map(|from| VolumeSource::Snapshot {
            volume: from.volume,
            snapshot: from.snapshot,
            copy,
        });
        let from_image = match &self.from_image {
            Some(path) => {
                let image = volume_image::image(path, self.image_format)?;
                Some(VolumeSource::Image(image))
            }
            None => None,
        };
        let create = VolumeCreate {
            name: self.name,
            size_bytes: self.size.map(|size| size.0),
            source: from_snapshot.or(from_image),
            group: self.group,
            backend: match self.backend {
                BackendArgument::File => BackendKind::File,
                BackendArgument::Ram => BackendKind::Ram,
                BackendArgument::Null => BackendKind::Null,
                BackendArgument::Block => BackendKind::Block,
            },
            path: self.path.map(absolute).transpose()?,
            block_bytes: self.block_size,
            read_only: self.read_only,
            removable: self.removable,
            sessions_max: self.sessions_max,
            reservation_scope: self.reservation_scope.map(ReservationScope::from),
            limits: self
                .limit_values
                .request(self.limits.map(LimitsPreset::from)),
            delay_us: self.delay.map_or(0, |delay| delay.us),
            test_wrappers: self.test_wrapper,
        };
        Ok((create, self.connection))
    }
}

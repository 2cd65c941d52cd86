//! `holdfast volume set`.

use std::io::Write;

use clap::Args;

use super::client::{Connection, ScopeArgument};
use super::limits::{LimitArguments, VolumePreset};
use super::values::sessions_max;
use super::{Failure, show};
use crate::control::api::{LimitsPreset, SessionsMax, VolumeSet, method};
use crate::volume::{BlockSize, ReservationScope, VolumeName};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast volume set db-1 --sessions-max 64
      take at most 64 sessions from now on; those that are logged in stay
  holdfast volume set db-1 --sessions-max default
      as many as limits.sessions_per_volume says
  holdfast volume set db-1 --reservation-scope client
      all sessions of one initiator name share one registration, whatever their ISIDs
  holdfast volume set archive --read-only true
  holdfast volume set db-1 --iops-max 5000 --bandwidth-max 200MB/s --burst 2s
      at most so many operations and bytes per second; after two seconds at rest, two seconds' worth of
      them may go at once
  holdfast volume set db-1 --limits provisioned
      limits by its size, which grow with it
  holdfast volume set db-1 --limits none

At any time:
  --sessions-max
  --limits, --iops-max, --bandwidth-max, --burst
Only while nobody uses the volume (no session, no registration, no reservation); else the answer says
who does:
  --reservation-scope  registrations that stand would become registrations of others
  --read-only          an initiator has read it when it logged in, and its file system relies on it
  --removable          likewise
Never:
  the block size       initiators address what they have written by it

A change is durable when the command returns. The size is changed by `holdfast volume resize`, who may
log in by the group's rules in the configuration.";

#[derive(Debug, Args)]
#[group(id = "settings", required = true, multiple = true, args = [
    "reservation_scope", "sessions_max", "read_only", "removable", "block_size", "limits",
    "iops_max", "bandwidth_max", "burst",
])]
pub(super) struct SetArguments {
    /// The volume's name
    name: VolumeName,
    /// Whose a reservation registration is; only while nobody uses the volume
    #[arg(long, value_enum, value_name = "SCOPE")]
    reservation_scope: Option<ScopeArgument>,
    /// Sessions that may be logged in at once, or `default`; at any time
    #[arg(long, value_name = "N|default", value_parser = sessions_max)]
    sessions_max: Option<SessionsMax>,
    /// Whether every write is refused (DATA PROTECT); only while nobody uses the volume
    #[arg(long, value_name = "BOOL")]
    read_only: Option<bool>,
    /// Whether initiators may eject and load the medium; only while nobody uses the volume
    #[arg(long, value_name = "BOOL")]
    removable: Option<bool>,
    /// Begin anew with limits: by its size, without, or as its group says; the next options come on top
    #[arg(long, value_enum, value_name = "PRESET")]
    limits: Option<VolumePreset>,
    #[command(flatten)]
    values: LimitArguments,
    /// Bytes of a logical block; never changes, and another than the present one is refused
    #[arg(long, value_name = "BYTES", hide = true)]
    block_size: Option<BlockSize>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: SetArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (set, connection) = arguments.request();
    connection.ask(out, method::VOLUME_SET, &set, show::volume)
}

impl SetArguments {
    fn request(self) -> (VolumeSet, Connection) {
        let set = VolumeSet {
            name: self.name,
            read_only: self.read_only,
            removable: self.removable,
            sessions_max: self.sessions_max,
            reservation_scope: self.reservation_scope.map(ReservationScope::from),
            limits: self.values.request(self.limits.map(LimitsPreset::from)),
            block_bytes: self.block_size,
        };
        (set, self.connection)
    }
}

//! What is handed over, as data.
//!
//! Fields are named in the format, so that a reader finds its way in what another version has written;
//! but what it does not know it would drop. So whoever adds, removes or changes a field here or in a
//! type that stands here counts [`FORMAT`] up.

use crate::base::clock::Instant;
use crate::iscsi::{Command, Parameters, Parked, TaskId};
use crate::reservation::history::Ages;
use crate::reservation::{Nexus, NexusIndex, State};
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use crate::scsi::data_buffer::NexusBuffers;
use crate::scsi::mode::ModePages;
use crate::scsi::ports::AccessState;
use crate::scsi::unit::Medium;
use crate::target::connection::WritePlan;
use crate::target::meters::{Stages, Tally};
use crate::target::nexuses::NexusTable;
use crate::target::owed::Owed;
use crate::target::takeovers::Takeovers;
use crate::volume::VolumeId;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The version of the record's shape.
pub const FORMAT: u32 = 1;

/// All that a target knows and its volumes' catalogue does not. The sessions' sockets go beside it, in
/// the order of the sessions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// PRODUCT REVISION LEVEL that the initiators were told.
    pub(super) revision: String,
    pub(super) volumes: Vec<VolumeRecord>,
    pub(super) sessions: Vec<SessionRecord>,
}

impl Record {
    /// How many sessions it has.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The volumes that it has something of.
    pub fn volumes(&self) -> impl ExactSizeIterator<Item = VolumeId> {
        self.volumes.iter().map(|volume| volume.id)
    }
}

/// What the home of a volume knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(super) id: VolumeId,
    /// All of it, without APTPL too.
    pub(super) state: State,
    pub(super) ages: Ages,
    pub(super) nexuses: NexusTable,
    pub(super) seats: Vec<SeatRecord>,
    pub(super) owed: Owed,
    pub(super) takeovers: Takeovers,
    pub(super) modes: ModePages,
    pub(super) medium: Medium,
    /// Target port groups whose state an initiator has set.
    pub(super) groups: Vec<(u16, AccessState)>,
}

/// A session as its volume's home knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SeatRecord {
    pub(super) tsih: u16,
    pub(super) nexus: Nexus,
    pub(super) index: NexusIndex,
    pub(super) address: IpAddr,
    pub(super) prevents_removal: bool,
}

/// A session as its reactor knows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub(super) volume: VolumeId,
    pub(super) nexus: Nexus,
    pub(super) index: NexusIndex,
    pub(super) tsih: u16,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) portal_tag: u16,
    pub(super) initiator: Option<String>,
    pub(super) attentions: AttentionQueue,
    pub(super) cleared: Option<UnitAttention>,
    pub(super) buffers: NexusBuffers,
    pub(super) parameters: Parameters,
    pub(super) since: Instant,
    pub(super) counters: Tally,
    pub(super) connection: Parked,
    /// Received and not parsed.
    #[serde(with = "serde_bytes")]
    pub(super) input: Vec<u8>,
    pub(super) tasks: Vec<TaskRecord>,
    /// The ORDERED command that is enabled.
    pub(super) ordered: Option<TaskId>,
}

/// A command that has been delivered and has not begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum TaskRecord {
    /// It waits for its turn.
    Dormant(Command),
    /// It waits for a buffer or for the limits of its volume, and is to start anew.
    Waiting(Command),
    /// A WRITE whose data is on the way in.
    AwaitsData {
        task: TaskId,
        opcode: u8,
        stages: Stages,
        plan: WritePlan,
    },
}

impl TaskRecord {
    pub(super) const fn task(&self) -> TaskId {
        match self {
            Self::Dormant(command) | Self::Waiting(command) => command.task,
            Self::AwaitsData { task, .. } => *task,
        }
    }
}

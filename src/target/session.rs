//! A session in full feature phase: one I_T nexus of one volume.

use super::message::{Call, SessionNexus};
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use crate::scsi::data_buffer::NexusBuffers;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a reactor knows of a session.
pub(crate) struct Session {
    pub(crate) volume: Arc<Volume>,
    pub(crate) nexus: SessionNexus,
    pub(crate) attentions: AttentionQueue,
    /// What it is told of commands that were aborted; see `Conn::tell_of_aborted`.
    pub(crate) cleared: Option<UnitAttention>,
    /// WRITE BUFFER, for READ BUFFER by the same nexus.
    pub(crate) buffers: NexusBuffers,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    pub(crate) since: Instant,
    pub(crate) counters: Counters,
}

impl Session {
    /// What the volume's home hears when the session is gone.
    pub(crate) fn leave(&self) -> Call {
        Call::Leave {
            volume: self.volume.index,
            nexus: self.nexus.index,
            tsih: self.nexus.tsih,
            untold: self.attentions,
        }
    }
}

/// What a session has done so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) commands: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

//! A session in full feature phase: one I_T nexus of one volume.

use super::message::{Call, SessionNexus};
use super::meters::Tally;
use super::terms::Proof;
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::iscsi::Parameters;
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use crate::scsi::data_buffer::NexusBuffers;
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
    /// What its initiator has proved.
    pub(crate) proof: Arc<Proof>,
    /// What its login has agreed on.
    pub(crate) parameters: Parameters,
    pub(crate) since: Instant,
    /// What it has done so far.
    pub(crate) counters: Tally,
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

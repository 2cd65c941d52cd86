//! Work that outlives its session keeps the index of its nexus from everybody else.

use super::failure::Failure;
use super::local::{Local, Request};
use super::message::{Call, Reply};
use super::volume::Volume;
use crate::reservation::{Nexus, NexusIndex};
use crate::scsi::attention::AttentionQueue;
use std::sync::Arc;

/// A nexus of a volume, under whose rights something runs. As long as this lives its index names
/// nobody else, and a fence that takes the nexus' rights finds what runs.
pub(crate) struct NexusHold {
    local: Local,
    volume: Arc<Volume>,
    index: NexusIndex,
}

impl NexusHold {
    /// Holds `nexus` at the volume's home. A nexus that the volume does not know has the rights of a
    /// stranger, and nothing to hold.
    pub(crate) async fn take(
        local: &Local,
        volume: &Arc<Volume>,
        nexus: &Nexus,
    ) -> Result<Self, Failure> {
        let call = Call::Hold {
            volume: volume.index,
            nexus: Box::new(nexus.clone()),
        };
        let index = match local.call(volume.home, call, None).await? {
            Reply::Index(index) => index,
            _ => NexusIndex::NONE,
        };
        local.begin_outliving(&volume.alias);
        Ok(Self {
            local: local.clone(),
            volume: Arc::clone(volume),
            index,
        })
    }

    /// The index for checks.
    pub(crate) const fn index(&self) -> NexusIndex {
        self.index
    }
}

impl Drop for NexusHold {
    fn drop(&mut self) {
        self.local.end_outliving(&self.volume.alias);
        if self.index == NexusIndex::NONE {
            return;
        }
        let call = Call::Leave {
            volume: self.volume.index,
            nexus: self.index,
            tsih: 0,
            untold: AttentionQueue::EMPTY,
        };
        self.local.post(Request::Tell {
            reactor: self.volume.home,
            call,
        });
    }
}

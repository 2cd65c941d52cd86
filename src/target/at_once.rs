//! A READ or WRITE whose blocks are here, on a store that answers at once: memory, or nothing.
//!
//! Issue and completion of such a piece are one call, and nothing comes between them: no message, no
//! other connection, no fence. So it is not entered among the pieces that are issued, which are there
//! to be waited for, and its task is not entered among those that an abort could find. It passes the
//! same two doors of the shard as every other piece: [`Shard::permits`] and [`Shard::hand_over`]. Most
//! commands do not even come here (see `whole`): those do whose PDU was cut where a receive ended, that
//! have waited, or that are unusual otherwise.

use super::core::{Core, Turn};
use super::failure::Failure;
use super::shard::Shard;
use super::volume::VolumeIndex;
use crate::backend::{self, Done, Submitted};
use crate::base::buffer::Buffer;
use crate::reservation::{Access, NexusIndex};
use crate::scsi::ByteRange;

/// One piece, on its own reactor.
pub(crate) struct Errand {
    pub(crate) volume: VolumeIndex,
    pub(crate) op: backend::Op,
    pub(crate) range: ByteRange,
    pub(crate) buffer: Option<Buffer>,
    /// Under whose rights.
    pub(crate) nexus: NexusIndex,
}

impl Core {
    /// Whether a READ or WRITE of `range` is over as soon as it is issued, and may be issued now.
    #[inline]
    pub(crate) fn is_at_once(&self, volume: VolumeIndex, owner: usize) -> bool {
        owner == self.id && self.shards.get(volume).is_some_and(Shard::answers_at_once)
    }

    /// Carries out a piece for which [`Core::is_at_once`] holds.
    pub(crate) fn run_errand(
        &mut self,
        errand: Errand,
        turn: &mut Turn<'_, '_>,
    ) -> (Option<Buffer>, Result<Done, Failure>) {
        let Errand {
            volume,
            op,
            range,
            buffer,
            nexus,
        } = errand;
        let Some(shard) = self.shards.get_mut(volume) else {
            return (buffer, Err(Failure::target("the volume is gone")));
        };
        let writes = op.changes_medium();
        let access = if writes { Access::Write } else { Access::Read };
        if !shard.permits(nexus, access, turn.tick.guard) {
            return (buffer, Err(Failure::RESERVATION_CONFLICT));
        }
        let request = backend::Request {
            token: 0,
            op,
            offset: range.offset,
            length: range.length,
            buffer,
        };
        match shard.hand_over(request, turn) {
            Submitted::Done(completion) => {
                let result = match completion.result {
                    Ok(done) => Ok(done),
                    Err(error) => Err(self.backend_failed(volume, &error, writes, turn.now())),
                };
                (completion.buffer, result)
            }
            Submitted::Pending => unreachable!("the channel said that it answers at once"),
        }
    }
}

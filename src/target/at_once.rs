//! A READ or WRITE whose blocks are here, on a store that answers at once: memory, or nothing.
//!
//! Issue and completion of such a piece are one call, and nothing comes between them: no message, no
//! other connection, no fence. So it is not entered among the pieces that are issued, which are there
//! to be waited for, and its task is not entered among those that an abort could find. It passes the
//! same two doors of the shard as every other piece: [`Shard::permits`], and [`Shard::hand_over`] or
//! [`Shard::put`]. Where it can, a READ is copied from the medium into what is sent, and a WRITE from
//! what was received into the medium: no buffer stands in between.

use super::connection::Input;
use super::core::{Core, Turn};
use super::failure::Failure;
use super::local::Answer;
use super::meters::{Direction, Stages};
use super::shard::Shard;
use super::volume::VolumeIndex;
use crate::backend::{self, Done, Submitted};
use crate::base::buffer::Buffer;
use crate::base::limits::INLINE_PAYLOAD_BYTES_MAX;
use crate::base::slots::SlotKey;
use crate::iscsi::{Command, Response};
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

    /// Answers a READ of blocks that lie in memory here by copying them from there into what is sent.
    /// False where that can't be done now, or is not permitted; nothing has happened then.
    #[inline]
    pub(crate) fn read_in_place(
        &mut self,
        key: SlotKey,
        command: &Command,
        range: ByteRange,
        send: u32,
        turn: &mut Turn<'_, '_>,
    ) -> bool {
        let Some(conn) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(session) = conn.session.as_deref_mut() else {
            return false;
        };
        let (volume, nexus) = (session.volume.index, session.nexus.index);
        let is_here = session.volume.shards.owner(range.offset) == self.id;
        let Some(shard) = self.shards.get(volume).filter(|_| is_here) else {
            return false;
        };
        if !shard.answers_at_once()
            || send as usize > INLINE_PAYLOAD_BYTES_MAX
            || !shard.permits(nexus, Access::Read, turn.tick.guard)
        {
            return false;
        }
        self.outlists.lend(&mut conn.iscsi);
        let response = Response::good(range.length);
        let task = command.task;
        let Some(data) = shard.channel.bytes(range.offset, u64::from(send)) else {
            return false;
        };
        conn.iscsi.copy_data_in(task, data, 0, Some(&response));
        session.counters.read_bytes += u64::from(send);
        session.counters.count_good(Direction::Read, 1);
        let stages = Stages::begin(command.arrived, turn.now());
        self.meters.ended(volume, Direction::Read, &stages);
        self.mark_dirty(key);
        true
    }

    /// Carries out a WRITE to blocks that lie in memory here, with data that have been received whole,
    /// and answers it. The data go straight from where they were received to. False where that can't be
    /// done now, or is not permitted; nothing has happened then.
    #[inline]
    pub(crate) fn write_in_place(
        &mut self,
        key: SlotKey,
        command: &Command,
        range: ByteRange,
        turn: &mut Turn<'_, '_>,
    ) -> bool {
        let Some(conn) = self.connections.get_mut(key) else {
            return false;
        };
        let (Some(session), Some(input)) = (conn.session.as_deref_mut(), conn.input.as_mut())
        else {
            return false;
        };
        let (volume, nexus) = (session.volume.index, session.nexus.index);
        let is_here = session.volume.shards.owner(range.offset) == self.id;
        let Some(shard) = self.shards.get_mut(volume).filter(|_| is_here) else {
            return false;
        };
        if !shard.answers_at_once() || !shard.permits(nexus, Access::Write, turn.tick.guard) {
            return false;
        }
        let mut rest = input.rest();
        let taken = conn.iscsi.take_data_out(command.task, &mut rest);
        let Some(data) = taken else {
            return false;
        };
        // The blocks are no longer than what was announced: the plan has seen to that. What is sent
        // beyond them is dropped.
        let length = usize::try_from(range.length).unwrap_or(usize::MAX);
        let data = data.get(..length).unwrap_or(data);
        let result = shard.put(range.offset, data, turn.tick.guard);
        let left = rest.len();
        input.leave(left);
        if left == 0
            && let Some(buffer) = Input::end(&mut conn.input)
        {
            self.net.recycle(buffer);
        }
        match result {
            Ok(()) => {
                session.counters.written_bytes += range.length;
                session.counters.count_good(Direction::Write, 1);
                let stages = Stages::begin(command.arrived, turn.now());
                self.meters.ended(volume, Direction::Write, &stages);
                self.outlists.lend(&mut conn.iscsi);
                let response = Response::good(range.length);
                conn.iscsi.respond(command.task, &response);
                self.mark_dirty(key);
            }
            Err(error) => {
                let failure = self.backend_failed(volume, &error, true, turn.now());
                self.answer(key, command.task, Answer::Failed(failure), turn);
            }
        }
        true
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

//! Data of writes: from the stream into the owner's windows, and R2Ts for the rest (RFC 7143
//! sections 11.7 and 11.8).

use super::super::error::Violation;
use super::super::event::{Event, TaskId};
use super::super::pdu::{DataOut, R2t};
use super::super::task::Kind;
use super::receiver::Header;
use super::session::Session;
use super::{Link, Sink};
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;

impl Session {
    /// A Data-Out. Of a task that is gone it is read and dropped: the initiator could not know.
    pub(super) fn begin_data_out(&mut self, header: &Header) -> Result<Sink, Violation> {
        let bhs = header.bhs();
        let pdu = DataOut::parse(&bhs);
        let Some(id) = self.tasks.find(pdu.initiator_task_tag) else {
            return match self.held.command_of(pdu.initiator_task_tag) {
                Some(cmd_sn) => self.hold(header, cmd_sn),
                None => Ok(Sink::Discard),
            };
        };
        let Some(task) = self
            .tasks
            .get_mut(id)
            .filter(|task| task.kind == Kind::Command)
        else {
            return Ok(Sink::Discard);
        };
        let tag = pdu.target_transfer_tag;
        task.transfer
            .begin(&pdu, bhs.data_segment_bytes())
            .map_err(|_| Violation::UnknownTransferTag { tag })?;
        Ok(Sink::Data {
            task: id,
            tag,
            offset: pdu.buffer_offset,
            last: pdu.final_pdu,
        })
    }

    /// Whether data of the task has to wait for the owner's word.
    pub(super) fn is_undecided(&self, task: TaskId) -> bool {
        self.tasks
            .get(task)
            .is_some_and(|task| task.transfer.is_undecided())
    }

    /// Puts a piece of data where it belongs, or drops it.
    pub(super) fn data(&mut self, now: Instant, task: TaskId, offset: u32, piece: &[u8]) {
        let Some(task) = self.tasks.get_mut(task) else {
            return;
        };
        task.progress = now;
        let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let (skip, place) = task.transfer.place(offset, bytes);
        let length = place.end.saturating_sub(place.start) as usize;
        let from = piece
            .get(skip as usize..)
            .and_then(|rest| rest.get(..length));
        let buffer = task.buffer.as_deref_mut();
        let to = buffer.and_then(|all| all.get_mut(place.start as usize..place.end as usize));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
            task.transfer.fill(place.end.saturating_sub(place.start));
        }
    }

    /// Asks for what is missing and hands a window back that is over.
    pub(super) fn advance(&mut self, link: &mut Link, id: TaskId) {
        let mut asked = false;
        let burst_bytes = self.parameters.max_burst_bytes;
        let outstanding = self.parameters.max_outstanding_r2t;
        loop {
            let tag = self.next_tag();
            let Some(task) = self.tasks.get_mut(id) else {
                return;
            };
            let Some(grant) = task.transfer.grant(tag, burst_bytes, outstanding) else {
                break;
            };
            let (lun, initiator_task_tag) = (task.lun, task.tag);
            self.take_tag();
            let (exp_cmd_sn, max_cmd_sn) = self.numbers();
            let pdu = R2t {
                lun,
                initiator_task_tag,
                target_transfer_tag: tag,
                stat_sn: link.output.stat_sn(),
                exp_cmd_sn,
                max_cmd_sn,
                r2t_sn: grant.r2t_sn,
                buffer_offset: grant.offset,
                desired_data_transfer_length: grant.bytes,
            };
            link.output.push(pdu.emit(), &[]);
            asked = true;
        }
        if asked {
            self.watch_for_stall(link);
        }
        let finished = self.tasks.get_mut(id).and_then(|task| task.finish());
        if let Some((buffer, result)) = finished {
            link.events.push_back(Event::DataOut {
                task: id,
                buffer,
                result,
            });
        }
    }

    /// The owner gives memory for a part of the data.
    pub(super) fn accept_data_out(
        &mut self,
        link: &mut Link,
        id: TaskId,
        buffer: Buffer,
        offset: u32,
    ) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let bytes = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        task.transfer.open(offset..offset.saturating_add(bytes));
        task.buffer = Some(buffer);
        task.progress = link.now;
        self.advance(link, id);
    }

    /// The owner wants no more of the data.
    pub(super) fn refuse_data_out(&mut self, id: TaskId) -> Option<Buffer> {
        let task = self.tasks.get_mut(id)?;
        task.transfer.refuse();
        task.buffer.take()
    }

    /// Looks for Data-Out that does not come, if nobody looks already.
    pub(super) fn watch_for_stall(&mut self, link: &Link) {
        self.stall_check
            .get_or_insert(link.now + link.settings.data_out_timeout);
    }

    /// When the task that has waited longest last saw data, of those that wait for some.
    pub(super) fn slowest_data_out(&self) -> Option<Instant> {
        let waiting = self
            .tasks
            .iter()
            .filter(|(_, task)| task.transfer.awaits_data());
        waiting.map(|(_, task)| task.progress).min()
    }

    /// Counts the time anew for every task: the owner kept the data waiting, not the initiator.
    pub(super) fn excuse_stall(&mut self, now: Instant) {
        self.tasks.iter_mut().for_each(|task| task.progress = now);
    }
}

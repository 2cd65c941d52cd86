//! SCSI commands and task management requests as they come in (RFC 7143 sections 11.3 and 11.5).

use super::super::event::{Cdb, Command, Event, Referenced, TaskId, TaskManagement};
use super::super::pdu::{
    AdditionalHeaders, Bhs, NO_TAG, RejectReason, ScsiCommand, TaskFunction, TaskManagementReply,
    TaskManagementRequest, TaskManagementResponse,
};
use super::super::task::{Kind, Task};
use super::super::transfer::Transfer;
use super::super::window::precedes;
use super::receiver::Header;
use super::session::Session;
use super::{Link, Sink};

/// RFC 7144: the level at which its task management functions may be used.
const LEVEL_OF_QUERIES: u16 = 2;

impl Session {
    /// A SCSI command; its immediate data, if any, waits until the owner has said where to put it.
    #[inline]
    pub(super) fn begin_command(&mut self, link: &mut Link, bhs: &Bhs, header: &Header) -> Sink {
        let pdu = ScsiCommand::parse(bhs);
        let Ok(additional) = AdditionalHeaders::parse(header.additional()) else {
            self.reject(link, bhs, RejectReason::InvalidField);
            return Sink::Discard;
        };
        let expected = pdu.expected_data_transfer_length;
        let write_length = if pdu.write { expected } else { 0 };
        let read_length = match (pdu.read, pdu.write) {
            (true, false) => expected,
            (true, true) => additional.bidirectional_read_length.unwrap_or(0),
            (false, _) => 0,
        };
        let bytes = bhs.data_segment_bytes();
        let made = || Task {
            kind: Kind::Command,
            tag: pdu.initiator_task_tag,
            lun: pdu.lun,
            immediate: pdu.immediate,
            read_length,
            bidirectional: pdu.read && pdu.write,
            transfer: Transfer::new(write_length, bytes, !pdu.final_pdu, &self.parameters),
            buffer: None,
            data_sn: 0,
            progress: link.now,
        };
        let (tag, immediate) = (pdu.initiator_task_tag, pdu.immediate);
        let task = match self.tasks.insert(tag, immediate, made) {
            Ok(task) => task,
            Err(reason) => {
                self.reject(link, bhs, reason);
                return Sink::Discard;
            }
        };
        let cdb = match additional.extended_cdb {
            [] => Cdb::new(pdu.cdb),
            rest => Cdb::extended(pdu.cdb, rest),
        };
        link.events.push_back(Event::Command(Command {
            task,
            initiator_task_tag: pdu.initiator_task_tag,
            lun: pdu.lun,
            cdb,
            attribute: pdu.attribute,
            priority: pdu.priority,
            read_length,
            write_length,
            immediate: pdu.immediate,
            arrived: link.now,
        }));
        let burst_follows = write_length > 0
            && self
                .tasks
                .get(task)
                .is_some_and(|task| task.transfer.burst_follows());
        if burst_follows {
            self.watch_for_stall(link);
        }
        if bytes == 0 || write_length == 0 {
            return Sink::Discard;
        }
        Sink::Data {
            task,
            tag: NO_TAG,
            offset: 0,
            last: !burst_follows,
        }
    }

    /// A task management request. What the engine can answer by itself it does.
    pub(super) fn begin_task_management(&mut self, link: &mut Link, bhs: &Bhs) {
        let pdu = TaskManagementRequest::parse(bhs);
        let made = || Task {
            kind: Kind::TaskManagement,
            tag: pdu.initiator_task_tag,
            lun: pdu.lun,
            immediate: pdu.immediate,
            read_length: 0,
            bidirectional: false,
            transfer: Transfer::new(0, 0, false, &self.parameters),
            buffer: None,
            data_sn: 0,
            progress: link.now,
        };
        let (tag, immediate) = (pdu.initiator_task_tag, pdu.immediate);
        let task = match self.tasks.insert(tag, immediate, made) {
            Ok(task) => task,
            Err(reason) => return self.reject(link, bhs, reason),
        };
        let refused = match pdu.function {
            TaskFunction::TaskReassign => Some(TaskManagementResponse::ReassignmentNotSupported),
            TaskFunction::QueryTask
            | TaskFunction::QueryTaskSet
            | TaskFunction::NexusReset
            | TaskFunction::QueryAsynchronousEvent
                if self.parameters.protocol_level < LEVEL_OF_QUERIES =>
            {
                Some(TaskManagementResponse::NotSupported)
            }
            TaskFunction::Unknown(_) => Some(TaskManagementResponse::NotSupported),
            _ => None,
        };
        if let Some(response) = refused {
            return self.respond_task_management(link, task, response);
        }
        let referenced = self.referenced(&pdu);
        link.events.push_back(Event::TaskManagement(TaskManagement {
            task,
            function: pdu.function,
            lun: pdu.lun,
            referenced,
            referenced_tag: pdu.referenced_task_tag,
            ref_cmd_sn: pdu.ref_cmd_sn,
        }));
    }

    /// Queues the response and frees the task.
    pub(super) fn respond_task_management(
        &mut self,
        link: &mut Link,
        task: TaskId,
        response: TaskManagementResponse,
    ) {
        let Some(task) = self.tasks.remove(task) else {
            return;
        };
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = TaskManagementReply {
            response,
            initiator_task_tag: task.tag,
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
        };
        link.output.push(pdu.emit(), &[]);
    }

    /// What the Referenced Task Tag names (RFC 7143 section 11.5.1).
    fn referenced(&mut self, pdu: &TaskManagementRequest) -> Referenced {
        let aborts = pdu.function == TaskFunction::AbortTask;
        if !aborts && pdu.function != TaskFunction::QueryTask {
            return Referenced::NoTask;
        }
        let found = self.tasks.find(pdu.referenced_task_tag);
        if let Some((id, task)) = found.and_then(|id| Some((id, self.tasks.get(id)?))) {
            return match task.kind {
                Kind::Command if task.lun == pdu.lun => Referenced::Task(id),
                Kind::Command => Referenced::OtherUnit(id),
                Kind::TaskManagement => Referenced::Absent,
            };
        }
        if !aborts {
            return Referenced::Absent;
        }
        // A command that waits behind a gap is forgotten; one that has not come counts as come, so
        // that it will be ignored when it does.
        let cmd_sn = self
            .held
            .command_of(pdu.referenced_task_tag)
            .unwrap_or(pdu.ref_cmd_sn);
        if precedes(cmd_sn, pdu.cmd_sn) && self.window.mark_done(cmd_sn) {
            self.held.remove(cmd_sn);
            return Referenced::NotArrived;
        }
        Referenced::Absent
    }
}

//! Task management (RFC 7143 section 11.5, RFC 7144 section 4.1).
//!
//! The logical unit keeps one task set for each I_T nexus (TST = 001b), so what a function on a task
//! set touches is all on one connection. Resets touch every nexus and go through the home. A
//! response leaves only after the affected commands are quiet.

use super::connection::Quiet;
use super::core::{Core, Turn};
use super::local::{AbortSelect, Local};
use super::message::{Announce, Call};
use crate::base::slots::SlotKey;
use crate::iscsi::{Referenced, TaskFunction, TaskId, TaskManagement, TaskManagementResponse};
use crate::scsi::LunKind;
use futures_channel::oneshot;

impl Core {
    /// A task management request has arrived.
    pub(crate) fn task_management(
        &mut self,
        key: SlotKey,
        request: TaskManagement,
        turn: &mut Turn<'_, '_>,
    ) {
        let function = request.function;
        let response = match LunKind::of(request.lun) {
            LunKind::Missing if addresses_unit(function) => {
                Some(TaskManagementResponse::LunDoesNotExist)
            }
            _ => self.answer_now(key, &request, turn),
        };
        if let Some(response) = response {
            return self.respond_task_management(key, request.task, response);
        }
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.as_ref() else {
            let response = TaskManagementResponse::Rejected;
            return self.respond_task_management(key, request.task, response);
        };
        let scope = Scope {
            local: self.local.clone(),
            volume: session.volume.index,
            home: session.volume.home,
            tsih: session.nexus.tsih,
            connection: key,
            task: request.task,
        };
        conn.outstanding += 1;
        // What is to be aborted is marked before anything else runs: a command that ended in between
        // would be answered, and then be reported as aborted.
        let (quiet, is_quiet) = oneshot::channel();
        let select = match (function, request.referenced) {
            (TaskFunction::AbortTask, Referenced::Task(task)) => Some(AbortSelect::Task(task)),
            (
                TaskFunction::LogicalUnitReset
                | TaskFunction::TargetWarmReset
                | TaskFunction::TargetColdReset,
                _,
            ) => None,
            _ => Some(AbortSelect::AllBut(None)),
        };
        if let Some(select) = select {
            self.abort_tasks(key, select, None, Quiet::Procedure(quiet), turn);
        }
        self.local.spawn(scope.run(function, is_quiet));
    }

    /// The response of a function that nothing has to be waited for.
    fn answer_now(
        &self,
        key: SlotKey,
        request: &TaskManagement,
        turn: &Turn<'_, '_>,
    ) -> Option<TaskManagementResponse> {
        use TaskManagementResponse as Answer;
        match request.function {
            TaskFunction::AbortTask => match request.referenced {
                Referenced::Task(_) => None,
                Referenced::NotArrived => Some(Answer::Complete),
                _ => Some(Answer::TaskDoesNotExist),
            },
            TaskFunction::QueryTask => Some(match request.referenced {
                Referenced::Task(_) => Answer::Succeeded,
                _ => Answer::Complete,
            }),
            TaskFunction::QueryTaskSet => {
                let conn = self.connections.get(key)?;
                let any = conn.iscsi.tasks().any(|(_, lun, _)| lun == request.lun);
                Some(if any {
                    Answer::Succeeded
                } else {
                    Answer::Complete
                })
            }
            TaskFunction::QueryAsynchronousEvent => {
                let session = self.connections.get(key)?.session.as_ref()?;
                let pending = !session.attentions.is_empty();
                let _ = turn;
                Some(if pending {
                    Answer::Succeeded
                } else {
                    Answer::Complete
                })
            }
            // ACA is not supported (NormACA is 0 in standard INQUIRY data).
            TaskFunction::ClearAca => Some(Answer::NotSupported),
            TaskFunction::TaskReassign => Some(Answer::ReassignmentNotSupported),
            TaskFunction::AbortTaskSet
            | TaskFunction::ClearTaskSet
            | TaskFunction::LogicalUnitReset
            | TaskFunction::TargetWarmReset
            | TaskFunction::TargetColdReset
            | TaskFunction::NexusReset => None,
            _ => Some(Answer::NotSupported),
        }
    }

    fn respond_task_management(
        &mut self,
        key: SlotKey,
        task: TaskId,
        response: TaskManagementResponse,
    ) {
        if let Some(conn) = self.connections.get_mut(key) {
            conn.iscsi.respond_task_management(task, response);
        }
        self.mark_dirty(key);
    }

    /// A task management procedure is over.
    pub(crate) fn finish_task_management(
        &mut self,
        key: SlotKey,
        task: TaskId,
        response: TaskManagementResponse,
        turn: &mut Turn<'_, '_>,
    ) {
        if let Some(conn) = self.connections.get_mut(key) {
            conn.outstanding -= 1;
        }
        self.respond_task_management(key, task, response);
        self.pump(key, turn);
    }
}

fn addresses_unit(function: TaskFunction) -> bool {
    !matches!(
        function,
        TaskFunction::TargetWarmReset | TaskFunction::TargetColdReset | TaskFunction::NexusReset
    )
}

/// What a task management function works on.
struct Scope {
    local: Local,
    volume: super::volume::VolumeIndex,
    home: usize,
    tsih: u16,
    connection: SlotKey,
    task: TaskId,
}

impl Scope {
    async fn run(self, function: TaskFunction, is_quiet: oneshot::Receiver<()>) {
        let response = match self.carry_out(function, is_quiet).await {
            true => TaskManagementResponse::Complete,
            false => TaskManagementResponse::Rejected,
        };
        let (connection, task) = (self.connection, self.task);
        self.local.run_on_core(move |core, turn| {
            core.finish_task_management(connection, task, response, turn);
        });
        // These two take the session with them, after the response.
        match function {
            TaskFunction::NexusReset => self.end_session(self.tsih).await,
            TaskFunction::TargetColdReset => self.end_all_sessions().await,
            _ => {}
        }
    }

    async fn carry_out(&self, function: TaskFunction, is_quiet: oneshot::Receiver<()>) -> bool {
        match function {
            TaskFunction::LogicalUnitReset => self.reset(false).await,
            TaskFunction::TargetWarmReset | TaskFunction::TargetColdReset => self.reset(true).await,
            _ => is_quiet.await.is_ok(),
        }
    }

    async fn reset(&self, target: bool) -> bool {
        let call = Call::Reset {
            volume: self.volume,
            spare: Some((self.local.reactor(), self.connection, self.task)),
            but: target.then_some(self.tsih),
            target,
        };
        self.local.call(self.home, call, None).await.is_ok()
    }

    async fn end_session(&self, tsih: u16) {
        let call = Call::EndSession {
            volume: self.volume,
            tsih,
            announce: Announce::Dropped,
        };
        let _ = self.local.call(self.local.reactor(), call, None).await;
    }

    async fn end_all_sessions(&self) {
        let volume = self.volume;
        let call = || Call::EndSessions {
            volume,
            announce: Announce::Dropped,
        };
        let _ = self.local.call_all(call, None).await;
    }
}

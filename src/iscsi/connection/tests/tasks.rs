//! Command order, task management, pings, logout.

use super::super::super::answer::Response;
use super::super::super::error::{CloseReason, Violation};
use super::super::super::event::Referenced;
use super::super::super::pdu::{
    LogoutReason, LogoutRequest, LogoutResponse, LogoutResult, NopIn, NopOut, Reject, RejectReason,
    ScsiResponse, TaskFunction, TaskManagementReply, TaskManagementRequest, TaskManagementResponse,
};
use super::*;
use crate::base::limits::{NOP_INTERVAL, NOP_TIMEOUT, SESSION_IMMEDIATE_COMMANDS_MAX};

fn abort(tag: u32, referenced: u32, ref_cmd_sn: u32, cmd_sn: u32) -> TaskManagementRequest {
    TaskManagementRequest {
        immediate: true,
        function: TaskFunction::AbortTask,
        lun: [0; 8],
        initiator_task_tag: tag,
        referenced_task_tag: referenced,
        cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn,
        exp_data_sn: 0,
    }
}

fn nop_out(tag: u32, cmd_sn: u32) -> NopOut {
    NopOut {
        immediate: false,
        lun: [0; 8],
        initiator_task_tag: tag,
        target_transfer_tag: NO_TAG,
        cmd_sn,
        exp_stat_sn: 0,
    }
}

impl Initiator {
    fn task_management(&mut self, pdu: TaskManagementRequest) -> Referenced {
        self.send(pdu.emit(), &[]);
        match self.event() {
            Event::TaskManagement(request) => {
                let complete = TaskManagementResponse::Complete;
                self.connection
                    .respond_task_management(request.task, complete);
                let reply = TaskManagementReply::parse(&self.receive_one().0);
                assert_eq!(reply.initiator_task_tag, pdu.initiator_task_tag);
                request.referenced
            }
            other => panic!("task management is due, not {other:?}"),
        }
    }

    fn reject_reason(&mut self) -> RejectReason {
        self.no_event();
        let (bhs, bad) = self.receive_one();
        assert_eq!(bhs.opcode(), Opcode::Reject);
        assert_eq!(bad.len(), BHS_BYTES);
        Reject::parse(&bhs).reason
    }
}

#[test]
fn commands_behind_a_gap_wait_for_their_turn_with_their_data() {
    let mut initiator = Initiator::logged_in(&["InitialR2T=No"]);
    initiator.cmd_sn = 3;
    initiator.write(3, 2048, &pattern(1024), false);
    initiator.data_out(3, UNSOLICITED, 0, 1024, true, &pattern(1024));
    initiator.send(nop_out(9, 2).emit(), b"ping");
    initiator.no_event();
    assert!(initiator.received().is_empty());
    initiator.cmd_sn = 1;
    initiator.read(1, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 1);
    let command = initiator.command_event();
    assert_eq!(command.initiator_task_tag, 3);
    let (bhs, data) = initiator.receive_one();
    assert_eq!(
        (NopIn::parse(&bhs).initiator_task_tag, &data[..]),
        (9, &b"ping"[..])
    );
    let buffer = initiator.buffer(2048);
    initiator
        .connection
        .accept_data_out(command.task, buffer, 0);
    let Event::DataOut { buffer, result, .. } = initiator.event() else {
        panic!()
    };
    assert_eq!(result, Ok(()));
    assert_eq!(buffer[1024..], pattern(1024));
}

#[test]
fn numbers_outside_of_the_window_are_ignored_with_their_data() {
    let mut initiator = Initiator::logged_in(&[]);
    for cmd_sn in [0, 129, 0x8000_0000] {
        initiator.cmd_sn = cmd_sn;
        initiator.write(1, 512, &pattern(512), true);
    }
    initiator.no_event();
    assert!(initiator.received().is_empty() && initiator.backlog.is_empty());
    initiator.cmd_sn = 1;
    initiator.read(1, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 1);
}

#[test]
fn immediate_commands_have_no_number_and_a_limit() {
    let mut initiator = Initiator::logged_in(&[]);
    for tag in 0..SESSION_IMMEDIATE_COMMANDS_MAX {
        let pdu = ScsiCommand {
            immediate: true,
            ..command(tag, 0, 1)
        };
        initiator.send(pdu.emit(), &[]);
        assert!(initiator.command_event().immediate);
    }
    initiator.send(
        ScsiCommand {
            immediate: true,
            ..command(99, 0, 1)
        }
        .emit(),
        &[],
    );
    assert_eq!(initiator.reject_reason(), RejectReason::TooManyImmediate);
    initiator.read(100, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 100);
}

#[test]
fn the_window_closes_while_tasks_are_outstanding_and_never_shrinks() {
    let mut initiator = Initiator::logged_in(&[]);
    let mut tasks = Vec::new();
    for tag in 0..128 {
        initiator.read(tag, 512);
        tasks.push(initiator.command_event().task);
    }
    initiator.read(200, 512);
    initiator.no_event();
    initiator.cmd_sn -= 1;
    initiator.connection.respond(tasks[5], &Response::good(512));
    let response = ScsiResponse::parse(&initiator.receive_one().0);
    assert_eq!((response.exp_cmd_sn, response.max_cmd_sn), (129, 129));
    initiator.read(201, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 201);
}

#[test]
fn a_tag_in_use_is_rejected() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.read(1, 512);
    let _ = initiator.command_event();
    initiator.write(1, 512, &pattern(512), true);
    assert_eq!(initiator.reject_reason(), RejectReason::TaskInProgress);
    initiator.read(2, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 2);
}

#[test]
fn what_an_abort_names() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.read(1, 512);
    let task = initiator.command_event().task;
    assert_eq!(
        initiator.task_management(abort(50, 1, 1, 2)),
        Referenced::Task(task)
    );
    let elsewhere = TaskManagementRequest {
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        ..abort(50, 1, 1, 2)
    };
    assert_eq!(
        initiator.task_management(elsewhere),
        Referenced::OtherUnit(task)
    );
    assert_eq!(
        initiator.task_management(abort(50, 77, 1, 2)),
        Referenced::Absent
    );
    let set = TaskManagementRequest {
        function: TaskFunction::AbortTaskSet,
        ..abort(50, 1, 0, 2)
    };
    assert_eq!(initiator.task_management(set), Referenced::NoTask);
}

#[test]
fn a_command_that_had_not_arrived_is_ignored_when_it_does() {
    let mut initiator = Initiator::logged_in(&[]);
    assert_eq!(
        initiator.task_management(abort(50, 1, 1, 2)),
        Referenced::NotArrived
    );
    initiator.read(1, 512);
    initiator.no_event();
    // One that waits behind a gap is forgotten.
    initiator.cmd_sn = 3;
    initiator.read(3, 512);
    initiator.no_event();
    assert_eq!(
        initiator.task_management(abort(51, 3, 3, 4)),
        Referenced::NotArrived
    );
    initiator.cmd_sn = 2;
    initiator.read(2, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 2);
    initiator.no_event();
    initiator.cmd_sn = 4;
    initiator.read(4, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 4);
}

#[test]
fn functions_that_the_engine_answers_by_itself() {
    use TaskManagementResponse::{NotSupported, ReassignmentNotSupported};
    let mut initiator = Initiator::logged_in(&[]);
    for (function, response) in [
        (8, ReassignmentNotSupported),
        (9, NotSupported),
        (99, NotSupported),
    ] {
        let function = TaskFunction::from_wire(function);
        initiator.send(
            TaskManagementRequest {
                function,
                ..abort(50, 1, 1, 1)
            }
            .emit(),
            &[],
        );
        initiator.no_event();
        let reply = TaskManagementReply::parse(&initiator.receive_one().0);
        assert_eq!(reply.response, response);
    }
    let mut initiator = Initiator::logged_in(&["iSCSIProtocolLevel=2"]);
    let query = TaskManagementRequest {
        function: TaskFunction::QueryTask,
        ..abort(50, 1, 1, 1)
    };
    assert_eq!(initiator.task_management(query), Referenced::Absent);
}

#[test]
fn a_ping_is_echoed_unless_it_wants_no_answer() {
    let mut initiator = Initiator::logged_in(&["MaxRecvDataSegmentLength=512"]);
    initiator.send(nop_out(5, 1).emit(), &pattern(600));
    initiator.no_event();
    let (bhs, data) = initiator.receive_one();
    let pdu = NopIn::parse(&bhs);
    assert_eq!((pdu.target_transfer_tag, pdu.exp_cmd_sn), (NO_TAG, 2));
    assert_eq!(data, pattern(512));
    initiator.send(
        NopOut {
            immediate: true,
            ..nop_out(NO_TAG, 2)
        }
        .emit(),
        b"x",
    );
    initiator.no_event();
    assert!(initiator.received().is_empty());
}

#[test]
fn a_silent_initiator_is_asked_and_then_given_up() {
    for answers in [true, false] {
        let mut initiator = Initiator::logged_in(&[]);
        let deadline = initiator.connection.next_deadline().unwrap();
        assert_eq!(deadline, initiator.now + NOP_INTERVAL);
        assert!(initiator.connection.handle_timeout(deadline).is_none());
        let ping = NopIn::parse(&initiator.receive_one().0);
        assert_eq!(ping.initiator_task_tag, NO_TAG);
        assert_ne!(ping.target_transfer_tag, NO_TAG);
        initiator.now = deadline;
        if answers {
            let answer = NopOut {
                immediate: true,
                target_transfer_tag: ping.target_transfer_tag,
                ..nop_out(NO_TAG, 1)
            };
            initiator.send(answer.emit(), &[]);
            initiator.no_event();
        }
        let last = initiator.connection.next_deadline().unwrap();
        let event = initiator.connection.handle_timeout(deadline + NOP_TIMEOUT);
        if answers {
            assert_eq!(last, deadline + NOP_INTERVAL);
            assert!(event.is_none());
        } else {
            assert!(matches!(
                event,
                Some(Event::Closed(CloseReason::NopTimeout))
            ));
        }
    }
}

#[test]
fn a_logout_closes_its_own_connection_only() {
    use LogoutReason::{CloseConnection, CloseSession, RemoveForRecovery};
    for (reason, cid, result) in [
        (CloseSession, 0, LogoutResult::Closed),
        (CloseConnection, 3, LogoutResult::Closed),
        (CloseConnection, 4, LogoutResult::CidNotFound),
        (RemoveForRecovery, 3, LogoutResult::RecoveryNotSupported),
    ] {
        let mut initiator = Initiator::logged_in(&[]);
        let pdu = LogoutRequest {
            immediate: true,
            reason,
            initiator_task_tag: 1,
            cid,
            cmd_sn: 1,
            exp_stat_sn: 0,
        };
        initiator.send(pdu.emit(), &[]);
        if result == LogoutResult::Closed {
            assert!(matches!(initiator.event(), Event::Logout { .. }));
            assert!(matches!(
                initiator.event(),
                Event::Closed(CloseReason::LoggedOut)
            ));
        }
        initiator.no_event();
        assert_eq!(
            LogoutResponse::parse(&initiator.receive_one().0).response,
            result
        );
    }
}

#[test]
fn what_cannot_be_served_is_rejected_or_ends_the_connection() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.send(Bhs::new(Opcode::Snack, 0x80), &[]);
    assert_eq!(initiator.reject_reason(), RejectReason::Snack);
    initiator.send(Bhs::new(Opcode::Unknown(0x1c), 0x80), b"vendor");
    assert_eq!(initiator.reject_reason(), RejectReason::NotSupported);
    let pdu = command(1, 0, 1).emit().with_ahs_words(1);
    initiator.backlog.extend_from_slice(pdu.as_bytes());
    initiator.backlog.extend_from_slice(&[0xff; 4]);
    assert_eq!(initiator.reject_reason(), RejectReason::InvalidField);
    initiator.send(login_request(1, None).emit(), &[]);
    let event = initiator.event();
    let violation = Violation::LoginAfterLogin;
    assert!(matches!(event, Event::Closed(CloseReason::Violation(v)) if v == violation));
}

#[test]
fn a_header_digest_error_ends_the_connection() {
    let mut initiator = Initiator::logged_in(&["HeaderDigest=CRC32C"]);
    initiator.read(1, 512);
    initiator.backlog[20] ^= 1;
    let event = initiator.event();
    assert!(matches!(
        event,
        Event::Closed(CloseReason::Violation(Violation::HeaderDigest { .. }))
    ));
}

#[test]
fn a_peer_that_does_not_read_pushes_back_on_itself() {
    let settings = Settings {
        send_queue_bytes: 1000,
        ..settings()
    };
    let mut initiator = Initiator::logged_in_with(settings, &[]);
    for number in 0..100 {
        initiator.send(
            NopOut {
                immediate: true,
                ..nop_out(number, 1)
            }
            .emit(),
            &[],
        );
    }
    initiator.no_event();
    assert!(initiator.connection.queued_bytes() < 1100 && !initiator.backlog.is_empty());
    let mut answers = 0;
    while !initiator.backlog.is_empty() || initiator.connection.queued_bytes() > 0 {
        answers += initiator.received().len();
        initiator.no_event();
    }
    assert_eq!(answers, 100);
}

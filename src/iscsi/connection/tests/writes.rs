//! Data of writes: immediate, unsolicited, solicited, late and wrong.

use super::super::super::answer::Response;
use super::super::super::error::{CloseReason, DataOutError, Violation};
use super::super::super::event::TaskId;
use super::super::super::pdu::{R2t, Reject, RejectReason, ScsiResponse};
use super::*;
use crate::base::limits::DATA_OUT_TIMEOUT;

const FAST: &[&str] = &[
    "InitialR2T=No",
    "ImmediateData=Yes",
    "FirstBurstLength=8192",
    "MaxBurstLength=16384",
    "MaxOutstandingR2T=2",
];

impl Initiator {
    fn r2ts(&mut self) -> Vec<R2t> {
        let received = self.received();
        assert!(received.iter().all(|(bhs, _)| bhs.opcode() == Opcode::R2t));
        received.iter().map(|(bhs, _)| R2t::parse(bhs)).collect()
    }

    fn accept(&mut self, task: TaskId, range: std::ops::Range<u32>) {
        let buffer = self.buffer(range.len());
        self.connection.accept_data_out(task, buffer, range.start);
    }

    fn data_event(&mut self) -> (Buffer, Result<(), DataOutError>) {
        match self.event() {
            Event::DataOut { buffer, result, .. } => (buffer, result),
            other => panic!("data is due, not {other:?}"),
        }
    }
}

#[test]
fn immediate_data_waits_for_its_buffer() {
    for digests in [&[][..], &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]] {
        let mut initiator = Initiator::logged_in(&[FAST, digests].concat());
        let data = pattern(4095);
        initiator.write(1, 4095, &data, true);
        let command = initiator.command_event();
        assert_eq!((command.write_length, command.read_length), (4095, 0));
        let waiting = initiator.backlog.len();
        initiator.no_event();
        assert_eq!(
            initiator.backlog.len(),
            waiting,
            "no byte is taken before there is room"
        );
        initiator.accept(command.task, 0..4095);
        let (buffer, result) = initiator.data_event();
        assert_eq!(result, Ok(()));
        assert_eq!(&buffer[..], data);
        initiator
            .connection
            .respond(command.task, &Response::good(4095));
        let response = ScsiResponse::parse(&initiator.receive_one().0);
        assert_eq!((response.status, response.residual), (0, 0));
        assert!(initiator.backlog.is_empty());
    }
}

#[test]
fn damaged_immediate_data_fail() {
    let mut initiator = Initiator::logged_in(&[FAST, &["DataDigest=CRC32C"]].concat());
    initiator.write(1, 4096, &pattern(4096), true);
    let task = initiator.command_event().task;
    initiator.backlog[4000] ^= 1;
    initiator.accept(task, 0..4096);
    let (_, result) = initiator.data_event();
    assert!(
        matches!(result, Err(DataOutError::Digest { .. })),
        "{result:?}"
    );
}

#[test]
fn a_receive_is_to_end_with_a_pdu() {
    for (digests, pdu) in [
        (&[][..], 48 + 4096),
        (&["HeaderDigest=CRC32C", "DataDigest=CRC32C"], 52 + 4096 + 4),
    ] {
        let mut initiator = Initiator::logged_in(&[FAST, digests].concat());
        let wanted = |initiator: &Initiator| initiator.connection.bytes_to_receive(10_000, 20_000);
        initiator.write(1, 4095, &pattern(4095), true);
        let rest = initiator.backlog.split_off(1000);
        let task = initiator.command_event().task;
        initiator.accept(task, 0..4095);
        initiator.no_event();
        assert_eq!(
            wanted(&initiator),
            rest.len() + pdu,
            "the rest and one more"
        );
        initiator.backlog = rest;
        let _ = initiator.data_event();
        assert_eq!(wanted(&initiator), 2 * pdu);
        let connection = &initiator.connection;
        assert_eq!(
            connection.bytes_to_receive(1000, 20_000),
            pdu,
            "a whole one"
        );
        assert_eq!(connection.bytes_to_receive(1000, 2000), 2000);
        initiator.write(2, 4095, &pattern(4095), true);
        initiator.backlog.truncate(40);
        initiator.no_event();
        assert_eq!(wanted(&initiator), 2 * pdu - 40);
    }
}

#[test]
fn all_three_kinds_make_up_one_write() {
    let mut initiator = Initiator::logged_in(FAST);
    let data = pattern(60_000);
    initiator.write(1, 60_000, &data[..4096], false);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..60_000);
    initiator.no_event();
    assert!(initiator.r2ts().is_empty(), "the burst is not over");
    initiator.data_out(1, UNSOLICITED, 0, 4096, false, &data[4096..6000]);
    initiator.data_out(1, UNSOLICITED, 1, 6000, true, &data[6000..8192]);
    initiator.no_event();
    let mut r2ts = initiator.r2ts();
    assert_eq!(r2ts.len(), 2, "MaxOutstandingR2T");
    let mut r2t_sn = 0;
    while let Some(r2t) = r2ts.first().copied() {
        assert_eq!(r2t.r2t_sn, r2t_sn);
        assert!(r2t.desired_data_transfer_length <= 16_384);
        r2t_sn += 1;
        r2ts.remove(0);
        let start = r2t.buffer_offset as usize;
        let end = start + r2t.desired_data_transfer_length as usize;
        let middle = (start + end) / 2;
        let (tag, at) = (r2t.target_transfer_tag, r2t.buffer_offset);
        initiator.data_out(1, tag, 0, at, false, &data[start..middle]);
        initiator.data_out(1, tag, 1, middle as u32, true, &data[middle..end]);
        if end < 60_000 {
            initiator.no_event();
        }
        if initiator.backlog.is_empty() {
            r2ts.extend(initiator.r2ts());
        }
    }
    let (buffer, result) = initiator.data_event();
    assert_eq!(result, Ok(()));
    assert_eq!(&buffer[..], data);
    initiator
        .connection
        .respond(command.task, &Response::good(60_000));
    assert_eq!(
        ScsiResponse::parse(&initiator.receive_one().0).exp_data_sn,
        r2t_sn
    );
}

#[test]
fn windows_follow_each_other() {
    let mut initiator = Initiator::logged_in(&["InitialR2T=Yes", "ImmediateData=No"]);
    let data = pattern(3000);
    initiator.write(1, 3000, &[], true);
    let command = initiator.command_event();
    for window in [0..2000, 2000..3000] {
        initiator.accept(command.task, window.clone());
        assert!(initiator.connection.awaits_data_out());
        let [r2t] = initiator.r2ts()[..] else {
            panic!()
        };
        assert_eq!(r2t.buffer_offset, window.start);
        let bytes = &data[window.start as usize..window.end as usize];
        initiator.data_out(1, r2t.target_transfer_tag, 0, window.start, true, bytes);
        let (buffer, result) = initiator.data_event();
        assert_eq!((result, &buffer[..]), (Ok(()), bytes));
    }
    assert!(!initiator.connection.awaits_data_out());
}

#[test]
fn refused_data_is_read_and_dropped() {
    let mut initiator = Initiator::logged_in(FAST);
    initiator.write(1, 8192, &pattern(4096), false);
    let command = initiator.command_event();
    assert!(initiator.connection.refuse_data_out(command.task).is_none());
    initiator.data_out(1, UNSOLICITED, 0, 4096, true, &pattern(4096));
    initiator.read(2, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 2);
    assert!(initiator.received().is_empty());
    initiator
        .connection
        .respond(command.task, &Response::status(0x18, 0));
    let response = ScsiResponse::parse(&initiator.receive_one().0);
    assert_eq!(
        (response.status, response.underflow, response.residual),
        (0x18, true, 8192)
    );
}

#[test]
fn an_answer_before_the_data_drops_it() {
    let mut initiator = Initiator::logged_in(FAST);
    initiator.write(1, 4096, &pattern(4096), true);
    let command = initiator.command_event();
    initiator
        .connection
        .respond(command.task, &Response::status(0x08, 0));
    initiator.read(2, 512);
    assert_eq!(initiator.command_event().initiator_task_tag, 2);
}

#[test]
fn data_behind_an_abort_is_consumed() {
    let mut initiator = Initiator::logged_in(FAST);
    initiator.write(1, 32_768, &[], true);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..32_768);
    let r2ts = initiator.r2ts();
    let tag = r2ts[0].target_transfer_tag;
    initiator.data_out(1, tag, 0, 0, false, &pattern(1000));
    initiator.no_event();
    assert!(initiator.connection.abort_task(command.task).is_some());
    assert!(initiator.connection.abort_task(command.task).is_none());
    initiator.data_out(1, tag, 1, 1000, true, &pattern(15_384));
    initiator.data_out(
        1,
        r2ts[1].target_transfer_tag,
        0,
        16_384,
        true,
        &pattern(16_384),
    );
    initiator.write(1, 512, &pattern(512), true);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..512);
    assert_eq!(initiator.data_event().1, Ok(()));
    assert!(initiator.received().is_empty());
}

#[test]
fn a_data_digest_error_fails_the_write_and_nothing_else() {
    let mut initiator = Initiator::logged_in(&[FAST, &["DataDigest=CRC32C"]].concat());
    initiator.write(1, 512, &pattern(512), true);
    *initiator.backlog.last_mut().unwrap() ^= 1;
    let command = initiator.command_event();
    initiator.accept(command.task, 0..512);
    let (_, result) = initiator.data_event();
    let error = result.unwrap_err();
    assert!(matches!(error, DataOutError::Digest { .. }));
    assert_eq!(error.additional_sense(), (0x47, 0x05));
    let (bhs, bad) = initiator.receive_one();
    assert_eq!(Reject::parse(&bhs).reason, RejectReason::DataDigest);
    assert_eq!(bad.len(), BHS_BYTES);
    initiator.connection.respond(
        command.task,
        &Response::check_condition(&[0x70, 0, 0x0b], 0),
    );
    let (bhs, sense) = initiator.receive_one();
    assert_eq!(ScsiResponse::parse(&bhs).status, 2);
    assert_eq!(sense, [0, 3, 0x70, 0, 0x0b]);
}

#[test]
fn a_failure_is_told_when_every_sequence_has_ended() {
    let mut initiator = Initiator::logged_in(FAST);
    initiator.write(1, 32_768, &[], true);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..32_768);
    let r2ts = initiator.r2ts();
    initiator.data_out(1, r2ts[0].target_transfer_tag, 5, 0, true, &pattern(16_384));
    initiator.no_event();
    initiator.data_out(
        1,
        r2ts[1].target_transfer_tag,
        0,
        16_384,
        true,
        &pattern(16_384),
    );
    let (_, result) = initiator.data_event();
    assert_eq!(
        result,
        Err(DataOutError::DataSn {
            expected: 0,
            got: 5
        })
    );
    assert!(initiator.r2ts().is_empty());
}

#[test]
fn a_tag_that_no_r2t_gave_out_ends_the_connection() {
    let mut initiator = Initiator::logged_in(FAST);
    initiator.write(1, 32_768, &[], true);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..32_768);
    initiator.data_out(1, 0x1234, 0, 0, true, &pattern(512));
    let event = initiator.event();
    let violation = Violation::UnknownTransferTag { tag: 0x1234 };
    assert!(matches!(event, Event::Closed(CloseReason::Violation(v)) if v == violation));
}

#[test]
fn data_that_does_not_come_ends_the_connection() {
    let settings = Settings {
        nop_interval: None,
        ..settings()
    };
    let mut initiator = Initiator::logged_in_with(settings, FAST);
    initiator.write(1, 32_768, &[], true);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..32_768);
    let first = initiator.r2ts()[0].target_transfer_tag;
    let deadline = initiator.connection.next_deadline().unwrap();
    assert_eq!(deadline, initiator.now + DATA_OUT_TIMEOUT);
    initiator.now = initiator.now + DATA_OUT_TIMEOUT / 2;
    initiator.data_out(1, first, 0, 0, false, &pattern(512));
    initiator.no_event();
    assert!(
        initiator.connection.handle_timeout(deadline).is_none(),
        "there was progress"
    );
    let deadline = initiator.connection.next_deadline().unwrap();
    assert_eq!(deadline, initiator.now + DATA_OUT_TIMEOUT);
    let event = initiator.connection.handle_timeout(deadline);
    assert!(matches!(
        event,
        Some(Event::Closed(CloseReason::DataOutTimeout))
    ));
}

#[test]
fn the_first_burst_has_an_edge() {
    for (immediate, ok) in [(8192, true), (8193, false)] {
        let mut initiator = Initiator::logged_in(FAST);
        initiator.write(1, 10_000, &pattern(immediate), true);
        let command = initiator.command_event();
        initiator.accept(command.task, 0..10_000);
        if ok {
            initiator.no_event();
            let [r2t] = initiator.r2ts()[..] else {
                panic!()
            };
            assert_eq!(
                (r2t.buffer_offset, r2t.desired_data_transfer_length),
                (8192, 1808)
            );
        } else {
            assert_eq!(
                initiator.data_event().1,
                Err(DataOutError::UnexpectedUnsolicited)
            );
        }
    }
}

#[test]
fn what_the_first_window_does_not_hold_is_asked_for_again() {
    let mut initiator = Initiator::logged_in(FAST);
    let data = pattern(4096);
    initiator.write(1, 4096, &data, true);
    let command = initiator.command_event();
    initiator.accept(command.task, 0..1000);
    assert_eq!(initiator.data_event().1, Ok(()));
    initiator.accept(command.task, 1000..4096);
    let [r2t] = initiator.r2ts()[..] else {
        panic!()
    };
    assert_eq!(
        (r2t.buffer_offset, r2t.desired_data_transfer_length),
        (1000, 3096)
    );
}

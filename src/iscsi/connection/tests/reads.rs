//! Data of reads, status and residuals.

use super::super::super::answer::{AsyncEvent, Response};
use super::super::super::pdu::{AsyncCode, AsyncMessage, DataIn, ScsiResponse};
use super::*;
use crate::base::gather::Payload;

fn data_in(received: &[Received]) -> Vec<DataIn> {
    received.iter().map(|(bhs, _)| DataIn::parse(bhs)).collect()
}

#[test]
fn a_small_read_is_one_pdu_with_status() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.read(1, 4096);
    let command = initiator.command_event();
    let payload = Payload::Bytes(pattern(4096));
    let good = Response::good(4096);
    let back = initiator
        .connection
        .send_data_in(command.task, payload, 0..4096, 0, Some(&good));
    assert!(back.is_some(), "it was copied");
    let received = initiator.receive_one();
    let pdu = DataIn::parse(&received.0);
    assert!(pdu.final_pdu && pdu.has_status && !pdu.acknowledge);
    assert_eq!(
        (pdu.status, pdu.residual, pdu.max_cmd_sn - pdu.exp_cmd_sn),
        (0, 0, 127)
    );
    assert_eq!(received.1, pattern(4096));
    assert_eq!(initiator.connection.tasks().count(), 0);
}

#[test]
fn a_large_read_is_cut_by_segment_and_burst() {
    for digests in [&[][..], &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]] {
        let keys = [
            &["MaxRecvDataSegmentLength=10000", "MaxBurstLength=32768"],
            digests,
        ]
        .concat();
        let mut initiator = Initiator::logged_in(&keys);
        initiator.read(1, 70_001);
        let command = initiator.command_event();
        let data = pattern(70_001);
        let first = Payload::Bytes(data[..40_000].to_vec());
        let held = initiator
            .connection
            .send_data_in(command.task, first, 0..40_000, 0, None);
        assert!(held.is_none(), "it goes by reference");
        let second = Payload::Bytes(data.clone());
        let good = Response::good(70_001);
        let task = command.task;
        initiator
            .connection
            .send_data_in(task, second, 40_000..70_001, 40_000, Some(&good));
        let received = initiator.received();
        let pdus = data_in(&received);
        let mut at = 0;
        for (number, (pdu, (_, bytes))) in pdus.iter().zip(&received).enumerate() {
            assert_eq!((pdu.buffer_offset, pdu.data_sn), (at, number as u32));
            assert!(bytes.len() <= 10_000);
            at += bytes.len() as u32;
            assert_eq!(pdu.final_pdu, at % 32_768 == 0 || at == 70_001, "at {at}");
            assert_eq!(pdu.has_status, at == 70_001);
        }
        let all: Vec<u8> = received.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(all, data);
    }
}

#[test]
fn residuals_tell_what_was_wanted_and_what_was_expected() {
    for (expected, asked, sent, overflow, underflow, residual) in [
        (512, 1024, 512, true, false, 512),
        (1024, 512, 512, false, true, 512),
    ] {
        let mut initiator = Initiator::logged_in(&[]);
        initiator.read(1, expected);
        let command = initiator.command_event();
        let payload = Payload::Static(&[0; 1024]);
        let good = Response::good(asked);
        let task = command.task;
        let length = asked as usize;
        initiator
            .connection
            .send_data_in(task, payload, 0..length, 0, Some(&good));
        let (bhs, data) = initiator.receive_one();
        let pdu = DataIn::parse(&bhs);
        assert_eq!(data.len(), sent);
        assert_eq!(
            (pdu.overflow, pdu.underflow, pdu.residual),
            (overflow, underflow, residual)
        );
    }
}

#[test]
fn a_read_of_nothing_answers_with_a_response() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.read(1, 0);
    let command = initiator.command_event();
    let good = Response::good(512);
    let payload = Payload::Static(&[0; 512]);
    initiator
        .connection
        .send_data_in(command.task, payload, 0..512, 0, Some(&good));
    let response = ScsiResponse::parse(&initiator.receive_one().0);
    assert!(response.overflow);
    assert_eq!(response.residual, 512);
}

#[test]
fn status_with_sense_follows_the_data() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.read(1, 1024);
    let command = initiator.command_event();
    let check = Response::check_condition(&[0x72, 1, 2, 3, 0], 512);
    let payload = Payload::Static(&[0; 512]);
    initiator
        .connection
        .send_data_in(command.task, payload, 0..512, 0, Some(&check));
    let received = initiator.received();
    let pdu = DataIn::parse(&received[0].0);
    assert!(pdu.final_pdu && !pdu.has_status);
    let response = ScsiResponse::parse(&received[1].0);
    assert_eq!(
        (response.underflow, response.residual, response.exp_data_sn),
        (true, 512, 1)
    );
    assert_eq!(received[1].1, [0, 5, 0x72, 1, 2, 3, 0]);
}

#[test]
fn status_numbers_count_up_and_events_are_told() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator
        .connection
        .send_async(AsyncEvent::RequestLogout { seconds: 5 });
    initiator.connection.send_async(AsyncEvent::Scsi {
        lun: [1; 8],
        sense: &[9; 18],
    });
    let received = initiator.received();
    let first = AsyncMessage::parse(&received[0].0);
    let second = AsyncMessage::parse(&received[1].0);
    assert_eq!(
        (first.event, first.parameter3),
        (AsyncCode::RequestLogout, 5)
    );
    assert_eq!((second.stat_sn, second.lun), (first.stat_sn + 1, [1; 8]));
    assert_eq!(received[1].1[..2], [0, 18]);
}

#[test]
fn answers_to_tasks_that_are_gone_do_nothing() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.read(1, 512);
    let command = initiator.command_event();
    initiator
        .connection
        .respond(command.task, &Response::good(512));
    let _ = initiator.received();
    initiator
        .connection
        .respond(command.task, &Response::good(512));
    let payload = Payload::Static(&[0; 512]);
    assert!(
        initiator
            .connection
            .send_data_in(command.task, payload, 0..512, 0, None)
            .is_some()
    );
    assert!(initiator.received().is_empty());
}

/// Whatever lies between two commands is passed over: the first one's data, padding and digest.
#[test]
fn the_command_behind_the_one_at_hand_is_seen() {
    for digests in [&[][..], &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]] {
        for immediate in [0, 5, 512] {
            let mut initiator = Initiator::logged_in(digests);
            assert_eq!(initiator.connection.coming(&initiator.backlog), None);
            initiator.write(1, 512, &pattern(immediate), true);
            let next = ScsiCommand {
                cdb: [0x28; 16],
                ..command(2, 512, initiator.cmd_sn)
            };
            initiator.send(next.emit(), &[]);
            assert_eq!(
                initiator.connection.coming(&initiator.backlog),
                Some(&[0x88; 16])
            );

            let first = initiator.command_event();
            let behind = initiator.backlog.clone();
            assert_eq!(initiator.connection.coming(&behind), Some(&[0x28; 16]));
            let digest = if digests.is_empty() { 0 } else { 4 };
            let cut = &behind[..behind.len() - digest - 1];
            assert_eq!(initiator.connection.coming(cut), None, "a header in parts");
            assert_eq!(first.cdb.as_slice(), [0x88; 16]);
        }
    }
}

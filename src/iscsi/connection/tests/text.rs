//! Text requests: SendTargets, long answers, and what is refused.

use super::super::super::answer::TargetRecord;
use super::super::super::event::SendTargetsRequest;
use super::super::super::pdu::{Reject, RejectReason, TextRequest, TextResponse};
use super::*;

fn request(cmd_sn: u32, ttt: u32) -> TextRequest {
    TextRequest {
        immediate: false,
        final_pdu: true,
        continued: false,
        lun: [0; 8],
        initiator_task_tag: 8,
        target_transfer_tag: ttt,
        cmd_sn,
        exp_stat_sn: 0,
    }
}

fn discovery() -> Initiator {
    let mut initiator = Initiator::connect(settings());
    let keys = [
        "InitiatorName=i",
        "SessionType=Discovery",
        "MaxRecvDataSegmentLength=512",
    ];
    initiator.login(1, Some(3), &keys);
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(identity());
    assert!(matches!(initiator.event(), Event::LoginComplete(_)));
    initiator.connection.admit(1);
    let _ = initiator.received();
    initiator
}

#[test]
fn a_long_answer_comes_in_pieces() {
    let mut initiator = discovery();
    initiator.send(request(1, NO_TAG).emit(), b"SendTargets=All\0");
    let event = initiator.event();
    assert!(matches!(event, Event::SendTargets(SendTargetsRequest::All)));
    initiator.no_event();
    let record = |number: usize| TargetRecord {
        name: format!("iqn.2024-01.example:volume-{number}"),
        alias: None,
        addresses: vec![("10.0.0.1:3260".into(), 1)],
    };
    let records: Vec<TargetRecord> = (0..40).map(record).collect();
    initiator.connection.answer_targets(&records);
    let (mut text, mut cmd_sn) = (Vec::new(), 2);
    loop {
        let (bhs, piece) = initiator.receive_one();
        let response = TextResponse::parse(&bhs);
        assert!(piece.len() <= 512);
        text.extend(piece);
        assert_eq!(response.continued, !response.final_pdu);
        assert_eq!(response.target_transfer_tag == NO_TAG, response.final_pdu);
        if response.final_pdu {
            break;
        }
        initiator.send(request(cmd_sn, response.target_transfer_tag).emit(), &[]);
        initiator.no_event();
        cmd_sn += 1;
    }
    let pairs = text_of(&text);
    assert_eq!(pairs.len(), 80);
    assert_eq!(pairs[78].1, "iqn.2024-01.example:volume-39");
}

#[test]
fn a_discovery_session_knows_text_and_logout_only() {
    let mut initiator = discovery();
    initiator.read(1, 512);
    initiator.no_event();
    let (bhs, _) = initiator.receive_one();
    assert_eq!(Reject::parse(&bhs).reason, RejectReason::ProtocolError);
}

#[test]
fn a_normal_session_may_ask_for_its_own_target() {
    let mut initiator = Initiator::logged_in(&[]);
    initiator.send(request(1, NO_TAG).emit(), b"SendTargets=\0");
    assert!(matches!(
        initiator.event(),
        Event::SendTargets(SendTargetsRequest::Own)
    ));
    initiator.connection.answer_targets(&[]);
    assert!(TextResponse::parse(&initiator.receive_one().0).final_pdu);
    let keys = b"SendTargets=All\0MaxBurstLength=512\0X-a=b\0MaxRecvDataSegmentLength=600\0";
    initiator.send(request(2, NO_TAG).emit(), keys);
    initiator.no_event();
    let text = text_of(&initiator.receive_one().1);
    let pairs: Vec<(&str, &str)> = text.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let refused = [("SendTargets", "Reject"), ("MaxBurstLength", "Reject")];
    assert_eq!(pairs, [&refused[..], &[("X-a", "NotUnderstood")]].concat());
}

#[test]
fn a_request_may_be_split() {
    let mut initiator = Initiator::logged_in(&[]);
    let first = TextRequest {
        final_pdu: false,
        continued: true,
        ..request(1, NO_TAG)
    };
    initiator.send(first.emit(), b"SendTar");
    initiator.no_event();
    let response = TextResponse::parse(&initiator.receive_one().0);
    assert!(!response.final_pdu);
    initiator.send(request(2, response.target_transfer_tag).emit(), b"gets=\0");
    assert!(matches!(
        initiator.event(),
        Event::SendTargets(SendTargetsRequest::Own)
    ));
}

#[test]
fn a_tag_that_was_not_given_out_and_broken_text_are_rejected() {
    for (ttt, text, reason) in [
        (77, &b"SendTargets=\0"[..], RejectReason::InvalidField),
        (NO_TAG, b"no separator\0", RejectReason::ProtocolError),
    ] {
        let mut initiator = Initiator::logged_in(&[]);
        initiator.send(request(1, ttt).emit(), text);
        initiator.no_event();
        assert_eq!(Reject::parse(&initiator.receive_one().0).reason, reason);
    }
}

//! The state machines against PDUs made by hand.

use std::sync::Arc;

use proptest::prelude::*;

use super::fault::Fault;
use super::login::{LoggedIn, Login, Step};
use super::outbox::Outbox;
use super::session::{Command, Event, Session, Transfer};
use crate::base::crc32c::crc32c;
use crate::base::limits::LOAD_DATA_SEGMENT_BYTES;
use crate::iscsi::chap::{self, Algorithm, ChapError};
use crate::iscsi::event::Parameters;
use crate::iscsi::pdu::{
    AsyncCode, AsyncMessage, BHS_BYTES, Bhs, DataIn, DataOut, LoginRequest, LoginResponse,
    LoginStatus, NO_TAG, NopIn, NopOut, Opcode, R2t, Reject, RejectReason, ScsiCommand,
    ScsiResponse,
};
use crate::iscsi::settings::EntropyError;
use crate::iscsi::text;
use crate::load::failure::FailureKind;
use crate::load::plan::{Credentials, LoginOptions, Plan};
use crate::volume::IscsiName;

const LUN: [u8; 8] = [0; 8];

fn content() -> Arc<[u8]> {
    (0..=255).cycle().take(64 << 10).collect()
}

fn outbox() -> Outbox {
    Outbox::new(content())
}

fn session(parameters: Parameters, depth: u32) -> Session {
    let login = LoggedIn {
        parameters,
        cmd_sn: 1,
        exp_stat_sn: 1,
        max_cmd_sn: 8,
    };
    Session::new(login, LUN, depth)
}

fn parameters() -> Parameters {
    Parameters {
        initial_r2t: false,
        target_data_segment_bytes: 4096,
        first_burst_bytes: 8192,
        ..Parameters::default()
    }
}

const fn read(bytes: u32) -> Command {
    Command {
        cdb: [0; 16],
        transfer: Transfer::Read { bytes, keep: true },
    }
}

const fn write(bytes: u32) -> Command {
    Command {
        cdb: [0; 16],
        transfer: Transfer::Write { bytes, own: false },
    }
}

/// Issues a command; its slot and tag.
fn issue(session: &mut Session, command: &Command, outbox: &mut Outbox) -> (u32, u32) {
    let slot = session.reserve().expect("room");
    session.issue(slot, command, outbox);
    let pdus = split(&take(outbox), &Parameters::default());
    (slot, pdus[0].0.initiator_task_tag())
}

/// What is to be sent, taken out.
fn take(outbox: &mut Outbox) -> Vec<u8> {
    let bytes = outbox.to_vec();
    outbox.advance(bytes.len());
    assert!(outbox.is_empty());
    bytes
}

/// Cuts sent bytes into PDUs, judging their digests.
fn split(mut bytes: &[u8], parameters: &Parameters) -> Vec<(Bhs, Vec<u8>)> {
    let mut pdus = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<BHS_BYTES>() {
        let bhs = Bhs::from_bytes(*header);
        bytes = rest;
        if parameters.header_digest {
            assert_eq!(bytes[..4], crc32c(header).to_le_bytes());
            bytes = &bytes[4..];
        }
        let length = bhs.data_segment_bytes() as usize;
        let padded = length.next_multiple_of(4);
        let data = bytes[..length].to_vec();
        if parameters.data_digest && length > 0 {
            let digest = crc32c(&bytes[..padded]);
            assert_eq!(bytes[padded..padded + 4], digest.to_le_bytes());
            bytes = &bytes[4..];
        }
        bytes = &bytes[padded..];
        pdus.push((bhs, data));
    }
    assert!(bytes.is_empty());
    pdus
}

/// A PDU on the wire.
fn wire(bhs: Bhs, data: &[u8], parameters: &Parameters) -> Vec<u8> {
    let bhs = bhs.with_data(u32::try_from(data.len()).unwrap());
    let mut bytes = bhs.as_bytes().to_vec();
    if parameters.header_digest {
        bytes.extend(crc32c(&bytes).to_le_bytes());
    }
    let mut segment = data.to_vec();
    segment.resize(data.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(&segment);
    if parameters.data_digest && !data.is_empty() {
        bytes.extend(crc32c(&segment).to_le_bytes());
    }
    bytes
}

fn data_in(tag: u32, offset: u32, stat_sn: Option<u32>) -> Bhs {
    let pdu = DataIn {
        final_pdu: stat_sn.is_some(),
        acknowledge: false,
        overflow: false,
        underflow: false,
        has_status: stat_sn.is_some(),
        status: 0,
        lun: LUN,
        initiator_task_tag: tag,
        target_transfer_tag: NO_TAG,
        stat_sn: stat_sn.unwrap_or(0),
        exp_cmd_sn: 2,
        max_cmd_sn: 9,
        data_sn: 0,
        buffer_offset: offset,
        residual: 0,
    };
    pdu.emit()
}

fn response(tag: u32, stat_sn: u32, status: u8) -> Bhs {
    let pdu = ScsiResponse {
        read_overflow: false,
        read_underflow: false,
        overflow: false,
        underflow: false,
        response: 0,
        status,
        initiator_task_tag: tag,
        snack_tag: 0,
        stat_sn,
        exp_cmd_sn: 2,
        max_cmd_sn: 9,
        exp_data_sn: 0,
        read_residual: 0,
        residual: 0,
    };
    pdu.emit()
}

/// Feeds a PDU without digests.
fn feed(session: &mut Session, bhs: Bhs, data: &[u8]) -> Result<Vec<Event>, Fault> {
    let mut events = Vec::new();
    let bytes = wire(bhs, data, &Parameters::default());
    session.receive(&bytes, &mut outbox(), &mut events)?;
    Ok(events)
}

proptest! {
    /// Wherever TCP cuts the stream, a read comes out the same, and its digests hold.
    #[test]
    fn a_read_survives_any_cut(cut in 1usize..3000, header_digest: bool, data_digest: bool) {
        let parameters = Parameters { header_digest, data_digest, ..parameters() };
        let mut session = session(parameters, 4);
        let mut sent = outbox();
        let slot = session.reserve().unwrap();
        session.issue(slot, &read(6144), &mut sent);
        let pdus = split(&take(&mut sent), &parameters);
        let tag = pdus[0].0.initiator_task_tag();
        let data = &content()[..6144];
        let stream = [
            wire(data_in(tag, 0, None), &data[..4096], &parameters),
            wire(data_in(tag, 4096, Some(1)), &data[4096..], &parameters),
        ]
        .concat();
        let mut events = Vec::new();
        for piece in stream.chunks(cut) {
            session.receive(piece, &mut sent, &mut events).unwrap();
        }
        prop_assert_eq!(events, [Event::Done { slot }]);
        prop_assert_eq!(session.buffer(slot), data);
        prop_assert_eq!(session.outstanding(), 0);
    }

    /// Nothing that a target sends makes the initiator panic.
    #[test]
    fn any_bytes_are_taken_or_refused(
        opcode in prop::sample::select(vec![0x20u8, 0x21, 0x25, 0x26, 0x31, 0x32, 0x3f]),
        mut bytes in prop::collection::vec(any::<u8>(), 48..400),
        tag in 0u32..3,
    ) {
        let mut session = session(parameters(), 2);
        let mut sent = outbox();
        for command in [read(4096), write(16384)] {
            let slot = session.reserve().unwrap();
            session.issue(slot, &command, &mut sent);
        }
        bytes[0] = opcode;
        bytes[4..8].copy_from_slice(&[0, 0, 0, 64]);
        bytes[16..20].copy_from_slice(&((1 << 16) + tag).to_be_bytes());
        let mut events = Vec::new();
        let _ = session.receive(&bytes, &mut sent, &mut events);
        prop_assert!(events.len() <= 2);
    }
}

#[test]
fn a_write_sends_its_first_burst_and_then_what_is_asked_for() {
    for (initial_r2t, immediate_data, unasked) in [
        (false, true, 8192),
        (true, true, 4096),
        (false, false, 8192),
        (true, false, 0),
    ] {
        let parameters = Parameters {
            initial_r2t,
            immediate_data,
            data_digest: true,
            ..parameters()
        };
        let mut session = session(parameters, 1);
        let mut sent = outbox();
        let slot = session.reserve().unwrap();
        session.issue(slot, &write(20_480), &mut sent);
        let first = split(&take(&mut sent), &parameters);
        let command = ScsiCommand::parse(&first[0].0);
        assert!(command.write && !command.read);
        assert_eq!(command.expected_data_transfer_length, 20_480);
        assert_eq!(command.final_pdu, first.len() == 1);
        assert_eq!(first[0].1.len(), if immediate_data { 4096 } else { 0 });
        let tag = command.initiator_task_tag;
        let mut whole: Vec<u8> = first.iter().flat_map(|(_, data)| data.clone()).collect();
        assert_eq!(whole.len(), unasked, "{parameters:?}");
        for (number, (bhs, _)) in (0..).zip(&first[1..]) {
            let data_out = DataOut::parse(bhs);
            assert_eq!(data_out.target_transfer_tag, NO_TAG);
            assert_eq!(
                (data_out.data_sn, data_out.initiator_task_tag),
                (number, tag)
            );
        }
        let offset = u32::try_from(unasked).unwrap();
        let ask = R2t {
            lun: LUN,
            initiator_task_tag: tag,
            target_transfer_tag: 77,
            stat_sn: 1,
            exp_cmd_sn: 2,
            max_cmd_sn: 9,
            r2t_sn: 0,
            buffer_offset: offset,
            desired_data_transfer_length: 20_480 - offset,
        };
        let mut events = Vec::new();
        let ask = wire(ask.emit(), &[], &parameters);
        session.receive(&ask, &mut sent, &mut events).unwrap();
        let asked = split(&take(&mut sent), &parameters);
        let finals = asked.iter().map(|(bhs, _)| DataOut::parse(bhs).final_pdu);
        let finals: Vec<bool> = finals.collect();
        assert_eq!(finals.iter().filter(|last| **last).count(), 1);
        assert!(finals[finals.len() - 1]);
        for (bhs, data) in &asked {
            let data_out = DataOut::parse(bhs);
            assert_eq!(data_out.target_transfer_tag, 77);
            assert_eq!(data_out.buffer_offset as usize, whole.len());
            assert!(data.len() <= 4096);
            whole.extend_from_slice(data);
        }
        assert_eq!(whole, content()[..20_480]);
        let answer = wire(response(tag, 1, 0), &[], &parameters);
        session.receive(&answer, &mut sent, &mut events).unwrap();
        assert_eq!(events, [Event::Done { slot }]);
    }
}

#[test]
fn own_data_are_sent_instead_of_the_shared_ones() {
    let mut session = session(parameters(), 1);
    let mut sent = outbox();
    let slot = session.reserve().unwrap();
    session.buffer_mut(slot, 512).fill(0xee);
    let transfer = Transfer::Write {
        bytes: 512,
        own: true,
    };
    let cdb = [0; 16];
    session.issue(slot, &Command { cdb, transfer }, &mut sent);
    assert_eq!(split(&take(&mut sent), &parameters())[0].1, [0xee; 512]);
}

#[test]
fn the_command_window_is_honoured() {
    let mut session = session(parameters(), 20);
    let mut sent = outbox();
    let mut tags = Vec::new();
    while session.reserve().is_some() {
        tags.push(issue(&mut session, &read(0), &mut sent).1);
    }
    assert_eq!(tags.len(), 8, "CmdSN 1 to MaxCmdSN");
    feed(&mut session, response(tags[0], 1, 0), &[]).unwrap();
    assert!(session.reserve().is_some(), "MaxCmdSN is 9 now");
    issue(&mut session, &read(0), &mut sent);
    assert_eq!(session.reserve(), None);
    assert_eq!(session.outstanding(), 8);
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    let fault = |bhs: &dyn Fn(u32) -> Bhs, data: &[u8]| {
        let mut session = session(parameters(), 2);
        let (_, tag) = issue(&mut session, &read(4096), &mut outbox());
        feed(&mut session, bhs(tag), data).unwrap_err()
    };
    let data = [0; 4096];
    assert!(matches!(
        fault(&|tag| response(tag, 2, 0), &[]),
        Fault::StatSn {
            expected: 1,
            got: 2
        }
    ));
    assert!(matches!(
        fault(&|tag| response(tag + 1, 1, 0), &[]),
        Fault::UnknownTask(_)
    ));
    assert!(matches!(
        fault(&|tag| response(tag + (1 << 16), 1, 0), &[]),
        Fault::UnknownTask(_)
    ));
    assert!(matches!(
        fault(&|tag| data_in(tag, 512, None), &data[..512]),
        Fault::Range { offset: 512, .. }
    ));
    assert!(matches!(
        fault(&|tag| data_in(tag, 0, None), &[0; 4100]),
        Fault::Range { bytes: 4100, .. }
    ));
    assert!(matches!(
        fault(&|_| Bhs::new(Opcode::ScsiCommand, 0), &[]),
        Fault::Opcode(1)
    ));
    // `wire` sets the length by the data, so this one is made here.
    let long = Bhs::new(Opcode::NopIn, 0x80).with_data(LOAD_DATA_SEGMENT_BYTES + 4);
    let mut fresh = session(parameters(), 1);
    assert!(matches!(
        fresh.receive(long.as_bytes(), &mut outbox(), &mut Vec::new()),
        Err(Fault::SegmentTooLong { .. })
    ));
    let asks = |event| {
        move |_| {
            let pdu = AsyncMessage {
                lun: LUN,
                initiator_task_tag: NO_TAG,
                stat_sn: 1,
                exp_cmd_sn: 2,
                max_cmd_sn: 9,
                event,
                vendor_code: 0,
                parameter1: 0,
                parameter2: 0,
                parameter3: 0,
            };
            pdu.emit()
        }
    };
    assert!(matches!(
        fault(&asks(AsyncCode::RequestLogout), &[]),
        Fault::Dismissed
    ));
}

#[test]
fn damaged_data_end_the_connection() {
    let parameters = Parameters {
        header_digest: true,
        data_digest: true,
        ..parameters()
    };
    for at in [20, 49, 60, 52 + 512] {
        let mut session = session(parameters, 1);
        let mut sent = outbox();
        session.issue(0, &read(512), &mut sent);
        let pdus = split(&take(&mut sent), &parameters);
        let tag = pdus[0].0.initiator_task_tag();
        let mut bytes = wire(data_in(tag, 0, Some(1)), &[7; 512], &parameters);
        bytes[at] ^= 1;
        let fault = session
            .receive(&bytes, &mut sent, &mut Vec::new())
            .unwrap_err();
        let expected_header = at < 52;
        assert_eq!(
            matches!(fault, Fault::Header(_)),
            expected_header,
            "{fault}"
        );
        assert_eq!(matches!(fault, Fault::DataDigest { .. }), !expected_header);
    }
}

#[test]
fn failures_are_told_with_their_sense() {
    let mut session = session(parameters(), 4);
    let mut sent = outbox();
    let (slot, tag) = issue(&mut session, &read(512), &mut sent);
    let sense = [0, 8, 0x72, 0x05, 0x21, 0x00, 0, 0, 0, 0];
    let kind = FailureKind::Sense {
        key: 5,
        asc: 0x21,
        ascq: 0,
    };
    let events = feed(&mut session, response(tag, 1, 2), &sense).unwrap();
    assert_eq!(events, [Event::Failed { slot, kind }]);

    let (slot, tag) = issue(&mut session, &read(512), &mut sent);
    let events = feed(&mut session, response(tag, 2, 0x18), &[]).unwrap();
    let kind = FailureKind::Status(0x18);
    assert_eq!(events, [Event::Failed { slot, kind }]);

    let (slot, tag) = issue(&mut session, &read(512), &mut sent);
    let events = feed(&mut session, data_in(tag, 0, Some(3)), &[0; 100]).unwrap();
    let kind = FailureKind::Short;
    assert_eq!(events, [Event::Failed { slot, kind }]);

    let slot = session.reserve().unwrap();
    session.issue(slot, &read(512), &mut sent);
    let command = take(&mut sent);
    let reject = Reject {
        reason: RejectReason::InvalidField,
        initiator_task_tag: NO_TAG,
        stat_sn: 4,
        exp_cmd_sn: 2,
        max_cmd_sn: 9,
        data_sn: 0,
    };
    let events = feed(&mut session, reject.emit(), &command[..BHS_BYTES]).unwrap();
    let kind = FailureKind::Rejected(9);
    assert_eq!(events, [Event::Failed { slot, kind }]);
    let orphan = Reject {
        stat_sn: 5,
        ..reject
    };
    assert!(matches!(
        feed(&mut session, orphan.emit(), &[]),
        Err(Fault::Rejected(RejectReason::InvalidField))
    ));
}

#[test]
fn a_ping_is_answered() {
    let mut session = session(parameters(), 1);
    let mut sent = outbox();
    let ping = NopIn {
        lun: [0, 3, 0, 0, 0, 0, 0, 0],
        initiator_task_tag: NO_TAG,
        target_transfer_tag: 5,
        stat_sn: 1,
        exp_cmd_sn: 1,
        max_cmd_sn: 8,
    };
    let bytes = wire(ping.emit(), &[], &Parameters::default());
    session.receive(&bytes, &mut sent, &mut Vec::new()).unwrap();
    let answer = NopOut::parse(&split(&take(&mut sent), &parameters())[0].0);
    assert!(answer.immediate);
    assert_eq!((answer.target_transfer_tag, answer.lun), (5, ping.lun));
    assert_eq!(answer.initiator_task_tag, NO_TAG);
    assert_eq!(answer.exp_stat_sn, 1, "a ping takes no StatSN");
}

#[test]
fn a_target_that_asks_twice_or_never_reads_is_given_up() {
    let mut session = session(parameters(), 1);
    let mut sent = outbox();
    let (_, tag) = issue(&mut session, &write(20_480), &mut sent);
    let ask = R2t {
        lun: LUN,
        initiator_task_tag: tag,
        target_transfer_tag: 1,
        stat_sn: 1,
        exp_cmd_sn: 2,
        max_cmd_sn: 9,
        r2t_sn: 0,
        buffer_offset: 8192,
        desired_data_transfer_length: 4096,
    };
    feed(&mut session, ask.emit(), &[]).unwrap();
    assert!(matches!(
        feed(&mut session, ask.emit(), &[]),
        Err(Fault::Range { moved: 12_288, .. })
    ));

    let ping = NopIn {
        lun: LUN,
        initiator_task_tag: NO_TAG,
        target_transfer_tag: 5,
        stat_sn: 1,
        exp_cmd_sn: 1,
        max_cmd_sn: 8,
    };
    let bytes = wire(ping.emit(), &[], &Parameters::default()).repeat(5000);
    let flooded = session.receive(&bytes, &mut sent, &mut Vec::new());
    assert!(matches!(flooded, Err(Fault::Pings)));
    assert!(sent.to_vec().len() < 5000 * BHS_BYTES);
}

// --- Login ---------------------------------------------------------------------------------------

fn options(chap: Option<Credentials>) -> LoginOptions {
    let name = IscsiName::new("iqn.2024-01.test:bench").unwrap();
    LoginOptions {
        chap,
        ..Plan::new(Vec::new(), name).login
    }
}

/// Entropy that a test knows: 0, 1, 2, …
fn counting(bytes: &mut [u8]) -> Result<(), EntropyError> {
    for (byte, value) in bytes.iter_mut().zip(0..) {
        *byte = value;
    }
    Ok(())
}

fn target() -> IscsiName {
    IscsiName::new("iqn.2024-01.test:disk").unwrap()
}

/// A response of the stage `current`, going on to `next`.
fn answer(current: u8, next: Option<u8>, status: LoginStatus) -> Bhs {
    let pdu = LoginResponse {
        transit: next.is_some(),
        continued: false,
        current_stage: current,
        next_stage: next.unwrap_or(0),
        version_max: 0,
        version_active: 0,
        isid: [0; 6],
        tsih: 1,
        initiator_task_tag: 0,
        stat_sn: 10,
        exp_cmd_sn: 1,
        max_cmd_sn: 64,
        status,
    };
    pdu.emit()
}

/// The request that was sent, with its keys.
fn request(outbox: &mut Outbox) -> (LoginRequest, Vec<(String, String)>) {
    let pdus = split(&take(outbox), &Parameters::default());
    assert_eq!(pdus.len(), 1);
    let keys = text::parse(&pdus[0].1).unwrap();
    let keys = keys
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    (LoginRequest::parse(&pdus[0].0), keys.collect())
}

fn key<'a>(keys: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = keys.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn a_login_without_authentication() {
    let mut sent = outbox();
    let mut login = Login::start(
        &options(None),
        &target(),
        [0x80, 1, 2, 3, 4, 5],
        counting,
        &mut sent,
    );
    let (first, keys) = request(&mut sent);
    assert_eq!(first.isid, [0x80, 1, 2, 3, 4, 5]);
    assert!(first.transit && first.immediate);
    assert_eq!((first.current_stage, first.next_stage), (0, 1));
    assert_eq!(key(&keys, "TargetName"), Some("iqn.2024-01.test:disk"));
    assert_eq!(key(&keys, "AuthMethod"), Some("None"));
    let good = LoginStatus::Success;
    let step = login.receive(&answer(0, Some(1), good), b"AuthMethod=None\0", &mut sent);
    assert!(matches!(step, Ok(Step::GoOn)));
    let (second, keys) = request(&mut sent);
    assert_eq!((second.current_stage, second.next_stage), (1, 3));
    assert_eq!(second.exp_stat_sn, 11);
    assert_eq!(key(&keys, "InitialR2T"), Some("No"));
    assert_eq!(key(&keys, "DataDigest"), Some("None"));
    let keys = b"HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=65536\0\
                 InitialR2T=Yes\0FirstBurstLength=16384\0X-com.example.new=1\0";
    let Ok(Step::GoOn) = login.receive(&answer(1, None, good), keys, &mut sent) else {
        panic!("the target has not agreed to full feature phase yet");
    };
    let (_, keys) = request(&mut sent);
    assert_eq!(key(&keys, "X-com.example.new"), Some("NotUnderstood"));
    let Ok(Step::Done(done)) = login.receive(&answer(1, Some(3), good), b"", &mut sent) else {
        panic!("logged in");
    };
    let parameters = &done.parameters;
    assert!(parameters.initial_r2t && parameters.immediate_data);
    assert_eq!(parameters.target_data_segment_bytes, 65536);
    assert_eq!(parameters.first_burst_bytes, 16384);
    assert_eq!(
        (done.cmd_sn, done.exp_stat_sn, done.max_cmd_sn),
        (1, 11, 64)
    );
}

#[test]
fn chap_proves_the_secret() {
    let credentials = credentials("alice", b"twelve bytes");
    let mut sent = outbox();
    let mut login = Login::start(
        &options(Some(credentials)),
        &target(),
        [0; 6],
        counting,
        &mut sent,
    );
    let (first, keys) = request(&mut sent);
    assert!(!first.transit);
    assert_eq!(key(&keys, "AuthMethod"), Some("CHAP,None"));
    let good = LoginStatus::Success;
    login
        .receive(&answer(0, None, good), b"AuthMethod=CHAP\0", &mut sent)
        .unwrap();
    let (_, keys) = request(&mut sent);
    assert_eq!(key(&keys, "CHAP_A"), Some("7,8,6,5"));
    let challenge = b"CHAP_A=7\0CHAP_I=9\0CHAP_C=0x0102030405060708\0";
    login
        .receive(&answer(0, None, good), challenge, &mut sent)
        .unwrap();
    let (third, keys) = request(&mut sent);
    assert!(third.transit && third.next_stage == 1);
    let expected = Algorithm::Sha256.response(9, b"twelve bytes", &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(key(&keys, "CHAP_N"), Some("alice"));
    assert_eq!(key(&keys, "CHAP_R"), Some(chap::encode(&expected).as_str()));
}

fn credentials(user: &str, secret: &[u8]) -> Credentials {
    Credentials {
        user: user.to_owned(),
        secret: secret.to_vec(),
    }
}

/// A login under mutual CHAP, up to where the target has the initiator's challenge.
fn challenged() -> Login {
    let wanted = LoginOptions {
        mutual_chap: Some(credentials("disk", b"the other one")),
        ..options(Some(credentials("alice", b"twelve bytes")))
    };
    let mut sent = outbox();
    let mut login = Login::start(&wanted, &target(), [0; 6], counting, &mut sent);
    let (_, keys) = request(&mut sent);
    assert_eq!(key(&keys, "AuthMethod"), Some("CHAP"));
    let (stays, challenge) = (answer(0, None, LoginStatus::Success), CHALLENGE);
    login
        .receive(&stays, b"AuthMethod=CHAP\0", &mut outbox())
        .unwrap();
    login.receive(&stays, challenge, &mut sent).unwrap();
    let (_, keys) = request(&mut sent);
    let counted: Vec<u8> = (1..=32).collect();
    assert_eq!(key(&keys, "CHAP_N"), Some("alice"));
    assert_eq!(key(&keys, "CHAP_I"), Some("0"));
    assert_eq!(key(&keys, "CHAP_C"), Some(chap::encode(&counted).as_str()));
    login
}

const CHALLENGE: &[u8] = b"CHAP_A=7\0CHAP_I=9\0CHAP_C=0x0102030405060708\0";

/// The target's CHAP_N and CHAP_R to the challenge of [`challenged`].
fn proof(user: &str, secret: &[u8]) -> Vec<u8> {
    let counted: Vec<u8> = (1..=32).collect();
    let response = Algorithm::Sha256.response(0, secret, &counted);
    format!("CHAP_N={user}\0CHAP_R={}\0", chap::encode(&response)).into_bytes()
}

#[test]
fn mutual_chap_takes_the_targets_proof() {
    let right = proof("disk", b"the other one");
    let (stays, goes_on) = (
        answer(0, None, LoginStatus::Success),
        answer(0, Some(1), LoginStatus::Success),
    );
    // With the transit, or in a step of its own before it.
    let step = challenged().receive(&goes_on, &right, &mut outbox());
    assert!(matches!(step, Ok(Step::GoOn)), "{step:?}");
    let mut login = challenged();
    login.receive(&stays, &right, &mut outbox()).unwrap();
    let step = login.receive(&goes_on, b"", &mut outbox());
    assert!(matches!(step, Ok(Step::GoOn)), "{step:?}");
}

#[test]
fn mutual_chap_takes_nothing_less() {
    let goes_on = answer(0, Some(1), LoginStatus::Success);
    let leaps = answer(0, Some(3), LoginStatus::Success);
    let stays = answer(0, None, LoginStatus::Success);
    for (bhs, keys, expected) in [
        (&goes_on, Vec::new(), ChapError::Missing("CHAP_N")),
        (&leaps, Vec::new(), ChapError::Missing("CHAP_N")),
        (&goes_on, proof("tape", b"the other one"), ChapError::Denied),
        (&goes_on, proof("disk", b"twelve bytes"), ChapError::Denied),
        (&stays, proof("disk", b"twelve bytes"), ChapError::Denied),
    ] {
        let ended = challenged().receive(bhs, &keys, &mut outbox());
        assert!(
            matches!(&ended, Err(Fault::Unproven(found)) if *found == expected),
            "{expected:?}: {ended:?}"
        );
    }
    let again = challenged().receive(&stays, CHALLENGE, &mut outbox());
    let out_of_turn = ChapError::OutOfTurn("CHAP_C");
    assert!(matches!(again, Err(Fault::Chap(found)) if found == out_of_turn));
}

#[test]
fn mutual_chap_does_without_no_authentication() {
    let wanted = LoginOptions {
        mutual_chap: Some(credentials("disk", b"the other one")),
        ..options(Some(credentials("alice", b"twelve bytes")))
    };
    for (next, keys) in [
        (None, &b"AuthMethod=None\0"[..]),
        (Some(1), b"AuthMethod=None\0"),
    ] {
        let mut sent = outbox();
        let mut login = Login::start(&wanted, &target(), [0; 6], counting, &mut sent);
        let bhs = answer(0, next, LoginStatus::Success);
        let ended = login.receive(&bhs, keys, &mut sent);
        assert!(
            matches!(ended, Err(Fault::NotAgreed(_) | Fault::Unproven(_))),
            "{ended:?}"
        );
    }
}

#[test]
fn what_ends_a_login_is_told() {
    let after = |status, keys: &[u8]| {
        let mut sent = outbox();
        let mut login = Login::start(&options(None), &target(), [0; 6], counting, &mut sent);
        login.receive(&answer(0, None, status), keys, &mut outbox())
    };
    let refused = after(LoginStatus::NotFound, b"").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the target refused the login: there is no such target (status 0203h)"
    );
    let moved = after(
        LoginStatus::MovedTemporarily,
        b"TargetAddress=10.0.0.2:3261,1\0",
    );
    assert!(matches!(moved, Ok(Step::Moved(portal)) if portal == "10.0.0.2:3261,1"));
    assert!(matches!(
        after(LoginStatus::MovedPermanently, b""),
        Err(Fault::Redirected)
    ));
    assert!(matches!(
        after(LoginStatus::Success, b"no separator\0"),
        Err(Fault::Text(_))
    ));
    assert!(matches!(
        after(LoginStatus::Success, b"AuthMethod=CHAP\0"),
        Err(Fault::NotAgreed(_))
    ));
}

#[test]
fn digests_that_were_not_agreed_are_no_digests() {
    let wanted = LoginOptions {
        data_digest: true,
        ..options(None)
    };
    let mut sent = outbox();
    let mut login = Login::start(&wanted, &target(), [0; 6], counting, &mut sent);
    let good = LoginStatus::Success;
    login
        .receive(&answer(0, Some(1), good), b"", &mut sent)
        .unwrap();
    let ended = login.receive(&answer(1, Some(3), good), b"DataDigest=None\0", &mut sent);
    assert!(matches!(ended, Err(Fault::NotAgreed("DataDigest=CRC32C"))));
}

#[test]
fn a_login_that_does_not_end_is_given_up() {
    let mut sent = outbox();
    let mut login = Login::start(&options(None), &target(), [0; 6], counting, &mut sent);
    let endless = (0..1000).find_map(|_| {
        login
            .receive(&answer(0, None, LoginStatus::Success), b"", &mut sent)
            .err()
    });
    assert!(matches!(endless, Some(Fault::EndlessLogin)));
}

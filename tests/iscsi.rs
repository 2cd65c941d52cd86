//! iSCSI over real sockets (RFC 7143): how sessions begin and end, what is negotiated, how data and
//! status travel, numbering, and task management.

mod support;

use std::process::Command as Process;

use rustix::net::sockopt::set_tcp_cork;
use support::chap::{ALGORITHMS, Chap};
use support::initiator::{Attribute, Command, Initiator};
use support::login::{Login, LoginError, value_of};
use support::pdu::{FINAL, NO_TAG, Pdu, opcode};
use support::scsi::{
    BLOCK, Residual, pattern, read10, read16, sense, test_unit_ready, write10, write16,
};
use support::server::{Server, Setup, Volume, own_loopback_address};

on_every_engine!(
    login_keys_may_be_split,
    login_without_discovery_learns_the_portal_group,
    login_refusals_say_why,
    negotiation_keeps_to_the_standard,
    discovery_lists_targets_and_nothing_else,
    send_targets_works_in_a_normal_session,
    digests_cover_headers_and_data,
    every_way_of_sending_data,
    large_transfers_arrive_whole,
    many_commands_at_once,
    a_stream_of_writes_arrives_whole,
    reinstatement_ends_the_old_session,
    several_sessions_of_one_initiator,
    command_numbers_outside_the_window_are_ignored,
    a_gap_in_command_numbers_waits,
    immediate_commands_do_not_advance_the_window,
    nop_out_echoes_its_data,
    nop_out_without_a_tag_gets_no_reply,
    residuals_count_what_was_not_moved,
    task_management_answers,
    an_aborted_write_takes_no_effect,
    logical_unit_reset_ends_commands,
    logout_closes_the_connection,
    unknown_logical_units_are_told,
    sigterm_asks_sessions_to_log_out,
    a_portal_may_send_logins_elsewhere,
);

const PORTALS: [&str; 3] = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"];

fn start(setup: &Setup) -> (Server, Volume) {
    let server = setup.start();
    let volume = server.create_small("disk");
    (server, volume)
}

#[track_caller]
fn assert_serves(session: &mut Initiator) {
    session.take_attentions();
    let data = pattern(11, 4);
    session.write_blocks(100, &data).good();
    assert_eq!(session.read_blocks(100, 4).good(), data);
}

fn login_keys_may_be_split(setup: Setup) {
    let (server, volume) = start(&setup);
    for bytes in [7, 40, 160] {
        let login = server.login(&volume, "split").split(bytes);
        let mut session = login
            .digests("None", "None")
            .key("MaxBurstLength", "262144")
            .connect();
        assert_serves(&mut session);
        session.logout();
    }
}

fn login_without_discovery_learns_the_portal_group(setup: Setup) {
    let (server, volume) = start(&setup);
    let session = server.login(&volume, "a").connect();
    assert_eq!(session.answer("TargetPortalGroupTag"), Some("1"));
    assert_ne!(session.tsih, 0, "a session has a handle");
}

fn login_refusals_say_why(setup: Setup) {
    let (server, volume) = start(&setup);
    let login = server.login(&volume, "a");
    let status = |login: &Login| login.refused().status();
    let unknown = format!("{}-not-there", volume.iqn);
    assert_eq!(
        status(&Login::new(server.portal(), &unknown, "a")),
        0x0203,
        "not found"
    );
    let nameless = Login {
        initiator: None,
        ..login.clone()
    };
    assert_eq!(status(&nameless), 0x0207, "missing parameter");
    let targetless = Login {
        target: None,
        ..login.clone()
    };
    assert_eq!(status(&targetless), 0x0207, "missing parameter");
    let stray = Login {
        tsih: 0x7777,
        ..login.clone()
    };
    assert_eq!(status(&stray), 0x020a, "session does not exist");
    assert_serves(&mut login.connect());
}

fn negotiation_keeps_to_the_standard(setup: Setup) {
    let (server, volume) = start(&setup);
    let session = server
        .login(&volume, "a")
        .key("MaxConnections", "8")
        .key("ErrorRecoveryLevel", "2")
        .key("MaxBurstLength", "16384")
        .key("FirstBurstLength", "8192")
        .key("MaxOutstandingR2T", "4")
        .key("DataPDUInOrder", "No")
        .key("DataSequenceInOrder", "No")
        .key("DefaultTime2Wait", "5")
        .key("DefaultTime2Retain", "3600")
        .key("IFMarker", "Yes")
        .key("OFMarker", "No")
        .key("X-com.example.unheard-of", "1")
        .connect();
    let answer = |key: &str| session.answer(key);
    assert_eq!(answer("MaxConnections"), Some("1"));
    assert_eq!(answer("ErrorRecoveryLevel"), Some("0"));
    assert_eq!(answer("MaxBurstLength"), Some("16384"));
    assert_eq!(answer("FirstBurstLength"), Some("8192"));
    let outstanding: u32 = answer("MaxOutstandingR2T")
        .expect("answered")
        .parse()
        .expect("number");
    assert!(
        (2..=4).contains(&outstanding),
        "more than one, at most what was offered"
    );
    assert_eq!(
        answer("DataPDUInOrder"),
        Some("Yes"),
        "OR-ed with the target's Yes"
    );
    assert_eq!(answer("DataSequenceInOrder"), Some("Yes"));
    assert_eq!(
        answer("DefaultTime2Wait"),
        Some("5"),
        "the larger of the two"
    );
    let retain: u32 = answer("DefaultTime2Retain")
        .expect("answered")
        .parse()
        .expect("number");
    assert!(retain < 3600, "the smaller of the two");
    assert!(matches!(answer("IFMarker"), Some("No" | "Reject")));
    assert_eq!(answer("X-com.example.unheard-of"), Some("NotUnderstood"));
    let declared = answer("MaxRecvDataSegmentLength").expect("the target declares its own");
    assert!(declared.parse::<u32>().expect("a number") >= 512);
}

fn discovery_lists_targets_and_nothing_else(setup: Setup) {
    let (server, volume) = start(&setup);
    let other = server.create_small("other");
    let mut session = Login::discovery(server.portal(), "a").connect();
    let keys = session
        .text(&[("SendTargets", "All")])
        .expect("a text answer");
    for target in [&volume, &other] {
        let at = keys
            .iter()
            .position(|(k, v)| k == "TargetName" && *v == target.iqn);
        let (key, address) = &keys[at.expect("the target is listed") + 1];
        assert_eq!(key, "TargetAddress");
        assert_eq!(*address, format!("{},1", server.portal()));
    }
    let one = session
        .text(&[("SendTargets", other.iqn.as_str())])
        .expect("a text answer");
    assert_eq!(value_of(&one, "TargetName"), Some(other.iqn.as_str()));
    assert!(one.iter().all(|(_, value)| *value != volume.iqn));
    let refused = session.try_run(&Command::none(&test_unit_ready()));
    assert!(
        refused.is_err(),
        "a discovery session knows no SCSI command"
    );

    Login::discovery(server.portal(), "b").connect().logout();
}

fn send_targets_works_in_a_normal_session(setup: Setup) {
    let (server, volume) = start(&setup);
    let _other = server.create_small("other");
    let mut session = server.session(&volume, "a");
    for value in ["", volume.iqn.as_str()] {
        let keys = session
            .text(&[("SendTargets", value)])
            .expect("a text answer");
        let names: Vec<_> = keys.iter().filter(|(key, _)| key == "TargetName").collect();
        assert_eq!(names.len(), 1, "its own target: {keys:?}");
        assert_eq!(names[0].1, volume.iqn);
    }
    assert_serves(&mut session);
}

fn digests_cover_headers_and_data(setup: Setup) {
    let (server, volume) = start(&setup);
    for (header, data) in [
        ("CRC32C", "CRC32C"),
        ("CRC32C,None", "None"),
        ("None", "CRC32C,None"),
        ("None", "None"),
    ] {
        let mut session = server.login(&volume, "a").digests(header, data).connect();
        assert_eq!(
            session.negotiated.digests.header,
            header.starts_with("CRC32C")
        );
        assert_eq!(session.negotiated.digests.data, data.starts_with("CRC32C"));
        assert_serves(&mut session);
        let long = pattern(3, 1024);
        session.write_blocks(0, &long).good();
        assert!(session.read_blocks(0, 1024).good() == long);
        assert_eq!(
            session.ping(b"odd").expect("an answer"),
            b"odd",
            "padding is no data"
        );
        session.logout();
    }
}

fn every_way_of_sending_data(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut seed = 0;
    for immediate in ["Yes", "No"] {
        for initial_r2t in ["Yes", "No"] {
            for first_burst in ["512", "4096", "65536"] {
                let mut session = server
                    .login(&volume, "a")
                    .key("ImmediateData", immediate)
                    .key("InitialR2T", initial_r2t)
                    .key("FirstBurstLength", first_burst)
                    .key("MaxBurstLength", "65536")
                    .key("MaxOutstandingR2T", "4")
                    .key("MaxRecvDataSegmentLength", "4096")
                    .connect();
                session.take_attentions();
                assert_eq!(session.negotiated.immediate_data, immediate == "Yes");
                for blocks in [1, 8, 127, 128, 129, 600] {
                    seed += 1;
                    let data = pattern(seed, blocks);
                    session.write_blocks(seed, &data).good();
                    assert!(
                        session.read_blocks(seed, blocks).good() == data,
                        "{blocks} blocks"
                    );
                }
                session.logout();
            }
        }
    }
}

fn large_transfers_arrive_whole(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let data = pattern(17, 16 * 2048); // 16 MiB: many buffers, many bursts
    session.write_blocks(3, &data).good();
    assert!(session.read_blocks(3, 16 * 2048).good() == data);
    let never_written = session.read_blocks(100_000, 2048).good();
    assert!(
        never_written.iter().all(|byte| *byte == 0),
        "zeros, never old memory"
    );
}

fn many_commands_at_once(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let commands: Vec<_> = (0..64_u64)
        .map(|index| {
            let attribute = [
                Attribute::Simple,
                Attribute::Ordered,
                Attribute::HeadOfQueue,
            ];
            let data = pattern(index, 16);
            let attribute = attribute[usize::try_from(index % 3).expect("fits")];
            Command::write(&write16(index * 16, 16), &data).attribute(attribute)
        })
        .collect();
    let tags: Vec<_> = commands
        .iter()
        .map(|command| session.submit(command).expect("sent"))
        .collect();
    for tag in tags.into_iter().rev() {
        session.complete(tag).expect("an answer").good();
    }
    let tags: Vec<_> = (0..64_u64)
        .map(|index| session.submit(&Command::read(&read16(index * 16, 16), 16 * BLOCK)))
        .collect();
    for (index, tag) in tags.into_iter().enumerate() {
        let read = session
            .complete(tag.expect("sent"))
            .expect("an answer")
            .good();
        assert!(read == pattern(index as u64, 16), "write {index}");
    }
}

/// Writes that stand behind each other in the stream, more of them than one receive takes: some come whole
/// with their data, some are cut where a receive ends.
fn a_stream_of_writes_arrives_whole(setup: Setup) {
    const WRITES: u64 = 100;
    const PLACE: u64 = 32;
    let (server, volume) = start(&setup);
    for digests in ["None", "CRC32C"] {
        let mut session = server
            .login(&volume, "a")
            .digests(digests, digests)
            .connect();
        session.take_attentions();
        let blocks = |index: u64| 1 + usize::try_from(index).expect("fits") % 23;
        let data = |index: u64| pattern(index, blocks(index));
        set_tcp_cork(&session.stream, true).expect("a socket option");
        let tags: Vec<_> = (0..WRITES)
            .map(|index| {
                let count = u32::try_from(blocks(index)).expect("fits");
                let command = Command::write(&write16(index * PLACE, count), &data(index));
                session.submit(&command).expect("sent")
            })
            .collect();
        set_tcp_cork(&session.stream, false).expect("a socket option");
        for tag in tags {
            session.complete(tag).expect("an answer").good();
        }
        for index in 0..WRITES {
            let read = session.read_blocks(index * PLACE, blocks(index)).good();
            assert!(read == data(index), "write {index}, digests {digests}");
        }
        session.logout();
    }
}

fn reinstatement_ends_the_old_session(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut old = server.session(&volume, "a");
    let mut new = server.login(&volume, "a").connect();
    assert!(old.is_closed_by_target());
    assert_serves(&mut new);
    assert_eq!(server.session_count(&volume), 1);
}

fn several_sessions_of_one_initiator(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut all: Vec<_> = (0..8)
        .map(|index| server.login(&volume, "a").isid(index).connect())
        .collect();
    for session in &mut all {
        assert_serves(session);
    }
    let mut handles: Vec<_> = all.iter().map(|session| session.tsih).collect();
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), 8, "each session has its own TSIH");
}

// RFC 7143 section 4.2.2.1.
fn command_numbers_outside_the_window_are_ignored(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let expected = session.sequence;
    for wrong in [
        expected.cmd_sn.wrapping_sub(1),
        expected.max_cmd_sn.wrapping_add(1),
    ] {
        session.sequence.cmd_sn = wrong;
        let ignored = session
            .submit(&Command::none(&test_unit_ready()))
            .expect("sent");
        session.forget(ignored);
        session.sequence.cmd_sn = expected.cmd_sn;
        let ping = Pdu::new(opcode::NOP_OUT)
            .immediate()
            .with_ttt(NO_TAG)
            .with_data(*b"alive");
        let answer = session.request(ping).expect("the connection is kept");
        assert_eq!(answer.data, b"alive", "nothing else came first");
        assert_eq!(answer.exp_cmd_sn(), expected.cmd_sn);
    }
    assert_serves(&mut session);
}

fn a_gap_in_command_numbers_waits(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let start = session.sequence.cmd_sn;
    session.sequence.cmd_sn = start + 1;
    let late = session
        .submit(&Command::read(&read10(0, 1), BLOCK))
        .expect("sent");
    let ping = Pdu::new(opcode::NOP_OUT).immediate().with_ttt(NO_TAG);
    let answer = session.request(ping).expect("an answer");
    assert_eq!(
        answer.exp_cmd_sn(),
        start,
        "the command behind the gap waits"
    );
    session.sequence.cmd_sn = start;
    let data = pattern(5, 1);
    let first = session
        .submit(&Command::write(&write10(0, 1), &data))
        .expect("sent");
    session.sequence.cmd_sn = start + 2;
    session.complete(first).expect("an answer").good();
    assert_eq!(
        session.complete(late).expect("an answer").good().len(),
        BLOCK
    );
    assert_serves(&mut session);
}

fn immediate_commands_do_not_advance_the_window(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let before = session.sequence.cmd_sn;
    let command = Command {
        immediate: true,
        ..Command::none(&test_unit_ready())
    };
    session.run(&command).good();
    let ping = Pdu::new(opcode::NOP_OUT).immediate().with_ttt(NO_TAG);
    assert_eq!(
        session.request(ping).expect("an answer").exp_cmd_sn(),
        before
    );
    assert_serves(&mut session);
}

fn nop_out_echoes_its_data(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    for length in [0, 1, 3, 4, 512, 8192] {
        let data = vec![0x5a; length];
        assert_eq!(session.ping(&data).expect("an answer"), data);
    }
}

fn nop_out_without_a_tag_gets_no_reply(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let silent = Pdu::new(opcode::NOP_OUT)
        .immediate()
        .with_itt(NO_TAG)
        .with_ttt(NO_TAG)
        .with_u32(24, session.sequence.cmd_sn)
        .with_u32(28, session.sequence.exp_stat_sn);
    session.send(&silent).expect("sent");
    let answer = session.request(Pdu::new(opcode::NOP_OUT).immediate().with_ttt(NO_TAG));
    assert_ne!(
        answer.expect("an answer").itt(),
        NO_TAG,
        "only the tagged one is answered"
    );
}

// RFC 7143 section 4.2.5.2 and 11.4.5: what the CDB asks for against what the initiator expects.
fn residuals_count_what_was_not_moved(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let data = pattern(1, 4);
    session.write_blocks(0, &data).good();

    let more = session.read(&read10(0, 2), 4 * BLOCK);
    assert_eq!(more.residual, Residual::Underflow(1024));
    assert_eq!(more.good(), data[..2 * BLOCK]);
    let less = session.read(&read10(0, 4), 2 * BLOCK);
    assert_eq!(less.residual, Residual::Overflow(1024));
    assert!(data.starts_with(&less.data), "never more than was expected");
    let none = session.none(&read10(0, 1));
    assert_eq!(none.residual, Residual::Overflow(512));

    let other = pattern(2, 4);
    let more = session.write(&write10(0, 2), &other);
    assert_eq!(more.residual, Residual::Underflow(1024));
    let found = session.read_blocks(0, 4).good();
    assert_eq!(
        found[2 * BLOCK..],
        data[2 * BLOCK..],
        "blocks beyond the CDB's range are kept"
    );
    let less = session.write(&write10(10, 4), &other[..2 * BLOCK]);
    assert_eq!(less.residual, Residual::Overflow(1024));
    assert_serves(&mut session);
}

fn task_management_answers(setup: Setup) {
    const COMPLETE: u8 = 0;
    const NO_SUCH_TASK: u8 = 1;
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let cmd_sn = session.sequence.cmd_sn;
    let absent = Some((0xdead, cmd_sn.wrapping_sub(1)));
    assert_eq!(
        session.manage(1, absent),
        NO_SUCH_TASK,
        "ABORT TASK of none"
    );
    for function in [2, 4, 5, 6] {
        // ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET WARM RESET
        assert_eq!(
            session.manage(function, None),
            COMPLETE,
            "function {function}"
        );
        session.take_attentions();
    }
    assert_serves(&mut session);
}

fn an_aborted_write_takes_no_effect(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server
        .login(&volume, "a")
        .key("ImmediateData", "No")
        .key("InitialR2T", "Yes")
        .connect();
    session.take_attentions();
    let before = pattern(1, 256);
    session.write_blocks(0, &before).good();

    let cmd_sn = session.sequence.cmd_sn;
    let write = Command::write(&write16(0, 256), &pattern(2, 256));
    let tag = session.submit(&write).expect("sent");
    let ready = session.receive().expect("an R2T");
    assert_eq!((ready.opcode(), ready.itt()), (opcode::R2T, tag));
    assert_eq!(session.manage(1, Some((tag, cmd_sn))), 0, "ABORT TASK");
    // Data that were on their way are consumed and dropped.
    session
        .send_data_out(tag, ready.ttt(), 0, 4096)
        .expect("sent");
    session.forget(tag);
    assert!(session.read_blocks(0, 256).good() == before);
    assert_serves(&mut session);
}

fn logical_unit_reset_ends_commands(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut a = server
        .login(&volume, "a")
        .key("ImmediateData", "No")
        .connect();
    a.take_attentions();
    let mut b = server.session(&volume, "b");
    let before = pattern(1, 256);
    b.write_blocks(0, &before).good();
    let tag = a
        .submit(&Command::write(&write16(0, 256), &pattern(2, 256)))
        .expect("sent");
    assert_eq!(a.receive().expect("an R2T").opcode(), opcode::R2T);
    assert_eq!(b.manage(5, None), 0);
    a.forget(tag);
    let told = a.take_attentions();
    assert!(
        told.iter().any(|(_, asc, _)| matches!(asc, 0x29 | 0x2f)),
        "{told:02x?}"
    );
    b.take_attentions();
    assert!(b.read_blocks(0, 256).good() == before);
    assert_serves(&mut a);
}

fn logout_closes_the_connection(setup: Setup) {
    let (server, volume) = start(&setup);
    server.session(&volume, "a").logout();
    assert_eq!(server.session_count(&volume), 0);
    let mut session = server.session(&volume, "a");
    let answer = session
        .request(Pdu::new(opcode::LOGOUT).with_flags(FINAL | 1))
        .expect("answered");
    assert_eq!(answer.bhs[2], 0, "close the connection");
    assert!(session.is_closed_by_target());
    let session = server.session(&volume, "a");
    let recovery = session.logout_for(2).expect("answered");
    assert_eq!(
        recovery, 2,
        "connection recovery is not supported at level 0"
    );
}

fn unknown_logical_units_are_told(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let (key, asc, ascq) = sense::LUN_NOT_SUPPORTED;
    session
        .run(&Command::none(&test_unit_ready()).lun(7))
        .check(key, asc, ascq);
    let answer = session
        .run(&Command::read(&[0x12, 0, 0, 0, 96, 0], 96).lun(7))
        .good();
    assert_eq!(answer[0], 0x7f, "no device there");
    let luns = session.read(&support::scsi::report_luns(), 256).good();
    assert_eq!(
        luns,
        [[0, 0, 0, 8], [0; 4], [0; 4], [0; 4]].concat(),
        "LUN 0 alone"
    );
}

fn sigterm_asks_sessions_to_log_out(setup: Setup) {
    const LOGOUT_REQUESTED: u8 = 1;
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let data = pattern(9, 8);
    session.write_blocks(0, &data).good();
    server.ask_to_stop();
    let message = session.wait_for_async().expect("an asynchronous message");
    assert_eq!(message.bhs[36], LOGOUT_REQUESTED);
    assert_eq!(
        session.read_blocks(0, 8).good(),
        data,
        "commands still finish"
    );
    assert!(
        server.login(&volume, "late").try_connect().is_err(),
        "logins stop"
    );
    session.logout();
    let (status, _) = server.wait();
    assert!(status.success());
}

#[test]
fn portals_of_both_families_serve_the_same_volume() {
    let server = Setup::default().listen(&PORTALS).start();
    let volume = server.create_small("disk");
    assert!(server.portals[2].is_ipv6());
    for (index, portal) in server.portals.iter().enumerate() {
        let mut session = server.login(&volume, "a").portal(*portal).connect();
        let tag = (index + 1).to_string();
        assert_eq!(session.answer("TargetPortalGroupTag"), Some(tag.as_str()));
        assert_serves(&mut session);
        session.logout();
    }
    let mut session = Login::discovery(server.portals[2], "a").connect();
    let keys = session
        .text(&[("SendTargets", "All")])
        .expect("a text answer");
    for (index, portal) in server.portals.iter().enumerate() {
        let address = format!("{portal},{}", index + 1);
        assert!(
            keys.iter().any(|(_, value)| *value == address),
            "{address} in {keys:?}"
        );
    }
}

#[test]
fn an_advertised_address_stands_in_for_the_portal() {
    let server = Setup::default()
        .argument("--advertise")
        .argument("198.51.100.7:3999")
        .start();
    let volume = server.create_small("disk");
    let mut session = Login::discovery(server.portal(), "a").connect();
    let keys = session
        .text(&[("SendTargets", "All")])
        .expect("a text answer");
    assert_eq!(
        value_of(&keys, "TargetAddress"),
        Some("198.51.100.7:3999,1")
    );
    assert_serves(&mut server.login(&volume, "a").connect());
}

/// Redirection (RFC 7143 sections 6.3.1 and 11.13.5) happens before authentication, so that the
/// initiator proves itself once, where it ends up.
fn a_portal_may_send_logins_elsewhere(setup: Setup) {
    let address = own_loopback_address();
    for (name, permanent, status) in [("for-now", false, 0x0101), ("for-good", true, 0x0102)] {
        let (from, to) = (format!("{address}:3260"), format!("{address}:3261"));
        let config = format!(
            "[[portal]]\nlisten = \"{from}\"\nredirect = \"{to}\"\n\
             redirect_permanent = {permanent}\n[[portal]]\nlisten = \"{to}\"\n"
        );
        let account = format!("[[account]]\nuser = \"user\"\nsecret = \"{SECRET}\"\n");
        let setup = setup.clone().config(&config).accounts(&account);
        let server = setup.portals_configured(2).start();
        let volume = server.create_small(name);
        let login = server.login(&volume, "a");
        let redirected = login.refused();
        assert_eq!(redirected.status(), status);
        assert_eq!(redirected.key("TargetAddress"), Some(to.as_str()));
        let unknown = Login::new(server.portal(), &format!("{}-not-there", volume.iqn), "a");
        assert_eq!(unknown.refused().status(), 0x0203, "not found");

        let there = login.portal(to.parse().expect("an address and port"));
        assert_eq!(there.refused().status(), 0x0201, "authentication failure");
        let mut session = there.chap(Chap::one_way("user", SECRET)).connect();
        assert_eq!(session.answer("TargetPortalGroupTag"), Some("2"));
        assert_serves(&mut session);

        let discovery = Login::discovery(server.portal(), "a");
        let mut discovery = discovery.chap(Chap::one_way("user", SECRET)).connect();
        let keys = discovery.text(&[("SendTargets", "All")]);
        let keys = keys.expect("a text answer");
        assert_eq!(value_of(&keys, "TargetName"), Some(volume.iqn.as_str()));

        // libiscsi does not follow those who moved for good.
        if !permanent {
            libiscsi_logs_in(&format!("iscsi://user%{SECRET}@{from}/{}/0", volume.iqn));
        }
    }
}

/// A real initiator, where libiscsi-bin is installed.
fn libiscsi_logs_in(url: &str) {
    match Process::new("iscsi-inq").arg(url).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("HOLDFAST"), "iscsi-inq {url}: {output:?}");
        }
        Err(error) => support::skip(format!("iscsi-inq can't be run: {error}")),
    }
}

const SECRET: &str = "initiator-secret-1";
const TARGET_SECRET: &str = "target-secret-12345";

fn guarded() -> (Server, Volume) {
    let accounts = format!(
        "[[account]]\nuser = \"user\"\nsecret = \"{SECRET}\"\n\
         mutual_user = \"target\"\nmutual_secret = \"{TARGET_SECRET}\"\n"
    );
    start(&Setup::default().accounts(&accounts))
}

#[test]
fn chap_lets_in_who_knows_the_secret() {
    let (server, volume) = guarded();
    for algorithm in ALGORITHMS {
        let chap = Chap::one_way("user", SECRET).with_algorithms(&[algorithm]);
        let mut session = server.login(&volume, "a").chap(chap).connect();
        assert_serves(&mut session);
        session.logout();
        let chap = Chap::one_way("user", SECRET).with_algorithms(&[algorithm]);
        let chap = chap.mutual("target", TARGET_SECRET);
        let mut session = server.login(&volume, "a").chap(chap).connect();
        assert_serves(&mut session);
        session.logout();
    }
    let chap = Chap::one_way("user", SECRET).with_algorithms(&[200, 8, 5]);
    assert_serves(&mut server.login(&volume, "a").chap(chap).connect());
}

#[test]
fn chap_keeps_out_everyone_else() {
    const AUTHENTICATION_FAILED: u16 = 0x0201;
    let (server, volume) = guarded();
    let login = server.login(&volume, "a");
    let wrong = [
        Chap::one_way("user", "wrong-secret-wrong"),
        Chap::one_way("nobody", SECRET),
        Chap::one_way("use", SECRET),
        Chap::one_way("user2", SECRET),
        Chap::one_way("", SECRET),
        Chap::one_way("user", ""),
        Chap::one_way("user", SECRET)
            .mutual("target", TARGET_SECRET)
            .reflecting(),
    ];
    for chap in wrong {
        let refusal = login.clone().chap(chap.clone()).refused();
        assert_eq!(
            refusal.status(),
            AUTHENTICATION_FAILED,
            "{chap:?}: {refusal:?}"
        );
    }
    assert_eq!(
        login.refused().status(),
        AUTHENTICATION_FAILED,
        "without the security stage"
    );
    let none = Login {
        offer_no_authentication: true,
        ..login.clone()
    };
    assert_eq!(
        none.refused().status(),
        AUTHENTICATION_FAILED,
        "AuthMethod=None"
    );
    let unknown = Chap::one_way("user", SECRET).with_algorithms(&[99]);
    let refusal = login.clone().chap(unknown).refused();
    assert!(matches!(
        refusal,
        LoginError::Refused { class: 2, .. } | LoginError::Dropped(_)
    ));
    assert_serves(&mut login.chap(Chap::one_way("user", SECRET)).connect());
}

#[test]
fn required_digests_are_required() {
    let setup = Setup::default().config("[access]\nrequire_digests = true\n");
    let (server, volume) = start(&setup);
    let login = server.login(&volume, "a");
    for (header, data) in [("None", "None"), ("CRC32C", "None"), ("None", "CRC32C")] {
        let refusal = login.clone().digests(header, data).refused();
        assert_eq!(refusal.status() >> 8, 2, "initiator error: {refusal:?}");
    }
    assert!(
        server.errors().contains("DataDigest"),
        "the log names the digest that was missing"
    );
    assert_serves(&mut login.digests("CRC32C,None", "CRC32C,None").connect());
}

#[test]
fn an_idle_session_is_pinged() {
    let setup = Setup::default().config("[limits]\nnop_interval = \"1s\"\n");
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    let ping = session.receive().expect("the target's own NOP-In");
    assert_eq!(ping.opcode(), opcode::NOP_IN);
    assert_ne!(ping.ttt(), NO_TAG, "it asks for an answer");
    assert_eq!(ping.itt(), NO_TAG);
}

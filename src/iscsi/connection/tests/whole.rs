//! Commands that have come whole.

use super::super::super::pdu::{DataIn, ScsiResponse};
use super::super::whole::ReadData;
use super::*;
use crate::base::gather::Lender;

fn logged_in(keys: &[&str]) -> Initiator {
    Initiator::logged_in(&[&["InitialR2T=No", "FirstBurstLength=8192"], keys].concat())
}

#[test]
fn a_read_and_a_write_are_answered_without_a_task() {
    for keys in [&[][..], &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]] {
        let mut initiator = logged_in(keys);
        initiator.read(1, 4096);
        initiator.write(2, 4094, &pattern(4094), true);
        let input = std::mem::take(&mut initiator.backlog);
        let (connection, now) = (&mut initiator.connection, initiator.now);

        let read = connection.whole_command(&input).expect("a READ");
        assert_eq!((read.read_length, read.data_out), (4096, &[][..]));
        assert_eq!((read.lun, read.cdb), ([0; 8], &[0x88; 16]));
        let data = ReadData::Copied(&[7; 1024]);
        connection.end_whole(&read, Some(data), 1024, now);

        let rest = &input[read.pdu_bytes..];
        let write = connection.whole_command(rest).expect("a WRITE");
        assert_eq!((write.read_length, write.data_out), (0, &pattern(4094)[..]));
        assert_eq!(rest.len(), write.pdu_bytes);
        connection.end_whole(&write, None, 5000, now);
        let next = connection.bytes_to_receive(10_000, 20_000);
        assert_eq!(next, 2 * write.pdu_bytes, "a receive ends with a PDU");

        assert_eq!(connection.tasks().count(), 0);
        let received = initiator.received();
        let pdu = DataIn::parse(&received[0].0);
        assert!(pdu.final_pdu && pdu.has_status && pdu.underflow && !pdu.overflow);
        assert_eq!((pdu.initiator_task_tag, pdu.residual), (1, 3072));
        assert_eq!(received[0].1, [7; 1024]);
        let response = ScsiResponse::parse(&received[1].0);
        assert!(response.overflow && !response.underflow);
        assert_eq!((response.initiator_task_tag, response.residual), (2, 906));
        assert_eq!(response.exp_cmd_sn, pdu.exp_cmd_sn + 1);
        assert_eq!(response.stat_sn, pdu.stat_sn + 1);
    }
}

#[test]
fn what_is_unusual_takes_the_long_way() {
    let usual = command(1, 512, 1);
    let cases = [
        (
            "immediate",
            ScsiCommand {
                immediate: true,
                ..usual
            },
            0,
        ),
        (
            "not final",
            ScsiCommand {
                final_pdu: false,
                ..usual
            },
            0,
        ),
        (
            "ordered",
            ScsiCommand {
                attribute: TaskAttribute::Ordered,
                ..usual
            },
            0,
        ),
        (
            "head of queue",
            ScsiCommand {
                attribute: TaskAttribute::HeadOfQueue,
                ..usual
            },
            0,
        ),
        ("ahead of its turn", ScsiCommand { cmd_sn: 2, ..usual }, 0),
        ("come before", ScsiCommand { cmd_sn: 0, ..usual }, 0),
        (
            "no tag",
            ScsiCommand {
                initiator_task_tag: NO_TAG,
                ..usual
            },
            0,
        ),
        (
            "both ways",
            ScsiCommand {
                write: true,
                ..usual
            },
            512,
        ),
        (
            "no way",
            ScsiCommand {
                read: false,
                ..usual
            },
            0,
        ),
        (
            "no data",
            ScsiCommand {
                expected_data_transfer_length: 0,
                ..usual
            },
            0,
        ),
        ("a read with data", usual, 512),
        (
            "more than one PDU",
            ScsiCommand {
                expected_data_transfer_length: 8193,
                ..usual
            },
            0,
        ),
        (
            "data to come",
            ScsiCommand {
                read: false,
                write: true,
                ..usual
            },
            508,
        ),
        (
            "too much data",
            ScsiCommand {
                read: false,
                write: true,
                ..usual
            },
            516,
        ),
        (
            "more than FirstBurstLength",
            ScsiCommand {
                read: false,
                write: true,
                expected_data_transfer_length: 8196,
                ..usual
            },
            8196,
        ),
    ];
    for (what, pdu, bytes) in cases {
        let mut initiator = logged_in(&["MaxRecvDataSegmentLength=8192"]);
        initiator.send(pdu.emit(), &pattern(bytes));
        let input = std::mem::take(&mut initiator.backlog);
        let found = initiator.connection.whole_command(&input);
        assert!(found.is_none(), "{what}: {found:?}");
    }
    let mut initiator = logged_in(&["ImmediateData=No"]);
    initiator.write(1, 512, &pattern(512), true);
    assert!(
        initiator
            .connection
            .whole_command(&initiator.backlog)
            .is_none()
    );
}

#[test]
fn what_came_before_goes_first() {
    let mut initiator = logged_in(&[]);
    initiator.read(1, 512);
    initiator.read(1, 512);
    let one = initiator.backlog.len() / 2;
    let second = initiator.backlog.split_off(one);
    let _ = initiator.command_event();
    let connection = &mut initiator.connection;
    assert!(
        connection.whole_command(&second).is_none(),
        "its tag is in use"
    );

    let mut initiator = logged_in(&[]);
    initiator.read(1, 512);
    let input = std::mem::take(&mut initiator.backlog);
    for cut in 0..input.len() {
        let found = initiator.connection.whole_command(&input[..cut]);
        assert!(found.is_none(), "{cut} bytes are not all");
    }
    let mut part = &input[..20];
    assert!(
        initiator
            .connection
            .next_event(&mut part, initiator.now)
            .is_none()
    );
    let found = initiator.connection.whole_command(&input);
    assert!(found.is_none(), "a header is half taken in");
}

#[test]
fn a_wrong_digest_is_found_by_the_long_way() {
    let keys = ["HeaderDigest=CRC32C", "DataDigest=CRC32C"];
    let mut good = logged_in(&keys);
    good.write(1, 100, &pattern(100), true);
    let input = std::mem::take(&mut good.backlog);
    assert!(good.connection.whole_command(&input).is_some());
    for at in 0..input.len() {
        let mut wrong = input.clone();
        wrong[at] ^= 0x10;
        let found = good.connection.whole_command(&wrong);
        assert!(found.is_none(), "byte {at}");
    }
}

struct Lines(Vec<u8>);

impl Lender for Lines {
    fn lent(&self, offset: u64, length: usize) -> &[u8] {
        &self.0[offset as usize..][..length]
    }
}

#[test]
fn data_may_be_lent_unless_they_have_a_digest() {
    assert!(!logged_in(&["DataDigest=CRC32C"]).connection.takes_loans());
    let mut initiator = logged_in(&["HeaderDigest=CRC32C"]);
    initiator.read(1, 510);
    let input = std::mem::take(&mut initiator.backlog);
    let connection = &mut initiator.connection;
    assert!(connection.takes_loans());
    let read = connection.whole_command(&input).expect("a READ");
    let data = ReadData::Lent {
        offset: 100,
        bytes: 510,
    };
    connection.end_whole(&read, Some(data), 510, initiator.now);
    assert_eq!(
        (connection.lent_bytes(), connection.queued_bytes()),
        (510, 48 + 4 + 512)
    );
    connection.output().own(0, &Lines(pattern(1000)));
    let (_, data) = initiator.receive_one();
    assert_eq!(data, &pattern(1000)[100..610]);
}

//! The initiator's end: PDUs into one side of a pair of sockets, answers out of it. Nothing here is
//! counted.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use holdfast::base::crc32c::crc32c;
use holdfast::iscsi::pdu::{
    BHS_BYTES, Bhs, DIGEST_BYTES, DataIn, DataOut, LoginRequest, LoginResponse, LoginStatus,
    NO_TAG, NopOut, Opcode, R2t, ScsiCommand, ScsiResponse, padding,
};
use holdfast::iscsi::{TaskAttribute, text};

const LUN: [u8; 8] = [0; 8];
const LOGIN_TAG: u32 = 1;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;
/// MaxRecvDataSegmentLength of a side that does not say (RFC 7143 section 13.12).
const SEGMENT_BYTES_DEFAULT: u32 = 8192;
/// What a burst of answers may take.
const INCOMING_BYTES: usize = 4 << 20;

/// Something to ask.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    /// A NOP-Out that wants an answer.
    Ping,
    /// A SCSI command that moves that many bytes one way or none.
    Command {
        cdb: [u8; 16],
        read: u32,
        write: u32,
    },
}

impl Request {
    pub(crate) const fn none(cdb: [u8; 16]) -> Self {
        Self::Command {
            cdb,
            read: 0,
            write: 0,
        }
    }

    pub(crate) const fn read(cdb: [u8; 16], bytes: u32) -> Self {
        Self::Command {
            cdb,
            read: bytes,
            write: 0,
        }
    }

    pub(crate) const fn write(cdb: [u8; 16], bytes: u32) -> Self {
        Self::Command {
            cdb,
            read: 0,
            write: bytes,
        }
    }
}

/// What a session is to be like.
#[derive(Clone, Copy)]
pub(crate) struct Wishes<'a> {
    pub(crate) initiator: &'a str,
    pub(crate) target: &'a str,
    pub(crate) isid: [u8; 6],
    pub(crate) digests: bool,
    /// Data go with their command.
    pub(crate) immediate_data: bool,
}

/// One session.
pub(crate) struct Client {
    stream: UnixStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// Bytes of `incoming` that have been received and not been looked at.
    held: usize,
    digests: bool,
    immediate_data: bool,
    /// MaxRecvDataSegmentLength of the target.
    segment_bytes: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
    outstanding: usize,
    /// The status of the last answer.
    pub(crate) last_status: u8,
}

impl Client {
    /// Begins a login; [`Client::finish_login`] ends it once the target has answered.
    pub(crate) fn begin_login(stream: UnixStream, wishes: &Wishes<'_>) -> Self {
        stream.set_nonblocking(true).expect("a socket option");
        let mut client = Self {
            stream,
            outgoing: Vec::new(),
            incoming: vec![0; INCOMING_BYTES],
            held: 0,
            digests: false,
            immediate_data: wishes.immediate_data,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            cmd_sn: 1,
            exp_stat_sn: 0,
            outstanding: 0,
            last_status: 0,
        };
        let request = LoginRequest {
            immediate: true,
            transit: true,
            continued: false,
            current_stage: OPERATIONAL,
            next_stage: FULL_FEATURE,
            version_max: 0,
            version_min: 0,
            isid: wishes.isid,
            tsih: 0,
            initiator_task_tag: LOGIN_TAG,
            cid: 0,
            cmd_sn: client.cmd_sn,
            exp_stat_sn: 0,
        };
        client.push(request.emit(), keys(wishes).as_bytes());
        client.send();
        client
    }

    /// Takes the answer to the login, if it is there. Digests count from then on.
    pub(crate) fn finish_login(&mut self, wishes: &Wishes<'_>) -> bool {
        let received = self.fill();
        self.held = received;
        let Some((bhs, bytes)) = self.next_pdu(0, received) else {
            return false;
        };
        self.held = 0;
        assert_eq!(bhs.opcode(), Opcode::LoginResponse);
        let response = LoginResponse::parse(&bhs);
        assert_eq!(response.status, LoginStatus::Success);
        assert!(
            response.transit && response.next_stage == FULL_FEATURE,
            "one step is enough"
        );
        let segment = &self.incoming[BHS_BYTES..][..bhs.data_segment_bytes() as usize];
        let pairs = text::parse(segment).expect("sound text");
        let value = |key| pairs.iter().find(|pair| pair.0 == key).map(|pair| pair.1);
        if let Some(bytes) = value("MaxRecvDataSegmentLength") {
            self.segment_bytes = bytes.parse().expect("a number");
        }
        let agreed = value("DataDigest") == Some("CRC32C");
        assert_eq!(agreed, wishes.digests, "digests as wanted");
        self.digests = wishes.digests;
        self.exp_stat_sn = response.stat_sn.wrapping_add(1);
        assert_eq!(bytes, received, "nothing follows a login");
        true
    }

    /// Puts a request with its immediate data among what the next [`Client::send`] sends.
    pub(crate) fn submit(&mut self, request: &Request) {
        // Tags are few and used in turn, as initiators use them.
        let tag = self.cmd_sn;
        match *request {
            Request::Ping => {
                let ping = NopOut {
                    immediate: false,
                    lun: LUN,
                    initiator_task_tag: tag,
                    target_transfer_tag: NO_TAG,
                    cmd_sn: self.cmd_sn,
                    exp_stat_sn: self.exp_stat_sn,
                };
                self.push(ping.emit(), &[]);
            }
            Request::Command { cdb, read, write } => {
                let immediate = if self.immediate_data { write } else { 0 };
                assert!(
                    immediate <= self.segment_bytes,
                    "immediate data fit a segment"
                );
                let command = ScsiCommand {
                    immediate: false,
                    final_pdu: true,
                    read: read > 0,
                    write: write > 0,
                    attribute: TaskAttribute::Simple,
                    priority: 0,
                    lun: LUN,
                    initiator_task_tag: tag,
                    expected_data_transfer_length: read.max(write),
                    cmd_sn: self.cmd_sn,
                    exp_stat_sn: self.exp_stat_sn,
                    cdb,
                };
                self.push(command.emit(), &content(immediate));
            }
        }
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.outstanding += 1;
    }

    /// Sends all that was put together, in one piece; how many bytes.
    pub(crate) fn send(&mut self) -> usize {
        let bytes = self.outgoing.len();
        self.stream
            .write_all(&self.outgoing)
            .expect("a socket takes a burst");
        self.outgoing.clear();
        bytes
    }

    /// Requests without an answer.
    pub(crate) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Takes in what has come. Every answer has to have that status; data that an R2T asks for are
    /// put among what is sent next.
    pub(crate) fn receive(&mut self, status: u8) {
        self.receive_any();
        assert_eq!(self.last_status, status, "the status of the last answer");
    }

    /// As [`Client::receive`], whatever the status.
    pub(crate) fn receive_any(&mut self) {
        let received = self.fill();
        let mut at = 0;
        while let Some((bhs, bytes)) = self.next_pdu(at, received) {
            at += bytes;
            self.take(&bhs);
        }
        self.incoming.copy_within(at..received, 0);
        self.held = received - at;
    }

    /// Receives until nothing is left; how many bytes there are.
    fn fill(&mut self) -> usize {
        let mut end = self.held;
        loop {
            assert!(end < self.incoming.len(), "answers of a burst fit");
            match self.stream.read(&mut self.incoming[end..]) {
                Ok(0) => panic!("the target has closed the connection"),
                Ok(bytes) => end += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return end,
                Err(error) => panic!("the connection is broken: {error}"),
            }
        }
    }

    /// The PDU at `at`, if all of it is there, and its length.
    fn next_pdu(&self, at: usize, end: usize) -> Option<(Bhs, usize)> {
        let bytes = &self.incoming[at..end];
        let bhs = Bhs::from_bytes(*bytes.first_chunk()?);
        let segment = bhs.data_segment_bytes();
        let digest = if self.digests { DIGEST_BYTES } else { 0 };
        let mut length = BHS_BYTES + digest;
        if segment > 0 {
            length += (segment + padding(segment)) as usize + digest;
        }
        (bytes.len() >= length).then_some((bhs, length))
    }

    fn take(&mut self, bhs: &Bhs) {
        match bhs.opcode() {
            Opcode::DataIn => {
                let data = DataIn::parse(bhs);
                if data.has_status {
                    self.answered(data.stat_sn, data.status);
                }
            }
            Opcode::ScsiResponse => {
                let response = ScsiResponse::parse(bhs);
                assert_eq!(response.response, 0, "the command completed at the target");
                self.answered(response.stat_sn, response.status);
            }
            Opcode::NopIn => self.answered(holdfast::iscsi::pdu::NopIn::parse(bhs).stat_sn, 0),
            Opcode::R2t => self.push_data(&R2t::parse(bhs)),
            other => panic!("{other:?} was not expected"),
        }
    }

    fn answered(&mut self, stat_sn: u32, status: u8) {
        assert_eq!(stat_sn, self.exp_stat_sn, "StatSN counts by one");
        self.exp_stat_sn = stat_sn.wrapping_add(1);
        self.outstanding -= 1;
        self.last_status = status;
    }

    fn push_data(&mut self, r2t: &R2t) {
        let end = r2t.buffer_offset + r2t.desired_data_transfer_length;
        let (mut at, mut data_sn) = (r2t.buffer_offset, 0);
        while at < end {
            let bytes = (end - at).min(self.segment_bytes);
            let data = DataOut {
                final_pdu: at + bytes == end,
                lun: r2t.lun,
                initiator_task_tag: bhs_tag(r2t),
                target_transfer_tag: r2t.target_transfer_tag,
                exp_stat_sn: self.exp_stat_sn,
                data_sn,
                buffer_offset: at,
            };
            self.push(data.emit(), &content(bytes));
            at += bytes;
            data_sn += 1;
        }
    }

    /// Appends a PDU with padding and digests.
    fn push(&mut self, bhs: Bhs, data: &[u8]) {
        let length = u32::try_from(data.len()).expect("a segment is short");
        let bhs = bhs.with_data(length);
        self.outgoing.extend_from_slice(bhs.as_bytes());
        if self.digests {
            let digest = crc32c(bhs.as_bytes());
            self.outgoing.extend_from_slice(&digest.to_le_bytes());
        }
        if data.is_empty() {
            return;
        }
        let start = self.outgoing.len();
        self.outgoing.extend_from_slice(data);
        self.outgoing
            .resize(self.outgoing.len() + padding(length) as usize, 0);
        if self.digests {
            let digest = crc32c(&self.outgoing[start..]);
            self.outgoing.extend_from_slice(&digest.to_le_bytes());
        }
    }
}

const fn bhs_tag(r2t: &R2t) -> u32 {
    r2t.initiator_task_tag
}

fn content(bytes: u32) -> Vec<u8> {
    vec![0x5a; bytes as usize]
}

fn keys(wishes: &Wishes<'_>) -> String {
    let digest = if wishes.digests { "CRC32C" } else { "None" };
    let (immediate, solicited) = if wishes.immediate_data {
        ("Yes", "No")
    } else {
        ("No", "Yes")
    };
    let pairs = [
        ("InitiatorName", wishes.initiator),
        ("TargetName", wishes.target),
        ("SessionType", "Normal"),
        ("HeaderDigest", digest),
        ("DataDigest", digest),
        ("ImmediateData", immediate),
        ("InitialR2T", solicited),
        ("MaxRecvDataSegmentLength", "262144"),
        ("MaxBurstLength", "262144"),
        ("FirstBurstLength", "131072"),
        ("MaxOutstandingR2T", "1"),
        ("ErrorRecoveryLevel", "0"),
    ];
    pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}\0"))
        .collect()
}

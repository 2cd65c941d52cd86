//! A scripted initiator in memory.

#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths in tests are small"
)]

mod handovers;
mod login;
mod reads;
mod robustness;
mod tasks;
mod text;
mod whole;
mod writes;

use super::super::answer::{AuthPolicy, Identity, Offer};
use super::super::event::{Command, Event};
use super::super::pdu::{
    BHS_BYTES, Bhs, DIGEST_BYTES, DataOut, LoginRequest, NO_TAG, Opcode, ScsiCommand,
    TaskAttribute, padding,
};
use super::super::settings::{EntropyError, Portal, Settings};
use super::Connection;
use crate::base::buffer::{Buffer, Pool};
use crate::base::clock::Instant;
use crate::base::crc32c::crc32c;
use std::sync::Arc;

/// A PDU as the initiator receives it.
type Received = (Bhs, Vec<u8>);

const NORMAL: &[&str] = &["InitiatorName=iqn.initiator", "TargetName=iqn.target"];

fn known_entropy(bytes: &mut [u8]) -> Result<(), EntropyError> {
    bytes
        .iter_mut()
        .zip(1u8..)
        .for_each(|(byte, value)| *byte = value);
    Ok(())
}

fn settings() -> Settings {
    Settings {
        entropy: known_entropy,
        ..Settings::default()
    }
}

fn identity() -> Identity {
    Identity {
        target_portal_group_tag: 7,
        target_alias: None,
        auth: AuthPolicy::None,
        require_header_digest: false,
        require_data_digest: false,
        offer: Offer::default(),
    }
}

struct Initiator {
    connection: Connection,
    /// Bytes that the connection has not taken.
    backlog: Vec<u8>,
    pool: Pool,
    now: Instant,
    header_digest: bool,
    data_digest: bool,
    cmd_sn: u32,
}

impl Initiator {
    fn connect(settings: Settings) -> Self {
        let portal = Portal {
            tag: 7,
            address: "127.0.0.1:3260".into(),
        };
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            connection: Connection::new(portal, Arc::new(settings), now),
            backlog: Vec::new(),
            pool: Pool::new(8 << 20, 0).unwrap(),
            now,
            header_digest: false,
            data_digest: false,
            cmd_sn: 1,
        }
    }

    /// A connection in full feature phase, logged in with `keys` beside the names.
    fn logged_in(keys: &[&str]) -> Self {
        Self::logged_in_with(settings(), keys)
    }

    fn logged_in_with(settings: Settings, keys: &[&str]) -> Self {
        let mut initiator = Self::connect(settings);
        let all: Vec<&str> = NORMAL.iter().chain(keys).copied().collect();
        initiator.login(1, Some(3), &all);
        assert!(matches!(initiator.event(), Event::Identify(_)));
        initiator.connection.identify(identity());
        let Event::LoginComplete(summary) = initiator.event() else {
            panic!("the login is complete")
        };
        initiator.connection.admit(1);
        let _ = initiator.received();
        initiator.header_digest = summary.parameters.header_digest;
        initiator.data_digest = summary.parameters.data_digest;
        initiator
    }

    fn login(&mut self, stage: u8, next: Option<u8>, keys: &[&str]) {
        let text: Vec<u8> = keys
            .iter()
            .flat_map(|key| [key.as_bytes(), b"\0"].concat())
            .collect();
        self.send(login_request(stage, next).emit(), &text);
    }

    /// Queues a PDU for [`Initiator::events`].
    fn send(&mut self, bhs: Bhs, data: &[u8]) {
        let bytes = u32::try_from(data.len()).unwrap();
        let bhs = bhs.with_data(bytes);
        self.backlog.extend_from_slice(bhs.as_bytes());
        if self.header_digest {
            self.backlog.extend(crc32c(bhs.as_bytes()).to_le_bytes());
        }
        let mut segment = data.to_vec();
        segment.resize(segment.len() + padding(bytes) as usize, 0);
        self.backlog.extend_from_slice(&segment);
        if self.data_digest && !data.is_empty() {
            self.backlog.extend(crc32c(&segment).to_le_bytes());
        }
    }

    fn next_event(&mut self) -> Option<Event> {
        let backlog = std::mem::take(&mut self.backlog);
        let mut input = backlog.as_slice();
        let event = self.connection.next_event(&mut input, self.now);
        self.backlog = input.to_vec();
        event
    }

    /// The one event that is due.
    fn event(&mut self) -> Event {
        self.next_event().expect("an event is due")
    }

    fn command_event(&mut self) -> Command {
        match self.event() {
            Event::Command(command) => command,
            other => panic!("a command is due, not {other:?}"),
        }
    }

    fn no_event(&mut self) {
        let event = self.next_event();
        assert!(event.is_none(), "no event is due, not {event:?}");
    }

    /// What the target has sent, digests checked.
    fn received(&mut self) -> Vec<Received> {
        let bytes = self.connection.take_output().to_vec();
        decode(&bytes, self.header_digest, self.data_digest)
    }

    fn receive_one(&mut self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    fn buffer(&mut self, bytes: usize) -> Buffer {
        let mut buffer = self.pool.allocate(bytes).unwrap();
        buffer.fill(0xee);
        buffer
    }

    /// A numbered write.
    fn write(&mut self, tag: u32, length: u32, immediate: &[u8], final_pdu: bool) {
        let pdu = ScsiCommand {
            final_pdu,
            write: true,
            read: false,
            ..command(tag, length, self.cmd_sn)
        };
        self.cmd_sn += 1;
        self.send(pdu.emit(), immediate);
    }

    /// A numbered read.
    fn read(&mut self, tag: u32, length: u32) {
        let pdu = command(tag, length, self.cmd_sn);
        self.cmd_sn += 1;
        self.send(pdu.emit(), &[]);
    }

    fn data_out(&mut self, tag: u32, ttt: u32, data_sn: u32, offset: u32, last: bool, data: &[u8]) {
        let pdu = DataOut {
            final_pdu: last,
            lun: [0; 8],
            initiator_task_tag: tag,
            target_transfer_tag: ttt,
            exp_stat_sn: 0,
            data_sn,
            buffer_offset: offset,
        };
        self.send(pdu.emit(), data);
    }
}

/// Cuts a stream into PDUs.
fn decode(mut bytes: &[u8], header_digest: bool, data_digest: bool) -> Vec<Received> {
    let mut received = Vec::new();
    while !bytes.is_empty() {
        let bhs = Bhs::from_bytes(bytes[..BHS_BYTES].try_into().unwrap());
        bytes = &bytes[BHS_BYTES..];
        let login = bhs.opcode() == Opcode::LoginResponse;
        if header_digest && !login {
            assert_eq!(bytes[..DIGEST_BYTES], crc32c(bhs.as_bytes()).to_le_bytes());
            bytes = &bytes[DIGEST_BYTES..];
        }
        let length = bhs.data_segment_bytes() as usize;
        let padded = length.next_multiple_of(4);
        let data = bytes[..length].to_vec();
        if data_digest && !login && length > 0 {
            let digest = &bytes[padded..padded + DIGEST_BYTES];
            assert_eq!(digest, crc32c(&bytes[..padded]).to_le_bytes());
            bytes = &bytes[DIGEST_BYTES..];
        }
        bytes = &bytes[padded..];
        received.push((bhs, data));
    }
    received
}

fn login_request(stage: u8, next: Option<u8>) -> LoginRequest {
    LoginRequest {
        immediate: true,
        transit: next.is_some(),
        continued: false,
        current_stage: stage,
        next_stage: next.unwrap_or(0),
        version_max: 0,
        version_min: 0,
        isid: [0x80, 1, 2, 3, 4, 5],
        tsih: 0,
        initiator_task_tag: 0x1000,
        cid: 3,
        cmd_sn: 1,
        exp_stat_sn: 0,
    }
}

fn command(tag: u32, length: u32, cmd_sn: u32) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        final_pdu: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        priority: 0,
        lun: [0; 8],
        initiator_task_tag: tag,
        expected_data_transfer_length: length,
        cmd_sn,
        exp_stat_sn: 0,
        cdb: [0x88; 16],
    }
}

fn text_of(data: &[u8]) -> Vec<(String, String)> {
    let pairs = super::super::text::parse(data).unwrap();
    pairs
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

const UNSOLICITED: u32 = NO_TAG;

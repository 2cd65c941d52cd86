//! Whatever a peer sends and however TCP cuts it: no panic, no more memory than the limits, the
//! same events.

use super::super::super::answer::{AsyncEvent, Response};
use super::super::super::pdu::{TaskManagementResponse, padding};
use super::super::Phase;
use super::super::whole::ReadData;
use super::*;
use crate::base::gather::Payload;
use crate::base::limits::{BUFFER_BYTES_MAX, SEND_QUEUE_BYTES_MAX};
use proptest::prelude::*;

/// An owner that answers everything at once, and keeps a record of what it saw.
struct Owner {
    connection: Connection,
    pool: Pool,
    now: Instant,
    record: Vec<String>,
    sent: Vec<u8>,
    /// Commands that have come whole go the short way; how many did.
    takes_whole: bool,
    whole: usize,
}

impl Owner {
    fn new() -> Self {
        let Initiator {
            connection,
            pool,
            now,
            ..
        } = Initiator::connect(settings());
        Self {
            connection,
            pool,
            now,
            record: Vec::new(),
            sent: Vec::new(),
            takes_whole: false,
            whole: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            while self.takes_whole && self.answer_whole(&mut input) {}
            let Some(event) = self.connection.next_event(&mut input, self.now) else {
                break;
            };
            self.answer(event);
            self.check_limits();
        }
        self.sent.extend(self.connection.take_output().to_vec());
        assert!(
            input.is_empty(),
            "an owner that answers at once leaves nothing waiting"
        );
    }

    /// Feeds a stream in pieces: as long as `cuts` say, one after the other and again.
    fn feed_in_pieces(&mut self, stream: &[u8], cuts: &[usize]) {
        let mut rest = stream;
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            self.feed(piece);
            rest = after;
        }
    }

    /// Answers the command at the front of `input` as [`Owner::answer`] would, if it has come whole.
    fn answer_whole(&mut self, input: &mut &[u8]) -> bool {
        let Some(command) = self.connection.whole_command(input) else {
            return false;
        };
        let (data, asked) = match command.read_length {
            0 => (None, command.data_out.len() as u64),
            room => (Some(&[0; 512][..(room as usize).min(512)]), 512),
        };
        let data = data.map(ReadData::Copied);
        self.connection.end_whole(&command, data, asked, self.now);
        *input = &input[command.pdu_bytes..];
        self.whole += 1;
        true
    }

    fn answer(&mut self, event: Event) {
        let connection = &mut self.connection;
        match event {
            Event::DataOut {
                task,
                buffer,
                result,
            } => {
                self.record
                    .push(format!("{task:?} {result:?} {}", crc32c(&buffer)));
                let bytes = buffer.len() as u64;
                self.pool.recycle(buffer);
                connection.respond(task, &Response::good(bytes));
                return;
            }
            ref other => self.record.push(format!("{other:?}")),
        }
        match event {
            Event::Identify(_) => connection.identify(identity()),
            Event::LoginComplete(_) => connection.admit(1),
            Event::Command(command) if command.write_length > 0 => {
                let bytes = (command.write_length as usize).min(BUFFER_BYTES_MAX);
                match self.pool.allocate(bytes) {
                    Some(buffer) => connection.accept_data_out(command.task, buffer, 0),
                    None => connection.respond(command.task, &Response::status(8, 0)),
                }
            }
            Event::Command(command) => {
                let payload = Payload::Bytes(vec![0; 512]);
                let good = Response::good(512);
                connection.send_data_in(command.task, payload, 0..512, 0, Some(&good));
            }
            Event::TaskManagement(request) => {
                if let Some(task) = request.referenced.task() {
                    connection.abort_task(task);
                }
                let complete = TaskManagementResponse::Complete;
                connection.respond_task_management(request.task, complete);
            }
            Event::SendTargets(_) => connection.answer_targets(&[]),
            Event::DataOut { .. } | Event::Logout { .. } | Event::Closed(_) => {}
        }
    }

    fn check_limits(&self) {
        assert!(self.connection.queued_bytes() <= 2 * SEND_QUEUE_BYTES_MAX);
        assert!(self.connection.scratch.capacity() <= 1 << 20);
        assert!(self.connection.link.events.len() <= 4);
        if let Phase::FullFeature(session) = &self.connection.phase {
            assert!(session.tasks.iter().count() <= 144);
        }
    }
}

/// The bytes of a good login, with or without digests.
fn login_bytes(digests: bool) -> Vec<u8> {
    let mut initiator = Initiator::connect(settings());
    let keys = [
        "InitialR2T=No",
        "FirstBurstLength=2048",
        "MaxOutstandingR2T=4",
    ];
    let digest = ["HeaderDigest=CRC32C", "DataDigest=CRC32C"];
    let digest: &[&str] = if digests { &digest } else { &[] };
    initiator.login(1, Some(3), &[NORMAL, &keys, digest].concat());
    initiator.backlog
}

#[derive(Debug, Clone)]
struct AnyPdu {
    opcode: u8,
    immediate: bool,
    flags: u8,
    fields: Vec<u8>,
    data: usize,
    cmd_sn: u32,
    tag: u32,
    length: u32,
    ttt: u32,
}

/// PDUs that are near enough to good ones to get far.
fn any_pdu() -> impl Strategy<Value = AnyPdu> {
    let opcode = prop_oneof![
        6 => Just(1u8), 4 => Just(5u8), 1 => Just(0u8), 1 => Just(2u8), 1 => Just(4u8),
        1 => Just(0x10u8),
    ];
    let ttt = prop_oneof![Just(NO_TAG), 0u32..4];
    let fields = prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 48);
    (
        (opcode, any::<bool>(), any::<u8>(), fields),
        (0usize..3000, 0u32..12, 0u32..6, 0u32..6000, ttt),
    )
        .prop_map(
            |((opcode, immediate, flags, fields), (data, cmd_sn, tag, length, ttt))| AnyPdu {
                opcode,
                immediate,
                flags,
                fields,
                data,
                cmd_sn,
                tag,
                length,
                ttt,
            },
        )
}

impl AnyPdu {
    /// A READ or WRITE that moves data and is the first of its session.
    fn is_plain(&self) -> bool {
        let moves = matches!(self.flags, 0xa0 | 0xa1 | 0xc0 | 0xc1) && self.length > 0;
        let read = self.flags & 0x40 != 0;
        let data = if read { 0 } else { self.length as usize };
        self.opcode == 1
            && !self.immediate
            && self.cmd_sn == 1
            && moves
            && self.data == data
            && data <= 2048
    }

    fn emit(&self, digests: bool, out: &mut Vec<u8>) {
        let mut header = self.fields.clone();
        header[0] = self.opcode | if self.immediate { 0x40 } else { 0 };
        header[1] = self.flags;
        header[4] = 0;
        header[16..20].copy_from_slice(&self.tag.to_be_bytes());
        header[20..24].copy_from_slice(&self.length.to_be_bytes());
        header[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        if self.opcode == 5 {
            header[20..24].copy_from_slice(&self.ttt.to_be_bytes());
            header[36..48].fill(0);
            header[40..44].copy_from_slice(&(self.length & 0xfff).to_be_bytes());
        }
        let bytes = self.data as u32;
        header[5..8].copy_from_slice(&bytes.to_be_bytes()[1..]);
        let mut data = vec![self.tag as u8; self.data];
        data.resize(self.data + padding(bytes) as usize, 0);
        out.extend_from_slice(&header);
        if digests {
            out.extend(crc32c(&header).to_le_bytes());
        }
        out.extend_from_slice(&data);
        if digests && self.data > 0 {
            out.extend(crc32c(&data).to_le_bytes());
        }
    }
}

/// PDUs of which most are READs and WRITEs in order, so that they get as far as they can.
fn mostly_commands() -> impl Strategy<Value = Vec<AnyPdu>> {
    let good = (any::<bool>(), 0u8..2, 0u32..40, 0usize..600).prop_map(
        |(write, attribute, tag, words)| {
            let bytes = if write { words * 4 } else { 0 };
            AnyPdu {
                opcode: 1,
                immediate: false,
                flags: 0x80 | if write { 0x20 } else { 0x40 } | attribute,
                fields: vec![0; 48],
                data: bytes,
                cmd_sn: 0,
                tag,
                length: words as u32 * 4,
                ttt: NO_TAG,
            }
        },
    );
    let one = prop_oneof![6 => good, 1 => any_pdu()];
    prop::collection::vec(one, 0..40).prop_map(|mut pdus| {
        let numbered = pdus
            .iter_mut()
            .filter(|pdu| !pdu.immediate && pdu.opcode != 5);
        numbered
            .zip(1..)
            .for_each(|(pdu, cmd_sn)| pdu.cmd_sn = cmd_sn);
        pdus
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whether commands that have come whole become tasks or not, and wherever the stream is cut: the
    /// initiator hears the same.
    #[test]
    fn the_short_way_says_what_the_long_one_says(
        digests: bool,
        pdus in mostly_commands(),
        cuts in prop::collection::vec(1usize..60_000, 1..20),
    ) {
        let login = login_bytes(digests);
        let mut stream = Vec::new();
        pdus.iter().for_each(|pdu| pdu.emit(digests, &mut stream));
        let (mut long, mut short) = (Owner::new(), Owner::new());
        short.takes_whole = true;
        for owner in [&mut long, &mut short] {
            owner.feed(&login);
            owner.feed_in_pieces(&stream, &cuts);
        }
        prop_assert_eq!(long.whole, 0);
        // What the property is about does happen: nothing stands before the first one.
        let in_one_piece = stream.len() <= cuts[0];
        if in_one_piece && pdus.first().is_some_and(AnyPdu::is_plain) {
            prop_assert!(short.whole > 0);
        }
        prop_assert_eq!(long.sent, short.sent);
        prop_assert_eq!(long.connection.pdus(), short.connection.pdus());
    }

    #[test]
    fn random_bytes_do_no_harm(
        logged_in: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let mut owner = Owner::new();
        if logged_in {
            owner.feed(&login_bytes(false));
        }
        owner.feed(&bytes);
    }

    #[test]
    fn a_login_with_any_byte_changed_does_no_harm(at: prop::sample::Index, value: u8) {
        let mut bytes = login_bytes(true);
        let at = at.index(bytes.len());
        bytes[at] = value;
        Owner::new().feed(&bytes);
    }

    #[test]
    fn cuts_do_not_change_what_happens(
        digests: bool,
        pdus in prop::collection::vec(any_pdu(), 0..24),
        cuts in prop::collection::vec(1usize..700, 1..20),
    ) {
        let mut stream = login_bytes(digests);
        pdus.iter().for_each(|pdu| pdu.emit(digests, &mut stream));
        let mut whole = Owner::new();
        whole.feed(&stream);
        let mut pieces = Owner::new();
        pieces.feed_in_pieces(&stream, &cuts);
        prop_assert_eq!(whole.record, pieces.record);
        prop_assert_eq!(whole.sent, pieces.sent);
    }

    #[test]
    fn mutated_streams_do_no_harm(
        digests: bool,
        pdus in prop::collection::vec(any_pdu(), 0..24),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut stream = Vec::new();
        pdus.iter().for_each(|pdu| pdu.emit(digests, &mut stream));
        if !stream.is_empty() {
            for (at, value) in changes {
                let at = at.index(stream.len());
                stream[at] = value;
            }
        }
        let mut owner = Owner::new();
        owner.feed(&login_bytes(digests));
        owner.feed(&stream);
        owner.connection.send_async(AsyncEvent::RequestLogout { seconds: 1 });
        let deadline = owner.connection.next_deadline().unwrap_or(owner.now);
        let _ = owner.connection.handle_timeout(deadline);
    }
}

/// A connection moves between reactors when its login ends.
#[test]
fn a_connection_can_be_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Connection>();
    is_send::<Event>();
}

//! The pull parser: headers and data segments in turn, from the input or from what was held.

use super::super::error::{CloseReason, Violation};
use super::super::pdu::{Bhs, LoginStatus, Opcode, ScsiCommand};
use super::held::HeldPdu;
use super::receiver::{Body, DigestMismatch};
use super::{Awaiting, Connection, Phase, Replay, Segment, Sink};
use crate::base::limits::LOGIN_DATA_SEGMENT_BYTES;

/// Collected data segments leave no more memory than that behind, in bytes.
const SCRATCH_BYTES_KEPT: usize = 16 << 10;

impl Connection {
    /// Whether an answer of the owner has to come before more input is taken.
    pub(super) fn waits_for_owner(&self) -> bool {
        self.link.awaiting != Awaiting::Nothing || self.awaits_decision()
    }

    /// Whether nothing goes on without more bytes of the peer's: what has come is dealt with, and nothing
    /// that was kept has its turn.
    #[inline]
    pub(super) fn needs_input(&self) -> bool {
        let keeps_some = match &self.phase {
            Phase::FullFeature(session) => !session.held.is_empty(),
            _ => false,
        };
        self.link.events.is_empty() && self.replay.is_none() && !keeps_some
    }

    /// Whether the data segment at hand waits for a window.
    #[inline]
    fn awaits_decision(&self) -> bool {
        let (
            Some(Segment {
                sink: Sink::Data { task, .. },
                body,
            }),
            Phase::FullFeature(session),
        ) = (&self.segment, &self.phase)
        else {
            return false;
        };
        body.data_left() > 0 && session.is_undecided(*task)
    }

    /// The CDB of the command behind the PDU at hand, if its header has come: the first 16 bytes of it,
    /// unchecked, for whoever can prepare something. It need not ever become a command.
    #[must_use]
    pub fn coming<'a>(&self, input: &'a [u8]) -> Option<&'a [u8; 16]> {
        if self.replay.is_some() || (self.segment.is_none() && !self.header.is_empty()) {
            return None;
        }
        let passed = self
            .segment
            .as_ref()
            .map_or(0, |segment| segment.body.bytes_left());
        ScsiCommand::peek(input.get(passed..)?)
    }

    /// How many bytes to receive next: about `wanted`, up to the end of a PDU if those to come are as
    /// long as the one at hand, or else the last; and a whole one, if there is `room`. A data segment
    /// that comes whole need not be put together first.
    #[must_use]
    pub fn bytes_to_receive(&self, wanted: usize, room: usize) -> usize {
        let due = match &self.segment {
            Some(segment) => segment.body.bytes_left(),
            None if self.header.is_empty() => self.pdu_bytes,
            None => self.pdu_bytes.saturating_sub(self.header.received().len()),
        };
        if due >= wanted {
            return due.min(room);
        }
        let cut = (wanted - due).checked_rem(self.pdu_bytes).unwrap_or(0);
        wanted - cut
    }

    /// Goes on by one header or one data segment. `false` when nothing more can be done.
    pub(super) fn step(&mut self, input: &mut &[u8]) -> bool {
        if self.is_closed() {
            *input = &[];
            return false;
        }
        if self.waits_for_owner() || self.queued_bytes() >= self.link.settings.send_queue_bytes {
            return false;
        }
        let progressed = match self.segment {
            Some(_) => self.receive_segment(input),
            None => self.receive_header(input),
        };
        match progressed {
            Ok(progressed) => {
                self.close_if_asked();
                progressed || self.is_closed()
            }
            Err(violation) => {
                self.close(CloseReason::Violation(violation));
                true
            }
        }
    }

    /// The next header: of a kept PDU whose turn has come, else from the input.
    fn receive_header(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        if self.header.is_empty()
            && let Some(pdu) = self.next_held()
        {
            let bhs = self.header.load(&pdu.header);
            self.replay = Some(Replay {
                data: pdu.data,
                consumed: 0,
                digest: pdu.digest,
            });
            return self.begin(&bhs, Body::checked);
        }
        let (header_digest, data_digest) = match &self.phase {
            Phase::FullFeature(session) => (
                session.parameters.header_digest,
                session.parameters.data_digest,
            ),
            _ => (false, false),
        };
        match self.header.fill(input, header_digest) {
            None => Ok(false),
            Some(Err(violation)) => Err(violation),
            Some(Ok(bhs)) => self.begin(&bhs, |bytes| Body::new(bytes, data_digest)),
        }
    }

    fn next_held(&mut self) -> Option<HeldPdu> {
        match &mut self.phase {
            Phase::FullFeature(session) => session.held.next_ready(session.window.expected()),
            _ => None,
        }
    }

    /// A header is complete. Its data segment is received as `body` makes of its length.
    #[inline]
    fn begin(&mut self, bhs: &Bhs, body: impl FnOnce(u32) -> Body) -> Result<bool, Violation> {
        self.link.pdus_received += 1;
        let got = bhs.data_segment_bytes();
        let sink = match &mut self.phase {
            Phase::Login(_) if bhs.opcode() != Opcode::LoginRequest => {
                let violation = Violation::NotALogin {
                    opcode: bhs.opcode().to_wire(),
                };
                self.fail_login(LoginStatus::InvalidDuringLogin, violation);
                return Ok(true);
            }
            Phase::Login(_) if got > LOGIN_DATA_SEGMENT_BYTES => {
                let limit = LOGIN_DATA_SEGMENT_BYTES;
                let violation = Violation::DataSegmentTooLong { limit, got };
                self.fail_login(LoginStatus::InitiatorError, violation);
                return Ok(true);
            }
            Phase::Login(_) => Sink::Collect,
            Phase::FullFeature(session) => {
                let limit = session.parameters.target_data_segment_bytes;
                if got > limit {
                    return Err(Violation::DataSegmentTooLong { limit, got });
                }
                session.begin(&mut self.link, bhs, &self.header)?
            }
            Phase::Closed => Sink::Discard,
        };
        self.scratch.clear();
        if got > 0 {
            let body = body(got);
            self.pdu_bytes = self
                .header
                .received()
                .len()
                .saturating_add(body.bytes_left());
            self.segment = Some(Segment { sink, body });
        } else {
            // Nothing follows an empty segment, no digest either (RFC 7143 section 11.2.3).
            self.replay = None;
            self.end(sink, Ok(()));
            self.header.clear();
        }
        Ok(true)
    }

    /// The data segment at hand, as far as it has come.
    fn receive_segment(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        let Some(segment) = &mut self.segment else {
            return Ok(false);
        };
        let (at, piece) = match &mut self.replay {
            Some(replay) => {
                let mut kept = replay.data.get(replay.consumed..).unwrap_or_default();
                let taken = segment.body.take(&mut kept);
                replay.consumed = replay.consumed.saturating_add(taken.1.len());
                taken
            }
            None => segment.body.take(input),
        };
        match segment.sink {
            Sink::Discard => {}
            Sink::Collect | Sink::Hold { .. } => self.scratch.extend_from_slice(piece),
            Sink::Data { task, offset, .. } => {
                if let Phase::FullFeature(session) = &mut self.phase {
                    session.data(self.link.now, task, offset.saturating_add(at), piece);
                }
            }
        }
        if segment.body.data_left() > 0 {
            return Ok(false);
        }
        let digest = match &self.replay {
            Some(replay) => replay.digest,
            None => match segment.body.finish(input) {
                Some(digest) => digest,
                None => return Ok(false),
            },
        };
        let sink = segment.sink;
        self.segment = None;
        self.replay = None;
        self.end(sink, digest);
        self.header.clear();
        Ok(true)
    }

    /// A PDU is complete.
    #[inline]
    fn end(&mut self, sink: Sink, digest: Result<(), DigestMismatch>) {
        let Self {
            phase,
            link,
            header,
            scratch,
            ..
        } = self;
        match (phase, sink) {
            (Phase::Login(phase), _) => phase.request(link, header, scratch),
            (Phase::FullFeature(session), Sink::Collect) => {
                session.collected(link, header, scratch, digest);
            }
            (Phase::FullFeature(session), Sink::Hold { cmd_sn }) => {
                session.held(header, cmd_sn, std::mem::take(scratch), digest);
            }
            (
                Phase::FullFeature(session),
                Sink::Data {
                    task, tag, last, ..
                },
            ) => {
                session.end_data(link, &header.bhs(), (task, tag, last), digest);
            }
            _ => {}
        }
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
    }
}

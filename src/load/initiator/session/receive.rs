//! What a session receives, and what follows from it.

use super::super::fault::Fault;
use super::super::outbox::Outbox;
use super::{Event, Segment, Session, Sink, Transfer, precedes};
use crate::base::limits::LOAD_DATA_SEGMENT_BYTES;
use crate::iscsi::connection::receiver::{Body, DigestMismatch};
use crate::iscsi::pdu::{
    AsyncCode, AsyncMessage, BHS_BYTES, Bhs, DataIn, LogoutResponse, NO_TAG, NopIn, NopOut, Opcode,
    R2t, Reject, ScsiResponse, padding,
};
use crate::load::failure::FailureKind;

const GOOD: u8 = 0;
/// Answers to pings that may wait for a target that does not read.
const PINGS_UNSENT_MAX: u32 = 1024;

impl Session {
    /// Takes in all of `input` and appends what came of commands to `events`.
    ///
    /// # Errors
    /// When the target broke the protocol or dropped the session; nothing more is to be received.
    pub(crate) fn receive(
        &mut self,
        mut input: &[u8],
        outbox: &mut Outbox,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        loop {
            while self.take_whole(&mut input, outbox, events)? {}
            let Some(mut segment) = self.segment.take() else {
                let digest = self.parameters.header_digest;
                match self.header.fill(&mut input, digest) {
                    None => return Ok(()),
                    Some(Ok(bhs)) => {
                        let sink = self.begin(&bhs)?;
                        let bytes = bhs.data_segment_bytes();
                        let body = Body::new(bytes, self.parameters.data_digest);
                        self.segment = Some(Segment { bhs, body, sink });
                    }
                    Some(Err(violation)) => return Err(Fault::Header(violation)),
                }
                self.header.clear();
                continue;
            };
            while segment.body.data_left() > 0 && !input.is_empty() {
                let (at, piece) = segment.body.take(&mut input);
                self.deliver(segment.sink, at, piece);
            }
            if segment.body.data_left() > 0 {
                self.segment = Some(segment);
                return Ok(());
            }
            match segment.body.finish(&mut input) {
                None => {
                    self.segment = Some(segment);
                    return Ok(());
                }
                Some(Ok(())) => self.end(&segment.bhs, outbox, events)?,
                Some(Err(DigestMismatch { expected, got })) => {
                    return Err(Fault::DataDigest { expected, got });
                }
            }
        }
    }

    /// Takes in the PDU at the front of `input` where it lies, if it is all there and has neither
    /// digests nor additional headers. Most come like that.
    #[inline]
    fn take_whole(
        &mut self,
        input: &mut &[u8],
        outbox: &mut Outbox,
        events: &mut Vec<Event>,
    ) -> Result<bool, Fault> {
        let parameters = &self.parameters;
        let has_digests = parameters.header_digest || parameters.data_digest;
        if has_digests || self.segment.is_some() || !self.header.is_empty() {
            return Ok(false);
        }
        let Some((bhs, behind)) = Bhs::at_front(input) else {
            return Ok(false);
        };
        let bytes = bhs.data_segment_bytes();
        let padded = (bytes + padding(bytes)) as usize;
        let (Some((segment, rest)), 0) = (behind.split_at_checked(padded), bhs.ahs_bytes()) else {
            return Ok(false);
        };
        let sink = self.begin(bhs)?;
        self.deliver(sink, 0, &segment[..bytes as usize]);
        self.end(bhs, outbox, events)?;
        *input = rest;
        Ok(true)
    }

    /// Judges a header before its data segment comes: where that goes.
    #[inline]
    fn begin(&mut self, bhs: &Bhs) -> Result<Sink, Fault> {
        let bytes = bhs.data_segment_bytes();
        let limit = LOAD_DATA_SEGMENT_BYTES;
        if bytes > limit {
            return Err(Fault::SegmentTooLong { limit, got: bytes });
        }
        if bhs.opcode() == Opcode::DataIn {
            return self.begin_data_in(&DataIn::parse(bhs), bytes);
        }
        self.collected.clear();
        Ok(Sink::Collect)
    }

    /// Data come in order and within the command (DataPDUInOrder and DataSequenceInOrder are Yes).
    fn begin_data_in(&mut self, pdu: &DataIn, bytes: u32) -> Result<Sink, Fault> {
        let slot = self.slot_of(pdu.initiator_task_tag)?;
        let task = &mut self.tasks[slot as usize];
        let Transfer::Read {
            bytes: length,
            keep,
        } = task.transfer
        else {
            return Err(Fault::UnknownTask(pdu.initiator_task_tag));
        };
        let offset = pdu.buffer_offset;
        let is_next = offset == task.moved || bytes == 0;
        if !is_next || length - task.moved < bytes {
            return Err(Fault::Range {
                offset,
                bytes,
                length,
                moved: task.moved,
            });
        }
        task.moved += bytes;
        Ok(if keep {
            Sink::Keep { slot, offset }
        } else {
            Sink::Skip
        })
    }

    fn deliver(&mut self, sink: Sink, at: u32, piece: &[u8]) {
        match sink {
            Sink::Skip => {}
            Sink::Collect => self.collected.extend_from_slice(piece),
            Sink::Keep { slot, offset } => {
                let start = (offset + at) as usize;
                // `begin_data_in` held the range against the command's length.
                self.tasks[slot as usize].buffer[start..start + piece.len()].copy_from_slice(piece);
            }
        }
    }

    /// Acts on a PDU that is complete.
    fn end(
        &mut self,
        bhs: &Bhs,
        outbox: &mut Outbox,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        match bhs.opcode() {
            Opcode::DataIn => {
                let pdu = DataIn::parse(bhs);
                if pdu.has_status {
                    self.number(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                    // Status in Data-In has no sense data.
                    self.collected.clear();
                    self.finish(pdu.initiator_task_tag, GOOD, pdu.status, false, events)?;
                } else {
                    self.widen(pdu.exp_cmd_sn, pdu.max_cmd_sn);
                }
                Ok(())
            }
            Opcode::ScsiResponse => {
                let pdu = ScsiResponse::parse(bhs);
                self.number(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                let short = pdu.underflow && pdu.residual > 0;
                self.finish(
                    pdu.initiator_task_tag,
                    pdu.response,
                    pdu.status,
                    short,
                    events,
                )
            }
            Opcode::R2t => self.solicited(&R2t::parse(bhs), outbox),
            Opcode::NopIn => self.ping(&NopIn::parse(bhs), outbox),
            Opcode::Reject => self.rejected(&Reject::parse(bhs), events),
            Opcode::AsyncMessage => {
                let pdu = AsyncMessage::parse(bhs);
                self.number(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                match pdu.event {
                    AsyncCode::RequestLogout
                    | AsyncCode::DropConnection
                    | AsyncCode::DropSession => Err(Fault::Dismissed),
                    // Unit attentions come as sense data too; parameters are not negotiated again.
                    _ => Ok(()),
                }
            }
            Opcode::LogoutResponse => {
                let pdu = LogoutResponse::parse(bhs);
                self.number(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.logged_out = true;
                Ok(())
            }
            other => Err(Fault::Opcode(other.to_wire())),
        }
    }

    /// Takes in a numbered status and the window that came with it.
    fn number(&mut self, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32) -> Result<(), Fault> {
        let expected = self.exp_stat_sn;
        if stat_sn != expected {
            let got = stat_sn;
            return Err(Fault::StatSn { expected, got });
        }
        self.exp_stat_sn = expected.wrapping_add(1);
        self.widen(exp_cmd_sn, max_cmd_sn);
        Ok(())
    }

    /// A window that is smaller than none, or that closes, is ignored (RFC 7143 section 4.2.2.1).
    fn widen(&mut self, exp_cmd_sn: u32, max_cmd_sn: u32) {
        let is_valid = !precedes(max_cmd_sn, exp_cmd_sn.wrapping_sub(1));
        if is_valid && precedes(self.max_cmd_sn, max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
        }
    }

    /// Ends a command with what its status says; sense data are what was collected.
    fn finish(
        &mut self,
        tag: u32,
        response: u8,
        status: u8,
        short: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        let slot = self.slot_of(tag)?;
        let task = &self.tasks[slot as usize];
        let is_short = match task.transfer {
            Transfer::Read { bytes, .. } => task.moved < bytes,
            Transfer::None | Transfer::Write { .. } => short,
        };
        let failure = if response != GOOD {
            Some(FailureKind::Response(response))
        } else if status != GOOD {
            Some(FailureKind::from_response(status, &self.collected))
        } else {
            is_short.then_some(FailureKind::Short)
        };
        self.release(slot);
        events.push(match failure {
            None => Event::Done { slot },
            Some(kind) => Event::Failed { slot, kind },
        });
        Ok(())
    }

    /// Answers an R2T with a sequence of Data-Out. R2Ts come in order (DataSequenceInOrder is Yes),
    /// so no byte is asked for twice, and what waits to be sent is bounded by the commands.
    fn solicited(&mut self, pdu: &R2t, outbox: &mut Outbox) -> Result<(), Fault> {
        self.widen(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        let slot = self.slot_of(pdu.initiator_task_tag)?;
        let task = &mut self.tasks[slot as usize];
        let Transfer::Write { bytes: length, .. } = task.transfer else {
            return Err(Fault::UnknownTask(pdu.initiator_task_tag));
        };
        let (offset, bytes) = (pdu.buffer_offset, pdu.desired_data_transfer_length);
        if offset != task.moved || length - offset < bytes {
            return Err(Fault::Range {
                offset,
                bytes,
                length,
                moved: task.moved,
            });
        }
        task.moved += bytes;
        self.push_data_out(
            slot,
            pdu.target_transfer_tag,
            pdu.lun,
            offset,
            bytes,
            outbox,
        );
        Ok(())
    }

    /// Answers a ping of the target (RFC 7143 section 11.18).
    fn ping(&mut self, pdu: &NopIn, outbox: &mut Outbox) -> Result<(), Fault> {
        self.widen(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        if pdu.initiator_task_tag != NO_TAG {
            return Err(Fault::UnknownTask(pdu.initiator_task_tag));
        }
        if pdu.target_transfer_tag != NO_TAG {
            self.pings = if outbox.is_empty() { 1 } else { self.pings + 1 };
            if self.pings > PINGS_UNSENT_MAX {
                return Err(Fault::Pings);
            }
            let answer = NopOut {
                immediate: true,
                lun: pdu.lun,
                initiator_task_tag: NO_TAG,
                target_transfer_tag: pdu.target_transfer_tag,
                cmd_sn: self.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            };
            self.push_header(answer.emit(), outbox);
        }
        Ok(())
    }

    /// The data segment of a Reject is the header of the PDU in error. A rejected command is over;
    /// of other PDUs there is nothing to try again.
    fn rejected(&mut self, pdu: &Reject, events: &mut Vec<Event>) -> Result<(), Fault> {
        self.number(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        let header = self.collected.first_chunk::<BHS_BYTES>().copied();
        let command = header
            .map(Bhs::from_bytes)
            .filter(|bhs| bhs.opcode() == Opcode::ScsiCommand)
            .and_then(|bhs| self.slot_of(bhs.initiator_task_tag()).ok());
        let Some(slot) = command else {
            return Err(Fault::Rejected(pdu.reason));
        };
        self.release(slot);
        let kind = FailureKind::Rejected(pdu.reason.to_wire());
        events.push(Event::Failed { slot, kind });
        Ok(())
    }
}

//! Data of reads, and status (RFC 7143 sections 11.4 and 11.7).

use super::super::answer::Response;
use super::super::event::{Parameters, TaskId};
use super::super::pdu::{Bhs, DataIn, NO_TAG, ScsiResponse};
use super::super::task::Task;
use super::Link;
use super::session::Session;
use crate::base::gather::Payload;
use std::ops::Range;

/// Transferred bytes against expected ones (RFC 7143 section 11.4.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residual {
    None,
    /// That many bytes more were wanted than expected.
    Overflow(u32),
    /// That many bytes fewer.
    Underflow(u32),
}

impl Residual {
    pub(super) fn of(asked: u64, expected: u32) -> Self {
        let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        match asked.checked_sub(u64::from(expected)) {
            Some(0) => Self::None,
            Some(more) => Self::Overflow(narrow(more)),
            None => Self::Underflow(narrow(u64::from(expected).saturating_sub(asked))),
        }
    }

    pub(super) const fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Overflow(bytes) | Self::Underflow(bytes) => bytes,
        }
    }

    pub(super) const fn is_overflow(self) -> bool {
        matches!(self, Self::Overflow(_))
    }

    pub(super) const fn is_underflow(self) -> bool {
        matches!(self, Self::Underflow(_))
    }
}

impl Task {
    /// Residual of the command, and of a bidirectional command's read.
    fn residuals(&self, response: &Response<'_>) -> (Residual, Residual) {
        let written = self.transfer.total();
        if self.bidirectional {
            let read = Residual::of(response.asked_read, self.read_length);
            return (Residual::of(response.asked, written), read);
        }
        let expected = if written > 0 {
            written
        } else {
            self.read_length
        };
        (Residual::of(response.asked, expected), Residual::None)
    }
}

impl Session {
    /// Numbers the Data-In PDUs of a range and queues them, and the status that goes with them or follows. A
    /// payload that was copied comes back.
    pub(super) fn send_data_in(
        &mut self,
        link: &mut Link,
        id: TaskId,
        payload: Payload,
        range: Range<usize>,
        offset: u32,
        last: Option<&Response<'_>>,
    ) -> Option<Payload> {
        assert!(range.start <= range.end && range.end <= payload.as_slice().len());
        let Some(task) = self.tasks.get_mut(id) else {
            return Some(payload);
        };
        // More than the initiator has room for is not sent; the residual count tells.
        let room = task.read_length.saturating_sub(offset);
        let bytes = u32::try_from(range.len()).unwrap_or(u32::MAX).min(room);
        if bytes == 0 {
            if let Some(response) = last {
                self.respond(link, id, response);
            }
            return Some(payload);
        }
        let collapses = |response: &&Response<'_>| {
            response.status == 0 && response.sense.is_empty() && !response.target_failure
        };
        let status = last.filter(collapses).filter(|_| !task.bidirectional);
        if let Some(response) = status
            && bytes <= in_one_pdu(&self.parameters, offset)
        {
            // Most commands end with their only PDU.
            let (residual, _) = task.residuals(response);
            let (tag, data_sn) = (task.tag, task.data_sn);
            self.tasks.release(id);
            let (exp_cmd_sn, max_cmd_sn) = self.numbers();
            let pdu = DataIn {
                final_pdu: true,
                has_status: true,
                overflow: residual.is_overflow(),
                underflow: residual.is_underflow(),
                stat_sn: link.output.take_stat_sn(),
                exp_cmd_sn,
                max_cmd_sn,
                data_sn,
                residual: residual.count(),
                ..blank(tag, offset)
            };
            let end = range.start + bytes as usize;
            return link.queue(payload, Cut::One(pdu.emit(), range.start..end));
        }
        let numbers = self.numbers();
        let Some(task) = self.tasks.get_mut(id) else {
            return Some(payload);
        };
        // The last PDU's numbers are those after the task has gone: its slot is free again.
        let mut pieces = Pieces::new(task, &self.parameters, numbers, offset, bytes, range.start);
        pieces.ends_sequence |= last.is_some();
        task.data_sn = task.data_sn.wrapping_add(pieces.pdus());
        if let Some(response) = status {
            let (residual, _) = task.residuals(response);
            self.tasks.release(id);
            let stat_sn = link.output.take_stat_sn();
            pieces.status = Some((residual, stat_sn, self.numbers()));
        }
        let copied = link.queue(payload, Cut::Pieces(pieces));
        if let Some(response) = last.filter(|_| status.is_none()) {
            self.respond(link, id, response);
        }
        copied
    }

    /// Queues the SCSI Response and frees the task.
    pub(super) fn respond(&mut self, link: &mut Link, id: TaskId, response: &Response<'_>) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (residual, read_residual) = task.residuals(response);
        let tag = task.tag;
        let exp_data_sn = task.data_sn.wrapping_add(task.transfer.r2t_count());
        self.tasks.release(id);
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = ScsiResponse {
            read_overflow: read_residual.is_overflow(),
            read_underflow: read_residual.is_underflow(),
            overflow: residual.is_overflow(),
            underflow: residual.is_underflow(),
            response: u8::from(response.target_failure),
            status: response.status,
            initiator_task_tag: tag,
            snack_tag: 0,
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn,
            read_residual: read_residual.count(),
            residual: residual.count(),
        };
        if response.sense.is_empty() {
            link.output.push(pdu.emit(), &[]);
        } else {
            link.with_sense(response.sense, |link, data| {
                link.output.push(pdu.emit(), data)
            });
        }
    }
}

impl Link {
    /// Queues the payload's PDUs: short ones as copies, and then the payload comes back.
    #[inline]
    fn queue(&mut self, payload: Payload, cut: Cut) -> Option<Payload> {
        let output = &mut self.output;
        if cut.bytes() > self.settings.inline_payload_bytes {
            match cut {
                Cut::One(bhs, piece) => output.push_held(payload, std::iter::once((bhs, piece))),
                Cut::Pieces(pieces) => output.push_held(payload, pieces),
            }
            return None;
        }
        let data = payload.as_slice();
        let mut push = |bhs, piece| output.push(bhs, data.get(piece).unwrap_or_default());
        match cut {
            Cut::One(bhs, piece) => push(bhs, piece),
            Cut::Pieces(pieces) => pieces.for_each(|(bhs, piece)| push(bhs, piece)),
        }
        Some(payload)
    }
}

/// Bytes of data that a PDU has room for whose data begin at `offset`: what the initiator takes, and no
/// more than is left of the sequence.
#[inline]
pub(super) fn in_one_pdu(parameters: &Parameters, offset: u32) -> u32 {
    let burst = parameters.max_burst_bytes.max(1);
    // Most commands need no division.
    let passed = if offset == 0 { 0 } else { offset % burst };
    let segment = parameters.initiator_data_segment_bytes.max(1);
    (burst - passed).min(segment)
}

/// Data-In without numbers.
pub(super) const fn blank(tag: u32, buffer_offset: u32) -> DataIn {
    DataIn {
        final_pdu: false,
        acknowledge: false,
        overflow: false,
        underflow: false,
        has_status: false,
        status: 0,
        lun: [0; 8],
        initiator_task_tag: tag,
        target_transfer_tag: NO_TAG,
        stat_sn: 0,
        exp_cmd_sn: 0,
        max_cmd_sn: 0,
        data_sn: 0,
        buffer_offset,
        residual: 0,
    }
}

/// How a range is cut into PDUs.
enum Cut {
    /// It is one PDU's, with that header.
    One(Bhs, Range<usize>),
    Pieces(Pieces),
}

impl Cut {
    /// Bytes of data.
    #[inline]
    fn bytes(&self) -> usize {
        match self {
            Self::One(_, range) => range.len(),
            Self::Pieces(pieces) => pieces.bytes() as usize,
        }
    }
}

/// The Data-In PDUs of one call: none longer than the initiator takes, no sequence longer than
/// MaxBurstLength.
#[derive(Debug, Clone)]
struct Pieces {
    template: DataIn,
    parameters: Parameters,
    end: u32,
    /// Where `template.buffer_offset` lies in the payload.
    at: usize,
    /// The F bit goes on the last PDU, because no data of the command follows this call.
    ends_sequence: bool,
    /// What the last PDU says of the command's end.
    status: Option<(Residual, u32, (u32, u32))>,
}

impl Pieces {
    fn new(
        task: &Task,
        parameters: &Parameters,
        (exp_cmd_sn, max_cmd_sn): (u32, u32),
        offset: u32,
        bytes: u32,
        at: usize,
    ) -> Self {
        let template = DataIn {
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: task.data_sn,
            ..blank(task.tag, offset)
        };
        let end = offset.saturating_add(bytes);
        Self {
            template,
            parameters: *parameters,
            end,
            at,
            ends_sequence: end == task.read_length,
            status: None,
        }
    }

    /// Bytes of data to come.
    const fn bytes(&self) -> u32 {
        self.end.saturating_sub(self.template.buffer_offset)
    }

    /// How many PDUs there are to come.
    fn pdus(&self) -> u32 {
        let mut pieces = self.clone();
        let count = std::iter::from_fn(|| pieces.step()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Bytes of the next PDU and whether a sequence ends with it, past which the offset then is.
    fn step(&mut self) -> Option<(u32, u32, bool)> {
        let offset = self.template.buffer_offset;
        let left = self.end.checked_sub(offset).filter(|left| *left > 0)?;
        let bytes = left.min(in_one_pdu(&self.parameters, offset));
        let end = offset + bytes;
        self.template.buffer_offset = end;
        let ends_sequence = (bytes == left && self.ends_sequence)
            || end.is_multiple_of(self.parameters.max_burst_bytes.max(1));
        Some((offset, bytes, ends_sequence))
    }
}

impl Iterator for Pieces {
    type Item = (Bhs, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (offset, bytes, final_pdu) = self.step()?;
        let mut pdu = DataIn {
            buffer_offset: offset,
            final_pdu,
            ..self.template
        };
        self.template.data_sn = self.template.data_sn.wrapping_add(1);
        let status = self
            .status
            .filter(|_| self.template.buffer_offset == self.end);
        if let Some((residual, stat_sn, (exp_cmd_sn, max_cmd_sn))) = status {
            pdu = DataIn {
                has_status: true,
                stat_sn,
                exp_cmd_sn,
                max_cmd_sn,
                overflow: residual.is_overflow(),
                underflow: residual.is_underflow(),
                residual: residual.count(),
                ..pdu
            };
        }
        let start = self.at;
        self.at += bytes as usize;
        Some((pdu.emit(), start..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_residual_is_what_was_wanted_against_what_was_expected() {
        assert_eq!(Residual::of(512, 512), Residual::None);
        assert_eq!(Residual::of(1024, 512), Residual::Overflow(512));
        assert_eq!(Residual::of(0, 512), Residual::Underflow(512));
        assert_eq!(Residual::of(u64::MAX, 0), Residual::Overflow(u32::MAX));
    }
}

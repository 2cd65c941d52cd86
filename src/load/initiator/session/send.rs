//! What a session sends: commands, their data, and the goodbye.

use super::super::outbox::Outbox;
use super::{Command, SLOT_BITS, Session, Transfer};
use crate::base::crc32c::{Crc32c, crc32c};
use crate::iscsi::pdu::{
    Bhs, DataOut, LogoutReason, LogoutRequest, NO_TAG, ScsiCommand, TaskAttribute, padding,
};

impl Session {
    /// Issues a command in the slot that [`Session::reserve`] gave. Data that need not be asked for
    /// go with it: immediate data, and the rest of the first burst behind it.
    ///
    /// # Panics
    /// If the slot is not the reserved one.
    pub(crate) fn issue(&mut self, slot: u32, command: &Command, outbox: &mut Outbox) {
        assert_eq!(self.free.pop(), Some(slot), "a slot that was not reserved");
        let task = &mut self.tasks[slot as usize];
        task.tag = task.tag.wrapping_add(1 << SLOT_BITS);
        task.outstanding = true;
        task.transfer = command.transfer;
        task.moved = 0;
        let (tag, mut immediate, mut unsolicited) = (task.tag, 0, 0);
        let (read, write, bytes) = match command.transfer {
            Transfer::None => (false, false, 0),
            Transfer::Read { bytes, keep } => {
                if keep {
                    task.buffer.resize(bytes as usize, 0);
                }
                (true, false, bytes)
            }
            Transfer::Write { bytes, .. } => {
                (immediate, unsolicited) = self.first_burst(bytes);
                (false, true, bytes)
            }
        };
        let header = ScsiCommand {
            immediate: false,
            final_pdu: unsolicited == 0,
            read,
            write,
            attribute: TaskAttribute::Simple,
            priority: 0,
            lun: self.lun,
            initiator_task_tag: tag,
            expected_data_transfer_length: bytes,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb: command.cdb,
        };
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.push_header(header.emit().with_data(immediate), outbox);
        self.push_payload(slot, 0, immediate, outbox);
        self.push_data_out(slot, NO_TAG, self.lun, immediate, unsolicited, outbox);
        if write {
            self.tasks[slot as usize].moved = immediate + unsolicited;
        }
    }

    /// How much of a write of `bytes` goes with the command, and how much follows it unasked
    /// (RFC 7143 sections 13.10, 13.11 and 13.14).
    fn first_burst(&self, bytes: u32) -> (u32, u32) {
        let parameters = &self.parameters;
        let burst = bytes.min(parameters.first_burst_bytes);
        let immediate = if parameters.immediate_data {
            burst.min(parameters.target_data_segment_bytes)
        } else {
            0
        };
        let unsolicited = if parameters.initial_r2t {
            0
        } else {
            burst - immediate
        };
        (immediate, unsolicited)
    }

    /// Appends a sequence of Data-Out PDUs; nothing if it is empty.
    pub(super) fn push_data_out(
        &self,
        slot: u32,
        transfer_tag: u32,
        lun: [u8; 8],
        offset: u32,
        bytes: u32,
        outbox: &mut Outbox,
    ) {
        let (mut at, end) = (offset, offset + bytes);
        let mut data_sn = 0;
        while at < end {
            let piece = (end - at).min(self.parameters.target_data_segment_bytes);
            let header = DataOut {
                final_pdu: at + piece == end,
                lun,
                initiator_task_tag: self.tasks[slot as usize].tag,
                target_transfer_tag: transfer_tag,
                exp_stat_sn: self.exp_stat_sn,
                data_sn,
                buffer_offset: at,
            };
            self.push_header(header.emit().with_data(piece), outbox);
            self.push_payload(slot, at, piece, outbox);
            at += piece;
            data_sn += 1;
        }
    }

    pub(super) fn push_header(&self, bhs: Bhs, outbox: &mut Outbox) {
        outbox.push(bhs.as_bytes());
        if self.parameters.header_digest {
            outbox.push(&crc32c(bhs.as_bytes()).to_le_bytes());
        }
    }

    /// Appends bytes of a write with padding and digest; nothing if there are none.
    fn push_payload(&self, slot: u32, offset: u32, bytes: u32, outbox: &mut Outbox) {
        if bytes == 0 {
            return;
        }
        let task = &self.tasks[slot as usize];
        let (start, end) = (offset as usize, (offset + bytes) as usize);
        let own = matches!(task.transfer, Transfer::Write { own: true, .. });
        let zeros = [0; 3];
        let pad = &zeros[..padding(bytes) as usize];
        let mut crc = Crc32c::default();
        if self.parameters.data_digest {
            let source = if own {
                &task.buffer[start..end]
            } else {
                &outbox.content()[start..end]
            };
            crc.update(source);
            crc.update(pad);
        }
        if own {
            outbox.push(&task.buffer[start..end]);
        } else {
            outbox.push_content(start, end);
        }
        outbox.push(pad);
        if self.parameters.data_digest {
            outbox.push(&crc.value().to_le_bytes());
        }
    }

    /// Asks for the end of the session (RFC 7143 section 11.14).
    pub(crate) fn log_out(&mut self, outbox: &mut Outbox) {
        let request = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CloseSession,
            // No command has a tag of which all slot bits are set.
            initiator_task_tag: (1 << SLOT_BITS) - 1,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.push_header(request.emit(), outbox);
    }
}

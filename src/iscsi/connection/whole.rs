//! READs and WRITEs that have come whole and are answered before anything else happens.
//!
//! Such a command never becomes a task: nobody could abort it, ask for it or send data for it between
//! its header and its status. What makes it one is looked up in the received bytes without a change
//! ([`Connection::whole_command`]), so that its owner can still leave it to
//! [`Connection::next_event`], which knows every other case as well.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::super::pdu::{
    Bhs, DIGEST_BYTES, DataIn, NO_TAG, Opcode, ScsiCommand, ScsiResponse, SessionType,
    TaskAttribute, padding,
};
use super::super::window::Arrival;
use super::data_in::{self, Residual};
use super::session::Session;
use super::timers::Liveness;
use super::{Awaiting, Connection, Phase};
use crate::base::clock::Instant;
use crate::base::crc32c::crc32c;

/// A command that has come whole. It moves data one way.
#[derive(Debug, Clone, Copy)]
pub struct WholeCommand<'a> {
    /// Logical unit, as on the wire (SAM).
    pub lun: [u8; 8],
    /// The command descriptor block.
    pub cdb: &'a [u8; 16],
    /// Bytes the initiator has room for: no more than one Data-In PDU takes, and zero of a write.
    pub read_length: u32,
    /// All data of a write; none of a read.
    pub data_out: &'a [u8],
    /// Bytes of its PDU.
    pub pdu_bytes: usize,
    tag: u32,
}

/// The data that a READ sends.
#[derive(Debug, Clone, Copy)]
pub enum ReadData<'a> {
    /// To be copied.
    Copied(&'a [u8]),
    /// [Lent](crate::base::gather::Gather::lend), where [`Connection::takes_loans`].
    Lent {
        /// Where they are, as their lender counts.
        offset: u64,
        /// How many.
        bytes: u32,
    },
}

impl Connection {
    /// Whether the data of reads may be lent to it: nobody has to look at them before they leave.
    #[must_use]
    pub const fn takes_loans(&self) -> bool {
        self.link.output.takes_loans()
    }

    /// The command at the front of `input`, if it is all there and nothing is unusual about it: SIMPLE
    /// or untagged, next by CmdSN, under a free tag, its data in its own PDU, its digests right, and
    /// nothing before it that is still to be dealt with. Changes nothing. Whatever is wrong with a
    /// command is found where all others go.
    #[must_use]
    #[inline(always)]
    pub fn whole_command<'a>(&self, input: &'a [u8]) -> Option<WholeCommand<'a>> {
        let Phase::FullFeature(session) = &self.phase else {
            return None;
        };
        let link = &self.link;
        let in_order = self.segment.is_none()
            && self.header.is_empty()
            && self.needs_input()
            && link.awaiting == Awaiting::Nothing
            && link.close.is_none()
            && self.queued_bytes() < link.settings.send_queue_bytes;
        if !in_order {
            return None;
        }
        session.whole_command(input)
    }

    /// Ends a [`WholeCommand`] of this moment with GOOD, after `asked` bytes. A READ sends `data`, no
    /// more than [`WholeCommand::read_length`]; a WRITE has none. The owner takes the PDU off its input.
    #[inline(always)]
    pub fn end_whole(
        &mut self,
        command: &WholeCommand<'_>,
        data: Option<ReadData<'_>>,
        asked: u64,
        now: Instant,
    ) {
        let Phase::FullFeature(session) = &mut self.phase else {
            return;
        };
        let output = &mut self.link.output;
        self.link.now = now;
        self.link.pdus_received = self.link.pdus_received.wrapping_add(1);
        self.liveness = Liveness {
            heard: now,
            pinged: None,
        };
        if !command.data_out.is_empty() {
            self.pdu_bytes = command.pdu_bytes;
        }
        session.window.deliver();
        let (exp_cmd_sn, max_cmd_sn) = session.numbers();
        let written = u32::try_from(command.data_out.len()).unwrap_or(u32::MAX);
        let residual = Residual::of(asked, command.read_length.max(written));
        let stat_sn = output.take_stat_sn();
        let Some(data) = data else {
            let pdu = ScsiResponse {
                read_overflow: false,
                read_underflow: false,
                overflow: residual.is_overflow(),
                underflow: residual.is_underflow(),
                response: 0,
                status: 0,
                initiator_task_tag: command.tag,
                snack_tag: 0,
                stat_sn,
                exp_cmd_sn,
                max_cmd_sn,
                exp_data_sn: 0,
                read_residual: 0,
                residual: residual.count(),
            };
            return output.push(pdu.emit(), &[]);
        };
        let pdu = DataIn {
            final_pdu: true,
            has_status: true,
            overflow: residual.is_overflow(),
            underflow: residual.is_underflow(),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            residual: residual.count(),
            ..data_in::blank(command.tag, 0)
        };
        match data {
            ReadData::Copied(bytes) => output.push(pdu.emit(), bytes),
            ReadData::Lent { offset, bytes } => output.push_lent(pdu.emit(), offset, bytes),
        }
    }
}

impl Session {
    /// As [`Connection::whole_command`], of a connection that stands between two PDUs.
    #[inline(always)]
    fn whole_command<'a>(&self, input: &'a [u8]) -> Option<WholeCommand<'a>> {
        let (bhs, behind) = Bhs::at_front(input)?;
        let is_plain = bhs.opcode() == Opcode::ScsiCommand
            && bhs.ahs_bytes() == 0
            && self.session_type == SessionType::Normal;
        if !is_plain {
            return None;
        }
        let pdu = ScsiCommand::parse(bhs);
        let is_next = !pdu.immediate
            && pdu.final_pdu
            && matches!(
                pdu.attribute,
                TaskAttribute::Simple | TaskAttribute::Untagged
            )
            && self.window.arrival(pdu.cmd_sn) == Arrival::Next;
        let tag = pdu.initiator_task_tag;
        if !is_next || tag == NO_TAG || !self.tasks.could_insert(tag) {
            return None;
        }
        let parameters = &self.parameters;
        let behind = match parameters.header_digest {
            true => checked(bhs.as_bytes(), behind)?,
            false => behind,
        };
        let segment = bhs.data_segment_bytes();
        let expected = pdu.expected_data_transfer_length;
        let fits = match (pdu.read, pdu.write) {
            (true, false) => segment == 0 && expected <= data_in::in_one_pdu(parameters, 0),
            (false, true) => {
                let most = parameters
                    .first_burst_bytes
                    .min(parameters.target_data_segment_bytes);
                parameters.immediate_data && segment == expected && segment <= most
            }
            _ => false,
        };
        if !fits || expected == 0 {
            return None;
        }
        let mut rest = behind;
        let mut data_out: &[u8] = &[];
        if segment > 0 {
            let padded = segment.checked_add(padding(segment))?;
            let (padded, after) = behind.split_at_checked(padded as usize)?;
            data_out = padded.get(..segment as usize)?;
            rest = match parameters.data_digest {
                true => checked(padded, after)?,
                false => after,
            };
        }
        Some(WholeCommand {
            lun: pdu.lun,
            cdb: ScsiCommand::cdb_of(bhs),
            read_length: if pdu.read { expected } else { 0 },
            data_out,
            pdu_bytes: input.len().saturating_sub(rest.len()),
            tag,
        })
    }
}

/// What follows the digest of `bytes` in `input`, if that is right.
fn checked<'a>(bytes: &[u8], input: &'a [u8]) -> Option<&'a [u8]> {
    let (digest, rest) = input.split_first_chunk::<DIGEST_BYTES>()?;
    (crc32c(bytes) == u32::from_le_bytes(*digest)).then_some(rest)
}

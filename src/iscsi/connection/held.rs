//! PDUs that arrived ahead of a gap in CmdSN and wait for their turn.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::super::pdu::{BHS_BYTES, Bhs, Opcode};
use super::super::window::precedes;
use super::receiver::DigestMismatch;
use crate::base::limits::HELD_COMMAND_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What one PDU costs beside its bytes.
const OVERHEAD_BYTES: usize = 128;

/// A PDU that waits. Unsolicited Data-Out waits behind its command, under the command's number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HeldPdu {
    /// CmdSN of the command.
    pub(super) cmd_sn: u32,
    /// Basic and additional header segments.
    #[serde(with = "serde_bytes")]
    pub(super) header: Vec<u8>,
    /// The data segment, without padding.
    #[serde(with = "serde_bytes")]
    pub(super) data: Vec<u8>,
    /// Whether its data digest held.
    pub(super) digest: Result<(), DigestMismatch>,
}

impl HeldPdu {
    fn bhs(&self) -> Option<Bhs> {
        self.header
            .first_chunk::<BHS_BYTES>()
            .map(|bytes| Bhs::from_bytes(*bytes))
    }

    fn is_command(&self) -> bool {
        self.bhs()
            .is_some_and(|bhs| bhs.opcode() != Opcode::DataOut)
    }

    fn cost(&self) -> usize {
        cost(self.header.len(), self.data.len())
    }
}

fn cost(header: usize, data: usize) -> usize {
    header.saturating_add(data).saturating_add(OVERHEAD_BYTES)
}

/// The PDUs that wait, in the order of their turn, within [`HELD_COMMAND_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Held {
    pdus: VecDeque<HeldPdu>,
    bytes: usize,
}

impl Held {
    /// Whether there is none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.pdus.is_empty()
    }

    /// Whether a PDU of that size finds room.
    pub(super) fn has_room(&self, header: usize, data: usize) -> bool {
        self.bytes.saturating_add(cost(header, data)) <= HELD_COMMAND_BYTES_MAX
    }

    /// Keeps a PDU.
    pub(super) fn insert(&mut self, pdu: HeldPdu) {
        self.bytes = self.bytes.saturating_add(pdu.cost());
        let position = self
            .pdus
            .partition_point(|held| !precedes(pdu.cmd_sn, held.cmd_sn));
        self.pdus.insert(position, pdu);
    }

    /// The PDUs, in the order of their turn.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldPdu> {
        self.pdus.iter()
    }

    /// Whether the command of that number is here.
    pub(super) fn has_command(&self, cmd_sn: u32) -> bool {
        self.pdus
            .iter()
            .any(|pdu| pdu.cmd_sn == cmd_sn && pdu.is_command())
    }

    /// The number of the SCSI command with that Initiator Task Tag.
    pub(super) fn command_of(&self, tag: u32) -> Option<u32> {
        self.pdus
            .iter()
            .find(|pdu| {
                pdu.bhs().is_some_and(|bhs| {
                    bhs.opcode() == Opcode::ScsiCommand && bhs.initiator_task_tag() == tag
                })
            })
            .map(|pdu| pdu.cmd_sn)
    }

    /// The first PDU whose turn has come, `expected` being ExpCmdSN.
    pub(super) fn next_ready(&mut self, expected: u32) -> Option<HeldPdu> {
        let ready = self
            .pdus
            .front()
            .is_some_and(|pdu| !precedes(expected, pdu.cmd_sn));
        let pdu = if ready { self.pdus.pop_front() } else { None }?;
        self.bytes = self.bytes.saturating_sub(pdu.cost());
        Some(pdu)
    }

    /// Forgets a command and its data.
    pub(super) fn remove(&mut self, cmd_sn: u32) {
        let bytes = &mut self.bytes;
        self.pdus.retain(|pdu| {
            let stays = pdu.cmd_sn != cmd_sn;
            if !stays {
                *bytes = bytes.saturating_sub(pdu.cost());
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu(opcode: Opcode, cmd_sn: u32, data: usize) -> HeldPdu {
        let header = Bhs::new(opcode, 0).as_bytes().to_vec();
        HeldPdu {
            cmd_sn,
            header,
            data: vec![0; data],
            digest: Ok(()),
        }
    }

    #[test]
    fn turns_come_in_order_and_data_behind_its_command() {
        let mut held = Held::default();
        held.insert(pdu(Opcode::ScsiCommand, 1, 0));
        held.insert(pdu(Opcode::ScsiCommand, u32::MAX, 0));
        held.insert(pdu(Opcode::DataOut, u32::MAX, 4));
        assert!(held.next_ready(u32::MAX - 1).is_none());
        assert!(held.has_command(u32::MAX) && !held.has_command(0));
        assert_eq!(held.next_ready(u32::MAX).map(|pdu| pdu.data.len()), Some(0));
        assert_eq!(held.next_ready(0).map(|pdu| pdu.data.len()), Some(4));
        assert!(held.next_ready(0).is_none());
        assert_eq!(held.next_ready(1).map(|pdu| pdu.cmd_sn), Some(1));
        assert_eq!(held.bytes, 0);
    }

    #[test]
    fn what_is_held_has_a_bound() {
        let mut held = Held::default();
        let mut cmd_sn = 1;
        while held.has_room(BHS_BYTES, 1000) {
            held.insert(pdu(Opcode::ScsiCommand, cmd_sn, 1000));
            cmd_sn += 1;
        }
        assert!(held.bytes <= HELD_COMMAND_BYTES_MAX);
        held.remove(1);
        assert!(held.has_room(BHS_BYTES, 1000));
    }
}

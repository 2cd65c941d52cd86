//! SCSI Command and SCSI Response (RFC 7143 sections 11.3 and 11.4; RFC 7144 section 4.1).

use super::Bhs;
use super::codes::{Opcode, TaskAttribute};
use super::layout::{At, Bits, CodeAt};

wire_format! {
    /// A SCSI command. The data segment is immediate data.
    pub struct ScsiCommand(Opcode::ScsiCommand, 0) {
        /// I bit.
        immediate: bool => Bits<0, 0x40>,
        /// F bit: no unsolicited Data-Out follows.
        final_pdu: bool => Bits<1, 0x80>,
        /// R bit.
        read: bool => Bits<1, 0x40>,
        /// W bit.
        write: bool => Bits<1, 0x20>,
        /// ATTR.
        attribute: TaskAttribute => CodeAt<1, 0x07>,
        /// Command priority (RFC 7144 section 4.1).
        priority: u8 => Bits<3, 0x0f>,
        /// Logical unit.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => At<16>,
        /// Bytes the initiator sends, or takes if W is not set.
        expected_data_transfer_length: u32 => At<20>,
        /// CmdSN.
        cmd_sn: u32 => At<24>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
        /// The first 16 bytes of the CDB.
        cdb: [u8; 16] => At<32>,
    }
}

impl ScsiCommand {
    /// The first 16 bytes of the CDB, if a SCSI command's header stands at the front of `input` whole.
    /// Nothing of it is checked.
    pub(crate) fn peek(input: &[u8]) -> Option<&[u8; 16]> {
        let (bhs, _) = Bhs::at_front(input)?;
        (bhs.opcode() == Opcode::ScsiCommand).then(|| Self::cdb_of(bhs))
    }

    /// Where the first 16 bytes of the CDB lie.
    pub(crate) fn cdb_of(bhs: &Bhs) -> &[u8; 16] {
        bhs.part::<32, 16>()
    }
}

wire_format! {
    /// How a command ended. The data segment is the 2-byte SenseLength and the sense data.
    pub struct ScsiResponse(Opcode::ScsiResponse, 0x80) {
        /// o bit: the command wanted to read more than the bidirectional read length.
        read_overflow: bool => Bits<1, 0x10>,
        /// u bit.
        read_underflow: bool => Bits<1, 0x08>,
        /// O bit: the command wanted to move more than the expected length.
        overflow: bool => Bits<1, 0x04>,
        /// U bit.
        underflow: bool => Bits<1, 0x02>,
        /// 00h command completed at target, 01h target failure.
        response: u8 => At<2>,
        /// SCSI status.
        status: u8 => At<3>,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => At<16>,
        /// SNACK Tag.
        snack_tag: u32 => At<20>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// Data-In and R2T PDUs that were sent for the command.
        exp_data_sn: u32 => At<36>,
        /// Bidirectional read residual count, in bytes.
        read_residual: u32 => At<40>,
        /// Residual count, in bytes.
        residual: u32 => At<44>,
    }
}

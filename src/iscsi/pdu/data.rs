//! SCSI Data-Out and Data-In (RFC 7143 section 11.7).

use super::codes::Opcode;
use super::layout::{At, Bits};

wire_format! {
    /// Data of a write.
    pub struct DataOut(Opcode::DataOut, 0) {
        /// F bit: the last PDU of its sequence.
        final_pdu: bool => Bits<1, 0x80>,
        /// LUN, copied from the R2T.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag of the command.
        initiator_task_tag: u32 => At<16>,
        /// The tag of the R2T; `NO_TAG` in unsolicited data.
        target_transfer_tag: u32 => At<20>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
        /// Number of the PDU in its sequence.
        data_sn: u32 => At<36>,
        /// Where the data segment belongs in the command's data, in bytes.
        buffer_offset: u32 => At<40>,
    }
}

wire_format! {
    /// Data of a read.
    pub struct DataIn(Opcode::DataIn, 0) {
        /// F bit: the last PDU of its sequence.
        final_pdu: bool => Bits<1, 0x80>,
        /// A bit: acknowledge this. Never set at error recovery level 0.
        acknowledge: bool => Bits<1, 0x40>,
        /// O bit, with status.
        overflow: bool => Bits<1, 0x04>,
        /// U bit, with status.
        underflow: bool => Bits<1, 0x02>,
        /// S bit: status, StatSN and residual count are valid.
        has_status: bool => Bits<1, 0x01>,
        /// SCSI status.
        status: u8 => At<3>,
        /// LUN, if the A bit is set.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag of the command.
        initiator_task_tag: u32 => At<16>,
        /// `NO_TAG` unless the A bit is set.
        target_transfer_tag: u32 => At<20>,
        /// StatSN, with status.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// Number of the PDU in its command.
        data_sn: u32 => At<36>,
        /// Where the data segment belongs in the command's data, in bytes.
        buffer_offset: u32 => At<40>,
        /// Residual count, with status.
        residual: u32 => At<44>,
    }
}

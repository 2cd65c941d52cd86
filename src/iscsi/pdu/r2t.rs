//! Ready To Transfer (RFC 7143 section 11.8).

use super::codes::Opcode;
use super::layout::At;

wire_format! {
    /// The target asks for a part of a write's data.
    pub struct R2t(Opcode::R2t, 0x80) {
        /// Logical unit.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag of the command.
        initiator_task_tag: u32 => At<16>,
        /// Names the sequence that answers.
        target_transfer_tag: u32 => At<20>,
        /// The next StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// Number of the R2T in its command.
        r2t_sn: u32 => At<36>,
        /// Where the part starts, in bytes.
        buffer_offset: u32 => At<40>,
        /// Bytes asked for; never zero.
        desired_data_transfer_length: u32 => At<44>,
    }
}

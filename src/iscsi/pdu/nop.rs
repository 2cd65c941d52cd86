//! NOP-Out and NOP-In (RFC 7143 sections 11.18 and 11.19): pings both ways.

use super::codes::Opcode;
use super::layout::{At, Bits};

wire_format! {
    /// The initiator's ping, or its answer to the target's. The data segment is ping data.
    pub struct NopOut(Opcode::NopOut, 0x80) {
        /// I bit.
        immediate: bool => Bits<0, 0x40>,
        /// LUN, copied from the NOP-In that is answered.
        lun: [u8; 8] => At<8>,
        /// `NO_TAG` asks for no answer.
        initiator_task_tag: u32 => At<16>,
        /// The tag of the NOP-In that is answered, else `NO_TAG`.
        target_transfer_tag: u32 => At<20>,
        /// CmdSN.
        cmd_sn: u32 => At<24>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
    }
}

wire_format! {
    /// The target's ping, or its answer to the initiator's, with the same ping data.
    pub struct NopIn(Opcode::NopIn, 0x80) {
        /// LUN, if a target transfer tag is given.
        lun: [u8; 8] => At<8>,
        /// The tag of the NOP-Out that is answered, else `NO_TAG`.
        initiator_task_tag: u32 => At<16>,
        /// `NO_TAG` asks for no answer.
        target_transfer_tag: u32 => At<20>,
        /// StatSN; of a ping, the next one.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
    }
}

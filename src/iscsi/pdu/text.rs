//! Text Request and Response (RFC 7143 sections 11.10 and 11.11).

use super::codes::Opcode;
use super::layout::{At, Bits};

wire_format! {
    /// `key=value` text in full feature phase.
    pub struct TextRequest(Opcode::TextRequest, 0) {
        /// I bit.
        immediate: bool => Bits<0, 0x40>,
        /// F bit: nothing more to negotiate.
        final_pdu: bool => Bits<1, 0x80>,
        /// C bit: the text goes on in the next request.
        continued: bool => Bits<1, 0x40>,
        /// LUN, copied from the response that is followed up.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag; the same throughout one negotiation.
        initiator_task_tag: u32 => At<16>,
        /// The tag of the response that is followed up, else `NO_TAG`.
        target_transfer_tag: u32 => At<20>,
        /// CmdSN.
        cmd_sn: u32 => At<24>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
    }
}

wire_format! {
    /// The target's answer.
    pub struct TextResponse(Opcode::TextResponse, 0) {
        /// F bit: the negotiation is over.
        final_pdu: bool => Bits<1, 0x80>,
        /// C bit: the text goes on in the next response.
        continued: bool => Bits<1, 0x40>,
        /// LUN, if a target transfer tag is given.
        lun: [u8; 8] => At<8>,
        /// As in the request.
        initiator_task_tag: u32 => At<16>,
        /// To follow up with; `NO_TAG` when it is over.
        target_transfer_tag: u32 => At<20>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
    }
}

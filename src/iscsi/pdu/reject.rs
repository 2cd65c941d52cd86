//! Reject (RFC 7143 section 11.17).

use super::codes::{Opcode, RejectReason};
use super::layout::{At, CodeAt};

wire_format! {
    /// A PDU that the target refuses. The data segment is the header of the PDU in error.
    pub struct Reject(Opcode::Reject, 0x80) {
        /// Why.
        reason: RejectReason => CodeAt<2, 0xff>,
        /// Always `NO_TAG`.
        initiator_task_tag: u32 => At<16>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// DataSN or R2TSN, for a rejected SNACK.
        data_sn: u32 => At<36>,
    }
}

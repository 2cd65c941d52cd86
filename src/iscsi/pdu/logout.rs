//! Logout Request and Response (RFC 7143 sections 11.14 and 11.15).

use super::codes::{LogoutReason, LogoutResult, Opcode};
use super::layout::{At, Bits, CodeAt};

wire_format! {
    /// Ends a session or a connection.
    pub struct LogoutRequest(Opcode::LogoutRequest, 0x80) {
        /// I bit.
        immediate: bool => Bits<0, 0x40>,
        /// Why.
        reason: LogoutReason => CodeAt<1, 0x7f>,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => At<16>,
        /// Which connection, unless the session is closed.
        cid: u16 => At<20>,
        /// CmdSN.
        cmd_sn: u32 => At<24>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
    }
}

wire_format! {
    /// Whether it ended.
    pub struct LogoutResponse(Opcode::LogoutResponse, 0x80) {
        /// Response code.
        response: LogoutResult => CodeAt<2, 0xff>,
        /// Initiator Task Tag of the request.
        initiator_task_tag: u32 => At<16>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// Seconds to wait before a reassignment.
        time2wait: u16 => At<40>,
        /// Seconds for which tasks are kept.
        time2retain: u16 => At<42>,
    }
}

//! Login Request and Response (RFC 7143 sections 11.12 and 11.13).

use super::codes::{LoginStatus, Opcode};
use super::layout::{At, Bits};

wire_format! {
    /// A step of a login. The data segment is `key=value` text.
    pub struct LoginRequest(Opcode::LoginRequest, 0) {
        /// I bit; always set.
        immediate: bool => Bits<0, 0x40>,
        /// T bit: ready for the next stage.
        transit: bool => Bits<1, 0x80>,
        /// C bit: the text goes on in the next request.
        continued: bool => Bits<1, 0x40>,
        /// CSG: 0 security, 1 operational, 3 full feature.
        current_stage: u8 => Bits<1, 0x0c>,
        /// NSG, valid with the T bit.
        next_stage: u8 => Bits<1, 0x03>,
        /// Version-max.
        version_max: u8 => At<2>,
        /// Version-min.
        version_min: u8 => At<3>,
        /// Initiator's part of the session identifier.
        isid: [u8; 6] => At<8>,
        /// Target's part; zero for a new session.
        tsih: u16 => At<14>,
        /// Initiator Task Tag; the same throughout one login.
        initiator_task_tag: u32 => At<16>,
        /// Connection identifier.
        cid: u16 => At<20>,
        /// The first CmdSN of the session.
        cmd_sn: u32 => At<24>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
    }
}

wire_format! {
    /// The target's part of a step.
    pub struct LoginResponse(Opcode::LoginResponse, 0) {
        /// T bit: the next stage begins.
        transit: bool => Bits<1, 0x80>,
        /// C bit: the text goes on in the next response.
        continued: bool => Bits<1, 0x40>,
        /// CSG.
        current_stage: u8 => Bits<1, 0x0c>,
        /// NSG.
        next_stage: u8 => Bits<1, 0x03>,
        /// Version-max.
        version_max: u8 => At<2>,
        /// Version-active.
        version_active: u8 => At<3>,
        /// As in the request.
        isid: [u8; 6] => At<8>,
        /// Given out in the last response.
        tsih: u16 => At<14>,
        /// As in the request.
        initiator_task_tag: u32 => At<16>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// Status-Class and Status-Detail.
        status: LoginStatus => At<36>,
    }
}

//! Task Management Function Request and Response (RFC 7143 sections 11.5 and 11.6).

use super::codes::{Opcode, TaskFunction, TaskManagementResponse};
use super::layout::{At, Bits, CodeAt};

wire_format! {
    /// Asks for a task management function.
    pub struct TaskManagementRequest(Opcode::TaskManagementRequest, 0x80) {
        /// I bit.
        immediate: bool => Bits<0, 0x40>,
        /// What is asked for.
        function: TaskFunction => CodeAt<1, 0x7f>,
        /// Logical unit.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag of this request.
        initiator_task_tag: u32 => At<16>,
        /// Initiator Task Tag of the task that is meant, else `NO_TAG`.
        referenced_task_tag: u32 => At<20>,
        /// CmdSN.
        cmd_sn: u32 => At<24>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
        /// CmdSN of the task that is meant.
        ref_cmd_sn: u32 => At<32>,
        /// For TASK REASSIGN.
        exp_data_sn: u32 => At<36>,
    }
}

wire_format! {
    /// How the function ended.
    pub struct TaskManagementReply(Opcode::TaskManagementResponse, 0x80) {
        /// Response code.
        response: TaskManagementResponse => CodeAt<2, 0xff>,
        /// Initiator Task Tag of the request.
        initiator_task_tag: u32 => At<16>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
    }
}

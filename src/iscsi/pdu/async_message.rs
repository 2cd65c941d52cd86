//! Asynchronous Message (RFC 7143 section 11.9).

use super::codes::{AsyncCode, Opcode};
use super::layout::{At, CodeAt};

wire_format! {
    /// Something the initiator did not ask for. The data segment of a SCSI event is the 2-byte
    /// SenseLength and the sense data.
    pub struct AsyncMessage(Opcode::AsyncMessage, 0x80) {
        /// Logical unit, of a SCSI event or of terminated tasks.
        lun: [u8; 8] => At<8>,
        /// Always `NO_TAG`.
        initiator_task_tag: u32 => At<16>,
        /// StatSN.
        stat_sn: u32 => At<24>,
        /// ExpCmdSN.
        exp_cmd_sn: u32 => At<28>,
        /// MaxCmdSN.
        max_cmd_sn: u32 => At<32>,
        /// AsyncEvent.
        event: AsyncCode => CodeAt<36, 0xff>,
        /// AsyncVCode, of a vendor's event.
        vendor_code: u8 => At<37>,
        /// Parameter1.
        parameter1: u16 => At<38>,
        /// Parameter2.
        parameter2: u16 => At<40>,
        /// Parameter3.
        parameter3: u16 => At<42>,
    }
}

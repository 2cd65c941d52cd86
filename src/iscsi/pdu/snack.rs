//! SNACK Request (RFC 7143 section 11.16): error recovery level 1, rejected at level 0.

use super::codes::Opcode;
use super::layout::{At, Bits};

wire_format! {
    /// Asks for PDUs to be sent again, or acknowledges data.
    pub struct Snack(Opcode::Snack, 0x80) {
        /// 0 Data or R2T, 1 status, 2 DataACK, 3 R-Data.
        kind: u8 => Bits<1, 0x0f>,
        /// Logical unit.
        lun: [u8; 8] => At<8>,
        /// Initiator Task Tag of the command.
        initiator_task_tag: u32 => At<16>,
        /// Target Transfer Tag or SNACK Tag.
        target_transfer_tag: u32 => At<20>,
        /// ExpStatSN.
        exp_stat_sn: u32 => At<28>,
        /// BegRun.
        first: u32 => At<40>,
        /// RunLength.
        count: u32 => At<44>,
    }
}

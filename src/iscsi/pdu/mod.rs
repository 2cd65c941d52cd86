//! Wire formats of RFC 7143 section 11: one file each, parse and emit in both directions.
//!
//! Every header is one [`Bhs`] of 48 bytes. A PDU is a table of fields and their places; parsing
//! cannot fail and cannot read outside the header. Additional header segments and data segments
//! stay with the caller.

#[macro_use]
mod open_enum;
#[macro_use]
mod layout;

mod ahs;
mod async_message;
mod bhs;
mod codes;
mod data;
mod login;
mod logout;
mod nop;
mod r2t;
mod reject;
mod scsi_command;
mod snack;
mod task_management;
mod text;

pub use ahs::{AdditionalHeaders, MalformedAhs};
pub use async_message::AsyncMessage;
pub use bhs::{AHS_BYTES_MAX, BHS_BYTES, Bhs, DIGEST_BYTES, NO_TAG, padding};
pub use codes::{
    AsyncCode, LoginStatus, LogoutReason, LogoutResult, Opcode, RejectReason, SessionType,
    TaskAttribute, TaskFunction, TaskManagementResponse,
};
pub use data::{DataIn, DataOut};
pub use login::{LoginRequest, LoginResponse};
pub use logout::{LogoutRequest, LogoutResponse};
pub use nop::{NopIn, NopOut};
pub use r2t::R2t;
pub use reject::Reject;
pub use scsi_command::{ScsiCommand, ScsiResponse};
pub use snack::Snack;
pub use task_management::{TaskManagementReply, TaskManagementRequest};
pub use text::{TextRequest, TextResponse};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Emitting what was parsed and parsing it again gives the same fields, for every PDU.
    macro_rules! round_trips {
        ($bytes:expr, $($pdu:ident),+ $(,)?) => {
            $({
                let parsed = $pdu::parse(&Bhs::from_bytes($bytes));
                prop_assert_eq!($pdu::parse(&parsed.emit()), parsed);
            })+
        };
    }

    proptest! {
        #[test]
        fn every_pdu_survives_a_round_trip(bytes in prop::collection::vec(any::<u8>(), BHS_BYTES)) {
            let bytes: [u8; BHS_BYTES] = bytes.try_into().unwrap();
            round_trips!(
                bytes, NopOut, NopIn, ScsiCommand, ScsiResponse, TaskManagementRequest,
                TaskManagementReply, LoginRequest, LoginResponse, TextRequest, TextResponse,
                DataOut, DataIn, R2t, LogoutRequest, LogoutResponse, AsyncMessage, Reject, Snack,
            );
        }
    }

    #[test]
    fn a_data_in_pdu_has_the_standards_layout() {
        let pdu = DataIn {
            final_pdu: true,
            acknowledge: false,
            overflow: false,
            underflow: true,
            has_status: true,
            status: 2,
            lun: [0; 8],
            initiator_task_tag: 0x0a0b_0c0d,
            target_transfer_tag: NO_TAG,
            stat_sn: 1,
            exp_cmd_sn: 2,
            max_cmd_sn: 3,
            data_sn: 4,
            buffer_offset: 5,
            residual: 6,
        };
        let mut expected = [0; BHS_BYTES];
        expected[..4].copy_from_slice(&[0x25, 0x83, 0, 2]);
        expected[16..20].copy_from_slice(&[0x0a, 0x0b, 0x0c, 0x0d]);
        expected[20..24].fill(0xff);
        for (at, value) in (24..48).step_by(4).zip(1u8..) {
            expected[at + 3] = value;
        }
        assert_eq!(pdu.emit().as_bytes(), &expected);
    }

    #[test]
    fn login_flags_and_status_have_the_standards_layout() {
        let mut bytes = [0; BHS_BYTES];
        bytes[0] = 0x43;
        bytes[1] = 0x87;
        let request = LoginRequest::parse(&Bhs::from_bytes(bytes));
        assert!(request.transit && !request.continued && request.immediate);
        assert_eq!((request.current_stage, request.next_stage), (1, 3));
        assert_eq!(LoginStatus::SessionDoesNotExist.class(), 2);
        assert_eq!(LoginStatus::SessionDoesNotExist.detail(), 0x0a);
    }
}

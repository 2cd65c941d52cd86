//! A PERSISTENT RESERVE OUT command, parsed, and what refuses it.

use super::kinds::{Key, ReservationType, ScopeAndType};
use super::transport_id::TransportId;

/// A parsed PERSISTENT RESERVE OUT (SPC-4 section 6.16).
///
/// A fault in a TransportID is judged only after the conflict rules and the key, so its refusal
/// travels inside the command instead of preventing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// 00h REGISTER.
    Register {
        /// The sender's key, zero when it has none.
        key: Key,
        /// The key to register; zero unregisters.
        new_key: Key,
        /// APTPL: whether state shall persist through power loss.
        aptpl: bool,
        /// ALL_TG_PT: whether the registration covers every target port.
        all_target_ports: bool,
        /// SPEC_I_PT: further initiator ports to register.
        others: Option<Result<Vec<TransportId>, Refusal>>,
    },
    /// 06h REGISTER AND IGNORE EXISTING KEY.
    RegisterAndIgnore {
        /// The key to register; zero unregisters.
        new_key: Key,
        /// APTPL: whether state shall persist through power loss.
        aptpl: bool,
        /// ALL_TG_PT: whether the registration covers every target port.
        all_target_ports: bool,
    },
    /// 01h RESERVE.
    Reserve {
        /// The sender's key.
        key: Key,
        /// The type to establish.
        kind: ReservationType,
    },
    /// 02h RELEASE.
    Release {
        /// The sender's key.
        key: Key,
        /// What the sender thinks it holds.
        scope_and_type: ScopeAndType,
    },
    /// 03h CLEAR.
    Clear {
        /// The sender's key.
        key: Key,
    },
    /// 04h PREEMPT.
    Preempt {
        /// The sender's key.
        key: Key,
        /// The key whose registrations go; zero means all others under an all-registrants type.
        victim: Key,
        /// What to establish, if the reservation is taken.
        scope_and_type: ScopeAndType,
    },
    /// 05h PREEMPT AND ABORT.
    PreemptAndAbort {
        /// The sender's key.
        key: Key,
        /// As in [`Command::Preempt`].
        victim: Key,
        /// As in [`Command::Preempt`].
        scope_and_type: ScopeAndType,
    },
    /// 07h REGISTER AND MOVE.
    RegisterAndMove {
        /// The sender's key.
        key: Key,
        /// The key to register for the destination.
        new_key: Key,
        /// UNREG: whether the sender is unregistered.
        unregister: bool,
        /// APTPL: whether state shall persist through power loss.
        aptpl: bool,
        /// The relative target port identifier of the destination.
        target_port: u16,
        /// The initiator port of the destination.
        destination: Result<TransportId, Refusal>,
    },
}

/// Why a command changes nothing, as the initiator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Status RESERVATION CONFLICT.
    #[error("reservation conflict")]
    Conflict,
    /// CHECK CONDITION, ILLEGAL REQUEST with that additional sense code.
    #[error("illegal request, additional sense {asc:#04x}/{ascq:#04x}")]
    IllegalRequest {
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
        /// The field at fault, for the sense-key specific bytes.
        field: Option<FieldPointer>,
    },
    /// CHECK CONDITION, ILLEGAL REQUEST, INSUFFICIENT REGISTRATION RESOURCES (55h/04h).
    #[error("no room for another registration")]
    InsufficientResources,
}

impl Refusal {
    /// INVALID FIELD IN CDB.
    #[must_use]
    pub const fn cdb_field(byte: u16) -> Self {
        Self::IllegalRequest {
            asc: 0x24,
            ascq: 0x00,
            field: Some(FieldPointer::Cdb(byte)),
        }
    }

    /// INVALID FIELD IN PARAMETER LIST.
    #[must_use]
    pub const fn parameter_field(byte: u16) -> Self {
        Self::IllegalRequest {
            asc: 0x26,
            ascq: 0x00,
            field: Some(FieldPointer::Parameters(byte)),
        }
    }

    /// PARAMETER LIST LENGTH ERROR.
    pub const LENGTH: Self = Self::IllegalRequest {
        asc: 0x1a,
        ascq: 0x00,
        field: None,
    };
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    pub const WRONG_RELEASE: Self = Self::IllegalRequest {
        asc: 0x26,
        ascq: 0x04,
        field: None,
    };

    /// The additional sense code and qualifier of the ILLEGAL REQUEST, or `None` for a conflict,
    /// which is a status without sense data.
    #[must_use]
    pub const fn additional_sense(self) -> Option<(u8, u8)> {
        match self {
            Self::Conflict => None,
            Self::IllegalRequest { asc, ascq, .. } => Some((asc, ascq)),
            Self::InsufficientResources => Some((0x55, 0x04)),
        }
    }
}

/// The byte at which a field at fault begins (SPC-4 section 4.5.2.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldPointer {
    /// In the CDB.
    Cdb(u16),
    /// In the parameter list.
    Parameters(u16),
}

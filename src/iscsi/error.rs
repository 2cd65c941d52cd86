//! What a peer can do wrong, one variant each, and why connections end.

use super::pdu::LoginStatus;
use serde::{Deserialize, Serialize};

/// A violation that ends the connection or its login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The header's CRC32C does not match (RFC 7143 section 7.8).
    #[error("header digest is {got:08x}, computed {expected:08x}")]
    HeaderDigest {
        /// Computed over the header.
        expected: u32,
        /// As received.
        got: u32,
    },
    /// A data segment longer than the target declared to take.
    #[error("data segment of {got} bytes, at most {limit} are taken")]
    DataSegmentTooLong {
        /// Declared MaxRecvDataSegmentLength, in bytes.
        limit: u32,
        /// DataSegmentLength, in bytes.
        got: u32,
    },
    /// An opcode that has no place before login is over.
    #[error("opcode {opcode:#04x} during login")]
    NotALogin {
        /// As received.
        opcode: u8,
    },
    /// A Login request after login.
    #[error("a Login request in full feature phase")]
    LoginAfterLogin,
    /// Version-min is above what the target speaks.
    #[error("protocol version {minimum} or later, 0 is spoken")]
    Version {
        /// Version-min.
        minimum: u8,
    },
    /// Stage or transit bits that make no sense (RFC 7143 section 11.12).
    #[error("login flags {flags:#04x} are invalid")]
    LoginFlags {
        /// Byte 1 of the request.
        flags: u8,
    },
    /// A stage other than the one agreed.
    #[error("login stage {got}, the stage is {expected}")]
    LoginStage {
        /// The stage the login is in.
        expected: u8,
        /// CSG.
        got: u8,
    },
    /// ISID, TSIH, CID or ITT changed between the Login requests of one login.
    #[error("a Login request of another login")]
    LoginMixed,
    /// More requests than one login may take.
    #[error("more than {limit} login requests")]
    LoginTooLong {
        /// How many are allowed.
        limit: u32,
    },
    /// Text that is not a list of `key=value`.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A key that must come but did not.
    #[error("no {0}")]
    MissingKey(&'static str),
    /// A key whose value cannot be.
    #[error("value of {key} is invalid")]
    InvalidValue {
        /// Which key.
        key: &'static str,
    },
    /// A key that came twice, or where it has no place.
    #[error("{key} has no place here")]
    MisplacedKey {
        /// Which key.
        key: &'static str,
    },
    /// No authentication method in common.
    #[error("no authentication method in common")]
    NoCommonAuthMethod,
    /// Security negotiation was left before it was done, or never entered.
    #[error("the initiator did not authenticate")]
    NotAuthenticated,
    /// CHAP failed.
    #[error(transparent)]
    Chap(#[from] super::chap::ChapError),
    /// Header digests are enforced and were not negotiated.
    #[error("HeaderDigest=CRC32C is required and was not negotiated")]
    HeaderDigestMissing,
    /// Data digests are enforced and were not negotiated.
    #[error("DataDigest=CRC32C is required and was not negotiated")]
    DataDigestMissing,
    /// Both digests are enforced and neither was negotiated.
    #[error("HeaderDigest=CRC32C and DataDigest=CRC32C are required and were not negotiated")]
    DigestsMissing,
    /// Data-Out for a task of this connection with a tag that no R2T gave out.
    #[error("Data-Out with target transfer tag {tag:#010x}, which no R2T gave out")]
    UnknownTransferTag {
        /// As received.
        tag: u32,
    },
    /// More bytes of commands ahead of a CmdSN gap than are held.
    #[error("more than {limit} bytes of commands ahead of a gap in CmdSN")]
    HeldCommands {
        /// How many are allowed.
        limit: usize,
    },
}

impl Violation {
    /// The keys that the refusing Login Response carries with the value Reject, so that a trace on the
    /// initiator's side tells what its status alone does not (RFC 7143 section 6.2).
    pub(super) const fn rejected_keys(&self) -> &'static [&'static str] {
        match self {
            Self::HeaderDigestMissing => &["HeaderDigest"],
            Self::DataDigestMissing => &["DataDigest"],
            Self::DigestsMissing => &["HeaderDigest", "DataDigest"],
            _ => &[],
        }
    }
}

/// Text that does not parse (RFC 7143 section 6.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More bytes than one negotiation may send.
    #[error("more than {limit} bytes of text")]
    TooLong {
        /// How many are allowed.
        limit: usize,
    },
    /// More keys than one negotiation may send.
    #[error("more than {limit} keys")]
    TooManyKeys {
        /// How many are allowed.
        limit: usize,
    },
    /// A piece without `=`.
    #[error("text without '='")]
    NoSeparator,
    /// The last piece does not end in NUL.
    #[error("text does not end in NUL")]
    Unterminated,
    /// A key that is empty, longer than 63 bytes, or of other characters than the standard's.
    #[error("an invalid key name")]
    KeyName,
    /// A value that is not UTF-8 or holds control characters.
    #[error("an invalid value")]
    Value,
}

/// Why a task's Data-Out failed. The task is to end with CHECK CONDITION and the sense of
/// [`DataOutError::additional_sense`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DataOutError {
    /// The data segment's CRC32C does not match.
    #[error("data digest is {got:08x}, computed {expected:08x}")]
    Digest {
        /// Computed over the segment.
        expected: u32,
        /// As received.
        got: u32,
    },
    /// Data that nobody asked for and that negotiation does not allow.
    #[error("unexpected unsolicited data")]
    UnexpectedUnsolicited,
    /// A sequence that ends early or goes beyond what was asked for.
    #[error("{got} bytes of data where {expected} were due")]
    IncorrectAmount {
        /// Bytes due.
        expected: u32,
        /// Bytes sent.
        got: u32,
    },
    /// A DataSN out of order: a PDU is missing, and level 0 cannot ask for it again.
    #[error("DataSN {got}, {expected} is next")]
    DataSn {
        /// The next one.
        expected: u32,
        /// As received.
        got: u32,
    },
    /// A Buffer Offset out of order.
    #[error("buffer offset {got}, {expected} is next")]
    Offset {
        /// The next one.
        expected: u32,
        /// As received.
        got: u32,
    },
}

impl DataOutError {
    /// Additional sense code and qualifier of RFC 7143 section 11.4.7.2; the sense key is ABORTED
    /// COMMAND.
    #[must_use]
    pub const fn additional_sense(&self) -> (u8, u8) {
        match self {
            Self::Digest { .. } | Self::DataSn { .. } | Self::Offset { .. } => (0x47, 0x05),
            Self::UnexpectedUnsolicited => (0x0c, 0x0c),
            Self::IncorrectAmount { .. } => (0x0c, 0x0d),
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The initiator logged out.
    #[error("logged out")]
    LoggedOut,
    /// The login was answered with an error or a redirection by the owner.
    #[error("login refused: {0:?}")]
    LoginRefused(LoginStatus),
    /// The login failed by the initiator's fault.
    #[error("login failed with {status:?}")]
    LoginFailed {
        /// What the initiator was told.
        status: LoginStatus,
        /// What it did.
        #[source]
        violation: Violation,
    },
    /// Login was not over in time.
    #[error("login took too long")]
    LoginTimeout,
    /// The initiator stayed silent after a NOP-In.
    #[error("no answer to a NOP-In")]
    NopTimeout,
    /// Data that was asked for did not come.
    #[error("Data-Out made no progress")]
    DataOutTimeout,
    /// The peer broke the protocol.
    #[error("protocol violation")]
    Violation(#[source] Violation),
}

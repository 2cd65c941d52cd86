//! Why a connection failed: what its peer did, one variant each.

use std::io;
use std::time::Duration;

use crate::iscsi::chap::ChapError;
use crate::iscsi::error::{TextError, Violation};
use crate::iscsi::pdu::{LoginStatus, RejectReason};

/// Why a connection failed. Its session is lost with it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody takes the connection.
    #[error("can't connect to {portal}")]
    Unreachable {
        /// Where to.
        portal: String,
        /// What the system says.
        source: io::Error,
    },
    /// The system could not move bytes.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The target ended the stream.
    #[error("the target closed the connection")]
    Closed,
    /// Nothing came for too long.
    #[error("no answer within {after:?}, with {outstanding} commands outstanding")]
    Silent {
        /// How long it was waited.
        after: Duration,
        /// Commands without an answer.
        outstanding: u32,
    },
    /// The login was refused (RFC 7143 section 11.13.5).
    #[error("the target refused the login: {}", refusal(*.0))]
    Refused(LoginStatus),
    /// More redirections than are followed, or one without an address.
    #[error("the target redirects the login, and not to a portal that would take it")]
    Redirected,
    /// The target does not go along with what the plan asks for.
    #[error("the target does not agree to {0}")]
    NotAgreed(&'static str),
    /// Login took more steps than any should.
    #[error("the login does not come to an end")]
    EndlessLogin,
    /// A Login Response that makes no sense (RFC 7143 section 11.13).
    #[error("the login response is invalid: {0}")]
    LoginResponse(&'static str),
    /// Text that does not parse.
    #[error("the text of a login response is invalid")]
    Text(#[from] TextError),
    /// CHAP failed on the target's side of it.
    #[error("CHAP failed")]
    Chap(#[from] ChapError),
    /// Mutual CHAP: the target is not the one that it should be.
    #[error("the target does not prove that it knows its secret")]
    Unproven(#[source] ChapError),
    /// A header's CRC32C does not match.
    #[error("a header is damaged")]
    Header(#[source] Violation),
    /// A data segment's CRC32C does not match: at error recovery level 0 the session ends (RFC 7143
    /// section 7.8).
    #[error("data digest is {got:08x}, computed {expected:08x}")]
    DataDigest {
        /// Computed.
        expected: u32,
        /// As received.
        got: u32,
    },
    /// A data segment longer than was declared.
    #[error("a data segment of {got} bytes, {limit} were declared")]
    SegmentTooLong {
        /// MaxRecvDataSegmentLength, in bytes.
        limit: u32,
        /// DataSegmentLength, in bytes.
        got: u32,
    },
    /// A PDU that has no place here.
    #[error("a PDU with opcode {0:#04x} out of place")]
    Opcode(u8),
    /// An answer to no command.
    #[error("an answer with initiator task tag {0:#010x}, which no command has")]
    UnknownTask(u32),
    /// A status out of order: one is missing (RFC 7143 section 4.2.2.2).
    #[error("StatSN {got}, {expected} is next")]
    StatSn {
        /// The next one.
        expected: u32,
        /// As received.
        got: u32,
    },
    /// Data-In or an R2T for bytes that the command does not have, or out of order.
    #[error(
        "{bytes} bytes at offset {offset} of a command of {length} bytes, of which {moved} have moved"
    )]
    Range {
        /// Buffer Offset.
        offset: u32,
        /// Bytes of the data or asked for.
        bytes: u32,
        /// Expected Data Transfer Length.
        length: u32,
        /// Bytes that came before.
        moved: u32,
    },
    /// A reject that concerns no command.
    #[error("the target rejected a PDU: {0:?}")]
    Rejected(RejectReason),
    /// The target wants the session to end, or ends it (RFC 7143 section 11.9.1).
    #[error("the target asks for a logout, or drops the session")]
    Dismissed,
    /// The target pings, and does not read the answers.
    #[error("the target sends pings and does not take the answers")]
    Pings,
    /// A command that prepares the load failed.
    #[error("{command} failed: {failure}")]
    Preparation {
        /// Its name.
        command: &'static str,
        /// How it failed.
        failure: String,
    },
}

/// A status for people, with what they can do about it.
fn refusal(status: LoginStatus) -> String {
    let text = match status {
        LoginStatus::AuthenticationFailure => {
            "authentication failed: it wants CHAP, or knows the user or the secret otherwise"
        }
        LoginStatus::AuthorizationFailure => "this initiator may not use the target",
        LoginStatus::NotFound => "there is no such target",
        LoginStatus::TargetRemoved => "the target was removed",
        LoginStatus::TooManyConnections => "too many sessions or connections",
        LoginStatus::ServiceUnavailable => "the service is not available now",
        LoginStatus::OutOfResources => "it is out of resources",
        _ => "",
    };
    let (class, detail) = (status.class(), status.detail());
    if text.is_empty() {
        format!("status {class:02x}{detail:02x}h ({status:?})")
    } else {
        format!("{text} (status {class:02x}{detail:02x}h)")
    }
}

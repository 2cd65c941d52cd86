//! What the owner of a connection tells it.

use crate::base::limits;
use std::fmt;
use std::sync::Arc;

/// How a SCSI command ended (RFC 7143 section 11.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Response<'a> {
    /// SCSI status byte.
    pub status: u8,
    /// Sense data, without the 2-byte length that the connection puts before it. May be empty.
    pub sense: &'a [u8],
    /// Bytes the command wanted to move, had the initiator set no limit: against the expected data
    /// transfer length they make the residual count. Zero when nothing moved. Of a bidirectional
    /// command, the written ones.
    pub asked: u64,
    /// Of a bidirectional command, the bytes that it wanted to read.
    pub asked_read: u64,
    /// The command could not be carried out at all: response code 01h, Target Failure.
    pub target_failure: bool,
}

impl<'a> Response<'a> {
    /// GOOD, after `asked` bytes.
    #[must_use]
    pub const fn good(asked: u64) -> Self {
        Self::status(0, asked)
    }

    /// Any status without sense data.
    #[must_use]
    pub const fn status(status: u8, asked: u64) -> Self {
        Self {
            status,
            sense: &[],
            asked,
            asked_read: 0,
            target_failure: false,
        }
    }

    /// CHECK CONDITION with `sense`, after `asked` bytes.
    #[must_use]
    pub const fn check_condition(sense: &'a [u8], asked: u64) -> Self {
        Self {
            status: 0x02,
            sense,
            asked,
            asked_read: 0,
            target_failure: false,
        }
    }
}

/// Who the target is and what it wants of this initiator: the answer to `Event::Identify`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Portal group through which the target is reached (RFC 7143 section 13.9).
    pub target_portal_group_tag: u16,
    /// TargetAlias, if any.
    pub target_alias: Option<String>,
    /// Whether the initiator has to prove who it is.
    pub auth: AuthPolicy,
    /// Refuse a login that does not negotiate HeaderDigest=CRC32C.
    pub require_header_digest: bool,
    /// Refuse a login that does not negotiate DataDigest=CRC32C.
    pub require_data_digest: bool,
    /// The target's side of the negotiation.
    pub offer: Offer,
}

/// The target's side of the operational negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Demand an R2T before any Data-Out.
    pub initial_r2t: bool,
    /// Take immediate data.
    pub immediate_data: bool,
    /// MaxBurstLength, in bytes.
    pub max_burst_bytes: u32,
    /// FirstBurstLength, in bytes.
    pub first_burst_bytes: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// DefaultTime2Wait, in seconds.
    pub default_time2wait: u16,
    /// DefaultTime2Retain, in seconds.
    pub default_time2retain: u16,
    /// Choose CRC32C digests where the initiator's list has them, else only where required.
    pub digests: bool,
    /// MaxRecvDataSegmentLength that the target declares, in bytes; `None`: the connection's own.
    pub receive_data_segment_bytes: Option<u32>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            initial_r2t: false,
            immediate_data: true,
            max_burst_bytes: limits::MAX_BURST_BYTES,
            first_burst_bytes: limits::FIRST_BURST_BYTES,
            max_outstanding_r2t: limits::OUTSTANDING_R2T_MAX,
            default_time2wait: 0,
            default_time2retain: 0,
            digests: true,
            receive_data_segment_bytes: None,
        }
    }
}

/// Whether and how an initiator proves who it is.
#[derive(Debug, Clone, Default)]
pub enum AuthPolicy {
    /// It need not.
    #[default]
    None,
    /// By CHAP (RFC 7143 section 12.1.3).
    Chap(Arc<ChapPolicy>),
    /// By CHAP or not at all, as it prefers: a discovery session, which is shown the targets of those
    /// policies that it has satisfied, and those that ask for nothing.
    Optional(Vec<Arc<ChapPolicy>>),
}

/// CHAP accounts of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapPolicy {
    /// Any one of these lets the initiator in.
    pub accounts: Vec<ChapAccount>,
    /// What the target proves itself with when the initiator asks.
    pub mutual: Option<ChapAccount>,
    /// CHAP_A values that are allowed, in the target's order of preference.
    pub algorithms: Vec<u8>,
}

/// A CHAP name and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapAccount {
    /// CHAP_N.
    pub name: String,
    /// The shared secret.
    pub secret: Secret,
}

/// Bytes that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes in.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the digest alone.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// One target of a SendTargets answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// TargetName.
    pub name: String,
    /// TargetAlias.
    pub alias: Option<String>,
    /// `host:port` and target portal group tag of each portal.
    pub addresses: Vec<(String, u16)>,
}

/// What a target tells an initiator unasked (RFC 7143 section 11.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsyncEvent<'a> {
    /// A SCSI asynchronous event, reported by its sense data.
    Scsi {
        /// Logical unit that reports.
        lun: [u8; 8],
        /// Sense data, without the 2-byte length.
        sense: &'a [u8],
    },
    /// Log out within that many seconds.
    RequestLogout {
        /// Parameter3.
        seconds: u16,
    },
    /// This connection will be dropped.
    DropConnection {
        /// Parameter1: which one.
        cid: u16,
        /// Parameter2: wait at least that long before a reconnect.
        time2wait: u16,
        /// Parameter3: tasks are kept for that long.
        time2retain: u16,
    },
    /// All connections of the session will be dropped.
    DropSession {
        /// Parameter2, in seconds.
        time2wait: u16,
        /// Parameter3, in seconds.
        time2retain: u16,
    },
    /// Renegotiate within that many seconds, by Text requests.
    RequestNegotiation {
        /// Parameter3.
        seconds: u16,
    },
    /// All active tasks of the logical unit are being ended (code 5, RFC 7143 section 4.2.3.3).
    TasksTerminated {
        /// Which unit.
        lun: [u8; 8],
    },
}

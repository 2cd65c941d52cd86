//! What a connection tells its owner.

use super::answer::ChapPolicy;
use super::error::{CloseReason, DataOutError};
use super::pdu::{LogoutReason, SessionType, TaskAttribute, TaskFunction};
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something the owner of a connection must know or answer.
#[derive(Debug)]
pub enum Event {
    /// The first Login keys are complete. Answer with `identify`, `refuse_login` or
    /// `redirect_login`; no input is taken before.
    Identify(Box<LoginIdentity>),
    /// Negotiation is over. Answer with `admit`, `refuse_login` or `redirect_login`; the connection
    /// may move to another reactor in between. No input is taken before.
    LoginComplete(Box<LoginSummary>),
    /// A SCSI command, in the order of its CmdSN.
    Command(Command),
    /// A window given by `accept_data_out` comes back: full, or failed. After a failure the task
    /// takes no more data and wants a status.
    DataOut {
        /// Whose data.
        task: TaskId,
        /// The buffer that was given. Only after `Ok` is all of it the initiator's data.
        buffer: Buffer,
        /// What became of the transfer.
        result: Result<(), DataOutError>,
    },
    /// A task management request; answer with `respond_task_management` when the affected tasks
    /// are quiet.
    TaskManagement(TaskManagement),
    /// A SendTargets request; answer with `answer_targets`. No input is taken before.
    SendTargets(SendTargetsRequest),
    /// The initiator logged out; the response is queued and [`Event::Closed`] follows.
    Logout {
        /// Why.
        reason: LogoutReason,
    },
    /// The connection is over. Send what is queued, then close the socket. Nothing follows.
    Closed(CloseReason),
}

/// Names a task of one connection; stale once the task has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId(pub(super) SlotKey);

impl TaskId {
    /// Position in the connection's task table, below
    /// `Settings::session_commands + Settings::session_immediate_commands`.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0.index()
    }

    /// The whole name in one word.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The inverse of [`TaskId::to_bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(SlotKey::from_bits(bits))
    }
}

/// The command descriptor block: 16 bytes, and more from an Extended CDB AHS (RFC 7143 section
/// 11.2.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdb {
    bytes: [u8; 16],
    extended: Option<Box<[u8]>>,
}

impl Cdb {
    /// A CDB of at most 16 bytes, zero-padded by the initiator.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self {
            bytes,
            extended: None,
        }
    }

    /// A CDB longer than 16 bytes: the field of the header and what the AHS adds.
    #[must_use]
    pub fn extended(bytes: [u8; 16], rest: &[u8]) -> Self {
        let mut whole = Vec::with_capacity(rest.len().saturating_add(bytes.len()));
        whole.extend_from_slice(&bytes);
        whole.extend_from_slice(rest);
        Self {
            bytes,
            extended: Some(whole.into_boxed_slice()),
        }
    }

    /// All bytes; never fewer than 16.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.extended.as_deref().unwrap_or(&self.bytes)
    }
}

/// A SCSI command as it stands in its PDU (RFC 7143 section 11.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The name to answer to.
    pub task: TaskId,
    /// The initiator's own name for it.
    pub initiator_task_tag: u32,
    /// Logical unit, as on the wire (SAM).
    pub lun: [u8; 8],
    /// The command descriptor block.
    pub cdb: Cdb,
    /// Queueing (SIMPLE, ORDERED, …).
    pub attribute: TaskAttribute,
    /// Command priority (SAM-4 section 8.7), 0 to 15.
    pub priority: u8,
    /// Bytes the initiator has room for.
    pub read_length: u32,
    /// Bytes the initiator will send. If not zero the task wants `accept_data_out`,
    /// `refuse_data_out` or a status before its data is taken from the input.
    pub write_length: u32,
    /// Whether the command was marked for immediate delivery.
    pub immediate: bool,
    /// When it was taken in.
    pub arrived: Instant,
}

/// A task management request (RFC 7143 section 11.5; RFC 7144).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskManagement {
    /// The name to answer to.
    pub task: TaskId,
    /// What is asked for.
    pub function: TaskFunction,
    /// Logical unit, as on the wire.
    pub lun: [u8; 8],
    /// What the Referenced Task Tag names, for ABORT TASK and QUERY TASK.
    pub referenced: Referenced,
    /// The tag itself.
    pub referenced_tag: u32,
    /// CmdSN of the referenced command, as the initiator says.
    pub ref_cmd_sn: u32,
}

/// The state of the task that a task management request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referenced {
    /// The function names no task.
    NoTask,
    /// The task is here. Its LUN is that of the request.
    Task(TaskId),
    /// The task is here, but on another logical unit.
    OtherUnit(TaskId),
    /// The command had not arrived and now counts as received and done: ABORT TASK is complete
    /// (RFC 7143 section 11.5.1).
    NotArrived,
    /// There is no such task: it never was, or it has its status already.
    Absent,
}

impl Referenced {
    /// The task, if it is here and on the request's logical unit.
    #[must_use]
    pub const fn task(self) -> Option<TaskId> {
        match self {
            Self::Task(task) => Some(task),
            _ => None,
        }
    }
}

/// Which targets a SendTargets request asks for (RFC 7143 appendix C).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendTargetsRequest {
    /// Every target the initiator may see; discovery sessions only.
    All,
    /// The target of this session.
    Own,
    /// One target by name.
    Named(String),
}

/// Who logs in to what, as of the first complete Login keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginIdentity {
    /// InitiatorName, as sent.
    pub initiator_name: String,
    /// InitiatorAlias.
    pub initiator_alias: Option<String>,
    /// TargetName, as sent; may be absent in a discovery session.
    pub target_name: Option<String>,
    /// Normal or discovery.
    pub session_type: SessionType,
    /// Initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// Target's part; not zero asks to join a session.
    pub tsih: u16,
    /// Connection identifier.
    pub cid: u16,
}

/// What a login has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSummary {
    /// Who and what.
    pub identity: LoginIdentity,
    /// The operational parameters.
    pub parameters: Parameters,
    /// The CHAP name the initiator proved, if it had to, or chose to.
    pub authenticated_as: Option<String>,
    /// The policies that have its account.
    pub satisfied: Vec<Arc<ChapPolicy>>,
    /// Whether the target proved itself as well.
    pub mutual: bool,
}

/// Negotiated operational parameters (RFC 7143 section 13); the names are those of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "each field is the key of that name in RFC 7143 section 13"
)]
pub struct Parameters {
    /// HeaderDigest is CRC32C.
    pub header_digest: bool,
    /// DataDigest is CRC32C.
    pub data_digest: bool,
    pub max_connections: u16,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength that the initiator declared, in bytes.
    pub initiator_data_segment_bytes: u32,
    /// MaxRecvDataSegmentLength that the target declared, in bytes.
    pub target_data_segment_bytes: u32,
    /// MaxBurstLength, in bytes.
    pub max_burst_bytes: u32,
    /// FirstBurstLength, in bytes.
    pub first_burst_bytes: u32,
    /// Seconds.
    pub default_time2wait: u16,
    /// Seconds.
    pub default_time2retain: u16,
    pub max_outstanding_r2t: u32,
    pub data_pdu_in_order: bool,
    pub data_sequence_in_order: bool,
    pub error_recovery_level: u8,
    /// TaskReporting (section 13.23).
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel (RFC 7144 section 7.1).
    pub protocol_level: u16,
}

/// How an initiator learns of tasks that another one ended (RFC 7143 section 13.23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TaskReporting {
    /// As RFC 3720 had it.
    #[default]
    Rfc3720,
    /// Responses stay in order behind the affected tasks'.
    ResponseFence,
    /// FastAbort (section 4.2.3.4).
    FastAbort,
}

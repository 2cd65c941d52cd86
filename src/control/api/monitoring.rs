//! The shapes of `server.measure` and `server.events`.
//!
//! Counts are since the server started; whoever wants rates asks twice and takes the difference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasurementView {
    /// When, on the server's monotonic clock, in nanoseconds; for differences.
    pub at_ns: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// By volume, by name; those that are not served are left out.
    pub volumes: Vec<VolumeMeasureView>,
    /// By reactor.
    pub reactors: Vec<ReactorMeasureView>,
    /// By session.
    pub sessions: Vec<SessionMeasureView>,
}

/// One volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMeasureView {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its size.
    pub size_bytes: u64,
    /// Sessions that are logged in.
    pub sessions: u64,
    /// How many may be.
    pub sessions_max: u64,
    /// Commands taken and not answered.
    pub in_flight: u64,
    /// Registrations.
    pub registrations: u64,
    /// The reservation's type, such as `WRITE EXCLUSIVE - REGISTRANTS ONLY`, if there is one.
    pub reservation: Option<String>,
    /// Bytes that reads have sent.
    pub read_bytes: u64,
    /// Bytes that writes have taken.
    pub written_bytes: u64,
    /// Ended with RESERVATION CONFLICT.
    pub conflicts: u64,
    /// Ended with BUSY or TASK SET FULL.
    pub busy: u64,
    /// Ended with CHECK CONDITION other than a unit attention.
    pub errors: u64,
    /// Aborted.
    pub aborted: u64,
    /// Requests that the backend failed.
    pub backend_errors: u64,
    /// How long READs took that ended GOOD.
    pub read: LatencyView,
    /// How long WRITEs took that ended GOOD.
    pub write: LatencyView,
    /// How long other commands took that ended GOOD.
    pub other: LatencyView,
}

/// How long commands took, from the command to its status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyView {
    /// How many ended GOOD. Those of the last moment may have no latency yet.
    pub good: u64,
    /// All latencies together, in nanoseconds.
    pub sum_ns: u64,
    /// Of that, the time in the server: without waiting for the initiator's data.
    pub server_ns: u64,
    /// Buckets that have counted anything: number and count. Bucket 0 is below 1024 ns; each doubling
    /// from there on has eight of equal width, up to 2^36 ns, from where on the last one is.
    pub buckets: Vec<(usize, u64)>,
}

/// One reactor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactorMeasureView {
    /// Its number.
    pub reactor: usize,
    /// Time in rounds that found something to do, in nanoseconds; over elapsed time it is the
    /// utilisation.
    pub busy_ns: u64,
    /// Rounds.
    pub ticks: u64,
    /// Rounds that found something to do.
    pub busy_ticks: u64,
    /// Times it waited in the kernel.
    pub waits: u64,
    /// Messages of other threads that it has taken.
    pub messages: u64,
    /// Messages that wait because their receiver's mailbox is full.
    pub backlog: u64,
    /// Connections.
    pub connections: u64,
    /// PDUs taken in.
    pub pdus_received: u64,
    /// PDUs sent.
    pub pdus_sent: u64,
    /// Backend requests under way.
    pub backend_requests: u64,
    /// Commands that wait for a buffer.
    pub starving: u64,
    /// Bytes of payload memory.
    pub buffer_bytes: u64,
    /// Bytes of it that are lent out.
    pub buffer_bytes_lent: u64,
}

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMeasureView {
    /// The volume.
    pub volume: String,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// Its ISID, twelve hexadecimal digits.
    pub isid: String,
    /// The target session identifying handle.
    pub tsih: u16,
    /// The relative target port identifier.
    pub port: u16,
    /// The initiator's address.
    pub address: String,
    /// The reactor that owns the connection.
    pub reactor: usize,
    /// Commands taken and not answered.
    pub in_flight: u64,
    /// READs that ended GOOD.
    pub reads: u64,
    /// WRITEs that ended GOOD.
    pub writes: u64,
    /// Bytes that reads have sent.
    pub read_bytes: u64,
    /// Bytes that writes have taken.
    pub written_bytes: u64,
    /// Ended with RESERVATION CONFLICT.
    pub conflicts: u64,
    /// Ended with CHECK CONDITION other than a unit attention.
    pub errors: u64,
}

/// Parameters of `server.events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only what happened then or later, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// At most that many, the newest ones.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only what is new since an earlier answer, whose `cursor` this is: events that have come, or that
    /// have happened again.
    #[serde(default)]
    pub after: Option<EventCursor>,
    /// With `after`: where nothing is new, how long to wait for it, in milliseconds; at most
    /// [`HISTORY_WAIT_MAX`](crate::base::limits::HISTORY_WAIT_MAX) counts. No more than
    /// [`HISTORY_FOLLOWERS_MAX`](crate::base::limits::HISTORY_FOLLOWERS_MAX) requests wait at once.
    #[serde(default)]
    pub wait_ms: u64,
}

/// How far the events have been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventCursor {
    /// The newest event that there was.
    pub sequence: u64,
    /// How often something had happened, repetitions included.
    pub revision: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsView {
    /// Oldest first.
    pub events: Vec<EventView>,
    /// Where to go on reading: the next request's `after`.
    pub cursor: EventCursor,
    /// How many events came since `after` and were pushed out again by later ones.
    pub lost: u64,
    /// How many events the server has beyond these.
    pub left_out: usize,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its number, from 1 on.
    pub sequence: u64,
    /// When it happened first, in milliseconds since 1970.
    pub at_ms: u64,
    /// When it happened last.
    pub last_ms: u64,
    /// How often: what happens again the same way soon after is counted, not listed anew.
    pub times: u64,
    /// What it is.
    pub event: EventKind,
    /// How much it matters.
    pub severity: Severity,
    /// The volume, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The initiator's iSCSI name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// Its address; without the port, which says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// One line for people.
    pub text: String,
}

/// What an event is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The server serves from now on.
    ServerStarted,
    /// It stops.
    ServerStopping,
    /// A volume was made.
    VolumeCreated,
    /// A volume has grown.
    VolumeGrown,
    /// Settings of a volume were changed.
    VolumeChanged,
    /// A volume was deleted.
    VolumeDeleted,
    /// A volume can't be served.
    VolumeFailed,
    /// A group was made.
    GroupCreated,
    /// A group was deleted.
    GroupDeleted,
    /// Anything else that was changed over the control socket.
    Command,
    /// A session begins.
    Login,
    /// An initiator has logged out.
    Logout,
    /// A session ended because its connection did.
    SessionLost,
    /// A login was refused.
    LoginRefused,
    /// A login has ended the session of the same initiator port (RFC 7143 section 6.3.5).
    SessionReinstated,
    /// A volume has nearly as many sessions as it takes.
    SessionLimitNear,
    /// Initiators have lost registrations or a reservation by the command of another, or of an operator.
    Fence,
    /// A backend failed a request.
    BackendError,
    /// An I/O took longer than `log.slow_io`.
    SlowIo,
    /// The audit log can't be written.
    AuditFailed,
    /// It was opened anew.
    AuditReopened,
    /// The configuration was read again.
    ConfigReloaded,
    /// It was to be, and can't be used.
    ConfigRefused,
    /// More happened at once than could be taken note of.
    EventsLost,
}

/// How much an event matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Something is broken.
    Error,
}

impl EventKind {
    /// How much it matters.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::BackendError | Self::VolumeFailed | Self::AuditFailed | Self::ConfigRefused => {
                Severity::Error
            }
            Self::LoginRefused
            | Self::SessionLost
            | Self::SessionLimitNear
            | Self::Fence
            | Self::SlowIo
            | Self::EventsLost => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

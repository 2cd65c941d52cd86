//! The shapes of requests and answers on the control socket.
//!
//! Sizes are bytes, times are milliseconds since 1970 (UTC), 64-bit keys and ISIDs are hexadecimal text (JSON numbers lose bits beyond 53).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::access::Origins;
use crate::backend::Wrapper;
use crate::volume::{BlockSize, GroupName, ReservationScope, VolumeName};

mod drains;
mod keeping;
mod limits;
mod monitoring;
mod reservations;

pub use drains::*;
pub use keeping::*;
pub use limits::*;
pub use monitoring::*;
pub use reservations::*;

/// Names of the methods.
pub mod method {
    /// Makes a volume: [`super::VolumeCreate`] → [`super::VolumeView`].
    pub const VOLUME_CREATE: &str = "volume.create";
    /// All volumes: [`super::VolumeList`] → list of [`super::VolumeView`].
    pub const VOLUME_LIST: &str = "volume.list";
    /// One volume: [`super::VolumeSelect`] → [`super::VolumeView`].
    pub const VOLUME_SHOW: &str = "volume.show";
    /// Grows a volume: [`super::VolumeResize`] → [`super::VolumeView`].
    pub const VOLUME_RESIZE: &str = "volume.resize";
    /// Changes a volume's settings: [`super::VolumeSet`] → [`super::VolumeView`].
    pub const VOLUME_SET: &str = "volume.set";
    /// Deletes a volume: [`super::VolumeDelete`] → [`super::VolumeView`] as it last was.
    pub const VOLUME_DELETE: &str = "volume.delete";
    /// Brings a deleted volume back: [`super::VolumeSelect`] → [`super::VolumeView`].
    pub const VOLUME_RESTORE: &str = "volume.restore";
    /// Gives a volume the content of its snapshot: [`super::VolumeRevert`] → [`super::VolumeView`].
    pub const VOLUME_REVERT: &str = "volume.revert";
    /// Writes an image: [`super::VolumeExport`] → [`super::ExportView`].
    pub const VOLUME_EXPORT: &str = "volume.export";
    /// Takes snapshots of volumes at one instant: [`super::SnapshotCreate`] → list of
    /// [`super::SnapshotView`].
    pub const SNAPSHOT_CREATE: &str = "snapshot.create";
    /// All snapshots: [`super::SnapshotList`] → list of [`super::SnapshotView`].
    pub const SNAPSHOT_LIST: &str = "snapshot.list";
    /// One snapshot: [`super::SnapshotSelect`] → [`super::SnapshotView`].
    pub const SNAPSHOT_SHOW: &str = "snapshot.show";
    /// Deletes a snapshot: [`super::SnapshotSelect`] → [`super::SnapshotView`] as it last was.
    pub const SNAPSHOT_DELETE: &str = "snapshot.delete";
    /// Before the answer of a method whose work is long, a notification of how far it is:
    /// [`super::ProgressView`]. Methods that do: `volume.create` from an image or by copying,
    /// `volume.revert` and `snapshot.create` by copying, `volume.export`.
    pub const PROGRESS: &str = "progress";
    /// All groups: no parameters → list of [`super::GroupView`].
    pub const GROUP_LIST: &str = "group.list";
    /// One group: [`super::GroupSelect`] → [`super::GroupView`].
    pub const GROUP_SHOW: &str = "group.show";
    /// Changes what is set for a group: [`super::GroupSet`] → [`super::GroupView`].
    pub const GROUP_SET: &str = "group.set";
    /// Makes a group: [`super::GroupSelect`] → [`super::GroupView`].
    pub const GROUP_CREATE: &str = "group.create";
    /// Deletes an empty group: [`super::GroupSelect`] → [`super::GroupView`].
    pub const GROUP_DELETE: &str = "group.delete";
    /// Sessions that are logged in: [`super::SessionList`] → list of [`super::SessionView`].
    pub const SESSION_LIST: &str = "session.list";
    /// Takes a node out of service: [`super::SessionDrain`] → [`super::DrainView`], at once; sessions
    /// leave in their own time, or at the deadline.
    pub const SESSION_DRAIN: &str = "session.drain";
    /// Lets a node in again: [`super::SessionAdmit`] → [`super::DrainView`] of the drain that has ended.
    pub const SESSION_ADMIT: &str = "session.admit";
    /// The nodes that are out of service: no parameters → list of [`super::DrainView`].
    pub const SESSION_DRAINS: &str = "session.drains";
    /// A volume's reservation: [`super::VolumeSelect`] → [`super::ReservationView`].
    pub const RESERVATION_SHOW: &str = "reservation.show";
    /// What happened to it: [`super::HistoryQuery`] → [`super::HistoryView`].
    pub const RESERVATION_HISTORY: &str = "reservation.history";
    /// What a PREEMPT would do, which is not done: [`super::PreemptCheck`] →
    /// [`super::PreemptCheckView`].
    pub const RESERVATION_CHECK: &str = "reservation.check";
    /// Removes registrations and reservations in an emergency: [`super::ReservationClear`] →
    /// [`super::ReservationClearView`].
    pub const RESERVATION_CLEAR: &str = "reservation.clear";
    /// The server itself: no parameters → [`super::ServerStatus`].
    pub const SERVER_STATUS: &str = "server.status";
    /// Everything that is counted: no parameters → [`super::MeasurementView`].
    pub const SERVER_MEASURE: &str = "server.measure";
    /// What happened: [`super::EventsQuery`] → [`super::EventsView`].
    pub const SERVER_EVENTS: &str = "server.events";
    /// Drains and stops the server: no parameters → `null`, before it has stopped.
    pub const SERVER_STOP: &str = "server.stop";
    /// Has a new process take the server's place: [`super::ServerUpgrade`] →
    /// [`super::ServerUpgradeView`].
    pub const SERVER_UPGRADE: &str = "server.upgrade";
}

/// Kinds of backend that a volume may be created on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// A thin file.
    #[default]
    File,
    /// Memory, gone when the server stops.
    Ram,
    /// Discards writes, reads zeros.
    Null,
    /// A raw block device.
    Block,
}

/// Parameters of `volume.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeCreate {
    /// The volume's name.
    pub name: VolumeName,
    /// Its size; may be left out for a block device, a snapshot or an image, which have one.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// What it is filled with; left out: zeros. Its blocks are in a file of the data directory then.
    #[serde(default)]
    pub source: Option<VolumeSource>,
    /// Its group; made if it does not exist. Left out: the default group, or that of the volume whose
    /// snapshot it is filled with.
    #[serde(default)]
    pub group: Option<GroupName>,
    /// Where its blocks are.
    #[serde(default)]
    pub backend: BackendKind,
    /// The file or device; left out for a file: one in the data directory.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Its logical block length, 512 or 4096.
    #[serde(default)]
    pub block_bytes: BlockSize,
    /// Whether every write is refused.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the medium can be ejected.
    #[serde(default)]
    pub removable: bool,
    /// How many sessions may be logged in; left out: as configured.
    #[serde(default)]
    pub sessions_max: Option<u32>,
    /// Whose a reservation registration is: `nexus` or `client`; left out: as configured.
    #[serde(default)]
    pub reservation_scope: Option<ReservationScope>,
    /// How many operations and bytes per second; left out: as its group says.
    #[serde(default)]
    pub limits: LimitsSet,
    /// For tests: for how long the backend holds each request, in microseconds.
    #[serde(default)]
    pub delay_us: u64,
    /// For tests: what else stands before the backend, the innermost first; a delay of `delay_us`
    /// stands before them all.
    #[serde(default)]
    pub test_wrappers: Vec<Wrapper>,
}

/// Parameters that name a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSelect {
    /// The volume's name.
    pub name: VolumeName,
}

/// Parameters of `volume.resize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeResize {
    /// The volume's name.
    pub name: VolumeName,
    /// The new size, larger than the present one.
    pub size_bytes: u64,
}

/// Parameters of `volume.set`; what is left out stays as it is.
///
/// `sessions_max` and `limits` change at any time. `read_only`, `removable` and `reservation_scope` change only while
/// nobody uses the volume: no session, no registration, no reservation. `block_bytes` never changes: it
/// is here to be refused with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSet {
    /// The volume's name.
    pub name: VolumeName,
    /// Whether every write is refused.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Whether the medium can be ejected.
    #[serde(default)]
    pub removable: Option<bool>,
    /// How many sessions may be logged in: a number, or `default` for as configured. Sessions that are
    /// logged in stay.
    #[serde(default)]
    pub sessions_max: Option<SessionsMax>,
    /// Whose a reservation registration is: `nexus` or `client`.
    #[serde(default)]
    pub reservation_scope: Option<ReservationScope>,
    /// How many operations and bytes per second.
    #[serde(default)]
    pub limits: LimitsSet,
    /// The logical block length that it has.
    #[serde(default)]
    pub block_bytes: Option<BlockSize>,
}

/// How many sessions a volume takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of sessions, or \"default\"")]
pub enum SessionsMax {
    /// That many.
    Own(u32),
    /// As many as are configured for all volumes.
    Common(AsConfigured),
}

/// The word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsConfigured {
    /// `default`.
    Default,
}

/// Parameters that name a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSelect {
    /// The group's name.
    pub name: GroupName,
}

/// Parameters of `session.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionList {
    /// Only those of one volume.
    #[serde(default)]
    pub volume: Option<VolumeName>,
}

/// Whether a volume is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeState {
    /// Initiators may log in.
    Online,
    /// It could not be opened; [`VolumeView::problem`] says why.
    Failed,
    /// It was deleted, and can be restored until [`VolumeView::purge_ms`].
    Deleted,
}

/// A volume as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its id.
    pub id: String,
    /// Its target's iSCSI name.
    pub iqn: String,
    /// T10 VENDOR IDENTIFICATION that INQUIRY tells.
    #[serde(default)]
    pub vendor: String,
    /// PRODUCT IDENTIFICATION.
    #[serde(default)]
    pub product: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its logical block length.
    pub block_bytes: u32,
    /// Whether every write is refused.
    pub read_only: bool,
    /// Whether the medium can be ejected.
    pub removable: bool,
    /// The kind of its backend.
    pub backend: String,
    /// The backend's file or device, if it has one.
    pub path: Option<PathBuf>,
    /// The way of its bytes to the medium: what is used, and why not something faster. Only where its
    /// backend is open.
    pub route: Option<String>,
    /// For how long the backend holds each request at least, in microseconds.
    pub delay_us: u64,
    /// For tests: what stands before the backend, the innermost first.
    pub test_wrappers: Vec<Wrapper>,
    /// Whether it is served.
    pub state: VolumeState,
    /// Why not, if not.
    pub problem: Option<String>,
    /// How many sessions are logged in.
    pub sessions: usize,
    /// How many may be.
    pub sessions_max: u32,
    /// Whose a reservation registration is.
    pub reservation_scope: ReservationScope,
    /// How many operations and bytes per second it may have.
    #[serde(default)]
    pub limits: LimitsView,
    /// How many registrants it knows: logged in, registered, or with a copy under way.
    pub nexuses: usize,
    /// How many registrants will be told something by unit attention when they log in again.
    pub owed_attentions: usize,
    /// What an operator ought to know: hosts that may be, or are, two under one initiator name; places
    /// that run short; nodes that are kept out.
    pub warnings: Vec<String>,
    /// How many snapshots it has.
    #[serde(default)]
    pub snapshots: usize,
    /// When it was deleted, if it was.
    #[serde(default)]
    pub deleted_ms: Option<u64>,
    /// When it becomes impossible to restore it, if it was deleted.
    #[serde(default)]
    pub purge_ms: Option<u64>,
    /// The `ADDR:PORT` of each portal it is reached by.
    pub portals: Vec<String>,
}

/// A volume group as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// How many volumes it holds.
    pub volumes: usize,
    /// The networks it lets in.
    pub allow: Vec<String>,
    /// The iSCSI names it lets in; empty: any.
    pub initiators: Vec<String>,
    /// Whether it asks for CHAP.
    pub chap: bool,
    /// The names of the CHAP accounts that it lets in.
    #[serde(default)]
    pub chap_users: Vec<String>,
    /// The name with which the target proves itself to initiators that ask it to (mutual CHAP).
    #[serde(default)]
    pub chap_mutual: Option<String>,
    /// Whether it refuses sessions without CRC32C on headers and data.
    #[serde(default)]
    pub enforce_crc: bool,
    /// The same, under its former name.
    pub require_digests: bool,
    /// Sessions that one initiator name may have on one volume; `None`: as many as there are places.
    #[serde(default)]
    pub sessions_per_initiator: Option<u32>,
    /// MaxBurstLength that the target offers, in bytes.
    #[serde(default)]
    pub max_burst_length: u32,
    /// FirstBurstLength that the target offers, in bytes.
    #[serde(default)]
    pub first_burst_length: u32,
    /// MaxRecvDataSegmentLength that the target declares, in bytes.
    #[serde(default)]
    pub max_receive_segment: u32,
    /// What says so: `group`, `access`, `limits`, `environment` or `default` for each key.
    #[serde(default)]
    pub origins: Origins,
    /// How many operations and bytes per second its volumes may have together.
    #[serde(default)]
    pub limits: GroupLimitsView,
    /// For how long its deleted volumes are kept; zero: not at all.
    #[serde(default)]
    pub retention_seconds: u64,
    /// How many of its volumes are deleted and can be restored.
    #[serde(default)]
    pub deleted_volumes: usize,
}

/// A session as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The volume; `None` for a discovery session.
    pub volume: Option<String>,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// Its ISID, twelve hexadecimal digits.
    pub isid: String,
    /// The target session identifying handle.
    pub tsih: u16,
    /// The initiator's address.
    pub address: String,
    /// The `ADDR:PORT` of this target that it reached.
    #[serde(default)]
    pub portal: String,
    /// The portal group that it came in by.
    #[serde(default)]
    pub portal_group: u16,
    /// The reactor that owns the connection.
    pub reactor: usize,
    /// Whether headers carry CRC32C.
    pub header_digest: bool,
    /// Whether data carries CRC32C.
    pub data_digest: bool,
    /// For how long it has been logged in.
    pub seconds: u64,
    /// SCSI commands taken.
    pub commands: u64,
    /// Bytes it has read.
    pub read_bytes: u64,
    /// Bytes it has written.
    pub written_bytes: u64,
    /// What its login has agreed on, beside the digests.
    #[serde(default)]
    pub negotiated: NegotiatedView,
    /// What is wrong with its initiator name, if another host seems to use it.
    pub warning: Option<String>,
}

/// What a login has agreed on; the names are those of the keys of RFC 7143 section 13.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegotiatedView {
    /// MaxBurstLength, in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength, in bytes.
    pub first_burst_length: u32,
    /// MaxRecvDataSegmentLength of the initiator, in bytes.
    pub initiator_max_receive_segment: u32,
    /// MaxRecvDataSegmentLength of the target, in bytes.
    pub target_max_receive_segment: u32,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
}

/// The server as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The SAN's name.
    pub san: String,
    /// The data directory.
    pub data: PathBuf,
    /// The `ADDR:PORT` of each portal.
    pub portals: Vec<String>,
    /// How many reactors run.
    pub reactors: usize,
    /// How many volumes there are.
    pub volumes: usize,
    /// How many sessions are logged in.
    pub sessions: usize,
}

/// Parameters of `server.upgrade`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerUpgrade {
    /// The program, absolute; left out: the one that the server was started from.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Whether only to find out if it could be.
    #[serde(default)]
    pub check: bool,
    /// How long initiators may have to wait until nothing runs any more, in milliseconds; left out: 5000.
    #[serde(default)]
    pub patience_ms: Option<u64>,
}

/// An upgrade as the control socket tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerUpgradeView {
    /// Whether nothing was done but to find out that it could be.
    pub checked_only: bool,
    /// The process that served.
    pub before: ProcessView,
    /// The process that serves, or would; after a check it has ended.
    pub after: ProcessView,
    /// How many volumes there are.
    pub volumes: usize,
    /// How many sessions were handed over, or would be.
    pub sessions: usize,
    /// For how long nothing was served, in microseconds; `None` after a check.
    pub pause_us: Option<u64>,
}

/// A process of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    /// The version of its program.
    pub version: String,
    /// Its number.
    pub pid: u32,
}

//! The shapes of requests and answers on the control socket.
//!
//! Sizes are bytes, times are milliseconds since 1970 (UTC), 64-bit keys and ISIDs are hexadecimal text (JSON numbers lose bits beyond 53).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::Wrapper;
use crate::volume::{BlockSize, GroupName, ReservationScope, VolumeName};

mod reservations;

pub use reservations::*;

/// Names of the methods.
pub mod method {
    /// Makes a volume: [`super::VolumeCreate`] → [`super::VolumeView`].
    pub const VOLUME_CREATE: &str = "volume.create";
    /// All volumes: no parameters → list of [`super::VolumeView`].
    pub const VOLUME_LIST: &str = "volume.list";
    /// One volume: [`super::VolumeSelect`] → [`super::VolumeView`].
    pub const VOLUME_SHOW: &str = "volume.show";
    /// Grows a volume: [`super::VolumeResize`] → [`super::VolumeView`].
    pub const VOLUME_RESIZE: &str = "volume.resize";
    /// Changes a volume's settings: [`super::VolumeSet`] → [`super::VolumeView`].
    pub const VOLUME_SET: &str = "volume.set";
    /// Deletes a volume: [`super::VolumeDelete`] → [`super::VolumeView`] as it last was.
    pub const VOLUME_DELETE: &str = "volume.delete";
    /// All groups: no parameters → list of [`super::GroupView`].
    pub const GROUP_LIST: &str = "group.list";
    /// Makes a group: [`super::GroupSelect`] → [`super::GroupView`].
    pub const GROUP_CREATE: &str = "group.create";
    /// Deletes an empty group: [`super::GroupSelect`] → [`super::GroupView`].
    pub const GROUP_DELETE: &str = "group.delete";
    /// Sessions that are logged in: [`super::SessionList`] → list of [`super::SessionView`].
    pub const SESSION_LIST: &str = "session.list";
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
    /// Its size; may be left out for a block device, which has one.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Its group; made if it does not exist. Left out: the default group.
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
/// `sessions_max` changes at any time. `read_only`, `removable` and `reservation_scope` change only while
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

/// Parameters of `volume.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeDelete {
    /// The volume's name.
    pub name: VolumeName,
    /// Drop sessions instead of refusing while there are any.
    #[serde(default)]
    pub force: bool,
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
    /// How many registrants it knows: logged in, registered, or with a copy under way.
    pub nexuses: usize,
    /// How many registrants will be told something by unit attention when they log in again.
    pub owed_attentions: usize,
    /// Hosts that may be, or are, two under one initiator name.
    pub warnings: Vec<String>,
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
    /// Whether it asks for digests.
    pub require_digests: bool,
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
    /// What is wrong with its initiator name, if another host seems to use it.
    pub warning: Option<String>,
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

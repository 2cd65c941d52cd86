//! What the control plane asks of the data path, and the data path of it.
//!
//! Control knows volumes by name and keeps them over restarts; the data path knows them by id and
//! serves them. These traits are the whole seam: a fake behind [`DataPlane`] tests everything here.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::KeptHistory;
use crate::backend::Store;
use crate::base::tuning::Tuning;
use crate::reservation::{Key, history};
use crate::target::{
    Access, Cleared, Drain, Estate, Forecast, HoldPlan, IdentityInfo, Journal, Limits, Measurement,
    NotAdopted, NotHandedOver, Obstacle, Preemption, Record, Redirect, ReservationReport,
    ReservationStore, SessionInfo,
};
use crate::volume::{ReservationScope, VolumeId};

/// The running data path. Every call may come from any thread off the reactors, and blocks until
/// the reactors have done it or a time limit has passed.
pub trait DataPlane: Send + Sync {
    /// Begins to serve a volume.
    ///
    /// # Errors
    /// [`PlaneError::Exists`] where the id or the name is served already.
    fn attach_volume(&self, volume: VolumeConfig) -> Result<(), PlaneError>;

    /// Ceases to serve a volume and lets go of its store. With `force`, its sessions are dropped
    /// first.
    ///
    /// # Errors
    /// [`PlaneError::InUse`] while sessions exist, unless `force`.
    fn detach_volume(&self, id: VolumeId, force: bool) -> Result<(), PlaneError>;

    /// Ceases to serve a volume. Its sessions are asked to log out; those that are left after `patience`
    /// are dropped. Returns how many had to be.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served.
    fn dismiss_volume(&self, id: VolumeId, patience: Duration) -> Result<usize, PlaneError>;

    /// Runs `work` at one instant of all volumes: what was issued before is over, nothing is issued
    /// meanwhile, and no write is half done. On an error that is not [`PlaneError::HoldExpired`] it has
    /// not run.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where an id is not served, [`PlaneError::InUse`] where sessions are
    /// logged in and the plan wants none, [`PlaneError::Failed`] where a volume could not be held.
    fn at_one_instant(
        &self,
        volumes: &[VolumeId],
        plan: HoldPlan,
        work: &mut dyn FnMut(),
    ) -> Result<(), PlaneError>;

    /// Ceases to serve a volume that nobody uses, and lets go of its store.
    ///
    /// # Errors
    /// [`PlaneError::InUse`] while sessions exist, [`PlaneError::Registered`] while registrations do.
    fn detach_unused(&self, id: VolumeId) -> Result<(), PlaneError>;

    /// Sets how many sessions a volume takes from now on; those that are there stay.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served; [`PlaneError::Failed`] where it can't
    /// remember so many.
    fn set_sessions_max(&self, id: VolumeId, sessions_max: u32) -> Result<(), PlaneError>;

    /// Holds a volume to other limits from now on; `None`: to none.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served.
    fn set_limits(&self, id: VolumeId, limits: Option<Arc<Limits>>) -> Result<(), PlaneError>;

    /// Tells initiators that a volume, whose store has grown, is larger: CAPACITY DATA HAS CHANGED
    /// on every nexus (SBC-4 section 4.10).
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served.
    fn grow_volume(&self, id: VolumeId, size_bytes: u64) -> Result<(), PlaneError>;

    /// Accepts connections on a portal from now on.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn open_portal(&self, portal: PortalSocket) -> Result<(), PlaneError>;

    /// Every session that is logged in.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn sessions(&self) -> Result<Vec<SessionInfo>, PlaneError>;

    /// Whom each volume knows.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn identities(&self) -> Result<Vec<IdentityInfo>, PlaneError>;

    /// Everything that is counted. No reactor is stopped for it.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn measure(&self) -> Result<Measurement, PlaneError>;

    /// A volume's registrations and reservation.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served.
    fn reservation(&self, id: VolumeId) -> Result<ReservationReport, PlaneError>;

    /// The history of a volume's reservations, oldest first.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served.
    fn reservation_history(&self, id: VolumeId) -> Result<history::Excerpt, PlaneError>;

    /// What is new in it since `seen`, waited for at most `wait`.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served, or no longer.
    fn follow_history(
        &self,
        id: VolumeId,
        seen: history::Cursor,
        wait: Duration,
    ) -> Result<history::Excerpt, PlaneError>;

    /// What a PREEMPT would do now; nothing is done. `None` where nobody is there to send it.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served.
    fn foresee(&self, id: VolumeId, preemption: Preemption)
    -> Result<Option<Forecast>, PlaneError>;

    /// Removes the registrations of a key, or all registrations and reservations, for an operator;
    /// `None` where there was nothing to remove.
    ///
    /// # Errors
    /// [`PlaneError::UnknownVolume`] where the id is not served; [`PlaneError::Failed`] where it came
    /// to nothing.
    fn clear_reservation(
        &self,
        id: VolumeId,
        key: Option<Key>,
        operator: Option<history::Process>,
    ) -> Result<Option<Cleared>, PlaneError>;

    /// Takes a node out of service: refuses its logins or sends them elsewhere, asks its sessions to log
    /// out and drops those that are left after `patience`. Returns how many were asked.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn begin_drain(&self, drain: Drain, patience: Duration) -> Result<usize, PlaneError>;

    /// Lets the node of a drain log in again; one that is not there is no error.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`].
    fn end_drain(&self, id: u64) -> Result<(), PlaneError>;

    /// Refuses logins, asks every session to log out (RFC 7143 section 11.9), waits for them up to
    /// `timeout` and flushes every volume. Returns the number of sessions that had to be dropped.
    fn drain(&self, timeout: Duration) -> usize;

    /// Stops the reactors and waits for their threads. Whatever is still connected is dropped.
    fn stop(&self);

    /// How all of it is handed over to another process; nothing where it can't be.
    fn hand_over(&self) -> Option<&dyn HandOver> {
        None
    }
}

/// A data path that another process can take over: see [`crate::target::handover`].
pub trait HandOver {
    /// Work that may take long and goes on by itself.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn long_work(&self) -> Result<Vec<Obstacle>, PlaneError>;

    /// The names of volumes whose bytes can't be passed on.
    fn volumes_in_memory(&self) -> Vec<String>;

    /// Parks everything, and draws up what another process needs.
    ///
    /// # Errors
    /// Why not; it goes on as before.
    fn hand_over(&self, patience: Duration) -> Result<Estate, NotHandedOver>;

    /// Serves what is parked.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn go_on(&self) -> Result<(), PlaneError>;

    /// Serves nothing before [`HandOver::go_on`]: before the first portal is opened.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::TimedOut`].
    fn begin_parked(&self) -> Result<(), PlaneError>;

    /// Takes over what another process gave, parked.
    ///
    /// # Errors
    /// What can't be taken over.
    fn adopt(&self, record: Record, streams: Vec<TcpStream>) -> Result<(), NotAdopted>;
}

/// Starts the data path. `main` hands the real one to the command line; tests hand a fake.
pub trait Launch {
    /// Starts reactors; no volume and no portal yet.
    ///
    /// # Errors
    /// [`PlaneError::Start`] where the machine can't run what the plan asks for.
    fn launch(&self, plan: LaunchPlan) -> Result<Arc<dyn DataPlane>, PlaneError>;
}

/// What the data path needs to start.
pub struct LaunchPlan {
    /// The core of each reactor; one reactor per entry. Empty: `reactors` many, not pinned.
    pub cores: Vec<usize>,
    /// How many reactors.
    pub reactors: usize,
    /// The knobs of the profile, with overrides.
    pub tuning: Tuning,
    /// A connection that has not logged in by then is dropped.
    pub login_timeout: Duration,
    /// An initiator silent for that long is asked with a NOP-In.
    pub nop_interval: Duration,
    /// How long a reservation command may take, its wait for writes of fenced nexuses included.
    pub fence_timeout: Duration,
    /// Where durable reservation records go.
    pub reservations: Arc<dyn ReservationStore>,
    /// Who hears what happens.
    pub journal: Journal,
    /// From how long on an I/O is told as slow; `None`: never.
    pub slow_io: Option<Duration>,
}

/// A bound and listening portal.
#[derive(Debug)]
pub struct PortalSocket {
    /// The socket; already listening, so that early connections wait in its backlog.
    pub listener: TcpListener,
    /// TargetPortalGroupTag (RFC 7143 section 13.9).
    pub tag: u16,
    /// The `ADDR:PORT` that SendTargets gives out for it; `None`: where the connection came in.
    pub advertise: Option<String>,
    /// Where it sends logins instead of serving them; discovery it serves.
    pub redirect: Option<Redirect>,
}

/// A volume as the data path is to serve it.
#[derive(Debug)]
pub struct VolumeConfig {
    /// Never changes and is never used again; serial number and NAA identifier come from it.
    pub id: VolumeId,
    /// The target's iSCSI name.
    pub iqn: String,
    /// The volume's name, for logs and the target alias.
    pub name: String,
    /// T10 VENDOR IDENTIFICATION, at most 8 characters of ASCII.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, at most 16 characters of ASCII.
    pub product: String,
    /// The logical block length, in bytes.
    pub block_bytes: u32,
    /// Whether every write is refused.
    pub read_only: bool,
    /// Whether the medium can be ejected.
    pub removable: bool,
    /// Sessions that may be logged in at once.
    pub sessions_max: u32,
    /// Registrations that the logical unit holds at most.
    pub registrations_max: u32,
    /// Whose a registration is.
    pub reservation_scope: ReservationScope,
    /// Where its blocks are; open.
    pub store: Arc<dyn Store>,
    /// Who may log in.
    pub access: Access,
    /// The reservation record that was last saved, if any.
    pub reservation: Option<Vec<u8>>,
    /// The history that was last saved.
    pub history: KeptHistory,
    /// Another process serves it at this moment ([`HandOver::adopt`] follows).
    pub handed_over: bool,
}

/// Why the data path did not do what control asked.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// No volume of that id is served.
    #[error("the data path does not serve that volume")]
    UnknownVolume,
    /// The id or the target name is served already.
    #[error("the data path serves that volume already")]
    Exists,
    /// Sessions are logged in to the volume.
    #[error("{sessions} sessions are logged in")]
    InUse {
        /// How many.
        sessions: usize,
    },
    /// Somebody has registered with the volume.
    #[error("{registrations} registrations stand")]
    Registered {
        /// How many.
        registrations: usize,
    },
    /// The stored reservations of a volume can't be read.
    #[error(
        "the reservation record of volume {volume} can't be read ({reason}); \
         the volume is not served, because a fenced node could write to it"
    )]
    Reservations {
        /// Which volume.
        volume: String,
        /// What is wrong with the record.
        reason: String,
    },
    /// What was done at one instant took longer than I/O may wait, and is worth nothing.
    #[error("it took longer than the {} seconds for which I/O may wait", limit.as_secs())]
    HoldExpired {
        /// The longest that I/O waits.
        limit: Duration,
    },
    /// The data path refused.
    #[error("{0}")]
    Failed(String),
    /// The data path can't start.
    #[error("the data path can't start: {0}")]
    Start(String),
    /// The reactors did not answer in time.
    #[error("the data path did not answer in time")]
    TimedOut,
    /// The data path has stopped.
    #[error("the data path has stopped")]
    Stopped,
}

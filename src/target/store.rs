//! The way to the store of reservations: one thread, which may block, saves what homes hand it, in
//! the order in which they do.

use super::failure::Failure;
use super::local::Local;
use super::shared::Shared;
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::base::limits;
use crate::scsi::sense::{Code, SenseKey};
use crate::volume::VolumeId;
use crossbeam_channel::{Receiver, Sender, bounded};
use futures_channel::oneshot;
use std::sync::{Arc, Weak};

/// Keeps reservations and their history over restarts. Called on a thread of its own, which may
/// block.
pub trait ReservationStore: Send + Sync {
    /// Saves what has changed for a volume: all of it, or nothing. When it returns, the change
    /// survives a power cut.
    ///
    /// # Errors
    /// Where it could not be made durable; what was there before then stands.
    fn save(&self, volume: VolumeId, update: &ReservationUpdate) -> Result<(), StoreFailed>;
}

/// What one save changes of what is kept of a volume. The store knows nothing of the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReservationUpdate {
    /// The reservation record; `None` leaves the one that is there.
    pub record: Option<Vec<u8>>,
    /// Since when the record's registrations stand, which goes with that record and no other.
    pub ages: Option<Vec<u8>>,
    /// Entries of the history that go, by sequence number.
    pub forget: Vec<u64>,
    /// Entries of the history that come, by sequence number, after the others have gone; one that is
    /// there already is replaced.
    pub entries: Vec<(u64, Vec<u8>)>,
}

impl ReservationUpdate {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The store could not do it.
#[derive(Debug, thiserror::Error)]
#[error("the reservation store failed: {0}")]
pub struct StoreFailed(pub String);

/// Why a change is not known to be durable.
#[derive(Debug)]
pub(crate) enum NotSaved {
    /// The store holds what it held.
    Certainly(Failure),
    /// The store hangs: it holds what it held, or the change.
    Perhaps,
}

impl From<NotSaved> for Failure {
    /// What the initiator is told. A store that hangs is a failure of the logical unit, as a backend
    /// that does.
    fn from(not_saved: NotSaved) -> Self {
        match not_saved {
            NotSaved::Certainly(failure) => failure,
            NotSaved::Perhaps => Self::check(SenseKey::HardwareError, Code::LOGICAL_UNIT_TIMEOUT),
        }
    }
}

/// The end of the homes.
pub(crate) struct Saver {
    jobs: Sender<Job>,
}

/// The end of the thread.
pub(crate) struct SaveQueue {
    jobs: Receiver<Job>,
}

struct Job {
    volume: VolumeId,
    update: ReservationUpdate,
    reactor: usize,
    reply: oneshot::Sender<Result<(), StoreFailed>>,
}

impl SaveQueue {
    /// Starts the thread. It ends when the last of the reactors is gone. `shared` wakes reactors.
    pub(crate) fn start(
        self,
        store: Arc<dyn ReservationStore>,
        shared: Weak<Shared>,
    ) -> std::io::Result<()> {
        let work = move || {
            while let Ok(job) = self.jobs.recv() {
                let result = store.save(job.volume, &job.update);
                let _ = job.reply.send(result);
                // The reactor may be asleep; the answer alone does not wake it.
                if let Some(shared) = shared.upgrade() {
                    shared.nudge(job.reactor);
                }
            }
        };
        let thread = std::thread::Builder::new().name("reservations".into());
        thread.spawn(work).map(drop)
    }
}

impl Saver {
    /// Both ends.
    pub(crate) fn new() -> (Self, SaveQueue) {
        let (sender, receiver) = bounded(limits::RESERVATION_SAVES_MAX);
        (Self { jobs: sender }, SaveQueue { jobs: receiver })
    }

    /// Makes a change durable. What a home hands over first is saved first. A store that has not
    /// answered by `deadline` hangs, and may still save the change when it comes to itself.
    pub(crate) async fn save(
        &self,
        volume: &Volume,
        update: ReservationUpdate,
        deadline: Instant,
        local: &Local,
    ) -> Result<(), NotSaved> {
        let (reply, receiver) = oneshot::channel();
        let job = Job {
            volume: volume.id,
            update,
            reactor: volume.home,
            reply,
        };
        let failed = Failure::check(SenseKey::IllegalRequest, Code::INSUFFICIENT_REGISTRATIONS);
        if self.jobs.try_send(job).is_err() {
            tracing::error!(volume = %volume.name, "too many reservation changes wait for the store");
            return Err(NotSaved::Certainly(failed));
        }
        match local.until(deadline, receiver).await {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => {
                tracing::error!(volume = %volume.name, %error, "what changed is not durable");
                Err(NotSaved::Certainly(failed))
            }
            Some(Err(_)) => {
                let failure = Failure::target("the reservation store is gone");
                Err(NotSaved::Certainly(failure))
            }
            None => {
                tracing::error!(
                    volume = %volume.name,
                    "the reservation store has not answered in time; what it holds is not known"
                );
                Err(NotSaved::Perhaps)
            }
        }
    }
}

//! The way to the store of reservations: one thread, which may block, saves what homes hand it, in
//! the order in which they do.
//!
//! What has gathered while the thread was at the store is saved in one go: a store pays for its
//! flushes, not for what is in them. So changes of many volumes cost little more than one. Of one
//! volume at most one change is ever on its way: the next is decided under the state that the one
//! before has left, and that is known when its fence has passed or failed and not before.

use super::failure::Failure;
use super::local::Local;
use super::shared::Shared;
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::base::limits::{RESERVATION_SAVES_MAX, RESERVATION_SAVES_TOGETHER_MAX};
use crate::scsi::sense::{Code, SenseKey};
use crate::volume::VolumeId;
use crossbeam_channel::{Receiver, Sender, bounded};
use futures_channel::oneshot;
use std::sync::atomic::{AtomicBool, Ordering};
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

    /// Saves several, in their order; the outcome of each. Each is saved whole or not at all, and one
    /// that can't be saved is no reason to refuse another. A store that can make several durable at
    /// once does.
    fn save_together(
        &self,
        changes: &[(VolumeId, &ReservationUpdate)],
    ) -> Vec<Result<(), StoreFailed>> {
        let changes = changes.iter();
        changes
            .map(|(volume, update)| self.save(*volume, update))
            .collect()
    }
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
    /// The store hangs over it: it holds what it held, or the change.
    Perhaps(Late),
}

/// A save that nobody has waited for to its end.
#[derive(Debug)]
pub(crate) struct Late(oneshot::Receiver<Result<(), StoreFailed>>);

impl Late {
    /// Waits until the store has come to itself: what it holds changes no more.
    pub(crate) async fn ends(self) {
        let _either_way = self.0.await;
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
    /// Of the thread that takes it to the store, or of the home that gives it up: whoever is first.
    claimed: Arc<AtomicBool>,
    reply: oneshot::Sender<Result<(), StoreFailed>>,
}

impl Job {
    /// Takes it; false if it has been given up.
    fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }
}

impl SaveQueue {
    /// Starts the thread. It ends when the last of the reactors is gone. `shared` wakes reactors.
    pub(crate) fn start(
        self,
        store: Arc<dyn ReservationStore>,
        shared: Weak<Shared>,
    ) -> std::io::Result<()> {
        let work = move || {
            while let Ok(first) = self.jobs.recv() {
                let others = self
                    .jobs
                    .try_iter()
                    .take(RESERVATION_SAVES_TOGETHER_MAX - 1);
                let mut jobs: Vec<Job> = std::iter::once(first).chain(others).collect();
                jobs.retain(Job::claim);
                let changes: Vec<_> = jobs.iter().map(|job| (job.volume, &job.update)).collect();
                let results = store.save_together(&changes);
                let shared = shared.upgrade();
                for (job, result) in jobs.into_iter().zip(results) {
                    let _ = job.reply.send(result);
                    // The reactor may be asleep; the answer alone does not wake it.
                    if let Some(shared) = &shared {
                        shared.nudge(job.reactor);
                    }
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
        let (sender, receiver) = bounded(RESERVATION_SAVES_MAX);
        (Self { jobs: sender }, SaveQueue { jobs: receiver })
    }

    /// Makes a change durable. What a home hands over first is saved first. A store that has not
    /// answered by `deadline` hangs. What it has begun by then it may still save when it comes to
    /// itself; what it has not begun is given up.
    pub(crate) async fn save(
        &self,
        volume: &Volume,
        update: ReservationUpdate,
        deadline: Instant,
        local: &Local,
    ) -> Result<(), NotSaved> {
        let (reply, mut receiver) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        let job = Job {
            volume: volume.id,
            update,
            reactor: volume.home,
            claimed: Arc::clone(&claimed),
            reply,
        };
        let failed = Failure::check(SenseKey::IllegalRequest, Code::INSUFFICIENT_REGISTRATIONS);
        if self.jobs.try_send(job).is_err() {
            tracing::error!(volume = %volume.name, "too many reservation changes wait for the store");
            return Err(NotSaved::Certainly(failed));
        }
        match local.until(deadline, &mut receiver).await {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => {
                tracing::error!(volume = %volume.name, %error, "what changed is not durable");
                Err(NotSaved::Certainly(failed))
            }
            Some(Err(_)) => {
                let failure = Failure::target("the reservation store is gone");
                Err(NotSaved::Certainly(failure))
            }
            None if !claimed.swap(true, Ordering::AcqRel) => {
                tracing::error!(
                    volume = %volume.name,
                    "the reservation store was not ready in time; the change was given up"
                );
                Err(NotSaved::Certainly(Failure::timed_out()))
            }
            None => {
                tracing::error!(
                    volume = %volume.name,
                    "the reservation store has not answered in time; what it holds is not known"
                );
                Err(NotSaved::Perhaps(Late(receiver)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    /// Tells what it was given at once.
    struct Told(Sender<Vec<u128>>);

    impl ReservationStore for Told {
        fn save(&self, _: VolumeId, _: &ReservationUpdate) -> Result<(), StoreFailed> {
            unreachable!("the thread saves together")
        }

        fn save_together(
            &self,
            changes: &[(VolumeId, &ReservationUpdate)],
        ) -> Vec<Result<(), StoreFailed>> {
            let volumes = changes.iter().map(|(volume, _)| volume.uuid().as_u128());
            self.0.send(volumes.collect()).unwrap();
            let odd = |volume: &VolumeId| volume.uuid().as_u128() % 2 == 1;
            let refused = || Err(StoreFailed("odd".to_owned()));
            let outcome =
                |(volume, _): &(VolumeId, _)| if odd(volume) { refused() } else { Ok(()) };
            changes.iter().map(outcome).collect()
        }
    }

    /// The volume of that number, and what its home holds of the job.
    fn job(
        number: u128,
    ) -> (
        Job,
        Arc<AtomicBool>,
        oneshot::Receiver<Result<(), StoreFailed>>,
    ) {
        let (reply, receiver) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        let job = Job {
            volume: VolumeId::from(uuid::Uuid::from_u128(number)),
            update: ReservationUpdate::default(),
            reactor: 0,
            claimed: Arc::clone(&claimed),
            reply,
        };
        (job, claimed, receiver)
    }

    #[test]
    fn what_has_gathered_is_saved_together_and_answered_each_for_itself() {
        let (saver, queue) = Saver::new();
        let (told, heard) = unbounded();
        let gathered = 1 + RESERVATION_SAVES_TOGETHER_MAX as u128;
        let mut answers: Vec<_> = (0..gathered)
            .map(|number| {
                let (job, _, answer) = job(number);
                saver.jobs.send(job).unwrap();
                answer
            })
            .collect();
        drop(saver);
        queue.start(Arc::new(Told(told)), Weak::new()).unwrap();
        let saved: Vec<Vec<u128>> = heard.iter().collect();
        let expected: Vec<u128> = (0..gathered).collect();
        assert_eq!(
            saved,
            [
                &expected[..expected.len() - 1],
                &expected[expected.len() - 1..]
            ]
        );
        for (number, answer) in answers.iter_mut().enumerate() {
            let answer = answer.try_recv().unwrap().expect("every job is answered");
            assert_eq!(answer.is_err(), number % 2 == 1, "{number}");
        }
    }

    #[test]
    fn what_was_given_up_before_its_turn_is_not_saved() {
        let (saver, queue) = Saver::new();
        let (told, heard) = unbounded();
        for number in [2, 4, 6] {
            let (job, claimed, _) = job(number);
            claimed.store(number == 4, Ordering::Release);
            saver.jobs.send(job).unwrap();
        }
        drop(saver);
        queue.start(Arc::new(Told(told)), Weak::new()).unwrap();
        assert_eq!(heard.iter().collect::<Vec<_>>(), [[2, 6]]);
    }
}

//! How a change of reservations is carried out (spec/reservations.md section 7).

use super::chronicle::{Deed, Page};
use super::failure::Failure;
use super::home::Home;
use super::local::Local;
use super::message::{Call, Lost, Task};
use super::shared::Shared;
use super::store::NotSaved;
use crate::base::clock::Instant;
use crate::base::limits;
use crate::reservation::history::Ages;
use crate::reservation::{Attention, Nexus, NexusIndex, Outcome, State};
use crate::scsi::attention::UnitAttention;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

impl Home {
    /// Carries out what the state machine decided: durable, then published, with that the commands of
    /// PREEMPT AND ABORT's victims marked as aborted, then the fence, then unit attentions. When this
    /// returns `Ok` no write of a nexus that lost its right can take effect any more, and what was
    /// marked is over. On `Err` the reservations are as they were. The history has it in either case.
    /// At `deadline` it gives up waiting for the store, and for writes of the fenced.
    ///
    /// Section 7 names the marks ahead of the store. Here they come after it: a change that can't be
    /// made durable is to have aborted nothing, and a mark can't be taken off again. They come before
    /// the fence, so that what a victim has queued ends at once: neither does a chunked command of it
    /// go on to its next piece, nor is a command answered with a conflict that was to be aborted. Where
    /// the fence then fails, what was aborted stays aborted, as the victim has been told.
    pub(crate) async fn enact(
        self: &Rc<Self>,
        outcome: Outcome,
        deed: Deed,
        deadline: Instant,
        local: &Local,
        shared: &Arc<Shared>,
    ) -> Result<(), Failure> {
        self.changing.set(true);
        let enacted = self.step(outcome, deed, deadline, local, shared).await;
        self.changing.set(false);
        enacted
    }

    async fn step(
        self: &Rc<Self>,
        outcome: Outcome,
        deed: Deed,
        deadline: Instant,
        local: &Local,
        shared: &Arc<Shared>,
    ) -> Result<(), Failure> {
        let before = self.inner.borrow().state.clone();
        let lost = Arc::new(self.lost(&outcome, deed.by.nexus));
        let aborted = Arc::new(self.indices(&outcome.aborted));
        let Outcome {
            next, attentions, ..
        } = outcome;
        let durable = outcome.durable || self.unsaved.get();
        let now_ms = shared.wall_clock_ms(local.now());
        let mut page = {
            let inner = self.inner.borrow();
            let step = (&before, &next);
            let seated = inner.seated();
            self.chronicle.begin(&deed, step, seated, durable, now_ms)
        };
        self.save_history_later(local, shared);
        if durable
            && let Err(not_saved) = self.save(&next, page.ages(), deadline, local, shared).await
        {
            let failure = self.give_up(not_saved, local, shared);
            self.chronicle.fail(page, &failure);
            return Err(failure);
        }
        self.unsaved.set(self.unsaved.get() && !durable);
        self.inner.borrow_mut().state = next;
        self.chronicle.turn(&page);
        // Nexuses that are no longer registered keep their index until the fence has passed.
        let held = self.hold(&attentions);
        self.publish(|_| {});
        let count = Arc::new(AtomicU32::new(0));
        let quiet = self.abort(&aborted, deed.by.task, &count, deadline, local);
        let mut fenced = self.fence(&lost, deadline, &mut page, local).await;
        if fenced.is_ok() && !quiet.await {
            // Something of a victim hangs. It can be a read, which is no reason to fail. It can be a
            // write where nothing is reserved: one that was on its way to its shard as the fence was
            // asked for has passed the check behind it. By now it is there, and a second fence finds it.
            let soon = local.now() + limits::TAKE_BACK_TIMEOUT;
            fenced = self.fence(&lost, soon, &mut page, local).await;
        }
        if let Err(failure) = fenced {
            page.note_aborted(count.load(Ordering::Relaxed));
            self.chronicle.fail(page, &failure);
            self.take_back(before, durable, local, shared).await;
            *self.aborting.borrow_mut() = Arc::default();
            self.release(held);
            return Err(failure);
        }
        *self.aborting.borrow_mut() = Arc::default();
        // PREEMPT AND ABORT lets the medium of a failed node be ejected (SBC-3 section 5.10).
        self.prevent_removal(|seat| aborted.binary_search(&seat.index).is_ok(), false);
        self.attend(attentions, local).await;
        self.release(held);
        page.note_aborted(count.load(Ordering::Relaxed));
        self.chronicle.succeed(page);
        Ok(())
    }

    /// The fence failed: what held before holds again.
    async fn take_back(
        self: &Rc<Self>,
        before: State,
        durable: bool,
        local: &Local,
        shared: &Arc<Shared>,
    ) {
        self.inner.borrow_mut().state = before.clone();
        self.publish(|_| {});
        if !durable {
            return;
        }
        let ages = self.chronicle.ages().clone();
        // The time of the command has passed; the initiator is not to wait for long any more.
        let deadline = local.now() + limits::TAKE_BACK_TIMEOUT;
        let saved = self.save(&before, &ages, deadline, local, shared).await;
        if let Err(not_saved) = saved {
            tracing::error!(
                volume = %self.volume.name,
                "a reservation change that was taken back is still in the store"
            );
            let late = match not_saved {
                NotSaved::Certainly(_) => None,
                NotSaved::Perhaps(late) => Some(late),
            };
            self.put_right_later(late, local, shared);
        }
    }

    /// Makes a state durable, as far as APTPL asks for it, and the history with it.
    pub(super) async fn save(
        &self,
        state: &State,
        ages: &Ages,
        deadline: Instant,
        local: &Local,
        shared: &Shared,
    ) -> Result<(), NotSaved> {
        let (update, batch) = self.chronicle.update(Some((state, ages)));
        let saver = &shared.saver;
        saver.save(&self.volume, update, deadline, local).await?;
        self.chronicle.saved(&batch);
        Ok(())
    }

    /// Waits until what the `lost` have at the backend is over. A backend that hangs is a failure of
    /// the logical unit, not of the command.
    async fn fence(
        &self,
        lost: &Arc<Lost>,
        deadline: Instant,
        page: &mut Page,
        local: &Local,
    ) -> Result<(), Failure> {
        if lost.is_empty() {
            return Ok(());
        }
        let began = local.now();
        let volume = self.volume.index;
        let call = || Call::Fence {
            volume,
            lost: Arc::clone(lost),
        };
        // Writes are issued, and counted, by the owners of the volume's shards and nobody else. What
        // another reactor still has on its way to them is checked there, against what is published.
        let owners = self.volume.shards.owners();
        let passed = local.call_each(owners, call, Some(deadline)).await;
        page.note_fence(began, local.now());
        passed.map(drop).map_err(|_| {
            tracing::error!(
                volume = %self.volume.name,
                "a write of a fenced nexus did not end in time; the reservation command failed"
            );
            Failure::timed_out()
        })
    }

    /// Has the commands of the nexuses that PREEMPT AND ABORT names marked as aborted, and counted: what
    /// waits for data or for its turn ends there and then. From here on none of those nexuses gets the
    /// right to change the logical unit. The questions are posted when this returns; the future tells
    /// whether what was marked is quiet in time.
    fn abort(
        &self,
        nexuses: &Arc<Vec<NexusIndex>>,
        spare: Option<Task>,
        count: &Arc<AtomicU32>,
        deadline: Instant,
        local: &Local,
    ) -> impl Future<Output = bool> + use<> {
        let volume = self.volume.index;
        let attention = (!self.task_aborted_status()).then_some(UnitAttention::CommandsCleared);
        let (named, counted) = (Arc::clone(nexuses), Arc::clone(count));
        let call = move || Call::AbortNexuses {
            volume,
            nexuses: Arc::clone(&named),
            spare,
            attention,
            count: Arc::clone(&counted),
        };
        let marks = (!nexuses.is_empty()).then(|| local.call_all(call, Some(deadline)));
        // The marks go out ahead of the refusals, so that a victim that is turned away is answered as
        // one whose command was aborted.
        *self.aborting.borrow_mut() = Arc::clone(nexuses);
        self.serial
            .turn_away(|nexus| nexuses.binary_search(&nexus).is_ok());
        async move {
            match marks {
                Some(marks) => marks.await.is_ok(),
                None => true,
            }
        }
    }

    /// Whose writes have to be over: of those who lose a right, and of those whose commands PREEMPT
    /// AND ABORT ends. The latter may keep the right to write where nothing is reserved; a write that
    /// was aborted must not take effect all the same.
    fn lost(&self, outcome: &Outcome, sender: Option<NexusIndex>) -> Lost {
        let nexuses = self.indices(outcome.fenced.iter().chain(&outcome.aborted));
        let inner = self.inner.borrow();
        let others_but = outcome.fences_unregistered.then(|| {
            let registered = outcome.next.registrations().map(|(nexus, _)| nexus);
            let mut spared: Vec<_> = registered
                .filter_map(|nexus| inner.nexuses.index_of(nexus))
                .collect();
            spared.extend(sender);
            spared.retain(|index| nexuses.binary_search(index).is_err());
            spared.sort_unstable();
            spared
        });
        Lost {
            nexuses,
            others_but,
        }
    }

    /// The indices of those that have one, sorted, each once.
    fn indices<'a>(&self, nexuses: impl IntoIterator<Item = &'a Nexus>) -> Vec<NexusIndex> {
        let inner = self.inner.borrow();
        let mut indices: Vec<_> = nexuses
            .into_iter()
            .filter_map(|nexus| inner.nexuses.index_of(nexus))
            .collect();
        indices.sort_unstable();
        indices.dedup();
        indices
    }

    fn hold(&self, attentions: &[(Nexus, Attention)]) -> Vec<NexusIndex> {
        let mut inner = self.inner.borrow_mut();
        attentions
            .iter()
            .filter(|(nexus, _)| inner.nexuses.index_of(nexus).is_some())
            .map(|(nexus, _)| nexus.clone())
            .collect::<Vec<_>>()
            .iter()
            .filter_map(|nexus| inner.nexuses.enter(nexus))
            .collect()
    }

    fn release(&self, held: Vec<NexusIndex>) {
        let mut inner = self.inner.borrow_mut();
        for index in held {
            inner.nexuses.leave(index);
        }
    }
}

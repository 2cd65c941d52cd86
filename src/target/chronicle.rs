//! A volume's history at its home: what is written down, and when it is saved.
//!
//! What changes the durable record is saved with it, in one transaction, before the change is
//! published; at that moment nobody knows yet how the command will end. Everything else (how it ended,
//! changes without APTPL, refusals) waits for the next such save, for the volume to go, for the end of
//! the server, or [`HISTORY_SAVE_INTERVAL`] at the longest: no command waits for a disk because of the
//! history alone, and nobody can wear one out. That much is lost at a `kill -9` or a power cut, and no
//! more.

use super::failure::Failure;
use super::home::{By, Home};
use super::journal::{Happening, Journal};
use super::local::Local;
use super::shared::Shared;
use super::store::ReservationUpdate;
use crate::base::clock::Instant;
use crate::base::limits::HISTORY_SAVE_INTERVAL;
use crate::reservation::history::{
    Actor, Ages, Batch, CommandCounts, Cursor, Entry, Event, Excerpt, History, Status, losses,
    takes_effect,
};
use crate::reservation::{self, Nexus, State};
use crate::volume::VolumeId;
use crossbeam_channel::Sender;
use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{self, Arc};

/// What outlived the last stop of a volume.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Registrations and reservation.
    pub state: State,
    /// Since when they stand.
    pub ages: Ages,
    /// What happened before.
    pub history: History,
}

/// The history of a volume and the ages of its state.
pub(crate) struct Chronicle {
    history: RefCell<History>,
    ages: RefCell<Ages>,
    /// Whether a save has been set for later.
    due: Cell<bool>,
    /// Who waits for something new, on other threads; those that have given up are gone.
    followers: RefCell<Vec<Follower>>,
    /// How many commands there were.
    counts: RefCell<CommandCounts>,
    /// Who else hears of each, and of which volume they are.
    told: (VolumeId, Journal),
}

/// Wakes somebody who waits for something new, if he still does.
pub(crate) type Follower = sync::Weak<Sender<()>>;

/// Who changes the reservations and how: what the history tells.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) by: By,
    pub(crate) actor: Actor,
    pub(crate) event: Event,
}

/// A change that is under way.
pub(crate) struct Page {
    /// Its number, if it has been entered for the save that it is part of.
    opened: Option<u64>,
    entry: Entry,
    /// The ages before it.
    before: Ages,
    /// The ages after it.
    ages: Ages,
    generation_before: u32,
}

impl Chronicle {
    pub(crate) fn new(ages: Ages, history: History, told: (VolumeId, Journal)) -> Self {
        Self {
            history: RefCell::new(history),
            ages: RefCell::new(ages),
            due: Cell::new(false),
            followers: RefCell::default(),
            counts: RefCell::default(),
            told,
        }
    }

    /// The history as it is.
    pub(crate) fn excerpt(&self) -> Excerpt {
        self.history.borrow().excerpt()
    }

    /// What is new since `seen`; if nothing is, `follower` is woken once when something comes, or when
    /// the volume goes.
    pub(crate) fn follow(&self, seen: Cursor, follower: Follower) -> Excerpt {
        let new = self.history.borrow().after(seen);
        if new.is_empty() {
            let mut followers = self.followers.borrow_mut();
            followers.retain(|follower| follower.strong_count() > 0);
            followers.push(follower);
        }
        new
    }

    fn wake_followers(&self) {
        for follower in self.followers.borrow_mut().drain(..) {
            if let Some(bell) = follower.upgrade() {
                // It has room for the one ring that it gets.
                let _ = bell.try_send(());
            }
        }
    }

    /// Since when registrations and reservation stand.
    pub(crate) fn ages(&self) -> Ref<'_, Ages> {
        self.ages.borrow()
    }

    /// Begins to write down the step from `before` to `after`. One that is `durable` is entered at
    /// once, for the save of `after`.
    pub(crate) fn begin<'a>(
        &self,
        deed: &Deed,
        (before, after): (&'a State, &State),
        sessions: impl IntoIterator<Item = &'a Nexus>,
        durable: bool,
        now_ms: u64,
    ) -> Page {
        let mut entry = Entry::new(now_ms, deed.actor.clone(), deed.event);
        entry.set_losses(losses(before, after, sessions));
        entry.effect = takes_effect(before, after);
        entry.generation = after.generation();
        let opened = durable.then(|| self.history.borrow_mut().open(entry.clone()));
        Page {
            opened,
            entry,
            before: self.ages.borrow().clone(),
            ages: self.ages.borrow().after(before, after, now_ms),
            generation_before: before.generation(),
        }
    }

    /// The state of `page` holds from here on.
    pub(crate) fn turn(&self, page: &Page) {
        *self.ages.borrow_mut() = page.ages.clone();
    }

    /// The change has been carried out.
    pub(crate) fn succeed(&self, mut page: Page) {
        page.entry.status = Status::Good;
        self.end(page.opened, page.entry);
    }

    /// The change has come to nothing, or was taken back.
    pub(crate) fn fail(&self, mut page: Page, failure: &Failure) {
        *self.ages.borrow_mut() = page.before;
        page.entry.status = status_of(failure);
        page.entry.generation = page.generation_before;
        page.entry.effect = false;
        page.entry.set_losses(Vec::new());
        self.end(page.opened, page.entry);
    }

    fn end(&self, opened: Option<u64>, entry: Entry) {
        self.tell(&entry);
        match opened {
            Some(sequence) => self.history.borrow_mut().settle(sequence, entry),
            None => self.history.borrow_mut().record(entry),
        }
        self.wake_followers();
    }

    fn record(&self, entry: Entry) {
        self.tell(&entry);
        self.history.borrow_mut().record(entry);
        self.wake_followers();
    }

    fn tell(&self, entry: &Entry) {
        self.counts.borrow_mut().note(entry);
        let (volume, journal) = &self.told;
        let entry = Box::new(entry.clone());
        journal.tell(Happening::Reservation {
            volume: *volume,
            entry,
        });
    }

    /// A PERSISTENT RESERVE IN is answered.
    pub(crate) fn note_inquiry(&self, service_action: u8) {
        self.counts.borrow_mut().note_inquiry(service_action);
    }

    /// How many commands there were.
    pub(crate) fn counts(&self) -> CommandCounts {
        *self.counts.borrow()
    }

    /// What the store has to be told; for `state`, if that is to be saved too.
    pub(crate) fn update(&self, state: Option<(&State, &Ages)>) -> (ReservationUpdate, Batch) {
        let batch = self.history.borrow_mut().unsaved();
        let mut update = ReservationUpdate {
            forget: batch.forget.clone(),
            entries: batch.entries.clone(),
            ..ReservationUpdate::default()
        };
        if let Some((state, ages)) = state {
            let record = reservation::encode(state);
            update.ages = Some(ages.encode(state, &record));
            update.record = Some(record);
        }
        (update, batch)
    }

    /// Whether the store has all of it.
    pub(crate) fn is_saved(&self) -> bool {
        self.update(None).0.is_empty()
    }

    /// The ages of a state that another process has left.
    pub(crate) fn take_over(&self, ages: Ages) {
        *self.ages.borrow_mut() = ages;
    }

    /// The store has it.
    pub(crate) fn saved(&self, batch: &Batch) {
        self.history.borrow_mut().saved(batch);
    }
}

/// The volume goes: who waits is to hear of it.
impl Drop for Chronicle {
    fn drop(&mut self) {
        self.wake_followers();
    }
}

impl Page {
    /// The ages of the new state.
    pub(crate) fn ages(&self) -> &Ages {
        &self.ages
    }

    /// How many commands PREEMPT AND ABORT has ended; they stay ended where it fails after all.
    pub(crate) fn note_aborted(&mut self, commands: u32) {
        self.entry.aborted = commands;
    }

    /// How long the writes of those who lost rights were waited for.
    pub(crate) fn note_fence(&mut self, began: Instant, now: Instant) {
        let took = now.since(began).as_micros();
        self.entry.fence_us = Some(u64::try_from(took).unwrap_or(u64::MAX));
    }
}

impl Home {
    /// Writes down something that was refused, or that changed nothing.
    pub(crate) fn note(self: &Rc<Self>, mut entry: Entry, local: &Local, shared: &Arc<Shared>) {
        entry.generation = self.inner.borrow().state.generation();
        self.chronicle.record(entry);
        self.save_history_later(local, shared);
    }

    /// Writes down that the target serves the volume from now on, where there is anything to tell.
    pub(crate) fn note_start(self: &Rc<Self>, local: &Local, shared: &Arc<Shared>) {
        let event = {
            let state = &self.inner.borrow().state;
            if state.registrations().len() == 0 && self.chronicle.history.borrow().is_empty() {
                return;
            }
            Event::Restored {
                registrations: u32::try_from(state.registrations().len()).unwrap_or(u32::MAX),
                kind: state.reservation().map(|held| held.kind),
            }
        };
        let at_ms = shared.wall_clock_ms(local.now());
        let entry = Entry {
            status: Status::Good,
            ..Entry::new(at_ms, Actor::Target, event)
        };
        self.note(entry, local, shared);
    }

    /// Saves what is not saved yet, in a while: one save for all that comes until then.
    pub(crate) fn save_history_later(self: &Rc<Self>, local: &Local, shared: &Arc<Shared>) {
        if self.chronicle.due.replace(true) {
            return;
        }
        // The volume may go meanwhile, and its store with it.
        let home: Weak<Self> = Rc::downgrade(self);
        let (saver, shared) = (local.clone(), Arc::clone(shared));
        local.spawn_later(HISTORY_SAVE_INTERVAL, async move {
            if let Some(home) = home.upgrade() {
                home.chronicle.due.set(false);
                home.save_history(&saver, &shared).await;
            }
        });
    }

    /// Saves what is not saved yet. What can't be is tried again with the next.
    pub(crate) async fn save_history(self: &Rc<Self>, local: &Local, shared: &Arc<Shared>) {
        if self.unsaved.get() {
            // The history goes with the state.
            let _ = self.put_right(local, shared).await;
        }
        let (update, batch) = self.chronicle.update(None);
        if update.is_empty() {
            return;
        }
        let deadline = local.now() + shared.fence_timeout;
        let saved = shared.saver.save(&self.volume, update, deadline, local);
        if saved.await.is_ok() {
            self.chronicle.saved(&batch);
        }
    }
}

/// How the history tells a failure.
pub(crate) fn status_of(failure: &Failure) -> Status {
    match &failure.sense {
        Some(sense) => Status::CheckCondition(sense.key as u8, sense.code.asc, sense.code.ascq),
        None => Status::Other(failure.status.code()),
    }
}

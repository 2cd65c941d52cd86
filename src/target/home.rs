//! The home of a volume: the one place that admits its sessions and changes its logical unit.
//!
//! Everything here is rare. The state machine of the reservations is pure; the home is its one
//! writer, makes the next state durable, publishes the snapshot that every I/O reads, and waits for
//! the fence before it lets the command end.

use super::failure::Failure;
use super::local::Local;
use super::message::{Call, Lost, Reply, Task};
use super::nexuses::NexusTable;
use super::owed::Owed;
use super::shared::Shared;
use super::takeovers::Takeovers;
use super::volume::Volume;
use crate::base::rcu;
use crate::reservation::{Attention, Nexus, NexusIndex, Outcome, Snapshot, State};
use crate::scsi::LogicalUnit;
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often a session is looked for that has been admitted and not reached its reactor.
const SEAT_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// One volume's home, on its reactor.
pub(crate) struct Home {
    pub(crate) volume: Arc<Volume>,
    pub(crate) inner: RefCell<Inner>,
    serial: Serial,
    /// The nexuses whose commands PREEMPT AND ABORT is ending at this moment.
    aborting: RefCell<Arc<Vec<NexusIndex>>>,
    /// What is durable may differ from the state: a save that should have undone another failed.
    unsaved: Cell<bool>,
}

/// What changes.
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) nexuses: NexusTable,
    pub(crate) seats: Vec<Seat>,
    /// Unit attentions for registrants that have no session.
    owed: Owed,
    pub(crate) takeovers: Takeovers,
}

/// A unit attention on its way.
struct Notice {
    registrant: Nexus,
    what: UnitAttention,
    /// The sessions that have not heard it, by TSIH.
    due: Vec<u16>,
    /// Some session has.
    is_told: bool,
}

/// A session of the volume.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) tsih: u16,
    pub(crate) nexus: Nexus,
    /// Of its registrant.
    pub(crate) index: NexusIndex,
    /// Where its initiator is.
    pub(crate) address: IpAddr,
    pub(crate) reactor: usize,
    /// PREVENT ALLOW MEDIUM REMOVAL.
    pub(crate) prevents_removal: bool,
}

impl Home {
    /// The home of a freshly attached volume with the reservation state that was restored.
    pub(crate) fn new(volume: Arc<Volume>, state: State) -> Rc<Self> {
        let inner = Inner {
            state,
            nexuses: NexusTable::default(),
            seats: Vec::new(),
            owed: Owed::default(),
            takeovers: Takeovers::default(),
        };
        let home = Rc::new(Self {
            volume,
            inner: RefCell::new(inner),
            serial: Serial::default(),
            aborting: RefCell::default(),
            unsaved: Cell::new(false),
        });
        home.publish(|_| {});
        home
    }

    /// Waits for the right to change the logical unit; one command at a time has it. A nexus whose
    /// commands are being aborted does not get it: two nodes that PREEMPT AND ABORT each other would
    /// wait for each other, and the first one is to win.
    pub(crate) async fn serialise(
        self: &Rc<Self>,
        nexus: Option<NexusIndex>,
    ) -> Result<SerialGuard, Failure> {
        let aborting = |index| self.aborting.borrow().binary_search(&index).is_ok();
        // A command that came after the abort may be sent again; one that came before is marked, and
        // this answer is not the one it gets.
        if nexus.is_some_and(aborting) || !self.serial.enter(nexus).await {
            return Err(Failure::BUSY);
        }
        Ok(SerialGuard(Rc::clone(self)))
    }

    /// Publishes the logical unit with the present sessions and reservations, after `change`.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut LogicalUnit)) {
        let mut inner = self.inner.borrow_mut();
        let removal_prevented = inner.prevents_removal();
        let Inner { state, nexuses, .. } = &mut *inner;
        let registered: Vec<&Nexus> = state
            .registrations()
            .map(|(nexus, _)| nexus)
            .chain(state.legacy_holder())
            .collect();
        nexuses.set_registered(&registered);
        let guard = rcu::pin();
        let mut unit = self.volume.unit.load(&guard).clone();
        unit.reservation = Snapshot::build(state, |nexus| nexuses.index_of(nexus));
        unit.removal_prevented = removal_prevented;
        change(&mut unit);
        self.volume.unit.store(unit, &guard);
    }

    /// Carries out what the state machine decided (spec/reservations.md section 7): durable, then
    /// published, then the fence, then the aborts and unit attentions. When this returns `Ok` no
    /// write of a nexus that lost its right can take effect any more. On `Err` nothing has changed.
    pub(crate) async fn enact(
        self: &Rc<Self>,
        outcome: Outcome,
        sender: Option<NexusIndex>,
        spare: Option<Task>,
        local: &Local,
        shared: &Shared,
    ) -> Result<(), Failure> {
        let before = self.inner.borrow().state.clone();
        let lost = Arc::new(self.lost(&outcome, sender));
        let aborted = Arc::new(self.indices(&outcome.aborted));
        let attentions = outcome.attentions;
        let durable = outcome.durable || self.unsaved.get();
        if durable {
            shared
                .save_reservations(&self.volume, &outcome.next)
                .await?;
            self.unsaved.set(false);
        }
        self.inner.borrow_mut().state = outcome.next;
        // Nexuses that are no longer registered keep their index until the fence has passed.
        let held = self.hold(&attentions);
        self.publish(|_| {});
        if let Err(failure) = self.fence(&lost, local, shared).await {
            self.inner.borrow_mut().state = before.clone();
            self.publish(|_| {});
            self.release(held);
            if durable
                && shared
                    .save_reservations(&self.volume, &before)
                    .await
                    .is_err()
            {
                tracing::error!(
                    volume = %self.volume.name,
                    "a reservation change that was taken back is still in the store"
                );
                self.unsaved.set(true);
            }
            return Err(failure);
        }
        self.abort(&aborted, spare, local, shared).await;
        // PREEMPT AND ABORT lets the medium of a failed node be ejected (SBC-3 section 5.10).
        self.prevent_removal(|seat| aborted.binary_search(&seat.index).is_ok(), false);
        self.attend(attentions, local).await;
        self.release(held);
        Ok(())
    }

    async fn fence(&self, lost: &Arc<Lost>, local: &Local, shared: &Shared) -> Result<(), Failure> {
        if lost.is_empty() {
            return Ok(());
        }
        let volume = self.volume.index;
        let deadline = local.now() + shared.fence_timeout;
        let call = || Call::Fence {
            volume,
            lost: Arc::clone(lost),
        };
        local
            .call_all(call, Some(deadline))
            .await
            .map(drop)
            .inspect_err(|_| {
                tracing::error!(
                    volume = %self.volume.name,
                    seconds = shared.fence_timeout.as_secs(),
                    "a write of a fenced nexus did not end in time; the reservation command failed"
                );
            })
    }

    /// Ends the commands of the nexuses that PREEMPT AND ABORT names.
    async fn abort(
        &self,
        nexuses: &Arc<Vec<NexusIndex>>,
        spare: Option<Task>,
        local: &Local,
        shared: &Shared,
    ) {
        if nexuses.is_empty() {
            return;
        }
        *self.aborting.borrow_mut() = Arc::clone(nexuses);
        let volume = self.volume.index;
        let attention = (!self.task_aborted_status()).then_some(UnitAttention::CommandsCleared);
        let call = || Call::AbortNexuses {
            volume,
            nexuses: Arc::clone(nexuses),
            spare,
            attention,
        };
        // The marks go out ahead of the refusals, so that a victim that is turned away is answered as
        // one whose command was aborted.
        let marks = local.call_all(call, Some(local.now() + shared.fence_timeout));
        self.serial
            .turn_away(|nexus| nexuses.binary_search(&nexus).is_ok());
        // The fence has passed: what is left can be a read that hangs, and that is no reason to fail.
        let _ = marks.await;
        *self.aborting.borrow_mut() = Arc::default();
    }

    fn lost(&self, outcome: &Outcome, sender: Option<NexusIndex>) -> Lost {
        let nexuses = self.indices(&outcome.fenced);
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

    fn indices(&self, nexuses: &[Nexus]) -> Vec<NexusIndex> {
        let inner = self.inner.borrow();
        let mut indices: Vec<_> = nexuses
            .iter()
            .filter_map(|nexus| inner.nexuses.index_of(nexus))
            .collect();
        indices.sort_unstable();
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

    /// Queues unit attentions: with every session of each registrant, or until it has one again.
    async fn attend(self: &Rc<Self>, attentions: Vec<(Nexus, Attention)>, local: &Local) {
        let mut notices: Vec<Notice> = {
            let inner = self.inner.borrow();
            let notice = |(registrant, what): (Nexus, Attention)| Notice {
                due: inner.sessions_of(&registrant),
                registrant,
                what: what.into(),
                is_told: false,
            };
            attentions.into_iter().map(notice).collect()
        };
        self.deliver(&mut notices, local).await;
        if notices.is_empty() {
            return;
        }
        // These have been admitted, and are on their way to their reactor or to their end.
        let (home, waiting) = (Rc::clone(self), local.clone());
        local.spawn(async move {
            while !notices.is_empty() {
                waiting.sleep(SEAT_CHECK_INTERVAL).await;
                home.deliver(&mut notices, &waiting).await;
            }
        });
    }

    /// Tells the sessions that are at their reactors, and owes what no session is left to hear. What
    /// stays in `notices` has to be tried again.
    async fn deliver(&self, notices: &mut Vec<Notice>, local: &Local) {
        self.settle(notices);
        let sessions = notices
            .iter()
            .flat_map(|notice| notice.due.iter().map(|tsih| (*tsih, notice.what)));
        let sessions: Arc<Vec<(u16, UnitAttention)>> = Arc::new(sessions.collect());
        if sessions.is_empty() {
            return;
        }
        let volume = self.volume.index;
        let call = || Call::Attend {
            volume,
            attentions: Arc::clone(&sessions),
        };
        let mut delivered = Vec::new();
        for reply in local.call_all(call, None).await.unwrap_or_default() {
            if let Reply::Delivered(sessions) = reply {
                delivered.extend(sessions);
            }
        }
        for notice in notices.iter_mut() {
            let due = notice.due.len();
            notice.due.retain(|tsih| !delivered.contains(tsih));
            notice.is_told |= notice.due.len() < due;
        }
        self.settle(notices);
    }

    /// Strikes sessions that have ended, and notices that are done with. One that nobody has heard
    /// goes to the sessions that the registrant has by now, or is owed.
    fn settle(&self, notices: &mut Vec<Notice>) {
        let mut inner = self.inner.borrow_mut();
        notices.retain_mut(|notice| {
            let present = inner.sessions_of(&notice.registrant);
            notice.due.retain(|tsih| present.contains(tsih));
            if notice.due.is_empty() && !notice.is_told {
                if present.is_empty() {
                    inner.owe(notice.registrant.clone(), notice.what);
                }
                notice.due = present;
            }
            !notice.due.is_empty()
        });
    }

    /// NUAR of the control mode page.
    pub(crate) fn releases_quietly(&self) -> bool {
        let guard = rcu::pin();
        self.volume
            .unit
            .load(&guard)
            .modes
            .current
            .no_attention_on_release
    }

    /// TAS of the control mode page.
    pub(crate) fn task_aborted_status(&self) -> bool {
        let guard = rcu::pin();
        self.volume
            .unit
            .load(&guard)
            .modes
            .current
            .task_aborted_status
    }
}

impl Inner {
    /// Whether some session keeps the medium from being ejected.
    pub(crate) fn prevents_removal(&self) -> bool {
        self.seats.iter().any(|seat| seat.prevents_removal)
    }

    /// What a registrant has to be told at its next login.
    pub(crate) fn take_owed(&mut self, registrant: &Nexus) -> AttentionQueue {
        self.owed.take(registrant)
    }

    /// How many registrants are owed unit attentions.
    pub(crate) fn owed_count(&self) -> usize {
        self.owed.len()
    }

    /// Keeps for the registrant what its session was not told any more.
    pub(crate) fn owe_all(&mut self, registrant: &Nexus, mut attentions: AttentionQueue) {
        while let Some(attention) = attentions.first() {
            attentions.withdraw(attention);
            if attention.is_about_reservations() {
                self.owe(registrant.clone(), attention);
            }
        }
    }

    fn owe(&mut self, registrant: Nexus, attention: UnitAttention) {
        let state = &self.state;
        self.owed.add(registrant, attention, |nexus| {
            state.registration(nexus).is_some()
        });
    }

    /// The sessions of a registrant, by TSIH.
    fn sessions_of(&self, registrant: &Nexus) -> Vec<u16> {
        let Some(index) = self.nexuses.index_of(registrant) else {
            return Vec::new();
        };
        let seats = self.seats.iter().filter(|seat| seat.index == index);
        seats.map(|seat| seat.tsih).collect()
    }
}

/// First come, first served.
#[derive(Default)]
struct Serial {
    taken: Cell<bool>,
    queue: RefCell<VecDeque<(Option<NexusIndex>, oneshot::Sender<()>)>>,
}

impl Serial {
    /// Waits for its turn, which is handed over by the one who leaves. False: turned away.
    async fn enter(&self, nexus: Option<NexusIndex>) -> bool {
        if !self.taken.replace(true) {
            return true;
        }
        let (sender, receiver) = oneshot::channel();
        self.queue.borrow_mut().push_back((nexus, sender));
        receiver.await.is_ok()
    }

    fn turn_away(&self, unwanted: impl Fn(NexusIndex) -> bool) {
        self.queue
            .borrow_mut()
            .retain(|(nexus, _)| !nexus.is_some_and(&unwanted));
    }

    fn leave(&self) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            match next {
                Some((_, sender)) => {
                    if sender.send(()).is_ok() {
                        return;
                    }
                }
                None => {
                    self.taken.set(false);
                    return;
                }
            }
        }
    }
}

/// The right to change the logical unit.
pub(crate) struct SerialGuard(Rc<Home>);

impl Drop for SerialGuard {
    fn drop(&mut self) {
        self.0.serial.leave();
    }
}

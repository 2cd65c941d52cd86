//! The home of a volume: the one place that admits its sessions and changes its logical unit.
//!
//! Everything here is rare. The state machine of the reservations is pure; the home is its one
//! writer, makes the next state durable, publishes the snapshot that every I/O reads, and waits for
//! the fence before it lets the command end.

use super::failure::Failure;
use super::local::Local;
use super::message::{Call, Lost, Reply, Task};
use super::nexuses::NexusTable;
use super::shared::Shared;
use super::store::ReservationUpdate;
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::base::limits::NEXUSES_MAX;
use crate::base::rcu;
use crate::reservation::{self, Access, Attention, Nexus, NexusIndex, Outcome, Snapshot, State};
use crate::scsi::LogicalUnit;
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use crate::scsi::sense::{Code, SenseKey};
use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

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

/// Who changes the reservation; nobody where the target does so by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct By {
    pub(crate) nexus: Option<NexusIndex>,
    /// The command, which goes on when the commands of its nexus are aborted.
    pub(crate) task: Option<Task>,
}

/// What changes.
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) nexuses: NexusTable,
    pub(crate) seats: Vec<Seat>,
    /// Unit attentions for nexuses that have no session.
    owed: BTreeMap<Nexus, Vec<UnitAttention>>,
}

/// A session of the volume.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) tsih: u16,
    pub(crate) nexus: Nexus,
    pub(crate) index: NexusIndex,
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
            owed: BTreeMap::new(),
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
    /// At `deadline` it gives up waiting for writes of the fenced.
    pub(crate) async fn enact(
        &self,
        outcome: Outcome,
        by: By,
        deadline: Instant,
        local: &Local,
        shared: &Shared,
    ) -> Result<(), Failure> {
        let before = self.inner.borrow().state.clone();
        let lost = Arc::new(self.lost(&outcome, by.nexus));
        let aborted = Arc::new(self.indices(&outcome.aborted));
        let attentions = outcome.attentions;
        let durable = outcome.durable || self.unsaved.get();
        if durable {
            self.save(&outcome.next, shared).await?;
            self.unsaved.set(false);
        }
        self.inner.borrow_mut().state = outcome.next;
        // Nexuses that are no longer registered keep their index until the fence has passed.
        let held = self.hold(&attentions);
        self.publish(|_| {});
        if let Err(failure) = self.fence(&lost, deadline, local).await {
            self.inner.borrow_mut().state = before.clone();
            self.publish(|_| {});
            self.release(held);
            if durable && self.save(&before, shared).await.is_err() {
                tracing::error!(
                    volume = %self.volume.name,
                    "a reservation change that was taken back is still in the store"
                );
                self.unsaved.set(true);
            }
            return Err(failure);
        }
        self.abort(&aborted, by.task, deadline, local).await;
        // PREEMPT AND ABORT lets the medium of a failed node be ejected (SBC-3 section 5.10).
        self.prevent_removal(|seat| aborted.binary_search(&seat.index).is_ok(), false);
        self.attend(attentions, local).await;
        self.release(held);
        Ok(())
    }

    /// Makes a state durable, as far as APTPL asks for it.
    async fn save(&self, state: &State, shared: &Shared) -> Result<(), Failure> {
        let update = ReservationUpdate {
            record: Some(reservation::encode(&state.after_power_loss())),
            ..ReservationUpdate::default()
        };
        shared.saver.save(&self.volume, update).await
    }

    /// Waits until what the `lost` have at the backend is over. A backend that hangs is a failure of
    /// the logical unit, not of the command: BUSY and ABORTED COMMAND would be sent again by
    /// initiators without a word to anybody, HARDWARE ERROR is reported.
    async fn fence(
        &self,
        lost: &Arc<Lost>,
        deadline: Instant,
        local: &Local,
    ) -> Result<(), Failure> {
        if lost.is_empty() {
            return Ok(());
        }
        let volume = self.volume.index;
        let call = || Call::Fence {
            volume,
            lost: Arc::clone(lost),
        };
        local
            .call_all(call, Some(deadline))
            .await
            .map(drop)
            .map_err(|_| {
                tracing::error!(
                    volume = %self.volume.name,
                    "a write of a fenced nexus did not end in time; the reservation command failed"
                );
                Failure::check(SenseKey::HardwareError, Code::LOGICAL_UNIT_TIMEOUT)
            })
    }

    /// Ends the commands of the nexuses that PREEMPT AND ABORT names.
    async fn abort(
        &self,
        nexuses: &Arc<Vec<NexusIndex>>,
        spare: Option<Task>,
        deadline: Instant,
        local: &Local,
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
        let marks = local.call_all(call, Some(deadline));
        self.serial
            .turn_away(|nexus| nexuses.binary_search(&nexus).is_ok());
        // The fence has passed: what is left can be a read that hangs, and that is no reason to fail.
        let _ = marks.await;
        *self.aborting.borrow_mut() = Arc::default();
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

    /// Queues unit attentions: with the session of the nexus, or until it has one again.
    async fn attend(&self, attentions: Vec<(Nexus, Attention)>, local: &Local) {
        let quiet = self
            .volume
            .unit
            .load(&rcu::pin())
            .modes
            .current
            .no_attention_on_release;
        let told = |attention: &Attention| !quiet || *attention != Attention::ReservationsReleased;
        let attentions: Vec<_> = attentions
            .into_iter()
            .filter(|(_, what)| told(what))
            .collect();
        if attentions.is_empty() {
            return;
        }
        let listed: Vec<(Option<NexusIndex>, Nexus, UnitAttention)> = {
            let inner = self.inner.borrow();
            attentions
                .into_iter()
                .map(|(nexus, attention)| (inner.nexuses.index_of(&nexus), nexus, attention.into()))
                .collect()
        };
        let sessions: Arc<Vec<_>> = Arc::new(
            listed
                .iter()
                .filter_map(|(index, _, what)| Some(((*index)?, *what)))
                .collect(),
        );
        let volume = self.volume.index;
        let call = || Call::Attend {
            volume,
            attentions: Arc::clone(&sessions),
        };
        let mut delivered = Vec::new();
        for reply in local.call_all(call, None).await.unwrap_or_default() {
            if let Reply::Delivered(indices) = reply {
                delivered.extend(indices);
            }
        }
        let mut inner = self.inner.borrow_mut();
        for (index, nexus, what) in listed {
            if index.is_none_or(|index| !delivered.contains(&index)) {
                inner.owe(nexus, what);
            }
        }
    }

    /// Passes if `nexus` may do this now. A command that was allowed when it was planned may have
    /// been overtaken on its way here.
    pub(crate) fn authorise(&self, nexus: NexusIndex, access: Access) -> Result<(), Failure> {
        let guard = rcu::pin();
        let rights = self.volume.unit.load(&guard).reservation.rights(nexus);
        if rights.permits(access) {
            Ok(())
        } else {
            Err(Failure::RESERVATION_CONFLICT)
        }
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

    /// What a nexus has to be told at its next login.
    pub(crate) fn take_owed(&mut self, nexus: &Nexus) -> Vec<UnitAttention> {
        self.owed.remove(nexus).unwrap_or_default()
    }

    /// Keeps for the nexus what its session was not told any more.
    pub(crate) fn owe_all(&mut self, nexus: &Nexus, mut attentions: AttentionQueue) {
        while let Some(attention) = attentions.first() {
            attentions.withdraw(attention);
            if attention.is_about_reservations() {
                self.owe(nexus.clone(), attention);
            }
        }
    }

    fn owe(&mut self, nexus: Nexus, attention: UnitAttention) {
        if self.owed.len() < NEXUSES_MAX as usize || self.owed.contains_key(&nexus) {
            let list = self.owed.entry(nexus).or_default();
            if !list.contains(&attention) {
                list.push(attention);
            }
        }
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

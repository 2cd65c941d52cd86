//! What the volume's home does: one change after the other, durable, published, fenced, answered.

use super::mutants::Mutant;
use super::scenario::Asks;
use super::state::{
    Change, Entry, Fault, HOME, Lost, Message, Reservation, Session, Set, Snapshot, Stage, Task,
};
use super::{Run, small};

impl Run<'_> {
    // ---- one at a time --------------------------------------------------------------------------

    /// A node sends a reservation command; its connection's reactor asks the home.
    pub(super) fn order_is_sent(&mut self, order: u8) {
        let (node, _) = self.model.scenario.orders[usize::from(order)];
        self.state.orders[usize::from(order)].task = Task::Runs;
        let reactor = self.model.scenario.connections[usize::from(node)];
        self.send(reactor, HOME, Message::Order(order));
    }

    /// `Home::serialise`: whoever is being aborted is turned away, and others wait for their turn.
    pub(super) fn order_arrives(&mut self, order: u8) {
        if self.is_turned_away(order, self.state.home.aborting) {
            self.answer(order);
        } else if self.state.home.change.is_some() {
            self.state.home.queue.push(order);
        } else {
            self.begin(order);
        }
    }

    fn is_turned_away(&self, order: u8, aborting: Set) -> bool {
        let (node, asks) = self.model.scenario.orders[usize::from(order)];
        let index = self.state.home.index_of(node);
        let stays = self.has(Mutant::QueuedVictimsStay)
            || self.has(Mutant::QueuedReadersStay) && asks == Asks::ReadKeys;
        !stays && index.is_some_and(|index| aborting.contains(index))
    }

    /// `reserve::reserve_out`: the next state, or a conflict, by the pure machine.
    fn begin(&mut self, order: u8) {
        let (sender, asks) = self.model.scenario.orders[usize::from(order)];
        let before = self.state.home.reservation;
        let mut next = before;
        let mut victims = Set::EMPTY;
        let registered = |node: u8| before.registered.contains(node);
        let granted = match asks {
            Asks::Register => {
                next.registered.insert(sender);
                true
            }
            Asks::Reserve => {
                next.reserved = true;
                registered(sender) && !before.reserved
            }
            Asks::Preempt { victim } | Asks::PreemptAndAbort { victim } => {
                next.registered.remove(victim);
                if matches!(asks, Asks::PreemptAndAbort { .. }) {
                    victims.insert(victim);
                }
                registered(sender) && registered(victim)
            }
            Asks::ReadKeys => false,
        };
        if !granted {
            self.answer(order);
            return self.next_in_line();
        }
        let indices = |nodes: Set| -> Set {
            nodes
                .iter()
                .filter_map(|node| self.state.home.index_of(node))
                .collect()
        };
        let removed = before
            .registered
            .iter()
            .filter(|node| !next.registered.contains(*node));
        let removed: Set = removed.filter(|node| *node != sender).collect();
        let mut aborted = indices(victims);
        if self.has(Mutant::AbortsByKey) && !victims.is_empty() {
            // The sender has registered the same key.
            aborted = indices(victims.iter().chain([sender]).collect());
        }
        let change = Change {
            order,
            stage: Stage::Saving,
            waits: Set::EMPTY,
            unquiet: Set::EMPTY,
            before,
            next,
            lost: self.lost(before, next, sender, aborted),
            aborted,
            victims,
            held: indices(removed),
        };
        for node in victims.iter() {
            let (writes, orders) = (self.writes_of(node), self.orders_of(node));
            for write in writes.iter() {
                self.state.writes[usize::from(write)].doomed = true;
            }
            for order in orders.iter() {
                self.state.orders[usize::from(order)].doomed = true;
            }
        }
        self.state.home.change = Some(change);
        if self.has(Mutant::PublishedBeforeDurable) {
            self.publish(next);
        }
        let durable =
            (before != next || self.state.home.unsaved) && !self.has(Mutant::AnsweredBeforeDurable);
        if !durable {
            self.change_is_durable();
        }
    }

    /// `Home::lost`.
    fn lost(&self, before: Reservation, next: Reservation, sender: u8, aborted: Set) -> Lost {
        let home = &self.state.home;
        let known = (0..8)
            .filter(|node| before.registered.contains(*node) || next.registered.contains(*node));
        let shrinks = |node: &u8| before.permits(*node) && !next.permits(*node);
        let nexuses: Set = known
            .filter(shrinks)
            .filter_map(|node| home.index_of(node))
            .chain(aborted.iter())
            .collect();
        let strangers =
            !before.reserved && next.reserved && !self.has(Mutant::FenceMissesStrangers);
        let others_but = strangers.then(|| {
            let spared = next.registered.iter().chain([sender]);
            spared
                .filter_map(|node| home.index_of(node))
                .filter(|index| !nexuses.contains(*index))
                .collect()
        });
        Lost {
            nexuses,
            others_but,
        }
    }

    // ---- Home::enact ----------------------------------------------------------------------------

    /// The store has saved what it was given.
    pub(super) fn store_saves(&mut self) {
        let Some(change) = self.state.home.change else {
            return;
        };
        match change.stage {
            Stage::TakingBack => {
                self.state.store = change.before;
                self.state.home.unsaved = false;
                self.fail();
            }
            _ => {
                self.state.store = change.next;
                self.set_stage(Stage::Saved);
            }
        }
    }

    /// The store could not save.
    pub(super) fn store_fails(&mut self) {
        self.state.store_may_fail = false;
        let taking_back = |change: Change| change.stage == Stage::TakingBack;
        if self.state.home.change.is_some_and(taking_back) {
            self.state.home.unsaved = true;
        }
        self.fail();
    }

    /// The home hears that the change is durable, or that it need not be: it publishes, has the
    /// victims' commands marked, and asks every reactor for a grace period.
    pub(super) fn change_is_durable(&mut self) {
        self.state.home.unsaved = false;
        let Some(change) = self.state.home.change else {
            return;
        };
        if !self.has(Mutant::VictimsNotHeld) {
            self.hold(change.held);
        }
        if !self.has(Mutant::FencedBeforePublished) {
            self.publish(change.next);
        }
        self.set_stage(Stage::Fencing);
        self.abort_victims(change.order, change.aborted);
        if change.lost.is_empty() || self.has(Mutant::NoGracePeriod) {
            return self.fence_has_passed();
        }
        if self.has(Mutant::FenceReadsFromOutside) {
            return self.look_from_outside();
        }
        let (order, lost) = (change.order, change.lost);
        let asked = match self.has(Mutant::OnlyHomeFences) {
            true => [small(HOME)].into_iter().collect(),
            false => self.model.scenario.owners(),
        };
        self.ask(asked, Message::Fence { order, lost });
        if let Some(change) = &mut self.state.home.change {
            change.waits = asked;
        }
    }

    /// `Home::abort`: the marks go out ahead of the refusals, and ahead of the fence.
    fn abort_victims(&mut self, order: u8, nexuses: Set) {
        if nexuses.is_empty() {
            return;
        }
        let asked = (0..self.model.scenario.reactors).collect();
        self.ask(asked, Message::Abort { order, nexuses });
        if let Some(change) = &mut self.state.home.change {
            change.unquiet = asked;
        }
        self.state.home.aborting = nexuses;
        let queue = std::mem::take(&mut self.state.home.queue);
        for order in queue {
            if self.is_turned_away(order, nexuses) {
                self.answer(order);
            } else {
                self.state.home.queue.push(order);
            }
        }
    }

    /// A mutant: the home adds up the reactors' counters without asking them.
    pub(super) fn look_from_outside(&mut self) {
        let Some(change) = self.state.home.change else {
            return;
        };
        let mut reactors = 0..usize::from(self.model.scenario.reactors);
        let quiet = reactors.all(|reactor| self.counted(reactor, change.lost).is_empty());
        if change.stage == Stage::Fencing && quiet {
            self.fence_has_passed();
        }
    }

    /// `Local::call_each`.
    fn ask(&mut self, reactors: Set, question: Message) {
        for reactor in reactors.iter() {
            self.send(HOME, usize::from(reactor), question);
        }
    }

    /// A reactor has replied; late replies are for nobody.
    pub(super) fn reply_arrives(&mut self, from: usize, order: u8, about: Stage) {
        let Some(change) = &mut self.state.home.change else {
            return;
        };
        if change.order != order || !matches!(change.stage, Stage::Fencing | Stage::Aborting) {
            return;
        }
        match about {
            Stage::Fencing => change.waits.remove(small(from)),
            _ => change.unquiet.remove(small(from)),
        }
        let change = *change;
        match change.stage {
            Stage::Fencing if about == Stage::Fencing && change.waits.is_empty() => {
                self.fence_has_passed();
            }
            Stage::Aborting if change.unquiet.is_empty() => self.succeed(),
            _ => {}
        }
    }

    fn fence_has_passed(&mut self) {
        let Some(change) = self.state.home.change else {
            return;
        };
        if self.has(Mutant::FencedBeforePublished) {
            self.publish(change.next);
        }
        if change.unquiet.is_empty() || self.has(Mutant::AnsweredBeforeQuiet) {
            return self.succeed();
        }
        self.set_stage(Stage::Aborting);
    }

    /// The bound of the fence: the state is taken back, and the command fails.
    pub(super) fn fence_times_out(&mut self) {
        let Some(change) = self.state.home.change else {
            return;
        };
        if self.has(Mutant::TimeoutIsGood) {
            return self.fence_has_passed();
        }
        if self.has(Mutant::TakenBackUnpublished) {
            self.state.home.reservation = change.before;
        } else {
            self.publish(change.before);
        }
        self.set_stage(Stage::TakingBack);
    }

    /// GOOD.
    fn succeed(&mut self) {
        let Some(change) = self.state.home.change.take() else {
            return;
        };
        self.state.home.aborting = Set::EMPTY;
        self.release(change.held);
        self.state.acknowledged = change.next;
        for node in (0..8).filter(|node| change.before.permits(*node)) {
            if !change.next.permits(node) {
                self.state.barred.insert(node);
            }
        }
        let writes = self.state.writes.iter();
        let survives = writes
            .clone()
            .any(|write| write.doomed && write.task != Task::Over)
            || self
                .state
                .orders
                .iter()
                .any(|order| order.doomed && order.task != Task::Over);
        if survives && !change.victims.is_empty() {
            self.break_promise(Fault::Survivor);
        }
        self.answer(change.order);
        self.next_in_line();
    }

    /// Not GOOD.
    fn fail(&mut self) {
        let Some(change) = self.state.home.change.take() else {
            return;
        };
        if change.stage == Stage::TakingBack {
            self.state.home.aborting = Set::EMPTY;
            self.release(change.held);
        }
        let table = self.state.home.table.iter().flatten();
        let same = table.clone().all(|entry| {
            let index = self.state.home.index_of(entry.node);
            let seen = index.map(|index| self.state.snapshot.permits(index));
            seen == Some(change.before.permits(entry.node))
        });
        if self.state.home.reservation != change.before || !same {
            self.break_promise(Fault::FailedButChanged);
        }
        self.answer(change.order);
        self.next_in_line();
    }

    /// The answer to a reservation command goes to its connection.
    fn answer(&mut self, order: u8) {
        let (node, _) = self.model.scenario.orders[usize::from(order)];
        let reactor = self.model.scenario.connections[usize::from(node)];
        self.send(HOME, reactor, Message::Answer(order));
    }

    /// `Serial::leave`.
    fn next_in_line(&mut self) {
        if self.state.home.change.is_none() && !self.state.home.queue.is_empty() {
            let order = self.state.home.queue.remove(0);
            self.begin(order);
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(change) = &mut self.state.home.change {
            change.stage = stage;
        }
    }

    // ---- the table of nexuses -------------------------------------------------------------------

    /// `Home::publish`: marks the registered nexuses in the table, and builds the snapshot.
    pub(super) fn publish(&mut self, reservation: Reservation) {
        self.state.home.reservation = reservation;
        for node in reservation.registered.iter() {
            self.intern(node);
        }
        for entry in self.state.home.table.iter_mut().flatten() {
            entry.registered = reservation.registered.contains(entry.node);
        }
        self.free_unused();
        let registered = reservation.registered.iter();
        self.state.snapshot = Snapshot {
            registered: registered
                .filter_map(|node| self.state.home.index_of(node))
                .collect(),
            reserved: reservation.reserved,
        };
        let still = self
            .state
            .barred
            .iter()
            .filter(|node| !reservation.permits(*node));
        self.state.barred = still.collect();
    }

    /// `NexusTable::intern`.
    fn intern(&mut self, node: u8) -> Option<u8> {
        if let Some(index) = self.state.home.index_of(node) {
            return Some(index);
        }
        let free = self.state.home.table.iter().position(Option::is_none)?;
        self.state.home.table[free] = Some(Entry {
            node,
            sessions: 0,
            registered: false,
        });
        Some(small(free))
    }

    /// `NexusTable::release`.
    fn free_unused(&mut self) {
        for slot in &mut self.state.home.table {
            if slot.is_some_and(|entry| entry.sessions == 0 && !entry.registered) {
                *slot = None;
            }
        }
    }

    fn hold(&mut self, indices: Set) {
        for index in indices.iter() {
            if let Some(entry) = &mut self.state.home.table[usize::from(index)] {
                entry.sessions += 1;
            }
        }
    }

    fn release(&mut self, indices: Set) {
        if self.has(Mutant::VictimsNotHeld) {
            return;
        }
        for index in indices.iter() {
            self.leave(index);
        }
    }

    /// `NexusTable::leave`.
    fn leave(&mut self, index: u8) {
        if let Some(entry) = &mut self.state.home.table[usize::from(index)] {
            entry.sessions = entry.sessions.saturating_sub(1);
        }
        self.free_unused();
    }

    /// A session is gone and quiet.
    pub(super) fn session_leaves(&mut self, node: u8, index: u8) {
        self.state.home.seats.remove(node);
        self.leave(index);
    }

    /// `login::admission`, once no session of the node is left. The way of the connection to its
    /// reactor is left out: nothing can be sent before it is there.
    pub(super) fn session_begins(&mut self, node: u8) {
        self.state.may_log_in.remove(node);
        if let Some(index) = self.intern(node) {
            self.hold([index].into_iter().collect());
            self.state.home.seats.insert(node);
            self.state.sessions[usize::from(node)] = Session::In { index };
        }
    }
}

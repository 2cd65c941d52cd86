//! What a reactor does: connections, shards, and the answers that the home waits for.
//!
//! A handler runs to its end before the reactor's next one, as in the program. The one place where
//! it matters what other reactors do meanwhile is between the check of a piece and its issue.

use super::mutants::Mutant;
use super::state::{Fault, HOME, Lost, Message, Piece, Session, Set, Stage, Task};
use super::{Run, small};

impl Run<'_> {
    // ---- from the initiator ---------------------------------------------------------------------

    /// A WRITE arrives: `Core::start` plans it under the snapshot of that moment, a conflict is
    /// answered, and otherwise R2T goes out.
    pub(super) fn write_arrives(&mut self, write: u8) {
        let node = self.node_of(write);
        let Some(index) = self.state.sessions[node].index() else {
            return;
        };
        let permitted = self.state.snapshot.permits(index);
        let write = &mut self.state.writes[usize::from(write)];
        write.index = index;
        write.task = if permitted {
            Task::AwaitsData
        } else {
            Task::Over
        };
    }

    /// The last Data-Out is there: `Core::data_out`, then `Core::launch`.
    pub(super) fn data_arrives(&mut self, write: u8) {
        self.state.writes[usize::from(write)].task = Task::Runs;
        self.launch(write);
    }

    /// ABORT TASK: `Core::abort_with`. What waits for data ends at once, what runs ends when it is
    /// quiet.
    pub(super) fn task_is_aborted(&mut self, write: u8) {
        self.mark(write);
        if self.has(Mutant::AbortForgetsPieces) {
            self.state.writes[usize::from(write)].counted = false;
            self.end_write(write);
        }
    }

    /// The connection is lost: `Core::begin_close`.
    pub(super) fn session_is_lost(&mut self, node: u8) {
        let Session::In { index } = self.state.sessions[usize::from(node)] else {
            return;
        };
        self.state.may_drop.remove(node);
        self.state.sessions[usize::from(node)] = Session::Closing { index };
        for write in self.writes_of(node).iter() {
            self.mark(write);
            if self.has(Mutant::SessionLossForgetsPieces) {
                self.state.writes[usize::from(write)].counted = false;
            }
        }
        for order in self.orders_of(node).iter() {
            self.state.orders[usize::from(order)].aborted = true;
        }
        self.settle(node);
    }

    /// Aborts one write.
    fn mark(&mut self, number: u8) {
        let write = &mut self.state.writes[usize::from(number)];
        match write.task {
            Task::AwaitsData => self.end_write(number),
            Task::Runs => write.aborted = true,
            Task::Unsent | Task::Over => {}
        }
    }

    // ---- a piece --------------------------------------------------------------------------------

    /// `Core::dispatch`: to the shard's owner, which may be this reactor.
    fn launch(&mut self, number: u8) {
        let (from, owner) = (self.connection(number), self.owner(number));
        self.state.writes[usize::from(number)].piece = Piece::OnItsWay;
        if from == owner {
            self.piece_arrives(number);
        } else {
            self.send(from, owner, Message::Piece(number));
        }
    }

    /// `Core::issue`, up to the check: one load of the snapshot.
    pub(super) fn piece_arrives(&mut self, number: u8) {
        let owner = self.owner(number);
        let write = self.state.writes[usize::from(number)];
        let unchecked = self.has(Mutant::NotCheckedAtIssue)
            || self.has(Mutant::OnlyFirstPieceChecked) && write.chunk > 0
            || self.has(Mutant::NotCheckedAfterLock) && write.piece == Piece::Waits;
        let permitted = unchecked || self.state.snapshot.permits(write.index);
        if !permitted {
            return self.hand_back(number, false);
        }
        let locked = self.state.reactors[owner].locked;
        let piece = if locked { Piece::Waits } else { Piece::Checked };
        self.state.writes[usize::from(number)].piece = piece;
        self.state.reactors[owner].checking = (!locked).then_some(number);
    }

    /// `Core::issue`, from there on: counted, and submitted to the backend.
    pub(super) fn piece_is_issued(&mut self, reactor: usize) {
        let Some(number) = self.state.reactors[reactor].checking.take() else {
            return;
        };
        let node = self.node_of(number);
        let write = &mut self.state.writes[usize::from(number)];
        write.piece = Piece::Issued;
        write.counted = true;
        let owner_of_index = self.state.home.table[usize::from(write.index)];
        if owner_of_index.is_none_or(|entry| usize::from(entry.node) != node) {
            self.break_promise(Fault::ForeignIndex);
        }
        if self.state.barred.contains(small(node)) {
            self.break_promise(Fault::LateWrite);
        }
    }

    /// The backend changes the medium.
    pub(super) fn piece_takes_effect(&mut self, number: u8) {
        let node = self.node_of(number);
        let write = &mut self.state.writes[usize::from(number)];
        write.piece = Piece::Effective;
        if write.task == Task::Over {
            self.break_promise(Fault::WriteAfterItsEnd);
        }
        if self.state.barred.contains(small(node)) {
            self.break_promise(Fault::LateWrite);
        }
    }

    /// `Core::complete`: those who watch the piece are a step further.
    pub(super) fn piece_completes(&mut self, number: u8) {
        let owner = self.owner(number);
        self.state.writes[usize::from(number)].counted = false;
        let mut drained = Vec::new();
        self.state.reactors[owner]
            .drains
            .retain_mut(|(order, left)| {
                left.remove(number);
                if left.is_empty() {
                    drained.push(*order);
                }
                !left.is_empty()
            });
        for order in drained {
            self.reply(owner, order, Stage::Fencing);
        }
        self.hand_back(number, true);
        if self.has(Mutant::FenceReadsFromOutside) {
            self.look_from_outside();
        }
    }

    /// `Core::hand_back`: to the reactor of the connection.
    fn hand_back(&mut self, write: u8, good: bool) {
        let (owner, to) = (self.owner(write), self.connection(write));
        self.state.writes[usize::from(write)].piece = Piece::OnItsWay;
        if owner == to {
            self.piece_is_done(write, good);
        } else {
            self.send(owner, to, Message::PieceDone { write, good });
        }
    }

    /// `Core::task_piece_done`, or the next step of a procedure.
    pub(super) fn piece_is_done(&mut self, number: u8, good: bool) {
        let pieces = self.model.scenario.writes[usize::from(number)].1.len();
        let write = &mut self.state.writes[usize::from(number)];
        write.piece = Piece::None;
        let last = usize::from(write.chunk) + 1 == pieces;
        if good && !last && !write.aborted && write.task == Task::Runs {
            write.chunk += 1;
            return self.launch(number);
        }
        self.end_write(number);
    }

    /// A write is answered, or quiet after it was aborted (`Core::abort_settled`).
    fn end_write(&mut self, number: u8) {
        let node = self.node_of(number);
        self.state.writes[usize::from(number)].task = Task::Over;
        for (_, writes, _) in &mut self.state.reactors[self.model.scenario.connections[node]].aborts
        {
            writes.remove(number);
        }
        self.tasks_have_ended(node);
    }

    /// The answer to a reservation command is back at its connection (`Core::finish_procedure`).
    pub(super) fn order_ends(&mut self, number: u8) {
        let node = usize::from(self.model.scenario.orders[usize::from(number)].0);
        self.state.orders[usize::from(number)].task = Task::Over;
        for (_, _, orders) in &mut self.state.reactors[self.model.scenario.connections[node]].aborts
        {
            orders.remove(number);
        }
        self.tasks_have_ended(node);
    }

    fn tasks_have_ended(&mut self, node: usize) {
        let reactor = self.model.scenario.connections[node];
        let mut quiet = Vec::new();
        self.state.reactors[reactor]
            .aborts
            .retain(|(order, writes, orders)| {
                let over = writes.is_empty() && orders.is_empty();
                if over {
                    quiet.push(*order);
                }
                !over
            });
        for order in quiet {
            self.reply(reactor, order, Stage::Aborting);
        }
        self.settle(small(node));
    }

    /// `Core::settle`, `Core::bury`: a session that ends leaves when all of it is quiet.
    fn settle(&mut self, node: u8) {
        let Session::Closing { index } = self.state.sessions[usize::from(node)] else {
            return;
        };
        let runs = |number: &u8| self.state.writes[usize::from(*number)].task == Task::Runs;
        let outstanding = self.writes_of(node).iter().any(|number| runs(&number))
            || !self.orders_of(node).is_empty();
        if !outstanding || self.has(Mutant::IndexFreedEarly) {
            self.state.sessions[usize::from(node)] = Session::Out;
            let reactor = self.model.scenario.connections[usize::from(node)];
            self.send(reactor, HOME, Message::Leave { node, index });
        }
    }

    // ---- for the home ---------------------------------------------------------------------------

    /// `Core::watch_writes`: answers when what has been issued here for those nexuses is over.
    pub(super) fn fence(&mut self, reactor: usize, order: u8, lost: Lost) {
        let issued = self.counted(reactor, lost);
        if issued.is_empty() || self.has(Mutant::AnsweredBeforeDrained) {
            return self.reply(reactor, order, Stage::Fencing);
        }
        self.state.reactors[reactor].drains.push((order, issued));
    }

    /// Writes that are counted as issued at a reactor and that the fence is for.
    pub(super) fn counted(&self, reactor: usize, lost: Lost) -> Set {
        let concerned = |number: &u8| {
            let write = &self.state.writes[usize::from(*number)];
            write.counted && lost.contains(write.index) && self.owner(*number) == reactor
        };
        self.write_numbers().filter(concerned).collect()
    }

    /// `Core::abort_sessions`: ends the commands of those nexuses, and answers when they are quiet.
    pub(super) fn abort(&mut self, reactor: usize, order: u8, nexuses: Set) {
        let mut waits = (Set::EMPTY, Set::EMPTY);
        for node in 0..small(self.state.sessions.len()) {
            let session = self.state.sessions[usize::from(node)];
            let here = self.model.scenario.connections[usize::from(node)] == reactor;
            if !here || !session.index().is_some_and(|index| nexuses.contains(index)) {
                continue;
            }
            let mut ended = false;
            for write in self.writes_of(node).iter() {
                ended |= self.state.writes[usize::from(write)].task != Task::Unsent;
                self.mark(write);
                if self.state.writes[usize::from(write)].task == Task::Runs {
                    waits.0.insert(write);
                }
            }
            // The order that aborts is spared.
            for other in self.orders_of(node).iter().filter(|other| *other != order) {
                ended = true;
                self.state.orders[usize::from(other)].aborted = true;
                waits.1.insert(other);
            }
            let meant = self
                .state
                .home
                .change
                .is_some_and(|change| change.victims.contains(node));
            if ended && !meant {
                self.break_promise(Fault::WrongVictim);
            }
        }
        if waits.0.is_empty() && waits.1.is_empty() {
            return self.reply(reactor, order, Stage::Aborting);
        }
        self.state.reactors[reactor]
            .aborts
            .push((order, waits.0, waits.1));
    }

    fn reply(&mut self, reactor: usize, order: u8, stage: Stage) {
        self.send(reactor, HOME, Message::Reply { order, stage });
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        self.state.mail[from][to].push(message);
    }

    // ---- who and where --------------------------------------------------------------------------

    pub(super) fn node_of(&self, write: u8) -> usize {
        usize::from(self.model.scenario.writes[usize::from(write)].0)
    }

    pub(super) fn connection(&self, write: u8) -> usize {
        self.model.scenario.connections[self.node_of(write)]
    }

    /// The owner of the shard that the present piece is for.
    fn owner(&self, write: u8) -> usize {
        let chunk = self.state.writes[usize::from(write)].chunk;
        self.model.scenario.writes[usize::from(write)].1[usize::from(chunk)]
    }

    fn write_numbers(&self) -> impl Iterator<Item = u8> + use<> {
        0..small(self.state.writes.len())
    }

    /// Writes of a node that are not over.
    pub(super) fn writes_of(&self, node: u8) -> Set {
        let live = |number: &u8| {
            let task = self.state.writes[usize::from(*number)].task;
            let sent = matches!(task, Task::AwaitsData | Task::Runs);
            sent && self.node_of(*number) == usize::from(node)
        };
        self.write_numbers().filter(live).collect()
    }

    /// Reservation commands of a node that have not been answered.
    pub(super) fn orders_of(&self, node: u8) -> Set {
        let orders = self.state.orders.iter().zip(self.model.scenario.orders);
        let live = orders.map(|(order, asked)| order.task == Task::Runs && asked.0 == node);
        live.enumerate()
            .filter(|(_, live)| *live)
            .map(|(number, _)| small(number))
            .collect()
    }
}

//! A writer: keeps many commands outstanding, and now and then aborts some or drops its session.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::lots::Lots;
use super::mix;
use super::orders::{Inbox, Order, Reserved, Wake};
use super::record::{Ending, Nexus};
use super::talk::Talk;

/// Commands that a writer keeps outstanding.
const DEPTH: usize = 10;
/// One that dawdles answers an R2T only when it has heard nothing for that long, so that most of its
/// commands wait for data at any time. A pace, not a judgement.
const DAWDLE: Duration = Duration::from_millis(2);

/// One in so many commands is followed by that.
mod rarely {
    pub(super) const ABORT_TASK: u64 = 60;
    pub(super) const ABORT_TASK_SET: u64 = 300;
    pub(super) const REINSTATEMENT: u64 = 80;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Idle,
    Running,
    Probing(u32),
}

/// One writer, on a thread of its own.
pub(crate) struct Writer {
    talk: Talk,
    inbox: Inbox,
    lots: Lots,
    mode: Mode,
    /// Told of each write that ends GOOD.
    progress: Sender<(Nexus, u64)>,
}

impl Writer {
    pub(crate) fn new(
        talk: Talk,
        inbox: Inbox,
        lots: Lots,
        progress: Sender<(Nexus, u64)>,
    ) -> Self {
        Self {
            talk,
            inbox,
            lots,
            mode: Mode::Idle,
            progress,
        }
    }

    /// Does as it is told until nobody is there to tell.
    pub(crate) fn work(mut self) {
        loop {
            match self.inbox.next() {
                Ok(Some(order)) => {
                    self.obey(order);
                    continue;
                }
                Ok(None) => {}
                Err(_) => return,
            }
            self.fill();
            let held = self.talk.session.has_held_r2ts();
            match self.inbox.wait(&self.talk.session, held.then_some(DAWDLE)) {
                Wake::Order => {}
                Wake::Socket => self.serve(),
                Wake::Nothing => {
                    self.talk.answer_held_r2t();
                }
            }
        }
    }

    fn serve(&mut self) {
        self.talk.serve();
        let good = std::mem::take(&mut self.talk.progress);
        if good > 0 {
            let _ = self.progress.send((self.talk.nexus(), good));
        }
        if self.talk.conflicted && self.mode == Mode::Running {
            self.mode = Mode::Idle;
        }
        if self.talk.must_sweep {
            self.talk.settle(true, Ending::Withdrawn);
        }
    }

    fn obey(&mut self, order: Order) {
        // Who no longer waits for the answer has its own trouble to tell of.
        match order {
            Order::Run => {
                self.talk.conflicted = false;
                self.mode = Mode::Running;
            }
            Order::Probe(commands) => self.mode = Mode::Probing(commands),
            Order::Settle { sweep, done } => {
                self.mode = Mode::Idle;
                self.talk.settle(sweep, Ending::Swept);
                let _ = done.send(());
            }
            Order::Reserve { command, done } => {
                let (sent, outcome, ended) = self.talk.run(&command);
                let _ = done.send(Reserved {
                    sent,
                    ended,
                    outcome,
                });
            }
            Order::Reset { done } => {
                self.talk.reset();
                let _ = done.send(());
            }
            Order::HandOver { done } => {
                let _ = done.send(std::mem::take(&mut self.talk.notes));
            }
        }
    }

    fn fill(&mut self) {
        while self.talk.outstanding() < DEPTH {
            match self.mode {
                Mode::Idle => return,
                Mode::Running => self.disturb(),
                Mode::Probing(0) => {
                    self.mode = Mode::Idle;
                    return;
                }
                Mode::Probing(left) => self.mode = Mode::Probing(left - 1),
            }
            if self.talk.go_on(&mut self.lots) {
                continue;
            }
            let (nexus, sequence) = (self.talk.nexus(), self.talk.next_sequence());
            let may_copy = self.talk.may_copy();
            let seen = &mut self.talk.seen;
            let draft = mix::draw(&mut self.lots, nexus, sequence, seen, may_copy);
            self.talk.send(draft, sequence);
        }
    }

    fn disturb(&mut self) {
        if self.lots.one_in(rarely::ABORT_TASK) {
            self.talk.withdraw(self.lots.draw());
        }
        if self.lots.one_in(rarely::ABORT_TASK_SET) {
            self.talk.sweep(Ending::Withdrawn);
        }
        if self.lots.one_in(rarely::REINSTATEMENT) {
            let drop_first = self.lots.one_in(2);
            self.talk.reinstate(drop_first);
        }
    }
}

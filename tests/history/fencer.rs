//! The fencer: changes registrations and reservations while the writers write, and looks at the
//! volume after each change that took a right away.
//!
//! It sends all reservation commands, over its own sessions or through a writer's, one after the
//! other, and knows from its [model](super::model) who loses and gains the right to write. Before a
//! nexus gains it, all that is outstanding on it ends: what is under way then would be bound by no
//! fence.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::area::{HALF_BLOCKS, windows};
use super::commands::{candidates, command};
use super::lots::Lots;
use super::mix;
use super::model::{Action, Model};
use super::orders::{Order, Post, Reserved};
use super::port::Port;
use super::record::{Change, Ending, Nexus, Notes};
use super::support::initiator::Command;
use super::support::reserve::{full_status, kind, read_full_status};
use super::talk::Talk;

/// Keys of the writers, each of which several share; a fencer's nexus has a key of its own.
const KEYS: [u64; 3] = [0xa1, 0xa2, 0xa3];
const OBSERVER_KEY: u64 = 0xf0;
/// Writes that each victim tries after the fence.
const PROBES: u32 = 6;
/// A writer that does not answer or write for that long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A writer as the fencer sees it.
pub(crate) struct Hand {
    pub(crate) port: Port,
    pub(crate) post: Post,
}

/// The fencer, with all that it needs.
pub(crate) struct Fencer {
    pub(crate) hands: Vec<Hand>,
    pub(crate) observers: Vec<Talk>,
    pub(crate) progress: Receiver<(Nexus, u64)>,
    pub(crate) lots: Lots,
    /// A write that is to be late comes within that time: the wait for what must not come.
    pub(crate) longest_delay: Duration,
    pub(crate) model: Model,
    pub(crate) changes: Vec<Change>,
    /// Fences with victims, by the command that took the right away.
    pub(crate) fences: BTreeMap<&'static str, u64>,
}

impl Fencer {
    /// Registers some, lets all write, takes the right away from some, and looks.
    pub(crate) fn round(&mut self) {
        self.arrange();
        self.let_write();
        if self.lots.one_in(8) {
            self.reset();
        }
        if self.lots.one_in(3) {
            self.take_over();
        } else {
            self.fence();
        }
    }

    /// Brings nexuses back in, and sees to it that there is a reservation.
    fn arrange(&mut self) {
        let mut back = self.everybody();
        back.retain(|&nexus| !self.model.is_registered(nexus));
        back.retain(|&nexus| self.is_observer(nexus) || !self.lots.one_in(4));
        self.settle(&back, false); // all at once is sooner than one after the other
        for nexus in back {
            self.register_if_needed(nexus);
        }
        if self.lots.one_in(2) {
            self.end_reservation();
            for nexus in self.observer_nexuses() {
                self.register_if_needed(nexus);
            }
        }
        if self.model.reservation.is_none() {
            let kind = self.some_kind();
            let registered: Vec<Nexus> = self.model.keys.keys().copied().collect();
            let holder = self.lots.pick(&registered).copied();
            let nexus = holder.expect("the observers are registered");
            self.change(Action::Reserve { nexus, kind });
        }
    }

    /// One command that takes the right to write from somebody, of any kind that can.
    fn fence(&mut self) {
        let mut by_name: BTreeMap<&str, Vec<Action>> = BTreeMap::new();
        for action in candidates(&self.model, &self.everybody(), |nexus| self.key_of(nexus)) {
            let after = self.model.after(action).map(|outcome| outcome.next);
            let fits = |after: &Model| {
                let lost = self.writers().any(|nexus| self.loses(nexus, after));
                lost && self.reader(after).is_some()
            };
            if after.as_ref().is_some_and(fits) {
                by_name.entry(action.name()).or_default().push(action);
            }
        }
        let names: Vec<&str> = by_name.keys().copied().collect();
        let Some(actions) = self.lots.pick(&names).map(|name| &by_name[name]) else {
            // Nobody who writes can lose it: an observer has it alone.
            return self.end_reservation();
        };
        let action = *self.lots.pick(actions).expect("no name without actions");
        self.change(action);
        self.look();
    }

    /// The reservation ends, all write, and an observer takes it: RELEASE or CLEAR, and RESERVE.
    fn take_over(&mut self) {
        self.end_reservation();
        self.let_write();
        let observers = self.observer_nexuses();
        let nexus = *self.lots.pick(&observers).expect("there are observers");
        self.register_if_needed(nexus);
        if self.model.reservation.is_some() {
            return;
        }
        let kind = self.some_kind();
        self.change(Action::Reserve { nexus, kind });
        self.look();
    }

    /// RELEASE or CLEAR.
    pub(crate) fn end_reservation(&mut self) {
        if self.model.reservation.is_none() {
            return;
        }
        let registered: Vec<Nexus> = self.model.keys.keys().copied().collect();
        let holders: Vec<Nexus> = registered
            .iter()
            .copied()
            .filter(|&nexus| self.model.holds(nexus))
            .collect();
        match self.lots.pick(&holders).copied() {
            Some(nexus) if self.lots.one_in(2) => self.change(Action::Release { nexus }),
            _ => {
                if let Some(&nexus) = self.lots.pick(&registered) {
                    self.change(Action::Clear { nexus });
                }
            }
        }
    }

    fn register_if_needed(&mut self, nexus: Nexus) {
        if !self.model.is_registered(nexus) {
            let key = self.key_of(nexus);
            self.change(Action::Register { nexus, key });
        }
    }

    // ---- one command --------------------------------------------------------------------------

    /// Sends a command that is legal, and notes what it changes.
    fn change(&mut self, action: Action) {
        let outcome = self.model.after(action);
        let outcome = outcome.unwrap_or_else(|| panic!("{action:?} is legal in {:?}", self.model));
        let writers: Vec<Nexus> = self.writers().collect();
        let all = self.everybody();
        let lost = all
            .iter()
            .copied()
            .filter(|&nexus| self.loses(nexus, &outcome.next));
        let lost: Vec<Nexus> = lost.collect();
        let gains = |nexus: &Nexus| !self.model.may_write(*nexus) && outcome.next.may_write(*nexus);
        let gained: Vec<Nexus> = all.iter().copied().filter(gains).collect();
        let waiting = gained
            .iter()
            .copied()
            .filter(|nexus| writers.contains(nexus));
        self.settle(&waiting.collect::<Vec<_>>(), false);

        let sender = action.sender();
        let command = command(action, &self.model, |nexus| self.port(nexus));
        let reserved = self.send(sender, command);
        assert!(
            reserved.outcome.is_good(),
            "{action:?} ends with status {:#04x}, sense {:02x?}; {:?}",
            reserved.outcome.status,
            reserved.outcome.sense_code(),
            self.model
        );
        self.model = outcome.next;
        self.changes.push(Change {
            name: action.name(),
            what: action.to_string(),
            sent: reserved.sent,
            good: reserved.ended,
            lost,
            gained: gained.clone(),
            aborted: outcome.aborted,
            attentions: outcome.attentions,
        });
        self.compare_with_server();
        for nexus in gained {
            if let Some(hand) = self.hand(nexus) {
                hand.post.send(Order::Run);
            }
        }
    }

    fn send(&mut self, sender: Nexus, command: Command) -> Reserved {
        if let Some(observer) = self.observer(sender) {
            let (sent, outcome, ended) = observer.run(&command);
            return Reserved {
                sent,
                ended,
                outcome,
            };
        }
        self.ask(sender, |done| Order::Reserve { command, done })
    }

    /// READ FULL STATUS says what the model says.
    fn compare_with_server(&mut self) {
        let (_, outcome, _) = self.observers[0].run(&read_full_status());
        let mut told: Vec<(String, u16, u64, bool)> = full_status(&outcome.good())
            .into_iter()
            .map(|told| (told.initiator, told.port, told.key, told.is_holder))
            .collect();
        told.sort();
        let registered = self.model.keys.iter().map(|(&nexus, &key)| {
            let port = self.port(nexus);
            (
                port.full_name(),
                port.target_port,
                key,
                self.model.holds(nexus),
            )
        });
        let mut expected: Vec<_> = registered.collect();
        expected.sort();
        assert_eq!(told, expected, "after {:?}", self.changes.last());
    }

    // ---- writers ------------------------------------------------------------------------------

    /// All who may write do so for a while.
    fn let_write(&mut self) {
        let writing: Vec<Nexus> = self
            .writers()
            .filter(|&w| self.model.may_write(w))
            .collect();
        for hand in &mut self.hands {
            hand.post.send(Order::Run);
        }
        if writing.is_empty() {
            return;
        }
        // What was reported before does not count.
        while self.progress.try_recv().is_ok() {}
        let mut wanted = 8 + self.lots.below(8 * writing.len() as u64);
        while wanted > 0 {
            match self.progress.recv_timeout(PATIENCE) {
                Ok((_, good)) => wanted = wanted.saturating_sub(good),
                Err(error) => panic!("{writing:?} may write and do not: {error}"),
            }
        }
    }

    /// Some writer resets the logical unit. That ends everybody's commands without a status.
    fn reset(&mut self) {
        let writers: Vec<Nexus> = self.writers().collect();
        let by = *self.lots.pick(&writers).expect("there are writers");
        self.ask(by, |done| Order::Reset { done });
        self.settle(&writers, false);
        self.let_write();
    }

    /// Looks at the volume after a fence, twice; between them the victims try to write, and time
    /// passes in which what is late would come. (That is a wait for something that must not happen,
    /// so it can only be a time. A machine that is slower than that hides a fault; it makes none.)
    fn look(&mut self) {
        let Some(change) = self.changes.last() else {
            return;
        };
        let (name, aborts) = (change.name, !change.aborted.is_empty());
        let mut victims = [&change.lost[..], &change.aborted].concat();
        victims.retain(|&nexus| !self.is_observer(nexus));
        victims.sort_unstable();
        victims.dedup();
        if victims.is_empty() {
            return;
        }
        *self.fences.entry(name).or_default() += 1;
        self.read_all();
        for &nexus in &victims {
            if let Some(hand) = self.hand(nexus) {
                hand.post.send(Order::Probe(PROBES));
            }
        }
        wait(self.longest_delay);
        self.read_all();
        let sweep = aborts || self.lots.one_in(4);
        self.settle(&victims, sweep);
    }

    /// Reads every block under judgement, all at once, through whoever may.
    pub(crate) fn read_all(&mut self) {
        let reader = self.reader(&self.model).expect("some observer may read");
        let observer = self.observer(reader).expect("it is an observer");
        observer.settle(false, Ending::Swept);
        let before = observer.notes.reads.len();
        let mut reads = 0;
        for window in windows() {
            let middle = window.start + HALF_BLOCKS;
            for half in [window.start..middle, middle..window.end] {
                observer.send(mix::read(half), 0);
                reads += 1;
            }
        }
        observer.finish();
        let good = observer.notes.reads.len() - before;
        assert_eq!(good, reads, "every read ends GOOD");
    }

    /// Waits until those have nothing outstanding and no unit attention.
    pub(crate) fn settle(&mut self, nexuses: &[Nexus], sweep: bool) {
        let mut answers = Vec::new();
        for &nexus in nexuses {
            let (done, answer) = channel();
            if let Some(hand) = self.hand(nexus) {
                hand.post.send(Order::Settle { sweep, done });
                answers.push((nexus, answer));
            }
        }
        for (nexus, answer) in answers {
            answer_of(nexus, &answer);
        }
    }

    /// What every writer and observer noted.
    pub(crate) fn hand_over(&mut self) -> Notes {
        let mut all = Notes::default();
        for nexus in self.writers().collect::<Vec<_>>() {
            all.absorb(self.ask(nexus, |done| Order::HandOver { done }));
        }
        for observer in &mut self.observers {
            all.absorb(std::mem::take(&mut observer.notes));
        }
        all
    }

    fn ask<T>(&mut self, nexus: Nexus, order: impl FnOnce(Sender<T>) -> Order) -> T {
        let (done, answer) = channel();
        let hand = self.hand(nexus).expect("a writer");
        hand.post.send(order(done));
        answer_of(nexus, &answer)
    }

    // ---- who is who ---------------------------------------------------------------------------

    pub(crate) fn writers(&self) -> impl Iterator<Item = Nexus> {
        self.hands.iter().map(|hand| hand.port.nexus)
    }

    fn observer_nexuses(&self) -> Vec<Nexus> {
        self.observers.iter().map(Talk::nexus).collect()
    }

    fn is_observer(&self, nexus: Nexus) -> bool {
        self.observers
            .iter()
            .any(|observer| observer.nexus() == nexus)
    }

    fn everybody(&self) -> Vec<Nexus> {
        self.writers().chain(self.observer_nexuses()).collect()
    }

    /// Those who may not write now.
    pub(crate) fn without_right(&self) -> Vec<Nexus> {
        let all = self.everybody().into_iter();
        all.filter(|&nexus| !self.model.may_write(nexus)).collect()
    }

    fn loses(&self, nexus: Nexus, after: &Model) -> bool {
        self.model.may_write(nexus) && !after.may_write(nexus)
    }

    /// An observer that may read then.
    fn reader(&self, model: &Model) -> Option<Nexus> {
        let mut observers = self.observers.iter().map(Talk::nexus);
        observers.find(|&nexus| model.may_read(nexus))
    }

    fn hand(&mut self, nexus: Nexus) -> Option<&mut Hand> {
        self.hands.iter_mut().find(|hand| hand.port.nexus == nexus)
    }

    fn observer(&mut self, nexus: Nexus) -> Option<&mut Talk> {
        self.observers
            .iter_mut()
            .find(|observer| observer.nexus() == nexus)
    }

    fn port(&self, nexus: Nexus) -> &Port {
        let observers = self.observers.iter().map(|observer| &observer.port);
        let mut ports = self.hands.iter().map(|hand| &hand.port).chain(observers);
        ports
            .find(|port| port.nexus == nexus)
            .expect("a known nexus")
    }

    fn key_of(&self, nexus: Nexus) -> u64 {
        if self.is_observer(nexus) {
            OBSERVER_KEY + u64::from(nexus)
        } else {
            KEYS[usize::try_from(nexus).expect("a small number") % KEYS.len()]
        }
    }

    fn some_kind(&mut self) -> u8 {
        *self.lots.pick(&kind::ALL).expect("six types")
    }
}

fn answer_of<T>(nexus: Nexus, answer: &Receiver<T>) -> T {
    match answer.recv_timeout(PATIENCE) {
        Ok(answer) => answer,
        Err(error) => panic!("writer {nexus} does not answer: {error}"),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing tells that something will not come"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

//! The commands of a volume that wait for its limits: a line at the volume's home.

use super::cost;
use super::fair::{Flow, Order};
use super::limits::Limits;
use crate::base::clock::Instant;
use crate::base::rate::Cost;
use crate::base::slots::SlotKey;
use crate::iscsi::TaskId;
use crate::scsi::Plan;
use crate::target::volume::VolumeIndex;
use std::collections::HashMap;
use std::sync::Arc;

/// A command that waits. The command itself stays with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The reactor of its connection.
    pub(crate) reactor: usize,
    pub(crate) connection: SlotKey,
    pub(crate) task: TaskId,
    pub(crate) cost: Cost,
}

/// Each session has a flow of its own.
type FlowKey = (usize, SlotKey);

impl Ticket {
    const fn flow(&self) -> FlowKey {
        (self.reactor, self.connection)
    }
}

/// What a reactor knows of the limits of one volume, and, at the volume's home, who waits for them.
///
/// ```text
///   flows of the sessions ──(order)──▶ head: charged ──(due)──▶ goes on
/// ```
/// Only the head has been charged. So a volume has one place in the line for its group's limits, and
/// volumes that share them go on by turns.
pub(crate) struct Line {
    limits: Arc<Limits>,
    head: Option<Head>,
    order: Order<FlowKey>,
    /// Those that are empty are kept for a while: a session that waits now and then is to cost no
    /// memory's allocation each time.
    flows: HashMap<FlowKey, Flow<Ticket>>,
    /// Until when the time that somebody waits has been counted.
    counted: Instant,
}

/// The command that goes next.
struct Head {
    ticket: Ticket,
    due: Instant,
}

/// What a command has been told that has to wait.
pub(crate) struct Wait {
    pub(crate) cost: Cost,
    /// It has been charged, at the home, and goes on then.
    pub(crate) due: Option<Instant>,
}

impl Line {
    fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            head: None,
            order: Order::default(),
            flows: HashMap::new(),
            counted: Instant::ZERO,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Charges for a command, unless others wait already. `None`: it may go.
    pub(crate) fn ask(&self, cost: Cost, at_home: bool, now: Instant) -> Option<Wait> {
        let mut wait = Wait { cost, due: None };
        if self.limits.is_contended() {
            return Some(wait);
        }
        let due = self.limits.charge(cost, now);
        if due <= now {
            return None;
        }
        if at_home {
            wait.due = Some(due);
        } else {
            // Where it stands in the line is for the home to say.
            self.limits.refund(cost);
        }
        Some(wait)
    }

    /// Charges for a command if it may go without a wait. Else it has still to [ask](Self::ask).
    pub(crate) fn lets_pass(&self, plan: &Plan, opcode: u8, now: Instant) -> bool {
        let Some(cost) = cost::of(plan, opcode) else {
            return true;
        };
        let passes = self.ask(cost, false, now).is_none();
        if passes {
            self.limits.count(cost, false);
        }
        passes
    }

    /// Takes in a command that has to wait. At the volume's home.
    pub(crate) fn enter(&mut self, ticket: Ticket, due: Option<Instant>, now: Instant) {
        if self.head.is_none() && self.order.is_empty() {
            self.counted = now;
            let due = due.unwrap_or_else(|| self.limits.charge(ticket.cost, now));
            self.head = Some(Head { ticket, due });
            return self.limits.set_contended(true);
        }
        let weight = self.limits.weight(ticket.cost);
        let key = ticket.flow();
        if self.flows.len() == self.flows.capacity() && !self.flows.contains_key(&key) {
            let order = &self.order;
            self.flows.retain(|_, flow| !order.has_forgotten(flow));
        }
        let flow = self.flows.entry(key).or_default();
        self.order.push(key, flow, weight, ticket);
    }

    /// When the head goes on.
    fn due(&self) -> Option<Instant> {
        self.head.as_ref().map(|head| head.due)
    }

    /// Takes the head out if it is due, and makes the next one the head.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Ticket> {
        let head = self.head.take_if(|head| head.due <= now)?;
        self.count_waiting(now);
        self.choose_head(now);
        Some(head.ticket)
    }

    /// Takes out whoever is next, due or not; nothing is charged for it.
    pub(crate) fn take_any(&mut self) -> Option<Ticket> {
        if let Some(Head { ticket, .. }) = self.head.take() {
            self.limits.refund(ticket.cost);
            return Some(ticket);
        }
        self.next()
    }

    /// These commands of a connection wait no longer.
    pub(crate) fn forget(&mut self, flow: FlowKey, tasks: &[TaskId], now: Instant) {
        let gone = |ticket: &Ticket| tasks.contains(&ticket.task);
        if let Some(waiting) = self.flows.get_mut(&flow) {
            waiting.retain(|ticket| !gone(ticket));
        }
        let of_head = |head: &mut Head| head.ticket.flow() == flow && gone(&head.ticket);
        if let Some(head) = self.head.take_if(of_head) {
            self.count_waiting(now);
            self.limits.refund(head.ticket.cost);
            self.choose_head(now);
        }
    }

    /// Makes the command the head whose turn it is.
    fn choose_head(&mut self, now: Instant) {
        match self.next() {
            Some(ticket) => {
                let due = self.limits.charge(ticket.cost, now);
                self.head = Some(Head { ticket, due });
            }
            None => self.limits.set_contended(false),
        }
    }

    fn next(&mut self) -> Option<Ticket> {
        loop {
            let key = self.order.pop()?;
            let flow = self.flows.get_mut(&key);
            if let Some(ticket) = flow.and_then(|flow| self.order.take(key, flow)) {
                return Some(ticket);
            }
        }
    }

    /// Other limits hold from now on. The head is told anew how long it waits.
    fn change(&mut self, limits: Arc<Limits>, now: Instant) {
        let former = std::mem::replace(&mut self.limits, limits);
        if let Some(head) = &mut self.head {
            // What they share with the former ones, a group's, is not to be paid twice.
            former.refund(head.ticket.cost);
            head.due = self.limits.charge(head.ticket.cost, now);
            self.limits.set_contended(true);
        }
    }

    fn count_waiting(&mut self, now: Instant) {
        let waited = now.since(self.counted);
        self.counted = now;
        self.limits.count_waiting(waited);
    }
}

/// The limits that one reactor knows, and when it has to look at the lines that are here.
#[derive(Default)]
pub(crate) struct Lines {
    /// By volume index; empty as long as no volume is limited.
    table: Vec<Option<Box<Line>>>,
    /// The lines that have a head, and when it goes on.
    waiting: Vec<(Instant, VolumeIndex)>,
    /// The earliest of them.
    next: Option<Instant>,
}

impl Lines {
    /// Whether the volume has limits.
    #[inline]
    pub(crate) fn has(&self, volume: VolumeIndex) -> bool {
        let line = self.table.get(usize::from(volume.0));
        line.is_some_and(Option::is_some)
    }

    pub(crate) fn get(&self, volume: VolumeIndex) -> Option<&Line> {
        self.table.get(usize::from(volume.0))?.as_deref()
    }

    /// Changes a line; nothing if the volume has no limits.
    pub(crate) fn change<R>(
        &mut self,
        volume: VolumeIndex,
        change: impl FnOnce(&mut Line) -> R,
    ) -> Option<R> {
        let line = self.table.get_mut(usize::from(volume.0))?.as_deref_mut()?;
        let changed = change(line);
        let due = line.due();
        self.note(volume, due);
        Some(changed)
    }

    /// Sets limits where there may have been others.
    pub(crate) fn set(&mut self, volume: VolumeIndex, limits: Arc<Limits>, now: Instant) {
        let position = usize::from(volume.0);
        if self.table.len() <= position {
            self.table.resize_with(position + 1, || None);
        }
        if self.table[position].is_none() {
            self.table[position] = Some(Box::new(Line::new(limits)));
            return;
        }
        self.change(volume, |line| line.change(limits, now));
    }

    /// Takes the line away with whoever waits in it.
    pub(crate) fn remove(&mut self, volume: VolumeIndex) -> Option<Box<Line>> {
        let line = self.table.get_mut(usize::from(volume.0))?.take();
        self.note(volume, None);
        line
    }

    /// When the first head goes on.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// A volume whose head goes on now.
    pub(crate) fn due(&self, now: Instant) -> Option<VolumeIndex> {
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let due = self.waiting.iter().find(|(due, _)| *due <= now);
        due.map(|(_, volume)| *volume)
    }

    /// Notes when the head of a line goes on.
    fn note(&mut self, volume: VolumeIndex, due: Option<Instant>) {
        let noted = self.waiting.iter().position(|(_, of)| *of == volume);
        match (due, noted) {
            (Some(due), Some(place)) => self.waiting[place].0 = due,
            (Some(due), None) => self.waiting.push((due, volume)),
            (None, Some(place)) => drop(self.waiting.swap_remove(place)),
            (None, None) => return,
        }
        self.next = self.waiting.iter().map(|(due, _)| *due).min();
    }
}

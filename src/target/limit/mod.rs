//! Limits of volumes and of volume groups: how many operations and bytes per second.
//!
//! ```text
//!   command ─▶ plan ─▶ ask ──── may go ─────────────────────────────▶ buffer, R2T, backend
//!                       │                                                ▲
//!                       └─▶ line at the volume's home ─▶ head, when due ─┘
//!                            a flow for each session       (planned anew)
//! ```
//!
//! | room | what it is |
//! |---|---|
//! | [`limits`] | what all reactors share of one volume's limits |
//! | [`cost`] | which commands ask, and what they take |
//! | `line` | who waits for a volume, and when the first of them goes on |
//! | `fair` | whose command is the next |
//!
//! A command asks before it takes a buffer and before its data are asked for, and holds nothing while it
//! waits but its place in the command window: MaxCmdSN stays, and the initiator has to wait as well. One
//! that goes on is planned anew, so that what has become of its rights meanwhile counts: a write that
//! waited out a PREEMPT is refused as one that came after it.
//!
//! As long as a volume stays below its limits, every reactor charges for its own commands and asks nobody.
//! Once one has to wait, all that come wait in one line, which the volume's home keeps: sessions share
//! alike, wherever they live.
//!
//! Invariants: no reactor waits for another, or for a clock: the number that a charge brings back says
//! when to look again, and the tick's deadline is set to it. A volume without limits costs a branch.

mod cost;
mod fair;
mod limits;
mod line;

pub use limits::{LimitUsage, Limits};

pub(crate) use line::{Line, Lines, Ticket, Wait};

use super::connection::Work;
use super::core::{Core, Turn};
use super::handle::{Target, TargetError, find};
use super::message::{Call, Message};
use super::volume::VolumeIndex;
use crate::base::clock::Instant;
use crate::base::rate::Cost;
use crate::base::slots::SlotKey;
use crate::iscsi::Command;
use crate::scsi::Plan;
use crate::volume::VolumeId;
use std::sync::Arc;

/// Whether a command has been charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credit {
    /// It has still to ask.
    Ask,
    /// It has waited as long as it had to.
    Has,
}

impl Core {
    /// Whether a command of a limited volume, at home there, has to wait.
    pub(crate) fn ask_credit(
        &mut self,
        (volume, home): (VolumeIndex, usize),
        command: &Command,
        plan: &Plan,
        now: Instant,
    ) -> Option<Wait> {
        let opcode = command.cdb.as_slice().first().copied().unwrap_or(0);
        let cost = cost::of(plan, opcode)?;
        let line = self.lines.get(volume)?;
        let wait = line.ask(cost, home == self.id, now);
        if wait.is_none() {
            line.limits().count(cost, false);
        }
        wait
    }

    /// Has a command wait as it was told. Data that come along with it are dropped, and asked for again
    /// once it goes on (R2T).
    pub(crate) fn wait_for_credit(
        &mut self,
        key: SlotKey,
        command: Command,
        (volume, home): (VolumeIndex, usize),
        wait: Wait,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let _ = conn.iscsi.refuse_data_out(command.task);
        conn.activate(&command, Work::Limited, turn.now());
        let ticket = Ticket {
            reactor: self.id,
            connection: key,
            task: command.task,
            cost: wait.cost,
        };
        conn.limited.push_back(command);
        if home == self.id {
            self.enter_line(volume, ticket, wait.due, turn);
        } else {
            turn.send(home, Message::Wait { volume, ticket });
        }
    }

    /// A command of some reactor's waits for a volume that is at home here.
    pub(crate) fn enter_line(
        &mut self,
        volume: VolumeIndex,
        ticket: Ticket,
        due: Option<Instant>,
        turn: &mut Turn<'_, '_>,
    ) {
        let now = turn.now();
        let entered = self
            .lines
            .change(volume, |line| line.enter(ticket, due, now));
        if entered.is_none() {
            // The limits have gone meanwhile.
            self.send_on(volume, ticket, turn);
        }
    }

    /// Lets those commands go on whose time has come; whether there was one.
    pub(crate) fn release_due(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let now = turn.now();
        let mut released = false;
        while let Some(volume) = self.lines.due(now) {
            let head = self.lines.change(volume, |line| line.take_due(now));
            if let Some(ticket) = head.flatten() {
                released = true;
                self.send_on(volume, ticket, turn);
            }
        }
        released
    }

    fn send_on(&mut self, volume: VolumeIndex, ticket: Ticket, turn: &mut Turn<'_, '_>) {
        if ticket.reactor == self.id {
            self.go_on(volume, ticket, turn);
        } else {
            turn.send(ticket.reactor, Message::Go { volume, ticket });
        }
    }

    /// A command of a connection here has waited as long as it had to. If it has been aborted meanwhile,
    /// or its connection has gone, its charge is given back.
    pub(crate) fn go_on(&mut self, volume: VolumeIndex, ticket: Ticket, turn: &mut Turn<'_, '_>) {
        let (key, line) = (ticket.connection, self.lines.get(volume));
        let waiting = self.connections.get_mut(key).and_then(|conn| {
            let place = conn
                .limited
                .iter()
                .position(|one| one.task == ticket.task)?;
            // It says something now: data, or an R2T.
            self.outlists.lend(&mut conn.iscsi);
            conn.limited.remove(place)
        });
        match (waiting, line.map(Line::limits)) {
            (Some(command), limits) => {
                if let Some(limits) = limits {
                    limits.count(ticket.cost, true);
                }
                self.retry(key, command, turn);
            }
            (None, Some(limits)) => limits.refund(ticket.cost),
            (None, None) => {}
        }
    }

    /// Commands of a connection that waited have been aborted: they take no place in line any more.
    pub(crate) fn forget_aborted(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let mut limited = std::mem::take(&mut conn.limited);
        let mut tasks = Vec::new();
        limited.retain(|command| {
            let active = conn.active_mut(command.task);
            let waits = active.is_some_and(|active| matches!(active.work, Work::Limited));
            tasks.extend((!waits).then_some(command.task));
            waits
        });
        conn.limited = limited;
        let Some(session) = conn.session.as_ref() else {
            return;
        };
        let (volume, home) = (session.volume.index, session.volume.home);
        if home == self.id {
            let (flow, now) = ((self.id, key), turn.now());
            self.lines
                .change(volume, |line| line.forget(flow, &tasks, now));
        } else {
            let message = Message::Forget {
                volume,
                reactor: self.id,
                connection: key,
                tasks,
            };
            turn.send(home, message);
        }
    }

    /// Other limits hold for a volume from now on, or none: then everybody goes on who waits.
    pub(crate) fn set_limits(
        &mut self,
        volume: VolumeIndex,
        limits: Option<Arc<Limits>>,
        turn: &mut Turn<'_, '_>,
    ) {
        if let Some(limits) = limits {
            return self.lines.set(volume, limits, turn.now());
        }
        let Some(mut line) = self.lines.remove(volume) else {
            return;
        };
        while let Some(ticket) = line.take_any() {
            self.send_on(volume, ticket, turn);
        }
    }

    /// Charges for a request that the target makes by itself, and says from when on it may be made if not
    /// now.
    pub(crate) fn charge(
        &mut self,
        volume: VolumeIndex,
        cost: Cost,
        now: Instant,
    ) -> Option<Instant> {
        let limits = self.lines.get(volume)?.limits();
        let due = limits.charge(cost, now);
        limits.count(cost, due > now);
        (due > now).then_some(due)
    }
}

impl Target {
    /// Sets what a volume may do from now on; `None`: anything. Who waits for the former limits goes on
    /// by the new ones. Volumes of a group share its limiter.
    ///
    /// # Errors
    /// When the volume is unknown, or the reactors don't answer.
    pub fn set_limits(&self, id: VolumeId, limits: Option<Arc<Limits>>) -> Result<(), TargetError> {
        let volume = find(&self.control(), id)?;
        let index = volume.index;
        self.ask(volume.home, move |local, _| async move {
            let call = || Call::Limit {
                volume: index,
                limits: limits.clone(),
            };
            local.call_all(call, None).await.map(drop)
        })??;
        Ok(())
    }
}

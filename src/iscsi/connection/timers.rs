//! What a connection does by itself when time passes: login timeout, NOP-In pings, Data-Out that
//! does not come.

use super::super::error::CloseReason;
use super::super::event::Event;
use super::{Connection, Phase};
use crate::base::clock::Instant;

/// When the initiator was last heard and asked.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When bytes were last taken.
    pub(super) heard: Instant,
    /// When a NOP-In was sent that nothing has followed.
    pub(super) pinged: Option<Instant>,
}

impl Connection {
    /// When [`Connection::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Login(_) => Some(self.opened + self.link.settings.login_timeout),
            Phase::FullFeature(session) => {
                let nop = self.nop_deadline();
                nop.into_iter().chain(session.stall_check).min()
            }
            Phase::Closed => None,
        }
    }

    /// Acts on what is due at `now`: login timeout, NOP-In ping, Data-Out that does not come. At
    /// most one event comes of it.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event> {
        self.link.now = now;
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match &mut self.phase {
            Phase::Login(_) if due(Some(self.opened + self.link.settings.login_timeout)) => {
                self.close(CloseReason::LoginTimeout);
            }
            Phase::FullFeature(_) => {
                // Input that waits for the owner's answer may hold what is missing.
                if self.waits_for_owner() {
                    self.liveness.heard = now;
                    self.liveness.pinged = None;
                }
                if due(self.nop_deadline()) {
                    self.nop_due(now);
                }
                self.stall_due(now);
            }
            _ => {}
        }
        self.link.events.pop_front()
    }

    /// Counts all time anew: the owner did not listen meanwhile, and what it has not heard is not the
    /// initiator's fault.
    pub fn excuse(&mut self, now: Instant) {
        self.link.now = now;
        self.liveness = Liveness {
            heard: now,
            pinged: None,
        };
        if let Phase::FullFeature(session) = &mut self.phase {
            session.excuse_stall(now);
        }
    }

    fn nop_deadline(&self) -> Option<Instant> {
        let interval = self.link.settings.nop_interval?;
        Some(match self.liveness.pinged {
            Some(pinged) => pinged + self.link.settings.nop_timeout,
            None => self.liveness.heard + interval,
        })
    }

    fn nop_due(&mut self, now: Instant) {
        if self.liveness.pinged.is_some() {
            return self.close(CloseReason::NopTimeout);
        }
        if let Phase::FullFeature(session) = &mut self.phase {
            session.ping(&mut self.link);
            self.liveness.pinged = Some(now);
        }
    }

    /// Looks at every task at most once per timeout, not per PDU.
    fn stall_due(&mut self, now: Instant) {
        let excused = self.waits_for_owner();
        let Phase::FullFeature(session) = &mut self.phase else {
            return;
        };
        if session.stall_check.is_none_or(|check| check > now) {
            return;
        }
        if excused {
            session.excuse_stall(now);
        }
        let timeout = self.link.settings.data_out_timeout;
        session.stall_check = session
            .slowest_data_out()
            .map(|progress| progress + timeout);
        if session.stall_check.is_some_and(|check| check <= now) {
            self.close(CloseReason::DataOutTimeout);
        }
    }
}

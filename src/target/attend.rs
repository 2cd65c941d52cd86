//! Unit attentions of reservations, from the home to the sessions: each goes to its own registrant, and
//! none is lost.
//!
//! A registrant has sessions that take it at once, or sessions that are on their way from reactor to
//! reactor (which are looked for until they have landed or gone), or none (it is told at its next
//! login).

use super::home::{Home, Inner, Seat};
use super::local::Local;
use super::message::{Call, Reply};
use crate::reservation::{Attention, Nexus};
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

/// How often a session is looked for that has been admitted and not reached its reactor.
const SEAT_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The unit attentions of one volume that some session has yet to hear.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    list: Vec<Notice>,
    next: u64,
    /// Somebody sees to it that they are brought.
    tended: bool,
}

/// A unit attention on its way.
#[derive(Debug)]
struct Notice {
    number: u64,
    registrant: Nexus,
    what: UnitAttention,
    /// The sessions that have not heard it, by TSIH.
    due: Vec<u16>,
    /// Some session has.
    is_told: bool,
}

impl Notices {
    /// Whether there is one.
    pub(super) fn is_pending(&self) -> bool {
        !self.list.is_empty()
    }
}

impl Home {
    /// Queues unit attentions: with every session of each registrant, or until it has one again.
    pub(crate) async fn attend(
        self: &Rc<Self>,
        attentions: Vec<(Nexus, Attention)>,
        local: &Local,
    ) {
        self.inner.borrow_mut().announce(attentions);
        self.deliver(local).await;
        let mut inner = self.inner.borrow_mut();
        let left = !inner.notices.list.is_empty();
        if left && !std::mem::replace(&mut inner.notices.tended, true) {
            // Their sessions have been admitted, and are on their way to their reactor or to their end.
            local.spawn(deliver_later(Rc::downgrade(self), local.clone()));
        }
    }

    /// Tells the sessions that are at their reactors, and owes what no session is left to hear. What
    /// stays has to be tried again.
    async fn deliver(&self, local: &Local) {
        let (sessions, sent) = self.inner.borrow_mut().undelivered();
        if sessions.is_empty() {
            return;
        }
        let reactors = self.inner.borrow().reactors_of(&sessions);
        let sessions = Arc::new(sessions);
        let volume = self.volume.index;
        let call = || Call::Attend {
            volume,
            attentions: Arc::clone(&sessions),
        };
        let mut delivered = Vec::new();
        let replies = local.call_each(reactors, call, None).await;
        for reply in replies.unwrap_or_default() {
            if let Reply::Delivered(sessions) = reply {
                delivered.extend(sessions);
            }
        }
        self.inner.borrow_mut().heard(&delivered, sent);
    }
}

/// Tries again until nothing is left to deliver, or the volume has gone.
async fn deliver_later(home: Weak<Home>, local: Local) {
    loop {
        local.sleep(SEAT_CHECK_INTERVAL).await;
        let Some(home) = home.upgrade() else { return };
        home.deliver(&local).await;
        let mut inner = home.inner.borrow_mut();
        if inner.notices.list.is_empty() {
            inner.notices.tended = false;
            return;
        }
    }
}

impl Inner {
    fn announce(&mut self, attentions: Vec<(Nexus, Attention)>) {
        for (registrant, what) in attentions {
            let due = self.sessions_of(&registrant);
            let number = self.notices.next;
            self.notices.next += 1;
            self.notices.list.push(Notice {
                number,
                registrant,
                what: what.into(),
                due,
                is_told: false,
            });
        }
    }

    /// What sessions have yet to be told, by TSIH, and the number of the first notice that is not in it.
    fn undelivered(&mut self) -> (Vec<(u16, UnitAttention)>, u64) {
        self.settle();
        let list = self.notices.list.iter();
        let sessions = list.flat_map(|notice| notice.due.iter().map(|tsih| (*tsih, notice.what)));
        (sessions.collect(), self.notices.next)
    }

    /// Where those sessions are, or are on their way to.
    fn reactors_of(&self, sessions: &[(u16, UnitAttention)]) -> BTreeSet<usize> {
        let due = |seat: &&Seat| sessions.iter().any(|(tsih, _)| *tsih == seat.tsih);
        self.seats
            .iter()
            .filter(due)
            .map(|seat| seat.reactor)
            .collect()
    }

    /// Those sessions have been told all notices below `sent`.
    fn heard(&mut self, sessions: &[u16], sent: u64) {
        let told = self.notices.list.iter_mut();
        for notice in told.filter(|notice| notice.number < sent) {
            let due = notice.due.len();
            notice.due.retain(|tsih| !sessions.contains(tsih));
            notice.is_told |= notice.due.len() < due;
        }
        self.settle();
    }

    /// Strikes sessions that have ended, and notices that are done with. One that nobody has heard
    /// goes to the sessions that the registrant has by now, or is owed.
    fn settle(&mut self) {
        let mut list = std::mem::take(&mut self.notices.list);
        list.retain_mut(|notice| {
            let present = self.sessions_of(&notice.registrant);
            notice.due.retain(|tsih| present.contains(tsih));
            if notice.due.is_empty() && !notice.is_told {
                if present.is_empty() {
                    self.owe(notice.registrant.clone(), notice.what);
                }
                notice.due = present;
            }
            !notice.due.is_empty()
        });
        self.notices.list = list;
    }

    /// What a registrant has to be told at its login, before anything else: what it is owed, and what
    /// was for sessions that have ended since and has not been settled.
    pub(crate) fn take_owed(&mut self, registrant: &Nexus) -> AttentionQueue {
        let mut attentions = self.owed.take(registrant);
        let present = self.sessions_of(registrant);
        self.notices.list.retain_mut(|notice| {
            if notice.is_told || notice.registrant != *registrant {
                return true;
            }
            notice.due.retain(|tsih| present.contains(tsih));
            if notice.due.is_empty() {
                attentions.raise(notice.what);
            }
            !notice.due.is_empty()
        });
        attentions
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

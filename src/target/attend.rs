//! Unit attentions of reservations, from the home to the sessions: each goes to its own nexus, once,
//! and none is lost.
//!
//! A nexus has a session that takes it at once, or a session that is on its way from reactor to
//! reactor (which is asked again until it has landed or gone), or none (it is told at its next login).

use super::home::{Home, Inner};
use super::local::Local;
use super::message::{Call, Reply};
use super::owed::listed;
use crate::base::rcu;
use crate::reservation::{Attention, Nexus, NexusIndex};
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How soon a session on its way is asked again, at first and at last.
const PATIENCE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

impl Home {
    /// Queues unit attentions: with the session of the nexus, or until it has one again.
    pub(crate) async fn attend(
        self: &Rc<Self>,
        attentions: Vec<(Nexus, Attention)>,
        local: &Local,
    ) {
        let quiet = self
            .volume
            .unit
            .load(&rcu::pin())
            .modes
            .current
            .no_attention_on_release;
        let told = attentions
            .into_iter()
            .filter(|(_, what)| !quiet || *what != Attention::ReservationsReleased)
            .map(|(nexus, what)| (nexus, what.into()))
            .collect();
        self.deliver(told, local).await;
        if self.inner.borrow().owes_a_session() && !self.delivering.replace(true) {
            local.spawn(deliver_later(Rc::downgrade(self), local.clone()));
        }
    }

    /// Hands unit attentions to the sessions that there are; what no session took is owed.
    async fn deliver(&self, attentions: Vec<(Nexus, UnitAttention)>, local: &Local) {
        if attentions.is_empty() {
            return;
        }
        let listed: Vec<(Option<NexusIndex>, Nexus, UnitAttention)> = {
            let inner = self.inner.borrow();
            attentions
                .into_iter()
                .map(|(nexus, what)| (inner.nexuses.index_of(&nexus), nexus, what))
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
                inner.owed.add(&nexus, what);
            }
        }
    }
}

/// Asks again for as long as somebody is owed something who has a session.
async fn deliver_later(home: std::rc::Weak<Home>, local: Local) {
    let [mut patience, last] = PATIENCE;
    loop {
        local.sleep(patience).await;
        patience = last.min(patience * 2);
        // The volume may have gone meanwhile.
        let Some(home) = home.upgrade() else { return };
        let attentions = home.inner.borrow_mut().take_owed_to_sessions();
        home.deliver(attentions, &local).await;
        if !home.inner.borrow().owes_a_session() {
            home.delivering.set(false);
            return;
        }
    }
}

impl Inner {
    /// What a nexus has to be told at its login.
    pub(crate) fn take_owed(&mut self, nexus: &Nexus) -> Vec<UnitAttention> {
        self.owed.take(nexus)
    }

    /// Keeps for the nexus what its session was not told any more.
    pub(crate) fn owe_all(&mut self, nexus: &Nexus, attentions: AttentionQueue) {
        for attention in listed(attentions).filter(|what| what.is_about_reservations()) {
            self.owed.add(nexus, attention);
        }
    }

    fn owes_a_session(&self) -> bool {
        self.seats.iter().any(|seat| self.owed.owes(&seat.nexus))
    }

    fn take_owed_to_sessions(&mut self) -> Vec<(Nexus, UnitAttention)> {
        let Self { seats, owed, .. } = self;
        seats
            .iter()
            .flat_map(|seat| {
                let attentions = owed.take(&seat.nexus);
                attentions
                    .into_iter()
                    .map(|what| (seat.nexus.clone(), what))
            })
            .collect()
    }
}

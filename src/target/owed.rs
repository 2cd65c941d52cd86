//! Unit attentions for those who have no session to be told in.
//!
//! A nexus that is told something while it is logged out hears of it at its next login. One that is
//! still registered is sure to: it will be looked for by its key. One that has lost its registration
//! may never come back, as after every re-login with a changed ISID, so of those only so many are
//! remembered.

use crate::base::limits::{ATTENTIONS_OWED_TO_NAME_MAX, ATTENTIONS_OWED_TO_STRANGERS_MAX};
use crate::reservation::Nexus;
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one volume owes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Owed {
    #[serde(with = "crate::base::pairs")]
    debts: BTreeMap<Nexus, Debt>,
    /// Orders debts by age.
    next: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Debt {
    attentions: AttentionQueue,
    since: u64,
}

impl Owed {
    /// How many are owed something.
    pub(crate) fn len(&self) -> usize {
        self.debts.len()
    }

    /// What this one has to be told now that it is back.
    pub(crate) fn take(&mut self, nexus: &Nexus) -> AttentionQueue {
        self.debts
            .remove(nexus)
            .map_or(AttentionQueue::EMPTY, |debt| debt.attentions)
    }

    /// Keeps `what` for `nexus`. A nexus for which `is_registered` holds is never forgotten, and there
    /// are no more of those than registrations.
    pub(crate) fn add(
        &mut self,
        nexus: Nexus,
        what: UnitAttention,
        is_registered: impl Fn(&Nexus) -> bool,
    ) {
        let since = self.next;
        self.next += 1;
        let name = nexus.initiator.name().to_owned();
        let debt = self.debts.entry(nexus).or_insert(Debt {
            attentions: AttentionQueue::EMPTY,
            since,
        });
        debt.attentions.raise(what);
        // A client that comes back under ever new ISIDs drives out its own former selves alone.
        self.forget_above(ATTENTIONS_OWED_TO_NAME_MAX, |nexus| {
            nexus.initiator.name() == name && !is_registered(nexus)
        });
        self.forget_above(ATTENTIONS_OWED_TO_STRANGERS_MAX, |nexus| {
            !is_registered(nexus)
        });
    }

    /// Forgets the oldest debts to those that `is_meant` selects, down to `limit` of them.
    fn forget_above(&mut self, limit: usize, is_meant: impl Fn(&Nexus) -> bool) {
        if self.debts.len() <= limit {
            return;
        }
        let meant = self.debts.iter().filter(|(nexus, _)| is_meant(nexus));
        let mut meant: Vec<(u64, Nexus)> = meant
            .map(|(nexus, debt)| (debt.since, nexus.clone()))
            .collect();
        meant.sort_unstable();
        let surplus = meant.len().saturating_sub(limit);
        for (_, nexus) in meant.drain(..surplus) {
            self.debts.remove(&nexus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reservation::InitiatorPort;

    const PREEMPTED: UnitAttention = UnitAttention::RegistrationsPreempted;

    fn nexus(name: &str, isid: u32) -> Nexus {
        let [a, b, c, d] = isid.to_be_bytes();
        Nexus::new(InitiatorPort::new(name, [0, 0, a, b, c, d]), 1)
    }

    #[test]
    fn what_is_owed_is_told_once_and_in_order() {
        let mut owed = Owed::default();
        let node = nexus("iqn.2024-01.x:a", 1);
        for what in [UnitAttention::ReservationsReleased, PREEMPTED, PREEMPTED] {
            owed.add(node.clone(), what, |_| false);
        }
        let mut told = owed.take(&node);
        assert_eq!(told.first(), Some(PREEMPTED));
        told.withdraw(PREEMPTED);
        assert_eq!(told.first(), Some(UnitAttention::ReservationsReleased));
        assert!(owed.take(&node).is_empty());
        assert_eq!(owed.len(), 0);
    }

    #[test]
    fn a_client_that_keeps_coming_back_drives_out_only_itself() {
        let mut owed = Owed::default();
        let victim = nexus("iqn.2024-01.x:victim", 1);
        owed.add(victim.clone(), PREEMPTED, |_| false);
        let registered: Vec<_> = (0..50)
            .map(|isid| nexus("iqn.2024-01.x:member", isid))
            .collect();
        let is_registered = |nexus: &Nexus| registered.contains(nexus);
        for node in &registered {
            owed.add(node.clone(), PREEMPTED, is_registered);
        }
        for isid in 0..1000 {
            owed.add(
                nexus("iqn.2024-01.x:client", isid),
                PREEMPTED,
                is_registered,
            );
        }
        let expected = ATTENTIONS_OWED_TO_NAME_MAX + registered.len() + 1;
        assert_eq!(owed.len(), expected);
        for node in registered.iter().chain([&victim]) {
            assert!(!owed.take(node).is_empty(), "{node} was forgotten");
        }
        assert!(owed.take(&nexus("iqn.2024-01.x:client", 0)).is_empty());
        assert!(!owed.take(&nexus("iqn.2024-01.x:client", 999)).is_empty());
    }

    #[test]
    fn of_many_strangers_the_oldest_are_forgotten() {
        let mut owed = Owed::default();
        let stranger = |host: usize| nexus(&format!("iqn.2024-01.x:{host}"), 1);
        for host in 0..=ATTENTIONS_OWED_TO_STRANGERS_MAX {
            owed.add(stranger(host), PREEMPTED, |_| false);
        }
        assert_eq!(owed.len(), ATTENTIONS_OWED_TO_STRANGERS_MAX);
        assert!(owed.take(&stranger(0)).is_empty());
        assert!(!owed.take(&stranger(1)).is_empty());
    }
}

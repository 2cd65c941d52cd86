//! Unit attentions for nexuses that have no session to be told in.

use crate::base::limits::NEXUSES_MAX;
use crate::reservation::Nexus;
use crate::scsi::attention::{AttentionQueue, UnitAttention};
use std::collections::{BTreeMap, HashMap};

/// What a volume owes to nexuses that are away.
///
/// Bounded, because an initiator can come under ever new names and never come back. Room is made by
/// dropping what has waited longest: a nexus that comes back after all is told POWER ON, RESET, OR BUS
/// DEVICE RESET OCCURRED at its login, which obliges it to look at its registration again.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    by_nexus: HashMap<Nexus, Debt>,
    /// The nexuses, in the order in which they were first owed something.
    order: BTreeMap<u64, Nexus>,
    next: u64,
}

#[derive(Debug)]
struct Debt {
    order: u64,
    attentions: AttentionQueue,
}

impl Owed {
    /// Owes `nexus` one more.
    pub(crate) fn add(&mut self, nexus: &Nexus, attention: UnitAttention) {
        if let Some(debt) = self.by_nexus.get_mut(nexus) {
            return debt.attentions.raise(attention);
        }
        if self.by_nexus.len() >= NEXUSES_MAX as usize
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by_nexus.remove(&oldest);
        }
        let order = self.next;
        self.next += 1;
        let mut attentions = AttentionQueue::EMPTY;
        attentions.raise(attention);
        self.order.insert(order, nexus.clone());
        self.by_nexus
            .insert(nexus.clone(), Debt { order, attentions });
    }

    /// Whether `nexus` is owed anything.
    pub(crate) fn owes(&self, nexus: &Nexus) -> bool {
        self.by_nexus.contains_key(nexus)
    }

    /// What `nexus` is to be told now; the debt is paid.
    pub(crate) fn take(&mut self, nexus: &Nexus) -> Vec<UnitAttention> {
        let Some(debt) = self.by_nexus.remove(nexus) else {
            return Vec::new();
        };
        self.order.remove(&debt.order);
        listed(debt.attentions).collect()
    }
}

/// The conditions of a queue, in their order.
pub(crate) fn listed(mut attentions: AttentionQueue) -> impl Iterator<Item = UnitAttention> {
    std::iter::from_fn(move || {
        let first = attentions.first()?;
        attentions.withdraw(first);
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reservation::InitiatorPort;

    fn nexus(number: u32) -> Nexus {
        let [_, _, high, low] = number.to_be_bytes();
        let port = InitiatorPort::new("iqn.2024-01.example:node", [0x80, 0, 0, 0, high, low]);
        Nexus::new(port, 1)
    }

    #[test]
    fn a_debt_is_paid_once_and_to_its_nexus() {
        let mut owed = Owed::default();
        owed.add(&nexus(1), UnitAttention::ReservationsReleased);
        owed.add(&nexus(2), UnitAttention::ReservationsPreempted);
        owed.add(&nexus(1), UnitAttention::RegistrationsPreempted);
        owed.add(&nexus(1), UnitAttention::ReservationsReleased);
        let both = [
            UnitAttention::RegistrationsPreempted,
            UnitAttention::ReservationsReleased,
        ];
        assert_eq!(owed.take(&nexus(1)), both);
        assert!(owed.take(&nexus(1)).is_empty() && !owed.owes(&nexus(1)));
        assert!(owed.owes(&nexus(2)));
    }

    #[test]
    fn those_who_never_come_back_leave_room_for_others() {
        let mut owed = Owed::default();
        let all = NEXUSES_MAX + 100;
        for number in 0..all {
            owed.add(&nexus(number), UnitAttention::RegistrationsPreempted);
        }
        assert_eq!(owed.by_nexus.len(), NEXUSES_MAX as usize);
        assert_eq!(owed.order.len(), owed.by_nexus.len());
        assert!(!owed.owes(&nexus(0)) && !owed.owes(&nexus(99)));
        let last = owed.take(&nexus(all - 1));
        assert_eq!(last, [UnitAttention::RegistrationsPreempted]);
    }
}

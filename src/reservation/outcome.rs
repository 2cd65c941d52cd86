//! What follows from a command that succeeded.

use super::identity::Nexus;
use super::state::State;
use std::collections::BTreeSet;

/// A unit attention condition to establish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attention {
    /// RESERVATIONS PREEMPTED (2Ah/03h): a CLEAR.
    ReservationsPreempted,
    /// RESERVATIONS RELEASED (2Ah/04h).
    ReservationsReleased,
    /// REGISTRATIONS PREEMPTED (2Ah/05h).
    RegistrationsPreempted,
}

impl Attention {
    /// The additional sense code and qualifier.
    #[must_use]
    pub const fn additional_sense(self) -> (u8, u8) {
        match self {
            Self::ReservationsPreempted => (0x2a, 0x03),
            Self::ReservationsReleased => (0x2a, 0x04),
            Self::RegistrationsPreempted => (0x2a, 0x05),
        }
    }
}

/// The next state and what has to happen for it to hold.
///
/// In this order: mark the commands of `aborted`; make `next` durable if `durable`; publish its
/// snapshot; wait for the I/O in flight of the nexuses that lost rights; establish the unit
/// attentions; answer GOOD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The state from here on.
    pub next: State,
    /// Unit attentions, at most one per nexus, never for the sender.
    pub attentions: Vec<(Nexus, Attention)>,
    /// Nexuses registered before or after, or holding an SPC-2 reservation, that lost the right to
    /// read or to write.
    pub fenced: Vec<Nexus>,
    /// Whether all other nexuses, which are known by their sessions alone, lost the right to read or
    /// to write. The sender is never meant.
    pub fences_unregistered: bool,
    /// Nexuses whose commands PREEMPT AND ABORT ends. May list the sender, whose PERSISTENT RESERVE
    /// OUT itself goes on.
    pub aborted: Vec<Nexus>,
    /// Whether the record that outlives a power loss changes.
    pub durable: bool,
}

impl Outcome {
    /// What follows from `before` becoming `next` with these `attentions`.
    pub(super) fn between(
        before: &State,
        next: State,
        attentions: Vec<(Nexus, Attention)>,
    ) -> Self {
        let known: BTreeSet<&Nexus> = [before, &next]
            .into_iter()
            .flat_map(|state| state.registrations.keys().chain(&state.legacy_holder))
            .collect();
        let shrinks = |nexus: &&Nexus| before.rights(nexus).shrink_to(next.rights(nexus));
        Self {
            fenced: known.into_iter().filter(shrinks).cloned().collect(),
            fences_unregistered: before.stranger_rights().shrink_to(next.stranger_rights()),
            aborted: Vec::new(),
            durable: before.after_power_loss() != next.after_power_loss(),
            attentions,
            next,
        }
    }

    /// Whether any I/O in flight has to be waited for before GOOD.
    #[must_use]
    pub fn fences(&self) -> bool {
        self.fences_unregistered || !self.fenced.is_empty()
    }
}

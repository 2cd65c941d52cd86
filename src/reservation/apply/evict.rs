//! What an operator does when no initiator is left who can: outside the standard, and therefore in
//! the manner of the service action that comes nearest.

use super::super::kinds::Key;
use super::super::outcome::{Attention, Outcome};
use super::super::state::State;
use std::collections::BTreeSet;

/// Removes every registration and reservation, an SPC-2 reservation included, as CLEAR does; all who
/// had one are told. `None` if there is nothing to remove.
#[must_use]
pub fn evict_all(state: &State) -> Option<Outcome> {
    if state.registrations.is_empty() && !state.is_reserved() {
        return None;
    }
    let mut next = State {
        generation: state.generation,
        aptpl: state.aptpl,
        ..State::new()
    };
    next.advance_generation();
    let concerned: BTreeSet<_> = state
        .registrations
        .keys()
        .chain(&state.legacy_holder)
        .collect();
    let told = concerned
        .into_iter()
        .map(|nexus| (nexus.clone(), Attention::ReservationsPreempted))
        .collect();
    Some(Outcome::between(state, next, told))
}

/// Removes the registrations of `key`, as a PREEMPT by nobody does: a reservation whose holder goes
/// is released and taken by no one. `None` if nobody has registered that key.
#[must_use]
pub fn evict_key(state: &State, key: Key) -> Option<Outcome> {
    let meant = state
        .registrations
        .iter()
        .filter(|(_, registration)| registration.key == key);
    let removed: BTreeSet<_> = meant.map(|(nexus, _)| nexus.clone()).collect();
    if removed.is_empty() {
        return None;
    }
    let mut next = state.clone();
    let released = next.unregister(&removed);
    next.advance_generation();
    let mut told: Vec<_> = match released {
        Some(kind) if kind.is_registrants_only() => next
            .registrations
            .keys()
            .map(|nexus| (nexus.clone(), Attention::ReservationsReleased))
            .collect(),
        _ => Vec::new(),
    };
    let losers = removed.into_iter();
    told.extend(losers.map(|nexus| (nexus, Attention::RegistrationsPreempted)));
    Some(Outcome::between(state, next, told))
}

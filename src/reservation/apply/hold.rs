//! RESERVE, RELEASE and CLEAR (SPC-4 sections 5.13.9, 5.13.11.2 and 5.13.11.5).

use super::super::command::Refusal;
use super::super::identity::Nexus;
use super::super::kinds::{Key, ReservationType, ScopeAndType};
use super::super::outcome::{Attention, Outcome};
use super::super::state::{Reservation, State};
use super::{authorise, tell_others};

/// Takes the reservation; a holder may repeat itself.
pub(super) fn reserve(
    state: &State,
    from: &Nexus,
    key: Key,
    kind: ReservationType,
) -> Result<Outcome, Refusal> {
    authorise(state, from, key)?;
    let mut next = state.clone();
    match &state.reservation {
        None => next.reservation = Some(Reservation::taken_by(from, kind)),
        Some(held) if state.is_holder(from) && held.kind == kind => {}
        Some(_) => return Err(Refusal::Conflict),
    }
    Ok(Outcome::between(state, next, Vec::new()))
}

/// Gives the reservation back; from a registrant that does not hold it, GOOD without effect.
pub(super) fn release(
    state: &State,
    from: &Nexus,
    key: Key,
    scope_and_type: ScopeAndType,
) -> Result<Outcome, Refusal> {
    authorise(state, from, key)?;
    let mut next = state.clone();
    let Some(held) = state.reservation.as_ref().filter(|_| state.is_holder(from)) else {
        return Ok(Outcome::between(state, next, Vec::new()));
    };
    if scope_and_type != ScopeAndType::of(held.kind) {
        return Err(Refusal::WRONG_RELEASE);
    }
    next.reservation = None;
    let attentions = if held.kind.is_shared_by_registrants() {
        tell_others(&next, from, Attention::ReservationsReleased)
    } else {
        Vec::new()
    };
    Ok(Outcome::between(state, next, attentions))
}

/// Releases the reservation and removes every registration.
pub(super) fn clear(state: &State, from: &Nexus, key: Key) -> Result<Outcome, Refusal> {
    authorise(state, from, key)?;
    let mut next = state.clone();
    next.registrations.clear();
    next.reservation = None;
    next.advance_generation();
    let attentions = tell_others(state, from, Attention::ReservationsPreempted);
    Ok(Outcome::between(state, next, attentions))
}

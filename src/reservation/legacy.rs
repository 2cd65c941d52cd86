//! RESERVE and RELEASE of SPC-2, beside persistent reservations (CRH = 1, SPC-4 section 5.13.3).
//!
//! An SPC-2 reservation belongs to a nexus and ends with it. While it stands, every other nexus is
//! kept out altogether; [`Rights::blocked`](super::Rights::blocked) says so.

use super::access::Standing;
use super::command::Refusal;
use super::identity::Nexus;
use super::outcome::Outcome;
use super::state::State;

/// RESERVE(6) or RESERVE(10) of the whole logical unit, from `from`.
///
/// GOOD without effect if `from` has access by a persistent reservation already.
pub fn reserve_legacy(state: &State, from: &Nexus) -> Result<Outcome, Refusal> {
    let mut next = state.clone();
    if state.is_blocked(from) {
        return Err(Refusal::Conflict);
    }
    if !is_persistently_served(state, from) {
        if !state.registrations.is_empty() {
            return Err(Refusal::Conflict);
        }
        next.legacy_holder = Some(from.clone());
    }
    Ok(Outcome::between(state, next, Vec::new()))
}

/// RELEASE(6) or RELEASE(10) of the whole logical unit, from `from`.
///
/// The holder may always release, although it has registered since. Otherwise GOOD without effect,
/// or a conflict where registrations exist that serve `from` nothing.
pub fn release_legacy(state: &State, from: &Nexus) -> Result<Outcome, Refusal> {
    let mut next = state.clone();
    if state.legacy_holder.as_ref() == Some(from) {
        next.legacy_holder = None;
    } else if !is_persistently_served(state, from) && !state.registrations.is_empty() {
        return Err(Refusal::Conflict);
    }
    Ok(Outcome::between(state, next, Vec::new()))
}

/// The SPC-2 reservation ends with its holder's nexus (`Some`: a logout or a lost nexus), or by any
/// reset (`None`). `None` is returned when there is none to end.
#[must_use]
pub fn end_legacy(state: &State, lost: Option<&Nexus>) -> Option<Outcome> {
    let holder = state.legacy_holder.as_ref()?;
    if lost.is_some_and(|lost| lost != holder) {
        return None;
    }
    let next = State {
        legacy_holder: None,
        ..state.clone()
    };
    Some(Outcome::between(state, next, Vec::new()))
}

/// Whether `from` holds the persistent reservation, or shares in it as a registrant.
fn is_persistently_served(state: &State, from: &Nexus) -> bool {
    match state.standing(from) {
        Standing::Holder => true,
        Standing::Registrant => state
            .reservation
            .as_ref()
            .is_some_and(|held| held.kind.is_shared_by_registrants()),
        Standing::Stranger => false,
    }
}

//! PREEMPT and PREEMPT AND ABORT (SPC-4 sections 5.13.11.4 and 5.13.11.4.6).

use super::super::command::Refusal;
use super::super::identity::Nexus;
use super::super::kinds::{Key, ReservationType, ScopeAndType};
use super::super::outcome::{Attention, Outcome};
use super::super::state::{Reservation, State};
use super::{authorise, tell_others};
use std::collections::BTreeSet;

/// Removes the registrations of `victim`, and takes the reservation if the victim holds it.
///
/// The outcome's `aborted` lists every nexus preempted: what PREEMPT AND ABORT aborts.
pub(super) fn preempt(
    state: &State,
    from: &Nexus,
    key: Key,
    victim: Key,
    scope_and_type: ScopeAndType,
) -> Result<Outcome, Refusal> {
    authorise(state, from, key)?;
    let mut next = state.clone();
    let removed;
    let mut attentions = Vec::new();
    if let Some(held) = taken_from(state, victim) {
        let kind = scope_and_type.kind().ok_or(Refusal::cdb_field(2))?;
        removed = nexuses(state, |nexus, registered| {
            nexus != from && (victim.is_none() || registered == victim)
        });
        next.unregister(&removed);
        next.reservation = Some(Reservation::taken_by(from, kind));
        if kind != held {
            attentions = tell_others(&next, from, Attention::ReservationsReleased);
        }
    } else {
        if victim.is_none() {
            return Err(Refusal::parameter_field(8));
        }
        // A registrant that names its own key here removes itself.
        removed = nexuses(state, |_, registered| registered == victim);
        if removed.is_empty() {
            return Err(Refusal::Conflict);
        }
        next.unregister(&removed);
    }
    next.advance_generation();
    let losers = removed.iter().filter(|nexus| *nexus != from);
    attentions.extend(losers.map(|nexus| (nexus.clone(), Attention::RegistrationsPreempted)));
    let aborted = removed.into_iter().collect();
    Ok(Outcome {
        aborted,
        ..Outcome::between(state, next, attentions)
    })
}

/// The type of the reservation that preempting `victim` takes over, if it does: that of the holder
/// with this key or, for the key zero, one of all registrants.
fn taken_from(state: &State, victim: Key) -> Option<ReservationType> {
    let held = state.reservation.as_ref()?;
    let taken = match &held.holder {
        None => victim.is_none(),
        Some(holder) => state.key(holder) == Some(victim),
    };
    taken.then_some(held.kind)
}

fn nexuses(state: &State, is_meant: impl Fn(&Nexus, Key) -> bool) -> BTreeSet<Nexus> {
    let meant = state
        .registrations
        .iter()
        .filter(|(nexus, own)| is_meant(nexus, own.key));
    meant.map(|(nexus, _)| nexus.clone()).collect()
}

//! REGISTER AND MOVE (SPC-4 section 5.13.8).

use super::super::command::{Command, Refusal};
use super::super::identity::Nexus;
use super::super::outcome::Outcome;
use super::super::state::{Registration, Reservation, State};
use super::super::transport_id::TransportId;
use super::{Context, authorise};
use std::collections::BTreeSet;

/// Registers the destination and hands it the reservation. Other commands are refused.
pub(super) fn relocate(
    state: &State,
    from: &Nexus,
    command: &Command,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let Command::RegisterAndMove {
        key,
        new_key,
        unregister,
        aptpl,
        target_port,
        destination,
    } = command
    else {
        return Err(Refusal::cdb_field(1));
    };
    authorise(state, from, *key)?;
    let held = state.reservation.as_ref().ok_or(Refusal::cdb_field(1))?;
    // Under an all-registrants type no single nexus has it to give.
    if held.holder.as_ref() != Some(from) {
        return Err(Refusal::Conflict);
    }
    if new_key.is_none() {
        return Err(Refusal::parameter_field(8));
    }
    if !context.ports.contains(target_port) {
        return Err(Refusal::parameter_field(18));
    }
    let destination = match destination.as_ref().map_err(|refusal| *refusal)? {
        TransportId::Port(port) => port.clone(),
        TransportId::Node(name) => {
            let mut ports = context.known_ports(state, name).into_iter();
            match (ports.next(), ports.next()) {
                (Some(port), None) => port,
                _ => return Err(Refusal::parameter_field(24)),
            }
        }
    };
    let destination = Nexus::new(destination, *target_port);
    if destination == *from {
        return Err(Refusal::parameter_field(24));
    }
    let mut next = state.clone();
    let fresh = Registration {
        key: *new_key,
        all_target_ports: false,
    };
    next.registrations
        .entry(destination.clone())
        .or_insert(fresh)
        .key = *new_key;
    next.reservation = Some(Reservation::taken_by(&destination, held.kind));
    if *unregister {
        next.unregister(&BTreeSet::from([from.clone()]));
    }
    context.check_room(state, &next)?;
    next.aptpl = *aptpl;
    next.advance_generation();
    Ok(Outcome::between(state, next, Vec::new()))
}

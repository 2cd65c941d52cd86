//! REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-4 sections 5.13.7 and 5.13.11.3).

use super::super::command::Refusal;
use super::super::identity::{InitiatorPort, Nexus};
use super::super::kinds::Key;
use super::super::outcome::{Attention, Outcome};
use super::super::state::{Registration, State};
use super::super::transport_id::TransportId;
use super::{Context, tell_others};
use std::collections::{BTreeMap, BTreeSet};

/// What a registration asks for.
#[derive(Clone, Copy)]
pub(super) struct Request {
    /// The key that must be the sender's, zero for none; `None` ignores the existing key.
    pub(super) key: Option<Key>,
    pub(super) new_key: Key,
    pub(super) aptpl: bool,
    pub(super) all_target_ports: bool,
}

impl Request {
    /// Whether the key is right for a nexus that has registered `current`.
    fn knows(&self, current: Option<Key>) -> bool {
        self.key
            .is_none_or(|key| key == current.unwrap_or(Key::NONE))
    }
}

/// Registers, changes a key or, with a new key of zero, unregisters.
///
/// `others` are the initiator ports of SPEC_I_PT.
pub(super) fn register(
    state: &State,
    from: &Nexus,
    request: Request,
    others: Option<Result<&Vec<TransportId>, Refusal>>,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let current = state.key(from);
    if !request.knows(current) {
        return Err(Refusal::Conflict);
    }
    if others.is_some() && current.is_some() {
        return Err(Refusal::parameter_field(20));
    }
    let others = others.transpose()?;
    let covered = covered(state, from, request, context);
    if request.new_key.is_none() {
        return Ok(unregister(state, from, request, &covered));
    }
    let mut next = state.clone();
    for nexus in covered {
        let registration = next.registrations.entry(nexus).or_insert(request.fresh());
        registration.key = request.new_key;
        registration.all_target_ports |= request.all_target_ports;
    }
    if let Some(listed) = others {
        register_listed(state, &mut next, from, request, listed, context)?;
    }
    context.check_room(state, &next)?;
    next.aptpl = request.aptpl;
    next.advance_generation();
    Ok(Outcome::between(state, next, Vec::new()))
}

impl Request {
    const fn fresh(&self) -> Registration {
        Registration {
            key: self.new_key,
            all_target_ports: self.all_target_ports,
        }
    }
}

/// Nothing changes, not even APTPL or the generation, when none of `covered` is registered.
fn unregister(state: &State, from: &Nexus, request: Request, covered: &BTreeSet<Nexus>) -> Outcome {
    let mut next = state.clone();
    if !covered
        .iter()
        .any(|nexus| state.registrations.contains_key(nexus))
    {
        return Outcome::between(state, next, Vec::new());
    }
    let released = next.unregister(covered);
    next.aptpl = request.aptpl;
    next.advance_generation();
    let attentions = match released {
        Some(kind) if kind.is_registrants_only() => {
            tell_others(&next, from, Attention::ReservationsReleased)
        }
        _ => Vec::new(),
    };
    Outcome::between(state, next, attentions)
}

/// The nexuses that the request is for: the sender, and those of its initiator port that share its
/// registration through ALL_TG_PT, by this request or by the one that registered them.
///
/// With ALL_TG_PT the request counts as received through each target port, so that a nexus whose
/// key it does not know is left alone.
fn covered(
    state: &State,
    from: &Nexus,
    request: Request,
    context: &Context<'_>,
) -> BTreeSet<Nexus> {
    let own = state.registration(from).copied();
    let registered = state.registrations.iter().filter(|(nexus, registration)| {
        let shared = registration.all_target_ports && own == Some(**registration);
        let reached = request.all_target_ports && request.knows(Some(registration.key));
        nexus.initiator == from.initiator && (shared || reached)
    });
    let mut covered: BTreeSet<Nexus> = registered.map(|(nexus, _)| nexus.clone()).collect();
    covered.insert(from.clone());
    if request.all_target_ports {
        let everywhere = context
            .ports
            .iter()
            .map(|port| Nexus::new(from.initiator.clone(), *port));
        covered.extend(everywhere.filter(|nexus| !state.registrations.contains_key(nexus)));
    }
    covered
}

/// Registers the initiator ports of SPEC_I_PT in `next`; those already registered are skipped.
fn register_listed(
    state: &State,
    next: &mut State,
    from: &Nexus,
    request: Request,
    listed: &[TransportId],
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let sender_port = [from.target_port];
    let target_ports = if request.all_target_ports {
        context.ports
    } else {
        &sender_port
    };
    let mut nodes = BTreeMap::new();
    for id in listed {
        let known = nodes
            .entry(id.name())
            .or_insert_with(|| context.known_ports(state, id.name()));
        for initiator in meant(id, known).ok_or(Refusal::parameter_field(24))? {
            for target_port in target_ports {
                let nexus = Nexus::new(initiator.clone(), *target_port);
                next.registrations.entry(nexus).or_insert(request.fresh());
            }
        }
        context.check_room(state, next)?;
    }
    Ok(())
}

/// The known ports that a TransportID means: one, or all of its node. `None` if there is none.
fn meant(id: &TransportId, known: &mut BTreeSet<InitiatorPort>) -> Option<BTreeSet<InitiatorPort>> {
    match id {
        TransportId::Node(_) if known.is_empty() => None,
        TransportId::Node(_) => Some(known.clone()),
        TransportId::Port(port) => known.contains(port).then(|| BTreeSet::from([port.clone()])),
    }
}

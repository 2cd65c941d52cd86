//! What each service action of PERSISTENT RESERVE OUT does (SPC-4 section 5.13).
//!
//! Every service action is a function from a state to an outcome. It works on a copy, so that a
//! refusal half-way has changed nothing.

mod evict;
mod hold;
mod preempt;
mod register;
mod relocate;

pub use evict::{evict_all, evict_key};

use super::command::{Command, Refusal};
use super::identity::{InitiatorPort, Nexus};
use super::kinds::Key;
use super::outcome::{Attention, Outcome};
use super::state::State;
use std::collections::BTreeSet;
use std::fmt;

/// What the state machine has to know of the logical unit's surroundings.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The relative target port identifiers of the logical unit's target ports.
    pub ports: &'a [u16],
    /// The ports known of the initiator node of that name (in lower case), by its sessions. Those
    /// registered count as known without being told here.
    pub known: &'a dyn Fn(&str) -> Vec<InitiatorPort>,
    /// The most registrations the logical unit takes.
    pub registrations_max: u32,
}

impl Context<'_> {
    /// The ports of a node, from its sessions and its registrations.
    fn known_ports(&self, state: &State, name: &str) -> BTreeSet<InitiatorPort> {
        let mut ports = state.ports_of(name);
        ports.extend((self.known)(name));
        ports.into_iter().collect()
    }

    /// Refuses `next` if it has grown from `state` beyond the limit.
    fn check_room(&self, state: &State, next: &State) -> Result<(), Refusal> {
        let (before, after) = (state.registrations.len(), next.registrations.len());
        let full = after > self.registrations_max as usize;
        if full && after > before {
            Err(Refusal::InsufficientResources)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context")
            .field("ports", &self.ports)
            .field("registrations_max", &self.registrations_max)
            .finish_non_exhaustive()
    }
}

/// Applies `command`, sent by `from`, to `state`. A refusal changes nothing.
///
/// Checks in this order: an SPC-2 reservation of another nexus, the sender's key, the rules of the
/// service action. Pending unit attentions and the CDB have been dealt with before.
pub fn apply(
    state: &State,
    from: &Nexus,
    command: &Command,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    if state.is_blocked(from) {
        return Err(Refusal::Conflict);
    }
    let outcome = match *command {
        Command::Register {
            key,
            new_key,
            aptpl,
            all_target_ports,
            ref others,
        } => {
            let others = others
                .as_ref()
                .map(|listed| listed.as_ref().map_err(|refusal| *refusal));
            let request = register::Request {
                key: Some(key),
                new_key,
                aptpl,
                all_target_ports,
            };
            register::register(state, from, request, others, context)
        }
        Command::RegisterAndIgnore {
            new_key,
            aptpl,
            all_target_ports,
        } => {
            let request = register::Request {
                key: None,
                new_key,
                aptpl,
                all_target_ports,
            };
            register::register(state, from, request, None, context)
        }
        Command::Reserve { key, kind } => hold::reserve(state, from, key, kind),
        Command::Release {
            key,
            scope_and_type,
        } => hold::release(state, from, key, scope_and_type),
        Command::Clear { key } => hold::clear(state, from, key),
        Command::Preempt {
            key,
            victim,
            scope_and_type,
        } => {
            let outcome = preempt::preempt(state, from, key, victim, scope_and_type);
            outcome.map(|outcome| Outcome {
                aborted: Vec::new(),
                ..outcome
            })
        }
        Command::PreemptAndAbort {
            key,
            victim,
            scope_and_type,
        } => preempt::preempt(state, from, key, victim, scope_and_type),
        Command::RegisterAndMove { .. } => relocate::relocate(state, from, command, context),
    }?;
    outcome.next.assert_sound();
    Ok(outcome)
}

/// Passes if `from` is registered with `key`.
fn authorise(state: &State, from: &Nexus, key: Key) -> Result<(), Refusal> {
    if state.key(from) == Some(key) {
        Ok(())
    } else {
        Err(Refusal::Conflict)
    }
}

/// `attention` for every registrant of `state` but the sender.
fn tell_others(state: &State, from: &Nexus, attention: Attention) -> Vec<(Nexus, Attention)> {
    let others = state.registrations.keys().filter(|nexus| *nexus != from);
    others.map(|nexus| (nexus.clone(), attention)).collect()
}

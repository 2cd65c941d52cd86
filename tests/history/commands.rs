//! The fencer's commands: which there are, and how each goes over the wire.

use std::collections::BTreeSet;

use super::model::{Action, Model};
use super::port::Port;
use super::record::Nexus;
use super::support::initiator::Command;
use super::support::reserve::{action, kind, move_parameters, out_cdb, parameters};

/// UNREG of REGISTER AND MOVE: the sender's registration goes (SPC-4 section 6.14.4).
const UNREG: u8 = 0x02;

/// Every command that might take a right away.
pub(crate) fn candidates(
    model: &Model,
    everybody: &[Nexus],
    key_of: impl Fn(Nexus) -> u64,
) -> Vec<Action> {
    let registered: Vec<Nexus> = model.keys.keys().copied().collect();
    let mut keys: BTreeSet<u64> = model.keys.values().copied().collect();
    keys.insert(0);
    let mut found = Vec::new();
    for &nexus in &registered {
        found.push(Action::Unregister { nexus });
        for &victim in &keys {
            for kind in kind::ALL {
                found.extend([false, true].map(|abort| Action::Preempt {
                    nexus,
                    victim,
                    kind,
                    abort,
                }));
            }
        }
        for &to in everybody {
            let key = key_of(to);
            found.extend([false, true].map(|unregister| Action::Move {
                nexus,
                to,
                key,
                unregister,
            }));
        }
    }
    found
}

/// A command as it is sent in that state.
pub(crate) fn command<'a>(
    action: Action,
    model: &Model,
    port: impl Fn(Nexus) -> &'a Port,
) -> Command {
    let own = model.keys.get(&action.sender()).copied().unwrap_or(0);
    let (service_action, kind, list) = match action {
        Action::Register { key, .. } => (action::REGISTER, 0, parameters(0, key, 0)),
        Action::Unregister { .. } => (action::REGISTER, 0, parameters(own, 0, 0)),
        Action::Reserve { kind, .. } => (action::RESERVE, kind, parameters(own, 0, 0)),
        Action::Release { .. } => {
            let (_, kind) = model.reservation.expect("it is held");
            (action::RELEASE, kind, parameters(own, 0, 0))
        }
        Action::Clear { .. } => (action::CLEAR, 0, parameters(own, 0, 0)),
        Action::Preempt {
            victim,
            kind,
            abort,
            ..
        } => {
            let code = if abort {
                action::PREEMPT_AND_ABORT
            } else {
                action::PREEMPT
            };
            (code, kind, parameters(own, victim, 0))
        }
        Action::Move {
            to,
            key,
            unregister,
            ..
        } => {
            let port = port(to);
            let flags = if unregister { UNREG } else { 0 };
            let id = port.transport_id();
            let list = move_parameters(own, key, flags, port.target_port, &id);
            (action::REGISTER_AND_MOVE, 0, list)
        }
    };
    let length = u32::try_from(list.len()).expect("a short list");
    Command::write(&out_cdb(service_action, kind, length), &list)
}

//! PERSISTENT RESERVE IN and OUT, and RESERVE and RELEASE, at the home of the volume.

use super::failure::Failure;
use super::home::Home;
use super::local::Local;
use super::message::{Reply, Task};
use super::scope;
use super::shared::Shared;
use crate::reservation::{self, Command, Context, InitiatorPort, Nexus, NexusIndex};
use crate::scsi::attention::UnitAttention;
use std::rc::Rc;
use std::sync::Arc;

/// Who sent a reservation command: its registrant, and the task to spare when its nexus is aborted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) nexus: NexusIndex,
    pub(crate) task: Task,
}

/// PERSISTENT RESERVE OUT.
pub(crate) async fn reserve_out(
    home: Rc<Home>,
    sender: Sender,
    command: Command,
    local: Local,
    shared: Arc<Shared>,
) -> Result<(), Failure> {
    let is_release = matches!(command, Command::Release { .. });
    let _serial = home.serialise(Some(sender.nexus)).await?;
    let mut outcome = {
        let inner = home.inner.borrow();
        let nexus = inner
            .nexuses
            .nexus(sender.nexus)
            .cloned()
            .ok_or_else(Failure::aborted)?;
        if inner.state.is_blocked(&nexus) {
            return Err(Failure::RESERVATION_CONFLICT);
        }
        let scope = home.volume.reservation_scope;
        let ports = shared.port_identifiers();
        let command = scope::command(scope, command, &ports);
        let ports = scope::target_ports(scope, ports);
        let known = |name: &str| -> Vec<InitiatorPort> {
            let mut ports: Vec<_> = inner
                .nexuses
                .logged_in()
                .map(|nexus| nexus.initiator.clone())
                .filter(|port| port.name() == name)
                .collect();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        let registrations_max = home.volume.registrations_max;
        let context = Context {
            ports: &ports,
            known: &known,
            registrations_max,
        };
        reservation::apply(&inner.state, &nexus, &command, &context)?
    };
    // NUAR speaks of the service action RELEASE alone (SPC-4 section 5.13.11.2.2): who unregisters the
    // holder, or preempts with another type, is told on all the same.
    if is_release && home.releases_quietly() {
        outcome.attentions.clear();
    }
    home.enact(
        outcome,
        Some(sender.nexus),
        Some(sender.task),
        &local,
        &shared,
    )
    .await
}

/// The body of PERSISTENT RESERVE IN. It waits for a change that is under way: nobody is to see a
/// node preempted whose last write may still be on its way to the medium. The change may be one that
/// aborts this very command: then it is turned away, or the two would wait for each other.
pub(crate) async fn reserve_in(
    home: Rc<Home>,
    nexus: NexusIndex,
    service_action: u8,
) -> Result<Vec<u8>, Failure> {
    let _serial = home.serialise(Some(nexus)).await?;
    let inner = home.inner.borrow();
    Ok(reservation::report::body(service_action, &inner.state)?)
}

/// RESERVE and RELEASE of SPC-2.
pub(crate) async fn reserve_legacy(
    home: Rc<Home>,
    nexus: NexusIndex,
    release: bool,
    local: Local,
    shared: Arc<Shared>,
) -> Result<(), Failure> {
    let _serial = home.serialise(Some(nexus)).await?;
    let outcome = {
        let inner = home.inner.borrow();
        let nexus = inner.nexuses.nexus(nexus).ok_or_else(Failure::aborted)?;
        if release {
            reservation::release_legacy(&inner.state, nexus)?
        } else {
            reservation::reserve_legacy(&inner.state, nexus)?
        }
    };
    home.enact(outcome, Some(nexus), None, &local, &shared)
        .await
}

/// An SPC-2 reservation ends with its nexus, or with any reset.
pub(crate) async fn end_legacy(
    home: &Rc<Home>,
    lost: Option<&Nexus>,
    local: &Local,
    shared: &Shared,
) {
    let Ok(_serial) = home.serialise(None).await else {
        return;
    };
    let outcome = reservation::end_legacy(&home.inner.borrow().state, lost);
    if let Some(outcome) = outcome {
        let _ = home.enact(outcome, None, None, local, shared).await;
    }
}

/// The reply to a call that ended so.
pub(crate) fn reply_of(result: Result<(), Failure>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(failure) => Reply::Failed(failure),
    }
}

/// The unit attention of a reset.
pub(crate) const fn reset_attention(target: bool) -> UnitAttention {
    if target {
        UnitAttention::TargetReset
    } else {
        UnitAttention::UnitReset
    }
}

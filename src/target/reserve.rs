//! PERSISTENT RESERVE IN and OUT, and RESERVE and RELEASE, at the home of the volume.

use super::failure::Failure;
use super::home::{By, Home, SerialGuard};
use super::local::Local;
use super::message::{Reply, Task};
use super::shared::Shared;
use crate::base::clock::Instant;
use crate::reservation::{self, Command, Context, InitiatorPort, Nexus, NexusIndex};
use crate::scsi::attention::UnitAttention;
use std::rc::Rc;
use std::sync::Arc;

/// Who sent a reservation command: the nexus, and the task to spare when its nexus is aborted.
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
    let deadline = local.now() + shared.fence_timeout;
    let _serial = turn_by(deadline, &home, sender.nexus, &local).await?;
    let outcome = {
        let inner = home.inner.borrow();
        let nexus = inner
            .nexuses
            .nexus(sender.nexus)
            .cloned()
            .ok_or_else(Failure::aborted)?;
        if inner.state.is_blocked(&nexus) {
            return Err(Failure::RESERVATION_CONFLICT);
        }
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
        let ports = shared.port_identifiers();
        let registrations_max = home.volume.registrations_max;
        let context = Context {
            ports: &ports,
            known: &known,
            registrations_max,
        };
        reservation::apply(&inner.state, &nexus, &command, &context)?
    };
    let by = By {
        nexus: Some(sender.nexus),
        task: Some(sender.task),
    };
    home.enact(outcome, by, deadline, &local, &shared).await
}

/// Waits for its turn at the home. The time that a reservation command may take runs from its
/// arrival: one that has spent it behind others has changed nothing, and answers BUSY.
async fn turn_by(
    deadline: Instant,
    home: &Rc<Home>,
    nexus: NexusIndex,
    local: &Local,
) -> Result<SerialGuard, Failure> {
    let serial = home.serialise(Some(nexus)).await?;
    if local.now() < deadline {
        Ok(serial)
    } else {
        Err(Failure::BUSY)
    }
}

/// The body of PERSISTENT RESERVE IN. It waits for a change that is under way: nobody is to see a
/// node preempted whose last write may still be on its way to the medium.
/// One that was sent by a nexus whose commands are being aborted does not wait: the abort waits for it.
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
    let deadline = local.now() + shared.fence_timeout;
    let _serial = turn_by(deadline, &home, nexus, &local).await?;
    let outcome = {
        let inner = home.inner.borrow();
        let nexus = inner.nexuses.nexus(nexus).ok_or_else(Failure::aborted)?;
        if release {
            reservation::release_legacy(&inner.state, nexus)?
        } else {
            reservation::reserve_legacy(&inner.state, nexus)?
        }
    };
    let by = By {
        nexus: Some(nexus),
        task: None,
    };
    home.enact(outcome, by, deadline, &local, &shared).await
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
        let deadline = local.now() + shared.fence_timeout;
        let _ = home
            .enact(outcome, By::default(), deadline, local, shared)
            .await;
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

//! PERSISTENT RESERVE IN and OUT, and RESERVE and RELEASE, at the home of the volume.

use super::chronicle::{Deed, status_of};
use super::failure::Failure;
use super::home::{By, Home};
use super::local::Local;
use super::message::{Call, Reply, SessionNexus, Task};
use super::scope;
use super::serial::SerialGuard;
use super::shared::Shared;
use super::volume::VolumeIndex;
use crate::base::clock::Instant;
use crate::reservation::history::{Actor, Entry, Event};
use crate::reservation::{
    self, Command, Context, InitiatorPort, Nexus, NexusIndex, Outcome, Refusal,
};
use crate::scsi::attention::UnitAttention;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who sent a reservation command: the session's nexus, from where, and the task to spare when its
/// registrant is aborted.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) nexus: SessionNexus,
    pub(crate) address: SocketAddr,
    pub(crate) task: Task,
}

/// A command that was refused on its way to the home.
pub(crate) struct Refused<'a> {
    pub(crate) cdb: &'a [u8],
    /// Its parameter list; empty where it was refused for its CDB.
    pub(crate) parameters: &'a [u8],
    pub(crate) nexus: &'a Nexus,
    pub(crate) address: SocketAddr,
    pub(crate) failure: &'a Failure,
}

impl Refused<'_> {
    /// What tells the home, if it was a reservation command.
    pub(crate) fn note(&self, volume: VolumeIndex, at_ms: u64) -> Option<Call> {
        let event = Event::of_bytes(self.cdb, self.parameters)?;
        let actor = Actor::Nexus {
            nexus: self.nexus.clone(),
            address: Some(self.address),
        };
        let entry = Box::new(Entry {
            status: status_of(self.failure),
            ..Entry::new(at_ms, actor, event)
        });
        Some(Call::NoteRefusal { volume, entry })
    }
}

/// PERSISTENT RESERVE OUT.
pub(crate) async fn reserve_out(
    home: Rc<Home>,
    sender: Sender,
    command: Command,
    local: Local,
    shared: Arc<Shared>,
) -> Result<(), Failure> {
    let deed = deed(sender, Event::from(&command));
    let decide = |registrant: &Nexus| Ok(decide(&home, registrant, command, &shared)?);
    carry_out(&home, deed, decide, &local, &shared).await
}

/// RESERVE and RELEASE of SPC-2.
pub(crate) async fn reserve_legacy(
    home: Rc<Home>,
    sender: Sender,
    release: bool,
    local: Local,
    shared: Arc<Shared>,
) -> Result<(), Failure> {
    let event = if release {
        Event::Release
    } else {
        Event::Reserve
    };
    let deed = deed(sender, event);
    let decide = |registrant: &Nexus| {
        let state = &home.inner.borrow().state;
        Ok(if release {
            reservation::release_legacy(state, registrant)?
        } else {
            reservation::reserve_legacy(state, registrant)?
        })
    };
    carry_out(&home, deed, decide, &local, &shared).await
}

/// What the history tells of a command: of the session's own nexus, whoever the registrant is.
fn deed(sender: Sender, event: Event) -> Deed {
    let by = By {
        nexus: Some(sender.nexus.index),
        task: Some(sender.task),
    };
    let actor = Actor::Nexus {
        nexus: sender.nexus.nexus,
        address: Some(sender.address),
    };
    Deed { by, actor, event }
}

/// Waits for its turn, decides and does it. A refusal is written down, too.
async fn carry_out(
    home: &Rc<Home>,
    deed: Deed,
    decide: impl FnOnce(&Nexus) -> Result<Outcome, Failure>,
    local: &Local,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    let deadline = local.now() + shared.fence_timeout();
    let began = local.now();
    let turn = turn_by(deadline, home, deed.by.nexus, local).await;
    let decided = turn.and_then(|turn| {
        let registrant = {
            let nexuses = &home.inner.borrow().nexuses;
            let index = deed.by.nexus.unwrap_or(NexusIndex::NONE);
            nexuses.nexus(index).cloned()
        };
        let outcome = decide(&registrant.ok_or_else(Failure::aborted)?)?;
        Ok((turn, outcome))
    });
    match decided {
        Ok((_turn, outcome)) => home.enact(outcome, deed, deadline, local, shared).await,
        Err(failure) => {
            let entry = Entry {
                status: status_of(&failure),
                ..Entry::new(shared.wall_clock_ms(began), deed.actor, deed.event)
            };
            home.note(entry, local, shared);
            Err(failure)
        }
    }
}

/// What a command of `registrant` would do now. Nothing is done.
pub(crate) fn decide(
    home: &Home,
    registrant: &Nexus,
    command: Command,
    shared: &Shared,
) -> Result<Outcome, Refusal> {
    let is_release = matches!(command, Command::Release { .. });
    let scope = home.volume.reservation_scope;
    let ports = shared.port_identifiers();
    let command = scope::command(scope, command, &ports);
    let ports = scope::target_ports(scope, ports);
    let inner = home.inner.borrow();
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
    let context = Context {
        ports: &ports,
        known: &known,
        registrations_max: home.volume.registrations_max.load(Ordering::Relaxed),
    };
    let mut outcome = reservation::apply(&inner.state, registrant, &command, &context)?;
    // NUAR speaks of the service action RELEASE alone (SPC-4 section 5.13.11.2.2): who unregisters the
    // holder, or preempts with another type, is told on all the same.
    if is_release && home.releases_quietly() {
        outcome.attentions.clear();
    }
    Ok(outcome)
}

/// Waits for its turn at the home. The time that a reservation command may take runs from its
/// arrival: one that has spent it behind others has changed nothing, and answers BUSY.
async fn turn_by(
    deadline: Instant,
    home: &Rc<Home>,
    nexus: Option<NexusIndex>,
    local: &Local,
) -> Result<SerialGuard, Failure> {
    let serial = home.serialise(nexus).await?;
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

/// An SPC-2 reservation ends with its nexus, or with any reset.
pub(crate) async fn end_legacy(
    home: &Rc<Home>,
    lost: Option<&Nexus>,
    local: &Local,
    shared: &Arc<Shared>,
) {
    let Ok(_serial) = home.serialise(None).await else {
        return;
    };
    let outcome = reservation::end_legacy(&home.inner.borrow().state, lost);
    if let Some(outcome) = outcome {
        let deadline = local.now() + shared.fence_timeout();
        let deed = Deed {
            by: By::default(),
            actor: Actor::Target,
            event: match lost {
                Some(_) => Event::EndedByNexusLoss,
                None => Event::EndedByReset,
            },
        };
        let _ = home.enact(outcome, deed, deadline, local, shared).await;
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

//! What an operator may see of a volume's reservations, and do in an emergency.

use super::chronicle::{Deed, status_of};
use super::failure::Failure;
use super::handle::{Target, TargetError, find, home_of};
use super::home::{By, Inner};
use super::in_flight::InFlight;
use super::reserve::decide;
use super::scope;
use crate::reservation::history::{Actor, Ages, Event, Excerpt, Loss, Process, losses};
use crate::reservation::{
    Attention, Command, InitiatorPort, Key, Nexus, Refusal, ReservationType, ScopeAndType, State,
    evict_all, evict_key,
};
use crate::volume::{ReservationScope, VolumeId};

/// A volume's reservations as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReservationReport {
    /// Registrations and reservation.
    pub state: State,
    /// Since when.
    pub ages: Ages,
    /// A change is under way, and may be in the state already: whoever loses rights by it may still
    /// have a write on its way to the medium, and the change may yet be taken back.
    pub changing: bool,
}

/// A PREEMPT that is only thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// SERVICE ACTION RESERVATION KEY: whose registrations would go.
    pub victim: Key,
    /// The type to establish, if the reservation is taken; `None`: the present one.
    pub kind: Option<ReservationType>,
    /// Who would send it: an initiator name, or one with `,i,0x` and an ISID (SPC-4 section 7.6.4.6),
    /// which tells nothing where the sessions of a client share their registration.
    /// `None`: the holder, or another registrant that has not that key.
    pub by: Option<String>,
}

/// What would come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Who would send it.
    pub by: Nexus,
    /// RESERVATION KEY that it would send: its own, zero if it has none.
    pub key: Key,
    /// The type that it would ask for.
    pub kind: ReservationType,
    /// What it would change, or how it would be refused.
    pub result: Result<Change, Refusal>,
    /// What every nexus of the volume has under way.
    pub in_flight: Vec<InFlight>,
}

/// What a command would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who would lose what.
    pub losses: Vec<Loss>,
    /// Who would be told what.
    pub attentions: Vec<(Nexus, Attention)>,
    /// What would stand then.
    pub after: State,
}

/// What an operator has removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// Who lost what.
    pub losses: Vec<Loss>,
    /// What stands now.
    pub after: State,
}

impl Target {
    /// A volume's reservations. Unlike PERSISTENT RESERVE IN it does not wait for a change that is under
    /// way, which may hang, but says that there is one.
    ///
    /// # Errors
    /// When the volume is unknown, or the reactors don't answer.
    pub fn reservation(&self, id: VolumeId) -> Result<ReservationReport, TargetError> {
        let volume = find(&self.control(), id)?;
        let index = volume.index;
        self.ask(volume.home, move |local, _| async move {
            let home = home_of(index, &local).await?;
            let state = home.inner.borrow().state.clone();
            Ok(ReservationReport {
                state,
                ages: home.chronicle.ages().clone(),
                changing: home.changing.get(),
            })
        })?
    }

    /// The history of a volume's reservations, oldest first. It waits for nothing: a change that is
    /// under way may be in it, as such.
    ///
    /// # Errors
    /// When the volume is unknown, or the reactors don't answer.
    pub fn reservation_history(&self, id: VolumeId) -> Result<Excerpt, TargetError> {
        let volume = find(&self.control(), id)?;
        let index = volume.index;
        self.ask(volume.home, move |local, _| async move {
            Ok(home_of(index, &local).await?.chronicle.excerpt())
        })?
    }

    /// What a PREEMPT would do now, by the rules that decide when it comes; nothing is done. `None`:
    /// nobody has registered, and nobody was named who could send it.
    ///
    /// # Errors
    /// When the volume is unknown, or the reactors don't answer.
    pub fn foresee(
        &self,
        id: VolumeId,
        preemption: Preemption,
    ) -> Result<Option<Forecast>, TargetError> {
        let volume = find(&self.control(), id)?;
        let index = volume.index;
        let foreseen = self.ask(volume.home, move |local, shared| async move {
            let home = home_of(index, &local).await?;
            let _turn = home.serialise(None).await?;
            let scope = home.volume.reservation_scope;
            let ports = shared.port_identifiers();
            let by = home.inner.borrow().sender_of(&preemption, scope, &ports);
            let Some(by) = by else {
                return Ok(None);
            };
            let (key, kind) = {
                let state = &home.inner.borrow().state;
                let held = state.reservation().map(|held| held.kind);
                let kind = preemption.kind.or(held);
                (
                    state.key(&by).unwrap_or(Key::NONE),
                    // Without a reservation the type is ignored.
                    kind.unwrap_or(ReservationType::WriteExclusive),
                )
            };
            let command = Command::Preempt {
                key,
                victim: preemption.victim,
                scope_and_type: ScopeAndType::of(kind),
            };
            let outcome = decide(&home, &by, command, &shared);
            let inner = home.inner.borrow();
            let result = outcome.map(|outcome| Change {
                losses: inner.losses(&outcome.next),
                attentions: outcome.attentions,
                after: outcome.next,
            });
            Ok::<_, TargetError>(Some((by, key, kind, result)))
        })??;
        let Some((by, key, kind, result)) = foreseen else {
            return Ok(None);
        };
        let in_flight = self.in_flight(id)?;
        Ok(Some(Forecast {
            by,
            key,
            kind,
            result,
            in_flight,
        }))
    }

    /// Removes the registrations of `key`, or with `None` every registration and reservation, for an
    /// operator in an emergency. It goes the way of every change: durable, published, and over only
    /// when the writes of those who lost rights are; all concerned get unit attentions. `None`: there
    /// was nothing to remove.
    ///
    /// # Errors
    /// When the volume is unknown, the change came to nothing, or the reactors don't answer.
    pub fn clear_reservation(
        &self,
        id: VolumeId,
        key: Option<Key>,
        process: Option<Process>,
    ) -> Result<Option<Cleared>, TargetError> {
        let volume = find(&self.control(), id)?;
        let index = volume.index;
        let cleared = self.ask(volume.home, move |local, shared| async move {
            let home = home_of(index, &local).await?;
            let _turn = home.serialise(None).await?;
            let (outcome, lost) = {
                let inner = home.inner.borrow();
                let outcome = match key {
                    Some(key) => evict_key(&inner.state, key),
                    None => evict_all(&inner.state),
                };
                let Some(outcome) = outcome else {
                    return Ok(None);
                };
                let lost = inner.losses(&outcome.next);
                (outcome, lost)
            };
            let after = outcome.next.clone();
            let deed = Deed {
                by: By::default(),
                actor: Actor::Operator { process },
                event: key.map_or(Event::Cleared, Event::Removed),
            };
            let deadline = local.now() + shared.fence_timeout();
            home.enact(outcome, deed, deadline, &local, &shared)
                .await
                .map_err(|failure: Failure| TargetError::Reservations(status_of(&failure)))?;
            Ok::<_, TargetError>(Some(Cleared {
                losses: lost,
                after,
            }))
        })??;
        if let Some(cleared) = &cleared {
            tracing::warn!(
                volume = %volume.name,
                key = key.map(tracing::field::display),
                uid = process.map(|process| process.uid),
                pid = process.map(|process| process.pid),
                concerned = cleared.losses.len(),
                "an operator has removed registrations"
            );
        }
        Ok(cleared)
    }
}

impl Inner {
    /// Who loses what when `after` comes.
    fn losses(&self, after: &State) -> Vec<Loss> {
        losses(&self.state, after, self.seated())
    }

    /// Who would send the preemption.
    fn sender_of(
        &self,
        preemption: &Preemption,
        scope: ReservationScope,
        ports: &[u16],
    ) -> Option<Nexus> {
        let is_meant = |port: &InitiatorPort| {
            let by = preemption.by.as_deref();
            by.is_none_or(|by| {
                by.eq_ignore_ascii_case(port.name()) || by.eq_ignore_ascii_case(&port.to_string())
            })
        };
        let registered = self
            .state
            .registrations()
            .filter(|(nexus, _)| is_meant(&nexus.initiator));
        // The holder before others, and its own victim last.
        let best = registered.min_by_key(|(nexus, registration)| {
            let own_victim = registration.key == preemption.victim;
            (own_victim, !self.state.is_holder(nexus))
        });
        if let Some((nexus, _)) = best {
            return Some(nexus.clone());
        }
        // Somebody who has not registered: that is going to be refused.
        let by = preemption.by.as_deref()?;
        let seated = self.seated().find(|nexus| is_meant(&nexus.initiator));
        seated.cloned().or_else(|| {
            let port = ports.first().copied().unwrap_or_default();
            let nexus = Nexus::new(InitiatorPort::new(by, [0; 6]), port);
            Some(scope::registrant(scope, &nexus))
        })
    }
}

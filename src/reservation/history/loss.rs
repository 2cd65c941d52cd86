//! Who lost what between two states.

use super::super::identity::Nexus;
use super::super::state::State;
use std::collections::BTreeSet;

/// What one nexus lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Who lost it.
    pub nexus: Nexus,
    /// Its registration.
    pub registration: bool,
    /// The reservation, persistent or of SPC-2, of which it was the holder or one of the holders.
    pub reservation: bool,
    /// The right to write.
    pub write: bool,
    /// The right to read.
    pub read: bool,
}

/// What the step from `before` to `after` took away, and from whom: of those who are registered or
/// hold an SPC-2 reservation, and of `sessions`, whether registered or not. In the order of the
/// nexuses.
#[must_use]
pub fn losses<'a>(
    before: &'a State,
    after: &State,
    sessions: impl IntoIterator<Item = &'a Nexus>,
) -> Vec<Loss> {
    let known: BTreeSet<&Nexus> = before
        .registrations
        .keys()
        .chain(&before.legacy_holder)
        .chain(sessions)
        .collect();
    let holds = |state: &State, nexus: &Nexus| {
        state.is_holder(nexus) || state.legacy_holder.as_ref() == Some(nexus)
    };
    let lost = |nexus: &Nexus| {
        let (had, has) = (before.rights(nexus), after.rights(nexus));
        Loss {
            nexus: nexus.clone(),
            registration: had.is_registered() && !has.is_registered(),
            reservation: holds(before, nexus) && !holds(after, nexus),
            write: had.can_write() && !has.can_write(),
            read: had.can_read() && !has.can_read(),
        }
    };
    known
        .into_iter()
        .map(lost)
        .filter(|loss| loss.registration || loss.reservation || loss.write || loss.read)
        .collect()
}

/// Whether the step from `before` to `after` changed more than the generation.
#[must_use]
pub fn takes_effect(before: &State, after: &State) -> bool {
    before.registrations != after.registrations
        || before.reservation != after.reservation
        || before.legacy_holder != after.legacy_holder
        || before.aptpl != after.aptpl
}

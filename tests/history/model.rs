//! Persistent reservations as far as the fencer uses them: who may write and read, before and after a
//! command, and who is owed what (SPC-4 section 5.13). A few lines of its own, so that it can judge.

use std::collections::BTreeMap;
use std::fmt;

use super::attentions::{REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED};
use super::record::{Code, Nexus};
use super::support::reserve::kind;

/// A PERSISTENT RESERVE OUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Register {
        nexus: Nexus,
        key: u64,
    },
    Unregister {
        nexus: Nexus,
    },
    Reserve {
        nexus: Nexus,
        kind: u8,
    },
    Release {
        nexus: Nexus,
    },
    Clear {
        nexus: Nexus,
    },
    /// `victim` 0: all others of an all-registrants reservation.
    Preempt {
        nexus: Nexus,
        victim: u64,
        kind: u8,
        abort: bool,
    },
    Move {
        nexus: Nexus,
        to: Nexus,
        key: u64,
        unregister: bool,
    },
}

impl Action {
    /// Who sends it.
    pub(crate) fn sender(self) -> Nexus {
        match self {
            Self::Register { nexus, .. }
            | Self::Unregister { nexus }
            | Self::Reserve { nexus, .. }
            | Self::Release { nexus }
            | Self::Clear { nexus }
            | Self::Preempt { nexus, .. }
            | Self::Move { nexus, .. } => nexus,
        }
    }

    /// The service action's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Register { .. } => "REGISTER",
            Self::Unregister { .. } => "REGISTER (unregister)",
            Self::Reserve { .. } => "RESERVE",
            Self::Release { .. } => "RELEASE",
            Self::Clear { .. } => "CLEAR",
            Self::Preempt { abort: false, .. } => "PREEMPT",
            Self::Preempt { abort: true, .. } => "PREEMPT AND ABORT",
            Self::Move { .. } => "REGISTER AND MOVE",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by nexus {}", self.name(), self.sender())?;
        match self {
            Self::Register { key, .. } => write!(f, " with key {key:#x}"),
            Self::Reserve { kind, .. } => write!(f, ", type {kind}"),
            Self::Preempt { victim, kind, .. } => write!(f, " of key {victim:#x}, type {kind}"),
            Self::Move {
                to,
                key,
                unregister,
                ..
            } => {
                let stays = if *unregister { "leaves" } else { "stays" };
                write!(f, " to nexus {to} with key {key:#x}; the sender {stays}")
            }
            Self::Unregister { .. } | Self::Release { .. } | Self::Clear { .. } => Ok(()),
        }
    }
}

/// Who is registered, and who holds the reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<Nexus, u64>,
    /// Who took it, and its type. With an all-registrants type every registrant holds it.
    pub(crate) reservation: Option<(Nexus, u8)>,
}

/// A legal command's outcome.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) next: Model,
    pub(crate) attentions: Vec<(Nexus, Code)>,
    /// Whose registration PREEMPT AND ABORT takes, and whose commands it ends.
    pub(crate) aborted: Vec<Nexus>,
}

fn is_all_registrants(kind: u8) -> bool {
    matches!(kind, kind::WE_AR | kind::EA_AR)
}

fn is_for_registrants(kind: u8) -> bool {
    is_all_registrants(kind) || matches!(kind, kind::WE_RO | kind::EA_RO)
}

impl Model {
    pub(crate) fn is_registered(&self, nexus: Nexus) -> bool {
        self.keys.contains_key(&nexus)
    }

    pub(crate) fn holds(&self, nexus: Nexus) -> bool {
        self.reservation.is_some_and(|(holder, kind)| {
            holder == nexus || is_all_registrants(kind) && self.is_registered(nexus)
        })
    }

    pub(crate) fn may_write(&self, nexus: Nexus) -> bool {
        let Some((_, kind)) = self.reservation else {
            return true;
        };
        self.holds(nexus) || is_for_registrants(kind) && self.is_registered(nexus)
    }

    pub(crate) fn may_read(&self, nexus: Nexus) -> bool {
        let exclusive = [kind::EA, kind::EA_RO, kind::EA_AR];
        let Some((_, kind)) = self.reservation else {
            return true;
        };
        !exclusive.contains(&kind) || self.may_write(nexus)
    }

    /// What a command does; `None` if it would not end GOOD, or is none that the fencer sends.
    pub(crate) fn after(&self, action: Action) -> Option<Outcome> {
        let sender = action.sender();
        let mut out = Outcome {
            next: self.clone(),
            attentions: Vec::new(),
            aborted: Vec::new(),
        };
        if !matches!(action, Action::Register { .. }) && !self.is_registered(sender) {
            return None;
        }
        match action {
            Action::Register { nexus, key } => {
                if self.is_registered(nexus) || key == 0 {
                    return None;
                }
                out.next.keys.insert(nexus, key);
            }
            Action::Unregister { nexus } => out.remove(&[nexus], sender),
            Action::Reserve { nexus, kind } => {
                if self.reservation.is_some() {
                    return None;
                }
                out.next.reservation = Some((nexus, kind));
            }
            Action::Release { nexus } => {
                if !self.holds(nexus) {
                    return None;
                }
                out.release(nexus);
            }
            Action::Clear { nexus } => {
                let others = self.keys.keys().filter(|&&other| other != nexus);
                let told = others.map(|&other| (other, RESERVATIONS_PREEMPTED));
                out.attentions.extend(told);
                out.next = Self::default();
            }
            Action::Preempt {
                nexus,
                victim,
                kind,
                abort,
            } => {
                self.preempt(nexus, victim, kind, &mut out)?;
                if !abort {
                    out.aborted.clear();
                }
            }
            Action::Move {
                nexus,
                to,
                key,
                unregister,
            } => {
                let (holder, kind) = self.reservation?;
                if holder != nexus || to == nexus || is_all_registrants(kind) {
                    return None;
                }
                out.next.keys.insert(to, key);
                out.next.reservation = Some((to, kind));
                if unregister {
                    out.next.keys.remove(&nexus);
                }
            }
        }
        Some(out)
    }

    fn preempt(&self, nexus: Nexus, victim: u64, kind: u8, out: &mut Outcome) -> Option<()> {
        let meant = |key: u64| victim == 0 || key == victim;
        let mut removed: Vec<Nexus> = self
            .keys
            .iter()
            .filter(|(_, key)| meant(**key))
            .map(|(registrant, _)| *registrant)
            .collect();
        let takes = match self.reservation {
            None => false,
            Some((_, held)) if is_all_registrants(held) => victim == 0,
            Some((holder, _)) => victim != 0 && self.keys.get(&holder) == Some(&victim),
        };
        if takes {
            removed.retain(|&other| other != nexus);
            for other in &removed {
                out.next.keys.remove(other);
            }
            out.next.reservation = Some((nexus, kind));
            if self.reservation.is_some_and(|(_, held)| held != kind) {
                out.tell_others(nexus, RESERVATIONS_RELEASED);
            }
        } else {
            // Naming its own key here, the sender would remove itself: Unregister does that.
            if victim == 0 || removed.is_empty() || removed.contains(&nexus) {
                return None;
            }
            out.remove(&removed, nexus);
        }
        let told = removed
            .iter()
            .map(|&other| (other, REGISTRATIONS_PREEMPTED));
        out.attentions.extend(told);
        out.aborted = removed;
        Some(())
    }
}

impl Outcome {
    /// Takes registrations away, and the reservation with its last holder.
    fn remove(&mut self, nexuses: &[Nexus], sender: Nexus) {
        for nexus in nexuses {
            self.next.keys.remove(nexus);
        }
        let Some((holder, kind)) = self.next.reservation else {
            return;
        };
        if is_all_registrants(kind) {
            match self.next.keys.keys().next() {
                None => self.next.reservation = None,
                Some(&other) if !self.next.is_registered(holder) => {
                    self.next.reservation = Some((other, kind));
                }
                Some(_) => {}
            }
        } else if !self.next.is_registered(holder) {
            self.release(sender);
        }
    }

    fn release(&mut self, sender: Nexus) {
        let kind = self.next.reservation.take().map(|(_, kind)| kind);
        if kind.is_some_and(is_for_registrants) {
            self.tell_others(sender, RESERVATIONS_RELEASED);
        }
    }

    fn tell_others(&mut self, sender: Nexus, code: Code) {
        let others = self.next.keys.keys().filter(|&&other| other != sender);
        let told: Vec<_> = others.map(|&other| (other, code)).collect();
        self.attentions.extend(told);
    }
}

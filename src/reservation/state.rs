//! The state of one logical unit: who is registered, who holds what.

use super::access::{Rights, Standing};
use super::identity::{InitiatorPort, Nexus};
use super::kinds::{Key, ReservationType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a registered nexus has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its key, never [`Key::NONE`].
    pub key: Key,
    /// Registered with ALL_TG_PT: one of the registrations of its initiator port with every target
    /// port, which are changed and removed together.
    pub all_target_ports: bool,
}

/// The persistent reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its type.
    pub kind: ReservationType,
    /// The one holder, or `None` under the all-registrants types, where every registrant is one.
    pub holder: Option<Nexus>,
}

impl Reservation {
    /// The reservation of type `kind` that `taker` establishes.
    pub(super) fn taken_by(taker: &Nexus, kind: ReservationType) -> Self {
        let holder = if kind.is_all_registrants() {
            None
        } else {
            Some(taker.clone())
        };
        Self { kind, holder }
    }
}

/// Registrations and reservations of one logical unit.
///
/// ```text
///               register               reserve, preempt
/// (nothing) ──────────────▶ registered ──────────────────▶ reserved
///     ▲                      │      ▲                        │
///     └── unregister, clear ─┘      └── release, unregister ─┤
///     └────────────────────── clear, the last one unregisters┘
/// ```
///
/// Invariants: no registered key is zero; the holder is registered; an all-registrants reservation
/// has a registrant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(with = "crate::base::pairs")]
    pub(super) registrations: BTreeMap<Nexus, Registration>,
    pub(super) reservation: Option<Reservation>,
    pub(super) generation: u32,
    pub(super) aptpl: bool,
    pub(super) legacy_holder: Option<Nexus>,
}

impl State {
    /// Nothing registered, nothing reserved: a logical unit at its first power-on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every registered nexus, in the order of the nexuses.
    pub fn registrations(&self) -> impl ExactSizeIterator<Item = (&Nexus, &Registration)> {
        self.registrations.iter()
    }

    /// The registration of `nexus`.
    #[must_use]
    pub fn registration(&self, nexus: &Nexus) -> Option<&Registration> {
        self.registrations.get(nexus)
    }

    /// The key `nexus` has registered.
    #[must_use]
    pub fn key(&self, nexus: &Nexus) -> Option<Key> {
        self.registration(nexus)
            .map(|registration| registration.key)
    }

    /// The persistent reservation.
    #[must_use]
    pub const fn reservation(&self) -> Option<&Reservation> {
        self.reservation.as_ref()
    }

    /// PRGENERATION.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether registrations and the reservation persist through a power loss (PTPL_A).
    #[must_use]
    pub const fn aptpl(&self) -> bool {
        self.aptpl
    }

    /// Who holds the SPC-2 reservation.
    #[must_use]
    pub const fn legacy_holder(&self) -> Option<&Nexus> {
        self.legacy_holder.as_ref()
    }

    /// Whether a persistent or an SPC-2 reservation stands.
    #[must_use]
    pub const fn is_reserved(&self) -> bool {
        self.reservation.is_some() || self.legacy_holder.is_some()
    }

    /// Whether `nexus` holds the persistent reservation.
    #[must_use]
    pub fn is_holder(&self, nexus: &Nexus) -> bool {
        self.standing(nexus) == Standing::Holder
    }

    /// Whether a nexus other than `nexus` holds an SPC-2 reservation.
    #[must_use]
    pub fn is_blocked(&self, nexus: &Nexus) -> bool {
        self.legacy_holder
            .as_ref()
            .is_some_and(|holder| holder != nexus)
    }

    /// How `nexus` stands to the persistent reservation.
    #[must_use]
    pub fn standing(&self, nexus: &Nexus) -> Standing {
        if !self.registrations.contains_key(nexus) {
            return Standing::Stranger;
        }
        match &self.reservation {
            Some(Reservation { holder: None, .. }) => Standing::Holder,
            Some(Reservation {
                holder: Some(holder),
                ..
            }) if holder == nexus => Standing::Holder,
            _ => Standing::Registrant,
        }
    }

    /// What `nexus` may do.
    #[must_use]
    pub fn rights(&self, nexus: &Nexus) -> Rights {
        let rights = Rights::new(self.kind(), self.standing(nexus));
        if self.is_blocked(nexus) {
            rights.blocked()
        } else {
            rights
        }
    }

    /// What a nexus may do that is neither registered nor the holder of the SPC-2 reservation.
    #[must_use]
    pub fn stranger_rights(&self) -> Rights {
        let rights = Rights::new(self.kind(), Standing::Stranger);
        if self.legacy_holder.is_some() {
            rights.blocked()
        } else {
            rights
        }
    }

    /// What a power loss leaves (SPC-4 section 5.13.5): with APTPL the registrations and the
    /// reservation, without it nothing. The generation starts at zero in either case.
    #[must_use]
    pub fn after_power_loss(&self) -> Self {
        if !self.aptpl {
            return Self::new();
        }
        Self {
            generation: 0,
            legacy_holder: None,
            ..self.clone()
        }
    }

    /// Removes those registrations. The reservation is released, and its type returned, if its
    /// holder went or, under an all-registrants type, the last registrant.
    pub(super) fn unregister(&mut self, leaving: &BTreeSet<Nexus>) -> Option<ReservationType> {
        self.registrations
            .retain(|nexus, _| !leaving.contains(nexus));
        let orphaned = match &self.reservation.as_ref()?.holder {
            None => self.registrations.is_empty(),
            Some(holder) => leaving.contains(holder),
        };
        if !orphaned {
            return None;
        }
        self.reservation.take().map(|released| released.kind)
    }

    /// Counts one more change of registrations; the counter wraps (SPC-4 section 5.13.6).
    pub(super) const fn advance_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Whether the invariants hold; a state that comes from another process is asked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let keyed = self
            .registrations
            .values()
            .all(|registration| !registration.key.is_none());
        let held = match &self.reservation {
            None => true,
            Some(Reservation { kind, holder: None }) => {
                kind.is_all_registrants() && !self.registrations.is_empty()
            }
            Some(Reservation {
                kind,
                holder: Some(holder),
            }) => !kind.is_all_registrants() && self.registrations.contains_key(holder),
        };
        keyed && held
    }

    /// Stops the program where a state that contradicts itself would be published.
    pub(super) fn assert_sound(&self) {
        assert!(
            self.is_sound(),
            "reservation state contradicts itself: {self:?}"
        );
    }

    /// The registered ports of the node called `name` (in lower case), each once.
    pub(super) fn ports_of(&self, name: &str) -> Vec<InitiatorPort> {
        let ports = self.registrations.keys().map(|nexus| &nexus.initiator);
        let mut ports: Vec<_> = ports.filter(|port| port.name() == name).cloned().collect();
        ports.dedup();
        ports
    }

    fn kind(&self) -> Option<ReservationType> {
        self.reservation
            .as_ref()
            .map(|reservation| reservation.kind)
    }
}

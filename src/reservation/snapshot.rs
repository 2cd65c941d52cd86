//! The rights of every nexus as an array: what every I/O reads.

use super::access::Rights;
use super::identity::{Nexus, NexusIndex};
use super::state::State;
use crate::base::limits::NEXUSES_MAX;

/// The rights of all nexuses under one state, by [`NexusIndex`].
///
/// Built anew for every change and never modified, so that it can stand behind one atomic pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    rights: Box<[Rights]>,
    stranger: Rights,
    generation: u32,
    reserved: bool,
}

impl Snapshot {
    /// Nothing registered, nothing reserved.
    #[must_use]
    pub fn open() -> Self {
        Self::build(&State::new(), |_| None)
    }

    /// The rights under `state`; `index_of` tells where the volume's table keeps a nexus.
    ///
    /// Every registered nexus and the holder of the SPC-2 reservation must have a place there, or
    /// it counts as a stranger. Positions must be below [`NEXUSES_MAX`].
    #[must_use]
    pub fn build(state: &State, index_of: impl Fn(&Nexus) -> Option<NexusIndex>) -> Self {
        let stranger = state.stranger_rights();
        let mut rights = Vec::new();
        for nexus in state.registrations.keys().chain(&state.legacy_holder) {
            let Some(NexusIndex(index)) =
                index_of(nexus).filter(|index| *index != NexusIndex::NONE)
            else {
                continue;
            };
            assert!(index < NEXUSES_MAX, "the table of nexuses is bounded");
            let index = index as usize;
            if rights.len() <= index {
                rights.resize(index + 1, stranger);
            }
            rights[index] = state.rights(nexus);
        }
        let reserved = state.is_reserved();
        Self {
            rights: rights.into(),
            stranger,
            generation: state.generation(),
            reserved,
        }
    }

    /// What the nexus at `index` may do: one array read. Whoever has no place there, registered
    /// nowhere, has the rights of a stranger.
    #[inline]
    #[must_use]
    pub fn rights(&self, index: NexusIndex) -> Rights {
        self.rights
            .get(index.0 as usize)
            .copied()
            .unwrap_or(self.stranger)
    }

    /// PRGENERATION of the state this was built from.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether a persistent or an SPC-2 reservation stands.
    #[must_use]
    pub const fn is_reserved(&self) -> bool {
        self.reserved
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::open()
    }
}

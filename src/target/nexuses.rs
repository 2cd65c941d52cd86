//! The I_T nexuses that one volume knows, by the index under which every snapshot lists them.
//!
//! An index belongs to a nexus while the nexus is logged in or registered. It is given to another
//! only after the session that used it is gone and quiet, so that an I/O still on its way can never
//! pass under somebody else's rights.

use crate::base::limits::NEXUSES_MAX;
use crate::reservation::{Nexus, NexusIndex};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Debug, Clone)]
struct Entry {
    nexus: Nexus,
    sessions: u32,
    registered: bool,
}

/// The table of one volume; lives at its home. As data it is the nexuses by index: who is logged in or
/// registered is known elsewhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Option<Nexus>>", into = "Vec<Option<Nexus>>")]
pub(crate) struct NexusTable {
    entries: Vec<Option<Entry>>,
    by_name: HashMap<Nexus, u32>,
    free: Vec<u32>,
}

impl From<NexusTable> for Vec<Option<Nexus>> {
    fn from(table: NexusTable) -> Self {
        let entries = table.entries.into_iter();
        entries
            .map(|entry| entry.map(|entry| entry.nexus))
            .collect()
    }
}

impl From<Vec<Option<Nexus>>> for NexusTable {
    fn from(nexuses: Vec<Option<Nexus>>) -> Self {
        let mut table = Self::default();
        for (index, nexus) in (0..).zip(nexuses) {
            match &nexus {
                Some(nexus) => drop(table.by_name.insert(nexus.clone(), index)),
                None => table.free.push(index),
            }
            table.entries.push(nexus.map(|nexus| Entry {
                nexus,
                sessions: 0,
                registered: false,
            }));
        }
        table
    }
}

impl NexusTable {
    /// Notes the sessions of a table that another process has left. False where it names a nexus twice,
    /// has more than a volume remembers, or lacks one of a session.
    #[must_use]
    pub(crate) fn settle(&mut self, sessions: impl Iterator<Item = NexusIndex>) -> bool {
        let present = self.entries.iter().flatten().count();
        if present != self.by_name.len() || self.entries.len() > NEXUSES_MAX as usize {
            return false;
        }
        for index in sessions {
            let Some(entry) = self.entry(index) else {
                return false;
            };
            entry.sessions += 1;
        }
        true
    }

    /// How many nexuses have an index.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The index of a nexus that is logged in or registered.
    pub(crate) fn index_of(&self, nexus: &Nexus) -> Option<NexusIndex> {
        self.by_name.get(nexus).map(|&index| NexusIndex(index))
    }

    /// The nexus behind an index.
    pub(crate) fn nexus(&self, index: NexusIndex) -> Option<&Nexus> {
        self.entries
            .get(index.0 as usize)?
            .as_ref()
            .map(|entry| &entry.nexus)
    }

    /// A session of this nexus begins. Nothing when the volume knows too many nexuses already.
    pub(crate) fn enter(&mut self, nexus: &Nexus) -> Option<NexusIndex> {
        let index = self.intern(nexus)?;
        self.entry(index)?.sessions += 1;
        Some(index)
    }

    /// The session is gone, and so is every I/O that it had under way.
    pub(crate) fn leave(&mut self, index: NexusIndex) {
        if let Some(entry) = self.entry(index) {
            entry.sessions = entry.sessions.saturating_sub(1);
        }
        self.release(index);
    }

    /// Brings the marks of registration in line with the reservation state.
    pub(crate) fn set_registered(&mut self, registered: &[&Nexus]) -> bool {
        let mut complete = true;
        for nexus in registered {
            complete &= self.intern(nexus).is_some();
        }
        let wanted: std::collections::HashSet<&Nexus> = registered.iter().copied().collect();
        let mut changed = Vec::new();
        for (position, slot) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = slot {
                entry.registered = wanted.contains(&entry.nexus);
                if !entry.registered && entry.sessions == 0 {
                    changed.push(position);
                }
            }
        }
        for position in changed {
            self.release(NexusIndex(u32::try_from(position).unwrap_or(u32::MAX)));
        }
        complete
    }

    /// The nexuses with a session.
    pub(crate) fn logged_in(&self) -> impl Iterator<Item = &Nexus> {
        self.entries
            .iter()
            .flatten()
            .filter(|entry| entry.sessions > 0)
            .map(|entry| &entry.nexus)
    }

    fn entry(&mut self, index: NexusIndex) -> Option<&mut Entry> {
        self.entries.get_mut(index.0 as usize)?.as_mut()
    }

    fn intern(&mut self, nexus: &Nexus) -> Option<NexusIndex> {
        if let Some(index) = self.by_name.get(nexus) {
            return Some(NexusIndex(*index));
        }
        let entry = Some(Entry {
            nexus: nexus.clone(),
            sessions: 0,
            registered: false,
        });
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            index
        } else {
            let index = u32::try_from(self.entries.len())
                .ok()
                .filter(|&i| i < NEXUSES_MAX)?;
            self.entries.push(entry);
            index
        };
        self.by_name.insert(nexus.clone(), index);
        Some(NexusIndex(index))
    }

    fn release(&mut self, index: NexusIndex) {
        let Some(slot) = self.entries.get_mut(index.0 as usize) else {
            return;
        };
        if slot
            .as_ref()
            .is_some_and(|entry| entry.sessions == 0 && !entry.registered)
            && let Some(entry) = slot.take()
        {
            self.by_name.remove(&entry.nexus);
            self.free.push(index.0);
        }
    }
}

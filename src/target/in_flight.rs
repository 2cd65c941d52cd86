//! Who has commands under way on a volume: what an operator wants to know before a PREEMPT.
//!
//! The answer is gathered from all reactors one after the other and is out of date when it arrives.
//! Nothing is decided by it; the fence counts for itself (`Core::watch_writes`).

use super::connection::Work;
use super::core::Core;
use super::message::Reply;
use super::volume::VolumeIndex;
use crate::reservation::{Nexus, NexusIndex};
use std::collections::BTreeMap;

/// What one nexus has under way on one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The position of the nexus in the volume's table; [`NexusIndex::NONE`] for work under a nexus
    /// that the volume does not know.
    pub index: NexusIndex,
    /// The nexus, unless it is gone.
    pub nexus: Option<Nexus>,
    /// Commands that have been delivered and not yet answered, those included that are aborted and
    /// not yet quiet: how many by operation code.
    pub commands: BTreeMap<u8, u32>,
    /// Those of them that wait for Data-Out. A fence does not wait for these.
    pub awaiting_data: u32,
    /// Backend requests that have been issued and not yet completed. One command may have several,
    /// and a copy may have some when its command has been answered.
    pub issued: u32,
    /// Those of them that change the medium: what a fence waits for.
    pub issued_writes: u32,
}

impl InFlight {
    fn none(index: NexusIndex) -> Self {
        Self {
            index,
            nexus: None,
            commands: BTreeMap::new(),
            awaiting_data: 0,
            issued: 0,
            issued_writes: 0,
        }
    }

    /// All commands, whatever their operation code.
    #[must_use]
    pub fn commands_total(&self) -> u32 {
        self.commands.values().sum()
    }

    fn add(&mut self, other: &Self) {
        for (opcode, count) in &other.commands {
            *self.commands.entry(*opcode).or_default() += count;
        }
        self.awaiting_data += other.awaiting_data;
        self.issued += other.issued;
        self.issued_writes += other.issued_writes;
    }
}

impl Core {
    /// What is under way here: the commands of this reactor's connections, and the backend requests
    /// of its shards, whichever reactor's commands they serve.
    pub(crate) fn count_in_flight(&self, volume: VolumeIndex) -> Vec<InFlight> {
        let mut counts = Counts::default();
        for (_, conn) in self.connections.iter() {
            let Some(session) = conn.session.as_ref() else {
                continue;
            };
            if session.volume.index != volume {
                continue;
            }
            for active in conn.active.iter().flatten() {
                let entry = counts.of(session.nexus.index);
                *entry.commands.entry(active.opcode).or_default() += 1;
                let waits = matches!(
                    active.work,
                    Work::AwaitData(_) | Work::Procedure { data: Some(_), .. }
                );
                entry.awaiting_data += u32::from(waits);
            }
        }
        for (_, issued) in self.issued.iter() {
            if let (true, Some(nexus)) = (issued.volume == volume, issued.nexus) {
                let entry = counts.of(nexus);
                entry.issued += 1;
                entry.issued_writes += u32::from(issued.changes_medium);
            }
        }
        counts.into_list()
    }

    /// Puts names to the counts of all reactors; at the volume's home.
    pub(crate) fn name_in_flight(
        &self,
        volume: VolumeIndex,
        replies: Vec<Reply>,
    ) -> Option<Vec<InFlight>> {
        let home = self.homes.get(&volume)?;
        let mut counts = Counts::default();
        for reply in replies {
            if let Reply::InFlight(list) = reply {
                for part in &list {
                    counts.of(part.index).add(part);
                }
            }
        }
        let inner = home.inner.borrow();
        let mut list = counts.into_list();
        for entry in &mut list {
            entry.nexus = inner.nexuses.nexus(entry.index).cloned();
        }
        Some(list)
    }
}

#[derive(Default)]
struct Counts(BTreeMap<NexusIndex, InFlight>);

impl Counts {
    fn of(&mut self, index: NexusIndex) -> &mut InFlight {
        self.0.entry(index).or_insert_with(|| InFlight::none(index))
    }

    fn into_list(self) -> Vec<InFlight> {
        self.0.into_values().collect()
    }
}

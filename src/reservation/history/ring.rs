//! The ring: what stays, what is coalesced, what has yet to be saved.
//!
//! Two kinds of entry share it. One that took effect is never coalesced and goes when it is the
//! oldest of a full ring. One without effect (a refusal, a RESERVE by the holder) can be brought
//! about at any rate by anybody who may log in: equal ones between two that took effect become one
//! entry that counts, and all of them together have a quarter of the ring, so that nobody can push
//! out what matters.

use super::codec;
use super::{Actor, Entry, Event, Status};
use crate::base::limits::{HISTORY_ENTRIES_MAX, HISTORY_IDLE_ENTRIES_MAX};
use std::collections::VecDeque;

/// Sequence numbers end far before they could overflow.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;

/// The history of one volume.
#[derive(Debug, Clone)]
pub struct History {
    /// Oldest first.
    slots: VecDeque<Slot>,
    next: u64,
    /// Counts changes of the ring.
    revision: u64,
    /// The revision that the store has.
    saved: u64,
    /// Entries that went and that the store may still have, with the revision at which they went.
    gone: Vec<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Slot {
    entry: Entry,
    /// The revision that changed it last.
    changed: u64,
    /// Whether it has been handed to the store.
    stored: bool,
}

/// What a store has to be told for it to have the ring as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Entries that go, by sequence number.
    pub forget: Vec<u64>,
    /// Entries that come or are replaced, by sequence number.
    pub entries: Vec<(u64, Vec<u8>)>,
    revision: u64,
}

/// How far somebody has read who follows a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The newest entry that there was.
    pub sequence: u64,
    /// The ring's changes that there were: an entry may count up, or end, after it has been read.
    pub revision: u64,
}

/// A part of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Entries, oldest first.
    pub entries: Vec<Entry>,
    /// Where to go on reading.
    pub cursor: Cursor,
    /// How many entries came and were pushed out again before they were read.
    pub lost: u64,
}

impl Excerpt {
    /// Whether there is nothing to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.lost == 0
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            next: 1,
            revision: 0,
            saved: 0,
            gone: Vec::new(),
        }
    }
}

impl History {
    /// The history in what a store kept, by sequence number. What can't be read is left out, and an
    /// entry at `now_ms` says how much that was.
    #[must_use]
    pub fn restore(kept: &[(u64, Vec<u8>)], now_ms: u64) -> Self {
        let mut history = Self::default();
        let mut lost = Vec::new();
        for (sequence, bytes) in kept {
            let entry = codec::decode(bytes).ok();
            let entry = entry.filter(|entry| {
                entry.sequence == *sequence && (history.next..SEQUENCE_MAX).contains(sequence)
            });
            match entry {
                None => lost.push(*sequence),
                Some(entry) => {
                    history.next = entry.sequence + 1;
                    history.slots.push_back(Slot {
                        entry,
                        changed: 0,
                        stored: true,
                    });
                }
            }
        }
        if !lost.is_empty() {
            let count = u32::try_from(lost.len()).unwrap_or(u32::MAX);
            history.revision += 1;
            let revision = history.revision;
            history.gone = lost
                .into_iter()
                .map(|sequence| (sequence, revision))
                .collect();
            let mut note = Entry::new(now_ms, Actor::Target, Event::EntriesLost(count));
            note.status = Status::Good;
            note.effect = true;
            history.push(note);
        }
        history.evict();
        history
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.slots.iter().map(|slot| &slot.entry)
    }

    /// All of it.
    #[must_use]
    pub fn excerpt(&self) -> Excerpt {
        Excerpt {
            entries: self.entries().cloned().collect(),
            cursor: self.cursor(),
            lost: 0,
        }
    }

    /// What has ended or counted up since `seen`. What is under way is left out, and comes when it has
    /// ended.
    #[must_use]
    pub fn after(&self, seen: Cursor) -> Excerpt {
        let is_later = |slot: &&Slot| slot.entry.sequence > seen.sequence;
        // A volume that was attached again counts its changes anew; the numbers of its entries go on.
        let is_new = |slot: &&Slot| is_later(slot) || slot.changed > seen.revision;
        let has_ended = |slot: &&Slot| slot.entry.status != Status::Unfinished;
        let new = self.slots.iter().filter(is_new).filter(has_ended);
        let came = (self.next - 1).saturating_sub(seen.sequence);
        let there = self.slots.iter().filter(is_later).count() as u64;
        Excerpt {
            entries: new.map(|slot| slot.entry.clone()).collect(),
            cursor: self.cursor(),
            lost: came.saturating_sub(there),
        }
    }

    const fn cursor(&self) -> Cursor {
        Cursor {
            sequence: self.next - 1,
            revision: self.revision,
        }
    }

    /// Whether nothing has happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Enters something that has ended; one that had no effect and is as another was, with nothing
    /// of effect in between, only counts there.
    pub fn record(&mut self, entry: Entry) {
        let alike = self
            .slots
            .iter()
            .rposition(|slot| slot.entry.effect || is_repeated_by(&slot.entry, &entry));
        match alike.and_then(|at| self.slots.get_mut(at)) {
            Some(slot) if !entry.effect && !slot.entry.effect => {
                slot.entry.times = slot.entry.times.saturating_add(entry.times);
                slot.entry.last_ms = entry.last_ms;
                slot.entry.generation = entry.generation;
                slot.entry.fence_us = entry.fence_us;
                self.revision += 1;
                slot.changed = self.revision;
            }
            _ => {
                self.push(entry);
            }
        }
    }

    /// Enters something of effect that is under way and is to be saved together with it. Returns the
    /// number by which [`History::settle`] finds it.
    pub fn open(&mut self, mut entry: Entry) -> u64 {
        entry.effect = true;
        self.push(entry)
    }

    /// Notes how something that was opened ended. It may have been pushed out meanwhile.
    pub fn settle(&mut self, sequence: u64, entry: Entry) {
        let mut slots = self.slots.iter_mut().rev();
        if let Some(slot) = slots.find(|slot| slot.entry.sequence == sequence) {
            self.revision += 1;
            slot.changed = self.revision;
            slot.entry = Entry { sequence, ..entry };
            self.evict();
        }
    }

    /// What the store does not have; nothing in it if the store has all.
    #[must_use]
    pub fn unsaved(&mut self) -> Batch {
        let saved = self.saved;
        let changed = self.slots.iter_mut().filter(|slot| slot.changed > saved);
        let entries = changed
            .map(|slot| {
                slot.stored = true;
                (slot.entry.sequence, codec::encode(&slot.entry))
            })
            .collect();
        Batch {
            forget: self.gone.iter().map(|(sequence, _)| *sequence).collect(),
            entries,
            revision: self.revision,
        }
    }

    /// The store has what the batch says.
    pub fn saved(&mut self, batch: &Batch) {
        self.saved = self.saved.max(batch.revision);
        self.gone.retain(|(_, revision)| *revision > batch.revision);
    }

    fn push(&mut self, entry: Entry) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.revision += 1;
        self.slots.push_back(Slot {
            entry: Entry { sequence, ..entry },
            changed: self.revision,
            stored: false,
        });
        self.evict();
        sequence
    }

    fn evict(&mut self) {
        let idle = |slot: &Slot| !slot.entry.effect;
        while self.slots.iter().filter(|slot| idle(slot)).count() > HISTORY_IDLE_ENTRIES_MAX {
            let oldest = self.slots.iter().position(idle);
            self.remove(oldest);
        }
        while self.slots.len() > HISTORY_ENTRIES_MAX {
            self.remove(Some(0));
        }
    }

    fn remove(&mut self, at: Option<usize>) {
        let slot = at.and_then(|at| self.slots.remove(at));
        if let Some(slot) = slot.filter(|slot| slot.stored) {
            self.revision += 1;
            self.gone.push((slot.entry.sequence, self.revision));
        }
    }
}

/// Whether `later` is `earlier` once more: in all but when it was, its number, the generation and
/// how long it took.
fn is_repeated_by(earlier: &Entry, later: &Entry) -> bool {
    let comparable = Entry {
        sequence: earlier.sequence,
        at_ms: earlier.at_ms,
        last_ms: earlier.last_ms,
        times: earlier.times,
        generation: earlier.generation,
        fence_us: earlier.fence_us,
        ..later.clone()
    };
    *earlier == comparable
}

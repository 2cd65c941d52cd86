//! A slab whose keys go stale: an index plus the generation of its slot.
//!
//! A completion that arrives after its owner is gone carries a stale key and finds nothing, instead
//! of finding the slot's next tenant.

use serde::{Deserialize, Serialize};

/// Names one occupancy of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotKey {
    index: u32,
    generation: u32,
}

impl SlotKey {
    /// Position of the slot in its [`Slots`].
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Both halves in one word, for the user data of a kernel request.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The inverse of [`SlotKey::to_bits`].
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves are cut out on purpose"
    )]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Occupied(T),
    Free { next: u32 },
}

const END: u32 = u32::MAX;

/// A bounded slab with generational keys. Insertion never allocates once the slab has grown to its
/// capacity.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    length: u32,
    capacity: u32,
}

impl<T> Slots<T> {
    /// A slab of at most `capacity` entries, allocated at once.
    #[must_use]
    pub fn with_capacity(capacity: u32) -> Self {
        assert!(
            capacity < END,
            "the last index marks the end of the free list"
        );
        let mut slots = Self::bounded(capacity);
        slots.slots.reserve_exact(capacity as usize);
        slots
    }

    /// A slab of at most `capacity` entries that grows as it fills.
    #[must_use]
    pub const fn bounded(capacity: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: END,
            length: 0,
            capacity,
        }
    }

    /// A slab of these entries under the keys that they had in another one, in any order; nothing where
    /// a key is beyond `capacity`, stands twice or never was one. Allocated at once.
    #[must_use]
    pub fn restored(capacity: u32, entries: Vec<(SlotKey, T)>) -> Option<Self> {
        let mut slab = Self::with_capacity(capacity);
        let ends = entries.iter().map(|(key, _)| key.index.saturating_add(1));
        let end = ends.max().unwrap_or(0);
        if end > capacity {
            return None;
        }
        let free = || Slot {
            generation: 1,
            state: State::Free { next: END },
        };
        slab.slots.extend((0..end).map(|_| free()));
        for (key, value) in entries {
            let slot = slab.slots.get_mut(key.index as usize)?;
            if key.generation == 0 || matches!(slot.state, State::Occupied(_)) {
                return None;
            }
            slot.generation = key.generation;
            slot.state = State::Occupied(value);
            slab.length += 1;
        }
        for (index, slot) in (0..end).zip(&mut slab.slots).rev() {
            if let State::Free { next } = &mut slot.state {
                *next = slab.free;
                slab.free = index;
            }
        }
        Some(slab)
    }

    /// Entries present.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether no entry is present.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether [`Slots::insert`] would hand the value back.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.length == self.capacity
    }

    /// Takes `value` in, or hands it back when the slab is full.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<SlotKey, T> {
        if self.is_full() {
            return Err(value);
        }
        Ok(self.occupy(|| value))
    }

    /// Takes in what `make` makes, unless the slab is full. Large values are made where they stay and
    /// not moved about.
    #[inline]
    pub fn insert_with(&mut self, make: impl FnOnce() -> T) -> Option<SlotKey> {
        (!self.is_full()).then(|| self.occupy(make))
    }

    /// The slab is not full.
    #[inline]
    fn occupy(&mut self, make: impl FnOnce() -> T) -> SlotKey {
        if self.free == END {
            return self.grow(make());
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        let State::Free { next } = slot.state else {
            unreachable!("the free list holds free slots")
        };
        slot.state = State::Occupied(make());
        self.free = next;
        self.length += 1;
        SlotKey {
            index,
            generation: slot.generation,
        }
    }

    /// Every slot so far is taken.
    #[inline(never)]
    fn grow(&mut self, value: T) -> SlotKey {
        let index = u32::try_from(self.slots.len()).unwrap_or(END);
        assert!(index < END, "the capacity is below the end mark");
        let generation = 1;
        self.slots.push(Slot {
            generation,
            state: State::Occupied(value),
        });
        self.length += 1;
        SlotKey { index, generation }
    }

    /// The entry of `key`, unless it has gone.
    #[must_use]
    #[inline]
    pub fn get(&self, key: SlotKey) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(Slot {
                generation,
                state: State::Occupied(value),
            }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry of `key`, unless it has gone.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(Slot {
                generation,
                state: State::Occupied(value),
            }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Drops the entry of `key` where it is; its key is stale from here on. Returns whether it was
    /// there.
    #[inline]
    pub fn release(&mut self, key: SlotKey) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let Some(slot) = self.slots.get_mut(key.index as usize) else {
            return false;
        };
        slot.state = State::Free { next: self.free };
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.free = key.index;
        self.length -= 1;
        true
    }

    /// Takes the entry of `key` out; its key is stale from here on.
    pub fn remove(&mut self, key: SlotKey) -> Option<T> {
        self.get(key)?;
        let free = self.free;
        let slot = self.slots.get_mut(key.index as usize)?;
        let state = std::mem::replace(&mut slot.state, State::Free { next: free });
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.free = key.index;
        self.length -= 1;
        match state {
            State::Occupied(value) => Some(value),
            State::Free { .. } => unreachable!("the key was just found occupied"),
        }
    }

    /// All entries with their keys, in index order.
    pub fn iter(&self) -> impl Iterator<Item = (SlotKey, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| match &slot.state {
                State::Occupied(value) => Some((key_at(index, slot.generation), value)),
                State::Free { .. } => None,
            })
    }

    /// All entries with their keys, in index order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SlotKey, &mut T)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(index, slot)| match &mut slot.state {
                State::Occupied(value) => Some((key_at(index, slot.generation), value)),
                State::Free { .. } => None,
            })
    }

    /// The first entry at position `index` or behind it, for a walk during which entries may come
    /// and go.
    #[must_use]
    pub fn from(&self, index: u32) -> Option<(SlotKey, &T)> {
        let rest = self.slots.get(index as usize..)?;
        (index as usize..)
            .zip(rest)
            .find_map(|(position, slot)| match &slot.state {
                State::Occupied(value) => Some((key_at(position, slot.generation), value)),
                State::Free { .. } => None,
            })
    }

    /// The keys of all entries, in index order.
    #[must_use]
    pub fn keys(&self) -> Vec<SlotKey> {
        self.iter().map(|(key, _)| key).collect()
    }
}

fn key_at(index: usize, generation: u32) -> SlotKey {
    SlotKey {
        index: u32::try_from(index).unwrap_or(END),
        generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_stale_with_its_entry() {
        let mut slots = Slots::with_capacity(2);
        let first = slots.insert("first").unwrap();
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second").unwrap();
        assert_eq!(first.index(), second.index());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(SlotKey::from_bits(second.to_bits()), second);
    }

    #[test]
    fn a_restored_slab_knows_the_old_keys_and_fills_its_gaps() {
        let mut old = Slots::with_capacity(4);
        let keys: Vec<_> = ["a", "b", "c"]
            .map(|value| old.insert(value).unwrap())
            .into();
        old.remove(keys[0]);
        let again = old.insert("d").unwrap();
        old.remove(keys[1]);
        let mut entries: Vec<_> = old.iter().map(|(key, value)| (key, *value)).collect();
        entries.reverse();
        let mut new = Slots::restored(4, entries.clone()).unwrap();
        assert_eq!(new.get(again), Some(&"d"));
        assert_eq!(new.get(keys[2]), Some(&"c"));
        assert_eq!((new.get(keys[0]), new.len()), (None, 2));
        let others = ["e", "f"].map(|value| new.insert(value).unwrap());
        assert!(new.is_full() && others[0].index() == keys[1].index());
        assert!(
            Slots::restored(2, entries.clone()).is_none(),
            "beyond its capacity"
        );
        let twice = [entries.clone(), entries].concat();
        assert!(Slots::restored(4, twice).is_none(), "a key stands twice");
        assert!(Slots::restored(1, vec![(SlotKey::from_bits(0), "x")]).is_none());
    }

    #[test]
    fn a_full_slab_hands_the_value_back() {
        let mut slots = Slots::with_capacity(1);
        slots.insert(1).unwrap();
        assert_eq!(slots.insert(2), Err(2));
        assert!(slots.is_full());
    }
}

//! Which task an Initiator Task Tag names: an open-addressed table that is allocated once.

use super::event::TaskId;

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    task: TaskId,
}

/// Tasks by tag. Linear probing; removal closes the gap, so there are no tombstones.
#[derive(Debug)]
pub(super) struct Tags {
    entries: Box<[Option<Entry>]>,
    length: usize,
}

/// A place for a tag that names no task yet.
pub(super) struct Vacancy<'a> {
    tags: &'a mut Tags,
    tag: u32,
    position: usize,
}

impl Vacancy<'_> {
    /// The tag names `task` from now on.
    ///
    /// # Panics
    /// If the table holds its capacity.
    #[inline]
    pub(super) fn fill(self, task: TaskId) {
        let Self {
            tags,
            tag,
            position,
        } = self;
        assert!(
            tags.length < tags.entries.len() / 2,
            "the task table is the smaller one"
        );
        tags.entries[position] = Some(Entry { tag, task });
        tags.length += 1;
    }
}

impl Tags {
    /// A table for at most `tasks` tasks; it stays at most half full.
    pub(super) fn with_capacity(tasks: u32) -> Self {
        let size = (tasks as usize * 2).next_power_of_two().max(2);
        Self {
            entries: vec![None; size].into_boxed_slice(),
            length: 0,
        }
    }

    /// The task named `tag`.
    #[inline]
    pub(super) fn find(&self, tag: u32) -> Option<TaskId> {
        self.entries[self.position(tag)].map(|entry| entry.task)
    }

    /// Where `tag` is to be noted, unless it names a task already.
    #[inline]
    pub(super) fn vacancy(&mut self, tag: u32) -> Option<Vacancy<'_>> {
        let position = self.position(tag);
        self.entries[position].is_none().then_some(Vacancy {
            tags: self,
            tag,
            position,
        })
    }

    /// Forgets a tag.
    pub(super) fn remove(&mut self, tag: u32) {
        let mut hole = self.position(tag);
        if self.entries[hole].take().is_none() {
            return;
        }
        self.length -= 1;
        let mut next = self.after(hole);
        while let Some(entry) = self.entries[next] {
            // The entry may move into the hole unless its home lies cyclically behind the hole.
            let distance_home = next.wrapping_sub(self.home(entry.tag)) & self.mask();
            let distance_hole = next.wrapping_sub(hole) & self.mask();
            if distance_home >= distance_hole {
                self.entries[hole] = self.entries[next].take();
                hole = next;
            }
            next = self.after(next);
        }
    }

    /// Where `tag` is, or would be put.
    #[inline]
    fn position(&self, tag: u32) -> usize {
        let mut position = self.home(tag);
        while self.entries[position].is_some_and(|entry| entry.tag != tag) {
            position = self.after(position);
        }
        position
    }

    /// Tags count up or carry structure in some bits; the multiplication spreads both.
    fn home(&self, tag: u32) -> usize {
        (tag.wrapping_mul(0x9e37_79b1) >> 16) as usize & self.mask()
    }

    fn after(&self, position: usize) -> usize {
        (position + 1) & self.mask()
    }

    fn mask(&self) -> usize {
        self.entries.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..300)) {
            let mut tags = Tags::with_capacity(16);
            let mut map = HashMap::new();
            for (number, (insert, tag)) in steps.into_iter().enumerate() {
                if insert && map.len() < 16 && !map.contains_key(&tag) {
                    let task = TaskId::from_bits(number as u64);
                    tags.vacancy(tag).unwrap().fill(task);
                    map.insert(tag, task);
                } else {
                    tags.remove(tag);
                    map.remove(&tag);
                }
                for tag in 0..40 {
                    prop_assert_eq!(tags.find(tag), map.get(&tag).copied());
                }
            }
        }
    }
}

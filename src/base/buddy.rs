//! A buddy allocator over block numbers: pure arithmetic, no memory of its own behind it.
//!
//! Blocks of `2^order` units are split and merged with their buddies, so that one arena serves both
//! the 4 KiB of a small read and the megabyte of a large one. Allocating and freeing touch only
//! preallocated tables.

const NONE: u32 = u32::MAX;
const FREE: u8 = 0x80;

/// Free lists by order over `units` units.
#[derive(Debug)]
pub struct Buddy {
    /// Per unit: `FREE | order` where a free block starts, else 0.
    heads: Vec<u8>,
    next: Vec<u32>,
    previous: Vec<u32>,
    lists: Vec<u32>,
    order_max: u8,
    free_units: u32,
}

impl Buddy {
    /// An allocator over `units` units, all free, in blocks of at most `2^order_max` units.
    ///
    /// # Panics
    /// If `units` is not a positive multiple of the largest block.
    #[must_use]
    pub fn new(units: u32, order_max: u8) -> Self {
        let largest = 1_u32 << order_max;
        assert!(units > 0 && units.is_multiple_of(largest) && units < NONE);
        let mut buddy = Self {
            heads: vec![0; units as usize],
            next: vec![NONE; units as usize],
            previous: vec![NONE; units as usize],
            lists: vec![NONE; usize::from(order_max) + 1],
            order_max,
            free_units: 0,
        };
        for block in (0..units).step_by(largest as usize).rev() {
            buddy.link(block, order_max);
        }
        buddy.free_units = units;
        buddy
    }

    /// Units that are free, in blocks of whatever size.
    #[must_use]
    pub const fn free_units(&self) -> u32 {
        self.free_units
    }

    /// The first unit of a block of `2^order` units, if one can be had.
    pub fn allocate(&mut self, order: u8) -> Option<u32> {
        let found = (order..=self.order_max).find(|&o| self.lists[usize::from(o)] != NONE)?;
        let block = self.lists[usize::from(found)];
        self.unlink(block, found);
        for smaller in (order..found).rev() {
            self.link(block + (1 << smaller), smaller);
        }
        self.free_units -= 1 << order;
        Some(block)
    }

    /// Gives back a block of [`Buddy::allocate`], with the same order.
    ///
    /// # Panics
    /// If the block is free already or outside the arena.
    pub fn free(&mut self, block: u32, order: u8) {
        assert!(
            block.is_multiple_of(1 << order),
            "a block is aligned to its size"
        );
        assert!(
            self.heads[block as usize] & FREE == 0,
            "a block is freed once"
        );
        self.free_units += 1 << order;
        let (mut block, mut order) = (block, order);
        while order < self.order_max {
            let buddy = block ^ (1 << order);
            if self.heads[buddy as usize] != FREE | order {
                break;
            }
            self.unlink(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.link(block, order);
    }

    fn link(&mut self, block: u32, order: u8) {
        let head = self.lists[usize::from(order)];
        self.next[block as usize] = head;
        self.previous[block as usize] = NONE;
        if head != NONE {
            self.previous[head as usize] = block;
        }
        self.lists[usize::from(order)] = block;
        self.heads[block as usize] = FREE | order;
    }

    fn unlink(&mut self, block: u32, order: u8) {
        let (next, previous) = (self.next[block as usize], self.previous[block as usize]);
        if previous == NONE {
            self.lists[usize::from(order)] = next;
        } else {
            self.next[previous as usize] = next;
        }
        if next != NONE {
            self.previous[next as usize] = previous;
        }
        self.heads[block as usize] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the naive oracle: a set of taken units.
        #[test]
        fn blocks_never_overlap_and_all_come_back(steps in proptest::collection::vec((0_u8..6, any::<bool>(), any::<u16>()), 1..300)) {
            let mut buddy = Buddy::new(256, 5);
            let mut held: Vec<(u32, u8)> = Vec::new();
            let mut taken = [false; 256];
            for (order, allocate, pick) in steps {
                if allocate || held.is_empty() {
                    if let Some(block) = buddy.allocate(order.min(5)) {
                        for unit in block..block + (1 << order) {
                            prop_assert!(!taken[unit as usize]);
                            taken[unit as usize] = true;
                        }
                        held.push((block, order));
                    }
                } else {
                    let (block, order) = held.swap_remove(usize::from(pick) % held.len());
                    for unit in block..block + (1 << order) {
                        taken[unit as usize] = false;
                    }
                    buddy.free(block, order);
                }
                prop_assert_eq!(buddy.free_units() as usize, taken.iter().filter(|t| !**t).count());
            }
            for (block, order) in held {
                buddy.free(block, order);
            }
            // Everything merged back: the largest blocks can all be had again.
            for _ in 0..8 {
                prop_assert!(buddy.allocate(5).is_some());
            }
        }
    }
}

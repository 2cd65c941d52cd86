//! Which reactor owns which range of a volume.

use std::ops::Range;

/// How a volume's bytes are dealt out to reactors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShardPlacement {
    /// Every shard on the volume's home reactor.
    #[default]
    Home,
    /// Shards dealt round-robin over all reactors, starting at the home.
    Spread,
}

/// The map from byte ranges to reactors; fixed for the life of an attached volume.
#[derive(Debug, Clone, Copy)]
pub struct ShardMap {
    home: usize,
    reactors: usize,
    /// Shards are `2^shift` bytes; nothing when the volume is one shard.
    shift: Option<u32>,
}

impl ShardMap {
    /// A map for a volume with this home. `shard_bytes` is rounded up to a power of two.
    #[must_use]
    pub fn new(home: usize, reactors: usize, placement: ShardPlacement, shard_bytes: u64) -> Self {
        assert!(home < reactors);
        let spread = placement == ShardPlacement::Spread && reactors > 1;
        let shift = spread.then(|| shard_bytes.max(4096).next_power_of_two().trailing_zeros());
        Self {
            home,
            reactors,
            shift,
        }
    }

    /// The reactor that owns the byte at `offset`.
    #[must_use]
    #[inline]
    pub fn owner(&self, offset: u64) -> usize {
        match self.shift {
            None => self.home,
            Some(shift) => {
                let shard = usize::try_from(offset >> shift).unwrap_or(0);
                (self.home + shard % self.reactors) % self.reactors
            }
        }
    }

    /// Whether one shard holds all of `length` bytes from `offset`.
    #[must_use]
    #[inline]
    pub fn is_whole(&self, offset: u64, length: u64) -> bool {
        match self.shift {
            None => true,
            Some(shift) => length == 0 || offset >> shift == (offset + length - 1) >> shift,
        }
    }

    /// Cuts `range` where the shard changes.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> {
        let map = *self;
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let start = next;
            next = match map.shift {
                None => range.end,
                Some(shift) => (((start >> shift) + 1) << shift).min(range.end),
            };
            Some((map.owner(start), start..next))
        })
    }

    /// The reactors that own any of the volume.
    #[must_use]
    pub const fn owners(&self) -> Range<usize> {
        if self.shift.is_some() {
            0..self.reactors
        } else {
            self.home..self.home + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_stays_at_home() {
        let map = ShardMap::new(1, 3, ShardPlacement::Home, 4096);
        assert_eq!(map.owner(1 << 40), 1);
        assert!(map.is_whole(0, 1 << 40));
        assert_eq!(map.pieces(5..9).collect::<Vec<_>>(), [(1, 5..9)]);
        assert_eq!(map.owners(), 1..2);
    }

    #[test]
    fn spread_shards_go_round() {
        let map = ShardMap::new(1, 3, ShardPlacement::Spread, 8192);
        assert_eq!(
            [0, 8192, 16384, 24576].map(|offset| map.owner(offset)),
            [1, 2, 0, 1]
        );
        assert_eq!(map.owners(), 0..3);
        assert!(map.is_whole(8192, 8192));
        assert!(!map.is_whole(8191, 2));
        let pieces: Vec<_> = map.pieces(8000..16400).collect();
        assert_eq!(
            pieces,
            [(1, 8000..8192), (2, 8192..16384), (0, 16384..16400)]
        );
    }
}

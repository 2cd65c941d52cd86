//! Which pages of a ram store have been written: one bit each.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that one bit speaks for: a page.
pub(super) const GRAIN_BYTES: usize = 4096;

const WORD_BITS: usize = 64;

/// A bitmap that reactors set and clear without locks, each for ranges of its own.
#[derive(Debug)]
pub(super) struct Written {
    words: Box<[AtomicU64]>,
}

impl Written {
    /// Nothing written of `bytes` bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let words = bytes.div_ceil(GRAIN_BYTES).div_ceil(WORD_BITS);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Marks every page that the range touches.
    #[inline]
    pub(super) fn set(&self, offset: usize, length: usize) {
        let pages = offset / GRAIN_BYTES..(offset + length).div_ceil(GRAIN_BYTES);
        for_each_word(pages, |word, mask| {
            // Mostly they are set already, and then the cache line stays shared.
            if self.words[word].load(Ordering::Relaxed) & mask != mask {
                self.words[word].fetch_or(mask, Ordering::Relaxed);
            }
        });
    }

    /// Unmarks a range of whole pages.
    pub(super) fn clear(&self, offset: usize, length: usize) {
        let pages = offset / GRAIN_BYTES..(offset + length) / GRAIN_BYTES;
        for_each_word(pages, |word, mask| {
            self.words[word].fetch_and(!mask, Ordering::Relaxed);
        });
    }

    /// Whether the page of `offset` has been written, and where the run of pages that are alike
    /// ends, at `end` at the latest.
    pub(super) fn run(&self, offset: usize, end: usize) -> (bool, usize) {
        let mut page = offset / GRAIN_BYTES;
        let stop = end.div_ceil(GRAIN_BYTES);
        let written = self.is_set(page);
        let alike = if written { u64::MAX } else { 0 };
        while page < stop {
            if page.is_multiple_of(WORD_BITS)
                && self.words[page / WORD_BITS].load(Ordering::Relaxed) == alike
            {
                page += WORD_BITS;
            } else if self.is_set(page) == written {
                page += 1;
            } else {
                break;
            }
        }
        (written, end.min(page * GRAIN_BYTES))
    }

    fn is_set(&self, page: usize) -> bool {
        self.words[page / WORD_BITS].load(Ordering::Relaxed) >> (page % WORD_BITS) & 1 == 1
    }
}

/// Calls `f` with each word that holds bits of `pages`, and the mask of those bits.
#[inline]
fn for_each_word(pages: std::ops::Range<usize>, mut f: impl FnMut(usize, u64)) {
    let mut page = pages.start;
    while page < pages.end {
        let (word, bit) = (page / WORD_BITS, page % WORD_BITS);
        let count = (WORD_BITS - bit).min(pages.end - page);
        f(word, (u64::MAX >> (WORD_BITS - count)) << bit);
        page += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_those_of_a_naive_list(
            steps in proptest::collection::vec((any::<bool>(), 0_usize..400, 0_usize..200), 1..20),
        ) {
            const PAGES: usize = 600;
            let written = Written::new(PAGES * GRAIN_BYTES);
            let mut naive = [false; PAGES];
            for (set, first, count) in steps {
                naive[first..first + count].fill(set);
                let (offset, length) = (first * GRAIN_BYTES, count * GRAIN_BYTES);
                if set { written.set(offset, length) } else { written.clear(offset, length) }
            }
            let mut page = 0;
            while page < PAGES {
                let (set, end) = written.run(page * GRAIN_BYTES, PAGES * GRAIN_BYTES);
                let end = end / GRAIN_BYTES;
                prop_assert!(naive[page..end].iter().all(|&bit| bit == set));
                prop_assert!(end == PAGES || naive[end] != set);
                page = end;
            }
        }
    }
}

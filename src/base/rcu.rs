//! A cell that is read by one atomic load and replaced as a whole.
//!
//! Readers pin once per reactor tick ([`pin`]) and load under that guard; a writer swaps in a new
//! value and the old one is freed when every reader pinned at that moment has moved on
//! (epoch-based RCU, crossbeam-epoch). The cell says nothing about *when* every reader has seen the
//! new value: that is what a grace period is for.

use crossbeam_epoch::{Atomic, Owned};
use std::sync::atomic::Ordering;

pub use crossbeam_epoch::{Guard, pin};

/// A value behind one atomic pointer.
#[derive(Debug)]
pub struct RcuCell<T: Send + Sync + 'static> {
    pointer: Atomic<T>,
}

impl<T: Send + Sync + 'static> RcuCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        Self {
            pointer: Atomic::new(value),
        }
    }

    /// The value as of now: one atomic load.
    #[inline]
    #[allow(
        unsafe_code,
        reason = "named leaf: dereference of the published pointer"
    )]
    pub fn load<'guard>(&self, guard: &'guard Guard) -> &'guard T {
        let shared = self.pointer.load(Ordering::Acquire, guard);
        // SAFETY: the pointer is never null, was published with Release by `new` or `store`, and
        // the old value is destroyed only after every guard pinned before the swap is dropped.
        unsafe { shared.deref() }
    }

    /// Publishes `value`; the old one is freed after the readers pinned now have gone.
    #[allow(unsafe_code, reason = "named leaf: retiring the pointer swapped out")]
    pub fn store(&self, value: T, guard: &Guard) {
        let old = self
            .pointer
            .swap(Owned::new(value), Ordering::AcqRel, guard);
        // SAFETY: `old` was just unlinked and no new reader can reach it.
        unsafe { guard.defer_destroy(old) }
    }
}

impl<T: Send + Sync + 'static> Drop for RcuCell<T> {
    #[allow(unsafe_code, reason = "named leaf: the last owner frees the value")]
    fn drop(&mut self) {
        let pointer = std::mem::take(&mut self.pointer);
        // SAFETY: `&mut self` proves that no reader holds the cell, and the pointer is never null.
        drop(unsafe { pointer.into_owned() });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    struct Pair {
        number: usize,
        complement: usize,
        destroyed: Arc<AtomicUsize>,
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            self.number = 0;
            self.complement = 0;
            self.destroyed.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn readers_see_whole_values_that_never_go_back() {
        const STORES: usize = 20_000;
        let destroyed = Arc::new(AtomicUsize::new(0));
        let pair = |number| Pair {
            number,
            complement: !number,
            destroyed: Arc::clone(&destroyed),
        };
        let cell = Arc::new(RcuCell::new(pair(1)));
        let done = Arc::new(AtomicBool::new(false));
        let readers = [(), ()].map(|()| {
            let (cell, done) = (Arc::clone(&cell), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut latest = 0;
                while !done.load(Ordering::Acquire) {
                    let guard = pin();
                    let seen = cell.load(&guard);
                    assert_eq!(seen.complement, !seen.number, "torn or freed");
                    assert!(seen.number >= latest);
                    latest = seen.number;
                }
            })
        });
        for number in 2..=STORES {
            cell.store(pair(number), &pin());
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(cell.load(&pin()).number, STORES);
        // What is retired goes as the epoch moves on; the last value stays in the cell.
        while destroyed.load(Ordering::Acquire) < STORES - 1 {
            pin().flush();
            std::thread::yield_now();
        }
        drop(cell);
        assert_eq!(destroyed.load(Ordering::Acquire), STORES);
    }
}

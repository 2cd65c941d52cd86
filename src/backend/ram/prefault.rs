//! Finding the memory behind a RAM store before it is written.
//!
//! A page that is touched for the first time is zeroed by the kernel then and there, a huge one in
//! tens to hundreds of microseconds that the write waits for. A thread does it beforehand. To the
//! initiator nothing changes: what was never written stays deallocated, and what is unmapped goes
//! back to the system, to be found again when it is next written.

use super::{RamStore, headroom};
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Bytes between two looks at how much memory is left.
const STEP_BYTES: usize = 64 << 20;
/// How long opening a store waits for its memory; a larger one is served meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far it has come is logged whenever that many bytes more have been found.
const PROGRESS_BYTES: u64 = 16 << 30;

/// How a store's memory is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// As it is written.
    Off,
    /// Beforehand: under way.
    Running,
    /// Beforehand: all of it has been.
    Done,
    /// Beforehand, but what is left of the memory is for others.
    Scarce,
    /// Beforehand, but the system refused.
    Refused,
}

const STATES: [State; 5] = [
    State::Off,
    State::Running,
    State::Done,
    State::Scarce,
    State::Refused,
];

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: AtomicU8,
    found_bytes: AtomicU64,
}

impl Progress {
    fn state(&self) -> State {
        let number = usize::from(self.state.load(Ordering::Relaxed));
        STATES.get(number).copied().unwrap_or(State::Off)
    }

    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Whether memory is to be found beforehand, also for what the store grows by.
    pub(super) fn is_wanted(&self) -> bool {
        self.state() != State::Off
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = bytesize::ByteSize::b(self.found_bytes.load(Ordering::Relaxed));
        match self.state() {
            State::Off => f.write_str("found as it is first written"),
            State::Running => write!(f, "being prefaulted, {found} so far"),
            State::Done => f.write_str("prefaulted"),
            State::Scarce => write!(
                f,
                "prefaulted for {found} alone (an eighth of the machine's or container's memory is \
                 left to others), the rest found as it is first written"
            ),
            State::Refused => write!(
                f,
                "prefaulted for {found} alone (the system refused more), the rest found as it is \
                 first written"
            ),
        }
    }
}

/// Has a thread find the memory behind a range of the store, and waits for a little while. The
/// thread ends early with the store.
pub(super) fn start(store: &Arc<RamStore>, range: Range<usize>) {
    store.progress.set(State::Running);
    let (working, end) = bounded::<()>(0);
    let watched = Arc::downgrade(store);
    let thread = std::thread::Builder::new().name("holdfast-prefault".to_owned());
    let volume = tracing::Span::current();
    let spawned = thread.spawn(move || {
        let _volume = volume.entered();
        work(&watched, range, headroom::bytes);
        drop(working);
    });
    match spawned.map(|_| end.recv_timeout(PATIENCE)) {
        Ok(Err(RecvTimeoutError::Timeout)) => {
            tracing::info!("being prefaulted; the volume is served meanwhile");
        }
        Ok(_) => {}
        Err(error) => stop(store, State::Refused, Some(&error)),
    }
}

/// Step by step; `left` says how many bytes may still be taken.
fn work(store: &Weak<RamStore>, range: Range<usize>, left: impl Fn() -> Option<u64>) {
    let mut at = range.start;
    let mut told = 0;
    // A store that nobody has any more needs no memory.
    while at < range.end
        && let Some(store) = store.upgrade()
    {
        let bytes = STEP_BYTES.min(range.end - at);
        let outcome = match left() {
            Some(left) if left >= bytes as u64 => store.mapping.populate(at, bytes).map(|()| true),
            _ => Ok(false),
        };
        at += bytes;
        let progress = &store.progress;
        let found = match outcome {
            Ok(true) => {
                progress
                    .found_bytes
                    .fetch_add(bytes as u64, Ordering::Relaxed)
                    + bytes as u64
            }
            Ok(false) => return stop(&store, State::Scarce, None),
            Err(error) => return stop(&store, State::Refused, Some(&error)),
        };
        if at >= range.end {
            progress.set(State::Done);
            tracing::info!("{} prefaulted", bytesize::ByteSize::b(found));
        } else if found - told >= PROGRESS_BYTES {
            told = found;
            tracing::info!("memory {progress}");
        }
    }
}

fn stop(store: &RamStore, state: State, error: Option<&io::Error>) {
    store.progress.set(state);
    let error = error.map(tracing::field::display);
    tracing::warn!(error, "memory {}", store.progress);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Extent, ExtentState, Store};
    use std::os::unix::fs::FileExt;

    const SIZE: u64 = 2 * STEP_BYTES as u64;

    /// Bytes of the store's first `bytes` that are in memory, as the kernel's page map tells (bit 63 of each entry).
    fn resident(store: &RamStore, bytes: u64) -> u64 {
        let map = std::fs::File::open("/proc/self/pagemap").unwrap();
        let pages = bytes / 4096;
        let mut entries = vec![0; usize::try_from(pages * 8).unwrap()];
        let first = store.mapping.address() as u64 / 4096;
        map.read_exact_at(&mut entries, first * 8).unwrap();
        // The entries are in the byte order of the machine.
        let entry = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
        let present = entries
            .chunks_exact(8)
            .filter(|bytes| entry(bytes) >> 63 == 1);
        present.count() as u64 * 4096
    }

    fn run(store: &Arc<RamStore>, left: impl Fn() -> Option<u64>) {
        work(&Arc::downgrade(store), 0..2 * STEP_BYTES, left);
    }

    #[test]
    fn a_prefaulted_store_is_in_memory_and_yet_deallocated() {
        let store = RamStore::new(SIZE).unwrap();
        store.write(STEP_BYTES as u64, &[7; 4096]);
        run(&store, || Some(u64::MAX));
        assert_eq!(resident(&store, SIZE), SIZE);
        assert_eq!(store.progress.to_string(), "prefaulted");
        let extent = |offset, length, state| Extent {
            offset,
            length,
            state,
        };
        let middle = STEP_BYTES as u64;
        let expected = [
            extent(0, middle, ExtentState::Deallocated),
            extent(middle, 4096, ExtentState::Mapped),
            extent(
                middle + 4096,
                SIZE - middle - 4096,
                ExtentState::Deallocated,
            ),
        ];
        assert_eq!(store.extents(0, SIZE), expected);
        let mut page = [1; 4096];
        store.read(middle, &mut page);
        assert_eq!(page, [7; 4096], "what was written meanwhile is still there");
        store.discard(0, SIZE);
        assert_eq!(resident(&store, SIZE), 0, "UNMAP gives memory back");
    }

    #[test]
    fn others_keep_their_memory() {
        let store = RamStore::new(SIZE).unwrap();
        let looks = std::cell::Cell::new(0);
        run(&store, || {
            looks.set(looks.get() + 1);
            Some(if looks.get() == 1 {
                SIZE
            } else {
                STEP_BYTES as u64 - 1
            })
        });
        assert_eq!(looks.get(), 2);
        assert!(resident(&store, SIZE) < SIZE);
        let told = store.progress.to_string();
        assert!(
            told.contains("64.0 MiB alone") && told.contains("left to others"),
            "{told}"
        );
        assert!(
            store.progress.is_wanted(),
            "what it grows by is tried again"
        );
    }

    #[test]
    fn what_a_prefaulted_store_grows_by_is_prefaulted_too() {
        const MIB: u64 = 1 << 20;
        if headroom::bytes().is_none_or(|left| left < 2 * STEP_BYTES as u64) {
            eprintln!("skipped: this machine has no memory to spare");
            return;
        }
        let store = RamStore::new(MIB).unwrap();
        store.grow(2 * MIB).unwrap();
        assert_eq!(resident(&store, 8 * MIB), 0, "nobody asked for it");
        store.prefault();
        store.grow(8 * MIB).unwrap();
        assert_eq!(resident(&store, 8 * MIB), 8 * MIB);
    }

    #[test]
    fn a_store_that_has_gone_takes_no_memory() {
        let store = RamStore::new(SIZE).unwrap();
        let gone = Arc::downgrade(&store);
        drop(store);
        work(&gone, 0..STEP_BYTES, || unreachable!("nobody is to ask"));
    }
}

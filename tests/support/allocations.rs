//! An allocator that counts what threads of one kind allocate while it is asked to, and remembers
//! where: reactors, or threads of the load generator.
//!
//! What a thread is, its name says. It is asked once, at the first allocation that is
//! watched: by then every thread has its name.
#![allow(
    unsafe_code,
    reason = "a global allocator is unsafe by its trait; it hands everything on"
)]
#![allow(unreachable_pub, reason = "a module of a test crate has no outside")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
#[allow(clippy::disallowed_types, reason = "only a test that fails takes it")]
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Places remembered of one watch: enough to see what is to be mended.
const PLACES_MAX: usize = 16;
/// Functions told of each.
const FRAMES_MAX: usize = 6;

/// To be made the `#[global_allocator]` of a test.
pub struct CountingAllocator;

/// What threads of one kind allocated during one watch.
#[derive(Debug)]
pub struct Tally {
    /// How often they did.
    pub allocations: usize,
    /// Where, each place once, innermost function first.
    pub places: Vec<String>,
}

static WATCHING: AtomicBool = AtomicBool::new(false);
/// The kind that is watched, a [`Thread`].
static WATCHED: AtomicU8 = AtomicU8::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
#[allow(clippy::disallowed_types, reason = "only a test that fails takes it")]
static PLACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

/// What is known of a thread. Constant at the start and without a destructor, so that looking at it
/// allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Thread {
    Unknown,
    Reactor,
    Load,
    Other,
    /// A thread that is taking down where it is: what that allocates does not count.
    Reporting,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Unknown) };
}

/// Counts what reactors allocate while `work` runs on this thread. One watch at a time.
#[allow(dead_code, reason = "each test file watches its own kind")]
pub fn watch_reactors(work: impl FnOnce()) -> Tally {
    watch(Thread::Reactor, work)
}

/// Counts what threads of the load generator allocate while `work` runs on this thread.
#[allow(dead_code, reason = "each test file watches its own kind")]
pub fn watch_load(work: impl FnOnce()) -> Tally {
    watch(Thread::Load, work)
}

fn watch(kind: Thread, work: impl FnOnce()) -> Tally {
    WATCHED.store(kind as u8, Ordering::SeqCst);
    let places = || PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places().clear();
    ALLOCATIONS.store(0, Ordering::SeqCst);
    let already = WATCHING.swap(true, Ordering::SeqCst);
    assert!(!already, "one watch at a time");
    work();
    WATCHING.store(false, Ordering::SeqCst);
    let mut seen = Vec::new();
    for place in places().drain(..).map(|place| own_functions(&place)) {
        if !seen.contains(&place) {
            seen.push(place);
        }
    }
    Tally {
        allocations: ALLOCATIONS.load(Ordering::SeqCst),
        places: seen,
    }
}

/// The innermost functions of the crate under test, with their lines.
fn own_functions(backtrace: &Backtrace) -> String {
    let text = backtrace.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let own = lines.windows(2).filter_map(|pair| {
        let location = pair[1].strip_prefix("at ./src/")?;
        let function = pair[0].split_once(": ").map_or(pair[0], |(_, name)| name);
        Some(format!("{function} ({location})"))
    });
    own.take(FRAMES_MAX).collect::<Vec<_>>().join("\n      ")
}

fn count() {
    if !WATCHING.load(Ordering::Relaxed) {
        return;
    }
    // The cell is gone while a thread ends; that is no steady path.
    let Ok(thread) = THREAD.try_with(Cell::get) else {
        return;
    };
    let thread = match thread {
        Thread::Unknown => this_thread(),
        known => known,
    };
    THREAD.set(thread);
    if thread as u8 == WATCHED.load(Ordering::Relaxed) {
        let before = ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        if before < PLACES_MAX {
            THREAD.set(Thread::Reporting);
            let place = Backtrace::force_capture();
            PLACES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(place);
            THREAD.set(thread);
        }
    }
}

/// Asks the kernel, into memory of its own: `thread::current` may allocate.
fn this_thread() -> Thread {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most sixteen bytes, which `name` has (prctl(2)).
    let asked = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    if asked == 0 && name.starts_with(b"reactor-") {
        Thread::Reactor
    } else if asked == 0 && name.starts_with(b"load-") {
        Thread::Load
    } else {
        Thread::Other
    }
}

// SAFETY: every method hands the same arguments on to the system's allocator and returns what that
// returns; counting touches none of it.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `realloc`, and all memory is the system's.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`, and all memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

//! Two threads that run at the same time.

use std::sync::mpsc;
use std::thread;

/// The first and the last core that this process may use, if there are two: far apart where cores
/// have numbers in the order of their distance.
pub(crate) fn two() -> Option<[usize; 2]> {
    let cores = core_affinity::get_core_ids()?;
    let (first, last) = (cores.first()?.id, cores.last()?.id);
    (first != last).then_some([first, last])
}

/// Keeps the calling thread on a core.
///
/// # Panics
/// If the core cannot be had.
#[allow(dead_code, reason = "reactors pin themselves")]
pub(crate) fn pin(core: usize) {
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    assert!(pinned, "core {core} can be had");
}

/// Runs `work` on a thread of its own on a core, from the moment this returns.
#[allow(dead_code, reason = "reactors pin themselves")]
pub(crate) fn spawn_on(
    core: usize,
    work: impl FnOnce() + Send + 'static,
) -> thread::JoinHandle<()> {
    let (ready, is_ready) = mpsc::channel();
    let thread = thread::spawn(move || {
        pin(core);
        ready.send(()).expect("the parent waits");
        work();
    });
    is_ready.recv().expect("the thread has its core");
    thread
}

//! Cores and CPU time of threads.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::plan::Cores;

/// CPU time that the calling thread has used.
pub(super) fn thread_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of this process have used.
pub(super) fn process_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Pins the calling thread, the `index`th of its kind, to its core; which one that is.
///
/// # Errors
/// When a core was named that there is not, or that the process may not use.
pub(super) fn pin(cores: &Cores, index: usize) -> io::Result<Option<usize>> {
    // `set_for_current` panics on numbers beyond its table, so it is asked only for what there is.
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let wanted = match cores {
        Cores::Any => return Ok(None),
        Cores::Last if allowed.is_empty() => return Ok(None),
        Cores::Last => allowed[allowed.len() - 1 - index % allowed.len()].id,
        Cores::These(list) if list.is_empty() => return Ok(None),
        Cores::These(list) => list[index % list.len()],
    };
    let found = allowed.into_iter().find(|allowed| allowed.id == wanted);
    if found.is_some_and(core_affinity::set_for_current) {
        return Ok(Some(wanted));
    }
    let text = format!("no core {wanted}, or not for this process");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

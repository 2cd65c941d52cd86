//! Waiting for a file or device that somebody else still has.

use crate::base::clock::Instant;
use std::time::Duration;

/// How long a volume's file or device may be in use before it counts as taken. After `kill -9` the
/// kernel ends what was in flight on the old process's ring in its own time, and lets go of the file
/// only then; a server that is started again at once must not find its volumes in use by its own ghost.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(5);

/// Tries until `in_use` does not say so of the error, or `patience` is over.
pub(super) fn while_in_use<T, E>(
    patience: Duration,
    in_use: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let give_up = Instant::now() + patience;
    loop {
        match attempt() {
            Err(error) if in_use(&error) && Instant::now() < give_up => pause(),
            result => return result,
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "stores are opened by the control plane, and no event tells when a lock is free"
)]
fn pause() {
    std::thread::sleep(RETRY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_again_is_had() {
        let mut answers = [Err("busy"), Err("busy"), Ok(7)].into_iter();
        let attempt = || answers.next().unwrap();
        assert_eq!(while_in_use(PATIENCE, |e| *e == "busy", attempt), Ok(7));
    }

    #[test]
    fn patience_ends_and_other_errors_are_told_at_once() {
        let mut tries = 0;
        let busy = while_in_use(
            Duration::ZERO,
            |_: &&str| true,
            || {
                tries += 1;
                Err::<(), _>("busy")
            },
        );
        assert_eq!((busy, tries), (Err("busy"), 1));
        let mut answers = [Err::<(), _>("broken")].into_iter();
        let broken = while_in_use(PATIENCE, |e| *e == "busy", || answers.next().unwrap());
        assert_eq!(broken, Err("broken"));
    }
}

//! Work that takes minutes: one at a time for each volume, with word of how far it is, and an end when
//! nobody wants it any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::refusal::volume_error;
use crate::control::api::ProgressView;
use crate::control::error::{ControlError, ErrorKind};
use crate::volume::VolumeName;

/// Who hears how far work is.
pub trait Progress {
    /// Tells how far it is; false if nobody hears it any more: then it ends, and leaves nothing behind.
    fn report(&self, progress: &ProgressView) -> bool;
}

/// Nobody listens, and it goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl Progress for Unheard {
    fn report(&self, _: &ProgressView) -> bool {
        true
    }
}

/// What is under way, by the name of the volume or `VOLUME@SNAPSHOT`.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
#[derive(Default)]
pub(super) struct LongWork {
    under_way: Arc<Mutex<BTreeMap<String, &'static str>>>,
    stopping: AtomicBool,
}

/// A volume or snapshot that nothing else happens to, until it is dropped.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
#[derive(Debug)]
pub(super) struct Occupied {
    under_way: Arc<Mutex<BTreeMap<String, &'static str>>>,
    what: String,
}

impl LongWork {
    /// Has nothing else happen to `what`, which `is_being` says.
    pub(super) fn occupy(
        &self,
        what: &str,
        volume: &VolumeName,
        is_being: &'static str,
    ) -> Result<Occupied, ControlError> {
        self.check_free(what, volume)?;
        lock(&self.under_way).insert(what.to_owned(), is_being);
        Ok(Occupied {
            under_way: Arc::clone(&self.under_way),
            what: what.to_owned(),
        })
    }

    /// Passes if nothing is under way with `what`, nor with a snapshot of it.
    pub(super) fn check_free(&self, what: &str, volume: &VolumeName) -> Result<(), ControlError> {
        let of_snapshot = format!("{what}@");
        let under_way = lock(&self.under_way);
        let mut taken = under_way.iter();
        match taken.find(|(known, _)| *known == what || known.starts_with(&of_snapshot)) {
            None => Ok(()),
            Some((_, is_being)) => {
                let error = volume_error(ErrorKind::Busy, volume, is_being);
                Err(error
                    .hint("try again when that is done, or interrupt the command that does it"))
            }
        }
    }

    /// What is under way, for people.
    pub(super) fn list(&self) -> Vec<String> {
        let under_way = lock(&self.under_way);
        let described = under_way.iter();
        described
            .map(|(what, is_being)| format!("volume {what} {is_being}"))
            .collect()
    }

    /// Whether it is to end because the server does.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends what is under way, at its next step.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.what);
    }
}

/// Each use is one insertion, removal or look-up: a panic can't leave the map half changed.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_occupied_is_free_again_when_that_ends() {
        let (work, name) = (LongWork::default(), "db-1".parse().unwrap());
        let occupied = work.occupy("db-1@mon", &name, "is being exported").unwrap();
        for taken in ["db-1", "db-1@mon"] {
            let error = work.occupy(taken, &name, "is being deleted").unwrap_err();
            assert_eq!(error.kind, ErrorKind::Busy);
            assert_eq!(error.message, "volume db-1 is being exported");
        }
        work.check_free("db-10", &name).unwrap();
        drop(occupied);
        drop(work.occupy("db-1", &name, "is being deleted").unwrap());
        assert!(lock(&work.under_way).is_empty());
    }
}

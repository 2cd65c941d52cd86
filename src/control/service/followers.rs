//! How many requests wait at once for something to happen. Each has a thread of the control socket
//! for itself, and the other threads are for those who want to change something.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::limits::HISTORY_FOLLOWERS_MAX;
use crate::control::error::{ControlError, ErrorKind};

/// The seats of those who wait.
#[derive(Debug, Default)]
pub(super) struct Followers(AtomicUsize);

/// Somebody waits for as long as this lives.
#[derive(Debug)]
pub(super) struct Seat<'a>(&'a AtomicUsize);

impl Followers {
    /// Takes a seat.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn take(&self) -> Result<Seat<'_>, ControlError> {
        let seat = Seat(&self.0);
        if self.0.fetch_add(1, Ordering::AcqRel) < HISTORY_FOLLOWERS_MAX {
            return Ok(seat);
        }
        let message = format!("{HISTORY_FOLLOWERS_MAX} requests wait for a history already");
        Err(ControlError::new(ErrorKind::Limit, "followers", message)
            .expected("fewer that follow at once")
            .hint("without --follow, `holdfast reservation history` tells what there is"))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_is_left_can_be_taken_again() {
        let followers = Followers::default();
        let mut seats: Vec<_> = (0..HISTORY_FOLLOWERS_MAX)
            .map(|_| followers.take().unwrap())
            .collect();
        for _ in 0..3 {
            let refused = followers.take().unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Limit);
            assert!(refused.to_string().contains("wait for a history already"));
        }
        seats.pop();
        let again = followers.take().unwrap();
        assert!(followers.take().is_err());
        drop((seats, again));
        followers.take().unwrap();
    }
}

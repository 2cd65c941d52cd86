//! Waking a reactor that waits, without a system call when it does not.
//!
//! ```text
//!   reactor                                  whoever sends it a message
//!   awake ── arm() ──▶ announced             put the message in the mailbox
//!     ▲                   │ look into every  ring(): fence; asleep? ── no ──▶ done
//!     │                   │ mailbox again                   │ yes, and I am the first to see it
//!     │                   ▼                                 ▼
//!     └─ disarm() ── blocked on the eventfd ◀────────── write the eventfd
//! ```
//!
//! The two fences make it impossible that the sender misses the announcement *and* the reactor
//! misses the message. A ring that comes late (the reactor found the message by itself) leaves the
//! eventfd readable: the next wait returns at once, which costs a tick and loses nothing.

use super::sync::{AtomicBool, Ordering, fence};
use crossbeam_utils::CachePadded;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The announcement by itself, without the file descriptor: what the model checker looks at.
#[derive(Debug)]
pub(crate) struct Announcement {
    asleep: CachePadded<AtomicBool>,
}

impl Announcement {
    pub(crate) fn new() -> Self {
        Self {
            asleep: CachePadded::new(AtomicBool::new(false)),
        }
    }

    /// The reactor is about to sleep; what was sent before a ring that saw nothing is visible to
    /// its next look into the mailboxes.
    #[inline]
    pub(crate) fn announce(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The reactor is awake.
    #[inline]
    pub(crate) fn withdraw(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the caller, having sent, must wake the reactor. Of several senders one is told so.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }
}

/// One reactor's doorbell, shared with everybody who sends to it.
#[derive(Debug)]
pub struct Doorbell {
    announcement: Announcement,
    event: OwnedFd,
}

impl Doorbell {
    /// A doorbell that nobody has rung.
    ///
    /// # Errors
    /// When the kernel grants no eventfd.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            announcement: Announcement::new(),
            event,
        })
    }

    /// To be called after sending, once for any number of messages: wakes the reactor if it
    /// announced that it sleeps. Costs a fence and a load otherwise.
    #[inline]
    pub fn ring(&self) {
        if self.announcement.claim() {
            self.wake();
        }
    }

    /// Wakes the reactor whether or not it announced anything.
    pub fn wake(&self) {
        // The only refusal is a counter at its maximum, and then the eventfd is readable already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// The reactor announces that it will sleep. It must look into every mailbox once more between
    /// this and blocking on [`Doorbell::as_fd`].
    #[inline]
    pub fn arm(&self) {
        self.announcement.announce();
    }

    /// The reactor is awake again, or did not sleep after all.
    #[inline]
    pub fn disarm(&self) {
        self.announcement.withdraw();
    }

    /// Makes the eventfd unreadable until the next ring.
    pub fn clear(&self) {
        // Nothing to read is what was wanted.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(bell: &Doorbell) -> bool {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&at_once)) == Ok(1)
    }

    #[test]
    fn a_ring_reaches_only_who_announced_to_sleep() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        assert!(
            !is_readable(&bell),
            "nobody sleeps, so no system call is spent"
        );
        bell.arm();
        bell.ring();
        assert!(is_readable(&bell));
        bell.clear();
        bell.ring();
        assert!(!is_readable(&bell), "one announcement is answered once");
        bell.arm();
        bell.disarm();
        bell.ring();
        assert!(!is_readable(&bell));
        bell.wake();
        assert!(is_readable(&bell));
    }
}

//! Command numbering: CmdSN, ExpCmdSN, MaxCmdSN (RFC 7143 section 4.2.2.1).
//!
//! ```text
//!      ignored │ next │    ahead: waits for its turn    │ ignored
//!   ───────────┼──────┼─────────────────────────────────┼──────────▶ CmdSN
//!          ExpCmdSN ──┘                      MaxCmdSN ──┘
//! ```
//!
//! A value of its own, so that several connections of a session could share it.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use serde::{Deserialize, Serialize};

/// Where a CmdSN falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is the one that is expected.
    Next,
    /// It is in the window, behind a gap.
    Ahead,
    /// It is outside of the window, or was received before: ignore it silently.
    Ignored,
}

/// Compares serial numbers (RFC 1982): whether `left` comes before `right`.
#[must_use]
pub const fn precedes(left: u32, right: u32) -> bool {
    (left.wrapping_sub(right) as i32) < 0
}

/// The command window of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    expected: u32,
    maximum: u32,
    /// CmdSNs ahead of the gap that count as received though nothing is delivered for them.
    done: Vec<u32>,
}

impl Window {
    /// A window that starts at `first` and lets `slots` commands in.
    #[must_use]
    pub fn new(first: u32, slots: u32) -> Self {
        let maximum = first.wrapping_add(slots).wrapping_sub(1);
        Self {
            expected: first,
            maximum,
            done: Vec::new(),
        }
    }

    /// ExpCmdSN.
    #[must_use]
    pub const fn expected(&self) -> u32 {
        self.expected
    }

    /// MaxCmdSN.
    #[must_use]
    pub const fn maximum(&self) -> u32 {
        self.maximum
    }

    /// Where `cmd_sn` falls.
    #[must_use]
    pub fn arrival(&self, cmd_sn: u32) -> Arrival {
        if cmd_sn == self.expected && !precedes(self.maximum, cmd_sn) {
            Arrival::Next
        } else if precedes(cmd_sn, self.expected)
            || precedes(self.maximum, cmd_sn)
            || self.done.contains(&cmd_sn)
        {
            Arrival::Ignored
        } else {
            Arrival::Ahead
        }
    }

    /// The expected command is delivered: the next one is expected.
    pub fn deliver(&mut self) {
        self.expected = self.expected.wrapping_add(1);
        while let Some(position) = self.done.iter().position(|sn| *sn == self.expected) {
            self.done.swap_remove(position);
            self.expected = self.expected.wrapping_add(1);
        }
    }

    /// `cmd_sn` counts as received and nothing will be delivered for it. Returns whether it was in
    /// the window and not received before.
    pub fn mark_done(&mut self, cmd_sn: u32) -> bool {
        match self.arrival(cmd_sn) {
            Arrival::Next => self.deliver(),
            Arrival::Ahead => self.done.push(cmd_sn),
            Arrival::Ignored => return false,
        }
        true
    }

    /// Lets in as many commands as there are free `slots`. MaxCmdSN never goes back.
    pub fn open(&mut self, slots: u32) {
        let maximum = self.expected.wrapping_add(slots).wrapping_sub(1);
        if precedes(self.maximum, maximum) {
            self.maximum = maximum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_outside_of_the_window_are_ignored() {
        for first in [1, u32::MAX - 1] {
            let window = Window::new(first, 4);
            assert_eq!(window.arrival(first), Arrival::Next);
            assert_eq!(window.arrival(first.wrapping_add(3)), Arrival::Ahead);
            assert_eq!(window.arrival(first.wrapping_add(4)), Arrival::Ignored);
            assert_eq!(window.arrival(first.wrapping_sub(1)), Arrival::Ignored);
        }
    }

    #[test]
    fn a_closed_window_takes_nothing() {
        let mut window = Window::new(1, 1);
        window.deliver();
        window.open(0);
        assert_eq!((window.expected(), window.maximum()), (2, 1));
        assert_eq!(window.arrival(2), Arrival::Ignored);
        window.open(1);
        assert_eq!(window.arrival(2), Arrival::Next);
    }

    #[test]
    fn a_number_marked_done_is_skipped() {
        let mut window = Window::new(1, 4);
        assert!(window.mark_done(2));
        assert!(!window.mark_done(2));
        assert_eq!(window.arrival(2), Arrival::Ignored);
        window.deliver();
        assert_eq!(window.expected(), 3);
        assert!(window.done.is_empty());
    }

    proptest! {
        #[test]
        fn the_maximum_never_goes_back(first: u32, steps in prop::collection::vec(0u32..9, 0..60)) {
            let mut window = Window::new(first, 8);
            for slots in steps {
                let before = window.maximum();
                if window.arrival(window.expected()) == Arrival::Next {
                    window.deliver();
                }
                window.open(slots);
                prop_assert!(!precedes(window.maximum(), before));
                prop_assert!(window.maximum().wrapping_sub(window.expected()).wrapping_add(1) <= 8);
            }
        }
    }
}

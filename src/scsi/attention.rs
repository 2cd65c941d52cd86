//! Unit attention conditions, one set per nexus (SAM-5 section 5.14, SPC-4 section 4.1).
//!
//! A set, not a list: a condition that is pending already is not told twice, so a nexus can never
//! be owed more than [`UnitAttention::ALL`]. They are told in order of precedence.

use super::mode::AttentionInterlock;
use super::sense::{Code, Failure, Sense, SenseKey};
use crate::base::limits::UNIT_ATTENTIONS_MAX;
use crate::reservation::Attention;
use serde::{Deserialize, Serialize};

/// Something that a nexus has to be told before its next command runs. The order is the order of
/// precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum UnitAttention {
    /// 29/00 POWER ON, RESET, OR BUS DEVICE RESET OCCURRED: the general form, which every initiator
    /// knows, of 29/01.
    PowerOn,
    /// 29/02 SCSI BUS RESET OCCURRED: target warm or cold reset.
    TargetReset,
    /// 29/03 BUS DEVICE RESET FUNCTION OCCURRED: logical unit reset.
    UnitReset,
    /// 29/07 I_T NEXUS LOSS OCCURRED.
    NexusLoss,
    /// 2F/00 COMMANDS CLEARED BY ANOTHER INITIATOR.
    CommandsCleared,
    /// 2A/03 RESERVATIONS PREEMPTED.
    ReservationsPreempted,
    /// 2A/05 REGISTRATIONS PREEMPTED.
    RegistrationsPreempted,
    /// 2A/04 RESERVATIONS RELEASED.
    ReservationsReleased,
    /// 28/00 NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED.
    MediumChanged,
    /// 2A/09 CAPACITY DATA HAS CHANGED.
    CapacityChanged,
    /// 2A/01 MODE PARAMETERS CHANGED.
    ModeChanged,
    /// 2A/06 ASYMMETRIC ACCESS STATE CHANGED.
    AccessStateChanged,
    /// 3F/03 INQUIRY DATA HAS CHANGED.
    InquiryChanged,
    /// 3F/0E REPORTED LUNS DATA HAS CHANGED.
    LunsChanged,
    /// 2C/07 PREVIOUS BUSY STATUS (UA_INTLCK 11b only).
    PreviousBusy,
    /// 2C/08 PREVIOUS TASK SET FULL STATUS (UA_INTLCK 11b only).
    PreviousTaskSetFull,
    /// 2C/09 PREVIOUS RESERVATION CONFLICT STATUS (UA_INTLCK 11b only).
    PreviousConflict,
}

impl UnitAttention {
    /// Every condition, in order of precedence.
    pub const ALL: [Self; 17] = [
        Self::PowerOn,
        Self::TargetReset,
        Self::UnitReset,
        Self::NexusLoss,
        Self::CommandsCleared,
        Self::ReservationsPreempted,
        Self::RegistrationsPreempted,
        Self::ReservationsReleased,
        Self::MediumChanged,
        Self::CapacityChanged,
        Self::ModeChanged,
        Self::AccessStateChanged,
        Self::InquiryChanged,
        Self::LunsChanged,
        Self::PreviousBusy,
        Self::PreviousTaskSetFull,
        Self::PreviousConflict,
    ];

    /// Additional sense code and qualifier.
    #[must_use]
    pub const fn code(self) -> Code {
        let (asc, ascq) = match self {
            Self::PowerOn => (0x29, 0x00),
            Self::TargetReset => (0x29, 0x02),
            Self::UnitReset => (0x29, 0x03),
            Self::NexusLoss => (0x29, 0x07),
            Self::CommandsCleared => (0x2F, 0x00),
            Self::ReservationsPreempted => (0x2A, 0x03),
            Self::ReservationsReleased => (0x2A, 0x04),
            Self::RegistrationsPreempted => (0x2A, 0x05),
            Self::MediumChanged => (0x28, 0x00),
            Self::CapacityChanged => (0x2A, 0x09),
            Self::ModeChanged => (0x2A, 0x01),
            Self::AccessStateChanged => (0x2A, 0x06),
            Self::InquiryChanged => (0x3F, 0x03),
            Self::LunsChanged => (0x3F, 0x0E),
            Self::PreviousBusy => (0x2C, 0x07),
            Self::PreviousTaskSetFull => (0x2C, 0x08),
            Self::PreviousConflict => (0x2C, 0x09),
        };
        Code { asc, ascq }
    }

    /// Sense data with the key UNIT ATTENTION.
    #[must_use]
    pub const fn sense(self) -> Sense {
        Sense::new(SenseKey::UnitAttention, self.code())
    }

    /// Whether it tells of a reservation or registration that was taken away.
    #[must_use]
    pub const fn is_about_reservations(self) -> bool {
        matches!(
            self,
            Self::ReservationsPreempted | Self::ReservationsReleased | Self::RegistrationsPreempted
        )
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl From<Attention> for UnitAttention {
    fn from(attention: Attention) -> Self {
        match attention {
            Attention::ReservationsPreempted => Self::ReservationsPreempted,
            Attention::ReservationsReleased => Self::ReservationsReleased,
            Attention::RegistrationsPreempted => Self::RegistrationsPreempted,
        }
    }
}

const _: () = assert!(UnitAttention::ALL.len() <= UNIT_ATTENTIONS_MAX);
const _: () = assert!(UnitAttention::ALL.len() <= u32::BITS as usize);

/// Resets and power on: a weaker one tells nothing once a stronger one is pending.
const RESETS: u32 = UnitAttention::PowerOn.bit()
    | UnitAttention::TargetReset.bit()
    | UnitAttention::UnitReset.bit()
    | UnitAttention::NexusLoss.bit();

/// What one nexus is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttentionQueue {
    pending: u32,
}

/// What pending attentions mean for a command that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It runs.
    Proceed,
    /// It is REQUEST SENSE and reports this: put it into the [`View`](super::View).
    ProceedWith(UnitAttention),
    /// It does not run: CHECK CONDITION with this.
    Refuse(Failure),
}

impl AttentionQueue {
    /// Nothing pending.
    pub const EMPTY: Self = Self { pending: 0 };

    /// Whether nothing is pending.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.pending == 0
    }

    /// Adds a condition.
    pub const fn raise(&mut self, attention: UnitAttention) {
        let bit = attention.bit();
        if bit & RESETS != 0 {
            // Of the resets the strongest pending one stays: the lowest bit.
            let resets = (self.pending | bit) & RESETS;
            self.pending = self.pending & !RESETS | resets & resets.wrapping_neg();
        } else {
            self.pending |= bit;
        }
    }

    /// Drops a condition that became untrue.
    pub const fn withdraw(&mut self, attention: UnitAttention) {
        self.pending &= !attention.bit();
    }

    /// The condition to tell first.
    #[must_use]
    pub fn first(self) -> Option<UnitAttention> {
        let at = usize::try_from(self.pending.trailing_zeros()).ok()?;
        UnitAttention::ALL.get(at).copied()
    }

    /// Asks whether the command may run, and clears what it tells.
    ///
    /// INQUIRY, REPORT LUNS and commands that know no unit attention pass and clear nothing, but
    /// that REPORT LUNS clears REPORTED LUNS DATA HAS CHANGED. REQUEST SENSE passes and takes one
    /// condition with it. All others are told, and the condition stays if UA_INTLCK keeps it
    /// (SPC-4 sections 6.6.1, 6.33, 6.39 and 7.5.8).
    pub fn admit(&mut self, cdb: &[u8], interlock: AttentionInterlock) -> Admission {
        const REQUEST_SENSE: u8 = 0x03;
        const INQUIRY: u8 = 0x12;
        const REPORT_LUNS: u8 = 0xA0;
        let Some(first) = self.first() else {
            return Admission::Proceed;
        };
        match cdb.first().copied().unwrap_or(0) {
            INQUIRY => Admission::Proceed,
            REPORT_LUNS => {
                self.withdraw(UnitAttention::LunsChanged);
                Admission::Proceed
            }
            REQUEST_SENSE => {
                self.withdraw(first);
                Admission::ProceedWith(first)
            }
            _ => {
                if interlock == AttentionInterlock::ClearWhenReported {
                    self.withdraw(first);
                }
                Admission::Refuse(first.sense().failure())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttentionInterlock::{ClearWhenReported, Keep};

    const TEST_UNIT_READY: [u8; 6] = [0; 6];

    #[test]
    fn all_lists_every_condition_in_order() {
        for (at, attention) in UnitAttention::ALL.into_iter().enumerate() {
            assert_eq!(attention as usize, at);
        }
    }

    #[test]
    fn conditions_are_told_once_and_in_order() {
        let mut queue = AttentionQueue::EMPTY;
        queue.raise(UnitAttention::ModeChanged);
        queue.raise(UnitAttention::CommandsCleared);
        queue.raise(UnitAttention::ModeChanged);
        for expected in [UnitAttention::CommandsCleared, UnitAttention::ModeChanged] {
            let told = queue.admit(&TEST_UNIT_READY, ClearWhenReported);
            assert_eq!(told, Admission::Refuse(expected.sense().failure()));
        }
        assert_eq!(
            queue.admit(&TEST_UNIT_READY, ClearWhenReported),
            Admission::Proceed
        );
    }

    #[test]
    fn the_strongest_reset_stands_for_the_others() {
        let mut queue = AttentionQueue::EMPTY;
        queue.raise(UnitAttention::NexusLoss);
        queue.raise(UnitAttention::TargetReset);
        queue.raise(UnitAttention::UnitReset);
        assert_eq!(queue.first(), Some(UnitAttention::TargetReset));
        queue.withdraw(UnitAttention::TargetReset);
        assert!(queue.is_empty());
    }

    #[test]
    fn some_commands_do_not_clear_by_accident() {
        let mut queue = AttentionQueue::EMPTY;
        queue.raise(UnitAttention::LunsChanged);
        queue.raise(UnitAttention::PowerOn);
        assert_eq!(queue.admit(&[0x12], ClearWhenReported), Admission::Proceed);
        assert_eq!(queue.first(), Some(UnitAttention::PowerOn));
        assert_eq!(queue.admit(&[0xA0], ClearWhenReported), Admission::Proceed);
        let told = queue.admit(&[0x03], ClearWhenReported);
        assert_eq!(told, Admission::ProceedWith(UnitAttention::PowerOn));
        assert!(queue.is_empty());
    }

    #[test]
    fn an_interlocked_condition_stays_until_request_sense() {
        let mut queue = AttentionQueue::EMPTY;
        queue.raise(UnitAttention::PowerOn);
        for _ in 0..2 {
            let told = queue.admit(&TEST_UNIT_READY, Keep);
            assert!(matches!(told, Admission::Refuse(_)));
        }
        let told = queue.admit(&[0x03], Keep);
        assert_eq!(told, Admission::ProceedWith(UnitAttention::PowerOn));
        assert!(queue.is_empty());
    }
}

//! The status byte that ends a command (SAM-5 section 5.3.1).

/// A SCSI status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The command did what it was asked to.
    Good = 0x00,
    /// Sense data say what went wrong.
    CheckCondition = 0x02,
    /// PRE-FETCH: the blocks asked for fit the cache (SBC-3 section 5.11).
    ConditionMet = 0x04,
    /// The logical unit cannot take the command now.
    Busy = 0x08,
    /// A reservation of another nexus stands in the way.
    ReservationConflict = 0x18,
    /// No room for another task in the task set.
    TaskSetFull = 0x28,
    /// A condition of automatic contingent allegiance is up.
    AcaActive = 0x30,
    /// Another nexus aborted the task, and TAS is set.
    TaskAborted = 0x40,
}

impl Status {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

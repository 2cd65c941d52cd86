//! How the target's own troubles look to an initiator.

use crate::backend::{BackendError, ErrorKind};
pub(crate) use crate::scsi::Failure;
use crate::scsi::Status;
use crate::scsi::sense::{Code, SenseKey};

impl Failure {
    /// TASK ABORTED.
    pub(crate) const TASK_ABORTED: Self = Self {
        status: Status::TaskAborted,
        sense: None,
    };

    /// HARDWARE ERROR, INTERNAL TARGET FAILURE; `why` goes to the log, which is where an operator
    /// looks.
    pub(crate) fn target(why: &str) -> Self {
        tracing::warn!(why, "a command failed inside the target");
        Self::check(SenseKey::HardwareError, Code::INTERNAL_TARGET_FAILURE)
    }

    /// HARDWARE ERROR, TIMEOUT ON LOGICAL UNIT: a backend or the store of reservations hangs. BUSY and
    /// ABORTED COMMAND would be sent again by initiators without a word to anybody; this is reported.
    pub(crate) const fn timed_out() -> Self {
        Self::check(SenseKey::HardwareError, Code::LOGICAL_UNIT_TIMEOUT)
    }

    /// ABORTED COMMAND: the command was given up for a reason of the target's.
    pub(crate) const fn aborted() -> Self {
        Self::check(SenseKey::AbortedCommand, Code::NONE)
    }
}

/// What a backend's error is to an initiator, of a request that was to change the medium or to read it.
pub(crate) fn of_backend(error: &BackendError, changes_medium: bool) -> Failure {
    match error.kind() {
        ErrorKind::OutOfRange => Failure::check(SenseKey::IllegalRequest, Code::LBA_OUT_OF_RANGE),
        // A thin volume that has outgrown what is behind it (SBC-4 section 4.7.3.6).
        ErrorKind::SpaceExhausted => {
            Failure::check(SenseKey::DataProtect, Code::SPACE_ALLOCATION_FAILED)
        }
        ErrorKind::InvalidRequest | ErrorKind::Unsupported => {
            Failure::target("the backend can't do this")
        }
        ErrorKind::FlushLost => Failure::check(SenseKey::MediumError, Code::WRITE_ERROR),
        ErrorKind::Medium if changes_medium => {
            Failure::check(SenseKey::MediumError, Code::WRITE_ERROR)
        }
        ErrorKind::Medium => Failure::check(SenseKey::MediumError, Code::UNRECOVERED_READ_ERROR),
    }
}

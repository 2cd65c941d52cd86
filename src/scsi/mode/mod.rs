//! Mode pages: caching, control, informational exceptions (SPC-4 section 7.5, SBC-3 section 6.5).
//!
//! [`ModePages`] holds what the pages say; `page` lays it out as bytes and reads it back. MODE
//! SENSE and MODE SELECT have a room each.

use serde::{Deserialize, Serialize};

pub(super) mod page;
pub(super) mod select;
pub(super) mod sense;

/// The pages of a logical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// In force.
    pub current: ModePages,
    /// In force after a restart; `None` if they cannot be saved.
    pub saved: Option<ModePages>,
    /// As the volume was made.
    pub default: ModePages,
}

impl Modes {
    /// Modes of a new volume: current, saved and default are the same.
    #[must_use]
    pub const fn new(pages: ModePages) -> Self {
        Self {
            current: pages,
            saved: Some(pages),
            default: pages,
        }
    }
}

/// Every field of every page that can differ between two logical units or change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a bit of a mode page"
)]
pub struct ModePages {
    /// WCE: writes may end with GOOD while in a volatile cache.
    pub write_cache: bool,
    /// D_SENSE: sense data in descriptor format.
    pub descriptor_sense: bool,
    /// TAS: tasks aborted by another nexus end with TASK ABORTED.
    pub task_aborted_status: bool,
    /// SWP: no command may change the medium.
    pub write_protect: bool,
    /// UA_INTLCK_CTRL.
    pub attention_interlock: AttentionInterlock,
    /// QERR.
    pub queue_error: QueueError,
    /// NUAR: RELEASE of PERSISTENT RESERVE OUT raises no unit attention.
    pub no_attention_on_release: bool,
    /// DEXCPT: informational exceptions are off.
    pub exceptions_disabled: bool,
    /// MRIE: how informational exceptions are reported, 0 to 6.
    pub exceptions_method: u8,
}

/// When a unit attention goes away (SPC-4 section 7.5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum AttentionInterlock {
    /// 00b: once reported.
    #[default]
    ClearWhenReported = 0b00,
    /// 10b: only by REQUEST SENSE.
    Keep = 0b10,
    /// 11b: only by REQUEST SENSE; and BUSY, TASK SET FULL and RESERVATION CONFLICT raise one.
    KeepAndRaise = 0b11,
}

/// What CHECK CONDITION does to other tasks (SPC-4 section 7.5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum QueueError {
    /// 00b: nothing.
    #[default]
    Continue = 0b00,
    /// 01b: aborts every task of the task set.
    AbortAll = 0b01,
    /// 11b: aborts the tasks of the same nexus.
    AbortNexus = 0b11,
}

//! Layer 2: SCSI without I/O. A CDB and a view of the logical unit go in, a [`Plan`] comes out.
//!
//! This room never does I/O, never reads a clock and knows nothing of iSCSI. Bytes from a peer
//! cannot make it panic, and what it allocates is bounded by `base::limits`.
//!
//! A command's way: an [`attention`] may stand before it; [`plan()`] finds its row in the [`table`],
//! makes the checks that all commands share and lets the row's room plan it. A command with a
//! parameter list is planned twice: [`plan()`] says how many bytes to fetch,
//! [`plan_with_parameters`] checks everything again and reads them.
//!
//! Where a command goes on outside, the room that planned it also makes its answer:
//! [`block::lba_status::encode`], [`copy::results::answer`], [`data_buffer::NexusBuffers`].
//!
//! Commands that the table leaves out are those that would mean nothing here. LOG SELECT: no log
//! parameter can be set or cleared. SET TIMESTAMP and SET IDENTIFYING INFORMATION: the host's clock
//! and the catalogue are the truth. READ LONG, WRITE LONG, REASSIGN BLOCKS: there is no physical
//! medium below the blocks. XDWRITE and 32-byte commands: only for protection information, which
//! the volumes do not have.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "tests"
    )
)]

pub mod attention;
pub mod block;
mod capacity;
pub mod copy;
pub mod data_buffer;
mod diagnostics;
mod dispatch;
mod fields;
mod format;
mod identifying;
mod inquiry;
mod log;
pub mod mode;
mod operation_codes;
pub mod plan;
pub mod ports;
mod report_luns;
mod request_sense;
mod reservations;
mod sanitize;
pub mod sense;
mod sense_code;
mod start_stop;
pub mod status;
pub mod table;
pub mod unit;
mod vpd;

pub use dispatch::{access, plan, plan_with_parameters, try_plan};
pub use plan::{ByteRange, Plan, Reply};
pub use sense::{Failure, Sense};
pub use status::Status;
pub use unit::{LogicalUnit, LunKind, View};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

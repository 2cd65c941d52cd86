//! Layer 0: what every other room stands on, and nothing of the domain.
//!
//! Clock, buffers, slots, the RCU cell, mailboxes, rates, histograms, CRC32C, options of TCP sockets,
//! the limits and the tuning knobs. Nothing here knows what iSCSI, SCSI or a volume is.

pub mod buddy;
pub mod buffer;
pub mod clock;
pub mod crc32c;
pub mod doorbell;
pub mod gather;
pub mod histogram;
pub mod limits;
pub mod mailbox;
pub(crate) mod pairs;
pub mod rate;
pub mod rcu;
pub mod slots;
mod sync;
pub mod tcp;
pub mod tuning;

//! What predecessor and successor say to each other.
//!
//! A message is one packet of a sequenced-packet socket, in MessagePack with named fields. The estate is
//! too long for that: it goes in a file in memory, with its length and its checksum in the message.

use crate::target::Record;
use crate::volume::VolumeId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The version of all that passes between the two: these messages, and the record's own.
pub const FORMAT: u32 = crate::target::handover::FORMAT << 8 | 1;

/// From the process that serves to the one that is to.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToSuccessor {
    /// The first message.
    Greeting(Greeting),
    /// What is handed over. A file in memory comes beside it, and then the descriptors, in as many
    /// packets as it takes.
    Estate {
        /// Bytes of the file.
        bytes: u64,
        /// Their CRC32C.
        checksum: u32,
        /// How many descriptors follow.
        descriptors: u32,
    },
    /// A part of the descriptors.
    Descriptors,
    /// Serve.
    Serve,
}

/// Who serves, and what its successor has to know to say whether it can.
#[derive(Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the program.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Where its clock began.
    pub clock_zero_nanos: u64,
    /// The version of the catalogue's tables.
    pub catalogue: u32,
    /// The data directory.
    pub data: PathBuf,
    /// Where metrics are served, as configured.
    pub metrics: Option<SocketAddr>,
}

/// From the process that is to serve to the one that does.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToPredecessor {
    /// The configuration is right, and reactors run.
    Ready {
        /// The version of the program.
        version: String,
    },
    /// It can't be; the process ends.
    Refused {
        /// Why.
        message: String,
    },
    /// Everything is taken up, and waits for the word.
    Adopted,
    /// It serves.
    Serving,
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Legacy {
    /// What the data path knows.
    pub record: Record,
    /// The portals as they were configured; a listening socket comes for each, in this order.
    pub portals: Vec<SocketAddr>,
    /// Whether a listening socket for metrics comes, before those of the portals.
    pub metrics: bool,
    /// The volumes' stores, and whether a descriptor comes for each.
    pub stores: Vec<(VolumeId, bool)>,
    /// Sessions; a connected socket comes for each.
    pub sessions: u32,
}

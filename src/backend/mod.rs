//! Layer 5: where a volume's bytes live. Byte ranges only: nothing here knows an LBA, a SCSI command
//! or who is asking.
//!
//! A [`Store`] is one volume's bytes, shared by all reactors. Each reactor opens its own [`Channel`]
//! to it, and the [`Request`]s of one channel complete in any order. Nothing is locked on the way:
//! the caller sees to it that no two requests in flight touch the same bytes if one of them writes.
//!
//! ```text
//!  target ──submit(request)──▶ Channel ──┬─▶ memory            null, ram: done at once
//!                                        ├─▶ the reactor's ring   file, block: reads, writes, flushes
//!                                        └─▶ Workers              file, block: slow calls; everything
//!  target ◀─────poll()──────── Channel ◀─┴── completions          where there is no ring
//! ```
//!
//! | store | bytes live in | survives |
//! |---|---|---|
//! | `null` | nowhere: reads are zeros | nothing |
//! | `ram` | one thin mapping | nothing |
//! | `file` | a sparse file | a power cut, once flushed |
//! | `block` | a block device | a power cut, once flushed |
//!
//! [`fault`] and [`delay`] wrap any of them, and [`lossy`] is memory that forgets what was not
//! flushed; they serve tests.

mod content;
pub mod delay;
pub mod disk;
pub mod fault;
pub mod lossy;
mod null;
mod open;
mod ram;
mod request;
mod store;
#[cfg(test)]
mod tests;
mod workers;
mod wrapper;

pub use content::{ContentError, Draft, Source, remove_file};
pub use null::{NullStore, zeros};
pub use open::{BackendSpec, Intent, Means, OpenError, Opening, inherit, open, remove};
pub use ram::RamStore;
pub use request::{
    BackendError, Completion, Done, ErrorKind, Extent, ExtentState, Op, OpKind, Request, Submitted,
};
pub use store::{Bequest, Channel, ChannelId, Harm, Io, Properties, Store, Waker, channel_of};
pub use workers::Workers;
pub use wrapper::{Wrapper, WrapperError, check_wrappers};

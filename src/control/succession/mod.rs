//! A new process takes this one's place, and the initiators see a pause.
//!
//! ```text
//!   predecessor                                  successor
//!   starts it, a socket pair as its standard input
//!        ── Greeting: who, format, catalogue ──▶  reads and checks its configuration, starts reactors
//!        ◀──────────── Ready ──────────────────
//!   parks the data path, closes the catalogue
//!        ── Estate: the record, descriptors ───▶  opens the catalogue, takes all up, parked
//!        ◀──────────── Adopted ────────────────
//!   ═════════ Serve ══ the point of commitment ▶  goes on
//!        ◀──────────── Serving ────────────────
//!   leaves, and touches nothing
//! ```
//!
//! **Before `Serve`** the predecessor can go on at any time, and does so where the successor refuses,
//! dies or takes too long. It has ended the successor then, and waited for its end: no message decides
//! that, which might be on its way, but the death of the process. The successor serves when it is told
//! to, or when the predecessor has died after giving it everything: its end of the socket closes then, and
//! on no other occasion.
//!
//! **After `Serve`** the predecessor never touches a socket or a medium again. Its reactors stay parked,
//! nothing of it is taken down (which would give locks back, and ask sessions to log out), and the process
//! ends.
//!
//! So at any time at most one of the two issues anything, and all that the predecessor has issued is over
//! before the record is taken: see [`target::handover`](crate::target::handover).
//!
//! What the two say to each other is [`message`]; the descriptors go beside it (SCM_RIGHTS of unix(7)).
//! CHAP secrets are not handed over, only sessions that have proved who they are.

mod channel;
mod child;
mod descriptors;
pub mod message;
mod predecessor;
mod successor;
mod supervisor;

pub use channel::{Channel, ChannelError};
pub use predecessor::{Predecessor, Succession};
pub use successor::{Heir, Inheritance};
pub use supervisor::{announce_ready, announce_stopping};

use std::time::Duration;

/// The flag by which a server is told that its standard input is the other end of the channel.
pub const TAKE_OVER_FLAG: &str = "--take-over";

/// How long a new process may take to say that it is ready. Nobody is disturbed meanwhile.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to adopt everything. The initiators wait meanwhile; theirs give up after 30
/// seconds or more.
const ADOPTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to say that it serves. There is no way back any more.
const SERVING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing comes of a succession.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// The other process refused, and says why.
    #[error("the new process refused: {0}")]
    Refused(String),
    /// The other process can't be started.
    #[error("{} can't be started", path.display())]
    Start {
        /// The program.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The other process ended or said nothing.
    #[error("the new process {what}: {error}{}", ended(status.as_deref()))]
    Lost {
        /// What it did not do.
        what: &'static str,
        /// How the channel failed.
        error: ChannelError,
        /// How the process ended, if it did by itself.
        status: Option<String>,
    },
    /// The data path could not be brought to rest.
    #[error("the data path could not be brought to rest: {0}")]
    Rest(#[from] crate::target::NotHandedOver),
    /// What is to be handed over can't be written down.
    #[error("the estate can't be written down: {0}")]
    Estate(std::io::Error),
}

fn ended(status: Option<&str>) -> String {
    status.map_or_else(String::new, |status| format!("; it ended with {status}"))
}

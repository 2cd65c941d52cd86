//! What happens to the target, told to whoever keeps the log of it.
//!
//! A reactor hands over what happened and goes on: it waits for nobody. Where the listener is too slow
//! the rest is counted and lost. Nothing here is told for an I/O that goes well.

use super::meters::SlowIo;
use crate::base::limits::HAPPENINGS_MAX;
use crate::reservation::Nexus;
use crate::reservation::history::Entry;
use crate::volume::VolumeId;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A session is in full feature phase.
    LoggedIn(Box<Login>),
    /// A session is over.
    LoggedOut {
        /// Of which volume.
        volume: VolumeId,
        /// Whose.
        nexus: Box<Nexus>,
        /// Which of its sessions.
        tsih: u16,
        /// From where.
        address: SocketAddr,
        /// How it came.
        end: SessionEnd,
    },
    /// A login was refused.
    LoginRefused {
        /// The initiator's iSCSI name, if it had said it.
        initiator: Option<String>,
        /// From where.
        address: SocketAddr,
        /// Where it wanted to, if it had said so and it is the name of a target.
        target: Option<String>,
        /// Why not.
        reason: String,
    },
    /// A volume has nearly as many sessions as it takes, or as many.
    NearSessionLimit {
        /// The volume.
        volume: VolumeId,
        /// How many there are.
        sessions: usize,
        /// How many there may be.
        sessions_max: usize,
    },
    /// A login has ended a session of the same name and ISID.
    Reinstated {
        /// Of which volume.
        volume: VolumeId,
        /// The initiator's iSCSI name.
        initiator: String,
        /// Where the session came from that was ended.
        from: IpAddr,
        /// Where the login came from.
        to: IpAddr,
    },
    /// A reservation command has ended, or the target has changed reservations by itself.
    Reservation {
        /// Of which volume.
        volume: VolumeId,
        /// What the volume's history says of it.
        entry: Box<Entry>,
    },
    /// A backend request failed.
    BackendFailed {
        /// Of which volume.
        volume: VolumeId,
        /// How.
        reason: String,
        /// How many of this volume have failed on that reactor, this one included.
        failures: u64,
    },
    /// An I/O took long.
    SlowIo(Box<SlowIo>),
}

/// A session that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Of which volume.
    pub volume: VolumeId,
    /// Whose.
    pub nexus: Nexus,
    /// Which of its sessions.
    pub tsih: u16,
    /// From where.
    pub address: SocketAddr,
    /// On which reactor.
    pub reactor: usize,
    /// Whether headers carry CRC32C.
    pub header_digest: bool,
    /// Whether data carries CRC32C.
    pub data_digest: bool,
}

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The initiator logged out.
    LoggedOut,
    /// The connection was lost, or closed for a violation of the protocol.
    Lost,
}

/// The reactors' end: cheap to clone, and never blocks.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    listener: Option<Sender<Happening>>,
    lost: Arc<AtomicU64>,
}

impl Journal {
    /// A journal and the end where it is listened to. The default one tells nobody.
    #[must_use]
    pub fn new() -> (Self, Receiver<Happening>) {
        let (sender, receiver) = bounded(HAPPENINGS_MAX);
        let journal = Self {
            listener: Some(sender),
            lost: Arc::default(),
        };
        (journal, receiver)
    }

    /// Tells what happened, unless too much waits to be heard.
    pub(crate) fn tell(&self, happening: Happening) {
        if let Some(listener) = &self.listener
            && listener.try_send(happening).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How much was lost because the listener was too slow.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(failures: u64) -> Happening {
        Happening::BackendFailed {
            volume: VolumeId::from(uuid::Uuid::from_u128(1)),
            reason: "broken by the test".to_owned(),
            failures,
        }
    }

    #[test]
    fn what_nobody_hears_in_time_is_counted_and_nobody_waits() {
        let (journal, heard) = Journal::new();
        let told = HAPPENINGS_MAX as u64 + 3;
        for number in 0..told {
            journal.tell(happening(number));
        }
        assert_eq!(journal.lost(), 3);
        let first: Vec<_> = heard.try_iter().collect();
        assert_eq!(first.len(), HAPPENINGS_MAX);
        assert_eq!(first[0], happening(0));
        journal.tell(happening(7));
        assert_eq!(heard.try_recv(), Ok(happening(7)));
    }

    #[test]
    fn a_journal_without_a_listener_keeps_nothing() {
        let journal = Journal::default();
        journal.tell(happening(0));
        assert_eq!(journal.lost(), 0);
    }
}

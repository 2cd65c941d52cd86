//! What all reactors share: read-mostly cells, counters, the way to the store.

use super::alter::Timing;
use super::directory::Directory;
use super::journal::Journal;
use super::message::Message;
use super::meters::SlowLimit;
use super::shards::ShardPlacement;
use super::store::{ReservationStore, Saver};
use crate::base::clock::{Instant, wall_clock_ms};
use crate::base::limits;
use crate::base::rcu::{self, RcuCell};
use crate::iscsi;
use crate::reactor::ExternalSender;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Where the connections of a volume live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionPlacement {
    /// On the volume's home reactor.
    #[default]
    Home,
    /// Dealt out over all reactors.
    Spread,
}

/// Shared by all reactors and the handle.
pub(crate) struct Shared {
    pub(crate) reactors: usize,
    pub(crate) directory: RcuCell<Directory>,
    /// For connections that come from now on.
    settings: RcuCell<Arc<iscsi::Settings>>,
    /// In nanoseconds.
    fence_timeout: AtomicU64,
    pub(crate) shard_placement: ShardPlacement,
    pub(crate) shard_bytes: u64,
    pub(crate) connection_placement: ConnectionPlacement,
    /// Milliseconds since 1970 at [`Instant::ZERO`].
    epoch_ms: u64,
    pub(crate) saver: Saver,
    pub(crate) journal: Journal,
    /// Of reactors that start.
    pub(crate) slow_io: SlowLimit,
    senders: OnceLock<Vec<ExternalSender<Message>>>,
    connections: AtomicU32,
    next_tsih: AtomicU16,
    next_token: AtomicU64,
}

/// What [`Shared::new`] is told.
pub(crate) struct SharedConfig {
    pub(crate) reactors: usize,
    pub(crate) settings: iscsi::Settings,
    pub(crate) fence_timeout: Duration,
    pub(crate) shard_placement: ShardPlacement,
    pub(crate) shard_bytes: u64,
    pub(crate) connection_placement: ConnectionPlacement,
    pub(crate) store: Arc<dyn ReservationStore>,
    pub(crate) journal: Journal,
    pub(crate) slow_io: Option<Duration>,
}

impl Shared {
    /// Starts the thread that saves reservations.
    pub(crate) fn new(config: SharedConfig) -> std::io::Result<Arc<Self>> {
        let (saver, queue) = Saver::new();
        let shared = Arc::new(Self {
            reactors: config.reactors,
            directory: RcuCell::new(Directory::default()),
            settings: RcuCell::new(Arc::new(config.settings)),
            fence_timeout: AtomicU64::new(nanos(config.fence_timeout)),
            shard_placement: config.shard_placement,
            shard_bytes: config.shard_bytes,
            connection_placement: config.connection_placement,
            epoch_ms: epoch_ms(),
            saver,
            journal: config.journal,
            slow_io: SlowLimit::new(config.slow_io),
            senders: OnceLock::new(),
            connections: AtomicU32::new(0),
            next_tsih: AtomicU16::new(1),
            next_token: AtomicU64::new(1),
        });
        queue.start(config.store, Arc::downgrade(&shared))?;
        Ok(shared)
    }

    /// Tells the reactors' addresses, once they are known.
    pub(crate) fn set_senders(&self, senders: Vec<ExternalSender<Message>>) {
        assert!(self.senders.set(senders).is_ok(), "the reactors start once");
    }

    /// How a connection that comes now is to behave.
    pub(crate) fn settings(&self) -> Arc<iscsi::Settings> {
        Arc::clone(self.settings.load(&rcu::pin()))
    }

    /// How long a reservation command that comes now may take.
    pub(crate) fn fence_timeout(&self) -> Duration {
        Duration::from_nanos(self.fence_timeout.load(Ordering::Relaxed))
    }

    /// Has connections and reservation commands that come from now on take other times.
    pub(crate) fn set_timing(&self, timing: &Timing) {
        let settings = iscsi::Settings {
            login_timeout: timing.login_timeout,
            nop_interval: timing.nop_interval,
            ..iscsi::Settings::clone(&self.settings())
        };
        self.settings.store(Arc::new(settings), &rcu::pin());
        let fence_timeout = nanos(timing.fence_timeout);
        self.fence_timeout.store(fence_timeout, Ordering::Relaxed);
    }

    /// The way to a reactor from any thread.
    pub(crate) fn sender(&self, reactor: usize) -> Option<&ExternalSender<Message>> {
        self.senders.get()?.get(reactor)
    }

    /// Wakes a reactor when a backend of its has something to say.
    pub(crate) fn waker(self: &Arc<Self>, reactor: usize) -> crate::backend::Waker {
        let shared = Arc::downgrade(self);
        Arc::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.nudge(reactor);
            }
        })
    }

    /// Has a reactor look at what it waits for.
    pub(crate) fn nudge(&self, reactor: usize) {
        if let Some(sender) = self.sender(reactor) {
            let _ = sender.send(Message::Control(Box::new(|_, _| {})));
        }
    }

    /// A TSIH that is not zero; the home sees to it that no two sessions of a volume share one.
    pub(crate) fn next_tsih(&self) -> u16 {
        loop {
            let tsih = self.next_tsih.fetch_add(1, Ordering::Relaxed);
            if tsih != 0 {
                return tsih;
            }
        }
    }

    /// The number of a token, never given twice.
    pub(crate) fn next_token(&self) -> u64 {
        self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    /// Relative target port identifiers of every logical unit: each portal group is one target port.
    pub(crate) fn port_identifiers(&self) -> Vec<u16> {
        let guard = rcu::pin();
        self.directory.load(&guard).tags()
    }

    /// The wall clock of a tick, in milliseconds since 1970 (REPORT TIMESTAMP).
    pub(crate) fn wall_clock_ms(&self, now: Instant) -> u64 {
        self.epoch_ms.saturating_add(now.nanos() / 1_000_000)
    }

    /// Counts a connection in, unless there are too many.
    pub(crate) fn connection_opened(&self) -> bool {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if before >= limits::CONNECTIONS_MAX {
            self.connection_closed();
            return false;
        }
        true
    }

    /// Counts a connection out.
    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The wall clock at the zero of the monotonic one; it is not followed when it is set.
fn epoch_ms() -> u64 {
    let now = Instant::now();
    wall_clock_ms().saturating_sub(now.nanos() / 1_000_000)
}

//! Reactors without threads of their own: whoever owns one takes its ticks one by one and says what
//! time it is.
//!
//! They run the loop's own round, so what is counted or simulated with them is what runs on a core;
//! only the clock and the waiting are left out.

use super::App;
use super::config::{Config, Idle};
use super::counters::Counters;
use super::driver::Driver;
use super::handle::{EndMark, Seat, parts};
use super::idle::IdlePolicy;
use super::mesh::{Ends, ExternalSender};
use super::run::Loop;
use crate::base::buffer::{Arena, Pool};
use crate::base::clock::Instant;
use std::io;
use std::sync::Arc;

/// The place of one reactor in a mesh, to be taken on the thread that will step it.
pub struct Berth<M> {
    reactor: usize,
    config: Arc<Config>,
    pool: Pool,
    arenas: Arc<[Arc<Arena>]>,
    ends: Ends<M>,
}

impl<M: Send + 'static> Berth<M> {
    /// The places of as many reactors as `config` asks for. How they idle does not count, nor does
    /// which cores they run on.
    ///
    /// # Errors
    /// When there is no memory, or the number is out of range.
    pub fn make(config: Config) -> io::Result<Vec<Self>> {
        let (pools, arenas, mesh) = parts(&config)?;
        let config = Arc::new(config);
        let places = pools.into_iter().zip(mesh).enumerate();
        let berths = places.map(|(reactor, (pool, ends))| Self {
            reactor,
            config: Arc::clone(&config),
            pool,
            arenas: Arc::clone(&arenas),
            ends,
        });
        Ok(berths.collect())
    }

    /// A way to send to the reactor from any thread.
    #[must_use]
    pub fn sender(&self) -> ExternalSender<M> {
        self.ends.external.clone()
    }

    /// Makes the reactor and its app, on this thread for good.
    ///
    /// # Errors
    /// When a ring, an epoll instance or the app cannot be made.
    pub fn take<A>(self, make: impl FnOnce(Seat<'_>) -> io::Result<A>) -> io::Result<Stepped<A>>
    where
        A: App<Message = M>,
    {
        let doorbell = &self.ends.address.doorbell;
        let mut driver = Driver::new(&self.config, self.pool, &self.arenas, doorbell)?;
        let app = make(Seat {
            reactor: self.reactor,
            reactors: self.arenas.len(),
            driver: &mut driver,
        })?;
        Ok(Stepped {
            reactor: self.reactor,
            app,
            driver,
            _mark: EndMark(Arc::clone(&self.ends.address)),
            ends: self.ends,
            counters: Counters::default(),
            policy: IdlePolicy::new(Idle::Spin, Instant::ZERO),
        })
    }
}

impl<M> std::fmt::Debug for Berth<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Berth")
            .field("reactor", &self.reactor)
            .finish_non_exhaustive()
    }
}

/// One reactor that runs when it is told to. It stays on the thread that made it, as its app does.
pub struct Stepped<A: App> {
    reactor: usize,
    app: A,
    driver: Driver,
    ends: Ends<A::Message>,
    counters: Counters,
    policy: IdlePolicy,
    _mark: EndMark,
}

impl<A: App> Stepped<A> {
    /// A way to send to the reactor from any thread.
    #[must_use]
    pub fn sender(&self) -> ExternalSender<A::Message> {
        self.ends.external.clone()
    }

    /// One round of the loop at `now`, which must not go backwards. Returns whether there was
    /// anything to do.
    ///
    /// # Errors
    /// When the ring or the epoll instance breaks.
    #[inline]
    pub fn step(&mut self, now: Instant) -> io::Result<bool> {
        self.driver.drive(None, &self.ends.address.doorbell)?;
        let (busy, _) = Loop {
            reactor: self.reactor,
            idle: Idle::Spin,
            driver: &mut self.driver,
            ends: &mut self.ends,
            counters: &self.counters,
        }
        .tick(&mut self.app, now, &mut self.policy);
        Ok(busy)
    }
}

impl<A: App> std::fmt::Debug for Stepped<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped")
            .field("reactor", &self.reactor)
            .finish_non_exhaustive()
    }
}

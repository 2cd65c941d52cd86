//! A reactor without a thread: whoever owns it takes its ticks one by one and says what time it is.
//!
//! It runs the loop's own round, so what is counted or simulated with it is what runs on a core;
//! only the clock and the waiting are left out.

use super::App;
use super::config::{Config, Idle};
use super::counters::Counters;
use super::driver::Driver;
use super::handle::{EndMark, Seat};
use super::idle::IdlePolicy;
use super::mesh::{Ends, ExternalSender, mesh};
use super::run::Loop;
use crate::base::buffer::Pool;
use crate::base::clock::Instant;
use std::io;
use std::sync::Arc;

/// One reactor that runs when it is told to. It stays on the thread that made it, as its app does.
pub struct Stepped<A: App> {
    app: A,
    driver: Driver,
    ends: Ends<A::Message>,
    counters: Counters,
    policy: IdlePolicy,
    _mark: EndMark,
}

impl<A: App> Stepped<A> {
    /// Makes the reactor and its app here. Of `config`, where it runs and how it idles do not count.
    ///
    /// # Errors
    /// When an arena, a ring, an epoll instance or the app cannot be made.
    pub fn new(config: &Config, make: impl FnOnce(Seat<'_>) -> io::Result<A>) -> io::Result<Self> {
        let pool = Pool::new(config.pool_bytes, 0)?;
        let arenas = [Arc::clone(pool.arena())];
        let ends = mesh(1, config.mailbox_messages, config.external_messages)?.pop();
        let ends = ends.ok_or_else(|| io::Error::other("a mesh of one has one end"))?;
        let mut driver = Driver::new(config, pool, &arenas, &ends.address.doorbell)?;
        let app = make(Seat {
            reactor: 0,
            reactors: 1,
            driver: &mut driver,
        })?;
        Ok(Self {
            app,
            driver,
            _mark: EndMark(Arc::clone(&ends.address)),
            ends,
            counters: Counters::default(),
            policy: IdlePolicy::new(Idle::Spin, Instant::ZERO),
        })
    }

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
            reactor: 0,
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
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

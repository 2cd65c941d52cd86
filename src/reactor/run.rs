//! One reactor's loop.

use super::config::Idle;
use super::counters::Counters;
use super::driver::Driver;
use super::idle::IdlePolicy;
use super::mesh::Ends;
use super::{App, Tick};
use crate::base::clock::Instant;
use crate::base::rcu::pin;
use std::io;
use std::time::Duration;

/// What a loop runs on.
pub(super) struct Loop<'a, M> {
    pub(super) reactor: usize,
    pub(super) idle: Idle,
    pub(super) driver: &'a mut Driver,
    pub(super) ends: &'a mut Ends<M>,
    pub(super) counters: &'a Counters,
}

impl<M: Send + 'static> Loop<'_, M> {
    /// Runs `app` until it has stopped.
    ///
    /// # Errors
    /// When the ring or the epoll instance breaks.
    pub(super) fn run(&mut self, app: &mut impl App<Message = M>) -> io::Result<()> {
        let mut policy = IdlePolicy::new(self.idle, Instant::now());
        let mut wait = None;
        let mut busy_since: Option<Instant> = None;
        loop {
            self.driver.drive(wait, &self.ends.address.doorbell)?;
            if wait.is_some() {
                self.ends.address.doorbell.disarm();
            }
            let now = Instant::now();
            if let Some(since) = busy_since.take() {
                self.counters
                    .count_busy_nanos(now.nanos().saturating_sub(since.nanos()));
            }
            let (busy, may_wait) = self.tick(app, now, &mut policy);
            if app.stopped() {
                return Ok(());
            }
            busy_since = busy.then_some(now);
            wait = may_wait.filter(|_| self.lies_down());
            if !busy && wait.is_none() {
                std::hint::spin_loop();
            }
        }
    }

    /// One round under one guard: whether it was busy, and how long it may wait if at all.
    pub(super) fn tick(
        &mut self,
        app: &mut impl App<Message = M>,
        now: Instant,
        policy: &mut IdlePolicy,
    ) -> (bool, Option<Duration>) {
        let guard = pin();
        let (reactor, driver) = (self.reactor, &mut *self.driver);
        let messages = self
            .ends
            .inbox
            .deliver(&mut self.ends.outbox, |from, message, outbox| {
                let mut tick = Tick {
                    now,
                    reactor,
                    guard: &guard,
                    driver: &mut *driver,
                    outbox,
                };
                app.message(from, message, &mut tick);
            });
        let outbox = &mut self.ends.outbox;
        let mut tick = Tick {
            now,
            reactor,
            guard: &guard,
            driver,
            outbox,
        };
        let busy = app.tick(&mut tick) || messages > 0;
        self.counters.count_tick(busy, messages as u64);
        let may_wait = policy.should_wait(now, busy) && !app.park(&mut tick);
        self.ends.outbox.flush();
        let until = |deadline: Instant| deadline.since(now);
        let limit = || app.next_deadline().map_or(Duration::MAX, until);
        (busy, may_wait.then(limit))
    }

    /// Announces that the reactor waits, unless there is something to do after all.
    fn lies_down(&self) -> bool {
        let doorbell = &self.ends.address.doorbell;
        doorbell.arm();
        if self.ends.inbox.is_empty() && self.ends.outbox.backlog() == 0 {
            self.counters.count_wait();
            return true;
        }
        doorbell.disarm();
        false
    }
}

//! Layer 4: the loop. One pinned thread per core, nothing shared between them but mailboxes.
//!
//! A reactor polls its sources (io_uring, epoll, mailboxes), hands what came to its [`App`], and
//! spins or waits as its [`Idle`] policy says:
//!
//! ```text
//!      ┌──────────▶ drive: enter the ring, poll epoll (waits here if idle)
//!      │               read the clock, pin the epoch
//!      │            deliver messages            App::message
//!      │            work                        App::tick
//!      │            pass on what was sent, ring doorbells
//!      │               unpin
//!      └─ idle? ──▶ App::park, arm the doorbell, look into the mailboxes once more
//! ```
//!
//! What the tick submits goes to the kernel at the start of the next one: one `io_uring_enter` per
//! tick. A reactor that waits is pinned to no epoch, so it holds up no one's grace period.
//! The loop never takes a lock, and knows nothing of sockets, volumes or iSCSI.

mod config;
mod counters;
mod driver;
mod handle;
mod idle;
mod mesh;
mod run;
mod stepped;
#[cfg(test)]
mod tests;
mod wheel;

pub use config::{Config, Idle, Placement};
pub use counters::Counters;
pub use driver::{Driver, Readiness};
pub use handle::{Reactors, Seat};
pub use mesh::{ExternalSender, NotSent, Outbox, Source};
pub use stepped::{Berth, Stepped};
pub use wheel::Wheel;

use crate::base::clock::Instant;
use crate::base::rcu::Guard;

/// What a reactor runs. It is made on the reactor's thread and stays there, so it may hold `Rc` and
/// `RefCell`.
pub trait App {
    /// What reactors and other threads tell each other.
    type Message: Send + 'static;

    /// Takes a message in. Called before [`App::tick`], any number of times.
    fn message(&mut self, from: Source, message: Self::Message, tick: &mut Tick<'_, Self::Message>);

    /// Does a bounded amount of work. Returns whether there was anything to do.
    fn tick(&mut self, tick: &mut Tick<'_, Self::Message>) -> bool;

    /// The reactor is about to wait: leave nothing that only polling would find. Returns whether
    /// there is work after all, and the reactor should not wait.
    fn park(&mut self, _tick: &mut Tick<'_, Self::Message>) -> bool {
        false
    }

    /// When the app wants to be called at the latest. Asked after [`App::park`], if the reactor is to
    /// wait: one that polls calls anyway.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether the reactor should end. Asked after each tick.
    fn stopped(&self) -> bool;
}

/// What a reactor lends its app for one tick. The parts stand side by side so that each can be
/// borrowed by itself.
#[derive(Debug)]
pub struct Tick<'a, M> {
    /// Now, read once for the tick.
    pub now: Instant,
    /// Which reactor this is.
    pub reactor: usize,
    /// Keeps what was loaded from an RCU cell alive until the tick ends.
    pub guard: &'a Guard,
    /// The kernel's side: ring, epoll, buffers.
    pub driver: &'a mut Driver,
    /// The way to the other reactors.
    pub outbox: &'a mut Outbox<M>,
}

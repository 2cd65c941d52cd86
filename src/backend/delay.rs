//! For tests: a store that is slow, and out of order.
//!
//! It holds requests before they reach the store behind it, or completions on their way back, for a
//! time that the seed decides or until a test lets them go. Held requests have not taken effect yet:
//! what a fence must wait for. A store that holds effects lies: it completes a write at once and
//! does it later, so that no fence above it can hold. A test that looks for late writes must find
//! them there.

use super::fault::scramble;
use super::request::{BackendError, Completion, Done, OpKind, Request, Submitted};
use super::store::{Bequest, Channel, ChannelId, Harm, Io, Properties, Store, Waker};
use crate::base::clock::Instant;
use crate::ring;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is held, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hold {
    /// Requests or completions.
    pub what: Held,
    /// For how long.
    pub until: Until,
}

impl Hold {
    /// How long each is held at least; nothing where a test decides.
    #[must_use]
    pub const fn shortest(&self) -> Duration {
        match self.until {
            Until::Elapsed { min_us, .. } => Duration::from_micros(min_us),
            Until::Released => Duration::ZERO,
        }
    }
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// Requests: they take effect after the delay.
    Requests,
    /// Completions: the effect is there, and not yet known.
    Completions,
    /// Effects: whatever changes the medium is completed at once, and done after the delay. Reads
    /// and flushes pass, and see nothing of it before.
    Effects,
}

/// How long something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// For a time of at least `min_us` and at most `max_us` microseconds, as the seed decides.
    /// Shorter ones overtake longer ones.
    Elapsed {
        /// Shortest delay.
        min_us: u64,
        /// Longest delay.
        max_us: u64,
    },
    /// Until [`DelayStore::release`], in an order that the seed decides.
    Released,
}

/// A store behind a delay.
pub struct DelayStore {
    inner: Arc<dyn Store>,
    hold: Hold,
    seed: u64,
    /// Releases granted and not yet used.
    permits: AtomicU64,
    wakers: crossbeam_queue::SegQueue<Waker>,
}

impl std::fmt::Debug for DelayStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelayStore")
            .field("inner", &self.inner)
            .field("hold", &self.hold)
            .finish()
    }
}

impl DelayStore {
    /// `inner`, slowed down.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, hold: Hold, seed: u64) -> Arc<Self> {
        let (permits, wakers) = (AtomicU64::new(0), crossbeam_queue::SegQueue::new());
        Arc::new(Self {
            inner,
            hold,
            seed,
            permits,
            wakers,
        })
    }

    /// Lets `count` held ones go, those of [`Until::Released`]; also such as come later, if fewer
    /// are held now.
    pub fn release(&self, count: u64) {
        let add = |permits: u64| Some(permits.saturating_add(count));
        // The closure never refuses.
        let _ = self
            .permits
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        for _ in 0..self.wakers.len() {
            if let Some(waker) = self.wakers.pop() {
                waker();
                self.wakers.push(waker);
            }
        }
    }

    fn use_permit(&self) -> bool {
        let take = |permits: u64| permits.checked_sub(1);
        self.permits
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .is_ok()
    }
}

impl Store for DelayStore {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn route(&self) -> String {
        self.inner.route()
    }

    fn bequest(&self) -> std::io::Result<Bequest> {
        self.inner.bequest()
    }

    fn grow(&self, size_bytes: u64) -> Result<(), BackendError> {
        self.inner.grow(size_bytes)
    }

    fn look_after(&self) -> Result<(), Harm> {
        self.inner.look_after()
    }

    fn channel(self: Arc<Self>, id: ChannelId, waker: Waker) -> Box<dyn Channel> {
        let inner = Arc::clone(&self.inner).channel(id, Arc::clone(&waker));
        self.wakers.push(waker);
        let drawn = scramble(u64::from(id.0));
        Box::new(DelayChannel {
            store: self,
            inner,
            held: Vec::new(),
            fresh: Vec::new(),
            acknowledged: Vec::new(),
            drawn,
        })
    }
}

enum Item {
    Request(Request),
    Completion(Completion),
}

struct DelayChannel {
    store: Arc<DelayStore>,
    inner: Box<dyn Channel>,
    /// With the moment each goes on; [`Until::Released`] does not look at it.
    held: Vec<(Instant, Item)>,
    /// Completions of the inner channel, on their way into `held` or out.
    fresh: Vec<Completion>,
    /// Of [`Held::Effects`]: requests whose caller has its completion already.
    acknowledged: Vec<u64>,
    /// Lots drawn so far: what makes the seed's next number.
    drawn: u64,
}

impl DelayChannel {
    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        scramble(self.store.seed ^ scramble(self.drawn))
    }

    fn hold(&mut self, item: Item, now: Instant) {
        let due = match self.store.hold.until {
            Until::Released => now,
            Until::Elapsed { min_us, max_us } => {
                let span = max_us.saturating_sub(min_us).saturating_add(1);
                now + Duration::from_micros(min_us.saturating_add(self.draw() % span))
            }
        };
        self.held.push((due, item));
    }

    /// The next one that may go on.
    fn next_released(&mut self, now: Instant) -> Option<Item> {
        let at = match self.store.hold.until {
            Until::Elapsed { .. } => {
                let soonest = (0..self.held.len()).min_by_key(|&at| self.held[at].0)?;
                (self.held[soonest].0 <= now).then_some(soonest)?
            }
            Until::Released => {
                if self.held.is_empty() || !self.store.use_permit() {
                    return None;
                }
                let lot = self.draw() % self.held.len() as u64;
                usize::try_from(lot).unwrap_or(0)
            }
        };
        Some(self.held.remove(at).1)
    }

    /// Passes on what the inner channel completed, or holds it.
    fn pass(&mut self, now: Instant, out: &mut Vec<Completion>) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for completion in fresh.drain(..) {
            match self.store.hold.what {
                Held::Requests => out.push(completion),
                Held::Completions => self.hold(Item::Completion(completion), now),
                Held::Effects => out.extend(self.unless_acknowledged(completion)),
            }
        }
        self.fresh = fresh;
    }

    /// Completes a request that changes the medium, and keeps a copy of it to be done later.
    fn acknowledge(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        let kind = request.op.kind();
        if !matches!(
            kind,
            OpKind::Write | OpKind::Deallocate | OpKind::WriteZeros
        ) {
            return self.inner.submit(request, io);
        }
        let copy = match &request.buffer {
            None => None,
            Some(buffer) => match io.pool.allocate(buffer.len()) {
                Some(mut copy) => {
                    copy.copy_from_slice(buffer);
                    Some(copy)
                }
                // With no room for the lie it is done as it should be.
                None => return self.inner.submit(request, io),
            },
        };
        let (token, buffer) = (request.token, request.buffer);
        let later = Request {
            token,
            op: request.op,
            offset: request.offset,
            length: request.length,
            buffer: copy,
        };
        self.acknowledged.push(token);
        self.hold(Item::Request(later), io.now);
        Submitted::Done(Completion {
            token,
            buffer,
            result: Ok(Done::Completed),
        })
    }

    /// A completion of the inner channel, if its caller has none yet.
    fn unless_acknowledged(&mut self, completion: Completion) -> Option<Completion> {
        let known = |token: &u64| *token == completion.token;
        match self.acknowledged.iter().position(known) {
            Some(at) => {
                self.acknowledged.swap_remove(at);
                None
            }
            None => Some(completion),
        }
    }
}

impl Channel for DelayChannel {
    fn submit(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        match self.store.hold.what {
            Held::Requests => self.hold(Item::Request(request), io.now),
            Held::Completions => {
                if let Submitted::Done(completion) = self.inner.submit(request, io) {
                    self.hold(Item::Completion(completion), io.now);
                }
            }
            Held::Effects => return self.acknowledge(request, io),
        }
        Submitted::Pending
    }

    fn completed(
        &mut self,
        completion: ring::Completion,
        io: &mut Io<'_>,
        out: &mut Vec<Completion>,
    ) {
        self.inner.completed(completion, io, &mut self.fresh);
        self.pass(io.now, out);
    }

    fn poll(&mut self, io: &mut Io<'_>, out: &mut Vec<Completion>) {
        self.inner.poll(io, &mut self.fresh);
        self.pass(io.now, out);
        while let Some(item) = self.next_released(io.now) {
            match item {
                Item::Completion(completion) => out.push(completion),
                Item::Request(request) => {
                    if let Submitted::Done(completion) = self.inner.submit(request, io) {
                        out.extend(self.unless_acknowledged(completion));
                    }
                }
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight() + self.held.len()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let held = match self.store.hold.until {
            Until::Elapsed { .. } => self.held.iter().map(|(due, _)| *due).min(),
            Until::Released => None,
        };
        [held, self.inner.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

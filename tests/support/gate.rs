//! A store with a gate: while it is closed, what would change the medium waits in front of it, and
//! has not taken effect. The test opens it, so that nothing depends on time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use crossbeam_queue::SegQueue;
use holdfast::backend::{
    BackendError, Bequest, Channel, ChannelId, Completion, Io, Op, Properties, Request, Store,
    Submitted, Waker,
};
use holdfast::ring;

use super::login::ANSWER_TIMEOUT;

/// A store behind a gate.
pub struct Gate {
    inner: Arc<dyn Store>,
    /// What changes the medium waits.
    holds_changes: AtomicBool,
    /// Everything else waits.
    holds_reads: AtomicBool,
    /// Requests that may pass although the gate is closed.
    permits: AtomicU64,
    /// Requests in front of the gate.
    held: AtomicUsize,
    /// Requests that changed the medium and that have been passed on.
    changes: AtomicUsize,
    arrivals: Sender<()>,
    arrived: Receiver<()>,
    wakers: SegQueue<Waker>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("inner", &self.inner)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// An open gate in front of `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let (arrivals, arrived) = unbounded();
        Arc::new(Self {
            inner,
            holds_changes: AtomicBool::new(false),
            holds_reads: AtomicBool::new(false),
            permits: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
            arrivals,
            arrived,
            wakers: SegQueue::new(),
        })
    }

    /// From now on, what changes the medium waits.
    pub fn close(&self) {
        self.holds_changes.store(true, Ordering::SeqCst);
    }

    /// From now on reads wait too.
    pub fn close_for_reads_too(&self) {
        self.holds_reads.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Lets all go, and whatever comes later.
    pub fn open(&self) {
        self.holds_reads.store(false, Ordering::SeqCst);
        self.open_for_changes();
    }

    /// Lets go what changes the medium; reads go on waiting if they did.
    pub fn open_for_changes(&self) {
        self.holds_changes.store(false, Ordering::SeqCst);
        self.wake();
    }

    /// Lets that many go and stays closed.
    pub fn pass(&self, count: u64) {
        self.permits.fetch_add(count, Ordering::SeqCst);
        self.wake();
    }

    /// Requests that wait now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// How often the medium has been changed, or begun to be.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
    }

    /// Waits until that many requests stand in front of the gate.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        while self.held() < count {
            let arrival = self.arrived.recv_timeout(ANSWER_TIMEOUT);
            assert!(
                arrival.is_ok(),
                "{} of {count} requests came to the gate",
                self.held()
            );
        }
    }

    fn wake(&self) {
        for _ in 0..self.wakers.len() {
            if let Some(waker) = self.wakers.pop() {
                waker();
                self.wakers.push(waker);
            }
        }
    }

    fn stops(&self, op: Op) -> bool {
        if changes_medium(op) {
            self.holds_changes.load(Ordering::SeqCst)
        } else {
            self.holds_reads.load(Ordering::SeqCst)
        }
    }

    fn lets_pass(&self, op: Op) -> bool {
        let take = |permits: u64| permits.checked_sub(1);
        !self.stops(op)
            || self
                .permits
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
    }
}

impl Store for Gate {
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

    fn channel(self: Arc<Self>, id: ChannelId, waker: Waker) -> Box<dyn Channel> {
        let inner = Arc::clone(&self.inner).channel(id, Arc::clone(&waker));
        self.wakers.push(waker);
        Box::new(GateChannel {
            gate: self,
            inner,
            held: Vec::new(),
        })
    }
}

fn changes_medium(op: Op) -> bool {
    !matches!(op, Op::Read | Op::Extents | Op::Flush)
}

struct GateChannel {
    gate: Arc<Gate>,
    inner: Box<dyn Channel>,
    held: Vec<Request>,
}

impl GateChannel {
    fn pass_on(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        let changes = usize::from(changes_medium(request.op));
        self.gate.changes.fetch_add(changes, Ordering::SeqCst);
        self.inner.submit(request, io)
    }
}

impl Channel for GateChannel {
    fn submit(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        if !self.gate.stops(request.op) {
            return self.pass_on(request, io);
        }
        self.held.push(request);
        self.gate.held.fetch_add(1, Ordering::SeqCst);
        // The gate itself keeps the other end.
        let _ = self.gate.arrivals.send(());
        Submitted::Pending
    }

    fn completed(
        &mut self,
        completion: ring::Completion,
        io: &mut Io<'_>,
        out: &mut Vec<Completion>,
    ) {
        self.inner.completed(completion, io, out);
    }

    fn poll(&mut self, io: &mut Io<'_>, out: &mut Vec<Completion>) {
        self.inner.poll(io, out);
        while let Some(next) = self
            .held
            .iter()
            .position(|request| self.gate.lets_pass(request.op))
        {
            let request = self.held.remove(next);
            self.gate.held.fetch_sub(1, Ordering::SeqCst);
            if let Submitted::Done(completion) = self.pass_on(request, io) {
                out.push(completion);
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight() + self.held.len()
    }
}

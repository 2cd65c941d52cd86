//! The ways between reactors: a mailbox for each ordered pair, and a queue each for other threads.

use crate::base::doorbell::Doorbell;
use crate::base::mailbox::{Receiver, Sender, mailbox};
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Messages of one source that one tick delivers at most, so that none starves the others.
const MESSAGES_PER_TICK: usize = 256;

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A reactor, possibly the receiving one.
    Reactor(usize),
    /// Another thread.
    External,
}

/// A reactor as the others see it.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) doorbell: Doorbell,
    /// Nobody will fetch messages any more.
    ended: AtomicBool,
}

impl Address {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            doorbell: Doorbell::new()?,
            ended: AtomicBool::new(false),
        }))
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// What [`ExternalSender::send`] hands back.
#[derive(Debug, PartialEq, Eq)]
pub enum NotSent<M> {
    /// The queue is full: try again later.
    Full(M),
    /// The reactor has ended.
    Ended(M),
}

/// Sends to one reactor from any thread.
#[derive(Debug)]
pub struct ExternalSender<M> {
    queue: Arc<ArrayQueue<M>>,
    address: Arc<Address>,
}

impl<M> Clone for ExternalSender<M> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            address: Arc::clone(&self.address),
        }
    }
}

impl<M> ExternalSender<M> {
    /// Sends `message` and wakes the reactor.
    ///
    /// # Errors
    /// The message, when the queue is full or the reactor has ended.
    pub fn send(&self, message: M) -> Result<(), NotSent<M>> {
        if self.address.has_ended() {
            return Err(NotSent::Ended(message));
        }
        self.queue.push(message).map_err(NotSent::Full)?;
        self.address.doorbell.ring();
        Ok(())
    }
}

struct Destination<M> {
    /// `None` for the reactor itself.
    sender: Option<Sender<M>>,
    address: Arc<Address>,
    /// What found its mailbox full, in order.
    backlog: VecDeque<M>,
    /// Whether anything was sent since the doorbell was last rung.
    touched: bool,
}

impl<M> Destination<M> {
    /// Passes on what the mailbox has room for and wakes the receiver, once for all of it.
    fn flush(&mut self) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        if self.address.has_ended() {
            self.backlog.clear();
            return;
        }
        while let Some(message) = self.backlog.pop_front() {
            match sender.try_send(message) {
                Ok(()) => self.touched = true,
                Err(message) => {
                    self.backlog.push_front(message);
                    break;
                }
            }
        }
        if std::mem::take(&mut self.touched) {
            self.address.doorbell.ring();
        }
    }
}

/// A reactor's way to all reactors. Sending never fails and never blocks.
pub struct Outbox<M> {
    destinations: Vec<Destination<M>>,
}

impl<M> Outbox<M> {
    /// How many reactors there are.
    #[must_use]
    pub fn reactors(&self) -> usize {
        self.destinations.len()
    }

    /// Sends `message` to a reactor, possibly to this one, which finds it in its next tick.
    /// Messages of one reactor to another arrive in order. What finds the mailbox full waits here.
    /// A reactor that has ended drops what it is sent.
    ///
    /// # Panics
    /// If there is no such reactor.
    pub fn send(&mut self, reactor: usize, message: M) {
        let destination = &mut self.destinations[reactor];
        match &mut destination.sender {
            Some(sender) if destination.backlog.is_empty() => match sender.try_send(message) {
                Ok(()) => destination.touched = true,
                Err(message) => destination.backlog.push_back(message),
            },
            _ => destination.backlog.push_back(message),
        }
    }

    /// Messages that wait here because their receiver is slow, or is this reactor.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.destinations
            .iter()
            .map(|destination| destination.backlog.len())
            .sum()
    }

    pub(super) fn flush(&mut self) {
        self.destinations.iter_mut().for_each(Destination::flush);
    }
}

impl<M> std::fmt::Debug for Outbox<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("backlog", &self.backlog())
            .finish_non_exhaustive()
    }
}

/// Where a reactor finds its messages.
pub(super) struct Inbox<M> {
    reactor: usize,
    receivers: Vec<Option<Receiver<M>>>,
    external: Arc<ArrayQueue<M>>,
}

impl<M> Inbox<M> {
    /// Hands a bounded number of messages of each source to `deliver`; returns how many.
    pub(super) fn deliver(
        &mut self,
        outbox: &mut Outbox<M>,
        mut deliver: impl FnMut(Source, M, &mut Outbox<M>),
    ) -> usize {
        let mut count = 0;
        for (reactor, receiver) in self.receivers.iter_mut().enumerate() {
            let Some(receiver) = receiver else { continue };
            for _ in 0..MESSAGES_PER_TICK {
                let Some(message) = receiver.recv() else {
                    break;
                };
                deliver(Source::Reactor(reactor), message, outbox);
                count += 1;
            }
        }
        // What the reactor tells itself while it does this waits for the next tick.
        for _ in 0..outbox.destinations[self.reactor]
            .backlog
            .len()
            .min(MESSAGES_PER_TICK)
        {
            let Some(message) = outbox.destinations[self.reactor].backlog.pop_front() else {
                break;
            };
            deliver(Source::Reactor(self.reactor), message, outbox);
            count += 1;
        }
        for _ in 0..MESSAGES_PER_TICK {
            // Looking first is cheap; a pop that finds nothing is a full memory barrier.
            if self.external.is_empty() {
                break;
            }
            let Some(message) = self.external.pop() else {
                break;
            };
            deliver(Source::External, message, outbox);
            count += 1;
        }
        count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.external.is_empty() && self.receivers.iter().flatten().all(Receiver::is_empty)
    }
}

/// One reactor's ends of the mesh.
pub(super) struct Ends<M> {
    pub(super) address: Arc<Address>,
    pub(super) outbox: Outbox<M>,
    pub(super) inbox: Inbox<M>,
    pub(super) external: ExternalSender<M>,
}

/// Connects `reactors` reactors, each with each.
pub(super) fn mesh<M>(
    reactors: usize,
    mailbox_messages: usize,
    external_messages: usize,
) -> std::io::Result<Vec<Ends<M>>> {
    let addresses = (0..reactors)
        .map(|_| Address::new())
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut ends: Vec<Ends<M>> = addresses
        .iter()
        .enumerate()
        .map(|(reactor, address)| {
            let queue = Arc::new(ArrayQueue::new(external_messages));
            Ends {
                address: Arc::clone(address),
                outbox: Outbox {
                    destinations: Vec::with_capacity(reactors),
                },
                inbox: Inbox {
                    reactor,
                    receivers: Vec::new(),
                    external: Arc::clone(&queue),
                },
                external: ExternalSender {
                    queue,
                    address: Arc::clone(address),
                },
            }
        })
        .collect();
    for from in 0..reactors {
        for (to, address) in addresses.iter().enumerate() {
            let (sender, receiver) = if from == to {
                (None, None)
            } else {
                let (sender, receiver) = mailbox(mailbox_messages);
                (Some(sender), Some(receiver))
            };
            let address = Arc::clone(address);
            let backlog = VecDeque::new();
            let destination = Destination {
                sender,
                address,
                backlog,
                touched: false,
            };
            ends[from].outbox.destinations.push(destination);
            ends[to].inbox.receivers.push(receiver);
        }
    }
    Ok(ends)
}

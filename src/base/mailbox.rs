//! Bounded single-producer single-consumer rings: how work crosses from one reactor to another.
//!
//! A mailbox takes no lock, makes no system call and allocates nothing after [`mailbox`]. A message
//! is in it once or not at all; one that finds the ring full is handed back to its sender, who keeps
//! it and tries again. Waking a receiver that sleeps is the [`doorbell`](super::doorbell)'s matter.

use super::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};
use crossbeam_utils::CachePadded;
use std::mem::MaybeUninit;

/// What both ends share. Positions count messages since the start and wrap around the integers; a
/// position's slot is its low bits.
struct Ring<T> {
    /// The position that is received next; written by the receiver.
    head: CachePadded<AtomicUsize>,
    /// The position that is sent next; written by the sender.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

#[allow(unsafe_code, reason = "named leaf: positions hand the slots over")]
// SAFETY: a slot belongs to the sender from the moment `head` passes it until the sender's Release
// store of `tail`, and to the receiver from there until its Release store of `head`; both read the
// other's position with Acquire. So a slot is reached by one thread at a time, and a `T` only moves.
unsafe impl<T: Send> Send for Ring<T> {}
#[allow(unsafe_code, reason = "named leaf: positions hand the slots over")]
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }

    /// Fills the slot at `position`, which the sender owns.
    #[inline]
    #[allow(unsafe_code, reason = "named leaf: the sender's access to a slot")]
    fn put(&self, position: usize, message: T) {
        self.slot(position).with_mut(|slot| {
            // SAFETY: `head` has passed this slot's last message and `tail` has not come to it, so
            // nobody else reaches the slot, and what it holds is not a message.
            unsafe { slot.write(MaybeUninit::new(message)) }
        });
    }

    /// Moves the message at `position` out, which the receiver owns.
    #[inline]
    #[allow(unsafe_code, reason = "named leaf: the receiver's access to a slot")]
    fn take(&self, position: usize) -> T {
        // SAFETY: `position` lies between `head` and `tail`, so the sender stays away from the slot.
        let message = self.slot(position).with(|slot| unsafe { slot.read() });
        // SAFETY: `tail` has passed the slot, so it holds a message; the receiver moves `head` past
        // it next, so it is taken once.
        unsafe { message.assume_init() }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (
            self.head.load(Ordering::Acquire),
            self.tail.load(Ordering::Acquire),
        );
        while head != tail {
            drop(self.take(head));
            head = head.wrapping_add(1);
        }
    }
}

/// A ring for at least `capacity` messages; the next power of two is what it holds.
///
/// # Panics
/// If `capacity` is zero.
#[must_use]
pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a mailbox without room can pass nothing");
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let ring = Arc::new(Ring {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        slots: slots.collect(),
    });
    let sender = Sender {
        ring: Arc::clone(&ring),
        tail: 0,
        head_seen: 0,
    };
    (
        sender,
        Receiver {
            ring,
            head: 0,
            tail_seen: 0,
        },
    )
}

/// The producer's end. It may move to another thread, but only one thread holds it.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    /// The receiver's position when last looked at: its cache line is fetched only when the ring
    /// seems full.
    head_seen: usize,
}

impl<T> Sender<T> {
    /// Passes `message` on, or hands it back when the ring is full.
    ///
    /// # Errors
    /// The message itself, when the ring is full.
    #[inline]
    pub fn try_send(&mut self, message: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.capacity() {
            self.head_seen = self.ring.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == self.capacity() {
                return Err(message);
            }
        }
        self.ring.put(self.tail, message);
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Messages that the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }
}

/// The consumer's end. It may move to another thread, but only one thread holds it.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    /// The sender's position when last looked at: its cache line is fetched only when the ring
    /// seems empty.
    tail_seen: usize,
}

impl<T> Receiver<T> {
    /// The oldest message, if there is one.
    #[inline]
    pub fn recv(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.tail_seen = self.ring.tail.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let message = self.ring.take(self.head);
        self.head = self.head.wrapping_add(1);
        self.ring.head.store(self.head, Ordering::Release);
        Some(message)
    }

    /// Whether [`Receiver::recv`] would find nothing now.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail_seen && self.head == self.ring.tail.load(Ordering::Acquire)
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("sent", &self.tail)
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("received", &self.head)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::doorbell::Doorbell;
    use rustix::event::{PollFd, PollFlags, poll};

    /// Xorshift: the same bursts from the same seed.
    fn next(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn a_full_ring_hands_the_message_back() {
        let (mut sender, mut receiver) = mailbox(3);
        assert_eq!(sender.capacity(), 4);
        assert!((0..4).all(|message| sender.try_send(message).is_ok()));
        assert_eq!(sender.try_send(4), Err(4));
        assert_eq!(receiver.recv(), Some(0));
        assert_eq!(sender.try_send(4), Ok(()));
        assert_eq!(
            std::iter::from_fn(|| receiver.recv()).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert!(receiver.is_empty());
    }

    #[test]
    fn what_nobody_received_is_dropped_with_the_ring() {
        let message = std::sync::Arc::new(());
        let (mut sender, mut receiver) = mailbox(4);
        for _ in 0..3 {
            sender.try_send(std::sync::Arc::clone(&message)).unwrap();
        }
        drop(receiver.recv());
        assert_eq!(std::sync::Arc::strong_count(&message), 3);
        drop((sender, receiver));
        assert_eq!(std::sync::Arc::strong_count(&message), 1);
    }

    /// Bursts and pauses of random length between two threads that block on each other's doorbell:
    /// a lost wake-up hangs, a lost or doubled message fails.
    #[test]
    fn bursts_between_sleeping_threads_arrive_whole_and_in_order() {
        const MESSAGES: u64 = 100_000;
        let (mut sender, mut receiver) = mailbox(16);
        let bell = std::sync::Arc::new(Doorbell::new().unwrap());
        let theirs = std::sync::Arc::clone(&bell);
        let producer = std::thread::spawn(move || {
            let mut seed = 0x5EED;
            let mut message = 0;
            while message < MESSAGES {
                for _ in 0..next(&mut seed) % 32 {
                    if message < MESSAGES && sender.try_send(message).is_ok() {
                        message += 1;
                    }
                }
                theirs.ring();
                if next(&mut seed).is_multiple_of(4) {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            bell.arm();
            if receiver.is_empty() {
                let mut descriptors = [PollFd::new(&*bell, PollFlags::IN)];
                assert_eq!(poll(&mut descriptors, None), Ok(1));
                bell.clear();
            }
            bell.disarm();
            while let Some(message) = receiver.recv() {
                assert_eq!(message, expected);
                expected += 1;
            }
        }
        producer.join().unwrap();
    }
}

//! What must hold in every interleaving.

use crate::doorbell::Announcement;
use crate::mailbox::mailbox;
use crate::rcu::RcuCell;
use crossbeam_epoch::Collector;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A model with at most `preemptions` forced switches of thread: loom's authors found two or three
/// enough for every known fault, and without a bound the epoch collector's state space is too large.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A value that knows how often it was destroyed, and notices being read afterwards.
struct Counted {
    value: usize,
    destroyed: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.destroyed.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_mailbox_keeps_order_and_loses_nothing() {
    check(3, || {
        let (mut sender, mut receiver) = mailbox(2);
        let producer = thread::spawn(move || {
            for message in 1..=3 {
                let mut message = message;
                while let Err(back) = sender.try_send(message) {
                    message = back;
                    thread::yield_now();
                }
            }
        });
        for expected in 1..=3 {
            let received = loop {
                match receiver.recv() {
                    Some(message) => break message,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(received, expected);
        }
        assert!(receiver.is_empty());
        producer.join().unwrap();
    });
}

#[test]
fn a_mailbox_destroys_each_message_once() {
    check(3, || {
        let destroyed = Arc::new(AtomicUsize::new(0));
        let (mut sender, mut receiver) = mailbox(2);
        let counter = Arc::clone(&destroyed);
        let producer = thread::spawn(move || {
            for value in 0..2 {
                let sent = sender.try_send(Counted {
                    value,
                    destroyed: Arc::clone(&counter),
                });
                assert!(sent.is_ok(), "two messages fit");
            }
        });
        // Whatever is not received here is drained by the end that goes last.
        drop(receiver.recv());
        drop(receiver);
        producer.join().unwrap();
        assert_eq!(destroyed.load(Ordering::Acquire), 2);
    });
}

#[test]
fn a_doorbell_never_misses_both_the_message_and_the_sleeper() {
    check(3, || {
        let announcement = Arc::new(Announcement::new());
        // Stands for the eventfd.
        let event = Arc::new(AtomicUsize::new(0));
        let (mut sender, mut receiver) = mailbox(2);
        let (theirs, their_event) = (Arc::clone(&announcement), Arc::clone(&event));
        let producer = thread::spawn(move || {
            for message in 0..2 {
                sender.try_send(message).unwrap();
                if theirs.claim() {
                    their_event.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        announcement.announce();
        let found = receiver.recv();
        producer.join().unwrap();
        // Everything has been sent: a reactor that found nothing would block now, for ever unless
        // somebody rang.
        if found.is_none() {
            assert!(event.load(Ordering::Acquire) > 0, "the wake-up was lost");
        }
        assert!(
            event.load(Ordering::Acquire) <= 1,
            "one announcement, one system call"
        );
    });
}

#[test]
fn of_two_senders_one_wakes_the_sleeper() {
    check(3, || {
        let announcement = Arc::new(Announcement::new());
        announcement.announce();
        let claims: Vec<_> = (0..2)
            .map(|_| {
                let theirs = Arc::clone(&announcement);
                thread::spawn(move || usize::from(theirs.claim()))
            })
            .collect();
        let woken: usize = claims.into_iter().map(|claim| claim.join().unwrap()).sum();
        assert_eq!(woken, 1);
    });
}

#[test]
fn a_reader_of_the_rcu_cell_sees_old_or_new_and_never_freed_memory() {
    check(2, || {
        let destroyed = Arc::new(AtomicUsize::new(0));
        let new = |value| Counted {
            value,
            destroyed: Arc::clone(&destroyed),
        };
        let cell = Arc::new(RcuCell::new(new(1)));
        let collector = Collector::new();
        let (replacement, theirs) = (new(2), Arc::clone(&cell));
        let handle = collector.register();
        let writer = thread::spawn(move || {
            theirs.store(replacement, &handle.pin());
            handle.pin().flush();
        });
        let handle = collector.register();
        {
            let guard = handle.pin();
            let seen = cell.load(&guard);
            assert!(seen.value == 1 || seen.value == 2);
            // A reader pinned before the swap holds the old value alive until it lets go.
            if seen.value == 1 {
                assert_eq!(seen.destroyed.load(Ordering::Acquire), 0);
            }
            let again = cell.load(&guard);
            assert!(
                again.value >= seen.value,
                "the cell does not go back in time"
            );
        }
        writer.join().unwrap();
        assert_eq!(cell.load(&handle.pin()).value, 2);
        drop((handle, collector));
        assert_eq!(
            destroyed.load(Ordering::Acquire),
            1,
            "the old value went, once"
        );
        drop(cell);
        assert_eq!(destroyed.load(Ordering::Acquire), 2);
    });
}

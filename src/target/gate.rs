//! The moments at which no write of a volume is half done.
//!
//! A short write is one piece, and a piece is issued or it is not. Whatever changes the medium in
//! several pieces passes the volume's gate on its reactor first, and leaves it when it is over. A
//! snapshot closes the gates of all reactors, waits until nothing is behind them, and holds pieces only
//! then: so it has the whole of a write or nothing. EXTENDED COPY, WRITE USING TOKEN, FORMAT UNIT and
//! SANITIZE don't pass: they are many writes, and last.

use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// One volume's gate on one reactor.
#[derive(Default)]
pub(crate) struct Gate {
    /// Writes that have passed and are not over.
    under_way: Cell<u32>,
    /// Those who keep it closed.
    closed_by: Cell<u32>,
    /// Writes that wait for it to open.
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    /// Those who have closed it and wait for what is behind it.
    watching: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Gate {
    /// Waits until the gate is open, and passes.
    pub(crate) async fn pass(self: Rc<Self>) -> Passage {
        while self.closed_by.get() > 0 {
            let (sender, receiver) = oneshot::channel();
            self.waiting.borrow_mut().push(sender);
            // Where the reactor ends, the write ends with it.
            let _ = receiver.await;
        }
        self.under_way.set(self.under_way.get() + 1);
        Passage(self)
    }

    /// Closes the gate until [`Gate::open`]. The answer comes when nothing is behind it.
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        self.closed_by.set(self.closed_by.get() + 1);
        let (sender, receiver) = oneshot::channel();
        match self.under_way.get() {
            0 => drop(sender.send(())),
            _ => self.watching.borrow_mut().push(sender),
        }
        receiver
    }

    /// Takes one closing back.
    pub(crate) fn open(&self) {
        self.closed_by.set(self.closed_by.get().saturating_sub(1));
        if self.closed_by.get() == 0 {
            for waiting in self.waiting.take() {
                let _ = waiting.send(());
            }
        }
    }
}

/// A write that has passed the gate.
pub(crate) struct Passage(Rc<Gate>);

impl Drop for Passage {
    fn drop(&mut self) {
        let left = self.0.under_way.get() - 1;
        self.0.under_way.set(left);
        if left == 0 {
            for watching in self.0.watching.take() {
                let _ = watching.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_executor::LocalExecutor;

    fn run(executor: &LocalExecutor<'_>) {
        while executor.try_tick() {}
    }

    #[test]
    fn a_closed_gate_waits_for_those_behind_it_and_keeps_others_out() {
        let (executor, gate) = (LocalExecutor::new(), Rc::new(Gate::default()));
        let first = executor.spawn(Rc::clone(&gate).pass());
        run(&executor);
        assert!(first.is_finished(), "an open gate");
        let mut empty = gate.close();
        let second = executor.spawn(Rc::clone(&gate).pass());
        run(&executor);
        assert!(!second.is_finished(), "closed");
        assert_eq!(empty.try_recv(), Ok(None), "one is behind it");
        drop(first); // The task, and the passage that it returned.
        run(&executor);
        assert_eq!(empty.try_recv(), Ok(Some(())));
        let mut again = gate.close();
        assert_eq!(again.try_recv(), Ok(Some(())), "nobody is behind it");
        gate.open();
        run(&executor);
        assert!(!second.is_finished(), "another keeps it closed");
        gate.open();
        run(&executor);
        assert!(second.is_finished(), "open again");
    }
}

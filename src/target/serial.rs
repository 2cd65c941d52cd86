//! One change of a logical unit at a time: first come, first served.

use super::failure::Failure;
use super::home::Home;
use crate::reservation::NexusIndex;
use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Who waits for the right to change the logical unit.
#[derive(Default)]
pub(crate) struct Serial {
    taken: Cell<bool>,
    queue: RefCell<VecDeque<(Option<NexusIndex>, oneshot::Sender<()>)>>,
}

impl Serial {
    /// Waits for its turn, which is handed over by the one who leaves. False: turned away.
    async fn enter(&self, nexus: Option<NexusIndex>) -> bool {
        if !self.taken.replace(true) {
            return true;
        }
        let (sender, receiver) = oneshot::channel();
        self.queue.borrow_mut().push_back((nexus, sender));
        receiver.await.is_ok()
    }

    /// Those who wait and are not wanted wait no longer.
    pub(crate) fn turn_away(&self, unwanted: impl Fn(NexusIndex) -> bool) {
        self.queue
            .borrow_mut()
            .retain(|(nexus, _)| !nexus.is_some_and(&unwanted));
    }

    /// Whether somebody has the right.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.get()
    }

    fn leave(&self) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            match next {
                Some((_, sender)) => {
                    if sender.send(()).is_ok() {
                        return;
                    }
                }
                None => {
                    self.taken.set(false);
                    return;
                }
            }
        }
    }
}

/// The right to change the logical unit.
pub(crate) struct SerialGuard(Rc<Home>);

impl Drop for SerialGuard {
    fn drop(&mut self) {
        self.0.serial.leave();
    }
}

impl Home {
    /// Waits for the right to change the logical unit; one command at a time has it. A nexus whose
    /// commands are being aborted does not get it: two nodes that PREEMPT AND ABORT each other would
    /// wait for each other, and the first one is to win.
    pub(crate) async fn serialise(
        self: &Rc<Self>,
        nexus: Option<NexusIndex>,
    ) -> Result<SerialGuard, Failure> {
        let aborting = |index| self.aborting.borrow().binary_search(&index).is_ok();
        // A command that came after the abort may be sent again; one that came before is marked, and
        // this answer is not the one it gets.
        if nexus.is_some_and(aborting) || !self.serial.enter(nexus).await {
            return Err(Failure::BUSY);
        }
        Ok(SerialGuard(Rc::clone(self)))
    }
}

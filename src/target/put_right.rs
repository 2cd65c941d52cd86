//! What the store holds after a save that hung or could not be undone, and how it is put right.
//!
//! The initiator was told that nothing has changed, and at the home nothing has. The store may hold the
//! change all the same, and a restart would find it there. So the state in force is saved again as soon
//! as the store has come to itself, whether or not another command comes. What is left is a crash before
//! that save: between two writes of a store that has just hung for seconds nothing else can be written.

use super::failure::Failure;
use super::home::Home;
use super::local::Local;
use super::shared::Shared;
use super::store::{Late, NotSaved};
use crate::base::limits::{PUT_RIGHT_INTERVAL, TAKE_BACK_TIMEOUT};
use std::rc::{Rc, Weak};
use std::sync::Arc;

impl Home {
    /// A change was not saved, and what the initiator is told of it.
    pub(super) fn give_up(
        self: &Rc<Self>,
        not_saved: NotSaved,
        local: &Local,
        shared: &Arc<Shared>,
    ) -> Failure {
        match not_saved {
            NotSaved::Certainly(failure) => failure,
            NotSaved::Perhaps(late) => {
                self.put_right_later(Some(late), local, shared);
                Failure::timed_out()
            }
        }
    }

    /// The store may hold something else than the state in force. That is saved once the `late` save is
    /// over, or else in a while, and again until it has been.
    pub(super) fn put_right_later(
        self: &Rc<Self>,
        mut late: Option<Late>,
        local: &Local,
        shared: &Arc<Shared>,
    ) {
        // Whatever hangs now is saved before anything that is handed over later: one procedure will do.
        if self.unsaved.replace(true) {
            return;
        }
        let home: Weak<Self> = Rc::downgrade(self);
        let (sleeper, shared) = (local.clone(), Arc::clone(shared));
        local.spawn(async move {
            loop {
                match late.take() {
                    Some(late) => late.ends().await,
                    None => sleeper.sleep(PUT_RIGHT_INTERVAL).await,
                }
                // The volume may be gone, and what was kept of it with it.
                let Some(home) = home.upgrade() else {
                    return;
                };
                match home.put_right(&sleeper, &shared).await {
                    Ok(()) => return,
                    Err(NotSaved::Perhaps(hangs)) => late = Some(hangs),
                    Err(NotSaved::Certainly(_)) => {}
                }
            }
        });
    }

    /// Saves the state in force, if the store may hold another one. It waits for its turn: a change that
    /// is under way puts the store right by itself.
    pub(super) async fn put_right(
        self: &Rc<Self>,
        local: &Local,
        shared: &Arc<Shared>,
    ) -> Result<(), NotSaved> {
        let _turn = self.serialise(None).await.map_err(NotSaved::Certainly)?;
        if !self.unsaved.get() {
            return Ok(());
        }
        let state = self.inner.borrow().state.clone();
        let ages = self.chronicle.ages().clone();
        // Others wait meanwhile, and the next attempt comes soon.
        let deadline = local.now() + TAKE_BACK_TIMEOUT;
        self.save(&state, &ages, deadline, local, shared).await?;
        self.unsaved.set(false);
        tracing::info!(volume = %self.volume.name, "the reservation store holds the state in force again");
        Ok(())
    }
}

//! Waiting for what happens to a volume's reservations, on the thread of whoever follows.

use super::handle::{Target, TargetError, find, home_of};
use crate::base::clock::Instant;
use crate::base::limits::HISTORY_GATHER_INTERVAL;
use crate::reservation::history::{Cursor, Excerpt};
use crate::volume::VolumeId;
use crossbeam_channel::bounded;
use std::sync::Arc;
use std::time::Duration;

impl Target {
    /// What is new in the history of a volume's reservations since `seen`. Where nothing is, this waits for it, at most `wait`: on the calling
    /// thread, and no reactor is asked again before something has happened.
    ///
    /// # Errors
    /// When the volume is unknown or goes, or the reactors don't answer.
    pub fn follow_history(
        &self,
        id: VolumeId,
        seen: Cursor,
        wait: Duration,
    ) -> Result<Excerpt, TargetError> {
        let until = Instant::now() + wait;
        loop {
            let volume = find(&self.control(), id)?;
            let index = volume.index;
            let (bell, rings) = bounded(1);
            let bell = Arc::new(bell);
            let follower = Arc::downgrade(&bell);
            let new = self.ask(volume.home, move |local, _| async move {
                let home = home_of(index, &local).await?;
                Ok::<_, TargetError>(home.chronicle.follow(seen, follower))
            })??;
            drop(volume);
            if !new.is_empty() || rings.recv_timeout(until.since(Instant::now())).is_err() {
                return Ok(new);
            }
            // Whoever repeats an attempt in a loop is heard once for all that comes until then.
            let _ = crossbeam_channel::after(HISTORY_GATHER_INTERVAL).recv();
        }
    }
}

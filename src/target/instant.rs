//! One instant of one or several volumes: everything issued before it is over, nothing is issued after
//! it, and no write is half done. That is when a snapshot is taken.
//!
//! ```text
//!   of each volume:  flush ─▶ close the gates ─▶ hold all pieces ─┐
//!                                                                 ├─▶ work ─▶ release, open
//!   of each volume:  flush ─▶ close the gates ─▶ hold all pieces ─┘
//! ```
//!
//! The hold ends at a deadline, whatever the work does: initiators do not wait for ever. Whoever asked
//! is told, and must throw away what was made.

use super::handle::{Target, TargetError, find, home_of};
use super::local::Local;
use super::medium::Medium;
use super::message::Call;
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::base::rcu;
use crate::scsi::unit;
use crate::volume::VolumeId;
use futures_channel::oneshot;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Who may use the volumes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Whoever is logged in: their commands wait.
    Sessions,
    /// Nobody: there must be no session, and none may log in before it is over.
    Nobody,
}

/// How volumes are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldPlan {
    /// The longest that I/O waits, from the first hold to the last release.
    pub limit: Duration,
    /// Who may be there.
    pub company: Company,
}

/// A volume that is held on its home's reactor until it is told to let go.
struct Held {
    home: usize,
    release: oneshot::Sender<()>,
    /// Whether it was held to the end.
    outcome: crossbeam_channel::Receiver<bool>,
}

impl Target {
    /// Runs `work` at one instant of all `volumes`. It runs on the calling thread, once, and only if all
    /// of them are held.
    ///
    /// # Errors
    /// One is unknown, being erased, used where nobody may use it, or could not be held in time: then
    /// `work` has not run. [`TargetError::HoldExpired`]: it has run, but took longer than the hold.
    pub fn at_one_instant(
        &self,
        volumes: &[VolumeId],
        plan: HoldPlan,
        work: &mut dyn FnMut(),
    ) -> Result<(), TargetError> {
        let volumes = {
            let control = self.control();
            let found = volumes.iter().map(|id| find(&control, *id));
            found.collect::<Result<Vec<_>, _>>()?
        };
        let _alone = match plan.company {
            Company::Sessions => None,
            Company::Nobody => Some(self.keep_out(&volumes)?),
        };
        for volume in &volumes {
            self.settle(volume)?;
        }
        let began = Instant::now();
        let deadline = began + plan.limit;
        let mut held = Vec::with_capacity(volumes.len());
        for volume in &volumes {
            match self.hold(volume, deadline) {
                Ok(hold) => held.push(hold),
                Err(error) => {
                    self.release(held);
                    return Err(error);
                }
            }
        }
        work();
        let in_time = self.release(held);
        let held_us = Instant::now().since(began).as_micros();
        tracing::info!(
            volumes = volumes.len(),
            held_us,
            "I/O was held for a moment"
        );
        match in_time {
            true => Ok(()),
            false => Err(TargetError::HoldExpired { limit: plan.limit }),
        }
    }

    /// Refuses logins to the volumes, if none has a session.
    fn keep_out(&self, volumes: &[Arc<Volume>]) -> Result<Alone, TargetError> {
        let alone = Alone(volumes.to_vec());
        for volume in volumes {
            volume.closing.store(true, Ordering::Relaxed);
            let index = volume.index;
            let sessions = self.ask(volume.home, move |local, _| async move {
                let home = home_of(index, &local).await?;
                // A login that came before has its seat by then, or is refused.
                let _turn = home.serialise(None).await?;
                let sessions = home.inner.borrow().seats.len();
                Ok::<_, TargetError>(sessions)
            })??;
            if sessions > 0 {
                return Err(TargetError::InUse { sessions });
            }
        }
        Ok(alone)
    }

    /// Sees that the volume can be held, and leaves little to flush for the time of the hold.
    fn settle(&self, volume: &Arc<Volume>) -> Result<(), TargetError> {
        if matches!(
            volume.unit.load(&rcu::pin()).medium,
            unit::Medium::Formatting { .. } | unit::Medium::Sanitizing { .. }
        ) {
            return Err(TargetError::BeingErased {
                volume: volume.alias.clone(),
            });
        }
        let volume = Arc::clone(volume);
        self.ask(volume.home, move |local, _| async move {
            Medium::new(&local, &volume).flush().await
        })??;
        Ok(())
    }

    /// Holds a volume; it lets go at the deadline by itself.
    fn hold(&self, volume: &Arc<Volume>, deadline: Instant) -> Result<Held, TargetError> {
        let (release, released) = oneshot::channel();
        let (tell, outcome) = crossbeam_channel::bounded(1);
        let (of_hold, name) = (Arc::clone(volume), volume.alias.clone());
        let home = volume.home;
        let held = self.ask(home, move |local, _| async move {
            let Some(hold) = Hold::take(&local, &of_hold, deadline).await else {
                return false;
            };
            let waiting = local.clone();
            local.spawn(async move {
                let mut released = released;
                // Nobody waits for the outcome of what was given up.
                let in_time = waiting.until(deadline, &mut released).await.is_some();
                drop(hold);
                let _ = tell.send(in_time);
            });
            true
        })?;
        match held {
            true => Ok(Held {
                home,
                release,
                outcome,
            }),
            false => Err(TargetError::NotHeld { volume: name }),
        }
    }

    /// Lets all of them go; whether each was held until now.
    fn release(&self, held: Vec<Held>) -> bool {
        let outcomes: Vec<_> = held
            .into_iter()
            .map(|held| {
                // It has let go by itself where nobody takes the word.
                let _ = held.release.send(());
                self.nudge(held.home);
                held.outcome
            })
            .collect();
        // All are told before one is waited for, and all are waited for.
        let ends = outcomes.into_iter().map(|outcome| outcome.recv());
        let ends: Vec<bool> = ends.map(|end| end.unwrap_or(false)).collect();
        ends.into_iter().all(|in_time| in_time)
    }
}

/// Volumes that refuse logins, until it is dropped.
struct Alone(Vec<Arc<Volume>>);

impl Drop for Alone {
    fn drop(&mut self) {
        for volume in &self.0 {
            volume.closing.store(false, Ordering::Relaxed);
        }
    }
}

/// All of one volume, on every reactor.
struct Hold {
    local: Local,
    volume: Arc<Volume>,
    lock: Option<super::medium::RangeLock>,
}

impl Hold {
    async fn take(local: &Local, volume: &Arc<Volume>, deadline: Instant) -> Option<Self> {
        let index = volume.index;
        let mut hold = Self {
            local: local.clone(),
            volume: Arc::clone(volume),
            lock: None,
        };
        let closed = local.call_all(|| Call::CloseGate(index), Some(deadline));
        closed.await.ok()?;
        let medium = Medium::new(local, volume);
        hold.lock = Some(medium.lock_whole(deadline).await.ok()?);
        Some(hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.lock = None;
        for reactor in 0..self.local.reactors() {
            let call = Call::OpenGate(self.volume.index);
            self.local
                .post(super::local::Request::Tell { reactor, call });
        }
    }
}

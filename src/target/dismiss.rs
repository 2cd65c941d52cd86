//! The end of a volume that is in use: its sessions are asked to go, and only then dropped.

use super::core::Core;
use super::handle::{Target, TargetError, find, home_of};
use super::volume::VolumeIndex;
use crate::base::clock::Instant;
use crate::iscsi::AsyncEvent;
use crate::volume::VolumeId;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is seen whether the sessions are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

impl Target {
    /// Ceases to serve a volume. Logins are refused from now on, and every session is asked to log out
    /// (RFC 7143 section 11.9.1, AsyncEvent 1); those that are left after `patience` are dropped.
    /// Returns how many had to be.
    ///
    /// # Errors
    /// When the volume is unknown, or the reactors don't answer; it is then served as before.
    pub fn dismiss_volume(&self, id: VolumeId, patience: Duration) -> Result<usize, TargetError> {
        let volume = find(&self.control(), id)?;
        volume.closing.store(true, Ordering::Relaxed);
        let dismissed = self.ask_to_log_out(volume.index, volume.home, patience);
        let dismissed = dismissed.and_then(|left| {
            // Taken only now: other volumes are managed while this one's sessions go.
            let mut control = self.control();
            self.take_down(&mut control, &volume)?;
            Ok(left)
        });
        if dismissed.is_err() {
            volume.closing.store(false, Ordering::Relaxed);
        }
        dismissed
    }

    /// How many sessions of a volume are left after `patience`.
    fn ask_to_log_out(
        &self,
        index: VolumeIndex,
        home: usize,
        patience: Duration,
    ) -> Result<usize, TargetError> {
        // RFC 7143 section 11.9.1: Parameter3 is the time in seconds; zero would be no time at all.
        let seconds = u16::try_from(patience.as_secs()).unwrap_or(u16::MAX).max(1);
        for reactor in 0..self.reactors() {
            self.ask(reactor, move |local, _| async move {
                local
                    .with_core(move |core, _| core.ask_sessions_to_log_out(index, seconds))
                    .await
            })??;
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = self.ask(home, move |local, _| async move {
                let seats = home_of(index, &local).await?.inner.borrow().seats.len();
                if seats > 0 {
                    local.sleep(LOOK_INTERVAL).await;
                }
                Ok::<_, TargetError>(seats)
            })??;
            if left == 0 || Instant::now() >= deadline {
                return Ok(left);
            }
        }
    }
}

impl Core {
    fn ask_sessions_to_log_out(&mut self, volume: VolumeIndex, seconds: u16) {
        for key in self.connections.keys() {
            if let Some(conn) = self.connections.get_mut(key)
                && let Some(session) = &conn.session
                && session.volume.index == volume
            {
                conn.iscsi.send_async(AsyncEvent::RequestLogout { seconds });
                self.mark_dirty(key);
            }
        }
    }
}

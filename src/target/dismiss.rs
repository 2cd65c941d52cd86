//! The end of sessions, of a volume that goes or for any other reason: they are asked to go, and only then
//! dropped.

use super::core::{Core, Turn};
use super::handle::{Target, TargetError, find, home_of};
use super::message::{Announce, Call};
use super::session::Session;
use super::volume::VolumeIndex;
use crate::base::clock::Instant;
use crate::iscsi::AsyncEvent;
use crate::volume::VolumeId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is seen whether the sessions are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a session that is dropped may take to become quiet.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

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
            let concerned = move |session: &Session| session.volume.index == index;
            let ask = move |core: &mut Core, _: &mut Turn<'_, '_>| {
                core.ask_sessions_to_log_out(seconds, concerned);
            };
            self.ask(reactor, move |local, _| async move {
                local.with_core(ask).await
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

    /// Ends sessions, by volume and TSIH: they are asked to log out (RFC 7143 section 11.9.1,
    /// AsyncEvent 1), and those that are left after `patience` are dropped. Returns how many had to be.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn end_sessions(
        &self,
        sessions: BTreeSet<(VolumeId, u16)>,
        patience: Duration,
    ) -> Result<usize, TargetError> {
        let sessions = Arc::new(sessions);
        // RFC 7143 section 11.9.1: Parameter3 is the time in seconds; zero would be no time at all.
        let seconds = u16::try_from(patience.as_secs()).unwrap_or(u16::MAX).max(1);
        for reactor in 0..self.reactors() {
            let sessions = Arc::clone(&sessions);
            let ask = move |core: &mut Core, _: &mut Turn<'_, '_>| {
                let key = |session: &Session| (session.volume.id, session.nexus.tsih);
                core.ask_sessions_to_log_out(seconds, |session| sessions.contains(&key(session)));
            };
            self.ask(reactor, move |local, _| async move {
                local.with_core(ask).await
            })??;
        }
        let deadline = Instant::now() + patience;
        while self.any_is_left(&sessions)? && Instant::now() < deadline {
            self.ask(
                0,
                |local, _| async move { local.sleep(LOOK_INTERVAL).await },
            )?;
        }
        let mut dropped = 0;
        for reactor in 0..self.reactors() {
            let sessions = Arc::clone(&sessions);
            dropped += self.ask(reactor, move |local, _| async move {
                let left = local
                    .with_core(move |core, _| core.left_of(&sessions))
                    .await?;
                // What hangs in a backend does not keep whoever asked.
                let soon = local.now() + DROP_PATIENCE;
                for (volume, tsih) in &left {
                    let call = Call::EndSession {
                        volume: *volume,
                        tsih: *tsih,
                        announce: Announce::Dropped,
                    };
                    let _ = local.call(local.reactor(), call, Some(soon)).await;
                }
                Ok::<_, TargetError>(left.len())
            })??;
        }
        Ok(dropped)
    }

    fn any_is_left(&self, sessions: &Arc<BTreeSet<(VolumeId, u16)>>) -> Result<bool, TargetError> {
        for reactor in 0..self.reactors() {
            let sessions = Arc::clone(sessions);
            let left = self.ask(reactor, move |local, _| async move {
                local
                    .with_core(move |core, _| core.left_of(&sessions))
                    .await
            })??;
            if !left.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Core {
    fn ask_sessions_to_log_out(&mut self, seconds: u16, concerned: impl Fn(&Session) -> bool) {
        for key in self.connections.keys() {
            if let Some(conn) = self.connections.get_mut(key)
                && conn.session.as_deref().is_some_and(&concerned)
            {
                conn.iscsi.send_async(AsyncEvent::RequestLogout { seconds });
                self.mark_dirty(key);
            }
        }
    }

    /// Those of `sessions` that are here, as messages between reactors name them.
    fn left_of(&self, sessions: &BTreeSet<(VolumeId, u16)>) -> Vec<(VolumeIndex, u16)> {
        let here = self.connections.iter().filter_map(|(_, conn)| {
            let session = conn.session.as_deref()?;
            let tsih = session.nexus.tsih;
            let is_meant = sessions.contains(&(session.volume.id, tsih));
            is_meant.then_some((session.volume.index, tsih))
        });
        here.collect()
    }
}

//! What changes while the target runs: times, what portals tell, and of a volume how many it takes.
//! Everything else of a volume by ceasing to serve it and beginning anew, which only a volume may that
//! nobody uses.

use super::core::{Core, Turn};
use super::directory::Redirect;
use super::handle::{Target, TargetError, check_nexuses, find, home_of};
use super::meters::SlowLimit;
use crate::volume::VolumeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The times that can change while the target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A connection that has not logged in by then is dropped.
    pub login_timeout: Duration,
    /// An initiator silent for that long is asked with a NOP-In; `None`: never.
    pub nop_interval: Option<Duration>,
    /// How long a reservation command may take.
    pub fence_timeout: Duration,
    /// From how long on an I/O is told as slow; `None`: never.
    pub slow_io: Option<Duration>,
}

impl Target {
    /// Has other times hold: for slow I/O at once, for connections and reservation commands if they come
    /// from now on.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn set_timing(&self, timing: &Timing) -> Result<(), TargetError> {
        self.shared().set_timing(timing);
        let slow = SlowLimit::new(timing.slow_io);
        for reactor in 0..self.reactors() {
            let set = move |core: &mut Core, _: &mut Turn<'_, '_>| core.meters.slow = slow;
            self.ask(reactor, move |local, _| async move {
                local.with_core(set).await
            })??;
        }
        Ok(())
    }

    /// Has discovery tell another address for a portal, and has it send logins elsewhere or serve them;
    /// `position` is its number in the order in which portals were opened. Connections that are there
    /// go on as they came.
    ///
    /// # Errors
    /// When there is no such portal.
    pub fn set_portal(
        &self,
        position: usize,
        advertise: Option<String>,
        redirect: Option<Redirect>,
    ) -> Result<(), TargetError> {
        let mut control = self.control();
        let portal = control.portal_mut(position).ok_or(TargetError::NoPortal)?;
        portal.advertise = advertise;
        portal.redirect = redirect.map(Arc::new);
        self.publish(&control);
        Ok(())
    }

    /// Sets how many sessions and registrations a volume takes from now on. Those that are there stay,
    /// more than that or not.
    ///
    /// # Errors
    /// When the volume is unknown, or could not remember so many.
    pub fn set_places(
        &self,
        id: VolumeId,
        sessions_max: u32,
        registrations_max: u32,
    ) -> Result<(), TargetError> {
        let volume = find(&self.control(), id)?;
        check_nexuses(registrations_max, sessions_max)?;
        volume.sessions_max.store(sessions_max, Ordering::Relaxed);
        let registrations = &volume.registrations_max;
        registrations.store(registrations_max, Ordering::Relaxed);
        Ok(())
    }

    /// Ceases to serve a volume that nobody uses: no session is logged in, and no registration and no
    /// reservation stands. Registrations that APTPL does not keep would be gone, and those that it keeps
    /// would be read with other eyes. Nobody can log in between the look and the end.
    ///
    /// # Errors
    /// When the volume is unknown or used, or the reactors don't answer; it is then served as before.
    pub fn detach_unused(&self, id: VolumeId) -> Result<(), TargetError> {
        let mut control = self.control();
        let volume = find(&control, id)?;
        volume.closing.store(true, Ordering::Relaxed);
        let index = volume.index;
        let unused = self.ask(volume.home, move |local, _| async move {
            let home = home_of(index, &local).await?;
            // A login or a command that came before has ended by then.
            let _turn = home.serialise(None).await?;
            let inner = home.inner.borrow();
            let (sessions, registrations) = (inner.seats.len(), inner.state.registrations().len());
            match (sessions, registrations) {
                (0, 0) => Ok(()),
                (0, registrations) => Err(TargetError::Registered { registrations }),
                (sessions, _) => Err(TargetError::InUse { sessions }),
            }
        });
        let taken_down = unused
            .and_then(|unused| unused)
            .and_then(|()| self.take_down(&mut control, &volume));
        if taken_down.is_err() {
            volume.closing.store(false, Ordering::Relaxed);
        }
        taken_down
    }
}

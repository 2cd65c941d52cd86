//! What of a volume changes while the target runs: its limit of sessions at once, everything else by
//! ceasing to serve it and beginning anew, which only a volume may that nobody uses.

use super::handle::{Target, TargetError, check_nexuses, find, home_of};
use crate::volume::VolumeId;
use std::sync::atomic::Ordering;

impl Target {
    /// Sets how many sessions a volume takes from now on. Sessions that are logged in stay, more than
    /// that or not.
    ///
    /// # Errors
    /// When the volume is unknown, or could not remember so many.
    pub fn set_sessions_max(&self, id: VolumeId, sessions_max: u32) -> Result<(), TargetError> {
        let volume = find(&self.control(), id)?;
        check_nexuses(volume.registrations_max, sessions_max)?;
        volume.sessions_max.store(sessions_max, Ordering::Relaxed);
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

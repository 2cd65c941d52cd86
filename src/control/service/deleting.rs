//! The end of a volume, and the way back: sessions first, then the volume; kept for a while where its
//! group says so.

use std::time::Duration;

use super::refusal::{about_volume, volume_error};
use super::settings::counted;
use super::{Service, views};
use crate::backend::{BackendSpec, Intent};
use crate::base::clock::wall_clock_ms;
use crate::control::api::{VolumeDelete, VolumeSelect, VolumeView};
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind};
use crate::target::SessionInfo;
use crate::volume::{Deletion, VolumeName};

impl Service {
    /// Ceases to serve a volume and deletes it with its reservations. If its group keeps deleted volumes,
    /// its data stays, and it can be restored until that time is over; else its data goes at once, but
    /// for a block device's.
    ///
    /// # Errors
    /// There is none, sessions are logged in and `force` is not set, or it has snapshots and
    /// `delete_snapshots` is not set. Where deleting failed it is served as before.
    pub fn delete_volume(&self, delete: &VolumeDelete) -> Result<VolumeView, ControlError> {
        let _turn = self.take_turn();
        let volume = self.find_kept(&delete.name)?;
        self.work.check_free(volume.name.as_str(), &volume.name)?;
        if volume.deleted.is_some() {
            return self.purge_deleted(&volume, delete.purge);
        }
        if !delete.delete_snapshots {
            self.catalogue.model().check_no_snapshots(volume.id)?;
        }
        let view = self.view_now(&volume)?;
        let retention = self.retention(&volume);
        let served = !self.problems().contains_key(&volume.id);
        if served {
            self.end_service(&volume, delete.force)?;
        }
        let deleted = match retention {
            Some(retention) if !delete.purge => self.shelve(&volume, retention),
            _ => self.discard(&volume).map(|()| view),
        };
        match deleted {
            Ok(view) => {
                tracing::info!(
                    volume = %volume.name, id = %volume.id, restorable = view.deleted_ms.is_some(),
                    "volume deleted"
                );
                Ok(view)
            }
            Err(error) => {
                // It is still in the catalogue, so it is served as before.
                if served {
                    self.attach(&volume, Intent::Existing)?;
                }
                Err(error)
            }
        }
    }

    /// Brings a deleted volume back, and serves it. Its registrations and reservations are gone.
    ///
    /// # Errors
    /// It is not deleted, or can't be served: it is then deleted as before.
    pub fn restore_volume(&self, select: &VolumeSelect) -> Result<VolumeView, ControlError> {
        let _turn = self.take_turn();
        let volume = self.find_kept(&select.name)?;
        let Some(deletion) = volume.deleted else {
            return Err(volume_error(
                ErrorKind::Invalid,
                &volume.name,
                "is not deleted: there is nothing to restore",
            ));
        };
        let restored = self.catalogue.unshelve_volume(&volume)?;
        if let Err(error) = self.attach(&restored, Intent::Existing) {
            self.catalogue.shelve_volume(&restored, deletion)?;
            return Err(error);
        }
        tracing::info!(volume = %restored.name, id = %restored.id, "volume restored");
        self.view_now(&restored)
    }

    /// Deletes for good what is kept no longer at `now_ms`.
    pub fn purge_due(&self, now_ms: u64) {
        let is_due = |volume: &&Volume| {
            let deleted = volume.deleted;
            deleted.is_some_and(|deletion| deletion.purge_ms <= now_ms)
        };
        if self.catalogue.model().volumes().find(is_due).is_none() {
            return;
        }
        let _turn = self.take_turn();
        // As it is now that nobody else changes it: one may have been restored.
        for volume in self.catalogue.model().volumes().filter(is_due) {
            match self.discard(volume) {
                Ok(()) => tracing::info!(
                    volume = %volume.name, id = %volume.id,
                    "the time is over for which the deleted volume was kept; it is gone"
                ),
                // It stays deleted, and is tried again.
                Err(error) => {
                    tracing::error!(volume = %volume.name, %error, "a deleted volume stays");
                }
            }
        }
    }

    /// Ceases to serve a volume. With `force`, sessions are asked to log out, and dropped if they don't.
    pub(super) fn end_service(&self, volume: &Volume, force: bool) -> Result<(), ControlError> {
        let sessions = self.sessions_of(volume)?;
        if !sessions.is_empty() && force {
            let dismissed = self
                .plane
                .dismiss_volume(volume.id, self.settings().logout_timeout);
            let dropped = dismissed.map_err(|error| about_volume(&volume.name, &error))?;
            tracing::info!(
                volume = %volume.name, sessions = sessions.len(), dropped,
                "sessions were asked to log out"
            );
            return Ok(());
        }
        if !sessions.is_empty() {
            return Err(in_use(&volume.name, &sessions));
        }
        // Somebody may have logged in since.
        self.plane.detach_volume(volume.id, force).map_err(|error| {
            let error = about_volume(&volume.name, &error);
            match error.kind {
                ErrorKind::Busy => error.hint(LOG_OUT_HINT),
                _ => error,
            }
        })
    }

    /// For how long a volume is kept when it is deleted, if it is: the bytes of memory are gone with its
    /// last user.
    fn retention(&self, volume: &Volume) -> Option<Duration> {
        let lasts = matches!(
            volume.backend.innermost(),
            BackendSpec::File { .. } | BackendSpec::Block { .. }
        );
        let model = self.catalogue.model();
        let group = model.group(&volume.san, &volume.group).ok()?;
        let retention = Duration::from_secs(group.settings.retention_s);
        (lasts && !retention.is_zero()).then_some(retention)
    }

    fn shelve(&self, volume: &Volume, retention: Duration) -> Result<VolumeView, ControlError> {
        let at_ms = wall_clock_ms();
        let kept_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let deletion = Deletion {
            at_ms,
            purge_ms: at_ms.saturating_add(kept_ms),
        };
        let shelved = self.catalogue.shelve_volume(volume, deletion)?;
        self.problems().remove(&volume.id);
        self.view_now(&shelved)
    }

    fn purge_deleted(&self, volume: &Volume, purge: bool) -> Result<VolumeView, ControlError> {
        if !purge {
            return Err(deleted(volume));
        }
        let view = self.view_now(volume)?;
        self.discard(volume)?;
        tracing::info!(volume = %volume.name, id = %volume.id, "deleted volume purged");
        Ok(view)
    }
}

const LOG_OUT_HINT: &str = "log them out at their hosts; --force asks them to log out, and drops those \
                            that don't";

/// Whose sessions are in the way.
pub(super) fn in_use(volume: &VolumeName, sessions: &[SessionInfo]) -> ControlError {
    let named: Vec<_> = sessions
        .iter()
        .map(|session| format!("{} from {}", session.initiator, session.address))
        .collect();
    let message = format!("is in use by {}", counted("session", &named));
    volume_error(ErrorKind::Busy, volume, &message)
        .expected("a volume without sessions")
        .hint(LOG_OUT_HINT)
}

/// The volume is there no more, or not yet again.
pub(super) fn deleted(volume: &Volume) -> ControlError {
    let name = &volume.name;
    let until = volume.deleted.map_or(0, |deletion| deletion.purge_ms);
    let left = until.saturating_sub(wall_clock_ms()) / 1000;
    let message = format!("was deleted, and is kept for another {}", views::span(left));
    volume_error(ErrorKind::NotFound, name, &message).hint(format!(
        "`holdfast volume restore {name}` brings it back, `holdfast volume delete {name} --purge` ends it"
    ))
}

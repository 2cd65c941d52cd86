//! Changing the settings of a volume that is there.

use super::refusal::{about_volume, volume_error};
use super::{Service, reservation_views};
use crate::backend::{BackendSpec, Intent};
use crate::control::api::{SessionsMax, VolumeSet, VolumeView};
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind};
use crate::reservation::Nexus;
use crate::volume::{ChangeWhen, SettingsChange, UnusedOnly, VolumeSettings};

/// Sessions and registrations that a refusal names; more are counted.
const USERS_NAMED_MAX: usize = 4;

impl Service {
    /// Changes what of a volume's settings can be changed now. What is so already is no change.
    ///
    /// # Errors
    /// There is none, it is not served, a setting can't be, or the volume is used and the change would
    /// hurt those who use it; nothing has changed then.
    pub fn set_volume(&self, set: &VolumeSet) -> Result<VolumeView, ControlError> {
        let _turn = self.take_turn();
        let volume = self.find_free(&set.name)?;
        let next = volume
            .settings
            .changed_by(&change_of(set))
            .map_err(|error| {
                let message = format!("can't be set so: {error}");
                volume_error(ErrorKind::Invalid, &volume.name, &message)
            })?;
        let when = volume.settings.when_to_become(&next);
        if when != ChangeWhen::Same
            && let Some(problem) = self.problems().get(&volume.id)
        {
            let message = format!("is not served, and so stays as it is: {problem}");
            return Err(volume_error(ErrorKind::Failed, &volume.name, &message));
        }
        match &when {
            ChangeWhen::Same => {}
            ChangeWhen::Live => self.set_live(&volume, next.clone())?,
            ChangeWhen::Unused(settings) => {
                self.check_unused(&volume, settings)?;
                self.set_unused(&volume, next.clone())?;
            }
        }
        if when != ChangeWhen::Same {
            tracing::info!(volume = %volume.name, settings = ?next, "volume settings changed");
        }
        let set = self.find(&volume.name)?;
        Ok(self.view(&set, &self.presence()?))
    }

    /// Sets what changes while initiators are at work.
    fn set_live(&self, volume: &Volume, next: VolumeSettings) -> Result<(), ControlError> {
        let set = self.catalogue.set_volume(volume, next)?;
        let (sessions, registrations) =
            (self.sessions_max(&set), self.settings().registrations_max);
        let told = self.plane.set_places(set.id, sessions, registrations);
        let told = told.map_err(|error| about_volume(&volume.name, &error));
        told.and_then(|()| self.limit(&set))
            .inspect_err(|_| self.set_back(volume))
    }

    /// Passes if nobody uses the volume; else says who does, and why the settings wait for them.
    fn check_unused(&self, volume: &Volume, settings: &[UnusedOnly]) -> Result<(), ControlError> {
        let sessions = self.sessions_of(volume)?;
        let report = self.report(volume)?;
        let sessions: Vec<_> = sessions
            .iter()
            .map(|session| format!("{} from {}", session.initiator, session.address))
            .collect();
        let mut registrations: Vec<_> = report
            .state
            .registrations()
            .map(|(nexus, own)| format!("{} of {}", reservation_views::key(own.key), name(nexus)))
            .collect();
        registrations.sort_unstable();
        if sessions.is_empty() && registrations.is_empty() {
            return Ok(());
        }
        let users: Vec<_> = [("session", sessions), ("registration", registrations)]
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(what, list)| counted(what, &list))
            .collect();
        let reasons: Vec<_> = settings
            .iter()
            .map(|setting| format!("{} {}", setting.name(), setting.reason()))
            .collect();
        let message = format!(
            "is in use by {}; {}",
            users.join(" and by "),
            reasons.join("; ")
        );
        Err(volume_error(ErrorKind::Busy, &volume.name, &message)
            .expected("a volume without sessions, registrations and reservation")
            .hint(format!(
                "log the sessions out and let them unregister; `holdfast reservation clear {}` removes \
                 what a node that is gone has left",
                volume.name
            )))
    }

    /// Sets what changes only while nobody uses the volume: it is served no longer, set in the catalogue,
    /// and served again.
    fn set_unused(&self, volume: &Volume, next: VolumeSettings) -> Result<(), ControlError> {
        // The store goes on: memory keeps its content, and a disk what it knows of lost flushes. Only a
        // disk that was opened for reading has to be opened anew.
        let reopens = volume.settings.read_only && !next.read_only && is_on_disk(&volume.backend);
        let kept = if reopens {
            None
        } else {
            Some(self.stores.of(volume)?)
        };
        let serve = |volume: &Volume| match &kept {
            Some(store) => self.attach_with(volume, || Ok(store.clone())),
            None => self.attach(volume, Intent::Existing),
        };
        // Somebody may have come since the look; nobody can from here on.
        self.plane
            .detach_unused(volume.id)
            .map_err(|error| about_volume(&volume.name, &error))?;
        let set = self.catalogue.set_volume(volume, next);
        let served = match set {
            Ok(set) => serve(&set).inspect_err(|_| self.set_back(volume)),
            Err(error) => Err(error.into()),
        };
        let Err(error) = served else {
            return Ok(());
        };
        if let Err(again) = serve(volume) {
            tracing::error!(volume = %volume.name, error = %again, "the volume is not served");
            self.problems().insert(volume.id, again.message);
        }
        Err(error)
    }

    /// Has the catalogue say again what it said of a volume.
    fn set_back(&self, volume: &Volume) {
        if let Err(error) = self.catalogue.set_volume(volume, volume.settings.clone()) {
            tracing::error!(
                volume = %volume.name, %error,
                "a change of settings that failed holds from the next start"
            );
        }
    }
}

fn change_of(set: &VolumeSet) -> SettingsChange {
    SettingsChange {
        block_size: set.block_bytes,
        read_only: set.read_only,
        removable: set.removable,
        sessions_max: set.sessions_max.map(|sessions| match sessions {
            SessionsMax::Own(sessions) => Some(sessions),
            SessionsMax::Common(_) => None,
        }),
        reservation_scope: set.reservation_scope,
        limits: set.limits.change(),
    }
}

/// Whether requests reach a file or a device, which is opened for reading or for both.
fn is_on_disk(backend: &BackendSpec) -> bool {
    matches!(
        backend.innermost(),
        BackendSpec::File { .. } | BackendSpec::Block { .. }
    )
}

/// A registrant as a refusal names it.
fn name(nexus: &Nexus) -> &str {
    nexus.initiator.name()
}

/// `2 sessions (a, b)`, with the first few of `list`.
pub(super) fn counted(what: &str, list: &[String]) -> String {
    let plural = if list.len() == 1 { "" } else { "s" };
    let named = list.len().min(USERS_NAMED_MAX);
    let more = match list.len() - named {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = list[..named].join(", ");
    format!("{} {what}{plural} ({named}{more})", list.len())
}

#[cfg(test)]
mod tests;

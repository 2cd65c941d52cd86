//! The way back to a snapshot, in place.

use super::content::{failed, not_in_a_file};
use super::deleting::in_use;
use super::refusal::{about_volume, volume_error};
use super::settings::counted;
use super::{Progress, Service, reservation_views};
use crate::backend::{Draft, Intent};
use crate::control::api::{VolumeRevert, VolumeView};
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind};

/// What is said of a volume that stays as it is.
const NOT_REVERTED: &str = "can't be reverted";

impl Service {
    /// Gives a volume the content of one of its snapshots. Its size stays: what it has grown by since
    /// reads as zeros. Nobody may use it meanwhile; registrations that APTPL keeps stand afterwards, others
    /// do not.
    ///
    /// # Errors
    /// There is no such snapshot, somebody uses the volume and `force` is not set, or its content can't be
    /// had; the volume is as it was, and served if it was.
    pub fn revert_volume(
        &self,
        revert: &VolumeRevert,
        progress: &dyn Progress,
    ) -> Result<VolumeView, ControlError> {
        let turn = self.take_turn();
        let name = &revert.name;
        let (volume, snapshot) = self.find_snapshot(name, &revert.to)?;
        let _occupied = self.work.occupy(name.as_str(), name, "is being reverted")?;
        let served = !self.problems().contains_key(&volume.id);
        if served && !revert.force {
            self.check_nobody_uses(&volume)?;
        }
        let (file, draft) = self
            .stores
            .file(&volume)
            .zip(self.stores.draft_file(&volume))
            .ok_or_else(|| not_in_a_file(&volume))?;
        drop(turn);
        // The long part comes first: until its file is whole the volume is served as ever.
        let from = self.open_snapshot(&volume, &snapshot)?;
        let draft = Draft::create(&draft).map_err(|error| failed(&volume, NOT_REVERTED, &error))?;
        let filled = self.fill(&volume, &draft, &from, revert.copy, progress);
        filled.map_err(|error| failed(&volume, NOT_REVERTED, &error))?;
        let sized = draft.set_length(volume.size_bytes);
        sized.map_err(|error| failed(&volume, NOT_REVERTED, &error))?;
        let _turn = self.take_turn();
        if served && revert.force {
            self.end_service(&volume, true)?;
        } else if served {
            // Somebody may have come meanwhile.
            self.plane
                .detach_unused(volume.id)
                .map_err(|error| about_volume(name, &error))?;
        }
        let replaced = draft
            .replace(&file)
            .map_err(|error| failed(&volume, NOT_REVERTED, &error));
        let attached = self.attach(&volume, Intent::Existing);
        match &attached {
            Ok(()) => drop(self.problems().remove(&volume.id)),
            Err(error) => drop(self.problems().insert(volume.id, error.message.clone())),
        }
        replaced?;
        attached?;
        tracing::info!(volume = %name, snapshot = %revert.to, "volume reverted");
        self.view_now(&volume)
    }

    /// Passes if no session is logged in and no registration stands.
    fn check_nobody_uses(&self, volume: &Volume) -> Result<(), ControlError> {
        let sessions = self.sessions_of(volume)?;
        if !sessions.is_empty() {
            return Err(in_use(&volume.name, &sessions));
        }
        let report = self.report(volume)?;
        let registrations = report.state.registrations().map(|(nexus, own)| {
            let key = reservation_views::key(own.key);
            format!("{key} of {}", nexus.initiator.name())
        });
        let mut registrations: Vec<_> = registrations.collect();
        registrations.sort_unstable();
        if registrations.is_empty() {
            return Ok(());
        }
        let message = format!(
            "is in use by {}: whoever has registered means to come back to the content that there is",
            counted("registration", &registrations)
        );
        Err(volume_error(ErrorKind::Busy, &volume.name, &message)
            .expected("a volume without sessions, registrations and reservation")
            .hint(format!(
                "let them unregister, or `holdfast reservation clear {}`; --force reverts it all the same, \
                 and only registrations that APTPL keeps stand then",
                volume.name
            )))
    }
}

//! What happens to the files of volumes behind the server's back, while it serves them.
//!
//! A volume whose file was cut is served no more: hosts would read zeros where their data was. One whose
//! file was removed goes on, because its content lives for as long as the file is open, and only so; it is
//! said loudly. Other volumes notice neither.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use super::Service;
use crate::backend::Harm;
use crate::control::catalogue::Volume;
use crate::volume::VolumeId;

impl Service {
    /// Looks whether every file of a volume is there and as large as it should be.
    pub fn look_after_files(&self) {
        for volume in self.catalogue.model().live_volumes() {
            let Some(harm) = self.harm_of(volume) else {
                continue;
            };
            match harm {
                Harm::Cut { .. } => self.end_of_cut(volume),
                Harm::Removed => self.note_removed(volume),
            }
        }
    }

    /// What is to be said of a volume whose file was removed.
    pub(super) fn orphan_warning(&self, volume: &Volume) -> Option<String> {
        self.orphaned().contains(&volume.id).then(|| {
            "its file has been removed while it was served: its content is there until the server stops, \
             and gone then; copy it at a host that is logged in, and keep the server running until that is \
             done"
                .to_owned()
        })
    }

    fn harm_of(&self, volume: &Volume) -> Option<Harm> {
        self.stores.of(volume).ok()?.look_after().err()
    }

    /// Ends the service of a volume whose file was cut.
    fn end_of_cut(&self, volume: &Volume) {
        let _turn = self.take_turn();
        // A revert may have put another file in its place, or somebody deleted it.
        let harm = self
            .catalogue
            .volume(&volume.name)
            .and_then(|now| self.harm_of(&now));
        let Some(harm @ Harm::Cut { .. }) = harm else {
            return;
        };
        let file = self.stores.file(volume).unwrap_or_default();
        let problem = format!(
            "{harm}: {} was cut while it was served, so it is served no more, for hosts would read zeros \
             where their data was. Put back a copy of the file and start the server again, revert it to a \
             snapshot, or delete the volume",
            file.display()
        );
        tracing::error!(volume = %volume.name, problem, "the volume is not served any more");
        if let Err(error) = self.plane.detach_volume(volume.id, true) {
            tracing::error!(volume = %volume.name, %error, "it could not be taken away from its users");
            return;
        }
        self.problems().insert(volume.id, problem);
    }

    fn note_removed(&self, volume: &Volume) {
        if self.orphaned().insert(volume.id) {
            let file = self.stores.file(volume).unwrap_or_default();
            tracing::error!(
                volume = %volume.name, file = %file.display(),
                "the volume's file has been removed; its content is gone when the server stops"
            );
        }
    }

    fn orphaned(&self) -> MutexGuard<'_, BTreeSet<VolumeId>> {
        // Each use is one insertion or look-up: a panic can't leave the set half changed.
        self.orphaned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Images that are written from volumes and snapshots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content::{failed, not_in_a_file};
use super::deleting::in_use;
use super::long_work::LongWork;
use super::refusal::{about_volume, volume_error};
use super::{Progress, Service};
use crate::backend::{BackendSpec, Draft};
use crate::control::api::{ExportView, ImageFormat, ProgressView, VolumeExport};
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind, with_sources};
use crate::control::image::{self, Conversion, ImageError};
use crate::control::plane::PlaneError;
use crate::target::{Company, HoldPlan};
use crate::volume::VolumeName;

/// How long a volume that nobody uses may be kept from its users while it is exported.
const EXPORT_HOLD_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What is said of a volume of which there is no image.
const NOT_EXPORTED: &str = "can't be exported";

impl Service {
    /// Writes a snapshot, or a volume that nobody uses, to an image.
    ///
    /// A snapshot's image has the content of its one instant. A volume's has all that was acknowledged: no
    /// session may be logged in, and none can log in before it is written.
    ///
    /// # Errors
    /// There is no such volume or snapshot, sessions are logged in, the file is there already, or it can't
    /// be written; no part of it stays.
    pub fn export_volume(
        &self,
        export: &VolumeExport,
        progress: &dyn Progress,
    ) -> Result<ExportView, ControlError> {
        let name = &export.name;
        let turn = self.take_turn();
        let (volume, from, size_bytes, what) = match &export.snapshot {
            Some(snapshot) => {
                let (volume, snapshot) = self.find_snapshot(name, snapshot)?;
                let file = self.open_snapshot(&volume, &snapshot)?.path().to_owned();
                let what = format!("{name}@{}", snapshot.name);
                (volume, file, snapshot.size_bytes, what)
            }
            None => {
                let volume = self.find_free(name)?;
                let (file, size_bytes) = (place_of(self, &volume)?, volume.size_bytes);
                (volume, file, size_bytes, name.to_string())
            }
        };
        let _occupied = self.work.occupy(&what, name, "is being exported")?;
        drop(turn);
        let path = &export.image.path;
        let draft = create_beside(&volume, path)?;
        let conversion = Conversion {
            from,
            from_format: ImageFormat::Raw,
            to: draft.path().to_owned(),
            to_format: export.image.format,
            target_is_zero: false,
        };
        let mut go_on = of_image("export", name, size_bytes, &self.work, progress);
        let mut write = || image::convert(&conversion, &mut go_on);
        let written = match export.snapshot {
            Some(_) => write(),
            None => self.while_unused(&volume, &mut write)?,
        };
        written.map_err(|error| image_error(name, &error))?;
        draft
            .place(path)
            .map_err(|error| failed(&volume, NOT_EXPORTED, &error))?;
        let file_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        tracing::info!(volume = %name, path = %path.display(), "image written");
        Ok(ExportView {
            volume: name.to_string(),
            snapshot: export.snapshot.as_ref().map(ToString::to_string),
            path: path.clone(),
            format: export.image.format,
            size_bytes,
            file_bytes,
        })
    }

    /// Does something while nobody uses a volume, and nobody can.
    fn while_unused<T>(
        &self,
        volume: &Volume,
        work: &mut dyn FnMut() -> T,
    ) -> Result<T, ControlError> {
        if self.problems().contains_key(&volume.id) {
            // It is not served, so nobody can use it.
            return Ok(work());
        }
        let plan = HoldPlan {
            limit: EXPORT_HOLD_MAX,
            company: Company::Nobody,
        };
        let mut done = None;
        let held = self
            .plane
            .at_one_instant(&[volume.id], plan, &mut || done = Some(work()));
        held.map_err(|error| match error {
            PlaneError::InUse { .. } => self.used(volume).hint(format!(
                "log the sessions out, or take a snapshot and export that: `holdfast volume export {}@NAME`",
                volume.name
            )),
            error => about_volume(&volume.name, &error),
        })?;
        done.ok_or_else(|| volume_error(ErrorKind::Failed, &volume.name, "could not be held"))
    }

    fn used(&self, volume: &Volume) -> ControlError {
        let sessions = self.sessions_of(volume).unwrap_or_default();
        in_use(&volume.name, &sessions)
    }
}

/// What a conversion tells, and whether it is to go on.
pub(super) fn of_image<'a>(
    task: &'static str,
    volume: &'a VolumeName,
    total_bytes: u64,
    work: &'a LongWork,
    progress: &'a dyn Progress,
) -> impl FnMut(f64) -> bool + 'a {
    move |percent| {
        let heard = progress.report(&ProgressView {
            task: task.to_owned(),
            volume: volume.to_string(),
            percent,
            total_bytes,
        });
        heard && !work.is_stopping()
    }
}

/// What went wrong with an image.
pub(super) fn image_error(volume: &VolumeName, error: &ImageError) -> ControlError {
    let kind = match error {
        ImageError::File { .. } | ImageError::Refers { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Failed,
    };
    let refused = volume_error(
        kind,
        volume,
        &format!("can't have that image: {}", with_sources(error)),
    );
    match error {
        ImageError::NoQemuImg => {
            refused.hint("install it where the server runs: `apt install qemu-utils` on Debian")
        }
        ImageError::Refers { path, .. } => {
            refused.expected("an image that stands alone").hint(format!(
                "if you trust it, make one of it: `qemu-img convert -O qcow2 {} NEW`",
                path.display()
            ))
        }
        _ => refused,
    }
}

/// Where a volume's bytes are, for a program that reads files.
fn place_of(service: &Service, volume: &Volume) -> Result<PathBuf, ControlError> {
    match volume.backend.innermost() {
        BackendSpec::Block { path } => Ok(path.clone()),
        _ => service
            .stores
            .file(volume)
            .ok_or_else(|| not_in_a_file(volume)),
    }
}

/// A file for its owner alone that is to become `path`; nothing may be there.
fn create_beside(volume: &Volume, path: &Path) -> Result<Draft, ControlError> {
    let refused = |message: &str| volume_error(ErrorKind::Invalid, &volume.name, message);
    if !path.is_absolute() {
        return Err(refused("has a relative path to export to").expected("an absolute path"));
    }
    if path.symlink_metadata().is_ok() {
        let message = format!("can't be exported to {}: it exists already", path.display());
        return Err(volume_error(ErrorKind::Exists, &volume.name, &message)
            .hint("remove it, or name another file"));
    }
    let Some(name) = path.file_name() else {
        return Err(refused("has no file to export to").expected("a file's path"));
    };
    let mut draft = name.to_owned();
    draft.push(".part");
    Draft::create(&path.with_file_name(draft)).map_err(|error| failed(volume, NOT_EXPORTED, &error))
}

//! Volumes that are filled when they are made: from a snapshot, or from an image.
//!
//! The catalogue has the volume as unfinished until all of it is there, so that neither a failure nor a
//! crash leaves half a volume. The turn is not held meanwhile; the name is.

use std::path::Path;

use super::content::failed;
use super::images::{image_error, of_image};
use super::refusal::volume_error;
use super::volumes::wrappers_of;
use super::{Progress, Service};
use crate::backend::{BackendSpec, ContentError, Draft, Intent, Source};
use crate::control::api::{
    BackendKind, Image, ImageFormat, VolumeCreate, VolumeSource, VolumeView,
};
use crate::control::catalogue::{Volume, own_file};
use crate::control::error::{ControlError, ErrorKind};
use crate::control::image::{self, Conversion};
use crate::volume::{BlockSize, GroupName};

/// What a volume is filled with, looked at.
enum Content {
    Snapshot {
        of: Box<Volume>,
        from: Source,
        copy: bool,
    },
    Image(Image),
}

/// What follows for the volume from what it is filled with.
struct Filling {
    content: Content,
    /// Bytes that it has.
    bytes: u64,
    block_size: BlockSize,
    group: Option<GroupName>,
}

impl Service {
    /// Makes a volume, fills it, and serves it.
    pub(super) fn create_filled(
        &self,
        create: &VolumeCreate,
        source: &VolumeSource,
        progress: &dyn Progress,
    ) -> Result<VolumeView, ControlError> {
        let name = &create.name;
        check_place(create)?;
        let wrappers = wrappers_of(create)?;
        let turn = self.take_turn();
        let _occupied = self.work.occupy(name.as_str(), name, "is being made")?;
        // A snapshot that is read stays as long as that.
        let _source = match source {
            VolumeSource::Snapshot {
                volume, snapshot, ..
            } => {
                let what = format!("{volume}@{snapshot}");
                Some(
                    self.work
                        .occupy(&what, volume, "has a snapshot that is being read")?,
                )
            }
            VolumeSource::Image(_) => None,
        };
        let filling = self.look_at(create, source)?;
        let mut settings = self.settings_of(create);
        settings.block_size = filling.block_size;
        let block_bytes = u64::from(settings.block_size.bytes());
        let least_bytes = filling.bytes.next_multiple_of(block_bytes);
        let size_bytes = create.size_bytes.unwrap_or(least_bytes);
        if size_bytes < least_bytes {
            let message = format!(
                "can't have {size_bytes} bytes: its source has {}",
                filling.bytes
            );
            return Err(volume_error(ErrorKind::Invalid, name, &message)
                .expected(format!("at least {least_bytes} bytes, or no size")));
        }
        let group = match (&create.group, filling.group) {
            (Some(group), _) => group.clone(),
            (None, Some(group)) => group,
            (None, None) => super::first_start::default_group()?,
        };
        let volume =
            self.catalogue
                .begin_volume(name.clone(), &group, size_bytes, settings, |id| {
                    let store = BackendSpec::File { path: own_file(id) };
                    wrappers.into_iter().fold(store, BackendSpec::wrapped)
                })?;
        drop(turn);
        let filled = self.fill_new(&volume, &filling.content, progress);
        let _turn = self.take_turn();
        if let Err(error) = filled.and_then(|()| self.attach(&volume, Intent::Existing)) {
            self.discard_unfinished(&volume)?;
            return Err(error);
        }
        self.finish(&volume)?;
        tracing::info!(
            volume = %volume.name, id = %volume.id, bytes = volume.size_bytes,
            iqn = %volume.target_name, "volume created and filled"
        );
        self.view_now(&volume)
    }

    fn look_at(
        &self,
        create: &VolumeCreate,
        source: &VolumeSource,
    ) -> Result<Filling, ControlError> {
        match source {
            VolumeSource::Snapshot {
                volume,
                snapshot,
                copy,
            } => {
                let (of, snapshot) = self.find_snapshot(volume, snapshot)?;
                let from = self.open_snapshot(&of, &snapshot)?;
                Ok(Filling {
                    bytes: snapshot.size_bytes,
                    // Its content is addressed by these.
                    block_size: of.settings.block_size,
                    group: Some(of.group.clone()),
                    content: Content::Snapshot {
                        of: Box::new(of),
                        from,
                        copy: *copy,
                    },
                })
            }
            VolumeSource::Image(image) => {
                let bytes = image::inspect(&image.path, image.format);
                let bytes = bytes.map_err(|error| image_error(&create.name, &error))?;
                Ok(Filling {
                    content: Content::Image(image.clone()),
                    bytes,
                    block_size: create.block_bytes,
                    group: None,
                })
            }
        }
    }

    /// Makes a new volume's file with its content, durably.
    fn fill_new(
        &self,
        volume: &Volume,
        content: &Content,
        progress: &dyn Progress,
    ) -> Result<(), ControlError> {
        let file = self.catalogue.directory().join(own_file(volume.id));
        let made = Draft::create(&file);
        let draft = made.map_err(|error| failed(volume, "can't be made", &error))?;
        match content {
            Content::Snapshot { of, from, copy } => {
                let filled = self.fill(volume, &draft, from, *copy, progress);
                filled.map_err(|error| {
                    let what = format!("can't be filled from a snapshot of {}", of.name);
                    failed(volume, &what, &error)
                })?;
                self.finish_file(volume, draft)
            }
            Content::Image(image) => {
                let sized = draft.set_length(volume.size_bytes);
                sized.map_err(|error| failed(volume, "can't be made", &error))?;
                self.import(volume, image, draft.path(), progress)?;
                self.finish_file(volume, draft)
            }
        }
    }

    fn finish_file(&self, volume: &Volume, draft: Draft) -> Result<(), ControlError> {
        let finish = || -> Result<(), ContentError> {
            draft.set_length(volume.size_bytes)?;
            draft.keep()
        };
        finish().map_err(|error| failed(volume, "can't be made", &error))
    }

    fn import(
        &self,
        volume: &Volume,
        image: &Image,
        to: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ControlError> {
        let conversion = Conversion {
            from: image.path.clone(),
            from_format: image.format,
            to: to.to_owned(),
            to_format: ImageFormat::Raw,
            target_is_zero: true,
        };
        let mut go_on = of_image(
            "import",
            &volume.name,
            volume.size_bytes,
            &self.work,
            progress,
        );
        let converted = image::convert(&conversion, &mut go_on);
        converted.map_err(|error| image_error(&volume.name, &error))
    }
}

/// A volume that is filled has a file of its own.
fn check_place(create: &VolumeCreate) -> Result<(), ControlError> {
    if create.backend == BackendKind::File && create.path.is_none() {
        return Ok(());
    }
    let message = "can't be filled when it is made, unless it has a file of its own";
    Err(volume_error(ErrorKind::Invalid, &create.name, message)
        .expected("the backend `file`, and no path"))
}

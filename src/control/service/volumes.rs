//! Create, list, show and resize volumes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use super::refusal::{about_volume, volume_error};
use super::{Progress, Service, drains, views};
use crate::backend::{BackendSpec, Intent, Wrapper, check_wrappers};
use crate::control::api::{
    BackendKind, VolumeCreate, VolumeList, VolumeResize, VolumeSelect, VolumeView,
};
use crate::control::catalogue::{KeptDrain, Volume, own_file};
use crate::control::error::{ControlError, ErrorKind};
use crate::target::{IdentityInfo, SessionInfo};
use crate::volume::{LimitSettings, VolumeSettings};

impl Service {
    /// All volumes that are there, or all that are deleted and can be restored, by name.
    ///
    /// # Errors
    /// The catalogue can't be read, or the data path did not answer.
    pub fn list_volumes(&self, list: VolumeList) -> Result<Vec<VolumeView>, ControlError> {
        let now = self.presence()?;
        let model = self.catalogue.model();
        let mut views: Vec<_> = model
            .volumes()
            .filter(|volume| volume.is_live() != list.deleted)
            .map(|volume| self.view(volume, &now))
            .collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none, or the data path did not answer.
    pub fn show_volume(&self, select: &VolumeSelect) -> Result<VolumeView, ControlError> {
        let volume = self.find(&select.name)?;
        let before = self.glance_at(volume.id);
        let mut view = self.view(&volume, &self.presence()?);
        view.limits = self.limits_view(&volume, before.as_ref());
        Ok(view)
    }

    /// Makes a volume and serves it.
    ///
    /// # Errors
    /// A parameter is wrong, a limit is reached, or the backend refused; nothing has changed then.
    pub fn create_volume(
        &self,
        create: &VolumeCreate,
        progress: &dyn Progress,
    ) -> Result<VolumeView, ControlError> {
        if let Some(source) = &create.source {
            return self.create_filled(create, source, progress);
        }
        let _turn = self.take_turn();
        self.create_volume_in_turn(create)
    }

    pub(super) fn create_volume_in_turn(
        &self,
        create: &VolumeCreate,
    ) -> Result<VolumeView, ControlError> {
        let chosen = chosen_backend(create)?;
        let size_bytes = size_of(create)?;
        let group = match &create.group {
            Some(group) => group.clone(),
            None => super::first_start::default_group()?,
        };
        let settings = self.settings_of(create);
        let wrappers = wrappers_of(create)?;
        self.work.check_free(create.name.as_str(), &create.name)?;
        let backend = |id| {
            let store = chosen.unwrap_or(BackendSpec::File { path: own_file(id) });
            wrappers.into_iter().fold(store, BackendSpec::wrapped)
        };
        // The catalogue knows first, so that a crash leaves no file that nobody knows.
        let name = create.name.clone();
        let volume = self
            .catalogue
            .begin_volume(name, &group, size_bytes, settings, backend)?;
        if let Err(error) = self.attach(&volume, Intent::Create) {
            self.discard_unfinished(&volume)?;
            return Err(error);
        }
        self.finish(&volume)?;
        tracing::info!(
            volume = %volume.name, id = %volume.id, bytes = volume.size_bytes,
            iqn = %volume.target_name, "volume created"
        );
        Ok(self.view(&volume, &Presence::default()))
    }

    /// Keeps a volume that is served and has its content.
    pub(super) fn finish(&self, volume: &Volume) -> Result<(), ControlError> {
        if let Err(error) = self.catalogue.finish_volume(volume) {
            // It is not there after a restart, so it must not be here now.
            self.plane.detach_volume(volume.id, true)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// The settings that `create` asks for.
    pub(super) fn settings_of(&self, create: &VolumeCreate) -> VolumeSettings {
        VolumeSettings {
            block_size: create.block_bytes,
            read_only: create.read_only,
            removable: create.removable,
            sessions_max: create.sessions_max,
            reservation_scope: create
                .reservation_scope
                .unwrap_or(self.catalogue.policy().settings.reservation_scope),
            limits: LimitSettings::default().changed_by(&create.limits.change()),
        }
    }

    /// Grows a volume online. To its present size, it tells initiators once more.
    ///
    /// # Errors
    /// There is none, the size can't be, or the backend can't grow: the size is then as before.
    /// Where only the data path did not answer, the volume has grown, and the same call again tells
    /// initiators.
    pub fn resize_volume(&self, resize: &VolumeResize) -> Result<VolumeView, ControlError> {
        let _turn = self.take_turn();
        let VolumeResize { name, size_bytes } = resize;
        let volume = self.find_free(name)?;
        self.catalogue.check_resize(&volume, *size_bytes)?;
        // Store, catalogue, initiators, in this order: nobody is told of a size that a restart
        // could take away, and the catalogue never holds one that the store has not.
        self.stores.grow(&volume, *size_bytes)?;
        let grown = self.catalogue.resize_volume(&volume, *size_bytes)?;
        self.plane
            .grow_volume(grown.id, grown.size_bytes)
            .map_err(|error| about_volume(&grown.name, &error))?;
        self.limit(&grown)?;
        tracing::info!(volume = %grown.name, bytes = grown.size_bytes, "volume grown");
        Ok(self.view(&grown, &self.presence()?))
    }

    /// A volume as it is at this moment.
    pub(super) fn view_now(&self, volume: &Volume) -> Result<VolumeView, ControlError> {
        Ok(self.view(volume, &self.presence()?))
    }

    /// Who is there now.
    pub(super) fn presence(&self) -> Result<Presence, ControlError> {
        Ok(Presence {
            sessions: self.plane.sessions()?,
            identities: self.plane.identities()?,
            drains: self.catalogue.drains()?,
        })
    }

    pub(super) fn view(&self, volume: &Volume, presence: &Presence) -> VolumeView {
        let Presence {
            sessions,
            identities,
            drains,
        } = presence;
        let sessions = sessions.iter();
        let of_volume = sessions.filter(|session| session.volume == Some(volume.id));
        let sessions: Vec<_> = of_volume.cloned().collect();
        views::volume(views::Volume {
            record: volume,
            common: &self.catalogue.policy().settings,
            data: self.catalogue.directory(),
            route: self.stores.route(volume.id),
            problem: self.problems().get(&volume.id).cloned(),
            warning: self.orphan_warning(volume),
            sessions: &sessions,
            sessions_max: self.sessions_max(volume),
            identity: identities.iter().find(|known| known.volume == volume.id),
            portals: self.portals(),
            drains: drains::warnings(drains, volume.id),
            limits: self.limits_view(volume, None),
        })
    }
}

/// Who is logged in, and whom the volumes know.
#[derive(Default)]
pub(super) struct Presence {
    sessions: Vec<SessionInfo>,
    identities: Vec<IdentityInfo>,
    drains: Vec<KeptDrain>,
}

/// The backend that `create` asks for; `None`: a file of the volume's own.
fn chosen_backend(create: &VolumeCreate) -> Result<Option<BackendSpec>, ControlError> {
    let refused = |message: &str| volume_error(ErrorKind::Invalid, &create.name, message);
    Ok(match (create.path.clone(), create.backend) {
        (Some(path), BackendKind::File | BackendKind::Block) if !path.is_absolute() => {
            return Err(refused("has a relative path").expected("an absolute path"));
        }
        (Some(path), BackendKind::File) => Some(BackendSpec::File { path }),
        (None, BackendKind::File) => None,
        (Some(path), BackendKind::Block) => Some(BackendSpec::Block { path }),
        (None, BackendKind::Block) => {
            return Err(refused("has no device").expected("--path, such as --path /dev/nvme0n1"));
        }
        (Some(_), BackendKind::Ram | BackendKind::Null) => {
            return Err(refused("has a path").expected("no path: memory and null need none"));
        }
        (None, BackendKind::Ram) => Some(BackendSpec::Ram {}),
        (None, BackendKind::Null) => Some(BackendSpec::Null {}),
    })
}

/// What `create` puts before its backend, the innermost first.
pub(super) fn wrappers_of(create: &VolumeCreate) -> Result<Vec<Wrapper>, ControlError> {
    let mut wrappers = create.test_wrappers.clone();
    if create.delay_us > 0 {
        let delay = Duration::from_micros(create.delay_us);
        wrappers.push(Wrapper::constant_delay(delay));
    }
    check_wrappers(&wrappers).map_err(|error| {
        let message = format!("can't have such a backend: {error}");
        volume_error(ErrorKind::Invalid, &create.name, &message)
    })?;
    Ok(wrappers)
}

/// The size that `create` asks for, or that of its device.
fn size_of(create: &VolumeCreate) -> Result<u64, ControlError> {
    match (create.size_bytes, create.backend, &create.path) {
        (Some(size_bytes), ..) => Ok(size_bytes),
        (None, BackendKind::Block, Some(path)) => device_bytes(path).map_err(|error| {
            let message = format!("can't use {}: {error}", path.display());
            volume_error(ErrorKind::Invalid, &create.name, &message)
        }),
        // The backend's own refusal tells more.
        (None, BackendKind::Block, None) => Ok(0),
        (None, ..) => Err(
            volume_error(ErrorKind::Invalid, &create.name, "has no size")
                .expected("a size, such as --size 1GiB"),
        ),
    }
}

fn device_bytes(path: &Path) -> io::Result<u64> {
    let mut device = File::open(path)?;
    if !device.metadata()?.file_type().is_block_device() {
        return Err(io::Error::other("it is no block device"));
    }
    device.seek(SeekFrom::End(0))
}

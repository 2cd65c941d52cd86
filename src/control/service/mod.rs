//! The operations of the control plane, whoever asks for them.
//!
//! The order within a change is what keeps a crash harmless: what an initiator may come to rely on
//! is durable in the catalogue first, and what it relied on goes from the catalogue last.

mod content;
mod deleting;
mod drains;
#[cfg(test)]
pub(crate) mod fake;
mod first_start;
mod followers;
mod groups;
mod harm;
mod images;
mod limits;
mod long_work;
mod monitoring;
mod refusal;
pub(super) mod reservation_views;
mod reservations;
mod reverting;
mod settings;
mod snapshots;
mod sources;
mod stores;
mod upgrade;
mod views;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use crossbeam_channel::Sender;

use self::followers::Followers;
use self::limits::LimitBook;
use self::long_work::LongWork;
use self::refusal::{about_volume, volume_error};
use self::stores::Stores;
use super::api::{EventKind, ServerStatus, SessionList, SessionView};
use super::audit::Audit;
use super::catalogue::{Catalogue, CatalogueError, KeptHistory, Volume, has_own_file};
use super::error::{ControlError, ErrorKind};
use super::events::{Event, EventLog};
use super::plane::{DataPlane, PlaneError, VolumeConfig};
use super::succession::Predecessor;
use crate::backend::{Bequest, Intent, Means, Store, Workers};
use crate::base::clock::Instant;
use crate::volume::{VolumeId, VolumeName};

pub use self::first_start::GROUP_DEFAULT;
pub use self::long_work::{Progress, Unheard};

/// What the operations need of the configuration, beside the catalogue's policy.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSettings {
    /// Registrations that one volume holds.
    pub registrations_max: u32,
    /// How many reactors run.
    pub reactors: usize,
    /// What of the machine the volumes' stores may use.
    pub means: Means,
    /// How long sessions have to log out before they are dropped.
    pub logout_timeout: Duration,
}

/// Why the server is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked over the control socket.
    Request,
    /// The process got that signal.
    Signal(i32),
    /// Another process serves in its place.
    Succeeded,
}

/// The operations. Every call may block; changes take turns.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub struct Service {
    catalogue: Arc<Catalogue>,
    plane: Arc<dyn DataPlane>,
    settings: ServiceSettings,
    stop: Sender<StopReason>,
    /// `ADDR:PORT` of each portal as initiators are to reach it; set when they are open.
    portals: OnceLock<Vec<String>>,
    /// Opens stores, and knows those that are open.
    stores: Stores,
    /// Held during a change, so that changes take turns.
    turn: Mutex<()>,
    /// How a successor is started; set when all is served.
    predecessor: OnceLock<Predecessor>,
    /// Held during an upgrade, beside the turn.
    upgrading: Mutex<()>,
    /// Set when another process serves: the thread that has to tell of it.
    departed: OnceLock<ThreadId>,
    /// Who waits for something to happen.
    followers: Followers,
    /// What happened.
    events: Arc<EventLog>,
    /// Where changes are written down, if anywhere.
    audit: OnceLock<Arc<Audit>>,
    /// The server drains.
    stopping: AtomicBool,
    /// Why volumes are not served, of those that are not.
    problems: Mutex<BTreeMap<VolumeId, String>>,
    /// What the data path keeps of limits.
    limit_book: Mutex<LimitBook>,
    /// What takes minutes.
    work: LongWork,
    /// Volumes whose files were removed while they are served.
    orphaned: Mutex<BTreeSet<VolumeId>>,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl Service {
    /// The operations on a catalogue and a data path. `workers` do for stores what blocks; a
    /// request to stop goes to `stop`.
    #[must_use]
    pub fn new(
        catalogue: Arc<Catalogue>,
        plane: Arc<dyn DataPlane>,
        settings: ServiceSettings,
        workers: Arc<Workers>,
        stop: Sender<StopReason>,
    ) -> Self {
        let stores = Stores::new(catalogue.directory(), workers, settings.means);
        Self {
            catalogue,
            plane,
            settings,
            stop,
            portals: OnceLock::new(),
            stores,
            turn: Mutex::new(()),
            predecessor: OnceLock::new(),
            upgrading: Mutex::new(()),
            departed: OnceLock::new(),
            followers: Followers::default(),
            events: Arc::default(),
            audit: OnceLock::new(),
            stopping: AtomicBool::new(false),
            problems: Mutex::new(BTreeMap::new()),
            limit_book: Mutex::new(LimitBook::default()),
            work: LongWork::default(),
            orphaned: Mutex::new(BTreeSet::new()),
        }
    }

    /// Serves every volume of the catalogue; on the first start, makes one. `unfinished` volumes,
    /// which nobody was told of, are removed.
    ///
    /// A volume that can't be served is logged and shown as failed; the others are served
    /// nevertheless.
    ///
    /// # Errors
    /// The catalogue failed, or the first volume can't be made.
    pub fn open(&self, unfinished: &[Volume]) -> Result<(), ControlError> {
        let _turn = self.take_turn();
        for volume in unfinished {
            tracing::info!(volume = %volume.name, "removing a volume that was never finished");
            self.discard_unfinished(volume)?;
        }
        for (name, why) in self.catalogue.unreadable() {
            tracing::error!(
                volume = name,
                why,
                "the volume's row can't be read and the volume is not served; stop the server and \
                 see `holdfast repair`"
            );
        }
        self.discard_unfinished_snapshots()?;
        for volume in self.catalogue.model().live_volumes() {
            self.stores.discard_draft(volume);
            if let Err(error) = self.attach(volume, Intent::Existing) {
                tracing::error!(volume = %volume.name, %error, "the volume is not served");
                let event = Event::new(EventKind::VolumeFailed, &error.message);
                self.events.note(event.of_volume(volume.name.to_string()));
                self.problems().insert(volume.id, error.message);
            }
        }
        // Before any portal opens.
        self.restore_drains()?;
        self.make_first_volume()
    }

    /// Leaves to the stores what another process has of them, before [`Service::open`].
    pub fn inherit(&self, stores: BTreeMap<VolumeId, Bequest>) {
        self.stores.inherit(stores);
    }

    /// The name of a volume, for people.
    #[must_use]
    pub fn name_of(&self, id: VolumeId) -> String {
        let model = self.catalogue.model();
        let name = model.volume(id).map(|volume| volume.name.to_string());
        name.unwrap_or_else(|_| id.to_string())
    }

    /// Why volumes are not served, of those that are not.
    #[must_use]
    pub fn unserved(&self) -> BTreeMap<VolumeId, String> {
        self.problems().clone()
    }

    /// Says how initiators reach the portals, once they are open.
    pub fn set_portals(&self, portals: Vec<String>) {
        // Set once, by the server's start; a second time would change nothing.
        let _ = self.portals.set(portals);
    }

    /// Sessions that are logged in.
    ///
    /// # Errors
    /// There is no such volume, or the data path did not answer.
    pub fn list_sessions(&self, list: &SessionList) -> Result<Vec<SessionView>, ControlError> {
        let wanted = match &list.volume {
            Some(name) => Some(self.find(name)?.id),
            None => None,
        };
        let model = self.catalogue.model();
        let now = Instant::now();
        let sessions = self.plane.sessions()?;
        let identities = self.plane.identities()?;
        let chosen = sessions
            .iter()
            .filter(|session| wanted.is_none() || session.volume == wanted);
        Ok(chosen
            .map(|session| views::session(session, &model, &identities, now))
            .collect())
    }

    /// The server itself.
    ///
    /// # Errors
    /// The data path did not answer.
    pub fn status(&self) -> Result<ServerStatus, ControlError> {
        Ok(ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            san: self.catalogue.policy().san.to_string(),
            data: self.catalogue.directory().to_owned(),
            portals: self.portals(),
            reactors: self.settings.reactors,
            volumes: self.catalogue.model().live_volumes().count(),
            sessions: self.plane.sessions()?.len(),
        })
    }

    /// Ends long work at its next step; it leaves nothing behind.
    pub fn stop_work(&self) {
        self.work.stop();
    }

    /// Asks the server to drain and stop; returns at once.
    pub fn stop(&self) {
        // A full channel means that somebody has asked already.
        let _ = self.stop.try_send(StopReason::Request);
    }

    fn portals(&self) -> Vec<String> {
        self.portals.get().cloned().unwrap_or_default()
    }

    fn take_turn(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data, so a panic of its holder left nothing half done.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.unless_departed(turn)
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<VolumeId, String>> {
        // Each use is one insertion, removal or look-up: a panic can't leave the map half changed.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volume of that name, unless it is deleted.
    fn find(&self, name: &VolumeName) -> Result<Volume, ControlError> {
        let volume = self.find_kept(name)?;
        match volume.is_live() {
            true => Ok(volume),
            false => Err(deleting::deleted(&volume)),
        }
    }

    /// The same, if no long work is under way with it.
    fn find_free(&self, name: &VolumeName) -> Result<Volume, ControlError> {
        let volume = self.find(name)?;
        self.work.check_free(name.as_str(), name)?;
        Ok(volume)
    }

    /// The volume of that name, deleted or not.
    fn find_kept(&self, name: &VolumeName) -> Result<Volume, ControlError> {
        self.catalogue.volume(name).ok_or_else(|| {
            volume_error(ErrorKind::NotFound, name, "does not exist")
                .hint("`holdfast volume list` shows the volumes")
        })
    }

    /// Opens a volume's store and serves it.
    fn attach(&self, volume: &Volume, intent: Intent) -> Result<(), ControlError> {
        self.attach_with(volume, || self.stores.open(volume, intent))
    }

    /// Serves a volume from the store that `open` gives.
    fn attach_with(
        &self,
        volume: &Volume,
        open: impl FnOnce() -> Result<Arc<dyn Store>, ControlError>,
    ) -> Result<(), ControlError> {
        let history = self.catalogue.history(volume.id).unwrap_or_else(|error| {
            // It decides nothing; a volume is served without it.
            tracing::warn!(volume = %volume.name, %error, "the history starts anew");
            KeptHistory::default()
        });
        let reservation = self.catalogue.reservation(volume.id);
        let reservation = reservation.map_err(|error| match error {
            CatalogueError::Record { problem, .. } => self.unbelieved(volume, &problem.to_string()),
            error => error.into(),
        })?;
        let handed_over = self.stores.is_inherited(volume.id);
        let store = open()?;
        let settings = &volume.settings;
        let common = &self.catalogue.policy().settings;
        let config = VolumeConfig {
            id: volume.id,
            iqn: volume.target_name.to_string(),
            name: volume.name.to_string(),
            vendor: common.vendor.to_string(),
            product: common.product.to_string(),
            block_bytes: settings.block_size.bytes(),
            read_only: settings.read_only,
            removable: settings.removable,
            sessions_max: self.sessions_max(volume),
            registrations_max: self.settings.registrations_max,
            reservation_scope: settings.reservation_scope,
            store,
            access: self.catalogue.policy().access.of(&volume.group).clone(),
            reservation: Some(reservation),
            history,
            handed_over,
        };
        self.plane
            .attach_volume(config)
            .map_err(|error| match error {
                PlaneError::Reservations { reason, .. } => self.unbelieved(volume, &reason),
                error => about_volume(&volume.name, &error),
            })?;
        self.forget_limits(volume.id);
        self.limit(volume).inspect_err(|_| {
            // It is served with its limits, or not at all.
            let _ = self.plane.detach_volume(volume.id, true);
        })
    }

    /// It must never come up as "no reservation": a fenced node would write again.
    fn unbelieved(&self, volume: &Volume, why: &str) -> ControlError {
        let message = format!(
            "is not served, because its reservation record can't be believed: {why}; without it a \
             node that was fenced could write again. Stop the server and see `holdfast repair \
             --data {}`",
            self.catalogue.directory().display()
        );
        volume_error(ErrorKind::Failed, &volume.name, &message)
    }

    /// Sessions that a volume takes at once.
    fn sessions_max(&self, volume: &Volume) -> u32 {
        let common = self.catalogue.policy().settings.sessions_max;
        volume.settings.sessions_max.unwrap_or(common)
    }

    /// Removes what there is of a volume whose making came to nothing. A file that the user named
    /// stays: it may have been there before.
    fn discard_unfinished(&self, volume: &Volume) -> Result<(), ControlError> {
        if has_own_file(volume) {
            return self.discard(volume);
        }
        Ok(self.catalogue.remove_volume(volume)?)
    }

    /// Removes a volume that is not served, and its snapshots: from the catalogue first, so that no crash leaves a
    /// volume without its data.
    fn discard(&self, volume: &Volume) -> Result<(), ControlError> {
        self.catalogue.remove_volume(volume)?;
        self.problems().remove(&volume.id);
        self.forget_limits(volume.id);
        self.stores.remove(volume);
        for snapshot in &volume.snapshots {
            self.stores.remove_snapshot(volume, snapshot.id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

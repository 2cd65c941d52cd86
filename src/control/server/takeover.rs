//! The start of a server that takes another one's place: as [`Running::start`], but everything is parked
//! until the other one has let go.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::Sender;

use super::upkeep::Upkeep;
use super::watching::Prepared;
use super::{
    Running, ServeError, announce, launch_plan, means, portals, predecessor, service_settings,
};
use crate::backend::Workers;
use crate::base::clock::Instant;
use crate::base::tuning::Tuning;
use crate::control::catalogue::{Catalogue, DataDirectory};
use crate::control::config::{Config, PortalConfig};
use crate::control::plane::Launch;
use crate::control::rpc;
use crate::control::service::{Service, StopReason};
use crate::control::succession::{ChannelError, Heir, Inheritance};
use crate::target::{NotAdopted, ReservationStore, ReservationUpdate, StoreFailed};
use crate::volume::VolumeId;

/// Why a server can't take another one's place. The other one goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// It is another server's place.
    #[error(
        "the configuration names the data directory {ours}, and the server to be replaced has \
         {theirs}; expected the same configuration"
    )]
    OtherDirectory {
        /// As configured.
        ours: String,
        /// Of the one that serves.
        theirs: String,
    },
    /// The predecessor can't be understood.
    #[error("the server to be replaced: {0}")]
    Channel(#[from] ChannelError),
    /// A volume that it serves can't be served here.
    #[error("volume {volume} can't be served by the new process: {why}")]
    Volume {
        /// The volume.
        volume: String,
        /// Why.
        why: String,
    },
    /// What the data path knew can't be taken up.
    #[error("what is served can't be taken over: {0}")]
    Adoption(#[from] NotAdopted),
    /// The data path can't take over.
    #[error("this data path can't take another one's place")]
    DataPath,
}

impl Running {
    /// Takes the place of the server that `heir` has greeted. Nothing is served before that one has let
    /// go for good.
    ///
    /// # Errors
    /// See [`ServeError`]; the other server goes on.
    pub fn take_over(
        config: Config,
        tuning: Tuning,
        launch: &dyn Launch,
        stop: Sender<StopReason>,
        heir: &Heir,
    ) -> Result<Self, ServeError> {
        config.check()?;
        let policy = config.policy()?;
        check_directory(&config, heir)?;
        // What takes time and needs nothing of the other one comes before it is disturbed.
        let store = Arc::new(LaterStore::default());
        let settings = service_settings(&config, means(&tuning));
        let mut prepared = Prepared::beside(&config, heir.metrics())?;
        let plan = launch_plan(&config, tuning, store.clone(), prepared.journal());
        let plane = launch.launch(plan)?;
        let workers = Workers::start(config.reactor_count())?;
        let parked = plane.hand_over().ok_or(TakeOverError::DataPath)?;
        parked.begin_parked()?;
        let Inheritance {
            record,
            lock,
            listeners,
            metrics,
            stores,
            streams,
        } = heir.inherit().map_err(TakeOverError::Channel)?;
        let came = Instant::now();
        let directory = DataDirectory::inherited(heir.data().to_owned(), lock);
        let lock = directory.share_lock()?;
        let shared_lock = directory.share_lock()?;
        let (catalogue, unfinished) = Catalogue::open(directory, policy)?;
        let catalogue = Arc::new(catalogue);
        prepared.inherit(&config, metrics)?;
        let predecessor = predecessor(&config, &catalogue, shared_lock, &prepared)?;
        store.open(Arc::clone(&catalogue));
        let path = config.control_socket();
        let mut socket = rpc::ControlSocket::bind_beside(&path)?;
        let (listeners, addresses) = match_portals(&config.portals, listeners)?;
        let tags = catalogue.portal_tags(&portals::wanted(&config.portals))?;
        let sockets = portals::sockets(&config.portals, listeners, tags);
        let service = Service::new(catalogue.clone(), plane.clone(), settings, workers, stop);
        let service = Arc::new(service);
        let mut watching = prepared.watch(&config, &service, &catalogue)?;
        service.inherit(stores);
        let opened = Instant::now();
        service.open(&unfinished)?;
        check_volumes(&service, record.volumes())?;
        for portal in sockets {
            plane.open_portal(portal)?;
        }
        service.set_portals(announce::reachable(&config.portals, &addresses));
        parked
            .adopt(record, streams)
            .map_err(TakeOverError::Adoption)?;
        tracing::info!(
            catalogue = ?opened.since(came),
            data_path = ?Instant::now().since(opened),
            "everything is taken up"
        );
        heir.wait_for_word().map_err(TakeOverError::Channel)?;
        // From here on this process serves, and nothing that fails is a reason not to.
        parked.go_on()?;
        heir.confirm();
        let taken = socket.take_place(&path);
        let claimed = DataDirectory::claim(lock);
        let begun = watching.begin(&service, &catalogue);
        let failures = [
            taken.err().map(|error| error.to_string()),
            claimed.err().map(|error| error.to_string()),
            begun.err().map(|error| error.to_string()),
        ];
        for error in failures.into_iter().flatten() {
            tracing::error!(error, "serving, but not all is in its place");
        }
        watching.note_start(&service, Some(heir.predecessor()));
        service.set_predecessor(predecessor);
        tracing::info!(
            predecessor = heir.predecessor(),
            "serving in another process's place"
        );
        Ok(Self {
            upkeep: Upkeep::start(service.clone())?,
            rpc: rpc::Server::start(socket, service.clone())?,
            config,
            portals: addresses,
            plane,
            service,
            watching,
        })
    }
}

fn check_directory(config: &Config, heir: &Heir) -> Result<(), ServeError> {
    let ours = std::fs::canonicalize(&config.data);
    if ours.as_ref().is_ok_and(|ours| ours == heir.data()) {
        return Ok(());
    }
    let error = TakeOverError::OtherDirectory {
        ours: config.data.display().to_string(),
        theirs: heir.data().display().to_string(),
    };
    Err(error.into())
}

/// Passes if every volume that the other one serves is served here, parked.
fn check_volumes(
    service: &Service,
    served: impl Iterator<Item = VolumeId>,
) -> Result<(), ServeError> {
    let unserved = service.unserved();
    for id in served {
        if let Some(why) = unserved.get(&id) {
            let error = TakeOverError::Volume {
                volume: service.name_of(id),
                why: why.clone(),
            };
            return Err(error.into());
        }
    }
    Ok(())
}

/// The listening sockets of the configured portals: those of the other server where it had the portal,
/// new ones else.
fn match_portals(
    portals: &[PortalConfig],
    mut inherited: Vec<(SocketAddr, TcpListener)>,
) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), ServeError> {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for portal in portals {
        let listen = portal.listen.0;
        let known = inherited
            .iter()
            .position(|(configured, _)| *configured == listen);
        let (listener, address) = match known {
            Some(position) => {
                let (_, listener) = inherited.remove(position);
                let address = listener.local_addr()?;
                (listener, address)
            }
            None => portals::bind_one(listen)?,
        };
        listeners.push(listener);
        addresses.push(address);
    }
    Ok((listeners, addresses))
}

/// The store of reservations, before the catalogue is open. Nobody saves anything until then.
#[derive(Default)]
struct LaterStore(OnceLock<Arc<Catalogue>>);

impl LaterStore {
    fn open(&self, catalogue: Arc<Catalogue>) {
        // It is opened once.
        let _ = self.0.set(catalogue);
    }

    fn catalogue(&self) -> Result<&Catalogue, StoreFailed> {
        let catalogue = self.0.get().map(|catalogue| &**catalogue);
        catalogue.ok_or_else(|| StoreFailed("the catalogue is not open yet".to_owned()))
    }
}

impl ReservationStore for LaterStore {
    fn save(&self, volume: VolumeId, update: &ReservationUpdate) -> Result<(), StoreFailed> {
        self.catalogue()?.save(volume, update)
    }

    fn save_together(
        &self,
        changes: &[(VolumeId, &ReservationUpdate)],
    ) -> Vec<Result<(), StoreFailed>> {
        match self.catalogue() {
            Ok(catalogue) => catalogue.save_together(changes),
            Err(StoreFailed(why)) => {
                let failed = |_: &(VolumeId, &ReservationUpdate)| Err(StoreFailed(why.clone()));
                changes.iter().map(failed).collect()
            }
        }
    }
}

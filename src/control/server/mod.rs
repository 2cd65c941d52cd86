//! The life of a server: start, announce, run until asked to stop, drain, stop.

mod announce;
mod portals;
mod signals;
mod takeover;
mod upkeep;
mod watching;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

pub(super) use announce::reachable;
pub use portals::PortalError;
pub use takeover::TakeOverError;

use self::upkeep::Upkeep;
use self::watching::Watching;
use super::api::{VolumeList, VolumeView};
use super::audit::AuditError;
use super::catalogue::{Catalogue, CatalogueError, DataDirectory};
use super::config::{Config, ConfigError};
use super::error::ControlError;
use super::metrics::MetricsError;
use super::plane::{DataPlane, Launch, LaunchPlan, PlaneError};
use super::reload::{Host, Reading, Reloader};
use super::rpc;
use super::service::{Service, ServiceSettings, StopReason};
use super::succession::{self, Heir, Predecessor};
use crate::backend::{Means, Workers};
use crate::base::tuning::{Engine, Tuning};
use crate::ring::Ring;
use crate::target::{Journal, ReservationStore};

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration can't be used.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The data directory can't be used.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// A portal can't be opened.
    #[error("{0}")]
    Portal(#[from] PortalError),
    /// The control socket can't be opened.
    #[error("{0}")]
    Socket(#[from] rpc::SocketError),
    /// The data path can't start.
    #[error("{0}")]
    Plane(#[from] PlaneError),
    /// An operation of the start failed.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// Another server's place can't be taken.
    #[error("{0}")]
    TakeOver(#[from] TakeOverError),
    /// The metrics endpoint can't be opened.
    #[error("{0}")]
    Metrics(#[from] MetricsError),
    /// The audit log can't be opened.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The operating system refused a thread or a signal handler.
    #[error("can't start: {0}")]
    System(#[from] std::io::Error),
}

/// Serves until a signal or a request stops it; returns when everything is flushed and closed.
///
/// What it has to say to whoever started it goes to `out`: one line `listening on ADDR:PORT` for
/// each portal once all is ready, and how to connect. With an `heir` it takes the place of the server
/// that started this process. The host reads the configuration again, which was read as `reading`.
///
/// # Errors
/// It can't start; nothing is served then, or the server that was to be replaced goes on.
pub fn run(
    config: Config,
    tuning: Tuning,
    launch: &dyn Launch,
    heir: Option<&Heir>,
    (host, reading): (Box<dyn Host>, Reading),
    out: &mut dyn Write,
) -> Result<(), ServeError> {
    let (stop, stopped) = crossbeam_channel::bounded(1);
    let (hang_up, hung_up) = crossbeam_channel::bounded(1);
    let _signals = signals::Watch::start(stop.clone(), hang_up)?;
    let running = match heir {
        None => Running::start(config, tuning, launch, stop)?,
        Some(heir) => Running::take_over(config, tuning, launch, stop, heir)?,
    };
    running.may_reload(host, reading);
    running.announce(out);
    if heir.is_none() {
        succession::announce_ready();
    }
    running.until(&stopped, &hung_up);
    Ok(())
}

/// A server that serves.
pub struct Running {
    config: Config,
    portals: Vec<SocketAddr>,
    plane: Arc<dyn DataPlane>,
    service: Arc<Service>,
    rpc: rpc::Server,
    upkeep: Upkeep,
    watching: Watching,
}

impl Running {
    /// Takes the data directory, starts the data path, serves every volume, opens the portals and
    /// the control socket, in this order. Whoever is to stop it sends to the other end of `stop`.
    ///
    /// # Errors
    /// See [`ServeError`]; what had been started is stopped.
    pub fn start(
        config: Config,
        tuning: Tuning,
        launch: &dyn Launch,
        stop: Sender<StopReason>,
    ) -> Result<Self, ServeError> {
        config.check()?;
        let policy = config.policy()?;
        let directory = DataDirectory::open(&config.data)?;
        let lock = directory.share_lock()?;
        let (catalogue, unfinished) = Catalogue::open(directory, policy)?;
        let catalogue = Arc::new(catalogue);
        // Everything that another server may hold is taken before anything is started.
        let socket = rpc::ControlSocket::bind(&config.control_socket())?;
        let (listeners, addresses) = portals::bind(&config.portals)?;
        let prepared = watching::Prepared::take(&config)?;
        let predecessor = predecessor(&config, &catalogue, lock, &prepared)?;
        // Kept before any initiator can learn them, and only for portals that can be had.
        let tags = catalogue.portal_tags(&portals::wanted(&config.portals))?;
        let portals = portals::sockets(&config.portals, listeners, tags);
        let settings = service_settings(&config, means(&tuning));
        let plan = launch_plan(&config, tuning, catalogue.clone(), prepared.journal());
        let plane = launch.launch(plan)?;
        let workers = Workers::start(config.reactor_count())?;
        let service = Arc::new(Service::new(
            catalogue.clone(),
            plane.clone(),
            settings,
            workers,
            stop,
        ));
        let open = || -> Result<(rpc::Server, Upkeep, Watching), ServeError> {
            let mut watching = prepared.watch(&config, &service, &catalogue)?;
            watching.begin(&service, &catalogue)?;
            service.open(&unfinished)?;
            for portal in portals {
                plane.open_portal(portal)?;
            }
            service.set_portals(announce::reachable(&config.portals, &addresses));
            let upkeep = Upkeep::start(service.clone())?;
            service.set_predecessor(predecessor);
            let rpc = rpc::Server::start(socket, service.clone())?;
            watching.note_start(&service, None);
            Ok((rpc, upkeep, watching))
        };
        match open() {
            Ok((rpc, upkeep, watching)) => Ok(Self {
                config,
                portals: addresses,
                plane,
                service,
                rpc,
                upkeep,
                watching,
            }),
            Err(error) => {
                plane.stop();
                Err(error)
            }
        }
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    /// From now on the configuration can be read again.
    fn may_reload(&self, host: Box<dyn Host>, started: Reading) {
        let (bound, metrics) = (self.portals.clone(), self.watching.metrics_place());
        let reloader = Reloader::new(host, started, bound, metrics);
        self.service.set_reloader(reloader);
    }

    /// Prints how to connect, and that it listens.
    pub fn announce(&self, out: &mut dyn Write) {
        let volumes: Vec<VolumeView> = self
            .service
            .list_volumes(VolumeList::default())
            .unwrap_or_default();
        let text = announce::text(
            &self.config,
            &self.portals,
            &volumes,
            self.watching.metrics(),
        );
        // Nobody may be reading, as under a service manager.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Waits for the word to stop, then drains and stops. At each word from `hung_up`, files that may
    /// have been moved away are opened anew, and the configuration is read again.
    pub fn until(self, stopped: &Receiver<StopReason>, hung_up: &Receiver<()>) {
        // The service holds a sender, so there is no end but a word.
        let mut hang_ups = hung_up.clone();
        let reason = loop {
            crossbeam_channel::select! {
                recv(stopped) -> reason => break reason,
                recv(hang_ups) -> word => match word {
                    Ok(()) => self.hang_up(),
                    Err(_) => hang_ups = crossbeam_channel::never(),
                }
            }
        };
        // An upgrade that is under way decides first whose word it is.
        self.service.wait_for_upgrade();
        if self.service.has_departed() {
            return self.leave();
        }
        if let Ok(reason) = reason {
            succession::announce_stopping();
            tracing::info!(
                ?reason,
                "stopping: no more logins, asking sessions to log out"
            );
        }
        self.stop();
    }

    /// Leaves everything to the process that serves now. Nothing is taken down: that would ask sessions to
    /// log out, give locks back and remove the control socket, which are all the other's.
    fn leave(self) {
        tracing::info!("another process serves; this one ends");
        std::mem::forget(self);
    }

    /// Opens files anew that may have been moved away, and reads the configuration again.
    fn hang_up(&self) {
        if let Some(audit) = self.service.audit() {
            audit.reopen();
        }
        self.service.reload_on_hang_up();
    }

    /// Drains and stops.
    pub fn stop(self) {
        let Self {
            plane,
            rpc,
            service,
            upkeep,
            watching,
            ..
        } = self;
        drop(upkeep);
        // It has until the drain is over to leave nothing behind; a restart sees to the rest.
        service.stop_work();
        watching.note_stop(&service);
        let dropped = plane.drain(service.logout_timeout());
        if dropped > 0 {
            tracing::warn!(dropped, "sessions did not log out in time");
        }
        drop(rpc);
        plane.stop();
        watching.finish();
        tracing::info!("stopped");
    }
}

/// What a successor will need of this server.
fn predecessor(
    config: &Config,
    catalogue: &Catalogue,
    lock: OwnedFd,
    prepared: &watching::Prepared,
) -> io::Result<Predecessor> {
    let portals = config.portals.iter().map(|portal| portal.listen.0);
    let socket = prepared.metrics_socket()?;
    let metrics = config.metrics.listen.map(|listen| listen.0).zip(socket);
    Predecessor::new(catalogue.directory(), lock, portals.collect(), metrics)
}

/// What the data path is started with.
fn launch_plan(
    config: &Config,
    tuning: Tuning,
    reservations: Arc<dyn ReservationStore>,
    journal: Journal,
) -> LaunchPlan {
    let cores = config.cores.as_ref().map(|list| list.cores().to_vec());
    LaunchPlan {
        cores: cores.unwrap_or_default(),
        reactors: config.reactor_count(),
        tuning,
        login_timeout: config.limits.login_timeout.0,
        nop_interval: config.limits.nop_interval.0,
        fence_timeout: config.limits.fence_timeout.0,
        reservations,
        journal,
        slow_io: config.log.slow_io.map(|limit| limit.0),
    }
}

fn service_settings(config: &Config, means: Means) -> ServiceSettings {
    ServiceSettings {
        registrations_max: config.limits.registrations_per_volume,
        reactors: config.reactor_count(),
        means,
        logout_timeout: config.limits.drain_timeout.0,
    }
}

/// What of the machine these knobs let volumes use.
fn means(tuning: &Tuning) -> Means {
    Means {
        ring: tuning.engine != Engine::Mio && Ring::probe().is_ok(),
        polling: tuning.poll_disks,
        nvme_passthrough: tuning.nvme_passthrough,
        prefault: tuning.prefault,
    }
}

#[cfg(test)]
mod tests;

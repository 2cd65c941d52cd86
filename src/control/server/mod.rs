//! The life of a server: start, announce, run until asked to stop, drain, stop.

mod announce;
mod portals;
mod signals;
mod upkeep;
mod watching;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

pub use portals::PortalError;

use self::upkeep::Upkeep;
use self::watching::Watching;
use super::api::{VolumeList, VolumeView};
use super::audit::AuditError;
use super::catalogue::{Catalogue, CatalogueError, DataDirectory};
use super::config::{Config, ConfigError};
use super::error::ControlError;
use super::metrics::MetricsError;
use super::plane::{DataPlane, Launch, LaunchPlan, PlaneError};
use super::rpc;
use super::service::{Service, ServiceSettings, StopReason};
use crate::backend::{Means, Workers};
use crate::base::tuning::{Engine, Tuning};
use crate::ring::Ring;

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
/// each portal once all is ready, and how to connect.
///
/// # Errors
/// It can't start; nothing is served then.
pub fn run(
    config: Config,
    tuning: Tuning,
    launch: &dyn Launch,
    out: &mut dyn Write,
) -> Result<(), ServeError> {
    let (stop, stopped) = crossbeam_channel::bounded(1);
    let (hang_up, hung_up) = crossbeam_channel::bounded(1);
    let _signals = signals::Watch::start(stop.clone(), hang_up)?;
    let running = Running::start(config, tuning, launch, stop)?;
    running.announce(out);
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
        let (catalogue, unfinished) = Catalogue::open(DataDirectory::open(&config.data)?, policy)?;
        let catalogue = Arc::new(catalogue);
        // Everything that another server may hold is taken before anything is started.
        let socket = rpc::ControlSocket::bind(&config.control_socket())?;
        let (listeners, addresses) = portals::bind(&config.portals)?;
        let prepared = watching::Prepared::take(&config)?;
        // Kept before any initiator can learn them, and only for portals that can be had.
        let tags = catalogue.portal_tags(&portals::wanted(&config.portals))?;
        let portals = portals::sockets(&config.portals, listeners, tags);
        let means = means(&tuning);
        let plane = launch.launch(LaunchPlan {
            cores: config
                .cores
                .as_ref()
                .map(|list| list.cores().to_vec())
                .unwrap_or_default(),
            reactors: config.reactor_count(),
            tuning,
            login_timeout: config.limits.login_timeout.0,
            nop_interval: config.limits.nop_interval.0,
            fence_timeout: config.limits.fence_timeout.0,
            reservations: catalogue.clone(),
            journal: prepared.journal(),
            slow_io: config.log.slow_io.map(|limit| limit.0),
        })?;
        let settings = ServiceSettings {
            registrations_max: config.limits.registrations_per_volume,
            reactors: config.reactor_count(),
            means,
            logout_timeout: config.limits.drain_timeout.0,
        };
        let workers = Workers::start(config.reactor_count())?;
        let service = Arc::new(Service::new(
            catalogue.clone(),
            plane.clone(),
            settings,
            workers,
            stop,
        ));
        let open = || -> Result<(rpc::Server, Upkeep, Watching), ServeError> {
            let watching = prepared.start(&config, &service, &catalogue)?;
            service.open(&unfinished)?;
            for portal in portals {
                plane.open_portal(portal)?;
            }
            service.set_portals(announce::reachable(&config.portals, &addresses));
            let upkeep = Upkeep::start(service.clone())?;
            let rpc = rpc::Server::start(socket, service.clone())?;
            watching.note_start(&service);
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
    /// have been moved away are opened anew.
    pub fn until(self, stopped: &Receiver<StopReason>, hung_up: &Receiver<()>) {
        // The service holds a sender, so there is no end but a word.
        let mut hang_ups = hung_up.clone();
        loop {
            crossbeam_channel::select! {
                recv(stopped) -> reason => {
                    if let Ok(reason) = reason {
                        tracing::info!(
                            ?reason,
                            "stopping: no more logins, asking sessions to log out"
                        );
                    }
                    break;
                }
                recv(hang_ups) -> word => match word {
                    Ok(()) => self.reopen(),
                    Err(_) => hang_ups = crossbeam_channel::never(),
                }
            }
        }
        self.stop();
    }

    /// Opens files anew that may have been moved away.
    fn reopen(&self) {
        if let Some(audit) = self.service.audit() {
            audit.reopen();
        }
    }

    /// Drains and stops.
    pub fn stop(self) {
        let Self {
            config,
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
        let dropped = plane.drain(config.limits.drain_timeout.0);
        if dropped > 0 {
            tracing::warn!(dropped, "sessions did not log out in time");
        }
        drop(rpc);
        plane.stop();
        watching.finish();
        tracing::info!("stopped");
    }
}

/// What of the machine these knobs let volumes use.
fn means(tuning: &Tuning) -> Means {
    Means {
        ring: tuning.engine != Engine::Mio && Ring::probe().is_ok(),
        polling: tuning.poll_disks,
        prefault: tuning.prefault,
    }
}

#[cfg(test)]
mod tests;

//! The real data path behind [`DataPlane`]: `target`, started and asked.

use std::sync::Arc;
use std::time::Duration;

use super::plane::{
    DataPlane, Launch, LaunchPlan, PlaneError, PortalSocket, Registration, ReservationInfo,
    VolumeConfig,
};
use crate::base::limits;
use crate::base::tuning::{self, Tuning};
use crate::iscsi;
use crate::net::{self, NetConfig};
use crate::reactor;
use crate::reservation::{self, State};
use crate::ring::{Ring, RingConfig};
use crate::target::{
    self, ConnectionPlacement, IdentityInfo, SessionInfo, ShardPlacement, Target, TargetError,
};
use crate::volume::VolumeId;

/// Starts [`Target`].
#[derive(Debug, Clone, Copy, Default)]
pub struct TargetLauncher;

impl Launch for TargetLauncher {
    fn launch(&self, plan: LaunchPlan) -> Result<Arc<dyn DataPlane>, PlaneError> {
        let engine = engine(plan.tuning.engine)?;
        let config = target::TargetConfig {
            reactors: reactors(&plan, engine),
            net: net(&plan.tuning, engine),
            settings: iscsi::Settings {
                login_timeout: plan.login_timeout,
                nop_interval: (!plan.nop_interval.is_zero()).then_some(plan.nop_interval),
                ..iscsi::Settings::default()
            },
            fence_timeout: limits::FENCE_TIMEOUT,
            shard_placement: match plan.tuning.shards {
                tuning::Placement::Home => ShardPlacement::Home,
                tuning::Placement::Spread => ShardPlacement::Spread,
            },
            shard_bytes: plan.tuning.shard_bytes,
            connection_placement: match plan.tuning.connections {
                tuning::Placement::Home => ConnectionPlacement::Home,
                tuning::Placement::Spread => ConnectionPlacement::Spread,
            },
            reservations: plan.reservations,
        };
        let target = Target::start(config).map_err(|error| PlaneError::Start(error.to_string()))?;
        Ok(Arc::new(DataPath(target)))
    }
}

/// Which engine it is to be. `auto` takes io_uring where the kernel permits it, and says so where
/// it does not.
fn engine(wanted: tuning::Engine) -> Result<net::Engine, PlaneError> {
    if wanted == tuning::Engine::Mio {
        return Ok(net::Engine::Mio);
    }
    match (Ring::probe(), wanted) {
        (Ok(_), _) => Ok(net::Engine::Uring),
        (Err(reason), tuning::Engine::Auto) => {
            tracing::warn!("io_uring can't be used here ({reason}); sockets go by epoll instead");
            Ok(net::Engine::Mio)
        }
        (Err(reason), _) => Err(PlaneError::Start(format!(
            "the io_uring engine was asked for and can't be used here: {reason}; use --engine auto"
        ))),
    }
}

fn reactors(plan: &LaunchPlan, engine: net::Engine) -> reactor::Config {
    let tuning = &plan.tuning;
    reactor::Config {
        placement: if plan.cores.is_empty() {
            reactor::Placement::Anywhere(plan.reactors.max(1))
        } else {
            reactor::Placement::Cores(plan.cores.clone())
        },
        idle: match tuning.idle {
            tuning::Idle::Spin => reactor::Idle::Spin,
            tuning::Idle::Adaptive => reactor::Idle::Adaptive {
                spin_max: tuning.spin_max,
            },
            tuning::Idle::Wait => reactor::Idle::Wait,
        },
        pool_bytes: tuning.arena_bytes,
        ring: (engine == net::Engine::Uring).then(RingConfig::default),
        readiness: engine == net::Engine::Mio,
        ..reactor::Config::default()
    }
}

fn net(tuning: &Tuning, engine: net::Engine) -> NetConfig {
    let mut config = NetConfig::new(engine);
    config.options.send_buffer_bytes = tuning.socket_buffer_bytes;
    config.options.receive_buffer_bytes = tuning.socket_buffer_bytes;
    config
}

struct DataPath(Target);

impl DataPlane for DataPath {
    fn attach_volume(&self, config: VolumeConfig) -> Result<(), PlaneError> {
        let state = match &config.reservation {
            None => State::new(),
            Some(record) => reservation::decode(record).map_err(|error| {
                // It must never come up as "no reservation": a fenced node would write again.
                PlaneError::Reservations {
                    volume: config.name.clone(),
                    reason: error.to_string(),
                }
            })?,
        };
        let config = target::VolumeConfig {
            id: config.id,
            iqn: config.iqn,
            name: config.name,
            vendor: config.vendor,
            product: config.product,
            block_bytes: config.block_bytes,
            read_only: config.read_only,
            removable: config.removable,
            sessions_max: config.sessions_max,
            registrations_max: config.registrations_max,
            reservation_scope: config.reservation_scope,
            store: config.store,
            access: config.access,
            reservation: state,
        };
        Ok(self.0.attach_volume(config)?)
    }

    fn detach_volume(&self, volume: VolumeId, force: bool) -> Result<(), PlaneError> {
        Ok(self.0.detach_volume(volume, force)?)
    }

    fn grow_volume(&self, volume: VolumeId, size_bytes: u64) -> Result<(), PlaneError> {
        Ok(self.0.grow_volume(volume, size_bytes)?)
    }

    fn open_portal(&self, portal: PortalSocket) -> Result<(), PlaneError> {
        let PortalSocket {
            listener,
            tag,
            advertise,
            redirect,
        } = portal;
        Ok(self.0.open_portal(listener, tag, advertise, redirect)?)
    }

    fn sessions(&self) -> Result<Vec<SessionInfo>, PlaneError> {
        Ok(self.0.sessions()?)
    }

    fn identities(&self) -> Result<Vec<IdentityInfo>, PlaneError> {
        Ok(self.0.identities()?)
    }

    fn reservation(&self, volume: VolumeId) -> Result<ReservationInfo, PlaneError> {
        let state = self.0.reservation(volume)?;
        let holder = state
            .reservation()
            .and_then(|reservation| reservation.holder.as_ref());
        Ok(ReservationInfo {
            generation: state.generation(),
            kind: state
                .reservation()
                .map(|reservation| reservation.kind.code()),
            holder: holder
                .and_then(|holder| state.registrations().position(|(nexus, _)| nexus == holder)),
            aptpl: state.aptpl(),
            registrations: state
                .registrations()
                .map(|(nexus, registration)| Registration {
                    key: registration.key.0,
                    initiator: nexus.initiator.name().to_owned(),
                    isid: nexus.initiator.isid(),
                    port: nexus.target_port,
                })
                .collect(),
        })
    }

    fn drain(&self, timeout: Duration) -> usize {
        self.0.drain(timeout).unwrap_or_else(|error| {
            tracing::error!(%error, "the drain did not end well");
            0
        })
    }

    fn stop(&self) {
        self.0.stop();
    }
}

impl From<TargetError> for PlaneError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::UnknownVolume => Self::UnknownVolume,
            TargetError::Exists => Self::Exists,
            TargetError::InUse { sessions } => Self::InUse { sessions },
            TargetError::TimedOut => Self::TimedOut,
            TargetError::Stopped => Self::Stopped,
            error => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                Self::Failed(format!("{error}{cause}"))
            }
        }
    }
}

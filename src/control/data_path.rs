//! The real data path behind [`DataPlane`]: `target`, started and asked.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::error::with_sources;
use super::plane::{
    DataPlane, HandOver, Launch, LaunchPlan, PlaneError, PortalSocket, VolumeConfig,
};
use crate::base::clock::wall_clock_ms;
use crate::base::tuning::{self, Tuning};
use crate::iscsi;
use crate::net::{self, NetConfig};
use crate::reactor;
use crate::reservation::history::{self, Ages, History};
use crate::reservation::{self, Key};
use crate::ring::{Ring, RingConfig};
use crate::target::{
    self, Cleared, ConnectionPlacement, Drain, Estate, Forecast, HoldPlan, IdentityInfo, Limits,
    Measurement, NotAdopted, NotHandedOver, Obstacle, Preemption, Record, ReservationReport,
    Restored, SessionInfo, ShardPlacement, Target, TargetError,
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
            fence_timeout: plan.fence_timeout,
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
            journal: plan.journal,
            slow_io: plan.slow_io,
        };
        let target =
            Target::start(config).map_err(|error| PlaneError::Start(with_sources(&error)))?;
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
            let reason = with_sources(&reason);
            tracing::warn!("io_uring can't be used here ({reason}); sockets go by epoll instead");
            Ok(net::Engine::Mio)
        }
        (Err(reason), _) => Err(PlaneError::Start(format!(
            "the io_uring engine was asked for and can't be used here: {}; use --engine auto",
            with_sources(&reason)
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
    config.options.congestion_control = tuning.congestion_control.clone();
    config.direct_sockets_max = tuning.direct_sockets_max;
    config
}

struct DataPath(Target);

impl DataPlane for DataPath {
    fn attach_volume(&self, config: VolumeConfig) -> Result<(), PlaneError> {
        let restored = restore(&config)?;
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
            reservation: restored,
            handed_over: config.handed_over,
        };
        Ok(self.0.attach_volume(config)?)
    }

    fn detach_volume(&self, volume: VolumeId, force: bool) -> Result<(), PlaneError> {
        Ok(self.0.detach_volume(volume, force)?)
    }

    fn dismiss_volume(&self, volume: VolumeId, patience: Duration) -> Result<usize, PlaneError> {
        Ok(self.0.dismiss_volume(volume, patience)?)
    }

    fn at_one_instant(
        &self,
        volumes: &[VolumeId],
        plan: HoldPlan,
        work: &mut dyn FnMut(),
    ) -> Result<(), PlaneError> {
        Ok(self.0.at_one_instant(volumes, plan, work)?)
    }

    fn detach_unused(&self, volume: VolumeId) -> Result<(), PlaneError> {
        Ok(self.0.detach_unused(volume)?)
    }

    fn set_sessions_max(&self, volume: VolumeId, sessions_max: u32) -> Result<(), PlaneError> {
        Ok(self.0.set_sessions_max(volume, sessions_max)?)
    }

    fn set_limits(&self, volume: VolumeId, limits: Option<Arc<Limits>>) -> Result<(), PlaneError> {
        Ok(self.0.set_limits(volume, limits)?)
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

    fn measure(&self) -> Result<Measurement, PlaneError> {
        Ok(self.0.measure()?)
    }

    fn reservation(&self, volume: VolumeId) -> Result<ReservationReport, PlaneError> {
        Ok(self.0.reservation(volume)?)
    }

    fn reservation_history(&self, volume: VolumeId) -> Result<history::Excerpt, PlaneError> {
        Ok(self.0.reservation_history(volume)?)
    }

    fn follow_history(
        &self,
        volume: VolumeId,
        seen: history::Cursor,
        wait: Duration,
    ) -> Result<history::Excerpt, PlaneError> {
        Ok(self.0.follow_history(volume, seen, wait)?)
    }

    fn foresee(
        &self,
        volume: VolumeId,
        preemption: Preemption,
    ) -> Result<Option<Forecast>, PlaneError> {
        Ok(self.0.foresee(volume, preemption)?)
    }

    fn clear_reservation(
        &self,
        volume: VolumeId,
        key: Option<Key>,
        operator: Option<history::Process>,
    ) -> Result<Option<Cleared>, PlaneError> {
        Ok(self.0.clear_reservation(volume, key, operator)?)
    }

    fn begin_drain(&self, drain: Drain, patience: Duration) -> Result<usize, PlaneError> {
        Ok(self.0.begin_drain(drain, patience)?)
    }

    fn end_drain(&self, id: u64) -> Result<(), PlaneError> {
        self.0.end_drain(id);
        Ok(())
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

    fn hand_over(&self) -> Option<&dyn HandOver> {
        Some(self)
    }
}

impl HandOver for DataPath {
    fn long_work(&self) -> Result<Vec<Obstacle>, PlaneError> {
        Ok(self.0.long_work()?)
    }

    fn volumes_in_memory(&self) -> Vec<String> {
        self.0.volumes_in_memory()
    }

    fn hand_over(&self, patience: Duration) -> Result<Estate, NotHandedOver> {
        self.0.hand_over(patience)
    }

    fn go_on(&self) -> Result<(), PlaneError> {
        Ok(self.0.go_on()?)
    }

    fn begin_parked(&self) -> Result<(), PlaneError> {
        Ok(self.0.begin_parked()?)
    }

    fn adopt(&self, record: Record, streams: Vec<TcpStream>) -> Result<(), NotAdopted> {
        self.0.adopt(record, streams)
    }
}

/// What outlived the last stop of a volume. A record that can't be believed keeps the volume from
/// being served: it must never come up as "no reservation", for a fenced node would write again. The
/// history and the ages decide nothing, and what can't be read of them is done without.
fn restore(config: &VolumeConfig) -> Result<Restored, PlaneError> {
    let history = History::restore(&config.history.entries, wall_clock_ms());
    let Some(record) = &config.reservation else {
        return Ok(Restored {
            history,
            ..Restored::default()
        });
    };
    let state = reservation::decode(record).map_err(|error| PlaneError::Reservations {
        volume: config.name.clone(),
        reason: error.to_string(),
    })?;
    let ages = config.history.ages.as_ref();
    let ages = ages.map(|bytes| Ages::decode(bytes, &state, record));
    let ages = ages.unwrap_or_else(|| Ok(Ages::default()));
    let ages = ages.unwrap_or_else(|error| {
        tracing::warn!(volume = config.name, %error, "how old the registrations are can't be read");
        Ages::default()
    });
    Ok(Restored {
        state,
        ages,
        history,
    })
}

impl From<TargetError> for PlaneError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::UnknownVolume => Self::UnknownVolume,
            TargetError::Exists => Self::Exists,
            TargetError::InUse { sessions } => Self::InUse { sessions },
            TargetError::Registered { registrations } => Self::Registered { registrations },
            TargetError::HoldExpired { limit } => Self::HoldExpired { limit },
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

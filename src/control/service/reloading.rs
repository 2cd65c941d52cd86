//! What a reload of the configuration changes of the operations and of the data path.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::Service;
use super::refusal::about_volume;
use crate::base::limits;
use crate::control::api::{ConfigReload, ConfigReloadView, RunningConfigView};
use crate::control::catalogue::{Policy, Volume};
use crate::control::config::{Config, ConfigError};
use crate::control::error::{ControlError, ErrorKind};
use crate::control::reload::{Reloader, Trigger};
use crate::target::{Access, Redirect, Timing, Unwelcome};
use crate::volume::VolumeId;

/// What the operations and the data path are told anew.
#[derive(Debug)]
pub struct Live {
    policy: Policy,
    registrations_max: u32,
    logout_timeout: Duration,
    timing: Timing,
    /// What discovery tells of each portal, and where it sends logins.
    portals: Vec<(Option<String>, Option<Redirect>)>,
}

impl Live {
    /// As a configuration says; the accounts that it names are read.
    ///
    /// # Errors
    /// They can't be.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        let limits = &config.limits;
        let portals = config.portals.iter().map(|portal| {
            let advertise = portal.advertise.as_ref().map(ToString::to_string);
            (advertise, portal.redirection())
        });
        let nop_interval = limits.nop_interval.0;
        Ok(Self {
            policy: config.policy()?,
            registrations_max: limits.registrations_per_volume,
            logout_timeout: limits.drain_timeout.0,
            timing: Timing {
                login_timeout: limits.login_timeout.0,
                nop_interval: (!nop_interval.is_zero()).then_some(nop_interval),
                fence_timeout: limits.fence_timeout.0,
                slow_io: config.log.slow_io.map(|limit| limit.0),
            },
            portals: portals.collect(),
        })
    }

    /// What catalogue and logins go by.
    pub(in crate::control) fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }
}

impl Service {
    /// Says how the configuration is read again, once all is served.
    pub(in crate::control) fn set_reloader(&self, reloader: Reloader) {
        // Set once, by the server's start; a second time would change nothing.
        let _ = self.reloader.set(reloader);
    }

    /// Reads the configuration again, and applies what can change while the server runs.
    ///
    /// # Errors
    /// It can't be read or used, and nothing has changed; or what it says could not be applied.
    pub fn reload(&self, reload: &ConfigReload) -> Result<ConfigReloadView, ControlError> {
        self.reloader()?.reload(self, reload, Trigger::Command)
    }

    /// The same for SIGHUP: what came of it is in the log and among the events.
    pub fn reload_on_hang_up(&self) {
        if let Some(reloader) = self.reloader.get() {
            let reload = ConfigReload::default();
            // It has been told.
            let _ = reloader.reload(self, &reload, Trigger::HangUp);
        }
    }

    /// The configuration in force.
    ///
    /// # Errors
    /// The server is still starting.
    pub fn running_config(&self) -> Result<RunningConfigView, ControlError> {
        self.reloader()?.show()
    }

    fn reloader(&self) -> Result<&Reloader, ControlError> {
        let starting = || {
            let message = "the server is still starting";
            ControlError::new(ErrorKind::Busy, "configuration", message).hint("try again")
        };
        self.reloader.get().ok_or_else(starting)
    }

    /// How long sessions have to log out before they are dropped.
    #[must_use]
    pub fn logout_timeout(&self) -> Duration {
        self.settings().logout_timeout
    }

    /// What the catalogue and the logins go by now.
    pub(in crate::control) fn policy(&self) -> std::sync::Arc<Policy> {
        self.catalogue.policy()
    }

    /// Passes if every volume can remember as many sessions and registrations as it is to take.
    pub(in crate::control) fn check_places(&self, live: &Live) -> Result<(), ConfigError> {
        let common = live.policy.settings.sessions_max;
        for volume in self.catalogue.model().live_volumes() {
            let sessions = volume.settings.sessions_max.unwrap_or(common);
            let room = limits::NEXUSES_MAX.saturating_sub(sessions);
            if live.registrations_max > room {
                let key = "limits.registrations_per_volume";
                let message = format!(
                    "expected at most {room} beside the {sessions} sessions of volume {}, got {}",
                    volume.name, live.registrations_max
                );
                return Err(ConfigError::of_key(key, message));
            }
        }
        Ok(())
    }

    /// The rules that each volume would have.
    pub(in crate::control) fn proposed_access(&self, live: &Live) -> BTreeMap<VolumeId, Access> {
        let model = self.catalogue.model();
        let rules = |volume: &Volume| (volume.id, live.policy.access.of(&volume.group).clone());
        model.live_volumes().map(rules).collect()
    }

    /// Keeps everybody else from changing anything.
    pub(in crate::control) fn turn(&self) -> MutexGuard<'_, ()> {
        self.take_turn()
    }

    /// A successor finds the metrics there, or nowhere.
    pub(in crate::control) fn note_metrics(&self, metrics: Option<(SocketAddr, OwnedFd)>) {
        if let Some(predecessor) = self.predecessor.get() {
            predecessor.set_metrics(metrics);
        }
    }

    /// Has everything be so from now on. The catalogue comes first: it alone can refuse. The turn is the
    /// caller's.
    pub(in crate::control) fn apply(&self, live: Live) -> Result<(), ControlError> {
        let accesses = self.proposed_access(&live);
        let Live {
            policy,
            registrations_max,
            logout_timeout,
            timing,
            portals,
        } = live;
        self.catalogue.set_policy(policy)?;
        {
            let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
            settings.registrations_max = registrations_max;
            settings.logout_timeout = logout_timeout;
        }
        self.plane.set_timing(&timing)?;
        for (position, (advertise, redirect)) in portals.into_iter().enumerate() {
            self.plane.set_portal(position, advertise, redirect)?;
        }
        let model = self.catalogue.model();
        for volume in model.live_volumes() {
            if self.problems().contains_key(&volume.id) {
                continue;
            }
            let about = |error| about_volume(&volume.name, &error);
            if let Some(access) = accesses.get(&volume.id) {
                self.plane
                    .set_access(volume.id, access.clone())
                    .map_err(about)?;
            }
            let sessions_max = self.sessions_max(volume);
            let set = self
                .plane
                .set_places(volume.id, sessions_max, registrations_max);
            set.map_err(about)?;
        }
        Ok(())
    }

    /// The sessions that could not log in again, by the rules of `proposed` or those that hold.
    pub(in crate::control) fn unwelcome(
        &self,
        proposed: BTreeMap<VolumeId, Access>,
    ) -> Result<Vec<Unwelcome>, ControlError> {
        Ok(self.plane.unwelcome(proposed)?)
    }

    /// Ends them: asked to log out, and dropped where they don't. Returns how many had to be.
    pub(in crate::control) fn end(&self, sessions: &[Unwelcome]) -> Result<usize, ControlError> {
        let named: BTreeSet<_> = sessions
            .iter()
            .map(|session| (session.volume, session.tsih))
            .collect();
        let patience = self.settings().logout_timeout;
        Ok(self.plane.end_sessions(named, patience)?)
    }

    /// A volume's name, or its id when it is gone.
    pub(in crate::control) fn volume_name(&self, id: VolumeId) -> String {
        let model = self.catalogue.model();
        let volume = model.volume(id);
        volume.map_or_else(|_| id.to_string(), |volume| volume.name.to_string())
    }
}

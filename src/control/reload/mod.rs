//! The configuration, read again while the server runs: by `holdfast config reload`, or on SIGHUP.
//!
//! ```text
//!   read and check ─▶ compare, key by key ─▶ take what can fail ─▶ apply ─▶ who could not log in again?
//!        │                                        │                               │
//!        └── refused: nothing has changed ◀───────┘                     stays, or is asked to log out
//! ```
//!
//! The table in [`keys`](super::config::keys) decides which keys change live. All others stay as they are
//! until an upgrade or a restart, and are told again with each reload until then. So there is one
//! configuration in force at any time, and `holdfast config show --running` shows it.

mod compare;
mod report;

use std::net::SocketAddr;
use std::path::Path;
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use self::compare::{Change, Comparison, compare};
use super::api::{
    ConfigReload, ConfigReloadView, DisconnectedView, EventKind, KeyOutcome, RunningConfigView,
};
use super::audit::AuditFile;
use super::catalogue::Policy;
use super::config::keys::{Effect, Place};
use super::config::{Config, ConfigError, LogFilter};
use super::error::{ControlError, ErrorKind};
use super::events::Event;
use super::metrics::{self, Bound, Endpoint};
use super::server;
use super::service::{Live, Service};

/// A configuration that has been read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What the file says.
    pub file: Config,
    /// The same with the flags over it, and every knob of `[tuning]` decided.
    pub effective: Config,
}

/// Whoever started the server, and knows its command line.
pub trait Host: Send + Sync {
    /// The configuration file, if there is one.
    fn file(&self) -> Option<&Path>;

    /// Reads the configuration as the server's start did.
    ///
    /// # Errors
    /// It can't be read or used.
    fn read(&self) -> Result<Reading, ConfigError>;

    /// Logs by that filter from now on.
    ///
    /// # Errors
    /// The log is not there any more, in words.
    fn set_log_filter(&self, filter: &LogFilter) -> Result<(), String>;
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A request over the control socket.
    Command,
    /// SIGHUP.
    HangUp,
}

/// Reads the configuration again.
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub struct Reloader {
    host: Box<dyn Host>,
    /// The portals as they were bound.
    bound: Vec<SocketAddr>,
    metrics: Arc<metrics::Place>,
    in_force: Mutex<Reading>,
}

/// What was taken before anything was changed.
struct Taken {
    live: Live,
    /// Places whose accounts are others in the same file.
    accounts: Vec<Place>,
    metrics: Option<Option<Bound>>,
    audit: Option<Option<AuditFile>>,
}

#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
impl Reloader {
    /// Of a server that was started with `started`, whose portals are `bound`.
    #[must_use]
    pub fn new(
        host: Box<dyn Host>,
        started: Reading,
        bound: Vec<SocketAddr>,
        metrics: Arc<metrics::Place>,
    ) -> Self {
        Self {
            host,
            bound,
            metrics,
            in_force: Mutex::new(started),
        }
    }

    /// Reads and applies it. What came of it is logged, and an event.
    ///
    /// # Errors
    /// It can't be read or used, and nothing has changed; or a part of it could not be applied, which
    /// the next reload tries again.
    pub fn reload(
        &self,
        service: &Service,
        reload: &ConfigReload,
        trigger: Trigger,
    ) -> Result<ConfigReloadView, ControlError> {
        let Some(file) = self.host.file() else {
            if trigger == Trigger::HangUp {
                tracing::info!("the server has no configuration file to read again");
            }
            let message = "the server was started without a configuration file";
            return Err(
                ControlError::new(ErrorKind::Invalid, "configuration", message)
                    .expected("one that was started with --config FILE"),
            );
        };
        let done = self.reload_from(file, service, reload);
        if !reload.dry_run {
            tell(service, file, trigger, &done);
        }
        done
    }

    fn reload_from(
        &self,
        file: &Path,
        service: &Service,
        reload: &ConfigReload,
    ) -> Result<ConfigReloadView, ControlError> {
        let turn = service.turn();
        let mut held = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.host.read().map_err(refused)?;
        let Comparison {
            in_force,
            mut changes,
            unchanged,
        } = compare(&held.effective, &read.effective).map_err(refused)?;
        in_force
            .check()
            .map_err(|error| refused(in_file(file, error)))?;
        let hidden = hidden(&held.file, &read, &changes).map_err(refused)?;
        let taken = self.take(&held.effective, &in_force, service, reload.dry_run);
        let taken = taken.map_err(|error| refused(in_file(file, error)))?;
        let (accounts, unchanged): (Vec<_>, Vec<_>) = unchanged
            .into_iter()
            .partition(|place| taken.accounts.contains(place));
        changes.retain(|change| !accounts.contains(&change.place));
        let mut keys = report::changed(&changes);
        keys.extend(
            accounts
                .iter()
                .map(|place| report::accounts(place, &in_force)),
        );
        keys.extend(report::hidden(&hidden));
        keys.sort_by(|one, other| (one.outcome, &one.key).cmp(&(other.outcome, &other.key)));
        let proposed = if reload.dry_run {
            service.proposed_access(&taken.live)
        } else {
            self.apply(&in_force, &changes, taken, service)?;
            *held = Reading {
                file: read.file,
                effective: in_force,
            };
            std::collections::BTreeMap::new()
        };
        let unwelcome = service.unwelcome(proposed)?;
        // Others may go on while sessions log out.
        drop((held, turn));
        let disconnected = match (reload.disconnect, reload.dry_run) {
            (false, _) => None,
            (true, true) => Some(DisconnectedView {
                sessions: unwelcome.len(),
                dropped: 0,
            }),
            (true, false) => Some(DisconnectedView {
                sessions: unwelcome.len(),
                dropped: service.end(&unwelcome)?,
            }),
        };
        Ok(ConfigReloadView {
            file: file.to_owned(),
            dry_run: reload.dry_run,
            keys,
            unchanged: unchanged.iter().map(ToString::to_string).collect(),
            refused_sessions: report::sessions(service, &unwelcome),
            disconnected,
        })
    }

    /// Takes everything that can be refused: files, addresses, room.
    fn take(
        &self,
        old: &Config,
        new: &Config,
        service: &Service,
        dry_run: bool,
    ) -> Result<Taken, ConfigError> {
        let mut live = Live::of(new)?;
        service.check_places(&live)?;
        let former = service.policy();
        let accounts = accounts_changed(live.policy_mut(), &former, old, new);
        let metrics = (old.metrics.listen != new.metrics.listen).then(|| {
            let bound = new.metrics.listen.map(|listen| Endpoint::bind(listen.0));
            bound.transpose()
        });
        let metrics = metrics
            .transpose()
            .map_err(|error| ConfigError::of_key("metrics.listen", error.to_string()))?;
        // A dry run makes no file.
        let audit = (old.audit != new.audit && !dry_run)
            .then(|| new.audit.path.as_deref().map(AuditFile::open).transpose());
        let audit = audit
            .transpose()
            .map_err(|error| ConfigError::of_key("audit.path", error.to_string()))?;
        Ok(Taken {
            live,
            accounts,
            metrics,
            audit,
        })
    }

    fn apply(
        &self,
        new: &Config,
        changes: &[Change],
        taken: Taken,
        service: &Service,
    ) -> Result<(), ControlError> {
        service.apply(taken.live)?;
        service.set_portals(server::reachable(&new.portals, &self.bound));
        if changes.iter().any(|change| change.key.path == "log.level") {
            let set = self.host.set_log_filter(&new.log.level);
            set.map_err(|why| ControlError::new(ErrorKind::Failed, "log.level", why))?;
        }
        self.metrics.set_sessions(new.metrics.sessions);
        if let Some(bound) = taken.metrics {
            let failed = |why: String| ControlError::new(ErrorKind::Failed, "metrics.listen", why);
            let socket = bound.as_ref().map(Bound::duplicate).transpose();
            let socket = socket.map_err(|error| failed(error.to_string()))?;
            let moved = self.metrics.move_to(bound);
            moved.map_err(|error| failed(error.to_string()))?;
            service.note_metrics(new.metrics.listen.map(|listen| listen.0).zip(socket));
        }
        if let (Some(audit), Some(file)) = (service.audit(), taken.audit) {
            audit.move_to(file);
        }
        Ok(())
    }

    /// The configuration in force.
    ///
    /// # Errors
    /// It can't be put into JSON.
    pub fn show(&self) -> Result<RunningConfigView, ControlError> {
        let held = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let config = toml::Table::try_from(&held.effective)
            .map_err(|error| error.to_string())
            .and_then(|table| serde_json::to_value(table).map_err(|error| error.to_string()));
        let config =
            config.map_err(|why| ControlError::new(ErrorKind::Failed, "configuration", why))?;
        Ok(RunningConfigView {
            file: self.host.file().map(Path::to_owned),
            config,
        })
    }
}

/// Takes over the CHAP policies that are the same, and tells the places whose accounts are others though
/// their file has the same name.
fn accounts_changed(next: &mut Policy, former: &Policy, old: &Config, new: &Config) -> Vec<Place> {
    next.access.keep_policies_of(&former.access);
    let mut places = Vec::new();
    let same = |old: Option<&std::path::PathBuf>, new: Option<&std::path::PathBuf>| {
        new.is_some() && old == new
    };
    let top = Place::default();
    if same(
        old.access.chap_accounts.as_ref(),
        new.access.chap_accounts.as_ref(),
    ) && next.access.accounts_differ(&former.access, None)
    {
        places.push(top.key("access").key("chap_accounts"));
    }
    for (name, access) in &new.groups {
        let before = old.groups.get(name);
        let before = before.and_then(|access| access.chap_accounts.as_ref());
        if same(before, access.chap_accounts.as_ref())
            && next.access.accounts_differ(&former.access, Some(name))
        {
            places.push(top.key("groups").key(name.as_str()).key("chap_accounts"));
        }
    }
    places
}

/// What has changed in the file, and stays as it is because a flag or a variable says otherwise.
fn hidden(former: &Config, read: &Reading, changes: &[Change]) -> Result<Vec<Change>, ConfigError> {
    let in_file = compare(former, &read.file)?;
    let differs = compare(&read.file, &read.effective)?;
    let has = |list: &[Change], place: &Place| list.iter().any(|other| other.place == *place);
    let portals = read.file.portals != read.effective.portals;
    let hidden = in_file.changes.into_iter().filter(|change| {
        let overridden = has(&differs.changes, &change.place)
            || (portals && change.key.path.starts_with("portal"));
        change.key.flag.is_some() && !has(changes, &change.place) && overridden
    });
    Ok(hidden.collect())
}

/// What is wrong with the whole is wrong with the file.
fn in_file(file: &Path, error: ConfigError) -> ConfigError {
    ConfigError {
        file: error.file.or_else(|| Some(file.to_owned())),
        ..error
    }
}

fn refused(error: ConfigError) -> ControlError {
    ControlError::new(ErrorKind::Invalid, "configuration", error.to_string()).hint(
        "nothing has changed; `holdfast config check` finds what is wrong before the server does",
    )
}

/// Writes down what came of it.
fn tell(
    service: &Service,
    file: &Path,
    trigger: Trigger,
    done: &Result<ConfigReloadView, ControlError>,
) {
    let why = match trigger {
        Trigger::Command => "",
        Trigger::HangUp => " (SIGHUP)",
    };
    let event = match done {
        Ok(view) => {
            for key in &view.keys {
                tracing::info!(
                    from = %key.from.as_deref().unwrap_or("not set"),
                    to = %key.to.as_deref().unwrap_or("not set"),
                    note = key.note,
                    "{}: {}",
                    key.key,
                    report::outcome(key.outcome)
                );
            }
            let text = format!(
                "{} was read again{why}: {}",
                file.display(),
                report::summary(view)
            );
            tracing::info!("{text}");
            for session in &view.refused_sessions {
                tracing::warn!(
                    volume = session.volume,
                    initiator = session.initiator,
                    address = session.address,
                    "a session could not log in again: {}",
                    session.reason
                );
            }
            Event::new(EventKind::ConfigReloaded, text)
        }
        Err(error) => {
            let state = match error.kind {
                ErrorKind::Invalid => "is as before",
                _ => "could not all be applied",
            };
            let text = format!("the configuration {state}{why}: {}", error.message);
            tracing::error!("{text}");
            Event::new(EventKind::ConfigRefused, text)
        }
    };
    service.events().note(event);
}

/// What becomes of a key with that effect.
const fn outcome_of(effect: Effect) -> KeyOutcome {
    match effect {
        Effect::Live(_) => KeyOutcome::Applied,
        Effect::Upgrade(_) => KeyOutcome::NeedsUpgrade,
        Effect::Restart(_) => KeyOutcome::NeedsRestart,
        Effect::Never(_) => KeyOutcome::Fixed,
    }
}

#[cfg(test)]
mod tests;

//! The configuration file: TOML, every key optional, every key in `tuning/holdfast.toml`.
//!
//! Values are checked as they are parsed, so that an error names file, line, key and what was
//! expected. The command line overrides the file, the file overrides the profile.

mod access;
pub mod chap;
mod error;
pub mod keys;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{AccessConfig, ChapRule};
pub use error::ConfigError;
pub use values::{
    Advertise, CoreList, Length, Listen, LogFilter, LogFormat, MetricsListen, Network, Span,
};

use super::access::{AccessBook, Origin};
use super::catalogue::Policy;
use crate::base::limits;
use crate::base::tuning::Overrides;
use crate::iscsi::AuthPolicy;
use crate::target::Redirect;
use crate::volume::{CommonSettings, InquiryText, NamingAuthority};
use crate::volume::{GroupName, ReservationScope, SanName};

/// The profile where none is named.
pub const PROFILE_DEFAULT: &str = "efficiency";
/// Portals of one server.
pub const PORTALS_MAX: usize = 64;
const REACTORS_DEFAULT_MAX: usize = 8;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory of the catalogue, of volumes' files and of the control socket.
    pub data: PathBuf,
    /// The control socket; `control.sock` in the data directory where left out.
    pub control: Option<PathBuf>,
    /// How many reactors; one per core up to 8 where left out.
    #[serde(deserialize_with = "values::reactors")]
    pub reactors: Option<u32>,
    /// Cores to pin reactors to, one each; not together with `reactors`.
    pub cores: Option<CoreList>,
    /// A profile's name, or its file.
    pub profile: String,
    /// What the SAN is called.
    pub san: SanConfig,
    /// Where initiators connect to.
    #[serde(rename = "portal")]
    pub portals: Vec<PortalConfig>,
    /// How much of what.
    pub limits: LimitsConfig,
    /// Who may log in, where a group does not say otherwise.
    pub access: AccessConfig,
    /// Groups with rules of their own.
    pub groups: BTreeMap<GroupName, AccessConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What is shown to whoever watches the server.
    pub metrics: MetricsConfig,
    /// Where it is written down who changed what.
    pub audit: AuditConfig,
    /// Knobs that differ from the profile's.
    pub tuning: Overrides,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("holdfast-data"),
            control: None,
            reactors: None,
            cores: None,
            profile: PROFILE_DEFAULT.to_owned(),
            san: SanConfig::default(),
            portals: vec![PortalConfig::default()],
            limits: LimitsConfig::default(),
            access: AccessConfig::default(),
            groups: BTreeMap::new(),
            log: LogConfig::default(),
            metrics: MetricsConfig::default(),
            audit: AuditConfig::default(),
            tuning: Overrides::default(),
        }
    }
}

/// What the SAN is called, and what its volumes say they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SanConfig {
    /// Its name; fixed for a data directory, because targets' names contain it.
    pub name: SanName,
    /// Who gives out the targets' names; those of volumes that exist stay.
    pub authority: NamingAuthority,
    /// T10 VENDOR IDENTIFICATION of every volume.
    pub vendor: InquiryText<8>,
    /// PRODUCT IDENTIFICATION of every volume.
    pub product: InquiryText<16>,
    /// Whose reservation registrations are, in volumes made from now on; those that exist keep theirs.
    pub reservation_scope: ReservationScope,
}

impl Default for SanConfig {
    fn default() -> Self {
        let presented = CommonSettings::default();
        Self {
            name: valid("holdfast"),
            authority: NamingAuthority::default(),
            vendor: presented.vendor,
            product: presented.product,
            reservation_scope: presented.reservation_scope,
        }
    }
}

/// One of the defaults above, checked like any other value; tests build every default.
#[allow(clippy::panic, reason = "a wrong default is a programmer's error")]
fn valid<T: TryFrom<String>>(text: &str) -> T
where
    T::Error: std::fmt::Display,
{
    T::try_from(text.to_owned()).unwrap_or_else(|error| panic!("default {text:?}: {error}"))
}

/// One portal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PortalConfig {
    /// Where it listens.
    pub listen: Listen,
    /// What discovery gives out for it, where that differs, as behind NAT.
    pub advertise: Option<Advertise>,
    /// Its portal group; where left out the one it had before, or one that none has had.
    #[serde(deserialize_with = "values::tag")]
    pub tag: Option<u16>,
    /// Where it sends every login but those of discovery sessions.
    pub redirect: Option<Advertise>,
    /// Whether initiators may remember that and never come back.
    pub redirect_permanent: bool,
}

impl PortalConfig {
    /// Where it sends logins, if it does.
    #[must_use]
    pub fn redirection(&self) -> Option<Redirect> {
        self.redirect.as_ref().map(|address| Redirect {
            address: address.to_string(),
            permanent: self.redirect_permanent,
        })
    }

    fn redirects_to_itself(&self) -> bool {
        let redirect = self.redirect.as_ref().map(ToString::to_string);
        redirect == Some(self.listen.to_string())
    }
}

/// How much of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Sessions that may be logged in to one volume at once.
    #[serde(deserialize_with = "values::sessions")]
    pub sessions_per_volume: u32,
    /// Of those, how many may be of one initiator name; `None`: all of them.
    #[serde(deserialize_with = "values::budget")]
    pub sessions_per_initiator: Option<u32>,
    /// Registrations that one volume holds.
    #[serde(deserialize_with = "values::registrations")]
    pub registrations_per_volume: u32,
    /// A connection that has not logged in by then is dropped.
    pub login_timeout: Span,
    /// An initiator silent for that long is asked with a NOP-In.
    pub nop_interval: Span,
    /// How long sessions have to log out when the server drains.
    pub drain_timeout: Span,
    /// How long a reservation command may take, its wait for writes of fenced nexuses included.
    #[serde(deserialize_with = "values::fence_timeout")]
    pub fence_timeout: Span,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            sessions_per_volume: limits::VOLUME_SESSIONS_DEFAULT,
            sessions_per_initiator: None,
            registrations_per_volume: limits::REGISTRATIONS_DEFAULT,
            login_timeout: Span(limits::LOGIN_TIMEOUT),
            nop_interval: Span(limits::NOP_INTERVAL),
            drain_timeout: Span(limits::DRAIN_TIMEOUT),
            fence_timeout: Span(limits::FENCE_TIMEOUT),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level or directives.
    pub level: LogFilter,
    /// Text or JSON.
    pub format: LogFormat,
    /// An I/O that takes that long is logged, with where its time went; where left out none is.
    #[serde(deserialize_with = "values::slow_io")]
    pub slow_io: Option<Span>,
}

/// What is shown to whoever watches the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where the metrics endpoint listens; where left out there is none. It asks nobody who he is.
    pub listen: Option<MetricsListen>,
    /// Whether each session has metrics of its own: some lines of the page for each.
    pub sessions: bool,
}

/// Where it is written down who changed what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// The file, of mode 0600; where left out nothing is written down.
    pub path: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file can't be read, or what it says can't be used.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let size = std::fs::metadata(path)
            .map_err(|error| ConfigError::of_file(path, format!("can't be read: {error}")))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(ConfigError::of_file(
                path,
                "expected a file of at most 1 MiB",
            ));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::of_file(path, format!("can't be read: {error}")))?;
        Self::parse(path, &text)
    }

    /// Parses and checks the text of `path`.
    ///
    /// # Errors
    /// What it says can't be used.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| ConfigError::of_toml(path, text, &error))?;
        config.check().map_err(|error| ConfigError {
            file: Some(path.to_owned()),
            ..error
        })?;
        Ok(config)
    }

    /// Checks what no value can tell alone.
    ///
    /// # Errors
    /// Two keys contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.reactors.is_some() && self.cores.is_some() {
            let message = "expected either reactors or cores: cores has one reactor each";
            return Err(ConfigError::of_key("reactors", message));
        }
        if !(1..=PORTALS_MAX).contains(&self.portals.len()) {
            let message = format!(
                "expected 1 to {PORTALS_MAX} portals, got {}",
                self.portals.len()
            );
            return Err(ConfigError::of_key("portal", message));
        }
        if self.portals.iter().any(PortalConfig::redirects_to_itself) {
            let message = "expected the address of another portal, got the portal's own";
            return Err(ConfigError::of_key("portal.redirect", message));
        }
        self.access.check("access")?;
        for (name, access) in &self.groups {
            access.check(&format!("groups.{name}"))?;
        }
        if self.groups.len() > limits::GROUPS_MAX {
            let message = format!("expected at most {} groups", limits::GROUPS_MAX);
            return Err(ConfigError::of_key("groups", message));
        }
        for (key, span) in [
            ("limits.login_timeout", self.limits.login_timeout),
            ("limits.nop_interval", self.limits.nop_interval),
        ] {
            if span.0.is_zero() {
                return Err(ConfigError::of_key(key, "expected more than zero"));
            }
        }
        Ok(())
    }

    /// The control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.control
            .clone()
            .unwrap_or_else(|| control_socket_in(&self.data))
    }

    /// How many reactors to start.
    #[must_use]
    pub fn reactor_count(&self) -> usize {
        let chosen = self.reactors.and_then(|count| usize::try_from(count).ok());
        let pinned = self.cores.as_ref().map(|list| list.cores().len());
        chosen.or(pinned).unwrap_or_else(|| {
            std::thread::available_parallelism()
                .map_or(1, std::num::NonZero::get)
                .min(REACTORS_DEFAULT_MAX)
        })
    }

    /// What holds for everything in the catalogue.
    ///
    /// # Errors
    /// CHAP accounts can't be read.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        Ok(Policy {
            san: self.san.name.clone(),
            authority: self.san.authority.clone(),
            settings: CommonSettings {
                sessions_max: self.limits.sessions_per_volume,
                vendor: self.san.vendor.clone(),
                product: self.san.product.clone(),
                reservation_scope: self.san.reservation_scope,
            },
            access: self.access_book()?,
        })
    }

    /// Who may log in to each group that has rules of its own, and to all others.
    ///
    /// # Errors
    /// CHAP accounts can't be read.
    pub fn access_book(&self) -> Result<AccessBook, ConfigError> {
        let mut defaults = access::built_in();
        if let Ok(accounts) = std::env::var(chap::ACCOUNTS_VARIABLE) {
            defaults.access.auth = AuthPolicy::Chap(chap::parse_accounts(&accounts)?);
            defaults.origins.chap_accounts = Origin::Environment;
        }
        if let Some(sessions) = self.limits.sessions_per_initiator {
            defaults.access.sessions_per_initiator = Some(sessions);
            defaults.origins.sessions_per_initiator = Origin::Limits;
        }
        let defaults = self.access.over(&defaults, Origin::Access)?;
        let groups = self
            .groups
            .iter()
            .map(|(name, access)| Ok((name.clone(), access.over(&defaults, Origin::Group)?)))
            .collect::<Result<_, ConfigError>>()?;
        Ok(AccessBook { defaults, groups })
    }
}

/// The control socket of a data directory.
#[must_use]
pub fn control_socket_in(data: &Path) -> PathBuf {
    data.join("control.sock")
}

#[cfg(test)]
mod tests;

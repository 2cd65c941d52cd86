//! `[access]` and `[groups.NAME]`: who may log in, and on what terms.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{self, Length, Network};
use super::{ConfigError, chap, valid};
use crate::control::access::{Origin, Origins, Ruling};
use crate::iscsi::AuthPolicy;
use crate::target::Access;
use crate::volume::{Initiators, IscsiName};

/// Who may log in. What a group leaves out is as in `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Networks that are let in; an empty list lets nobody in.
    pub allow: Option<Vec<Network>>,
    /// iSCSI names that are let in; an empty list lets all in.
    pub initiators: Option<BTreeSet<IscsiName>>,
    /// Whether CHAP is asked for at all; left out: as is inherited.
    pub chap: Option<ChapRule>,
    /// A file of CHAP accounts, of mode 0600.
    pub chap_accounts: Option<PathBuf>,
    /// Refuse sessions without CRC32C on headers and data.
    #[serde(alias = "require_digests")]
    pub enforce_crc: Option<bool>,
    /// Sessions that one initiator name may have at once on one volume.
    #[serde(deserialize_with = "values::budget")]
    pub sessions_per_initiator: Option<u32>,
    /// MaxBurstLength that the target offers (RFC 7143 section 13.13).
    pub max_burst_length: Option<Length>,
    /// FirstBurstLength that the target offers (section 13.14).
    pub first_burst_length: Option<Length>,
    /// MaxRecvDataSegmentLength that the target declares (section 13.12).
    pub max_receive_segment: Option<Length>,
}

/// Whether CHAP is asked for, where no accounts are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChapRule {
    /// As `[access]` says for a group, and the environment for `[access]`.
    Inherit,
    /// It is not, whatever would be inherited.
    None,
}

/// What is let in where nothing is configured: loopback and private networks, not the internet.
pub(super) const ALLOW_DEFAULT: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// What holds where nothing is configured.
pub(super) fn built_in() -> Ruling {
    let mut access = Access::default();
    let networks = ALLOW_DEFAULT.iter().map(|text| valid::<Network>(text).0);
    access.rules.networks = networks.collect();
    Ruling {
        access,
        origins: Origins::default(),
    }
}

impl AccessConfig {
    /// `ruling`, with what this says in its place; this comes from `origin`.
    pub(super) fn over(&self, ruling: &Ruling, origin: Origin) -> Result<Ruling, ConfigError> {
        let Ruling {
            mut access,
            mut origins,
        } = ruling.clone();
        if let Some(allow) = &self.allow {
            access.rules.networks = allow.iter().map(|network| network.0).collect();
            origins.allow = origin;
        }
        if let Some(initiators) = &self.initiators {
            access.rules.initiators = match initiators.is_empty() {
                true => Initiators::Any,
                false => Initiators::Only(initiators.clone()),
            };
            origins.initiators = origin;
        }
        if let Some(path) = &self.chap_accounts {
            access.auth = AuthPolicy::Chap(chap::read_accounts(path)?);
            origins.chap_accounts = origin;
        } else if self.chap == Some(ChapRule::None) {
            access.auth = AuthPolicy::None;
            origins.chap_accounts = origin;
        }
        if let Some(enforce) = self.enforce_crc {
            access.require_digests = enforce;
            origins.enforce_crc = origin;
        }
        if let Some(sessions) = self.sessions_per_initiator {
            access.sessions_per_initiator = Some(sessions);
            origins.sessions_per_initiator = origin;
        }
        if let Some(length) = self.max_burst_length {
            access.offer.max_burst_bytes = length.bytes();
            origins.max_burst_length = origin;
        }
        if let Some(length) = self.first_burst_length {
            access.offer.first_burst_bytes = length.bytes();
            origins.first_burst_length = origin;
        }
        if let Some(length) = self.max_receive_segment {
            access.offer.receive_data_segment_bytes = Some(length.bytes());
            origins.max_receive_segment = origin;
        }
        Ok(Ruling { access, origins })
    }

    /// Passes if no two keys of this table, which is called `table`, contradict each other.
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        if let (Some(first), Some(max)) = (self.first_burst_length, self.max_burst_length)
            && first.bytes() > max.bytes()
        {
            return Err(ConfigError::of_key(
                &format!("{table}.first_burst_length"),
                format!("expected at most max_burst_length, which is {max}, got {first}"),
            ));
        }
        if let (Some(rule), Some(path)) = (self.chap, &self.chap_accounts) {
            let rule = match rule {
                ChapRule::Inherit => "inherit",
                ChapRule::None => "none",
            };
            return Err(ConfigError::of_key(
                &format!("{table}.chap"),
                format!(
                    "expected either chap = \"{rule}\" or chap_accounts, got both; chap_accounts is {}",
                    path.display()
                ),
            ));
        }
        Ok(())
    }
}

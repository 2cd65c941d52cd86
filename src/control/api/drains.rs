//! Taking nodes out of service, and letting them in again.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::volume::{IscsiName, VolumeName};

/// Which node, and on which volume: what fits everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainSelect {
    /// Of this iSCSI name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<IscsiName>,
    /// From this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Of this volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// Every node; nothing else is given then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
}

/// Parameters of `session.drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDrain {
    /// Whom it concerns.
    #[serde(flatten)]
    pub select: DrainSelect,
    /// The `ADDR:PORT` or `NAME:PORT` that logins are sent to; left out: they are refused.
    #[serde(default)]
    pub redirect: Option<String>,
    /// How long sessions have to log out, in milliseconds.
    pub deadline_ms: u64,
}

/// Parameters of `session.admit`: whom a drain concerned, as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAdmit {
    /// Whom it concerns.
    #[serde(flatten)]
    pub select: DrainSelect,
}

/// A node that is out of service, as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainView {
    /// Of this iSCSI name; `None`: of any.
    pub initiator: Option<String>,
    /// From this address; `None`: from any.
    pub address: Option<String>,
    /// Of this volume; `None`: of all.
    pub volume: Option<String>,
    /// Where its logins are sent; `None`: they are refused.
    pub redirect: Option<String>,
    /// When it began.
    pub since_ms: u64,
    /// For how long sessions that are left may still log out before they are dropped.
    pub left_ms: u64,
    /// Sessions that are left.
    pub sessions: usize,
}

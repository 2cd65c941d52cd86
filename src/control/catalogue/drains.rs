//! Which nodes are out of service, over restarts: a node that an operator took out must not come back
//! because the server has.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::volume::{IscsiName, VolumeId};

/// A node that is out of service. What is `None` is not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptDrain {
    /// Never given twice while others stand.
    pub id: u64,
    /// Of this name.
    #[serde(default)]
    pub initiator: Option<IscsiName>,
    /// From this address.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Of this volume.
    #[serde(default)]
    pub volume: Option<VolumeId>,
    /// Where its logins are sent; `None`: they are refused.
    #[serde(default)]
    pub redirect: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// When sessions that are left are dropped, in milliseconds since 1970.
    pub deadline_ms: u64,
}

impl KeptDrain {
    /// Whether both concern the same sessions.
    #[must_use]
    pub fn is_of_same_scope(&self, other: &Self) -> bool {
        (&self.initiator, self.address, self.volume)
            == (&other.initiator, other.address, other.volume)
    }
}

//! What a login looks up: the targets by name, and the portals.

use super::volume::Volume;
use crate::iscsi::TargetRecord;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Published as a whole behind one RCU cell; reactors read it at login and discovery alone.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    /// By normalised iSCSI name.
    pub(crate) targets: BTreeMap<String, Arc<Volume>>,
    pub(crate) portals: Vec<PortalRecord>,
    /// Logins are refused: the target is draining.
    pub(crate) draining: bool,
}

/// A portal that listens.
#[derive(Debug, Clone)]
pub(crate) struct PortalRecord {
    pub(crate) address: SocketAddr,
    pub(crate) tag: u16,
    /// What discovery gives out instead of the address a connection came in on.
    pub(crate) advertise: Option<String>,
    /// Where logins are sent instead.
    pub(crate) redirect: Option<Arc<Redirect>>,
}

/// Where a portal sends every login but those of discovery sessions (RFC 7143 section 6.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// TargetAddress without a portal group tag: `ADDR:PORT` or `NAME:PORT` (section 13.8).
    pub address: String,
    /// Whether the target has moved for good: the initiator may then forget the old address.
    pub permanent: bool,
}

impl Directory {
    /// The tags of all portal groups, ascending.
    pub(crate) fn tags(&self) -> Vec<u16> {
        let mut tags: Vec<u16> = self.portals.iter().map(|portal| portal.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// What SendTargets tells an initiator (RFC 7143 section 4.3): the targets it may use, under the
    /// addresses of every portal. A portal on a wildcard address is given out under the address that
    /// this connection reached.
    pub(crate) fn records(
        &self,
        initiator: &str,
        peer: IpAddr,
        reached: SocketAddr,
        only: Option<&str>,
    ) -> Vec<TargetRecord> {
        self.targets
            .values()
            .filter(|volume| only.is_none_or(|name| name.eq_ignore_ascii_case(&volume.name)))
            .filter(|volume| volume.access.shows(peer, initiator))
            .map(|volume| TargetRecord {
                name: volume.name.clone(),
                alias: None,
                addresses: self
                    .portals
                    .iter()
                    .map(|p| (p.address_for(reached), p.tag))
                    .collect(),
            })
            .collect()
    }
}

impl PortalRecord {
    fn address_for(&self, reached: SocketAddr) -> String {
        if let Some(advertise) = &self.advertise {
            return advertise.clone();
        }
        if self.address.ip().is_unspecified() {
            return SocketAddr::new(reached.ip(), self.address.port()).to_string();
        }
        self.address.to_string()
    }
}

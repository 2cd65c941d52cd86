//! What a login looks up: the targets by name, and the portals.

use super::drains::Drain;
use super::volume::Volume;
use crate::base::rcu;
use crate::iscsi::{AuthPolicy, ChapPolicy, TargetRecord};
use crate::volume::IscsiName;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Published as a whole behind one RCU cell; reactors read it at login and discovery alone.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    /// By normalised iSCSI name.
    pub(crate) targets: BTreeMap<String, Arc<Volume>>,
    pub(crate) portals: Vec<PortalRecord>,
    /// Nodes that are out of service.
    pub(crate) drains: Vec<Arc<Drain>>,
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

/// Where a portal, or a drain, sends every login but those of discovery sessions (RFC 7143 section
/// 6.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// TargetAddress without a portal group tag: `ADDR:PORT` or `NAME:PORT` (section 13.8).
    pub address: String,
    /// Whether the target has moved for good: the initiator may then forget the old address.
    pub permanent: bool,
}

/// What SendTargets finds for an initiator.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: Vec<TargetRecord>,
    /// Targets that are not shown because they ask for CHAP and the initiator has not proved itself to
    /// them.
    pub(crate) unproved: usize,
}

/// Who asks for targets.
pub(crate) struct Seeker<'a> {
    pub(crate) initiator: &'a str,
    pub(crate) peer: IpAddr,
    /// The address that its connection reached.
    pub(crate) reached: SocketAddr,
    /// The CHAP policies that it has satisfied.
    pub(crate) satisfied: &'a [Arc<ChapPolicy>],
}

impl Directory {
    /// The drain that keeps this initiator off a volume, if any.
    pub(crate) fn drain_of(
        &self,
        initiator: &str,
        address: IpAddr,
        volume: &Volume,
        reached: SocketAddr,
    ) -> Option<&Arc<Drain>> {
        let mut drains = self.drains.iter();
        drains.find(|drain| drain.concerns(initiator, address, volume.id, reached))
    }

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
    ///
    /// A target that asks for CHAP is shown to those alone who have satisfied it.
    pub(crate) fn find(&self, seeker: &Seeker<'_>, only: Option<&str>) -> Found {
        let mut found = Found::default();
        let Ok(initiator) = IscsiName::new(seeker.initiator) else {
            return found;
        };
        let guard = rcu::pin();
        for volume in self.targets.values() {
            let access = volume.access.load(&guard);
            if only.is_some_and(|name| !name.eq_ignore_ascii_case(&volume.name))
                || !access.is_open_to(seeker.peer, &initiator)
            {
                continue;
            }
            if !access.is_satisfied_by(seeker.satisfied) {
                found.unproved += 1;
                continue;
            }
            let portals = self.portals.iter();
            found.records.push(TargetRecord {
                name: volume.name.clone(),
                alias: None,
                addresses: portals
                    .map(|portal| (portal.address_for(seeker.reached), portal.tag))
                    .collect(),
            });
        }
        found
    }

    /// What a discovery session may prove: the CHAP policies of the targets that networks and names
    /// let it use, each once.
    pub(crate) fn discovery_policy(&self, peer: IpAddr, initiator: &str) -> AuthPolicy {
        let mut policies: Vec<Arc<ChapPolicy>> = Vec::new();
        let Ok(initiator) = IscsiName::new(initiator) else {
            return AuthPolicy::None;
        };
        let guard = rcu::pin();
        for volume in self.targets.values() {
            let access = volume.access.load(&guard);
            if let AuthPolicy::Chap(policy) = &access.auth
                && !policies.iter().any(|known| Arc::ptr_eq(known, policy))
                && access.is_open_to(peer, &initiator)
            {
                policies.push(Arc::clone(policy));
            }
        }
        match policies.is_empty() {
            true => AuthPolicy::None,
            false => AuthPolicy::Optional(policies),
        }
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

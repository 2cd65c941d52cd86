//! A volume as every reactor sees it.

use super::shards::ShardMap;
use crate::backend::Store;
use crate::base::rcu::RcuCell;
use crate::iscsi::{AuthPolicy, ChapPolicy, Offer};
use crate::scsi::LogicalUnit;
use crate::volume::{AccessRules, IscsiName, ReservationScope, VolumeId};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// A small number for each attached volume: the position in every reactor's tables. It goes to
/// another volume only after every reactor has let go of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeIndex(pub u16);

/// What all reactors share of one volume: nothing here is ever locked.
pub(crate) struct Volume {
    pub(crate) index: VolumeIndex,
    pub(crate) id: VolumeId,
    /// The target's iSCSI name, normalised.
    pub(crate) name: String,
    /// TargetAlias.
    pub(crate) alias: String,
    /// The reactor that admits sessions and is the only writer of `unit`.
    pub(crate) home: usize,
    pub(crate) shards: ShardMap,
    /// Everything about the logical unit that changes rarely, the reservation snapshot included.
    pub(crate) unit: RcuCell<LogicalUnit>,
    pub(crate) store: Arc<dyn Store>,
    /// Sessions at once; it may change at any time, and holds for logins from then on.
    pub(crate) sessions_max: AtomicU32,
    /// Registrations; it may change as well.
    pub(crate) registrations_max: AtomicU32,
    pub(crate) reservation_scope: ReservationScope,
    /// Who may log in; it may change at any time, and holds for logins from then on.
    pub(crate) access: RcuCell<Access>,
    /// Tokens that stand for data of this volume (POPULATE TOKEN); each can be revoked by a write.
    pub(crate) tokens: RcuCell<Vec<Arc<super::tokens::Rod>>>,
    /// Reads yield zeros and need no buffer.
    pub(crate) always_zero: bool,
    /// Refuses logins: the volume is going away.
    pub(crate) closing: AtomicBool,
}

/// Who may log in to a volume, and how. The default lets nobody in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Networks and initiator names.
    pub rules: AccessRules,
    /// What an initiator has to prove.
    pub auth: AuthPolicy,
    /// Refuse logins that do not negotiate CRC32C for headers and data.
    pub require_digests: bool,
    /// Sessions that one initiator name may have at once on one volume; `None`: as many as there are
    /// places.
    pub sessions_per_initiator: Option<u32>,
    /// The target's side of the negotiation: bursts and segments.
    pub offer: Offer,
}

impl Access {
    /// Whether networks and names let this initiator log in. What it has to prove is another matter.
    pub(crate) fn is_open_to(&self, peer: IpAddr, initiator: &IscsiName) -> bool {
        self.rules.admit(peer, initiator).is_ok()
    }

    /// Whether who has satisfied these policies has proved enough.
    pub(crate) fn is_satisfied_by(&self, satisfied: &[Arc<ChapPolicy>]) -> bool {
        match &self.auth {
            AuthPolicy::None | AuthPolicy::Optional(_) => true,
            AuthPolicy::Chap(policy) => satisfied.iter().any(|known| Arc::ptr_eq(known, policy)),
        }
    }
}

//! The rules of access as they change while the target runs: what a session has proved, and which rule
//! would keep it out now.
//!
//! New rules hold for every login that has not ended by then. A session that is logged in stays: the
//! rules are asked at the door. Between the two nobody slips through: a session is either judged by the
//! new rules when it takes its seat, or found by who asks for [`Target::unwelcome`] after they were set.

use super::core::{Core, Turn};
use super::handle::{Target, TargetError, find};
use super::session::Session;
use super::volume::Access;
use crate::base::rcu;
use crate::iscsi::{AuthPolicy, ChapPolicy, LoginStatus, LoginSummary};
use crate::volume::{Denied, IscsiName, VolumeId};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What an initiator has proved when it logged in.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// The name of its CHAP account, if it has proved one.
    account: Option<String>,
    /// The policies that have the account, as they were then.
    policies: Vec<Arc<ChapPolicy>>,
}

impl Proof {
    /// What a login has proved.
    pub(crate) fn of(summary: &LoginSummary) -> Self {
        Self {
            account: summary.authenticated_as.clone(),
            policies: summary.satisfied.clone(),
        }
    }

    /// What another process says that it has proved there: the account, if the rules here know one of
    /// that name. Its secret is not handed over, and taken for the one that is configured.
    pub(crate) fn handed_over(account: Option<String>, access: &Access) -> Self {
        let policies = match (&access.auth, &account) {
            (AuthPolicy::Chap(policy), Some(name))
                if policy.accounts.iter().any(|known| known.name == *name) =>
            {
                vec![Arc::clone(policy)]
            }
            _ => Vec::new(),
        };
        Self { account, policies }
    }

    /// The name of the CHAP account, if one was proved.
    pub(crate) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The policies that it has satisfied.
    pub(crate) fn policies(&self) -> &[Arc<ChapPolicy>] {
        &self.policies
    }

    /// Whether it would do for `auth`: the account is still there and its secret is the one it proved.
    fn satisfies(&self, auth: &AuthPolicy) -> bool {
        let AuthPolicy::Chap(asked) = auth else {
            return true;
        };
        let Some(name) = &self.account else {
            return false;
        };
        let mut proved = self.policies.iter().flat_map(|policy| &policy.accounts);
        proved.any(|account| account.name == *name && asked.accounts.contains(account))
    }
}

/// The first rule that keeps an initiator out, in the order in which a login is judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// Its address or its name is not let in.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// It has not proved an account that is let in.
    #[error("it has not proved a CHAP account that is let in")]
    Proof,
    /// It has not negotiated CRC32C where that is required.
    #[error("it has not negotiated HeaderDigest=CRC32C and DataDigest=CRC32C")]
    Digests,
}

impl BrokenRule {
    /// What a login is told that breaks it (RFC 7143 section 11.13.5).
    const fn status(&self) -> LoginStatus {
        match self {
            Self::Denied(_) => LoginStatus::AuthorizationFailure,
            Self::Proof => LoginStatus::AuthenticationFailure,
            Self::Digests => LoginStatus::InitiatorError,
        }
    }
}

/// A session that could not log in again as it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwelcome {
    /// Its volume.
    pub volume: VolumeId,
    /// The target's part of the session id.
    pub tsih: u16,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// Its address.
    pub address: SocketAddr,
    /// Why.
    pub rule: BrokenRule,
}

impl Access {
    /// The rule that a session breaks, if it breaks one.
    fn broken_by(&self, session: &Session, address: IpAddr) -> Option<BrokenRule> {
        let name = session.nexus.nexus.initiator.name();
        // A name that is none has not logged in.
        if let Ok(name) = IscsiName::new(name)
            && let Err(denied) = self.rules.admit(address, &name)
        {
            return Some(denied.into());
        }
        if !session.proof.satisfies(&self.auth) {
            return Some(BrokenRule::Proof);
        }
        let digests = session.parameters.header_digest && session.parameters.data_digest;
        (self.require_digests && !digests).then_some(BrokenRule::Digests)
    }
}

impl Session {
    /// Passes unless the rules have changed since its login was judged, and it would be refused now.
    pub(crate) fn check_terms(&self, address: IpAddr) -> Result<(), (LoginStatus, String)> {
        let guard = rcu::pin();
        match self.volume.access.load(&guard).broken_by(self, address) {
            None => Ok(()),
            Some(rule) => Err((rule.status(), rule.to_string())),
        }
    }
}

impl Target {
    /// Has logins to a volume judged by other rules from now on. Sessions that are there stay.
    ///
    /// # Errors
    /// When the volume is unknown.
    pub fn set_access(&self, id: VolumeId, access: Access) -> Result<(), TargetError> {
        let volume = find(&self.control(), id)?;
        volume.access.store(access, &rcu::pin());
        Ok(())
    }

    /// The sessions that could not log in again, by the rules that `proposed` has for their volumes, or
    /// else by those that hold.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn unwelcome(
        &self,
        proposed: &Arc<BTreeMap<VolumeId, Access>>,
    ) -> Result<Vec<Unwelcome>, TargetError> {
        let mut all = Vec::new();
        for reactor in 0..self.reactors() {
            let proposed = Arc::clone(proposed);
            let look = move |core: &mut Core, _: &mut Turn<'_, '_>| core.unwelcome(&proposed);
            let found = self.ask(reactor, move |local, _| async move {
                local.with_core(look).await
            })??;
            all.extend(found);
        }
        all.sort_by(|one, other| (&one.initiator, one.tsih).cmp(&(&other.initiator, other.tsih)));
        Ok(all)
    }
}

impl Core {
    fn unwelcome(&self, proposed: &BTreeMap<VolumeId, Access>) -> Vec<Unwelcome> {
        let guard = rcu::pin();
        let found = self.connections.iter().filter_map(|(_, conn)| {
            let session = conn.session.as_deref()?;
            let volume = session.volume.id;
            let access = proposed.get(&volume);
            let access = access.unwrap_or_else(|| session.volume.access.load(&guard));
            let rule = access.broken_by(session, conn.peer.ip())?;
            Some(Unwelcome {
                volume,
                tsih: session.nexus.tsih,
                initiator: session.nexus.nexus.initiator.name().to_owned(),
                address: conn.peer,
                rule,
            })
        });
        found.collect()
    }
}

//! Who may log in to the volumes of which group, and what says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::iscsi::{AuthPolicy, ChapPolicy};
use crate::target::Access;
use crate::volume::{Group, GroupName};

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nothing says anything.
    #[default]
    Default,
    /// The environment: `HOLDFAST_CHAP_ACCOUNTS`.
    Environment,
    /// `[limits]`, for all volumes.
    Limits,
    /// `[access]`, for all groups.
    Access,
    /// `[groups.NAME]`.
    Group,
}

/// Where each rule comes from; the names are those of the configuration's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Origins {
    /// What says `allow`.
    pub allow: Origin,
    /// What says `initiators`.
    pub initiators: Origin,
    /// What says `chap_accounts`.
    pub chap_accounts: Origin,
    /// What says `enforce_crc`.
    pub enforce_crc: Origin,
    /// What says `sessions_per_initiator`.
    pub sessions_per_initiator: Origin,
    /// What says `max_burst_length`.
    pub max_burst_length: Origin,
    /// What says `first_burst_length`.
    pub first_burst_length: Origin,
    /// What says `max_receive_segment`.
    pub max_receive_segment: Origin,
}

/// Rules, and where each comes from.
#[derive(Debug, Clone, Default)]
pub struct Ruling {
    /// The rules.
    pub access: Access,
    /// What says so.
    pub origins: Origins,
}

/// Access by group, as the configuration says.
#[derive(Debug, Clone, Default)]
pub struct AccessBook {
    /// For groups that have none of their own.
    pub defaults: Ruling,
    /// Groups that have.
    pub groups: BTreeMap<GroupName, Ruling>,
}

impl AccessBook {
    /// What holds for a group.
    #[must_use]
    pub fn of(&self, group: &GroupName) -> &Access {
        &self.ruling_of(group).access
    }

    /// What holds for a group, and what says so.
    #[must_use]
    pub fn ruling_of(&self, group: &GroupName) -> &Ruling {
        self.groups.get(group).unwrap_or(&self.defaults)
    }

    /// Takes CHAP policies over from `former` where they are the same: what sessions have proved to them
    /// they have proved to these.
    pub fn keep_policies_of(&mut self, former: &Self) {
        keep_policy(&mut self.defaults.access.auth, &former.defaults.access.auth);
        for (name, ruling) in &mut self.groups {
            keep_policy(&mut ruling.access.auth, &former.of(name).auth);
        }
    }

    /// Whether a group's CHAP accounts, or those of all others, are not those of `former`, after
    /// [`AccessBook::keep_policies_of`].
    #[must_use]
    pub fn accounts_differ(&self, former: &Self, group: Option<&GroupName>) -> bool {
        let of = |book: &Self| match group {
            Some(group) => policy(&book.of(group).auth),
            None => policy(&book.defaults.access.auth),
        };
        match (of(self), of(former)) {
            (Some(own), Some(other)) => !Arc::ptr_eq(&own, &other),
            (None, None) => false,
            _ => true,
        }
    }

    /// What the model keeps of it: everything but secrets.
    #[must_use]
    pub fn model_of(&self, group: &GroupName) -> Group {
        let access = self.of(group);
        Group {
            access: access.rules.clone(),
            digests_required: access.require_digests,
            ..Group::default()
        }
    }
}

fn policy(auth: &AuthPolicy) -> Option<Arc<ChapPolicy>> {
    match auth {
        AuthPolicy::Chap(policy) => Some(policy.clone()),
        AuthPolicy::None | AuthPolicy::Optional(_) => None,
    }
}

fn keep_policy(auth: &mut AuthPolicy, former: &AuthPolicy) {
    if let (AuthPolicy::Chap(own), AuthPolicy::Chap(former)) = (auth, former)
        && own == former
    {
        *own = former.clone();
    }
}

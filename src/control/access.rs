//! Who may log in to the volumes of which group.

use std::collections::BTreeMap;

use crate::target::Access;
use crate::volume::{Group, GroupName};

/// Access by group, as the configuration says.
#[derive(Debug, Clone, Default)]
pub struct AccessBook {
    /// For groups that have none of their own.
    pub defaults: Access,
    /// Groups that have.
    pub groups: BTreeMap<GroupName, Access>,
}

impl AccessBook {
    /// What holds for a group.
    #[must_use]
    pub fn of(&self, group: &GroupName) -> &Access {
        self.groups.get(group).unwrap_or(&self.defaults)
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

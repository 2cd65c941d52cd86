//! What the configuration says of everything in the catalogue, and its change while the server runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::{Catalogue, CatalogueError, GroupRow, Model, Policy};
use crate::volume::{GroupSettings, SanName};

impl Catalogue {
    /// What the SAN is called, for as long as the data directory is there.
    #[must_use]
    pub const fn san(&self) -> &SanName {
        &self.san
    }

    /// What the configuration says.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        let policy = self.policy.lock();
        // It is replaced as a whole.
        policy.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the configuration says from now on. Groups that it names and that are not there are made;
    /// those that it names no longer stay, under the rules of all.
    ///
    /// # Errors
    /// There would be too many groups, or the store failed; nothing has changed, but for groups that
    /// may have been made and are empty.
    pub fn set_policy(&self, policy: Policy) -> Result<(), CatalogueError> {
        let mut present = self.lock();
        let mut model = Model::clone(&present);
        model.set_authority(policy.authority.clone());
        let groups = model.sans().get(&self.san);
        let known: BTreeMap<_, _> = groups
            .into_iter()
            .flat_map(|san| &san.groups)
            .map(|(name, group)| (name.clone(), group.settings))
            .collect();
        for (name, settings) in &known {
            let mut group = policy.access.model_of(name);
            group.settings = *settings;
            model.update_group(&self.san, name, group)?;
        }
        let configured = policy.access.groups.keys();
        let new: Vec<_> = configured
            .filter(|name| !known.contains_key(*name))
            .collect();
        for name in &new {
            model.create_group(&self.san, (*name).clone(), policy.access.model_of(name))?;
        }
        for name in new {
            let row = GroupRow::of(name, GroupSettings::default());
            self.table.put_group(name, &row)?;
        }
        let mut held = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(policy);
        *present = Arc::new(model);
        Ok(())
    }
}

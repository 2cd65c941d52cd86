//! List, create and delete volume groups.

use super::{Service, limits, views};
use crate::control::api::{GroupSelect, GroupView};
use crate::control::catalogue::Model;
use crate::control::error::{ControlError, ErrorKind};
use crate::volume::GroupName;

impl Service {
    /// All groups, by name.
    #[must_use]
    pub fn list_groups(&self) -> Vec<GroupView> {
        let model = self.catalogue.model();
        let groups = model
            .sans()
            .get(&self.catalogue.policy().san)
            .map(|san| san.groups.keys());
        groups
            .into_iter()
            .flatten()
            .map(|name| self.group_view(name, &model))
            .collect()
    }

    /// One group.
    ///
    /// # Errors
    /// There is none.
    pub fn show_group(&self, select: &GroupSelect) -> Result<GroupView, ControlError> {
        let model = self.catalogue.model();
        let san = model.sans().get(&self.catalogue.policy().san);
        if !san.is_some_and(|san| san.groups.contains_key(&select.name)) {
            let group = format!("group {}", select.name);
            let message = format!("{group} does not exist");
            return Err(ControlError::new(ErrorKind::NotFound, group, message)
                .hint("`holdfast group list` shows the groups"));
        }
        Ok(self.group_view(&select.name, &model))
    }

    /// Makes a group.
    ///
    /// # Errors
    /// It exists, or there are too many.
    pub fn create_group(&self, select: &GroupSelect) -> Result<GroupView, ControlError> {
        let _turn = self.take_turn();
        self.catalogue.create_group(&select.name)?;
        Ok(self.group_view(&select.name, &self.catalogue.model()))
    }

    /// Deletes an empty group.
    ///
    /// # Errors
    /// There is none, or it holds volumes.
    pub fn delete_group(&self, select: &GroupSelect) -> Result<GroupView, ControlError> {
        let _turn = self.take_turn();
        let view = self.group_view(&select.name, &self.catalogue.model());
        self.catalogue.delete_group(&select.name)?;
        Ok(view)
    }

    pub(super) fn group_view(&self, name: &GroupName, model: &Model) -> GroupView {
        let policy = self.catalogue.policy();
        let volumes = model.volumes_of(&policy.san, name).count();
        let settings = model.group(&policy.san, name).map(|group| group.settings);
        let limits = limits::group_view(&settings.unwrap_or_default().limits);
        views::group(name, volumes, policy.access.ruling_of(name), limits)
    }
}

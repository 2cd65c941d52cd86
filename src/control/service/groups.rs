//! List, create and delete volume groups.

use super::{Service, limits, views};
use crate::base::limits::RETENTION_MAX;
use crate::control::api::{GroupSelect, GroupSet, GroupView};
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
            .get(self.catalogue.san())
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
        let san = model.sans().get(self.catalogue.san());
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

    /// Changes what is set for a group.
    ///
    /// # Errors
    /// There is none, a value can't be, or the store failed, and nothing has changed; or the data path
    /// did not take a volume's limits, which then hold from the next start.
    pub fn set_group(&self, set: &GroupSet) -> Result<GroupView, ControlError> {
        let _turn = self.take_turn();
        let san = self.catalogue.san();
        let before = self.catalogue.model().group(san, &set.name)?.settings;
        let mut settings = before;
        settings.limits = limits::of_group_set(set, &before.limits)?;
        if let Some(retention_s) = set.retention_seconds {
            if retention_s > RETENTION_MAX.as_secs() {
                let what = format!("group {}", set.name);
                let message =
                    format!("{what} can't keep deleted volumes for {retention_s} seconds");
                let most = views::span(RETENTION_MAX.as_secs());
                return Err(ControlError::new(ErrorKind::Invalid, what, message)
                    .expected(format!("at most {most}")));
            }
            settings.retention_s = retention_s;
        }
        if settings != before {
            self.catalogue.set_group(&set.name, settings)?;
            tracing::info!(group = %set.name, ?settings, "group settings changed");
        }
        if settings.limits != before.limits {
            self.limit_group(&set.name)?;
        }
        Ok(self.group_view(&set.name, &self.catalogue.model()))
    }

    pub(super) fn group_view(&self, name: &GroupName, model: &Model) -> GroupView {
        let policy = self.catalogue.policy();
        let volumes = || model.volumes_of(&policy.san, name);
        let live = volumes().filter(|volume| volume.is_live()).count();
        let settings = model.group(&policy.san, name).map(|group| group.settings);
        let settings = settings.unwrap_or_default();
        let limits = limits::group_view(&settings.limits);
        GroupView {
            retention_seconds: settings.retention_s,
            deleted_volumes: volumes().count() - live,
            ..views::group(name, live, policy.access.ruling_of(name), limits)
        }
    }
}

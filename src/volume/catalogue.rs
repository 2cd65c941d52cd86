//! All SANs, groups and volumes together: uniqueness and limits.
//!
//! A change that is refused has changed nothing. A catalogue that is deserialised passes the same
//! checks, entry by entry.

use super::access::{AccessOverrides, AccessRules};
use super::error::CatalogueError;
use super::identity::VolumeId;
use super::iscsi_name::{IscsiName, NamingAuthority};
use super::model::{Group, San, Volume};
use super::name::{GroupName, SanName, VolumeName};
use super::settings::{SizeError, VolumeSettings, check_size};
use crate::base::limits::{GROUPS_MAX, VOLUMES_PER_GROUP_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything this target serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Record<B>", into = "Record<B>")]
#[serde(bound(
    serialize = "B: Clone + Serialize",
    deserialize = "B: Deserialize<'de>"
))]
pub struct Catalogue<B> {
    authority: NamingAuthority,
    sans: BTreeMap<SanName, San>,
    volumes: BTreeMap<VolumeId, Volume<B>>,
    /// Every target name and alias.
    targets: BTreeMap<IscsiName, VolumeId>,
}

/// What a volume is created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume<B> {
    /// A fresh identifier.
    pub id: VolumeId,
    /// Its name.
    pub name: VolumeName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How it presents itself.
    pub settings: VolumeSettings,
    /// What it sets apart from its group.
    pub access: AccessOverrides,
    /// What stores its blocks.
    pub backend: B,
}

impl<B> Catalogue<B> {
    /// An empty catalogue, whose targets `authority` names.
    #[must_use]
    pub const fn new(authority: NamingAuthority) -> Self {
        Self {
            authority,
            sans: BTreeMap::new(),
            volumes: BTreeMap::new(),
            targets: BTreeMap::new(),
        }
    }

    /// Who names the targets of volumes yet to be created.
    #[must_use]
    pub const fn authority(&self) -> &NamingAuthority {
        &self.authority
    }

    /// Has the targets of volumes yet to be created named by `authority`.
    pub fn set_authority(&mut self, authority: NamingAuthority) {
        self.authority = authority;
    }

    /// All SANs with their groups, by name.
    #[must_use]
    pub const fn sans(&self) -> &BTreeMap<SanName, San> {
        &self.sans
    }

    /// A group of a SAN.
    pub fn group(&self, san: &SanName, group: &GroupName) -> Result<&Group, CatalogueError> {
        let groups = &self.sans.get(san).ok_or_else(|| no_san(san))?.groups;
        groups.get(group).ok_or_else(|| no_group(san, group))
    }

    /// All volumes, by identifier.
    pub fn volumes(&self) -> impl ExactSizeIterator<Item = &Volume<B>> {
        self.volumes.values()
    }

    /// All volumes but those that are deleted, by identifier.
    pub fn live_volumes(&self) -> impl Iterator<Item = &Volume<B>> {
        self.volumes().filter(|volume| volume.is_live())
    }

    /// The volumes of a group, deleted ones included.
    pub fn volumes_of(&self, san: &SanName, group: &GroupName) -> impl Iterator<Item = &Volume<B>> {
        self.volumes()
            .filter(move |volume| volume.san == *san && volume.group == *group)
    }

    /// The volume of that identifier.
    pub fn volume(&self, id: VolumeId) -> Result<&Volume<B>, CatalogueError> {
        self.volumes
            .get(&id)
            .ok_or(CatalogueError::NoSuchVolume(id))
    }

    /// The volume of that name, in any group of the SAN.
    #[must_use]
    pub fn volume_named(&self, san: &SanName, name: &VolumeName) -> Option<&Volume<B>> {
        self.volumes()
            .find(|volume| volume.san == *san && volume.name == *name)
    }

    /// The volume whose target has that name or alias.
    #[must_use]
    pub fn volume_of_target(&self, name: &IscsiName) -> Option<&Volume<B>> {
        self.volumes.get(self.targets.get(name)?)
    }

    /// Who may log in to the volume: its group's rules with what it sets apart.
    pub fn access_rules(&self, id: VolumeId) -> Result<AccessRules, CatalogueError> {
        let volume = self.volume(id)?;
        let group = self.group(&volume.san, &volume.group)?;
        Ok(group.access.overridden_by(&volume.access))
    }

    /// Adds a SAN without groups.
    pub fn create_san(&mut self, san: SanName) -> Result<(), CatalogueError> {
        if self.sans.contains_key(&san) {
            return Err(CatalogueError::SanExists(san));
        }
        self.sans.insert(san, San::default());
        Ok(())
    }

    /// Removes a SAN that has no groups.
    pub fn delete_san(&mut self, san: &SanName) -> Result<(), CatalogueError> {
        match self.sans.get(san).ok_or_else(|| no_san(san))?.groups.len() {
            0 => drop(self.sans.remove(san)),
            groups => {
                return Err(CatalogueError::SanNotEmpty {
                    san: san.clone(),
                    groups,
                });
            }
        }
        Ok(())
    }

    /// Adds a group without volumes.
    pub fn create_group(
        &mut self,
        san: &SanName,
        name: GroupName,
        group: Group,
    ) -> Result<(), CatalogueError> {
        let groups = &mut self.sans.get_mut(san).ok_or_else(|| no_san(san))?.groups;
        if groups.contains_key(&name) {
            return Err(CatalogueError::GroupExists {
                san: san.clone(),
                group: name,
            });
        }
        if groups.len() >= GROUPS_MAX {
            return Err(CatalogueError::TooManyGroups(san.clone()));
        }
        groups.insert(name, group);
        Ok(())
    }

    /// Replaces what the volumes of a group have in common.
    pub fn update_group(
        &mut self,
        san: &SanName,
        name: &GroupName,
        group: Group,
    ) -> Result<(), CatalogueError> {
        let groups = &mut self.sans.get_mut(san).ok_or_else(|| no_san(san))?.groups;
        *groups.get_mut(name).ok_or_else(|| no_group(san, name))? = group;
        Ok(())
    }

    /// Removes a group that has no volumes.
    pub fn delete_group(&mut self, san: &SanName, name: &GroupName) -> Result<(), CatalogueError> {
        self.group(san, name)?;
        match self.volumes_of(san, name).count() {
            0 => drop(
                self.sans
                    .get_mut(san)
                    .and_then(|san| san.groups.remove(name)),
            ),
            volumes => {
                let deleted = |volume: &&Volume<B>| !volume.is_live();
                return Err(CatalogueError::GroupNotEmpty {
                    group: name.clone(),
                    volumes,
                    deleted: self.volumes_of(san, name).filter(deleted).count(),
                });
            }
        }
        Ok(())
    }

    /// Adds a volume to a group and names its target.
    pub fn create_volume(
        &mut self,
        san: &SanName,
        group: &GroupName,
        new: NewVolume<B>,
    ) -> Result<&Volume<B>, CatalogueError> {
        let NewVolume {
            id,
            name,
            size_bytes,
            settings,
            access,
            backend,
        } = new;
        let volume = Volume {
            id,
            san: san.clone(),
            group: group.clone(),
            target_name: self.authority.target_name(san, &name),
            name,
            aliases: Vec::new(),
            size_bytes,
            settings,
            access,
            snapshots: Vec::new(),
            deleted: None,
            backend,
        };
        self.restore_volume(volume)?;
        self.volume(id)
    }

    /// Removes a volume that has no snapshots and hands it back, so that what stored it can be removed
    /// too.
    pub fn delete_volume(&mut self, id: VolumeId) -> Result<Volume<B>, CatalogueError> {
        self.check_no_snapshots(id)?;
        self.purge_volume(id)
    }

    /// Removes a volume and its snapshots.
    pub fn purge_volume(&mut self, id: VolumeId) -> Result<Volume<B>, CatalogueError> {
        self.targets.retain(|_, owner| *owner != id);
        self.volumes
            .remove(&id)
            .ok_or(CatalogueError::NoSuchVolume(id))
    }

    /// Grows a volume; gives the size it had, in bytes. The same size again is no error.
    pub fn resize_volume(&mut self, id: VolumeId, size_bytes: u64) -> Result<u64, CatalogueError> {
        let volume = self.live_mut(id)?;
        let present_bytes = volume.size_bytes;
        let grows = if size_bytes < present_bytes {
            Err(SizeError::Shrink {
                asked_bytes: size_bytes,
                present_bytes,
            })
        } else {
            check_size(size_bytes, volume.settings.block_size)
        };
        grows.map_err(|source| CatalogueError::Size {
            volume: volume.name.clone(),
            source,
        })?;
        volume.size_bytes = size_bytes;
        Ok(present_bytes)
    }

    /// Has a volume present itself otherwise. Who may be using it is the caller's care.
    pub fn set_volume(
        &mut self,
        id: VolumeId,
        settings: VolumeSettings,
    ) -> Result<(), CatalogueError> {
        let volume = self.live_mut(id)?;
        settings
            .check()
            .map_err(|source| CatalogueError::Settings {
                volume: volume.name.clone(),
                source,
            })?;
        volume.settings = settings;
        Ok(())
    }

    /// Lets the volume's target be found under a further name.
    pub fn add_alias(&mut self, id: VolumeId, alias: IscsiName) -> Result<(), CatalogueError> {
        self.volume(id)?;
        self.check_target_name(&alias)?;
        if let Some(volume) = self.volumes.get_mut(&id) {
            volume.aliases.push(alias.clone());
            self.targets.insert(alias, id);
        }
        Ok(())
    }

    /// Takes back a volume as it was, with its target's name and its aliases. The one way in for a
    /// volume, new, restored or deserialised.
    pub fn restore_volume(&mut self, volume: Volume<B>) -> Result<(), CatalogueError> {
        let Volume {
            id,
            ref san,
            ref group,
            ref name,
            ..
        } = volume;
        self.group(san, group)?;
        if self.volumes.contains_key(&id) {
            return Err(CatalogueError::IdTaken(id));
        }
        if let Some(present) = self.volume_named(san, name) {
            let group = present.group.clone();
            let (san, volume) = (san.clone(), name.clone());
            if !present.is_live() {
                return Err(CatalogueError::VolumeKept { group, volume });
            }
            return Err(CatalogueError::VolumeExists { san, group, volume });
        }
        for name in volume.target_names() {
            self.check_target_name(name)?;
        }
        if self.volumes_of(san, group).count() >= VOLUMES_PER_GROUP_MAX {
            return Err(CatalogueError::TooManyVolumes(group.clone()));
        }
        let settings = volume.settings.check();
        settings.map_err(|source| CatalogueError::Settings {
            volume: name.clone(),
            source,
        })?;
        check_size(volume.size_bytes, volume.settings.block_size).map_err(|source| {
            CatalogueError::Size {
                volume: name.clone(),
                source,
            }
        })?;
        self.targets
            .extend(volume.target_names().map(|name| (name.clone(), id)));
        self.volumes.insert(id, volume);
        Ok(())
    }

    /// A volume that is to be changed.
    pub(super) fn any_mut(&mut self, id: VolumeId) -> Result<&mut Volume<B>, CatalogueError> {
        let volume = self.volumes.get_mut(&id);
        volume.ok_or(CatalogueError::NoSuchVolume(id))
    }

    /// The same, if it is not deleted.
    pub(super) fn live_mut(&mut self, id: VolumeId) -> Result<&mut Volume<B>, CatalogueError> {
        let volume = self.any_mut(id)?;
        match volume.is_live() {
            true => Ok(volume),
            false => Err(CatalogueError::Deleted(volume.name.clone())),
        }
    }

    fn check_target_name(&self, name: &IscsiName) -> Result<(), CatalogueError> {
        match self.targets.get(name) {
            None => Ok(()),
            Some(owner) => Err(CatalogueError::TargetNameTaken {
                name: name.clone(),
                owner: *owner,
            }),
        }
    }
}

fn no_san(san: &SanName) -> CatalogueError {
    CatalogueError::NoSuchSan(san.clone())
}

fn no_group(san: &SanName, group: &GroupName) -> CatalogueError {
    CatalogueError::NoSuchGroup {
        san: san.clone(),
        group: group.clone(),
    }
}

/// The catalogue as it is stored: without what follows from the rest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<B> {
    authority: NamingAuthority,
    sans: BTreeMap<SanName, San>,
    volumes: Vec<Volume<B>>,
}

impl<B> TryFrom<Record<B>> for Catalogue<B> {
    type Error = CatalogueError;

    fn try_from(record: Record<B>) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::new(record.authority);
        for (name, san) in record.sans {
            catalogue.create_san(name.clone())?;
            for (group, content) in san.groups {
                catalogue.create_group(&name, group, content)?;
            }
        }
        for volume in record.volumes {
            catalogue.restore_volume(volume)?;
        }
        Ok(catalogue)
    }
}

impl<B> From<Catalogue<B>> for Record<B> {
    fn from(catalogue: Catalogue<B>) -> Self {
        let Catalogue {
            authority,
            sans,
            volumes,
            targets: _,
        } = catalogue;
        Self {
            authority,
            sans,
            volumes: volumes.into_values().collect(),
        }
    }
}

//! Snapshots: taken of several volumes at one instant, listed, deleted.
//!
//! The catalogue knows of a snapshot before its file is made, and until its file is gone: a crash leaves
//! no file that nobody knows, and of a set all snapshots or none.

use std::path::PathBuf;
use std::time::Duration;

use super::content::{failed, not_in_a_file};
use super::deleting::in_use;
use super::refusal::volume_error;
use super::{Progress, Service};
use crate::backend::{ContentError, Draft, Source, remove_file};
use crate::base::clock::wall_clock_ms;
use crate::base::limits::{SNAPSHOT_FREE_BYTES_MIN, SNAPSHOT_HOLD_MAX, SNAPSHOT_VOLUMES_MAX};
use crate::control::api::{SnapshotCreate, SnapshotList, SnapshotSelect, SnapshotView};
use crate::control::catalogue::{TakenSnapshot, Volume};
use crate::control::error::{ControlError, ErrorKind, with_sources};
use crate::control::plane::PlaneError;
use crate::target::{Company, HoldPlan};
use crate::volume::{Snapshot, SnapshotId, SnapshotSetId, VolumeId, VolumeName};

/// How long volumes may be held that nobody uses, while they are copied.
const COPY_HOLD_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A snapshot that is being made.
struct Making {
    volume: Volume,
    from: Source,
    draft: Draft,
}

impl Service {
    /// Takes a snapshot of each volume, all at one instant: writes that were acknowledged before the call
    /// are in all of them, and no write is torn. All or none of them are there afterwards, whatever
    /// happens.
    ///
    /// # Errors
    /// A volume can't have one, there is no space, its writes could not be held in time, or the file
    /// system can't share blocks and `copy` is not set; nothing has changed.
    pub fn create_snapshots(
        &self,
        create: &SnapshotCreate,
        progress: &dyn Progress,
    ) -> Result<Vec<SnapshotView>, ControlError> {
        let turn = self.take_turn();
        let volumes = self.volumes_for(create)?;
        let occupied = volumes.iter().map(|volume| {
            let name = &volume.name;
            self.work
                .occupy(name.as_str(), name, "has a snapshot taken of it")
        });
        let _occupied = occupied.collect::<Result<Vec<_>, _>>()?;
        self.check_space(&volumes, false)?;
        let set = SnapshotSetId::from(uuid::Uuid::new_v4());
        let mut taken: Vec<_> = volumes
            .iter()
            .map(|volume| TakenSnapshot {
                volume: volume.id,
                snapshot: Snapshot {
                    id: SnapshotId::from(uuid::Uuid::new_v4()),
                    name: create.name.clone(),
                    size_bytes: volume.size_bytes,
                    created_ms: wall_clock_ms(),
                    set: (volumes.len() > 1).then_some(set),
                    unfinished: true,
                },
            })
            .collect();
        self.catalogue.begin_snapshots(&taken)?;
        drop(turn);
        let made = self.make_snapshots(&volumes, &taken, create.copy, progress);
        let finished = made.and_then(|created_ms| {
            for one in &mut taken {
                one.snapshot.created_ms = created_ms;
            }
            let _turn = self.take_turn();
            Ok(self.catalogue.finish_snapshots(&taken)?)
        });
        if let Err(error) = finished {
            self.discard_snapshots(&taken)?;
            return Err(error);
        }
        for volume in &volumes {
            tracing::info!(volume = %volume.name, snapshot = %create.name, "snapshot taken");
        }
        let pairs = volumes.iter().zip(&taken);
        Ok(pairs
            .map(|(volume, one)| self.snapshot_view(volume, &one.snapshot))
            .collect())
    }

    /// All snapshots, by volume, the oldest first.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn list_snapshots(&self, list: &SnapshotList) -> Result<Vec<SnapshotView>, ControlError> {
        if let Some(name) = &list.volume {
            self.find(name)?;
        }
        let model = self.catalogue.model();
        let mut volumes: Vec<_> = model
            .live_volumes()
            .filter(|volume| list.volume.as_ref().is_none_or(|name| *name == volume.name))
            .collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let of_volume = |volume: &&Volume| {
            let volume = *volume;
            let snapshots = volume.whole_snapshots();
            let views = snapshots.map(|snapshot| self.snapshot_view(volume, snapshot));
            views.collect::<Vec<_>>()
        };
        Ok(volumes.iter().flat_map(of_volume).collect())
    }

    /// One snapshot.
    ///
    /// # Errors
    /// There is none.
    pub fn show_snapshot(&self, select: &SnapshotSelect) -> Result<SnapshotView, ControlError> {
        let (volume, snapshot) = self.find_snapshot(&select.volume, &select.snapshot)?;
        Ok(self.snapshot_view(&volume, &snapshot))
    }

    /// Deletes a snapshot. Volumes that were made from it stay as they are.
    ///
    /// # Errors
    /// There is none, or it is in use.
    pub fn delete_snapshot(&self, select: &SnapshotSelect) -> Result<SnapshotView, ControlError> {
        let _turn = self.take_turn();
        let (volume, snapshot) = self.find_snapshot(&select.volume, &select.snapshot)?;
        let what = format!("{}@{}", volume.name, snapshot.name);
        self.work.check_free(&what, &volume.name)?;
        self.work.check_free(volume.name.as_str(), &volume.name)?;
        let view = self.snapshot_view(&volume, &snapshot);
        let taken = [TakenSnapshot {
            volume: volume.id,
            snapshot,
        }];
        self.catalogue.begin_drop_snapshots(&taken)?;
        self.discard_snapshots(&taken)?;
        tracing::info!(volume = %volume.name, snapshot = %select.snapshot, "snapshot deleted");
        Ok(view)
    }

    /// Removes snapshots that the server was making or removing when it stopped.
    pub(super) fn discard_unfinished_snapshots(&self) -> Result<(), ControlError> {
        let unfinished = self.catalogue.unfinished_snapshots();
        if unfinished.is_empty() {
            return Ok(());
        }
        tracing::info!(
            snapshots = unfinished.len(),
            "removing snapshots that were not finished"
        );
        self.discard_snapshots(&unfinished)
    }

    /// A snapshot that is whole, of a volume that is not deleted.
    pub(super) fn find_snapshot(
        &self,
        volume: &VolumeName,
        snapshot: &VolumeName,
    ) -> Result<(Volume, Snapshot), ControlError> {
        let found = self.find(volume)?;
        match found.snapshot(snapshot).filter(|known| known.is_whole()) {
            Some(known) => {
                let known = known.clone();
                Ok((found, known))
            }
            None => {
                let what = format!("snapshot {volume}@{snapshot}");
                let message = format!("{what} does not exist");
                Err(
                    ControlError::new(ErrorKind::NotFound, what, message).hint(format!(
                        "`holdfast snapshot list {volume}` shows the snapshots"
                    )),
                )
            }
        }
    }

    /// A snapshot's content.
    pub(super) fn open_snapshot(
        &self,
        volume: &Volume,
        snapshot: &Snapshot,
    ) -> Result<Source, ControlError> {
        let file = self.stores.snapshot_file(volume, snapshot.id);
        let file = file.ok_or_else(|| not_in_a_file(volume))?;
        Source::open(&file).map_err(|error| {
            let message = format!(
                "snapshot {}@{} can't be used: {}",
                volume.name,
                snapshot.name,
                with_sources(&error)
            );
            let what = format!("snapshot {}@{}", volume.name, snapshot.name);
            ControlError::new(ErrorKind::Failed, what, message)
        })
    }

    /// The volumes that a snapshot is to be taken of, each once.
    fn volumes_for(&self, create: &SnapshotCreate) -> Result<Vec<Volume>, ControlError> {
        let mut names = create.volumes.clone();
        if let Some(group) = &create.group {
            let model = self.catalogue.model();
            let san = &self.catalogue.policy().san;
            model.group(san, group)?;
            let members = model.volumes_of(san, group);
            names.extend(members.filter(|v| v.is_live()).map(|v| v.name.clone()));
        }
        names.sort();
        names.dedup();
        if !(1..=SNAPSHOT_VOLUMES_MAX).contains(&names.len()) {
            let message = format!("a snapshot of {} volumes can't be", names.len());
            return Err(ControlError::new(ErrorKind::Invalid, "snapshot", message)
                .expected(format!("1 to {SNAPSHOT_VOLUMES_MAX} volumes")));
        }
        let find = |name: &VolumeName| {
            let volume = self.find_free(name)?;
            if let Some(problem) = self.problems().get(&volume.id) {
                let message = format!("is not served, so no snapshot is taken: {problem}");
                return Err(volume_error(ErrorKind::Failed, name, &message));
            }
            match self.stores.file(&volume) {
                Some(_) => Ok(volume),
                None => Err(not_in_a_file(&volume)),
            }
        };
        names.iter().map(find).collect()
    }

    /// Passes if the volumes' file systems have room for snapshots of all of them.
    fn check_space(&self, volumes: &[Volume], copy: bool) -> Result<(), ControlError> {
        let mut needed: Vec<(PathBuf, u64)> = Vec::new();
        for volume in volumes {
            let file = self
                .stores
                .file(volume)
                .ok_or_else(|| not_in_a_file(volume))?;
            let source = Source::open(&file).map_err(|error| failed(volume, NOT_TAKEN, &error))?;
            let bytes = match copy {
                true => source.allocated_bytes(),
                false => Ok(0),
            };
            let bytes = bytes.map_err(|error| failed(volume, NOT_TAKEN, &error))?;
            // Volumes of one directory share a file system.
            let directory = file.parent().unwrap_or(&file).to_owned();
            let total = match needed.iter_mut().find(|(known, _)| *known == directory) {
                Some((_, total)) => total,
                None => {
                    needed.push((directory, SNAPSHOT_FREE_BYTES_MIN));
                    &mut needed.last_mut().ok_or_else(|| not_in_a_file(volume))?.1
                }
            };
            *total = total.saturating_add(bytes);
            source
                .check_space(*total)
                .map_err(|error| failed(volume, NOT_TAKEN, &error))?;
        }
        Ok(())
    }

    /// Makes the files of snapshots that the catalogue has begun; when they were taken.
    fn make_snapshots(
        &self,
        volumes: &[Volume],
        taken: &[TakenSnapshot],
        copy: bool,
        progress: &dyn Progress,
    ) -> Result<u64, ControlError> {
        let making = volumes.iter().zip(taken);
        let making = making.map(|(volume, one)| self.prepare(volume, one.snapshot.id));
        let making = making.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = volumes.iter().map(|volume| volume.id).collect();
        let shared = self.at_one_instant(volumes, &ids, Company::Sessions, &mut || {
            let shared = making.iter().map(|one| (one, one.draft.share(&one.from)));
            all_of(shared)
        });
        let created_ms = match shared {
            // Whether the file system can is known only when it is asked.
            Err(refused) if copy && refused.is_without_reflink() => {
                self.check_space(volumes, true)?;
                self.at_one_instant(volumes, &ids, Company::Nobody, &mut || {
                    let copied = making.iter().map(|one| {
                        let mut go_on = self.copying(&one.volume.name, progress);
                        (one, one.draft.copy(&one.from, &mut go_on))
                    });
                    all_of(copied)
                })
            }
            shared => shared,
        };
        let created_ms = created_ms.map_err(Refused::told)?;
        for one in making {
            let Making { volume, draft, .. } = one;
            draft
                .keep_sealed()
                .map_err(|error| failed(&volume, NOT_TAKEN, &error))?;
        }
        Ok(created_ms)
    }

    fn prepare(&self, volume: &Volume, snapshot: SnapshotId) -> Result<Making, ControlError> {
        let file = self
            .stores
            .file(volume)
            .ok_or_else(|| not_in_a_file(volume))?;
        let of_snapshot = self.stores.snapshot_file(volume, snapshot);
        let of_snapshot = of_snapshot.ok_or_else(|| not_in_a_file(volume))?;
        let made = || {
            Ok(Making {
                volume: volume.clone(),
                from: Source::open(&file)?,
                draft: Draft::create(&of_snapshot)?,
            })
        };
        made().map_err(|error: ContentError| failed(volume, NOT_TAKEN, &error))
    }

    /// Does something at one instant of all volumes, and tells when that was.
    fn at_one_instant(
        &self,
        volumes: &[Volume],
        ids: &[VolumeId],
        company: Company,
        work: &mut dyn FnMut() -> Result<(), Refused>,
    ) -> Result<u64, Refused> {
        let limit = match company {
            Company::Sessions => SNAPSHOT_HOLD_MAX,
            Company::Nobody => COPY_HOLD_MAX,
        };
        let mut worked = Ok(());
        let mut at_ms = 0;
        let held = self
            .plane
            .at_one_instant(ids, HoldPlan { limit, company }, &mut || {
                at_ms = wall_clock_ms();
                worked = work();
            });
        // What the work says is nearer to the cause.
        worked?;
        held.map_err(|error| self.not_held(volumes, &error))?;
        Ok(at_ms)
    }

    fn not_held(&self, volumes: &[Volume], error: &PlaneError) -> Refused {
        let sessions = volumes.iter().filter_map(|volume| {
            let sessions = self.sessions_of(volume).ok()?;
            (!sessions.is_empty()).then(|| in_use(&volume.name, &sessions))
        });
        let error = match error {
            PlaneError::InUse { .. } => sessions.into_iter().next().map(|error| {
                error.hint(
                    "where blocks can't be shared a snapshot is a copy, and nobody may use the volume \
                     while it is made: log the sessions out first, or move the volume to XFS or btrfs",
                )
            }),
            _ => None,
        }
        .unwrap_or_else(|| {
            let names: Vec<_> = volumes.iter().map(|volume| volume.name.as_str()).collect();
            let message = format!("no snapshot was taken: {}", with_sources(error));
            ControlError::new(ErrorKind::Failed, format!("volume {}", names.join(", ")), message)
        });
        Refused::Other(error)
    }

    /// Removes snapshots that nobody can use: their files first, for a restart knows the rest.
    fn discard_snapshots(&self, taken: &[TakenSnapshot]) -> Result<(), ControlError> {
        let model = self.catalogue.model();
        for one in taken {
            let volume = model.volume(one.volume)?;
            if let Some(file) = self.stores.snapshot_file(volume, one.snapshot.id) {
                remove_file(&file)
                    .map_err(|error| failed(volume, "keeps half a snapshot", &error.into()))?;
            }
        }
        Ok(self.catalogue.drop_snapshots(taken)?)
    }

    fn snapshot_view(&self, volume: &Volume, snapshot: &Snapshot) -> SnapshotView {
        let path = self
            .stores
            .snapshot_file(volume, snapshot.id)
            .unwrap_or_default();
        let source = Source::open(&path);
        let allocated = source
            .as_ref()
            .ok()
            .and_then(|source| source.allocated_bytes().ok());
        let warning = match &source {
            Err(error) => Some(format!("it can't be used: {}", with_sources(error))),
            Ok(source) => self.space_warning(volume, source),
        };
        SnapshotView {
            volume: volume.name.to_string(),
            name: snapshot.name.to_string(),
            id: snapshot.id.to_string(),
            created_ms: snapshot.created_ms,
            size_bytes: snapshot.size_bytes,
            set: snapshot.set.map(|set| set.to_string()),
            path,
            allocated_bytes: allocated,
            warning,
        }
    }

    /// That the volume may run out of space: a block that it shares with a snapshot takes a new place
    /// when it is written.
    fn space_warning(&self, volume: &Volume, snapshot: &Source) -> Option<String> {
        let (free, shared) = (
            snapshot.free_bytes().ok()?,
            snapshot.allocated_bytes().ok()?,
        );
        (free < shared).then(|| {
            format!(
                "{free} bytes are free; if {} is written over as a whole, up to {shared} are needed, and \
                 writes that find none fail with SPACE ALLOCATION FAILED",
                volume.name
            )
        })
    }
}

/// What is said of a volume whose snapshot came to nothing.
const NOT_TAKEN: &str = "has no snapshot taken";

/// Why something was not done at one instant.
enum Refused {
    /// A volume's content could not be had.
    Content(Box<Volume>, ContentError),
    /// Anything else.
    Other(ControlError),
}

impl Refused {
    /// Whether a copy would do.
    const fn is_without_reflink(&self) -> bool {
        matches!(
            self,
            Self::Content(
                _,
                ContentError::NoReflink { .. } | ContentError::OtherFileSystem { .. }
            )
        )
    }

    fn told(self) -> ControlError {
        match self {
            Self::Content(volume, error) => failed(&volume, NOT_TAKEN, &error),
            Self::Other(error) => error,
        }
    }
}

/// The first failure, at which the others are not begun.
fn all_of<'a>(
    mut each: impl Iterator<Item = (&'a Making, Result<(), ContentError>)>,
) -> Result<(), Refused> {
    each.try_for_each(|(one, done)| {
        done.map_err(|error| Refused::Content(Box::new(one.volume.clone()), error))
    })
}

#[cfg(test)]
mod tests;

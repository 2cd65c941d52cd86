//! Random changes of a catalogue, and the oracle that says what each of them leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::super::{Catalogue, CatalogueError, TakenSnapshot, Volume, own_file, storage};
use super::disk::{Disk, Step};
use crate::backend::BackendSpec;
use crate::base::crc32c::crc32c;
use crate::control::config::Config;
use crate::reservation::{self, State};
use crate::target::{ReservationStore, ReservationUpdate};
use crate::volume::{
    Deletion, GroupName, GroupSettings, Snapshot, SnapshotId, VolumeId, VolumeSettings,
};

/// What a catalogue holds, in plain maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    founded: bool,
    /// With their retention.
    groups: BTreeMap<String, u64>,
    volumes: BTreeMap<String, Known>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Known {
    bytes: u64,
    finished: bool,
    record: Vec<u8>,
    ages: Option<Vec<u8>>,
    history: BTreeMap<u64, Vec<u8>>,
    deleted: Option<Deletion>,
    /// By name: when they were taken, and whether they are whole.
    snapshots: BTreeMap<String, (u64, bool)>,
}

/// Bytes by their length and checksum: a failure is to be read by people.
impl fmt::Debug for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |bytes: &[u8]| format!("{} bytes {:08x}", bytes.len(), crc32c(bytes));
        let history = self.history.iter();
        out.debug_struct("Known")
            .field("bytes", &self.bytes)
            .field("finished", &self.finished)
            .field("record", &short(&self.record))
            .field("ages", &self.ages.as_deref().map(short))
            .field("deleted", &self.deleted)
            .field("snapshots", &self.snapshots)
            .field(
                "history",
                &history.map(|(k, v)| (k, short(v))).collect::<Vec<_>>(),
            )
            .finish()
    }
}

impl Expected {
    fn mark_snapshots(&mut self, at: u64, whole: bool) {
        let volumes = self.volumes.values_mut();
        for snapshot in volumes.filter_map(|known| known.snapshots.get_mut(&format!("snap-{at}"))) {
            snapshot.1 = whole;
        }
    }
}

impl Known {
    fn save(&mut self, update: ReservationUpdate) {
        if let Some(record) = update.record {
            self.record = record;
        }
        self.ages = update.ages.or(self.ages.take());
        self.history
            .retain(|place, _| !update.forget.contains(place));
        self.history.extend(update.entries);
    }
}

#[derive(Debug)]
pub(super) enum Change {
    Found,
    AddGroup(String),
    RemoveGroup(String),
    Begin {
        name: String,
        group: String,
    },
    Finish(String),
    Resize(String),
    Remove(String),
    SetGroup(String, u64),
    /// Deletes it for a while.
    Shelve(String, Deletion),
    Unshelve(String),
    /// Of several volumes at once, by name, taken at that time.
    BeginSnapshots(Vec<String>, u64),
    /// Those of that time.
    FinishSnapshots(u64),
    BeginDropSnapshots(u64),
    DropSnapshots(u64),
    /// Of several volumes at once, by name; a volume may be there twice.
    Save(Vec<(String, ReservationUpdate)>),
    /// Closes the catalogue and opens it again.
    Restart,
}

pub(super) struct Workload {
    rng: StdRng,
    disk: Disk,
    catalogue: Option<Catalogue>,
    history: Vec<Expected>,
    /// The volumes as the catalogue handed them out.
    volumes: BTreeMap<String, Volume>,
    next: u64,
    /// Snapshots that were begun and are not gone, by their time.
    taken: BTreeMap<u64, Vec<TakenSnapshot>>,
}

/// Opens the catalogue of a recorded directory.
pub(super) fn open(disk: &Disk) -> Result<(Catalogue, Vec<Volume>), CatalogueError> {
    let policy = Config::default().policy().unwrap();
    Catalogue::open_in(Arc::new(disk.clone()), policy)
}

/// What an open catalogue holds.
pub(super) fn observe(catalogue: &Catalogue, unfinished: &[Volume]) -> Expected {
    let model = catalogue.model();
    let groups = model.sans().values().flat_map(|san| &san.groups);
    let finished = model.volumes().map(|volume| (volume, true));
    let all = finished.chain(unfinished.iter().map(|volume| (volume, false)));
    let volumes: BTreeMap<_, _> = all
        .map(|(volume, finished)| {
            let kept = catalogue.history(volume.id).unwrap();
            let record = catalogue.reservation(volume.id);
            let snapshots = volume.snapshots.iter();
            let known = Known {
                bytes: volume.size_bytes,
                finished,
                record: match volume.is_live() {
                    true => record.unwrap(),
                    false => Vec::new(),
                },
                ages: kept.ages,
                history: kept.entries.into_iter().collect(),
                deleted: volume.deleted,
                snapshots: snapshots
                    .map(|known| (known.name.to_string(), (known.created_ms, known.is_whole())))
                    .collect(),
            };
            (volume.name.to_string(), known)
        })
        .collect();
    assert!(catalogue.unreadable().is_empty());
    let reserved = catalogue.table.reserved().unwrap().len();
    let live = volumes.values().filter(|known| known.deleted.is_none());
    assert_eq!(reserved, live.count(), "a record for each, and no other");
    Expected {
        founded: catalogue.is_founded().unwrap(),
        groups: groups
            .map(|(name, group)| (name.to_string(), group.settings.retention_s))
            .collect(),
        volumes,
    }
}

impl Workload {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            disk: Disk::default(),
            catalogue: None,
            history: vec![Expected::default()],
            volumes: BTreeMap::new(),
            next: 0,
            taken: BTreeMap::new(),
        }
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Closes the catalogue, as a server does that is stopped.
    pub(super) fn close(&mut self) {
        self.catalogue = None;
    }

    /// What is expected before the first change and after each.
    pub(super) fn history(&self) -> &[Expected] {
        &self.history
    }

    /// Makes so many changes, the first of which is the first opening.
    pub(super) fn run(mut self, changes: usize) -> Self {
        for _ in 0..changes {
            let change = self.choose();
            self.attempt(&change).unwrap();
            self.expect(change);
        }
        self
    }

    /// Makes a change; the oracle does not hear of it yet.
    pub(super) fn attempt(&mut self, change: &Change) -> Result<(), CatalogueError> {
        let number = self.history.len();
        self.disk.mark(Step::Begins(number));
        let made = self.make(change);
        self.disk.mark(match made {
            Ok(()) => Step::Returned(number),
            Err(_) => Step::Refused,
        });
        made
    }

    /// Whether the open catalogue holds what is expected now.
    pub(super) fn check(&self) {
        let found = observe(self.catalogue.as_ref().unwrap(), &self.unfinished());
        assert_eq!(found, *self.expected(), "without any power cut");
    }

    fn expected(&self) -> &Expected {
        self.history.last().unwrap()
    }

    fn unfinished(&self) -> Vec<Volume> {
        let volumes = self.volumes.iter();
        volumes
            .filter(|(name, _)| !self.expected().volumes[*name].finished)
            .map(|(_, volume)| volume.clone())
            .collect()
    }

    /// One change that will be accepted.
    pub(super) fn choose(&mut self) -> Change {
        if self.catalogue.is_none() {
            return Change::Restart;
        }
        loop {
            let volumes = self.expected().volumes.iter();
            let (deleted, live): (Vec<_>, Vec<_>) = volumes
                .map(|(name, known)| (name.clone(), known))
                .partition(|(_, known)| known.deleted.is_some());
            let (finished, unfinished): (Vec<_>, Vec<_>) = live
                .into_iter()
                .map(|(name, known)| (name, known.finished))
                .partition(|(_, finished)| *finished);
            let deleted: Vec<_> = deleted.into_iter().map(|(name, _)| (name, true)).collect();
            let begun: Vec<_> = self.taken.keys().map(|at| (at.to_string(), true)).collect();
            let groups: Vec<_> = self.expected().groups.keys().cloned().collect();
            let next = self.next;
            let pick = |rng: &mut StdRng, from: &[(String, bool)]| {
                (!from.is_empty()).then(|| from[rng.random_range(0..from.len())].0.clone())
            };
            let rng = &mut self.rng;
            let change = match rng.random_range(0..30) {
                20 if !groups.is_empty() => {
                    let name = groups[rng.random_range(0..groups.len())].clone();
                    Some(Change::SetGroup(name, rng.random_range(0..3)))
                }
                21 | 22 => {
                    let deletion = Deletion {
                        at_ms: next,
                        purge_ms: next + 1000,
                    };
                    pick(rng, &finished).map(|name| Change::Shelve(name, deletion))
                }
                23 => pick(rng, &deleted).map(Change::Unshelve),
                24 => pick(rng, &deleted).map(Change::Remove),
                25 | 26 => {
                    let names = (0..rng.random_range(1..=3)).map_while(|_| pick(rng, &finished));
                    let names: BTreeSet<_> = names.collect();
                    let names: Vec<_> = names.into_iter().collect();
                    (!names.is_empty()).then_some(Change::BeginSnapshots(names, next))
                }
                kind @ 27..30 => pick(rng, &begun).map(|at| {
                    let at = at.parse().unwrap();
                    match kind {
                        27 => Change::FinishSnapshots(at),
                        28 => Change::BeginDropSnapshots(at),
                        _ => Change::DropSnapshots(at),
                    }
                }),
                0 => Some(Change::Found),
                1 => Some(Change::AddGroup(format!("group-{}", self.next))),
                2 => self.empty_group().map(Change::RemoveGroup),
                3..6 => Some(Change::Begin {
                    name: format!("volume-{}", self.next),
                    group: format!("group-{}", rng.random_range(0..=self.next)),
                }),
                6..10 => pick(rng, &unfinished).map(Change::Finish),
                10 => pick(rng, &finished).map(Change::Resize),
                11 => pick(rng, &[finished, unfinished].concat()).map(Change::Remove),
                12 => Some(Change::Restart),
                _ => {
                    let names = (0..rng.random_range(1..=4)).map_while(|_| pick(rng, &finished));
                    let names = names.collect::<Vec<_>>().into_iter();
                    let saves: Vec<_> = names.map(|name| (name, self.update())).collect();
                    (!saves.is_empty()).then_some(Change::Save(saves))
                }
            };
            self.next += 1;
            match change {
                Some(Change::AddGroup(name)) if self.expected().groups.contains_key(&name) => {}
                Some(change) => return change,
                None => {}
            }
        }
    }

    fn empty_group(&self) -> Option<String> {
        let finished = self.volumes.iter();
        let finished = finished.filter(|(name, _)| self.expected().volumes[*name].finished);
        let used: BTreeSet<_> = finished.map(|(_, v)| v.group.to_string()).collect();
        let mut groups = self.expected().groups.keys();
        groups.find(|name| !used.contains(*name)).cloned()
    }

    /// Long and short ones: a long record takes a page of its own, or several.
    fn update(&mut self) -> ReservationUpdate {
        let rng = &mut self.rng;
        let mut bytes = |most: usize| {
            let mut bytes = vec![0; rng.random_range(0..most)];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let (record, ages) = (bytes(9000), bytes(100));
        let entries = (0..3).map(|_| bytes(60)).collect::<Vec<_>>();
        let place = |rng: &mut StdRng| rng.random_range(0..8_u64);
        let rng = &mut self.rng;
        ReservationUpdate {
            record: rng.random_bool(0.9).then_some(record),
            ages: rng.random_bool(0.5).then_some(ages),
            forget: (0..2).map(|_| place(rng)).collect(),
            entries: entries
                .into_iter()
                .map(|entry| (place(rng), entry))
                .collect(),
        }
    }

    fn make(&mut self, change: &Change) -> Result<(), CatalogueError> {
        if let Change::Restart = change {
            self.catalogue = None;
            let (catalogue, unfinished) = open(&self.disk)?;
            assert_eq!(unfinished, self.unfinished());
            self.catalogue = Some(catalogue);
            return Ok(());
        }
        let catalogue = self.catalogue.as_ref().unwrap();
        match change {
            Change::Restart => {}
            Change::Found => catalogue.set_founded()?,
            Change::AddGroup(name) => catalogue.create_group(&name.parse().unwrap())?,
            Change::RemoveGroup(name) => catalogue.delete_group(&name.parse().unwrap())?,
            Change::Begin { name, group } => {
                let group: GroupName = group.parse().unwrap();
                // Not one of its own making, so that a seed repeats the bytes of the file.
                let id = VolumeId::from(uuid::Uuid::from_u128(self.rng.random()));
                let backend = BackendSpec::File { path: own_file(id) };
                let settings = VolumeSettings::default();
                let parsed = name.parse().unwrap();
                let made =
                    catalogue.begin_volume_as(id, parsed, &group, 1 << 30, settings, backend)?;
                self.volumes.insert(name.clone(), made);
            }
            Change::Finish(name) => catalogue.finish_volume(&self.volumes[name])?,
            Change::Resize(name) => {
                let volume = &self.volumes[name];
                let grown = catalogue.resize_volume(volume, volume.size_bytes + (1 << 20))?;
                self.volumes.insert(name.clone(), grown);
            }
            Change::Remove(name) => catalogue.remove_volume(&self.volumes[name])?,
            Change::SetGroup(name, retention_s) => {
                let settings = GroupSettings {
                    retention_s: *retention_s,
                    ..GroupSettings::default()
                };
                catalogue.set_group(&name.parse().unwrap(), settings)?;
            }
            Change::Shelve(name, deletion) => {
                let shelved = catalogue.shelve_volume(&self.volumes[name], *deletion)?;
                self.volumes.insert(name.clone(), shelved);
            }
            Change::Unshelve(name) => {
                let restored = catalogue.unshelve_volume(&self.volumes[name])?;
                self.volumes.insert(name.clone(), restored);
            }
            Change::BeginSnapshots(names, at) => {
                let taken: Vec<_> = names
                    .iter()
                    .map(|name| TakenSnapshot {
                        volume: self.volumes[name].id,
                        snapshot: Snapshot {
                            id: SnapshotId::from(uuid::Uuid::from_u128(self.rng.random())),
                            name: format!("snap-{at}").parse().unwrap(),
                            size_bytes: 1 << 30,
                            created_ms: *at,
                            set: None,
                            unfinished: true,
                        },
                    })
                    .collect();
                catalogue.begin_snapshots(&taken)?;
                self.taken.insert(*at, taken);
            }
            Change::FinishSnapshots(at) => catalogue.finish_snapshots(&self.standing(*at))?,
            Change::BeginDropSnapshots(at) => {
                catalogue.begin_drop_snapshots(&self.standing(*at))?;
            }
            Change::DropSnapshots(at) => catalogue.drop_snapshots(&self.standing(*at))?,
            Change::Save(saves) => {
                let saves = saves.iter();
                let changes: Vec<_> = saves
                    .map(|(name, update)| (self.volumes[name].id, update))
                    .collect();
                let saved = catalogue.save_together(&changes).into_iter();
                let saved: Result<(), _> = saved.collect();
                saved.map_err(|error| CatalogueError::Failed {
                    path: storage::FILE.into(),
                    message: error.to_string(),
                })?;
            }
        }
        Ok(())
    }

    /// The snapshots of a time whose volumes are still there.
    fn standing(&self, at: u64) -> Vec<TakenSnapshot> {
        let mut taken = self.taken[&at].clone();
        taken.retain(|one| self.volumes.values().any(|volume| volume.id == one.volume));
        taken
    }

    /// What the change that was made leads to.
    pub(super) fn expect(&mut self, change: Change) {
        self.expect_unchecked(change);
        self.check();
    }

    /// As [`Workload::expect`], where the open catalogue can't be asked.
    pub(super) fn expect_unchecked(&mut self, change: Change) {
        let mut next = self.expected().clone();
        let expected = &mut next;
        match change {
            Change::Restart => {}
            Change::Found => expected.founded = true,
            Change::AddGroup(name) => {
                expected.groups.insert(name, 0);
            }
            Change::RemoveGroup(name) => {
                expected.groups.remove(&name);
            }
            Change::Begin { name, .. } => {
                let known = Known {
                    bytes: 1 << 30,
                    record: reservation::encode(&State::new()),
                    ..Known::default()
                };
                expected.volumes.insert(name, known);
            }
            Change::Finish(name) => {
                let group = self.volumes[&name].group.to_string();
                expected.groups.entry(group).or_default();
                expected.volumes.get_mut(&name).unwrap().finished = true;
            }
            Change::Resize(name) => expected.volumes.get_mut(&name).unwrap().bytes += 1 << 20,
            Change::Remove(name) => {
                expected.volumes.remove(&name);
                self.volumes.remove(&name);
            }
            Change::SetGroup(name, retention_s) => {
                expected.groups.insert(name, retention_s);
            }
            Change::Shelve(name, deletion) => {
                let known = expected.volumes.get_mut(&name).unwrap();
                known.deleted = Some(deletion);
                (known.record, known.ages) = (Vec::new(), None);
            }
            Change::Unshelve(name) => {
                let known = expected.volumes.get_mut(&name).unwrap();
                known.deleted = None;
                known.record = reservation::encode(&State::new());
            }
            Change::BeginSnapshots(names, at) => {
                for name in names {
                    let known = expected.volumes.get_mut(&name).unwrap();
                    known.snapshots.insert(format!("snap-{at}"), (at, false));
                }
            }
            Change::FinishSnapshots(at) => expected.mark_snapshots(at, true),
            Change::BeginDropSnapshots(at) => expected.mark_snapshots(at, false),
            Change::DropSnapshots(at) => {
                for known in expected.volumes.values_mut() {
                    known.snapshots.remove(&format!("snap-{at}"));
                }
                self.taken.remove(&at);
            }
            Change::Save(saves) => {
                for (name, update) in saves {
                    let known = expected.volumes.get_mut(&name).unwrap();
                    known.save(update);
                }
            }
        }
        self.history.push(next);
    }
}

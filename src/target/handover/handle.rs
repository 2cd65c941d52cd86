//! A handover from outside: what the owner of a target does, in the old process and in the new one.

use super::obstacle::Obstacle;
use super::record::{Record, SessionRecord, VolumeRecord};
use crate::backend::Bequest;
use crate::base::clock::Instant;
use crate::target::core::{Core, Turn};
use crate::target::handle::{Control, ControlRequest, Target, TargetError, find, home_of};
use crate::target::message::Message;
use crate::target::shared::ConnectionPlacement;
use crate::target::unit;
use crate::target::volume::Volume;
use crate::volume::VolumeId;
use crossbeam_channel::bounded;
use std::collections::{BTreeMap, HashMap};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How often the reactors are asked whether they are at rest.
const REST_CHECK_INTERVAL: Duration = Duration::from_micros(300);
/// Rounds over all reactors in which nothing may go on. What one has told another before the first of
/// two is taken in before it answers in the second.
const CALM_ROUNDS: u32 = 2;
/// Obstacles that are told.
const OBSTACLES_TOLD_MAX: usize = 8;

/// What another process needs to serve in this one's place.
#[derive(Debug)]
pub struct Estate {
    /// What is known.
    pub record: Record,
    /// The connected sockets, in the order of the record's sessions.
    pub streams: Vec<TcpStream>,
    /// The listening sockets, in the order in which the portals were opened.
    pub listeners: Vec<TcpListener>,
    /// The volumes' stores.
    pub stores: Vec<(VolumeId, Bequest)>,
}

/// Why a target could not be brought to rest. It serves as before.
#[derive(Debug, thiserror::Error)]
pub enum NotHandedOver {
    /// Something did not end.
    #[error("after {waited:?}: {}", listed(obstacles))]
    Obstacles {
        /// What.
        obstacles: Vec<Obstacle>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The catalogue did not take what has to be in it.
    #[error("the history of volume {volume} can't be saved")]
    Unsaved {
        /// The volume's name.
        volume: String,
    },
    /// A session can't be handed over.
    #[error("{0}")]
    Session(String),
    /// A store can't be handed over.
    #[error("the store of volume {volume} can't be handed over")]
    Store {
        /// The volume's name.
        volume: String,
        /// Why.
        source: std::io::Error,
    },
    /// The reactors did not answer.
    #[error(transparent)]
    Target(#[from] TargetError),
}

fn listed(obstacles: &[Obstacle]) -> String {
    let shown = obstacles.iter().take(OBSTACLES_TOLD_MAX);
    let shown: Vec<_> = shown.map(ToString::to_string).collect();
    shown.join("; ")
}

/// Why a target can't take over what another one gave. Whoever gave it goes on.
#[derive(Debug, thiserror::Error)]
pub enum NotAdopted {
    /// A volume is not served here.
    #[error("volume {0} is not served here")]
    UnknownVolume(VolumeId),
    /// What is known of a volume can't be taken up.
    #[error("volume {volume}: {why}")]
    Volume {
        /// The volume's name.
        volume: String,
        /// Why.
        why: &'static str,
    },
    /// A session can't be taken up.
    #[error("the session of {initiator} from {peer}: {why}")]
    Session {
        /// The initiator's name.
        initiator: String,
        /// Its address.
        peer: String,
        /// Why.
        why: String,
    },
    /// There are not as many sockets as sessions.
    #[error("{sockets} sockets came for {sessions} sessions")]
    Sockets {
        /// Sockets.
        sockets: usize,
        /// Sessions.
        sessions: usize,
    },
    /// The reactors did not answer.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// A session on its way to its reactor.
type Passenger = (SessionRecord, TcpStream, Arc<Volume>);

impl Target {
    /// Work that may take long and goes on by itself: better waited for before anybody is disturbed.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn long_work(&self) -> Result<Vec<Obstacle>, TargetError> {
        let mut found = self.on_all(|core, _| core.long_work())?.concat();
        found.dedup();
        Ok(found)
    }

    /// The names of volumes whose bytes are in this process's memory, and go with it.
    #[must_use]
    pub fn volumes_in_memory(&self) -> Vec<String> {
        let control = self.control();
        let in_memory =
            |volume: &&Arc<Volume>| matches!(volume.store.bequest(), Ok(Bequest::Memory));
        let volumes = control.volumes().filter(in_memory);
        volumes.map(|volume| volume.alias.clone()).collect()
    }

    /// Brings everything to rest and draws up what another process needs to go on. The target stays
    /// parked until [`Target::go_on`], which must not be called once the other process may serve.
    ///
    /// # Errors
    /// Why not; the target then goes on as before.
    pub fn hand_over(&self, patience: Duration) -> Result<Estate, NotHandedOver> {
        let control = self.control();
        let estate = self
            .bring_to_rest(&control, patience)
            .and_then(|()| self.draw_up(&control));
        if estate.is_err() {
            self.go_on()?;
        }
        estate
    }

    /// Serves what is parked, again or for the first time.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn go_on(&self) -> Result<(), TargetError> {
        self.on_all(|core, turn| core.serve_on(turn)).map(drop)
    }

    /// Serves nothing before [`Target::go_on`]: to be called before the first portal is opened.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn begin_parked(&self) -> Result<(), TargetError> {
        self.on_all(|core, turn| core.park(turn)).map(drop)
    }

    /// Takes over what another process gave. Volumes and portals are there already, and the target is
    /// parked; it stays so.
    ///
    /// # Errors
    /// What can't be taken over. The target is of no use then.
    pub fn adopt(&self, record: Record, streams: Vec<TcpStream>) -> Result<(), NotAdopted> {
        let control = self.control();
        let Record {
            revision,
            volumes,
            sessions,
        } = record;
        if sessions.len() != streams.len() {
            return Err(NotAdopted::Sockets {
                sockets: streams.len(),
                sessions: sessions.len(),
            });
        }
        let inquiry_changed = revision != unit::REVISION;
        let mut load: HashMap<(VolumeId, usize), usize> = HashMap::new();
        let mut seats: HashMap<VolumeId, HashMap<u16, usize>> = HashMap::new();
        let mut passengers: BTreeMap<usize, Vec<Passenger>> = BTreeMap::new();
        for (session, stream) in sessions.into_iter().zip(streams) {
            let id = session.volume;
            let volume = find(&control, id).map_err(|_| NotAdopted::UnknownVolume(id))?;
            let loaded = |reactor: &usize| load.get(&(id, *reactor)).copied().unwrap_or(0);
            let reactor = match self.shared.connection_placement {
                ConnectionPlacement::Home => volume.home,
                ConnectionPlacement::Spread => (0..self.shared.reactors)
                    .min_by_key(loaded)
                    .unwrap_or(volume.home),
            };
            *load.entry((id, reactor)).or_default() += 1;
            seats.entry(id).or_default().insert(session.tsih, reactor);
            let boarding = passengers.entry(reactor).or_default();
            boarding.push((session, stream, volume));
        }
        for record in volumes {
            let id = record.id;
            let volume = find(&control, id).map_err(|_| NotAdopted::UnknownVolume(id))?;
            let seats = seats.remove(&id).unwrap_or_default();
            self.take_volume(&volume, record, seats)?;
        }
        for (reactor, passengers) in passengers {
            let taken = self.on(reactor, move |core: &mut Core, turn: &mut Turn<'_, '_>| {
                let mut passengers = passengers.into_iter();
                passengers.try_for_each(|(session, stream, volume)| {
                    let initiator = session.nexus.initiator.name().to_owned();
                    let peer = session.peer.to_string();
                    core.take_session(session, stream, volume, inquiry_changed, turn)
                        .map_err(|why| NotAdopted::Session {
                            initiator,
                            peer,
                            why,
                        })
                })
            });
            taken??;
        }
        Ok(())
    }

    fn take_volume(
        &self,
        volume: &Volume,
        record: VolumeRecord,
        seats: HashMap<u16, usize>,
    ) -> Result<(), NotAdopted> {
        let index = volume.index;
        let taken = self.on(volume.home, move |core, _| {
            let home = core.homes.get(&index).cloned();
            home.map(|home| home.take(record, &seats))
        })?;
        let taken = taken.ok_or(NotAdopted::UnknownVolume(volume.id))?;
        taken.map_err(|why| NotAdopted::Volume {
            volume: volume.alias.clone(),
            why,
        })
    }

    fn bring_to_rest(&self, control: &Control, patience: Duration) -> Result<(), NotHandedOver> {
        // Most of it now, while nobody waits for the disk; what comes until then has its turn below.
        let _early = self.save_histories(control);
        let began = Instant::now();
        self.on_all(|core, turn| core.hold(turn))?;
        self.wait_for_rest(began, patience)?;
        self.save_histories(control)?;
        self.wait_for_rest(began, patience)?;
        self.on_all(|core, turn| core.park(turn))?;
        self.wait_for_rest(began, patience)
    }

    /// Saves what the new process has to find in the catalogue.
    fn save_histories(&self, control: &Control) -> Result<(), NotHandedOver> {
        for volume in control.volumes() {
            let index = volume.index;
            let saved = self.ask(volume.home, move |local, shared| async move {
                let home = home_of(index, &local).await?;
                home.save_history(&local, &shared).await;
                Ok::<_, TargetError>(home.chronicle.is_saved())
            })??;
            if !saved {
                let volume = volume.alias.clone();
                return Err(NotHandedOver::Unsaved { volume });
            }
        }
        Ok(())
    }

    fn wait_for_rest(&self, began: Instant, patience: Duration) -> Result<(), NotHandedOver> {
        let mut calm = 0;
        loop {
            let obstacles = self.on_all(|core, turn| core.obstacles(turn))?.concat();
            if obstacles.is_empty() {
                calm += 1;
                if calm == CALM_ROUNDS {
                    return Ok(());
                }
                continue;
            }
            calm = 0;
            let waited = Instant::now().since(began);
            if waited >= patience {
                return Err(NotHandedOver::Obstacles { obstacles, waited });
            }
            std::thread::park_timeout(REST_CHECK_INTERVAL);
        }
    }

    /// Reads what everybody has; nothing is changed.
    fn draw_up(&self, control: &Control) -> Result<Estate, NotHandedOver> {
        let given = self.on_all(|core, _| core.give_sessions())?;
        let given: Result<Vec<_>, String> = given.into_iter().collect();
        let given = given.map_err(NotHandedOver::Session)?;
        let (sessions, streams) = given.into_iter().flatten().unzip();
        let volumes = self.on_all(|core, _| {
            let homes = core.homes.values();
            homes.map(|home| home.give()).collect::<Vec<_>>()
        })?;
        let listeners = self.on(0, |core, _| {
            let listening = core.listening.iter();
            let clones = listening.map(|portal| portal.listener.try_clone());
            clones.collect::<std::io::Result<Vec<_>>>()
        })?;
        let stores = control.volumes().map(|volume| {
            let bequest = volume.store.bequest();
            let bequest = bequest.map_err(|source| NotHandedOver::Store {
                volume: volume.alias.clone(),
                source,
            })?;
            Ok::<_, NotHandedOver>((volume.id, bequest))
        });
        Ok(Estate {
            record: Record {
                revision: unit::REVISION.to_owned(),
                volumes: volumes.into_iter().flatten().collect(),
                sessions,
            },
            streams,
            listeners: listeners.map_err(TargetError::Portal)?,
            stores: stores.collect::<Result<_, _>>()?,
        })
    }

    /// Has every reactor do something, one after the other.
    fn on_all<R: Send + 'static>(
        &self,
        work: impl Fn(&mut Core, &mut Turn<'_, '_>) -> R + Send + Sync + Copy + 'static,
    ) -> Result<Vec<R>, TargetError> {
        let reactors = 0..self.shared.reactors;
        reactors.map(|reactor| self.on(reactor, work)).collect()
    }

    /// Has a reactor do something, between two of its ticks: no procedure is started for it, so that it
    /// does not disturb the rest that it may be about.
    fn on<R: Send + 'static>(
        &self,
        reactor: usize,
        work: impl FnOnce(&mut Core, &mut Turn<'_, '_>) -> R + Send + 'static,
    ) -> Result<R, TargetError> {
        let (sender, receiver) = bounded(1);
        let request: ControlRequest = Box::new(move |core: &mut Core, turn: &mut Turn<'_, '_>| {
            let _ = sender.send(work(core, turn));
        });
        let reactor = self.shared.sender(reactor).ok_or(TargetError::Stopped)?;
        let sent = reactor.send(Message::Control(request));
        sent.map_err(|_| TargetError::Stopped)?;
        self.answer(&receiver)
    }
}

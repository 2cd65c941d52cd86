//! A data path that only remembers what it was asked for.

#![allow(clippy::disallowed_types, reason = "a test double off the I/O path")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Service, ServiceSettings, StopReason};
use crate::backend::{Means, Workers};
use crate::base::clock::Instant;
use crate::base::limits::HISTORY_WAIT_MAX;
use crate::control::catalogue::{Catalogue, DataDirectory};
use crate::control::config::Config;
use crate::control::plane::{
    DataPlane, Launch, LaunchPlan, PlaneError, PortalSocket, VolumeConfig,
};
use crate::iscsi::Parameters;
use crate::reservation::{
    Command, Context, InitiatorPort, Key, Nexus, NexusIndex, ReservationType, ScopeAndType, apply,
    evict_all, evict_key, history,
};
use crate::target::{
    Access, Change, Cleared, Company, Drain, Forecast, HoldPlan, IdentityInfo, InFlight, Limits,
    Measurement, Preemption, Redirect, ReservationReport, SessionInfo, Tally, Timing, Unwelcome,
};
use crate::volume::VolumeId;

#[derive(Default)]
pub(crate) struct FakePlane {
    state: Mutex<State>,
}

/// The key of the holder.
const HELD_KEY: Key = Key(0xabc);
const CONTEXT: Context<'_> = Context {
    ports: &[1],
    known: &|_| Vec::new(),
    registrations_max: 16,
};

/// A nexus of host 1, host 2 and so on.
fn host(number: u8) -> Nexus {
    let name = format!("iqn.1993-08.org.debian:01:host{number}");
    Nexus::new(InitiatorPort::new(&name, [0, 2, 0x3d, 0, 0, 1]), 1)
}

/// Host 1 holds the reservation; host 2 has registered a key of printable bytes.
fn reserved() -> ReservationReport {
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    let register = |new_key| Command::RegisterAndIgnore {
        new_key,
        aptpl: true,
        all_target_ports: false,
    };
    let text_key = Key(u64::from_be_bytes(*b"VRTS0002"));
    let key = HELD_KEY;
    let commands = [
        (1, register(key)),
        (2, register(text_key)),
        (1, Command::Reserve { key, kind }),
    ];
    commands
        .iter()
        .fold(ReservationReport::default(), |report, (from, command)| {
            let next = apply(&report.state, &host(*from), command, &CONTEXT)
                .unwrap()
                .next;
            ReservationReport {
                ages: report.ages.after(&report.state, &next, 1000),
                state: next,
                changing: false,
            }
        })
}

struct State {
    reservation: ReservationReport,
    operator: Option<history::Process>,
    volumes: BTreeMap<VolumeId, VolumeConfig>,
    sessions: Vec<SessionInfo>,
    identities: Vec<IdentityInfo>,
    portals: Vec<PortalSocket>,
    drains: Vec<Drain>,
    measurement: Measurement,
    refusal: Option<String>,
    refusal_once: Option<String>,
    calls: Vec<&'static str>,
    limits: Vec<(VolumeId, Option<Arc<Limits>>)>,
    timing: Option<Timing>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            reservation: reserved(),
            operator: None,
            identities: Vec::new(),
            volumes: BTreeMap::new(),
            sessions: Vec::new(),
            portals: Vec::new(),
            drains: Vec::new(),
            measurement: Measurement::default(),
            refusal: None,
            refusal_once: None,
            calls: Vec::new(),
            limits: Vec::new(),
            timing: None,
        }
    }
}

impl FakePlane {
    fn registrations(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.reservation.state.registrations().len()
    }

    /// Who removed registrations last.
    pub(crate) fn operator(&self) -> Option<history::Process> {
        self.state.lock().unwrap().operator
    }

    pub(crate) fn volumes(&self) -> Vec<VolumeId> {
        self.state.lock().unwrap().volumes.keys().copied().collect()
    }

    /// Lets a test look at what it was told of a volume.
    pub(crate) fn inspect(&self, volume: VolumeId, look: impl FnOnce(&VolumeConfig)) {
        look(&self.state.lock().unwrap().volumes[&volume]);
    }

    /// The drains in force.
    pub(crate) fn drains(&self) -> Vec<Drain> {
        self.state.lock().unwrap().drains.clone()
    }

    /// The order in which it was drained and stopped.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.clone()
    }

    /// What it was told of limits since the last time.
    pub(crate) fn take_limits(&self) -> Vec<(VolumeId, Option<Arc<Limits>>)> {
        std::mem::take(&mut self.state.lock().unwrap().limits)
    }

    /// Lets the next changes fail.
    pub(crate) fn refuse(&self, message: Option<&str>) {
        self.state.lock().unwrap().refusal = message.map(str::to_owned);
    }

    /// Lets the next volume that is to be served fail.
    pub(crate) fn refuse_next_attach(&self, message: &str) {
        self.state.lock().unwrap().refusal_once = Some(message.to_owned());
    }

    /// The times that it was told of last.
    pub(crate) fn timing(&self) -> Option<Timing> {
        self.state.lock().unwrap().timing
    }

    /// As after a restart.
    pub(crate) fn forget_volumes(&self) {
        self.state.lock().unwrap().volumes.clear();
    }

    /// What it is to tell whoever measures.
    pub(crate) fn set_measurement(&self, measurement: Measurement) {
        self.state.lock().unwrap().measurement = measurement;
    }

    pub(crate) fn log_out_all(&self) {
        self.state.lock().unwrap().sessions.clear();
    }

    /// Lets a volume know somebody.
    pub(crate) fn know(&self, identity: IdentityInfo) {
        self.state.lock().unwrap().identities.push(identity);
    }

    pub(crate) fn log_in(&self, volume: VolumeId) {
        self.log_in_from(volume, "127.0.0.1:40000");
    }

    pub(crate) fn log_in_from(&self, volume: VolumeId, address: &str) {
        self.state.lock().unwrap().sessions.push(SessionInfo {
            volume: Some(volume),
            initiator: "iqn.1993-08.org.debian:01:host1".to_owned(),
            isid: [0, 2, 0x3d, 0, 0, 1],
            port: 1,
            tsih: 7,
            address: address.parse().unwrap(),
            portal: "127.0.0.1:3260".parse().unwrap(),
            reactor: 0,
            header_digest: true,
            data_digest: false,
            parameters: Parameters {
                header_digest: true,
                ..Parameters::default()
            },
            since: Instant::now(),
            commands: 12,
            tally: Tally::default(),
            in_flight: 1,
            read_bytes: 4096,
            written_bytes: 8192,
        });
    }
}

impl DataPlane for FakePlane {
    fn attach_volume(&self, volume: VolumeConfig) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        if let Some(message) = state.refusal_once.take().or(state.refusal.clone()) {
            return Err(PlaneError::Start(message));
        }
        state.volumes.insert(volume.id, volume);
        Ok(())
    }

    fn detach_volume(&self, id: VolumeId, force: bool) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        let of_volume = |session: &&SessionInfo| session.volume == Some(id);
        let sessions = state.sessions.iter().filter(of_volume).count();
        if sessions > 0 && !force {
            return Err(PlaneError::InUse { sessions });
        }
        state.sessions.retain(|session| session.volume != Some(id));
        state
            .volumes
            .remove(&id)
            .map(drop)
            .ok_or(PlaneError::UnknownVolume)
    }

    fn dismiss_volume(&self, id: VolumeId, _: Duration) -> Result<usize, PlaneError> {
        let sessions = self.state.lock().unwrap().sessions.len();
        self.detach_volume(id, true)?;
        Ok(sessions)
    }

    fn at_one_instant(
        &self,
        volumes: &[VolumeId],
        plan: HoldPlan,
        work: &mut dyn FnMut(),
    ) -> Result<(), PlaneError> {
        {
            let mut state = self.state.lock().unwrap();
            if let Some(message) = &state.refusal {
                return Err(PlaneError::Failed(message.clone()));
            }
            let of_volumes =
                |session: &&SessionInfo| session.volume.is_some_and(|id| volumes.contains(&id));
            let sessions = state.sessions.iter().filter(of_volumes).count();
            if plan.company == Company::Nobody && sessions > 0 {
                return Err(PlaneError::InUse { sessions });
            }
            assert!(volumes.iter().all(|id| state.volumes.contains_key(id)));
            state.calls.push("instant");
        }
        work();
        Ok(())
    }

    fn detach_unused(&self, id: VolumeId) -> Result<(), PlaneError> {
        let registrations = self.registrations();
        if registrations > 0 {
            return Err(PlaneError::Registered { registrations });
        }
        self.detach_volume(id, false)
    }

    fn set_places(
        &self,
        id: VolumeId,
        sessions_max: u32,
        registrations_max: u32,
    ) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        if let Some(message) = &state.refusal {
            return Err(PlaneError::Failed(message.clone()));
        }
        let volume = state
            .volumes
            .get_mut(&id)
            .ok_or(PlaneError::UnknownVolume)?;
        volume.sessions_max = sessions_max;
        volume.registrations_max = registrations_max;
        Ok(())
    }

    fn set_access(&self, id: VolumeId, access: Access) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        let volume = state.volumes.get_mut(&id);
        volume.ok_or(PlaneError::UnknownVolume)?.access = access;
        Ok(())
    }

    /// Judges by address alone.
    fn unwelcome(
        &self,
        proposed: BTreeMap<VolumeId, Access>,
    ) -> Result<Vec<Unwelcome>, PlaneError> {
        let state = self.state.lock().unwrap();
        let judge = |session: &SessionInfo| {
            let volume = session.volume.unwrap();
            let access = proposed.get(&volume);
            let rules = &access.unwrap_or(&state.volumes[&volume].access).rules;
            let initiator = session.initiator.parse().unwrap();
            let denied = rules.admit(session.address.ip(), &initiator).err()?;
            Some(Unwelcome {
                volume,
                tsih: session.tsih,
                initiator: session.initiator.clone(),
                address: session.address,
                rule: denied.into(),
            })
        };
        Ok(state.sessions.iter().filter_map(judge).collect())
    }

    fn end_sessions(
        &self,
        sessions: BTreeSet<(VolumeId, u16)>,
        _: Duration,
    ) -> Result<usize, PlaneError> {
        let mut state = self.state.lock().unwrap();
        let stays = |session: &SessionInfo| {
            let volume = session.volume.unwrap();
            !sessions.contains(&(volume, session.tsih))
        };
        state.sessions.retain(stays);
        Ok(0)
    }

    fn set_timing(&self, timing: &Timing) -> Result<(), PlaneError> {
        self.state.lock().unwrap().timing = Some(*timing);
        Ok(())
    }

    fn set_portal(
        &self,
        position: usize,
        advertise: Option<String>,
        redirect: Option<Redirect>,
    ) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        let portal = &mut state.portals[position];
        portal.advertise = advertise;
        portal.redirect = redirect;
        Ok(())
    }

    fn set_limits(&self, id: VolumeId, limits: Option<Arc<Limits>>) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        if let Some(message) = &state.refusal {
            return Err(PlaneError::Failed(message.clone()));
        }
        if !state.volumes.contains_key(&id) {
            return Err(PlaneError::UnknownVolume);
        }
        state.limits.push((id, limits));
        Ok(())
    }

    fn grow_volume(&self, id: VolumeId, size_bytes: u64) -> Result<(), PlaneError> {
        let state = self.state.lock().unwrap();
        if let Some(message) = &state.refusal {
            return Err(PlaneError::Start(message.clone()));
        }
        assert_eq!(
            state.volumes[&id].store.size_bytes(),
            size_bytes,
            "the store grows first"
        );
        Ok(())
    }

    fn open_portal(&self, portal: PortalSocket) -> Result<(), PlaneError> {
        self.state.lock().unwrap().portals.push(portal);
        Ok(())
    }

    fn sessions(&self) -> Result<Vec<SessionInfo>, PlaneError> {
        Ok(self.state.lock().unwrap().sessions.clone())
    }

    fn identities(&self) -> Result<Vec<IdentityInfo>, PlaneError> {
        Ok(self.state.lock().unwrap().identities.clone())
    }

    fn measure(&self) -> Result<Measurement, PlaneError> {
        Ok(self.state.lock().unwrap().measurement.clone())
    }

    fn reservation(&self, _: VolumeId) -> Result<ReservationReport, PlaneError> {
        let state = self.state.lock().unwrap();
        Ok(state.reservation.clone())
    }

    fn reservation_history(&self, _: VolumeId) -> Result<history::Excerpt, PlaneError> {
        let actor = history::Actor::Nexus {
            nexus: host(1),
            address: Some("127.0.0.1:40000".parse().unwrap()),
        };
        let register = Command::Register {
            key: Key::NONE,
            new_key: HELD_KEY,
            aptpl: true,
            all_target_ports: false,
            others: None,
        };
        let registered = history::Entry {
            sequence: 1,
            status: history::Status::Good,
            effect: true,
            generation: 1,
            ..history::Entry::new(1000, actor.clone(), (&register).into())
        };
        let refused = history::Entry {
            sequence: 2,
            last_ms: 3000,
            times: 7,
            status: history::Status::CONFLICT,
            generation: 1,
            ..history::Entry::new(2000, actor, (&Command::Clear { key: Key(0xbad) }).into())
        };
        Ok(history::Excerpt {
            entries: vec![registered, refused],
            cursor: history::Cursor {
                sequence: 2,
                revision: 8,
            },
            lost: 0,
        })
    }

    /// Something new at once, as if a ring had wrapped; then the server stops.
    fn follow_history(
        &self,
        id: VolumeId,
        seen: history::Cursor,
        wait: Duration,
    ) -> Result<history::Excerpt, PlaneError> {
        assert!(wait <= HISTORY_WAIT_MAX, "a bounded wait");
        let mut all = self.reservation_history(id)?;
        if seen != all.cursor {
            return Err(PlaneError::Stopped);
        }
        all.cursor.sequence += 4;
        all.entries.truncate(1);
        all.entries[0].sequence = all.cursor.sequence;
        all.lost = 3;
        Ok(all)
    }

    fn foresee(&self, _: VolumeId, preemption: Preemption) -> Result<Option<Forecast>, PlaneError> {
        let state = self.state.lock().unwrap().reservation.state.clone();
        let kind = preemption.kind.unwrap_or(ReservationType::WriteExclusive);
        let (by, key) = match preemption.by {
            None => (host(1), HELD_KEY),
            Some(name) => (Nexus::new(InitiatorPort::new(&name, [0; 6]), 1), Key::NONE),
        };
        let command = Command::Preempt {
            key,
            victim: preemption.victim,
            scope_and_type: ScopeAndType::of(kind),
        };
        let result = apply(&state, &by, &command, &CONTEXT).map(|outcome| Change {
            losses: history::losses(&state, &outcome.next, []),
            attentions: outcome.attentions,
            after: outcome.next,
        });
        let in_flight = vec![InFlight {
            index: NexusIndex(1),
            nexus: Some(host(2)),
            commands: BTreeMap::from([(0x2a, 3), (0x28, 2)]),
            awaiting_data: 1,
            issued: 4,
            issued_writes: 2,
        }];
        Ok(Some(Forecast {
            by,
            key,
            kind,
            result,
            in_flight,
        }))
    }

    fn clear_reservation(
        &self,
        _: VolumeId,
        key: Option<Key>,
        operator: Option<history::Process>,
    ) -> Result<Option<Cleared>, PlaneError> {
        let mut state = self.state.lock().unwrap();
        if let Some(message) = &state.refusal {
            return Err(PlaneError::Failed(message.clone()));
        }
        state.operator = operator;
        let before = state.reservation.state.clone();
        let outcome = match key {
            Some(key) => evict_key(&before, key),
            None => evict_all(&before),
        };
        Ok(outcome.map(|outcome| {
            state.reservation.state = outcome.next.clone();
            Cleared {
                losses: history::losses(&before, &outcome.next, []),
                after: outcome.next,
            }
        }))
    }

    fn begin_drain(&self, drain: Drain, _: Duration) -> Result<usize, PlaneError> {
        let mut state = self.state.lock().unwrap();
        let covered = |session: &&SessionInfo| {
            let volume = session.volume.unwrap();
            let address = session.address.ip();
            drain.scope.covers(&session.initiator, address, volume)
        };
        let asked = state.sessions.iter().filter(covered).count();
        state.drains.push(drain);
        Ok(asked)
    }

    fn end_drain(&self, id: u64) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        state.drains.retain(|drain| drain.id != id);
        Ok(())
    }

    fn drain(&self, _: Duration) -> usize {
        self.state.lock().unwrap().calls.push("drain");
        0
    }

    fn stop(&self) {
        self.state.lock().unwrap().calls.push("stop");
    }
}

/// Hands out one fake, and shows it to the test.
#[derive(Default, Clone)]
pub(crate) struct FakeLaunch {
    pub(crate) plane: Arc<FakePlane>,
}

impl Launch for FakeLaunch {
    fn launch(&self, _: LaunchPlan) -> Result<Arc<dyn DataPlane>, PlaneError> {
        Ok(self.plane.clone())
    }
}

/// A service on a data directory and a fake data path, as after a first start.
pub(crate) fn service(
    data: &Path,
    plane: &Arc<FakePlane>,
) -> (Service, crossbeam_channel::Receiver<StopReason>) {
    let config = Config::default();
    let directory = DataDirectory::open(data).unwrap();
    let (catalogue, unfinished) = Catalogue::open(directory, config.policy().unwrap()).unwrap();
    let settings = ServiceSettings {
        registrations_max: 1024,
        reactors: 1,
        means: Means::default(),
        logout_timeout: Duration::from_secs(1),
    };
    let (stop, stopped) = crossbeam_channel::bounded(1);
    let service = Service::new(
        Arc::new(catalogue),
        plane.clone(),
        settings,
        Workers::start(1).unwrap(),
        stop,
    );
    service.open(&unfinished).unwrap();
    (service, stopped)
}

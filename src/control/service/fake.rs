//! A data path that only remembers what it was asked for.

#![allow(clippy::disallowed_types, reason = "a test double off the I/O path")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Service, ServiceSettings, StopReason};
use crate::backend::Workers;
use crate::base::clock::Instant;
use crate::control::catalogue::{Catalogue, DataDirectory};
use crate::control::config::Config;
use crate::control::plane::{
    DataPlane, Launch, LaunchPlan, PlaneError, PortalSocket, Registration, ReservationInfo,
    VolumeConfig,
};
use crate::target::{IdentityInfo, SessionInfo};
use crate::volume::VolumeId;

#[derive(Default)]
pub(crate) struct FakePlane {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<VolumeId, VolumeConfig>,
    sessions: Vec<SessionInfo>,
    identities: Vec<IdentityInfo>,
    portals: Vec<PortalSocket>,
    refusal: Option<String>,
    calls: Vec<&'static str>,
}

impl FakePlane {
    pub(crate) fn volumes(&self) -> Vec<VolumeId> {
        self.state.lock().unwrap().volumes.keys().copied().collect()
    }

    /// Lets a test look at what it was told of a volume.
    pub(crate) fn inspect(&self, volume: VolumeId, look: impl FnOnce(&VolumeConfig)) {
        look(&self.state.lock().unwrap().volumes[&volume]);
    }

    /// The order in which it was drained and stopped.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Lets the next changes fail.
    pub(crate) fn refuse(&self, message: Option<&str>) {
        self.state.lock().unwrap().refusal = message.map(str::to_owned);
    }

    /// Lets a volume know somebody.
    pub(crate) fn know(&self, identity: IdentityInfo) {
        self.state.lock().unwrap().identities.push(identity);
    }

    pub(crate) fn log_in(&self, volume: VolumeId) {
        self.state.lock().unwrap().sessions.push(SessionInfo {
            volume: Some(volume),
            initiator: "iqn.1993-08.org.debian:01:host1".to_owned(),
            isid: [0, 2, 0x3d, 0, 0, 1],
            tsih: 7,
            address: "127.0.0.1:40000".parse().unwrap(),
            reactor: 0,
            header_digest: true,
            data_digest: false,
            since: Instant::now(),
            commands: 12,
            read_bytes: 4096,
            written_bytes: 8192,
        });
    }
}

impl DataPlane for FakePlane {
    fn attach_volume(&self, volume: VolumeConfig) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        if let Some(message) = &state.refusal {
            return Err(PlaneError::Start(message.clone()));
        }
        state.volumes.insert(volume.id, volume);
        Ok(())
    }

    fn detach_volume(&self, id: VolumeId, force: bool) -> Result<(), PlaneError> {
        let mut state = self.state.lock().unwrap();
        let sessions = super::count_sessions(&state.sessions, id);
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

    fn reservation(&self, _: VolumeId) -> Result<ReservationInfo, PlaneError> {
        Ok(ReservationInfo {
            generation: 3,
            kind: Some(5),
            holder: Some(0),
            aptpl: true,
            registrations: vec![Registration {
                key: 0xabc,
                initiator: "iqn.1993-08.org.debian:01:host1".to_owned(),
                isid: [0, 2, 0x3d, 0, 0, 1],
                port: 1,
            }],
        })
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

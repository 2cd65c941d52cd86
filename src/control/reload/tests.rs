use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::control::api::{BackendKind, EventsQuery, GroupSelect, VolumeCreate};
use crate::control::plane::{DataPlane, PortalSocket};
use crate::control::service::fake::{FakePlane, service};
use crate::target::Timing;
use crate::volume::ReservationScope;

/// A server without flags.
struct Bare(PathBuf);

impl Host for Bare {
    fn file(&self) -> Option<&Path> {
        Some(&self.0)
    }

    fn read(&self) -> Result<Reading, ConfigError> {
        let file = Config::read(&self.0)?;
        Ok(Reading {
            effective: file.clone(),
            file,
        })
    }

    fn set_log_filter(&self, _: &LogFilter) -> Result<(), String> {
        Err("there is no log".to_owned())
    }
}

struct Stage {
    directory: tempfile::TempDir,
    plane: Arc<FakePlane>,
    service: Arc<Service>,
}

impl Stage {
    /// A server that was started without a word in its file.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(&directory.path().join("data"), &plane);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = vec![listener.local_addr().unwrap()];
        let portal = PortalSocket {
            listener,
            tag: 1,
            advertise: None,
            redirect: None,
        };
        plane.open_portal(portal).unwrap();
        let service = Arc::new(service);
        let started = Reading {
            file: Config::default(),
            effective: Config::default(),
        };
        let host = Box::new(Bare(directory.path().join("file")));
        let metrics = Arc::new(metrics::Place::new(&service, false));
        service.set_reloader(Reloader::new(host, started, bound, metrics));
        Self {
            directory,
            plane,
            service,
        }
    }

    fn reload(&self, text: &str) -> Result<ConfigReloadView, ControlError> {
        std::fs::write(self.directory.path().join("file"), text).unwrap();
        self.service.reload(&ConfigReload::default())
    }

    fn create(&self, name: &str) -> crate::control::api::VolumeView {
        let create = serde_json::json!({"name": name, "size_bytes": 1 << 30, "backend": "null"});
        let create: VolumeCreate = serde_json::from_value(create).unwrap();
        assert_eq!(create.backend, BackendKind::Null);
        let unheard = crate::control::service::Unheard;
        self.service.create_volume(&create, &unheard).unwrap()
    }
}

#[test]
fn times_and_places_reach_the_data_path() {
    let stage = Stage::new();
    let text = "[limits]\nlogin_timeout = \"3s\"\nnop_interval = \"4s\"\nfence_timeout = \"5s\"\n\
                drain_timeout = \"6s\"\nsessions_per_volume = 7\nregistrations_per_volume = 8\n\
                [log]\nslow_io = \"9ms\"\n";
    let view = stage.reload(text).unwrap();
    assert_eq!(view.keys.len(), 7);
    assert!(
        view.keys
            .iter()
            .all(|key| key.outcome == KeyOutcome::Applied)
    );
    let seconds = Duration::from_secs;
    let expected = Timing {
        login_timeout: seconds(3),
        nop_interval: Some(seconds(4)),
        fence_timeout: seconds(5),
        slow_io: Some(Duration::from_millis(9)),
    };
    assert_eq!(stage.plane.timing(), Some(expected));
    assert_eq!(stage.service.logout_timeout(), seconds(6));
    let volume = stage.plane.volumes()[0];
    let check = |volume: &crate::control::plane::VolumeConfig| {
        assert_eq!((volume.sessions_max, volume.registrations_max), (7, 8));
    };
    stage.plane.inspect(volume, check);
    let later = stage.create("later");
    assert_eq!(later.sessions_max, 7, "for volumes that come later too");
    let view = stage.reload("").unwrap();
    assert_eq!(view.keys.len(), 7, "they are all taken back");
    assert_eq!(stage.plane.timing().unwrap().slow_io, None);
}

#[test]
fn names_and_groups_of_the_file_are_those_of_what_is_made_from_then_on() {
    let stage = Stage::new();
    let before = stage.create("before");
    let text = "[san]\nauthority = \"2020-02.org.example\"\nreservation_scope = \"client\"\n\
                [groups.come]\nenforce_crc = true\n[groups.bare]\n";
    stage.reload(text).unwrap();
    let after = stage.create("after");
    assert!(before.iqn.starts_with("iqn.2024-01.internal.holdfast:"));
    assert!(
        after.iqn.starts_with("iqn.2020-02.org.example:"),
        "{}",
        after.iqn
    );
    assert_eq!(after.reservation_scope, ReservationScope::Client);
    let show = |name: &str| {
        let name = name.parse().unwrap();
        stage.service.show_group(&GroupSelect { name })
    };
    assert!(show("come").unwrap().enforce_crc);
    assert!(show("bare").is_ok());
    stage.reload("").unwrap();
    assert!(
        !show("come").unwrap().enforce_crc,
        "it stays, under the rules of all"
    );
}

#[test]
fn what_fails_in_the_middle_is_told_and_tried_again() {
    let stage = Stage::new();
    let error = stage.reload("[log]\nlevel = \"debug\"\n").unwrap_err();
    assert_eq!(error.message, "there is no log");
    let again = stage.service.reload(&ConfigReload::default()).unwrap_err();
    assert_eq!(again.message, error.message);
    let events = stage.service.events().look(&EventsQuery::default()).events;
    let refusals = events
        .iter()
        .filter(|event| event.event == EventKind::ConfigRefused);
    assert_eq!(refusals.map(|event| event.times).sum::<u64>(), 2);
}

#[test]
fn sessions_are_judged_by_the_rules_that_are_to_be() {
    let stage = Stage::new();
    let volume = stage.plane.volumes()[0];
    stage.plane.log_in_from(volume, "10.0.0.9:40000");
    let text = "[access]\nallow = [\"10.0.0.1\"]\n";
    std::fs::write(stage.directory.path().join("file"), text).unwrap();
    let ask = |dry_run, disconnect| {
        let reload = ConfigReload {
            dry_run,
            disconnect,
        };
        stage.service.reload(&reload).unwrap()
    };
    let dry = ask(true, true);
    assert_eq!(dry.refused_sessions[0].rule, "allow");
    assert_eq!(dry.refused_sessions[0].volume, "volume-1");
    assert_eq!(
        stage.plane.sessions().unwrap().len(),
        1,
        "it is only thought of"
    );
    assert_eq!(ask(false, false).disconnected, None);
    assert_eq!(stage.plane.sessions().unwrap().len(), 1, "it stays");
    let ended = ask(false, true).disconnected.unwrap();
    assert_eq!((ended.sessions, ended.dropped), (1, 0));
    assert!(stage.plane.sessions().unwrap().is_empty());
}

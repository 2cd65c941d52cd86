use super::fake::{FakePlane, service};
use super::*;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::{BackendSpec, Wrapper};
use crate::control::api::{
    BackendKind, GroupSelect, HistoryQuery, LimitsSet, PreemptCheck, ReservationClear,
    VolumeCreate, VolumeDelete, VolumeList, VolumeResize, VolumeSelect, VolumeState,
};
use crate::control::catalogue::own_file;
use crate::reservation::history::Process;
use crate::target::{IdentityInfo, Takeover};
use crate::volume::{BlockSize, ReservationScope, VolumeSettings};

fn create(name: &str) -> VolumeCreate {
    VolumeCreate {
        name: name.parse().unwrap(),
        size_bytes: Some(64 << 20),
        source: None,
        group: None,
        backend: BackendKind::File,
        path: None,
        block_bytes: BlockSize::default(),
        read_only: false,
        removable: false,
        sessions_max: None,
        reservation_scope: None,
        limits: LimitsSet::default(),
        delay_us: 0,
        test_wrappers: Vec::new(),
    }
}

fn select(name: &str) -> VolumeSelect {
    VolumeSelect {
        name: name.parse().unwrap(),
    }
}

#[test]
fn the_first_start_makes_one_volume_once() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    {
        let (service, _stopped) = service(data.path(), &plane);
        let volumes = service.list_volumes(VolumeList::default()).unwrap();
        assert_eq!(volumes.len(), 1);
        assert_eq!(volumes[0].size_bytes, 1 << 30);
        assert_eq!(
            volumes[0].iqn,
            "iqn.2024-01.internal.holdfast:holdfast:volume-1"
        );
        assert_eq!(volumes[0].sessions_max, 128);
        let delete = VolumeDelete {
            name: "volume-1".parse().unwrap(),
            force: false,
            purge: false,
            delete_snapshots: false,
        };
        service.delete_volume(&delete).unwrap();
    }
    let (service, _stopped) = service(data.path(), &plane);
    assert!(
        service
            .list_volumes(VolumeList::default())
            .unwrap()
            .is_empty(),
        "a deleted volume stays deleted"
    );
}

#[test]
fn a_volume_is_created_shown_grown_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let made = service.create_volume(&create("db-1"), &Unheard).unwrap();
    let file = made.path.clone().unwrap();
    assert!(file.exists());
    assert_eq!(made.backend, "file");
    assert_eq!(
        service
            .create_volume(&create("db-1"), &Unheard)
            .unwrap_err()
            .kind,
        ErrorKind::Exists
    );

    let grow = |size_bytes| {
        service.resize_volume(&VolumeResize {
            name: "db-1".parse().unwrap(),
            size_bytes,
        })
    };
    assert_eq!(grow(128 << 20).unwrap().size_bytes, 128 << 20);
    assert_eq!(grow(64 << 20).unwrap_err().kind, ErrorKind::Invalid);
    plane.refuse(Some("nobody answers"));
    assert!(grow(256 << 20).is_err());
    plane.refuse(None);
    assert_eq!(
        grow(256 << 20).unwrap().size_bytes,
        256 << 20,
        "it can be said again"
    );
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 256 << 20);

    plane.log_in(service.find(&"db-1".parse().unwrap()).unwrap().id);
    assert_eq!(service.show_volume(&select("db-1")).unwrap().sessions, 1);
    let delete = |force| {
        service.delete_volume(&VolumeDelete {
            name: "db-1".parse().unwrap(),
            force,
            purge: false,
            delete_snapshots: false,
        })
    };
    let busy = delete(false).unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Busy);
    assert!(busy.detail.hint.unwrap().contains("--force"));
    delete(true).unwrap();
    assert!(!file.exists());
    assert_eq!(
        service.show_volume(&select("db-1")).unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[test]
fn a_volume_that_can_not_be_served_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    plane.refuse(Some("no space"));
    assert!(service.create_volume(&create("db-1"), &Unheard).is_err());
    plane.refuse(None);
    assert_eq!(
        service.list_volumes(VolumeList::default()).unwrap().len(),
        1
    );
    service.create_volume(&create("db-1"), &Unheard).unwrap();
}

#[test]
fn a_broken_volume_does_not_stop_the_others() {
    let data = tempfile::tempdir().unwrap();
    let lost = {
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        service
            .create_volume(&create("db-1"), &Unheard)
            .unwrap()
            .path
            .unwrap()
    };
    std::fs::remove_file(lost).unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let state = |name| service.show_volume(&select(name)).unwrap().state;
    assert_eq!(
        (state("volume-1"), state("db-1")),
        (VolumeState::Online, VolumeState::Failed)
    );
    let problem = service
        .show_volume(&select("db-1"))
        .unwrap()
        .problem
        .unwrap();
    assert!(
        problem.contains("is missing although the volume exists"),
        "{problem}"
    );
    let delete = VolumeDelete {
        name: "db-1".parse().unwrap(),
        force: false,
        purge: false,
        delete_snapshots: false,
    };
    service.delete_volume(&delete).unwrap();
}

#[test]
fn options_of_a_volume_reach_the_data_path_and_outlive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let odd = VolumeCreate {
        block_bytes: BlockSize::Bytes4096,
        read_only: true,
        removable: true,
        sessions_max: Some(3),
        delay_us: 250,
        test_wrappers: vec![Wrapper::Fault {
            seed: 7,
            rules: Vec::new(),
        }],
        ..create("odd-1")
    };
    let made = {
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        service.create_volume(&odd, &Unheard).unwrap()
    };
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let view = service.show_volume(&select("odd-1")).unwrap();
    assert_eq!(view.block_bytes, 4096);
    assert!(view.read_only && view.removable);
    assert_eq!((view.sessions_max, view.delay_us), (3, 250));
    let [fault, delay] = &view.test_wrappers[..] else {
        panic!("two wrappers: {:?}", view.test_wrappers);
    };
    assert_eq!(fault, &odd.test_wrappers[0]);
    assert_eq!(delay, &Wrapper::constant_delay(Duration::from_micros(250)));
    assert_eq!((view.backend.as_str(), &view.path), ("file", &made.path));
    let id = view.id.parse().unwrap();
    let served = |config: &VolumeConfig| {
        assert!(config.read_only && config.removable);
        assert_eq!((config.block_bytes, config.sessions_max), (4096, 3));
    };
    plane.inspect(id, served);
    let delete = VolumeDelete {
        name: odd.name,
        force: false,
        purge: false,
        delete_snapshots: false,
    };
    service.delete_volume(&delete).unwrap();
    assert!(
        !made.path.unwrap().exists(),
        "its file is its own, delay or not"
    );
}

/// The server was killed between the catalogue and the answer.
#[test]
fn a_volume_that_was_never_finished_is_gone_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let file = {
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let group = "default".parse().unwrap();
        let backend = |id| BackendSpec::File { path: own_file(id) };
        let (name, settings) = ("db-1".parse().unwrap(), VolumeSettings::default());
        let volume = service
            .catalogue
            .begin_volume(name, &group, 1 << 20, settings, backend);
        service
            .attach(volume.as_ref().unwrap(), Intent::Create)
            .unwrap();
        data.path().join(own_file(volume.unwrap().id))
    };
    assert!(file.exists());
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    assert_eq!(
        service.list_volumes(VolumeList::default()).unwrap().len(),
        1
    );
    assert!(!file.exists());
}

#[test]
fn wrong_parameters_are_told_with_what_was_expected() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let refused = |create: VolumeCreate| {
        service
            .create_volume(&create, &Unheard)
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused(VolumeCreate {
            size_bytes: None,
            ..create("abc")
        })
        .contains("--size")
    );
    assert!(
        refused(VolumeCreate {
            size_bytes: Some(5),
            ..create("abc")
        })
        .contains("5 bytes, expected 1.0 MiB (1048576 bytes) to 64.0 TiB")
    );
    let odd = VolumeCreate {
        size_bytes: Some((1 << 20) + 1),
        ..create("abc")
    };
    assert!(refused(odd).contains("a multiple of the block size 512"));
    let slow = VolumeCreate {
        delay_us: 1_000_001,
        ..create("db-1")
    };
    assert!(refused(slow).contains("at most 1s"));
    let slow = VolumeCreate {
        delay_us: 600_000,
        test_wrappers: vec![Wrapper::constant_delay(Duration::from_millis(600))],
        ..create("db-1")
    };
    assert!(refused(slow).contains("a delay of 1.2s"));
    let crowded = VolumeCreate {
        sessions_max: Some(0),
        ..create("db-1")
    };
    assert!(refused(crowded).contains("0 sessions, expected 1 to"));
    let block = VolumeCreate {
        backend: BackendKind::Block,
        ..create("abc")
    };
    assert!(refused(block).contains("--path"));
    let path = Some(PathBuf::from("/x"));
    let ram = VolumeCreate {
        backend: BackendKind::Ram,
        path,
        ..create("abc")
    };
    assert!(refused(ram).contains("no path"));

    let file = data.path().join("mine.img");
    let path = Some(file.clone());
    service
        .create_volume(
            &VolumeCreate {
                path: path.clone(),
                ..create("one")
            },
            &Unheard,
        )
        .unwrap();
    let two = VolumeCreate {
        path: path.clone(),
        ..create("two")
    };
    assert!(refused(two).contains("exists already"));
    assert!(file.exists(), "a refusal takes nothing away");
}

#[test]
fn groups_come_with_their_first_volume_and_go_when_empty() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let group = GroupSelect {
        name: "databases".parse().unwrap(),
    };
    service
        .create_volume(
            &VolumeCreate {
                group: Some(group.name.clone()),
                ..create("db-1")
            },
            &Unheard,
        )
        .unwrap();
    assert_eq!(
        service.create_group(&group).unwrap_err().kind,
        ErrorKind::Exists
    );
    assert_eq!(
        service.delete_group(&group).unwrap_err().kind,
        ErrorKind::Busy
    );
    let delete = VolumeDelete {
        name: "db-1".parse().unwrap(),
        force: false,
        purge: false,
        delete_snapshots: false,
    };
    service.delete_volume(&delete).unwrap();
    service.delete_group(&group).unwrap();
    assert_eq!(service.list_groups().len(), 1);
}

#[test]
fn sessions_and_reservations_have_names() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    plane.log_in(plane.volumes()[0]);
    let sessions = service.list_sessions(&SessionList::default()).unwrap();
    assert_eq!(sessions[0].volume.as_deref(), Some("volume-1"));
    assert_eq!(sessions[0].isid, "00023d000001");
    let reservation = service.show_reservation(&select("volume-1")).unwrap();
    assert_eq!(
        reservation.kind.as_deref(),
        Some("WRITE EXCLUSIVE - REGISTRANTS ONLY")
    );
    assert_eq!(reservation.since_ms, Some(1000));
    let [holder, other] = &reservation.registrations[..] else {
        panic!("two registrations: {reservation:?}");
    };
    assert_eq!(holder.key, "0x0000000000000abc");
    assert!(holder.holder && !other.holder);
    assert_eq!(
        (&holder.key_text, other.key_text.as_deref()),
        (&None, Some("VRTS0002"))
    );
    assert_eq!(holder.addresses, ["127.0.0.1:40000"]);
    assert_eq!(other.addresses, [""; 0], "host 2 is not logged in");
}

#[test]
fn a_history_is_cut_by_time_and_number() {
    let data = tempfile::tempdir().unwrap();
    let (service, _stopped) = service(data.path(), &Arc::new(FakePlane::default()));
    let numbers = |limit, since_ms| {
        let name = "volume-1".parse().unwrap();
        let query = HistoryQuery {
            name,
            limit,
            since_ms,
            after: None,
            wait_ms: 0,
        };
        let shown = service.reservation_history(&query).unwrap();
        let numbers: Vec<_> = shown.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(numbers.len() + shown.left_out, 2);
        numbers
    };
    assert_eq!(numbers(None, None), [1, 2]);
    assert_eq!(numbers(Some(1), None), [2]);
    // The second one began at 2000, and came again until 3000.
    assert_eq!(numbers(None, Some(2500)), [2]);
    assert_eq!(numbers(Some(0), None), [0; 0]);
    assert_eq!(numbers(None, Some(3001)), [0; 0]);
}

#[test]
fn a_preemption_is_foreseen_with_what_is_in_flight() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let check = |preempt: &str, by: Option<&str>| {
        service.check_preempt(&PreemptCheck {
            name: "volume-1".parse().unwrap(),
            preempt: preempt.to_owned(),
            type_code: None,
            by: by.map(str::to_owned),
        })
    };
    let told = check("0x5652545330303032", None).unwrap();
    assert_eq!(told.status, "GOOD");
    let [victim] = &told.victims[..] else {
        panic!("one victim: {told:?}");
    };
    assert_eq!(victim.loss.lost, ["registration", "write"]);
    assert_eq!(
        (victim.commands, victim.awaiting_data, victim.writes),
        (5, 1, 2)
    );
    assert_eq!(told.attentions[0].sense, "2A/05");
    assert_eq!(told.after.unwrap().registrations.len(), 1);

    let refused = check("0xabc", Some("iqn.1993-08.org.debian:01:stranger")).unwrap();
    assert_eq!(refused.status, "RESERVATION CONFLICT");
    assert!(refused.victims.is_empty() && refused.after.is_none());

    let unknown = check("0x77", None).unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NotFound);
    let expected = unknown.detail.expected.unwrap();
    assert_eq!(expected, "one of 0x0000000000000abc, 0x5652545330303032");
    let malformed = check("abc", None).unwrap_err();
    assert_eq!(malformed.kind, ErrorKind::Invalid);
    assert!(
        malformed
            .detail
            .expected
            .unwrap()
            .contains("such as 0x123abc")
    );
    let nowhere = PreemptCheck {
        name: "nowhere".parse().unwrap(),
        preempt: "0x1".to_owned(),
        type_code: None,
        by: None,
    };
    assert_eq!(
        service.check_preempt(&nowhere).unwrap_err().kind,
        ErrorKind::NotFound
    );
    let kind = PreemptCheck {
        name: "volume-1".parse().unwrap(),
        type_code: Some(2),
        ..nowhere
    };
    assert_eq!(
        service.check_preempt(&kind).unwrap_err().kind,
        ErrorKind::Invalid
    );
}

#[test]
fn an_operator_removes_a_key_and_then_the_rest() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let operator = Some(Process { uid: 7, pid: 8 });
    let clear = |key: Option<&str>| {
        let clear = ReservationClear {
            name: "volume-1".parse().unwrap(),
            key: key.map(str::to_owned),
        };
        service.clear_reservation(&clear, operator)
    };
    plane.refuse(Some("a write hangs"));
    let failed = clear(None).unwrap_err();
    assert!(failed.message.contains("a write hangs"), "{failed}");
    plane.refuse(None);
    let removed = clear(Some("0x5652545330303032")).unwrap();
    assert_eq!(removed.losses.len(), 1);
    assert_eq!(removed.after.registrations.len(), 1);
    assert_eq!(plane.operator(), operator);
    let again = clear(Some("0x5652545330303032")).unwrap_err();
    assert_eq!(
        again.detail.expected.as_deref(),
        Some("one of 0x0000000000000abc")
    );
    let rest = clear(None).unwrap();
    assert_eq!(rest.losses[0].lost, ["registration", "reservation"]);
    assert_eq!(
        (rest.after.registrations.len(), rest.after.type_code),
        (0, None)
    );
    assert_eq!(clear(None).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn a_volume_keeps_the_scope_it_was_made_with() {
    let data = tempfile::tempdir().unwrap();
    {
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let asked = VolumeCreate {
            reservation_scope: Some(ReservationScope::Client),
            ..create("shared")
        };
        service.create_volume(&asked, &Unheard).unwrap();
        service.create_volume(&create("plain"), &Unheard).unwrap();
    }
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    for (name, scope) in [
        ("shared", ReservationScope::Client),
        ("plain", ReservationScope::Nexus),
    ] {
        let view = service.show_volume(&select(name)).unwrap();
        assert_eq!(view.reservation_scope, scope);
        let id = service.find(&name.parse().unwrap()).unwrap().id;
        plane.inspect(id, |config| assert_eq!(config.reservation_scope, scope));
    }
}

#[test]
fn hosts_that_share_a_name_are_warned_of() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let volume = plane.volumes()[0];
    plane.log_in(volume);
    let takeover = |initiator: &str, is_mutual| Takeover {
        initiator: initiator.to_owned(),
        from: "10.0.0.2".parse().unwrap(),
        to: "10.0.0.1".parse().unwrap(),
        count: 7,
        is_mutual,
        last: Instant::now(),
    };
    let logged_in = "iqn.1993-08.org.debian:01:host1";
    plane.know(IdentityInfo {
        volume,
        nexuses: 3,
        owed_attentions: 1,
        takeovers: vec![
            takeover(logged_in, false),
            takeover("iqn.2024-01.x:other", true),
            takeover(logged_in, true),
        ],
    });
    let shared = "name iqn.1993-08.org.debian:01:host1 is used from 10.0.0.1 and 10.0.0.2: two hosts \
                  share one initiator name; reservations cannot tell them apart (7 sessions";
    let view = service.show_volume(&select("volume-1")).unwrap();
    assert_eq!((view.nexuses, view.owed_attentions), (3, 1));
    assert_eq!(view.warnings.len(), 3);
    assert!(view.warnings[0].contains("from 10.0.0.2 was taken over by a login from 10.0.0.1"));
    assert!(view.warnings[2].starts_with(shared), "{:?}", view.warnings);
    let sessions = service.list_sessions(&SessionList::default()).unwrap();
    let warning = sessions[0].warning.as_deref().unwrap();
    assert!(warning.starts_with(shared), "{warning}");
}

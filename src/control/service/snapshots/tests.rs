use std::sync::Arc;

use super::*;
use crate::control::api::BackendKind;
use crate::control::service::Unheard;
use crate::control::service::fake::{FakePlane, service};

fn create(volumes: &[&str], name: &str) -> SnapshotCreate {
    SnapshotCreate {
        volumes: volumes.iter().map(|name| name.parse().unwrap()).collect(),
        group: None,
        name: name.parse().unwrap(),
        copy: true,
    }
}

fn make(service: &Service, name: &str, backend: BackendKind) {
    let create = serde_json::from_value(serde_json::json!({
        "name": name, "size_bytes": 1 << 20, "backend": backend,
    }));
    service.create_volume(&create.unwrap(), &Unheard).unwrap();
}

fn files(data: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("volumes")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn volumes_that_can_not_be_held_have_no_snapshot_and_no_file() {
    let (data, plane) = (tempfile::tempdir().unwrap(), Arc::new(FakePlane::default()));
    let (service, _stopped) = service(data.path(), &plane);
    make(&service, "data", BackendKind::File);
    let before = files(data.path());
    plane.refuse(Some("writes of volume data did not end in time"));
    let error = service
        .create_snapshots(&create(&["data", "volume-1"], "monday"), &Unheard)
        .unwrap_err();
    assert_eq!(
        error.message,
        "no snapshot was taken: writes of volume data did not end in time"
    );
    assert_eq!(files(data.path()), before);
    plane.refuse(None);
    let all = SnapshotList::default();
    assert!(service.list_snapshots(&all).unwrap().is_empty());
    let taken = service.create_snapshots(&create(&["data", "volume-1"], "monday"), &Unheard);
    let taken = taken.unwrap();
    assert!(taken[0].set.is_some() && taken[0].set == taken[1].set);
    assert_eq!(taken[0].created_ms, taken[1].created_ms);
    assert_eq!(service.list_snapshots(&all).unwrap(), taken);
}

#[test]
fn one_volume_that_can_not_have_a_snapshot_keeps_all_others_from_theirs() {
    let (data, plane) = (tempfile::tempdir().unwrap(), Arc::new(FakePlane::default()));
    let (service, _stopped) = service(data.path(), &plane);
    make(&service, "memory", BackendKind::Ram);
    let before = files(data.path());
    for volumes in [&["volume-1", "memory"][..], &["volume-1", "none"], &[]] {
        let create = create(volumes, "monday");
        assert!(
            service.create_snapshots(&create, &Unheard).is_err(),
            "{volumes:?}"
        );
    }
    let whole_group = SnapshotCreate {
        group: Some("default".parse().unwrap()),
        ..create(&[], "monday")
    };
    assert!(service.create_snapshots(&whole_group, &Unheard).is_err());
    assert_eq!(files(data.path()), before);
    assert!(plane.calls().is_empty(), "nothing was held");
}

#[test]
fn what_a_crash_has_left_goes_at_the_next_start() {
    let (data, plane) = (tempfile::tempdir().unwrap(), Arc::new(FakePlane::default()));
    let before = {
        let (service, _stopped) = service(data.path(), &plane);
        let before = files(data.path());
        let volume = service.find(&"volume-1".parse().unwrap()).unwrap();
        let taken = TakenSnapshot {
            volume: volume.id,
            snapshot: Snapshot {
                id: SnapshotId::from(uuid::Uuid::new_v4()),
                name: "monday".parse().unwrap(),
                size_bytes: volume.size_bytes,
                created_ms: 1,
                set: None,
                unfinished: true,
            },
        };
        service
            .catalogue
            .begin_snapshots(std::slice::from_ref(&taken))
            .unwrap();
        let file = service
            .stores
            .snapshot_file(&volume, taken.snapshot.id)
            .unwrap();
        std::fs::write(file, b"half a snapshot").unwrap();
        let draft = service.stores.draft_file(&volume).unwrap();
        std::fs::write(draft, b"half a revert").unwrap();
        before
    };
    plane.forget_volumes();
    let (service, _stopped) = service(data.path(), &plane);
    assert_eq!(files(data.path()), before);
    let again = create(&["volume-1"], "monday");
    service.create_snapshots(&again, &Unheard).unwrap();
}

use std::path::Path;

use super::*;
use crate::control::api::{
    AsConfigured, BackendKind, GroupSelect, VolumeCreate, VolumeDelete, VolumeResize, VolumeSelect,
    VolumeSet, VolumeView,
};
use crate::control::service::Unheard;
use crate::control::service::fake::{FakePlane, service};
use crate::volume::{BlockSize, LimitOrigin};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn create(name: &str, group: &str, limits: LimitsSet) -> VolumeCreate {
    VolumeCreate {
        name: name.parse().unwrap(),
        size_bytes: Some(4 * GIB),
        group: Some(group.parse().unwrap()),
        source: None,
        backend: BackendKind::Null,
        path: None,
        block_bytes: BlockSize::default(),
        read_only: false,
        removable: false,
        sessions_max: None,
        reservation_scope: None,
        limits,
        delay_us: 0,
        test_wrappers: Vec::new(),
    }
}

fn set(name: &str, limits: LimitsSet) -> VolumeSet {
    VolumeSet {
        name: name.parse().unwrap(),
        read_only: None,
        removable: None,
        sessions_max: None,
        reservation_scope: None,
        limits,
        block_bytes: None,
    }
}

fn set_group(limits: LimitsSet) -> GroupSet {
    GroupSet {
        retention_seconds: None,
        name: "databases".parse().unwrap(),
        limits,
    }
}

fn provisioned() -> LimitsSet {
    LimitsSet {
        preset: Some(LimitsPreset::Provisioned),
        ..LimitsSet::default()
    }
}

fn iops(value: u64) -> LimitsSet {
    LimitsSet {
        iops_max: Some(LimitValue::Of(value)),
        ..LimitsSet::default()
    }
}

fn shown(service: &Service, name: &str) -> VolumeView {
    let name = name.parse().unwrap();
    service.show_volume(&VolumeSelect { name }).unwrap()
}

fn values(view: &VolumeView) -> (Option<u64>, LimitOrigin, Option<u64>, LimitOrigin) {
    let limits = &view.limits;
    (
        limits.iops_max,
        limits.iops_origin,
        limits.bandwidth_max,
        limits.bandwidth_origin,
    )
}

fn start(data: &Path) -> (Arc<FakePlane>, Service) {
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data, &plane);
    (plane, service)
}

#[test]
fn limits_outlive_a_restart_and_follow_growth() {
    let data = tempfile::tempdir().unwrap();
    {
        let (plane, service) = start(data.path());
        assert!(plane.take_limits().is_empty(), "none are set of themselves");
        let made = service
            .create_volume(&create("db-1", "databases", provisioned()), &Unheard)
            .unwrap();
        let by_size = LimitOrigin::VolumePreset;
        let expected = (Some(3000), by_size, Some(240_000_000), by_size);
        assert_eq!(values(&made), expected);
        assert_eq!(plane.take_limits().len(), 1);
        let resize = VolumeResize {
            name: "db-1".parse().unwrap(),
            size_bytes: 8 * GIB,
        };
        let grown = service.resize_volume(&resize).unwrap();
        assert_eq!(values(&grown).0, Some(6000));
        assert_eq!(plane.take_limits().len(), 1);
        service.set_volume(&set("db-1", iops(500))).unwrap();
        assert_eq!(plane.take_limits().len(), 1);
    }
    let (plane, service) = start(data.path());
    let view = shown(&service, "db-1");
    let expected = (
        Some(500),
        LimitOrigin::Volume,
        Some(480_000_000),
        LimitOrigin::VolumePreset,
    );
    assert_eq!(values(&view), expected);
    assert_eq!(plane.take_limits().len(), 1, "set when it is served");
}

#[test]
fn a_group_gives_its_preset_and_shares_its_own() {
    let data = tempfile::tempdir().unwrap();
    let (plane, service) = start(data.path());
    for name in ["db-1", "db-2"] {
        let none = LimitsSet::default();
        service
            .create_volume(&create(name, "databases", none), &Unheard)
            .unwrap();
    }
    let both = LimitsSet {
        iops_max: Some(LimitValue::Of(1000)),
        ..provisioned()
    };
    let view = service.set_group(&set_group(both)).unwrap();
    assert_eq!(view.limits.iops_max, Some(1000));
    assert_eq!(view.limits.preset, Some(LimitsPreset::Provisioned));
    let told = plane.take_limits();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, limits)| limits.is_some()));
    let view = shown(&service, "db-1");
    assert_eq!(values(&view).0, Some(3000));
    assert_eq!(values(&view).1, LimitOrigin::GroupPreset);
    assert_eq!(view.limits.group.unwrap().iops_max, Some(1000));
    assert!(view.limits.usage.is_some());
    // One that wants none of it still shares what the group has.
    let free = LimitsSet {
        preset: Some(LimitsPreset::None),
        ..LimitsSet::default()
    };
    let view = service.set_volume(&set("db-2", free)).unwrap();
    let (none, own) = (None, LimitOrigin::VolumePreset);
    assert_eq!(values(&view), (none, own, none, own));
    assert!(plane.take_limits().pop().unwrap().1.is_some());
    let view = service.set_group(&set_group(free)).unwrap();
    assert_eq!(view.limits.iops_max, None);
    assert_eq!(view.limits.preset, None);
    let told = plane.take_limits();
    assert!(told.iter().all(|(_, limits)| limits.is_none()), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn a_groups_limits_outlive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    {
        let (_, service) = start(data.path());
        let name = "databases".parse().unwrap();
        service.create_group(&GroupSelect { name }).unwrap();
        service.set_group(&set_group(iops(700))).unwrap();
        let plain = create("db-1", "databases", LimitsSet::default());
        service.create_volume(&plain, &Unheard).unwrap();
    }
    let (plane, service) = start(data.path());
    assert_eq!(plane.take_limits().len(), 1);
    let groups = service.list_groups();
    let group = groups.iter().find(|group| group.name == "databases");
    assert_eq!(group.unwrap().limits.iops_max, Some(700));
}

#[test]
fn what_changes_nothing_leaves_those_who_wait_in_peace() {
    let data = tempfile::tempdir().unwrap();
    let (plane, service) = start(data.path());
    service
        .create_volume(&create("db-1", "databases", iops(500)), &Unheard)
        .unwrap();
    plane.take_limits();
    let sessions = VolumeSet {
        sessions_max: Some(crate::control::api::SessionsMax::Own(3)),
        ..set("db-1", LimitsSet::default())
    };
    service.set_volume(&sessions).unwrap();
    service.set_volume(&set("db-1", iops(500))).unwrap();
    let back = LimitsSet {
        burst_ms: Some(LimitBurst::Common(AsConfigured::Default)),
        ..LimitsSet::default()
    };
    service.set_volume(&set("db-1", back)).unwrap();
    assert!(plane.take_limits().is_empty());
}

#[test]
fn wrong_limits_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (plane, service) = start(data.path());
    service
        .create_volume(&create("db-1", "databases", iops(500)), &Unheard)
        .unwrap();
    plane.take_limits();
    let told = |result: Result<VolumeView, ControlError>| result.unwrap_err().to_string();
    let error = told(service.set_volume(&set("db-1", iops(9))));
    assert!(
        error.contains("9 operations per second, expected 10 to 10000000"),
        "{error}"
    );
    let error = told(service.create_volume(&create("db-2", "databases", iops(0)), &Unheard));
    assert!(
        error.contains("0 operations per second, expected 10"),
        "{error}"
    );
    let slow = LimitsSet {
        bandwidth_max: Some(LimitValue::Of(MIB / 2)),
        ..LimitsSet::default()
    };
    let error = service.set_group(&set_group(slow)).unwrap_err().to_string();
    assert!(
        error.contains("524288 bytes per second, expected 1000000"),
        "{error}"
    );
    let inherit = LimitsSet {
        preset: Some(LimitsPreset::Inherit),
        ..LimitsSet::default()
    };
    let error = service
        .set_group(&set_group(inherit))
        .unwrap_err()
        .to_string();
    assert!(error.contains("nothing above it"), "{error}");
    plane.refuse(Some("the data path is tired"));
    let error = told(service.set_volume(&set("db-1", iops(600))));
    assert!(error.contains("tired"), "{error}");
    plane.refuse(None);
    assert_eq!(shown(&service, "db-1").limits.iops_max, Some(500));
    assert!(plane.take_limits().is_empty());
}

#[test]
fn a_name_that_comes_back_brings_no_limits() {
    let data = tempfile::tempdir().unwrap();
    let (plane, service) = start(data.path());
    service
        .create_volume(&create("db-1", "databases", iops(500)), &Unheard)
        .unwrap();
    let delete = VolumeDelete {
        name: "db-1".parse().unwrap(),
        force: false,
        purge: false,
        delete_snapshots: false,
    };
    service.delete_volume(&delete).unwrap();
    plane.take_limits();
    let plain = create("db-1", "databases", LimitsSet::default());
    let made = service.create_volume(&plain, &Unheard).unwrap();
    assert_eq!(values(&made).0, None);
    assert!(plane.take_limits().is_empty());
}

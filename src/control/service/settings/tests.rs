use super::*;
use std::path::Path;
use std::sync::Arc;

use crate::control::api::{AsConfigured, LimitsSet, ReservationClear, VolumeSelect, VolumeState};
use crate::control::service::fake::{FakePlane, service};
use crate::volume::{BlockSize, ReservationScope};

/// A change of nothing.
fn set() -> VolumeSet {
    VolumeSet {
        name: "volume-1".parse().unwrap(),
        read_only: None,
        removable: None,
        sessions_max: None,
        reservation_scope: None,
        limits: LimitsSet::default(),
        block_bytes: None,
    }
}

fn to_client() -> VolumeSet {
    VolumeSet {
        reservation_scope: Some(ReservationScope::Client),
        ..set()
    }
}

fn clear(service: &Service) {
    let clear = ReservationClear {
        name: set().name,
        key: None,
    };
    service.clear_reservation(&clear, None).unwrap();
}

fn shown(service: &Service) -> VolumeView {
    service
        .show_volume(&VolumeSelect { name: set().name })
        .unwrap()
}

/// The settings as a server that is started anew has them.
fn after_a_restart(data: &Path) -> VolumeView {
    let (service, _stopped) = service(data, &Arc::new(FakePlane::default()));
    shown(&service)
}

#[test]
fn the_limit_of_sessions_changes_at_any_time_and_stays() {
    let data = tempfile::tempdir().unwrap();
    {
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let id = plane.volumes()[0];
        plane.log_in(id);
        let limit = |sessions_max| VolumeSet {
            sessions_max: Some(sessions_max),
            ..set()
        };
        let view = service.set_volume(&limit(SessionsMax::Own(7))).unwrap();
        assert_eq!((view.sessions, view.sessions_max), (1, 7));
        plane.inspect(id, |told| assert_eq!(told.sessions_max, 7));
        let refused = service.set_volume(&limit(SessionsMax::Own(0))).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid);
        assert!(refused.to_string().contains("0 sessions, expected 1 to"));
        plane.refuse(Some("too many"));
        assert!(service.set_volume(&limit(SessionsMax::Own(9))).is_err());
        plane.refuse(None);
        assert_eq!(shown(&service).sessions_max, 7, "as before");
    }
    assert_eq!(after_a_restart(data.path()).sessions_max, 7);
    let (service, _stopped) = service(data.path(), &Arc::new(FakePlane::default()));
    let common = VolumeSet {
        sessions_max: Some(SessionsMax::Common(AsConfigured::Default)),
        ..set()
    };
    assert_eq!(service.set_volume(&common).unwrap().sessions_max, 128);
}

#[test]
fn the_scope_waits_until_nobody_uses_the_volume() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    {
        let (service, _stopped) = service(data.path(), &plane);
        let id = plane.volumes()[0];
        plane.log_in(id);
        let refused = service.set_volume(&to_client()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Busy);
        assert_eq!(
            refused.to_string(),
            "volume volume-1 is in use by 1 session (iqn.1993-08.org.debian:01:host1 from \
             127.0.0.1:40000) and by 2 registrations (0x0000000000000abc of \
             iqn.1993-08.org.debian:01:host1, 0x5652545330303032 of \
             iqn.1993-08.org.debian:01:host2); reservation_scope says whose a registration is: those \
             that stand would become registrations of others; expected a volume without sessions, \
             registrations and reservation\n  hint: log the sessions out and let them unregister; \
             `holdfast reservation clear volume-1` removes what a node that is gone has left"
        );
        clear(&service);
        let refused = service.set_volume(&to_client()).unwrap_err();
        assert!(refused.to_string().contains("in use by 1 session ("));
        plane.log_out_all();
        let view = service.set_volume(&to_client()).unwrap();
        assert_eq!(view.reservation_scope, ReservationScope::Client);
        plane.inspect(id, |told| {
            assert_eq!(told.reservation_scope, ReservationScope::Client);
        });
    }
    let view = after_a_restart(data.path());
    assert_eq!(view.reservation_scope, ReservationScope::Client);
}

#[test]
fn what_is_so_already_is_no_change_and_disturbs_nobody() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    plane.log_in(plane.volumes()[0]);
    let same = VolumeSet {
        read_only: Some(false),
        removable: Some(false),
        reservation_scope: Some(ReservationScope::Nexus),
        block_bytes: Some(BlockSize::Bytes512),
        ..set()
    };
    assert_eq!(service.set_volume(&same).unwrap(), shown(&service));
}

#[test]
fn a_block_size_is_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let (service, _stopped) = service(data.path(), &Arc::new(FakePlane::default()));
    let blocks = VolumeSet {
        block_bytes: Some(BlockSize::Bytes4096),
        ..set()
    };
    let refused = service.set_volume(&blocks).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    let told = refused.to_string();
    assert!(
        told.contains("the block size stays 512 bytes, not 4096"),
        "{told}"
    );
}

#[test]
fn a_change_that_fails_leaves_the_volume_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    {
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        clear(&service);
        plane.refuse_next_attach("no room");
        let failed = service.set_volume(&to_client()).unwrap_err();
        assert!(failed.to_string().contains("no room"), "{failed}");
        let view = shown(&service);
        assert_eq!(view.reservation_scope, ReservationScope::Nexus);
        assert_eq!(view.state, VolumeState::Online);
        assert_eq!(plane.volumes().len(), 1, "it is served again");
        plane.refuse(Some("nothing works"));
        assert!(service.set_volume(&to_client()).is_err());
        assert_eq!(shown(&service).state, VolumeState::Failed);
        plane.refuse(None);
        let refused = service.set_volume(&to_client()).unwrap_err();
        assert!(refused.to_string().contains("is not served"), "{refused}");
    }
    let view = after_a_restart(data.path());
    assert_eq!(view.reservation_scope, ReservationScope::Nexus);
}

#[test]
fn a_registration_that_several_addresses_share_is_pointed_at() {
    let data = tempfile::tempdir().unwrap();
    let plane = Arc::new(FakePlane::default());
    let (service, _stopped) = service(data.path(), &plane);
    let id = plane.volumes()[0];
    let log_in = || {
        for address in ["192.0.2.1:40000", "192.0.2.1:40001", "192.0.2.2:40000"] {
            plane.log_in_from(id, address);
        }
    };
    log_in();
    assert!(shown(&service).warnings.is_empty(), "it is multi-path");
    plane.log_out_all();
    clear(&service);
    service.set_volume(&to_client()).unwrap();
    plane.log_in_from(id, "192.0.2.1:40000");
    plane.log_in_from(id, "192.0.2.1:40001");
    assert!(shown(&service).warnings.is_empty(), "it is one host");
    log_in();
    let warnings = shown(&service).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("host1 come from 192.0.2.1, 192.0.2.2 and share one registration"),
        "{warnings:?}"
    );
}

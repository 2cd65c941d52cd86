//! The catalogue's rules, one by one.

use super::*;
use crate::base::limits::{GROUPS_MAX, VOLUME_BYTES_MAX, VOLUMES_PER_GROUP_MAX};
use uuid::Uuid;

const GIB: u64 = 1 << 30;

fn san() -> SanName {
    SanName::new("prod").unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn id(number: u128) -> VolumeId {
    Uuid::from_u128(number).into()
}

fn new(number: u128, name: &str) -> NewVolume<&'static str> {
    NewVolume {
        id: id(number),
        name: VolumeName::new(name).unwrap(),
        size_bytes: GIB,
        settings: VolumeSettings::default(),
        access: AccessOverrides::default(),
        backend: "anything",
    }
}

/// One SAN with the groups `main` and `other`, one volume `data` in `main`.
fn catalogue() -> Catalogue<&'static str> {
    let mut catalogue = Catalogue::new(NamingAuthority::new("2024-01.com.example").unwrap());
    catalogue.create_san(san()).unwrap();
    catalogue
        .create_group(&san(), group("main"), Group::loopback())
        .unwrap();
    catalogue
        .create_group(&san(), group("other"), Group::default())
        .unwrap();
    catalogue
        .create_volume(&san(), &group("main"), new(1, "data"))
        .unwrap();
    catalogue
}

/// The error of `change`, after a check that nothing has changed.
fn refused<T: std::fmt::Debug>(
    catalogue: &mut Catalogue<&'static str>,
    change: impl FnOnce(&mut Catalogue<&'static str>) -> Result<T, CatalogueError>,
) -> CatalogueError {
    let before = catalogue.clone();
    let error = change(catalogue).unwrap_err();
    assert_eq!(*catalogue, before);
    error
}

#[test]
fn a_volume_is_found_by_identifier_name_and_target() {
    let catalogue = catalogue();
    let volume = catalogue.volume(id(1)).unwrap();
    assert_eq!(
        volume.target_name.as_str(),
        "iqn.2024-01.com.example:prod:data"
    );
    assert_eq!(volume.blocks(), GIB / 512);
    assert_eq!(catalogue.volume_named(&san(), &volume.name), Some(volume));
    let target = IscsiName::new("IQN.2024-01.com.example:PROD:data").unwrap();
    assert_eq!(catalogue.volume_of_target(&target), Some(volume));
    assert_eq!(
        catalogue.volume(id(2)),
        Err(CatalogueError::NoSuchVolume(id(2)))
    );
}

#[test]
fn names_are_unique_in_the_san_and_identifiers_everywhere() {
    let mut catalogue = catalogue();
    let error = refused(&mut catalogue, |c| {
        c.create_volume(&san(), &group("other"), new(2, "data"))
            .cloned()
    });
    assert_eq!(
        error.to_string(),
        "volume data exists already in SAN prod, in group main"
    );
    let error = refused(&mut catalogue, |c| {
        c.create_volume(&san(), &group("main"), new(1, "more"))
            .cloned()
    });
    assert_eq!(error, CatalogueError::IdTaken(id(1)));
    assert_eq!(
        refused(&mut catalogue, |c| c.create_san(san())),
        CatalogueError::SanExists(san())
    );
    let error = refused(&mut catalogue, |c| {
        c.create_group(&san(), group("main"), Group::default())
    });
    assert!(matches!(error, CatalogueError::GroupExists { .. }));
}

#[test]
fn what_is_not_there_is_named() {
    let mut catalogue = catalogue();
    let nowhere = SanName::new("nowhere").unwrap();
    let error = refused(&mut catalogue, |c| {
        c.create_volume(&nowhere, &group("main"), new(2, "more"))
            .cloned()
    });
    assert_eq!(error, CatalogueError::NoSuchSan(nowhere.clone()));
    let error = refused(&mut catalogue, |c| {
        c.create_volume(&san(), &group("none"), new(2, "more"))
            .cloned()
    });
    assert_eq!(error.to_string(), "there is no group none in SAN prod");
    assert!(
        refused(&mut catalogue, |c| c.delete_san(&nowhere))
            .to_string()
            .contains("nowhere")
    );
    refused(&mut catalogue, |c| c.delete_group(&san(), &group("none")));
    refused(&mut catalogue, |c| {
        c.update_group(&san(), &group("none"), Group::default())
    });
    refused(&mut catalogue, |c| c.delete_volume(id(7)));
    refused(&mut catalogue, |c| c.resize_volume(id(7), GIB));
}

#[test]
fn only_what_is_empty_can_be_deleted() {
    let mut catalogue = catalogue();
    let error = refused(&mut catalogue, |c| c.delete_group(&san(), &group("main")));
    assert_eq!(
        error,
        CatalogueError::GroupNotEmpty {
            group: group("main"),
            volumes: 1,
            deleted: 0,
        }
    );
    let error = refused(&mut catalogue, |c| c.delete_san(&san()));
    assert_eq!(
        error,
        CatalogueError::SanNotEmpty {
            san: san(),
            groups: 2
        }
    );
    assert_eq!(catalogue.delete_volume(id(1)).unwrap().backend, "anything");
    catalogue.delete_group(&san(), &group("main")).unwrap();
    catalogue.delete_group(&san(), &group("other")).unwrap();
    catalogue.delete_san(&san()).unwrap();
    assert_eq!(catalogue, Catalogue::new(catalogue.authority().clone()));
}

#[test]
fn a_volume_with_snapshots_cannot_be_deleted() {
    let mut stored = serde_json::to_value(catalogue()).unwrap();
    stored["volumes"][0]["snapshots"] = serde_json::json!([
        {"id": id(7).to_string(), "name": "monday", "size_bytes": GIB, "created_ms": 1}
    ]);
    let mut catalogue: Catalogue<String> = serde_json::from_value(stored).unwrap();
    let error = catalogue.delete_volume(id(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "volume data still has 1 snapshot: monday"
    );
}

#[test]
fn volumes_grow_and_never_shrink() {
    let mut catalogue = catalogue();
    assert_eq!(catalogue.resize_volume(id(1), 2 * GIB), Ok(GIB));
    assert_eq!(catalogue.resize_volume(id(1), 2 * GIB), Ok(2 * GIB));
    assert_eq!(catalogue.volume(id(1)).unwrap().size_bytes, 2 * GIB);
    for (size_bytes, expected) in [
        (
            GIB,
            SizeError::Shrink {
                asked_bytes: GIB,
                present_bytes: 2 * GIB,
            },
        ),
        (
            2 * GIB + 1,
            SizeError::Blocks {
                size_bytes: 2 * GIB + 1,
                block_bytes: 512,
            },
        ),
        (
            VOLUME_BYTES_MAX + 512,
            SizeError::Range(VOLUME_BYTES_MAX + 512),
        ),
    ] {
        let error = refused(&mut catalogue, |c| c.resize_volume(id(1), size_bytes));
        let volume = VolumeName::new("data").unwrap();
        assert_eq!(
            error,
            CatalogueError::Size {
                volume,
                source: expected
            }
        );
    }
}

#[test]
fn a_new_volume_is_checked_like_any_other() {
    let mut catalogue = catalogue();
    let create = |change: fn(&mut NewVolume<&'static str>)| {
        let mut volume = new(2, "more");
        change(&mut volume);
        move |c: &mut Catalogue<&'static str>| {
            c.create_volume(&san(), &group("main"), volume).cloned()
        }
    };
    let error = refused(&mut catalogue, create(|volume| volume.size_bytes = 0));
    assert!(matches!(
        error,
        CatalogueError::Size {
            source: SizeError::Range(0),
            ..
        }
    ));
    let error = refused(
        &mut catalogue,
        create(|volume| volume.settings.sessions_max = Some(0)),
    );
    assert!(matches!(error, CatalogueError::Settings { .. }));
    let error = refused(
        &mut catalogue,
        create(|volume| {
            volume.settings.block_size = BlockSize::Bytes4096;
            volume.size_bytes = GIB + 512;
        }),
    );
    assert!(matches!(
        error,
        CatalogueError::Size {
            source: SizeError::Blocks { .. },
            ..
        }
    ));
}

#[test]
fn a_san_has_a_limited_number_of_groups() {
    let mut catalogue = catalogue();
    for number in 2..GROUPS_MAX {
        catalogue
            .create_group(&san(), group(&format!("group-{number}")), Group::default())
            .unwrap();
    }
    let error = refused(&mut catalogue, |c| {
        c.create_group(&san(), group("last"), Group::default())
    });
    assert_eq!(error, CatalogueError::TooManyGroups(san()));
}

#[test]
fn a_group_has_a_limited_number_of_volumes() {
    let mut catalogue = catalogue();
    for number in 2..=VOLUMES_PER_GROUP_MAX {
        let volume = new(number as u128, &format!("volume-{number}"));
        catalogue
            .create_volume(&san(), &group("main"), volume)
            .unwrap();
    }
    let error = refused(&mut catalogue, |c| {
        c.create_volume(&san(), &group("main"), new(9999, "last"))
            .cloned()
    });
    assert_eq!(error, CatalogueError::TooManyVolumes(group("main")));
    catalogue
        .create_volume(&san(), &group("other"), new(9999, "last"))
        .unwrap();
}

#[test]
fn a_target_keeps_its_name_and_may_have_others() {
    let mut catalogue = catalogue();
    catalogue.set_authority(NamingAuthority::new("2025-06.org.example").unwrap());
    let kept = catalogue.volume(id(1)).unwrap().target_name.clone();
    assert_eq!(kept.as_str(), "iqn.2024-01.com.example:prod:data");
    let alias = IscsiName::new("iqn.2019-01.net.old:disk").unwrap();
    catalogue.add_alias(id(1), alias.clone()).unwrap();
    assert_eq!(catalogue.volume_of_target(&alias).unwrap().id, id(1));
    catalogue
        .create_volume(&san(), &group("main"), new(2, "more"))
        .unwrap();
    for taken in [alias.clone(), kept] {
        let error = refused(&mut catalogue, |c| c.add_alias(id(2), taken.clone()));
        assert_eq!(
            error,
            CatalogueError::TargetNameTaken {
                name: taken,
                owner: id(1)
            }
        );
    }
    catalogue.delete_volume(id(1)).unwrap();
    assert_eq!(catalogue.volume_of_target(&alias), None);
    catalogue.add_alias(id(2), alias).unwrap();
}

#[test]
fn access_is_inherited_from_the_group() {
    let mut catalogue = catalogue();
    assert_eq!(catalogue.access_rules(id(1)), Ok(AccessRules::loopback()));
    catalogue
        .update_group(&san(), &group("main"), Group::default())
        .unwrap();
    assert_eq!(catalogue.access_rules(id(1)), Ok(AccessRules::default()));
    let mut open = new(2, "open");
    open.access.networks = Some(AccessRules::loopback().networks);
    catalogue
        .create_volume(&san(), &group("other"), open)
        .unwrap();
    assert_eq!(catalogue.access_rules(id(2)), Ok(AccessRules::loopback()));
}

#[test]
fn a_catalogue_is_stored_and_checked_when_it_comes_back() {
    let mut stored = serde_json::to_value(catalogue()).unwrap();
    let back: Catalogue<String> = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), stored);
    let target = &back.volume(id(1)).unwrap().target_name;
    assert_eq!(back.volume_of_target(target).unwrap().id, id(1));

    let mut twice = stored["volumes"][0].clone();
    twice["id"] = serde_json::json!(id(2).to_string());
    stored["volumes"].as_array_mut().unwrap().push(twice);
    let error = serde_json::from_value::<Catalogue<String>>(stored.clone()).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    stored["volumes"][1]["group"] = serde_json::json!("elsewhere");
    let error = serde_json::from_value::<Catalogue<String>>(stored).unwrap_err();
    assert!(error.to_string().contains("no group elsewhere"), "{error}");
}

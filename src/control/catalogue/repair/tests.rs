use super::super::tests::{begin_and_finish, open};
use super::super::{Catalogue, Inspection, Volume};
use super::*;
use crate::reservation::{self, State};
use crate::target::{ReservationStore, ReservationUpdate};

/// A directory whose catalogue has two volumes, closed.
fn directory() -> (tempfile::TempDir, [Volume; 2]) {
    let data = tempfile::tempdir().unwrap();
    let (catalogue, _) = open(data.path()).unwrap();
    let volumes = ["vol-1", "vol-2"].map(|name| begin_and_finish(&catalogue, name));
    for volume in &volumes {
        std::fs::write(data.path().join(super::super::own_file(volume.id)), b"data").unwrap();
    }
    (data, volumes)
}

fn save(catalogue: &Catalogue, volume: &Volume, record: &[u8]) {
    let update = ReservationUpdate {
        record: Some(record.to_vec()),
        ..ReservationUpdate::default()
    };
    catalogue.save(volume.id, &update).unwrap();
}

/// Overwrites the row of a volume's record.
fn damage_record(data: &Path, volume: &Volume, row: &[u8]) {
    let database = redb::Database::open(data.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction
        .open_table(super::super::schema::RESERVATIONS)
        .unwrap();
    table.insert(super::super::key(volume.id), row).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

fn asks(reservations: &[(&str, Decision)], replacement: Option<Replacement>) -> Repairs {
    let reservations = reservations.iter();
    Repairs {
        reservations: reservations.map(|(n, d)| ((*n).to_owned(), *d)).collect(),
        forget: BTreeSet::new(),
        replacement,
    }
}

fn inspect(data: &Path) -> Inspection {
    Inspection::of(&DataDirectory::existing(data).unwrap()).unwrap()
}

fn make(data: &Path, repairs: &Repairs) -> Result<Plan, RepairError> {
    Plan::make(&DataDirectory::existing(data).unwrap(), repairs)
}

fn carry_out(data: &Path, repairs: &Repairs) -> Option<String> {
    let directory = DataDirectory::existing(data).unwrap();
    Plan::make(&directory, repairs)
        .unwrap()
        .carry_out(&directory)
        .unwrap()
}

#[test]
fn looking_changes_nothing() {
    let (data, _) = directory();
    let before = std::fs::read(data.path().join(FILE)).unwrap();
    let found = inspect(data.path());
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.contents.volumes.len(), 2);
    assert!(found.stray_files.is_empty() && found.kept.is_empty());
    make(data.path(), &asks(&[("ALL", Decision::Discard)], None)).unwrap();
    assert_eq!(std::fs::read(data.path().join(FILE)).unwrap(), before);
    assert_eq!(inspect(data.path()), found);
}

#[test]
fn a_damaged_record_is_discarded_by_name_alone() {
    let (data, [first, second]) = directory();
    for volume in [&first, &second] {
        damage_record(data.path(), volume, b"damage");
    }
    let damaged = std::fs::read(data.path().join(FILE)).unwrap();
    let problem = |volume: &Volume| {
        let found = inspect(data.path());
        found
            .contents
            .volume(volume.name.as_str())
            .unwrap()
            .problem
            .clone()
    };
    assert!(problem(&first).unwrap().contains("can't be believed"));
    let kept = carry_out(data.path(), &asks(&[("vol-1", Decision::Discard)], None));
    assert_eq!(kept.as_deref(), Some("catalogue.redb.before-repair-1"));
    let kept = std::fs::read(data.path().join(kept.unwrap())).unwrap();
    assert_eq!(kept, damaged, "what was there is kept");
    assert_eq!(problem(&first), None);
    assert!(problem(&second).is_some(), "the other is as it was");
    let empty = reservation::encode(&State::new());
    let (catalogue, _) = open(data.path()).unwrap();
    assert_eq!(catalogue.reservation(first.id).unwrap(), empty);
    catalogue.reservation(second.id).unwrap_err();
    drop(catalogue);
    let kept = carry_out(data.path(), &asks(&[("ALL", Decision::Discard)], None));
    assert_eq!(kept.as_deref(), Some("catalogue.redb.before-repair-2"));
    assert!(inspect(data.path()).is_sound());
}

#[test]
fn a_backup_needs_a_decision_for_each_volume() {
    let (data, [first, _]) = directory();
    let record = {
        let (catalogue, _) = open(data.path()).unwrap();
        let record = reservation::encode(&State::new());
        save(&catalogue, &first, &record);
        record
    };
    let backup = data.path().join("backup");
    std::fs::copy(data.path().join(FILE), &backup).unwrap();
    std::fs::write(data.path().join(FILE), b"damage").unwrap();
    assert!(inspect(data.path()).problem.unwrap().contains("is damaged"));
    let restore =
        |decisions: &[(&str, Decision)]| asks(decisions, Some(Replacement::Backup(backup.clone())));
    let refused = |repairs: &Repairs| make(data.path(), repairs).unwrap_err().to_string();
    assert!(refused(&restore(&[])).contains("Undecided: vol-1, vol-2"));
    let half = restore(&[("vol-1", Decision::Keep)]);
    assert!(refused(&half).contains("Undecided: vol-2"));
    let whole = restore(&[("vol-1", Decision::Keep), ("ALL", Decision::Discard)]);
    carry_out(data.path(), &whole);
    assert!(inspect(data.path()).is_sound());
    let (catalogue, _) = open(data.path()).unwrap();
    assert_eq!(catalogue.reservation(first.id).unwrap(), record);
}

#[test]
fn a_deleted_volume_is_no_damage_and_has_nothing_to_decide() {
    let (data, [first, second]) = directory();
    let deletion = crate::volume::Deletion {
        at_ms: 1,
        purge_ms: 2,
    };
    {
        let (catalogue, _) = open(data.path()).unwrap();
        catalogue.shelve_volume(&first, deletion).unwrap();
    }
    let inspection = inspect(data.path());
    assert!(inspection.is_sound() && inspection.stray_files.is_empty());
    assert!(inspection.contents.orphans.is_empty());
    assert!(
        inspection
            .contents
            .volume(first.name.as_str())
            .unwrap()
            .deleted
    );
    let backup = data.path().join("backup");
    std::fs::copy(data.path().join(FILE), &backup).unwrap();
    let replacement = Some(Replacement::Backup(backup));
    let keep = asks(&[(second.name.as_str(), Decision::Keep)], replacement);
    carry_out(data.path(), &keep);
    let forget = Repairs {
        forget: [first.name.to_string()].into(),
        ..Repairs::default()
    };
    assert!(matches!(
        make(data.path(), &forget),
        Err(RepairError::Readable(_))
    ));
    let (catalogue, _) = open(data.path()).unwrap();
    let deleted = catalogue.volume(&first.name).unwrap();
    assert_eq!(deleted.deleted, Some(deletion));
    catalogue.unshelve_volume(&deleted).unwrap();
    assert!(catalogue.reservation(first.id).is_ok());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (data, [first, _]) = directory();
    damage_record(data.path(), &first, b"");
    let refused = |repairs: Repairs| make(data.path(), &repairs).unwrap_err().to_string();
    let told = refused(asks(&[("vol-9", Decision::Discard)], None));
    assert!(told.contains("no volume vol-9"), "{told}");
    let told = refused(asks(&[("vol-2", Decision::Keep)], None));
    assert!(told.contains("goes with --restore-from"), "{told}");
    let told = refused(asks(
        &[("ALL", Decision::Discard)],
        Some(Replacement::Empty),
    ));
    assert!(told.contains("no volumes to decide"), "{told}");
    let forget = Repairs {
        forget: ["vol-1".to_owned()].into(),
        ..Repairs::default()
    };
    assert!(refused(forget).contains("can be read"));
    let backup = data.path().join("bad");
    let restore = asks(&[], Some(Replacement::Backup(backup.clone())));
    assert!(refused(restore.clone()).contains("can't be read"));
    std::fs::write(&backup, b"damage").unwrap();
    assert!(refused(restore).contains("can't be used"));
    let same = asks(
        &[("ALL", Decision::Keep)],
        Some(Replacement::Backup(data.path().join(FILE))),
    );
    assert!(refused(same).contains("of volume vol-1 can't be kept"));
}

#[test]
fn a_volume_whose_row_can_not_be_read_keeps_its_name_until_it_is_forgotten() {
    let (data, [first, second]) = directory();
    {
        let database = redb::Database::open(data.path().join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut table = transaction
            .open_table(super::super::schema::VOLUMES)
            .unwrap();
        table.insert("vol-1", &b"{}"[..]).unwrap();
        drop(table);
        transaction.commit().unwrap();
    }
    {
        let (catalogue, unfinished) = open(data.path()).unwrap();
        assert!(unfinished.is_empty());
        assert_eq!(catalogue.volume(&first.name), None);
        assert_eq!(catalogue.volume(&second.name), Some(second), "others go on");
        assert!(catalogue.unreadable()["vol-1"].contains("missing field"));
        let taken = super::super::tests::begin(&catalogue, "vol-1").unwrap_err();
        assert!(taken.to_string().contains("can't be read"), "{taken}");
    }
    let refused = make(data.path(), &asks(&[("vol-1", Decision::Discard)], None));
    assert!(matches!(refused, Err(RepairError::Unreadable(_))));
    let forget = Repairs {
        forget: ["vol-1".to_owned()].into(),
        ..Repairs::default()
    };
    carry_out(data.path(), &forget);
    let found = inspect(data.path());
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.stray_files, [format!("{}.img", first.id)]);
    assert_eq!(found.contents.orphans, [first.id.to_string()]);
    let (catalogue, _) = open(data.path()).unwrap();
    begin_and_finish(&catalogue, "vol-1");
}

#[test]
fn a_missing_catalogue_is_no_first_start() {
    let (data, _) = directory();
    std::fs::remove_file(data.path().join(FILE)).unwrap();
    let error = open(data.path()).err().unwrap().to_string();
    assert!(error.contains("is missing, but beside it are 2 volumes' files"));
    let found = inspect(data.path());
    assert_eq!(found.problem, Some(error));
    assert_eq!(found.stray_files.len(), 2);
    let kept = carry_out(data.path(), &asks(&[], Some(Replacement::Empty)));
    assert_eq!(kept, None, "there was nothing to keep");
    assert_eq!(inspect(data.path()).stray_files.len(), 2, "data stays");
    let (catalogue, _) = open(data.path()).unwrap();
    assert_eq!(catalogue.model().volumes().len(), 0);
}

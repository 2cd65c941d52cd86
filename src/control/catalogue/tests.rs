use super::*;
use crate::control::config::Config;

fn open(path: &Path) -> Result<(Catalogue, Vec<Volume>), CatalogueError> {
    Catalogue::open(
        DataDirectory::open(path)?,
        Config::default().policy().unwrap(),
    )
}

fn begin(catalogue: &Catalogue, name: &str) -> Result<Volume, CatalogueError> {
    let group = GroupName::new("default").unwrap();
    let backend = |id| BackendSpec::File { path: own_file(id) };
    let settings = VolumeSettings::default();
    catalogue.begin_volume(name.parse().unwrap(), &group, 1 << 30, settings, backend)
}

fn make(catalogue: &Catalogue, name: &str) -> Volume {
    let volume = begin(catalogue, name).unwrap();
    catalogue.finish_volume(&volume).unwrap();
    volume
}

fn record(bytes: &[u8]) -> ReservationUpdate {
    ReservationUpdate {
        record: Some(bytes.to_vec()),
        ..ReservationUpdate::default()
    }
}

#[test]
fn everything_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = {
        let (catalogue, _) = open(data.path()).unwrap();
        assert!(!catalogue.is_founded().unwrap());
        let (first, second) = (make(&catalogue, "vol-1"), make(&catalogue, "vol-2"));
        catalogue.set_founded().unwrap();
        catalogue.save(first.id, &record(b"record 1")).unwrap();
        catalogue.save(first.id, &record(b"record 2")).unwrap();
        catalogue.create_group(&"spare".parse().unwrap()).unwrap();
        let second = catalogue.resize_volume(&second, 2 << 30).unwrap();
        (first, second)
    };
    let (catalogue, unfinished) = open(data.path()).unwrap();
    assert!(catalogue.is_founded().unwrap() && unfinished.is_empty());
    assert_eq!(catalogue.volume(&first.name), Some(first.clone()));
    assert_eq!(catalogue.volume(&second.name), Some(second));
    assert_eq!(
        catalogue
            .model()
            .sans()
            .values()
            .map(|san| san.groups.len())
            .sum::<usize>(),
        2
    );
    assert_eq!(
        catalogue.reservation(first.id).unwrap().as_deref(),
        Some(&b"record 2"[..])
    );
    catalogue.remove_volume(&first).unwrap();
    assert_eq!(catalogue.volume(&first.name), None);
    assert_eq!(catalogue.reservation(first.id).unwrap(), None);
}

/// A copy of the file, taken while it is open, is what a power cut would leave.
#[test]
fn a_change_is_on_disk_when_it_returns() {
    let data = tempfile::tempdir().unwrap();
    let (catalogue, _) = open(data.path()).unwrap();
    let volume = make(&catalogue, "vol-1");
    catalogue.save(volume.id, &record(b"held")).unwrap();
    let after_crash = tempfile::tempdir().unwrap();
    let file = "catalogue.redb";
    std::fs::copy(data.path().join(file), after_crash.path().join(file)).unwrap();
    let (recovered, _) = open(after_crash.path()).unwrap();
    assert_eq!(recovered.volume(&volume.name), Some(volume.clone()));
    assert_eq!(
        recovered.reservation(volume.id).unwrap().as_deref(),
        Some(&b"held"[..])
    );
}

#[test]
fn a_history_comes_and_goes_with_its_volume_alone() {
    let entry = |sequence: u64| (sequence, sequence.to_le_bytes().to_vec());
    let data = tempfile::tempdir().unwrap();
    let (catalogue, _) = open(data.path()).unwrap();
    let volumes = [make(&catalogue, "vol-1"), make(&catalogue, "vol-2")];
    let [first, second] = volumes.each_ref().map(|volume| volume.id);
    for volume in [first, second] {
        assert_eq!(catalogue.history(volume).unwrap(), KeptHistory::default());
        let update = ReservationUpdate {
            ages: Some(b"ages".to_vec()),
            entries: vec![entry(2), entry(u64::MAX), entry(1)],
            ..record(b"record")
        };
        catalogue.save(volume, &update).unwrap();
    }
    let update = ReservationUpdate {
        forget: vec![1, u64::MAX, 77],
        entries: vec![(2, b"replaced".to_vec()), entry(3)],
        ..ReservationUpdate::default()
    };
    catalogue.save(first, &update).unwrap();
    let kept = KeptHistory {
        entries: vec![(2, b"replaced".to_vec()), entry(3)],
        ages: Some(b"ages".to_vec()),
    };
    assert_eq!(catalogue.history(first).unwrap(), kept);
    let record = catalogue.reservation(first).unwrap();
    assert_eq!(record.as_deref(), Some(&b"record"[..]));
    catalogue.remove_volume(&volumes[0]).unwrap();
    assert_eq!(catalogue.history(first).unwrap(), KeptHistory::default());
    let kept = KeptHistory {
        entries: vec![entry(1), entry(2), entry(u64::MAX)],
        ages: Some(b"ages".to_vec()),
    };
    assert_eq!(catalogue.history(second).unwrap(), kept);
}

#[test]
fn an_unfinished_volume_is_seen_by_nobody_and_handed_back() {
    let data = tempfile::tempdir().unwrap();
    let begun = {
        let (catalogue, _) = open(data.path()).unwrap();
        let begun = begin(&catalogue, "vol-1").unwrap();
        assert_eq!(catalogue.volume(&begun.name), None);
        begun
    };
    let (catalogue, unfinished) = open(data.path()).unwrap();
    assert_eq!(unfinished, vec![begun.clone()]);
    catalogue.remove_volume(&begun).unwrap();
    drop(catalogue);
    assert!(open(data.path()).unwrap().1.is_empty());
}

#[test]
fn what_the_model_refuses_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (catalogue, _) = open(data.path()).unwrap();
    let volume = make(&catalogue, "vol-1");
    let before = catalogue.model();
    assert!(matches!(
        begin(&catalogue, "vol-1"),
        Err(CatalogueError::Refused(_))
    ));
    assert!(catalogue.resize_volume(&volume, 1 << 20).is_err());
    assert!(catalogue.delete_group(&volume.group).is_err());
    assert_eq!(catalogue.model(), before);
}

#[test]
fn a_directory_belongs_to_one_san() {
    let data = tempfile::tempdir().unwrap();
    drop(open(data.path()).unwrap());
    let policy = Policy {
        san: "other".parse().unwrap(),
        ..Config::default().policy().unwrap()
    };
    let directory = DataDirectory::open(data.path()).unwrap();
    let error = Catalogue::open(directory, policy)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("is that of SAN holdfast, the configuration says other"),
        "{error}"
    );
}

#[test]
fn a_crash_in_the_first_start_leaves_no_trace() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("catalogue.redb.new"), b"half of one").unwrap();
    assert!(!open(data.path()).unwrap().0.is_founded().unwrap());
    assert!(!data.path().join("catalogue.redb.new").exists());
}

#[test]
fn a_second_server_is_told_who_has_it() {
    let data = tempfile::tempdir().unwrap();
    let _first = open(data.path()).unwrap();
    let error = open(data.path()).err().unwrap().to_string();
    assert!(
        error.contains(&format!("in use by process {}", std::process::id())),
        "{error}"
    );
    assert!(error.contains("--data"), "{error}");
}

#[test]
fn damage_is_told_as_such() {
    for garbage in [&b"this is no database"[..], &[0u8; 8192], &[]] {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("catalogue.redb"), garbage).unwrap();
        let error = open(data.path()).err().unwrap().to_string();
        assert!(
            error.contains("is damaged") && error.contains("backup"),
            "{error}"
        );
    }
}

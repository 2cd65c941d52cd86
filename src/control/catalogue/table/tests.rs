use redb::Database;

use super::super::DataDirectory;
use super::super::file::commit;
use super::super::schema::SEQUENCE_KEY;
use super::*;

fn open(path: &std::path::Path) -> Result<Table, CatalogueError> {
    Table::open(Arc::new(DataDirectory::open(path)?))
}

#[test]
fn another_version_is_refused() {
    for version in ["3", "0", "two", ""] {
        let data = tempfile::tempdir().unwrap();
        open(data.path())
            .unwrap()
            .set_meta(VERSION_KEY, version)
            .unwrap();
        let error = open(data.path()).err().unwrap().to_string();
        let told = format!("has version {version}, this program knows 1 to 2");
        assert!(error.contains(&told), "{error}");
    }
}

/// A file as version 1 of the program left it: records bare, and none for a volume without.
fn version_1(path: &std::path::Path) -> [u128; 2] {
    let volumes = [("vol-1", 0x11_u128), ("vol-2", 0x22)];
    drop(open(path).unwrap());
    let database = Database::open(path.join(FILE)).unwrap();
    commit(&database, |transaction| {
        transaction.open_table(META)?.remove(SEQUENCE_KEY)?;
        transaction.open_table(META)?.insert(VERSION_KEY, "1")?;
        assert!(transaction.delete_table(HISTORY)? && transaction.delete_table(AGES)?);
        for (name, id) in volumes {
            let id = uuid::Uuid::from_u128(id);
            let row = format!(r#"{{"made":true,"volume":{{"id":"{id}"}}}}"#);
            put(transaction, VOLUMES, name, row.as_bytes())?;
        }
        put(transaction, VOLUMES, "vol-3", b"no row")?;
        put_record(transaction, volumes[0].1, b"bare")
    })
    .unwrap();
    volumes.map(|(_, id)| id)
}

#[test]
fn version_1_is_upgraded_and_a_copy_of_it_kept() {
    let data = tempfile::tempdir().unwrap();
    let [first, second] = version_1(data.path());
    let table = open(data.path()).unwrap();
    assert_eq!(
        table.meta(VERSION_KEY).unwrap().unwrap(),
        VERSION.to_string()
    );
    let row = |key| table.reservation(key).unwrap().unwrap();
    assert_eq!(record::open(first, &row(first)).unwrap(), b"bare");
    assert_eq!(row(second), record::seal_empty(second));
    assert_eq!(table.history(first).unwrap(), KeptHistory::default());
    assert_eq!(table.reserved().unwrap().len(), 2);
    let kept = data.path().join("catalogue.redb.before-upgrade-from-1-1");
    let kept = std::fs::read(kept).unwrap();
    drop(table);
    // It is whole: what has become of it is undone with it, and becomes of it again.
    std::fs::write(data.path().join(FILE), kept).unwrap();
    let again = open(data.path()).unwrap();
    assert_eq!(
        again.reservation(first).unwrap(),
        Some(record::seal(first, b"bare"))
    );
}

#[test]
fn a_change_on_its_way_to_a_deleted_volume_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let table = open(data.path()).unwrap();
    table.discard_reservation(8).unwrap();
    let update = ReservationUpdate {
        record: Some(b"late".to_vec()),
        entries: vec![(1, b"late".to_vec())],
        ..ReservationUpdate::default()
    };
    let found = table.update_reservations(&[(7, &update), (8, &update)]);
    assert_eq!(found.unwrap(), [false, true]);
    assert_eq!(table.reservation(7).unwrap(), None);
    assert_eq!(table.history(7).unwrap(), KeptHistory::default());
    let row = table.reservation(8).unwrap();
    assert_eq!(row, Some(record::seal(8, b"late")), "and no other suffers");
}

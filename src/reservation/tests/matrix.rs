//! The matrix and the snapshot, against section 6's five columns spelled out.

use super::world::*;
use crate::reservation::access::Standing;
use crate::reservation::*;

/// Allowed or not, straight from the columns a–e of the specification's table.
pub(super) fn allowed(kind: u8, standing: Standing, access: Access) -> bool {
    let registered = standing != Standing::Stranger;
    let is_holder = standing == Standing::Holder || (kind >= 7 && registered);
    if kind == 0 || is_holder {
        return true;
    }
    let column = match (kind, registered) {
        (1, _) => 'a',
        (3, _) => 'b',
        (_, true) => 'c',
        (5 | 7, false) => 'd',
        (6 | 8, false) => 'e',
        _ => unreachable!("six types"),
    };
    match access {
        Access::Exempt | Access::Never | Access::Register => true,
        Access::Read => "acd".contains(column),
        Access::Write => column == 'c',
        Access::Manage => registered,
        Access::Take => false,
    }
}

#[test]
fn every_cell() {
    let standings = [Standing::Stranger, Standing::Registrant, Standing::Holder];
    let kinds = ReservationType::ALL.into_iter().map(Some).chain([None]);
    for (kind, standing) in kinds.flat_map(|kind| standings.map(|standing| (kind, standing))) {
        let rights = Rights::new(kind, standing);
        let code = kind.map_or(0, ReservationType::code);
        if kind.is_some_and(ReservationType::is_all_registrants) && standing == Standing::Registrant
        {
            continue;
        }
        for access in Access::ALL {
            let expected = allowed(code, standing, access);
            assert_eq!(
                rights.permits(access),
                expected,
                "type {code}, {standing:?}, {access:?}"
            );
        }
        assert_eq!(rights.is_registered(), standing != Standing::Stranger);
        assert_eq!(rights.is_holder(), standing == Standing::Holder);
        assert!(!rights.spc2_blocked());
    }
}

/// The service's own access table, all 21 cells: type, holder, registered, others.
#[test]
fn the_table_of_the_service() {
    const TABLE: [(u8, &str, &str); 6] = [
        (1, "RO", "RO"),
        (3, "none", "none"),
        (5, "RW", "RO"),
        (6, "RW", "none"),
        (7, "RW", "RO"),
        (8, "RW", "none"),
    ];
    fn cell(rights: Rights) -> &'static str {
        match (rights.can_read(), rights.can_write()) {
            (true, true) => "RW",
            (true, false) => "RO",
            (false, false) => "none",
            (false, true) => "WO",
        }
    }
    for (kind, registered, others) in TABLE {
        let state = World::reserved(&[(A, 1), (B, 2)], A, kind).state;
        let cells = [A, B, C].map(|index| cell(state.rights(&nexus(index))));
        assert_eq!(cells, ["RW", registered, others], "type {kind}");
    }
    let mut world = World::new();
    world.good(B, &Out::basic(0, 0, 0, 2, 0));
    assert_eq!(
        [B, C].map(|index| cell(world.state.rights(&nexus(index)))),
        ["RW", "RW"]
    );
}

#[test]
fn rights_are_one_byte_and_a_snapshot_reads_an_array() {
    assert_eq!(size_of::<Rights>(), 1);
    let open = Snapshot::open();
    assert_eq!(open.rights(NexusIndex(0)), Rights::UNRESERVED);
    assert_eq!(open.rights(NexusIndex::NONE), Rights::UNRESERVED);
    assert!(!open.is_reserved());

    let state = World::reserved(&[(A, 1), (B, 2)], A, 3).state;
    let place = |nexus: &Nexus| (index_of(nexus) == B).then_some(NexusIndex(40));
    let snapshot = Snapshot::build(&state, place);
    assert!(snapshot.is_reserved());
    assert_eq!(snapshot.generation(), 2);
    assert_eq!(snapshot.rights(NexusIndex(40)), state.rights(&nexus(B)));
    for stranger in [
        NexusIndex(0),
        NexusIndex(39),
        NexusIndex(41),
        NexusIndex::NONE,
    ] {
        assert_eq!(snapshot.rights(stranger), state.stranger_rights());
        assert!(!snapshot.rights(stranger).can_read());
    }
}

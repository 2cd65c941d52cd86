//! REGISTER, REGISTER AND IGNORE EXISTING KEY and REGISTER AND MOVE, row by row.

use super::world::*;
use crate::reservation::*;

const REGISTER: u8 = 0;
const IGNORE: u8 = 6;
const ATP: u8 = 0x04;
const APTPL: u8 = 0x01;

#[test]
fn register_knows_the_key_of_the_sender() {
    let mut world = World::new();
    assert_eq!(
        world.refused(A, &Out::basic(REGISTER, 0, 9, 1, 0)),
        Refusal::Conflict
    );
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, 0));
    assert_eq!(
        world.refused(A, &Out::basic(REGISTER, 0, 0, 2, 0)),
        Refusal::Conflict
    );
    assert_eq!(
        world.refused(A, &Out::basic(REGISTER, 0, 9, 2, 0)),
        Refusal::Conflict
    );
    world.good(A, &Out::basic(REGISTER, 0, 1, 2, 0));
    assert_eq!((world.key(A), world.state.generation()), (2, 2));
    world.good(A, &Out::basic(REGISTER, 0, 2, 0, 0));
    assert_eq!((world.key(A), world.state.generation()), (0, 3));
}

#[test]
fn to_unregister_unregistered_is_good_and_nothing() {
    for action in [REGISTER, IGNORE] {
        let mut world = World::new();
        let outcome = world.good(A, &Out::basic(action, 0, 0, 0, APTPL));
        assert_eq!(outcome.next, State::new());
        assert!(!outcome.durable);
    }
}

#[test]
fn ignore_ignores_the_key() {
    let mut world = World::new();
    world.good(A, &Out::basic(IGNORE, 0, 77, 1, 0));
    world.good(A, &Out::basic(IGNORE, 0, 78, 2, 0));
    assert_eq!((world.key(A), world.state.generation()), (2, 2));
    world.good(A, &Out::basic(IGNORE, 0, 79, 0, 0));
    assert_eq!((world.key(A), world.state.generation()), (0, 3));
}

#[test]
fn scope_and_type_are_ignored_where_they_mean_nothing() {
    let mut world = World::new();
    world.good(A, &Out::basic(REGISTER, 0xff, 0, 1, 0));
    world.good(A, &Out::basic(IGNORE, 0xff, 0, 1, 0));
    world.good(A, &Out::basic(3, 0xff, 1, 0, 0));
}

#[test]
fn a_holder_that_changes_its_key_stays_holder() {
    for action in [REGISTER, IGNORE] {
        let mut world = World::reserved(&[(A, 1), (B, 2)], A, 1);
        let outcome = world.good(A, &Out::basic(action, 0, 1, 5, 0));
        assert_eq!(world.held(), Some((1, Some(A))));
        assert_eq!(world.key(A), 5);
        assert!(!outcome.fences() && outcome.attentions.is_empty());
    }
}

#[test]
fn a_holder_that_unregisters_releases() {
    for (kind, attention) in [(1, false), (3, false), (5, true), (6, true)] {
        let mut world = World::reserved(&[(A, 1), (B, 2), (C, 3)], A, kind);
        let outcome = world.good(A, &Out::basic(REGISTER, 0, 1, 0, 0));
        assert_eq!(world.held(), None);
        let expected = if attention {
            vec![(B, 4), (C, 4)]
        } else {
            vec![]
        };
        assert_eq!(told(&outcome), expected, "type {kind}");
    }
}

#[test]
fn an_all_registrants_reservation_goes_with_the_last() {
    let mut world = World::reserved(&[(A, 1), (B, 2)], A, 7);
    let outcome = world.good(A, &Out::basic(REGISTER, 0, 1, 0, 0));
    assert_eq!(world.held(), Some((7, None)));
    assert_eq!(told(&outcome), []);
    assert_eq!(indices(&outcome.fenced), [A]);
    let outcome = world.good(B, &Out::basic(IGNORE, 0, 0, 0, 0));
    assert_eq!(world.held(), None);
    assert_eq!(told(&outcome), []);
}

#[test]
fn all_target_ports_covers_every_port_of_the_initiator_and_no_other() {
    let mut world = World::new();
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, ATP));
    assert_eq!(
        (0..NEXUSES).map(|n| world.key(n)).collect::<Vec<_>>(),
        [1, 1, 0, 0, 0, 0]
    );
    assert_eq!(world.state.generation(), 1);
    // Changed and removed together, from either port, whether the bit is set again or not.
    world.good(A2, &Out::basic(REGISTER, 0, 1, 2, 0));
    assert_eq!((world.key(A), world.key(A2)), (2, 2));
    world.good(A, &Out::basic(IGNORE, 0, 0, 0, 0));
    assert_eq!((world.key(A), world.key(A2)), (0, 0));
    assert_eq!(world.state.generation(), 3);
}

#[test]
fn all_target_ports_counts_as_received_through_each() {
    let mut world = World::new();
    world.good(A2, &Out::basic(REGISTER, 0, 0, 9, 0));
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, ATP));
    assert_eq!(
        (world.key(A), world.key(A2)),
        (1, 9),
        "RK 0 is wrong at a registered port"
    );
    world.good(A, &Out::basic(IGNORE, 0, 0, 3, ATP));
    assert_eq!((world.key(A), world.key(A2)), (3, 3));
}

#[test]
fn a_holder_goes_with_its_sibling() {
    let mut world = World::new();
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, ATP));
    world.good(B, &Out::basic(REGISTER, 0, 0, 2, 0));
    world.good(A, &Out::basic(1, 5, 1, 0, 0));
    let outcome = world.good(A2, &Out::basic(REGISTER, 0, 1, 0, ATP));
    assert_eq!(world.held(), None);
    assert_eq!(told(&outcome), [(B, 4)]);
}

#[test]
fn aptpl_governs_the_logical_unit_by_its_last_value() {
    let mut world = World::new();
    assert!(world.good(A, &Out::basic(REGISTER, 0, 0, 1, APTPL)).durable);
    assert!(world.state.aptpl());
    assert!(
        world.good(A, &Out::basic(1, 1, 1, 0, 0)).durable,
        "the reservation is in the record"
    );
    assert!(world.state.aptpl(), "no other service action has the bit");
    assert!(
        !world.good(A, &Out::basic(1, 1, 1, 0, 0)).durable,
        "nothing changed"
    );
    let outcome = world.good(B, &Out::basic(IGNORE, 0, 0, 2, 0));
    assert!(
        outcome.durable && !world.state.aptpl(),
        "the record has to be emptied"
    );
    assert_eq!(world.state.after_power_loss(), State::new());
    assert!(!world.good(B, &Out::basic(IGNORE, 0, 0, 3, 0)).durable);
}

#[test]
fn listed_ports_get_the_key_too() {
    let mut world = World::new();
    world.good(C, &Out::basic(REGISTER, 0, 0, 9, 0));
    let list = [TransportId::Port(port(1)), TransportId::Port(port(2))];
    world.good(A, &Out::listed(0, 1, 0, &list));
    assert_eq!(
        (0..NEXUSES).map(|n| world.key(n)).collect::<Vec<_>>(),
        [1, 0, 1, 0, 9, 0]
    );
    assert_eq!(world.state.generation(), 2);
}

#[test]
fn a_listed_node_means_all_its_known_ports() {
    let mut world = World::new();
    let node = TransportId::Node("iqn.2024-01.example:alpha".into());
    world.good(C, &Out::listed(0, 1, ATP, &[node]));
    assert_eq!(
        (0..NEXUSES).map(|n| world.key(n)).collect::<Vec<_>>(),
        [1; 6]
    );
}

#[test]
fn a_list_with_a_fault_registers_none() {
    let mut world = World::new();
    let stranger = InitiatorPort::new("iqn.2024-01.example:nobody", [0; 6]);
    for unknown in [
        TransportId::Port(stranger.clone()),
        TransportId::Node(stranger.name().into()),
    ] {
        let out = Out::listed(0, 1, 0, &[TransportId::Port(port(1)), unknown]);
        assert!(is_sense(world.refused(A, &out), 0x26, 0));
    }
    let mut overrun = Out::listed(0, 1, 0, &[TransportId::Port(port(1))]);
    overrun.parameters[27] += 4;
    assert_eq!(world.refused(A, &overrun), Refusal::LENGTH);
    let mut malformed = Out::listed(
        0,
        1,
        0,
        &[TransportId::Port(port(1)), TransportId::Port(port(2))],
    );
    let second = 28 + (malformed.parameters.len() - 28) / 2;
    malformed.parameters[second] = 0x46;
    assert!(is_sense(world.refused(A, &malformed), 0x26, 0));
    // The conflict comes before any fault in the list.
    malformed.parameters[7] = 5;
    assert_eq!(world.refused(A, &malformed), Refusal::Conflict);
}

#[test]
fn spec_i_pt_is_for_an_unregistered_register_alone() {
    let mut world = World::new();
    assert!(is_sense(
        world.refused(A, &Out::basic(IGNORE, 0, 0, 1, 0x08)),
        0x26,
        0
    ));
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, 0));
    let out = Out::listed(1, 2, 0, &[TransportId::Port(port(1))]);
    assert!(is_sense(world.refused(A, &out), 0x26, 0));
}

#[test]
fn registrations_are_limited() {
    let mut world = World {
        registrations_max: 2,
        ..World::new()
    };
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, 0));
    let list = [TransportId::Port(port(1)), TransportId::Port(port(2))];
    for out in [
        Out::listed(0, 2, 0, &list),
        Out::basic(REGISTER, 0, 0, 1, ATP),
    ] {
        let refusal = world.refused(B, &out);
        assert_eq!(refusal, Refusal::InsufficientResources);
        assert!(is_sense(refusal, 0x55, 0x04));
    }
    world.good(B, &Out::basic(REGISTER, 0, 0, 2, 0));
    assert_eq!(
        world.refused(C, &Out::basic(IGNORE, 0, 0, 3, 0)),
        Refusal::InsufficientResources
    );
    world.good(B, &Out::basic(REGISTER, 0, 2, 4, 0));
    world.good(A, &Out::basic(1, 1, 1, 0, 0));
    let to = TransportId::Port(port(2));
    let full = Out::relocate(1, 5, 0, 1, &to);
    assert_eq!(world.refused(A, &full), Refusal::InsufficientResources);
    world.good(A, &Out::relocate(1, 5, 0x02, 1, &to));
}

#[test]
fn the_generation_wraps() {
    let mut world = World::new();
    world.state.generation = u32::MAX;
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, 0));
    assert_eq!(world.state.generation(), 0);
}

#[test]
fn a_move_hands_the_reservation_over() {
    for (flags, key_left) in [(0, 1), (0x02, 0)] {
        let mut world = World::reserved(&[(A, 1), (B, 2)], A, 1);
        let generation = world.state.generation();
        let outcome = world.good(
            A,
            &Out::relocate(1, 7, flags, 2, &TransportId::Port(port(2))),
        );
        assert_eq!(world.held(), Some((1, Some(5))));
        assert_eq!((world.key(A), world.key(5), world.key(B)), (key_left, 7, 2));
        assert_eq!(world.state.generation(), generation + 1);
        assert_eq!(told(&outcome), []);
        assert_eq!(indices(&outcome.fenced), [A]);
        assert!(!outcome.fences_unregistered);
    }
}

#[test]
fn a_move_to_a_registrant_updates_its_key() {
    let mut world = World::reserved(&[(A, 1), (B, 2)], A, 5);
    let outcome = world.good(
        A,
        &Out::relocate(1, 7, 0x01, 1, &TransportId::Port(port(1))),
    );
    assert_eq!((world.key(B), world.held()), (7, Some((5, Some(B)))));
    assert!(world.state.aptpl() && outcome.durable);
    assert!(
        !outcome.fences(),
        "registrants only: the sender still writes"
    );
}

#[test]
fn a_move_to_a_node_needs_exactly_one_port() {
    let mut world = World::reserved(&[(A, 1)], A, 1);
    let two = Out::relocate(1, 7, 0, 1, &TransportId::Node(port(0).name().into()));
    assert!(is_sense(world.refused(A, &two), 0x26, 0));
    world.good(
        A,
        &Out::relocate(1, 7, 0, 1, &TransportId::Node(port(2).name().into())),
    );
    assert_eq!(world.held(), Some((1, Some(C))));
}

#[test]
fn each_fault_of_a_move() {
    let to = TransportId::Port(port(2));
    let mut world = World::new();
    assert_eq!(
        world.refused(A, &Out::relocate(0, 7, 0, 1, &to)),
        Refusal::Conflict
    );
    world.good(A, &Out::basic(REGISTER, 0, 0, 1, 0));
    assert!(is_sense(
        world.refused(A, &Out::relocate(1, 7, 0, 1, &to)),
        0x24,
        0
    ));
    let mut world = World::reserved(&[(A, 1), (B, 2)], A, 5);
    assert_eq!(
        world.refused(B, &Out::relocate(2, 7, 0, 1, &to)),
        Refusal::Conflict
    );
    assert_eq!(
        world.refused(A, &Out::relocate(2, 7, 0, 1, &to)),
        Refusal::Conflict
    );
    assert!(is_sense(
        world.refused(A, &Out::relocate(1, 0, 0, 1, &to)),
        0x26,
        0
    ));
    assert!(is_sense(
        world.refused(A, &Out::relocate(1, 7, 0, 3, &to)),
        0x26,
        0
    ));
    let own = TransportId::Port(port(0));
    assert!(is_sense(
        world.refused(A, &Out::relocate(1, 7, 0, 1, &own)),
        0x26,
        0
    ));
    let mut foreign = Out::relocate(1, 7, 0, 1, &to);
    foreign.parameters[24] = 0x46;
    assert!(is_sense(world.refused(A, &foreign), 0x26, 0));
    assert_eq!(
        world.refused(B, &foreign),
        Refusal::Conflict,
        "before the fault in the list"
    );
    let mut world = World::reserved(&[(A, 1)], A, 8);
    assert_eq!(
        world.refused(A, &Out::relocate(1, 7, 0, 1, &to)),
        Refusal::Conflict
    );
}

#[test]
fn a_move_to_the_own_port_through_another_target_port_is_meant() {
    let mut world = World::reserved(&[(A, 1)], A, 3);
    world.good(A, &Out::relocate(1, 1, 0, 2, &TransportId::Port(port(0))));
    assert_eq!(world.held(), Some((3, Some(A2))));
}

//! RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT and the SPC-2 commands, row by row.

use super::world::*;
use crate::reservation::*;

const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];

fn is_shared(kind: u8) -> bool {
    kind >= 5
}

#[test]
fn an_unregistered_nexus_and_a_wrong_key_conflict() {
    let mut world = World::reserved(&[(A, 1), (B, 2)], A, 5);
    for action in [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT] {
        assert_eq!(
            world.refused(C, &Out::basic(action, 5, 0, 1, 0)),
            Refusal::Conflict
        );
        assert_eq!(
            world.refused(C, &Out::basic(action, 5, 1, 1, 0)),
            Refusal::Conflict
        );
        assert_eq!(
            world.refused(A, &Out::basic(action, 5, 2, 1, 0)),
            Refusal::Conflict
        );
    }
}

#[test]
fn reserve_takes_repeats_and_conflicts() {
    for kind in TYPES {
        let mut world = World::reserved(&[(A, 1), (B, 2)], A, kind);
        let holder = if kind >= 7 { None } else { Some(A) };
        assert_eq!(world.held(), Some((kind, holder)));
        assert_eq!(world.state.generation(), 2, "RESERVE does not count");
        world.good(A, &Out::basic(RESERVE, kind, 1, 0, 0));
        let other = if kind == 1 { 3 } else { 1 };
        assert_eq!(
            world.refused(A, &Out::basic(RESERVE, other, 1, 0, 0)),
            Refusal::Conflict
        );
        let again = Out::basic(RESERVE, kind, 2, 0, 0);
        if kind >= 7 {
            world.good(B, &again);
        } else {
            assert_eq!(world.refused(B, &again), Refusal::Conflict);
        }
        assert_eq!(world.held(), Some((kind, holder)));
    }
}

#[test]
fn a_bad_scope_or_type_of_reserve_is_a_fault_of_the_cdb() {
    let mut world = World::new();
    for scope_and_type in [0x00, 0x02, 0x04, 0x09, 0x0f, 0x11, 0x25] {
        let refusal = world.refused(A, &Out::basic(RESERVE, scope_and_type, 1, 0, 0));
        assert_eq!(refusal, Refusal::cdb_field(2));
    }
}

#[test]
fn reserve_fences_those_it_shuts_out() {
    // Type, whether the other registrant is fenced, whether strangers are.
    for (kind, registrant) in [
        (1, true),
        (3, true),
        (5, false),
        (6, false),
        (7, false),
        (8, false),
    ] {
        let mut world = World::new();
        world.good(A, &Out::basic(0, 0, 0, 1, 0));
        world.good(B, &Out::basic(0, 0, 0, 2, 0));
        let outcome = world.good(A, &Out::basic(RESERVE, kind, 1, 0, 0));
        assert_eq!(
            indices(&outcome.fenced),
            if registrant { vec![B] } else { vec![] }
        );
        assert!(outcome.fences_unregistered);
        assert_eq!(told(&outcome), []);
    }
}

#[test]
fn release_is_the_holders() {
    for kind in TYPES {
        let mut world = World::reserved(&[(A, 1), (B, 2), (C, 3)], A, kind);
        let generation = world.state.generation();
        if kind < 7 {
            world.good(B, &Out::basic(RELEASE, kind, 2, 0, 0));
            assert!(world.held().is_some(), "from a registrant GOOD and nothing");
        }
        for wrong in [if kind == 1 { 3 } else { 1 }, 0x10 | kind, 0, 0xff] {
            let refusal = world.refused(A, &Out::basic(RELEASE, wrong, 1, 0, 0));
            assert!(is_sense(refusal, 0x26, 0x04));
        }
        let outcome = world.good(A, &Out::basic(RELEASE, kind, 1, 0, 0));
        assert_eq!(world.held(), None);
        let expected = if is_shared(kind) {
            vec![(B, 4), (C, 4)]
        } else {
            vec![]
        };
        assert_eq!(told(&outcome), expected);
        assert!(!outcome.fences());
        assert_eq!((world.key(A), world.state.generation()), (1, generation));
        world.good(A, &Out::basic(RELEASE, kind, 1, 0, 0));
    }
}

#[test]
fn clear_removes_everything_and_tells_everyone_else() {
    let mut world = World::reserved(&[(A, 1), (B, 2), (C, 3)], A, 3);
    let generation = world.state.generation();
    let outcome = world.good(B, &Out::basic(CLEAR, 0, 2, 0, 0));
    assert_eq!((world.held(), world.state.registrations().len()), (None, 0));
    assert_eq!(told(&outcome), [(A, 3), (C, 3)]);
    assert_eq!(world.state.generation(), generation + 1);
}

#[test]
fn preempt_without_a_reservation_removes_the_matches() {
    for action in [PREEMPT, PREEMPT_AND_ABORT] {
        let mut world = World::new();
        for (index, key) in [(A, 1), (B, 2), (C, 2)] {
            world.good(index, &Out::basic(0, 0, 0, key, 0));
        }
        assert!(is_sense(
            world.refused(A, &Out::basic(action, 1, 1, 0, 0)),
            0x26,
            0
        ));
        assert_eq!(
            world.refused(A, &Out::basic(action, 1, 1, 9, 0)),
            Refusal::Conflict
        );
        let outcome = world.good(A, &Out::basic(action, 0xff, 1, 2, 0));
        assert_eq!((world.key(B), world.key(C), world.held()), (0, 0, None));
        assert_eq!(told(&outcome), [(B, 5), (C, 5)]);
        assert_eq!(world.state.generation(), 4, "once, however many go");
        let aborted = if action == PREEMPT {
            vec![]
        } else {
            vec![B, C]
        };
        assert_eq!(indices(&outcome.aborted), aborted);
        assert!(!outcome.fences());
    }
}

#[test]
fn preempt_of_the_holder_takes_the_reservation() {
    for action in [PREEMPT, PREEMPT_AND_ABORT] {
        let mut world = World::reserved(&[(A, 1), (A2, 1), (B, 2), (C, 3)], A, 5);
        let outcome = world.good(B, &Out::basic(action, 5, 2, 1, 0));
        assert_eq!(world.held(), Some((5, Some(B))));
        assert_eq!((world.key(A), world.key(A2), world.key(C)), (0, 0, 3));
        assert_eq!(
            told(&outcome),
            [(A, 5), (A2, 5)],
            "the type stays: C is not told"
        );
        assert_eq!(indices(&outcome.fenced), [A, A2]);
        let aborted = if action == PREEMPT {
            vec![]
        } else {
            vec![A, A2]
        };
        assert_eq!(indices(&outcome.aborted), aborted);
    }
}

#[test]
fn preempt_that_changes_the_type_tells_those_who_remain() {
    let mut world = World::reserved(&[(A, 1), (B, 2), (C, 3)], A, 5);
    let outcome = world.good(B, &Out::basic(PREEMPT, 3, 2, 1, 0));
    assert_eq!(world.held(), Some((3, Some(B))));
    assert_eq!(told(&outcome), [(A, 5), (C, 4)]);
    assert_eq!(indices(&outcome.fenced), [A, C]);
    assert!(outcome.fences_unregistered, "strangers could read before");
}

#[test]
fn preempt_of_another_key_leaves_the_reservation() {
    let mut world = World::reserved(&[(A, 1), (B, 2), (C, 3)], A, 5);
    let outcome = world.good(B, &Out::basic(PREEMPT, 0xff, 2, 3, 0));
    assert_eq!((world.held(), world.key(C)), (Some((5, Some(A))), 0));
    assert_eq!(told(&outcome), [(C, 5)]);
    assert!(is_sense(
        world.refused(B, &Out::basic(PREEMPT, 5, 2, 0, 0)),
        0x26,
        0
    ));
    assert_eq!(
        world.refused(B, &Out::basic(PREEMPT, 5, 2, 9, 0)),
        Refusal::Conflict
    );
}

#[test]
fn preempt_that_takes_needs_a_valid_type() {
    let mut world = World::reserved(&[(A, 1), (B, 2)], A, 5);
    for bad in [0, 2, 0x15] {
        let refusal = world.refused(B, &Out::basic(PREEMPT, bad, 2, 1, 0));
        assert_eq!(refusal, Refusal::cdb_field(2));
    }
}

#[test]
fn a_holder_preempts_itself_to_change_the_type() {
    let mut world = World::reserved(&[(A, 1), (B, 2)], A, 1);
    let outcome = world.good(A, &Out::basic(PREEMPT_AND_ABORT, 5, 1, 1, 0));
    assert_eq!((world.held(), world.key(A)), (Some((5, Some(A))), 1));
    assert_eq!(told(&outcome), [(B, 4)]);
    assert!(outcome.aborted.is_empty() && !outcome.fences());
}

#[test]
fn a_returning_client_preempts_its_former_self() {
    // fence_scsi after a change of ISID: the same key on the new nexus.
    let mut world = World::reserved(&[(A, 1), (B, 1)], A, 5);
    let outcome = world.good(B, &Out::basic(PREEMPT, 5, 1, 1, 0));
    assert_eq!(
        (world.held(), world.key(A), world.key(B)),
        (Some((5, Some(B))), 0, 1)
    );
    assert_eq!(told(&outcome), [(A, 5)]);
}

#[test]
fn a_registrant_that_names_its_own_key_removes_itself() {
    let mut world = World::reserved(&[(A, 1), (B, 2), (C, 2)], A, 5);
    let outcome = world.good(B, &Out::basic(PREEMPT_AND_ABORT, 5, 2, 2, 0));
    assert_eq!((world.key(B), world.key(C)), (0, 0));
    assert_eq!(told(&outcome), [(C, 5)], "never to the sender");
    assert_eq!(indices(&outcome.aborted), [B, C]);
}

#[test]
fn preempt_under_all_registrants() {
    let keys = [(A, 1), (B, 2), (C, 2)];
    let mut world = World::reserved(&keys, A, 7);
    let outcome = world.good(A, &Out::basic(PREEMPT, 3, 1, 2, 0));
    assert_eq!(
        world.held(),
        Some((7, None)),
        "the reservation keeps its type"
    );
    assert_eq!(told(&outcome), [(B, 5), (C, 5)]);
    assert_eq!(indices(&outcome.fenced), [B, C]);
    world.good(A, &Out::basic(PREEMPT, 3, 1, 1, 0));
    assert_eq!(world.held(), None, "no registrant remains");

    let mut world = World::reserved(&keys, A, 7);
    let outcome = world.good(B, &Out::basic(PREEMPT, 3, 2, 0, 0));
    assert_eq!(world.held(), Some((3, Some(B))));
    assert_eq!((world.key(A), world.key(C)), (0, 0));
    assert_eq!(told(&outcome), [(A, 5), (C, 5)]);
    assert_eq!(
        world.refused(B, &Out::basic(PREEMPT, 3, 2, 9, 0)),
        Refusal::Conflict
    );
}

#[test]
fn spc2_reservations_shut_everyone_else_out() {
    let mut world = World::new();
    let outcome = reserve_legacy(&world.state, &nexus(A)).unwrap();
    assert!(outcome.fences_unregistered && outcome.fenced.is_empty() && !outcome.durable);
    world.state = outcome.next;
    assert_eq!(
        reserve_legacy(&world.state, &nexus(A)).unwrap().next,
        world.state
    );
    assert_eq!(
        reserve_legacy(&world.state, &nexus(B)),
        Err(Refusal::Conflict)
    );
    assert_eq!(
        release_legacy(&world.state, &nexus(B)).unwrap().next,
        world.state
    );
    assert_eq!(
        world.refused(B, &Out::basic(0, 0, 0, 1, 0)),
        Refusal::Conflict
    );
    let (holder, other) = (world.state.rights(&nexus(A)), world.state.rights(&nexus(B)));
    assert_eq!(Access::ALL.map(|access| holder.permits(access)), [true; 7]);
    assert_eq!(
        Access::ALL
            .map(|access| other.permits(access))
            .iter()
            .filter(|p| **p)
            .count(),
        1
    );
    assert!(other.spc2_blocked() && other.permits(Access::Exempt) && !holder.spc2_blocked());
    // Its holder may register, and release all the same.
    world.good(A, &Out::basic(0, 0, 0, 1, 0));
    assert_eq!(
        release_legacy(&world.state, &nexus(A))
            .unwrap()
            .next
            .legacy_holder(),
        None
    );
}

#[test]
fn spc2_reservations_end_with_their_nexus_or_a_reset() {
    let state = reserve_legacy(&State::new(), &nexus(A)).unwrap().next;
    assert_eq!(end_legacy(&state, Some(&nexus(B))), None);
    assert_eq!(
        end_legacy(&state, Some(&nexus(A))).unwrap().next,
        State::new()
    );
    let outcome = end_legacy(&state, None).unwrap();
    assert_eq!(outcome.next, State::new());
    assert!(!outcome.fences());
    assert_eq!(end_legacy(&State::new(), None), None);
}

#[test]
fn spc2_commands_beside_persistent_reservations() {
    let verdicts = |world: &World, from: usize| {
        let reserve = reserve_legacy(&world.state, &nexus(from)).map(|outcome| outcome.next);
        let release = release_legacy(&world.state, &nexus(from)).map(|outcome| outcome.next);
        assert_eq!(reserve, release);
        assert!(reserve.as_ref().is_ok_and(|next| *next == world.state) || reserve.is_err());
        reserve.is_ok()
    };
    let mut world = World::new();
    world.good(A, &Out::basic(0, 0, 0, 1, 0));
    assert_eq!(
        (verdicts(&world, A), verdicts(&world, B)),
        (false, false),
        "registered only"
    );
    for kind in TYPES {
        let world = World::reserved(&[(A, 1), (B, 2)], A, kind);
        let served = [A, B, C].map(|from| verdicts(&world, from));
        assert_eq!(served, [true, is_shared(kind), false], "type {kind}");
    }
}

#[test]
fn registrations_survive_what_ends_a_session() {
    let world = World::reserved(&[(A, 1), (B, 2)], A, 5);
    assert_eq!(end_legacy(&world.state, Some(&nexus(A))), None);
    assert_eq!(end_legacy(&world.state, None), None);
    let again = InitiatorPort::new("IQN.2024-01.Example:ALPHA", port(0).isid());
    assert!(
        world.state.is_holder(&Nexus::new(again, 1)),
        "the same four values, another session"
    );
}

//! Random sequences of commands, as bytes, against the oracle: after each one the state, the status,
//! the attentions, the generation, every right and the fence must agree.

use super::matrix::allowed;
use super::oracle::{Named, Oracle, Say, Status, Verdict};
use super::world::*;
use crate::reservation::access::Standing;
use crate::reservation::*;
use proptest::prelude::*;

/// Few keys and few types, so that they meet.
fn key() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 6 => 1..4_u64, 1 => Just(99)]
}

fn kind() -> impl Strategy<Value = u8> {
    prop_oneof![12 => prop::sample::select(vec![1, 3, 5, 6, 7, 8]), 1 => any::<u8>()]
}

fn named() -> impl Strategy<Value = Named> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Named::Port),
        1 => Just(Named::Alpha),
        1 => Just(Named::Beta),
        1 => Just(Named::Nobody),
    ]
}

/// Who sends what; the flag says to use the sender's own key instead of the random one.
fn step() -> impl Strategy<Value = (usize, bool, Say)> {
    let list = prop::option::weighted(0.3, prop::collection::vec(named(), 0..3));
    let bits = (any::<bool>(), prop::bool::weighted(0.3));
    let say = prop_oneof![
        4 => (key(), key(), bits, list).prop_map(|(key, sark, (aptpl, atp), list)| {
            Say::Register { key, sark, aptpl, atp, list }
        }),
        4 => (key(), bits).prop_map(|(sark, (aptpl, atp))| Say::Ignore { sark, aptpl, atp }),
        4 => (key(), kind()).prop_map(|(key, kind)| Say::Reserve { key, kind }),
        2 => (key(), kind()).prop_map(|(key, kind)| Say::Release { key, kind }),
        1 => key().prop_map(|key| Say::Clear { key }),
        5 => (key(), key(), kind(), any::<bool>())
            .prop_map(|(key, sark, kind, abort)| Say::Preempt { key, sark, kind, abort }),
        3 => (key(), key(), any::<(bool, bool)>(), 1..4_u16, named())
            .prop_map(|(key, sark, (unreg, aptpl), rtpi, to)| {
                Say::Move { key, sark, unreg, aptpl, rtpi, to }
            }),
        1 => Just(Say::LegacyReserve),
        1 => Just(Say::LegacyRelease),
        1 => any::<bool>().prop_map(|everyone| Say::LegacyEnd { everyone }),
    ];
    (0..NEXUSES, prop::bool::weighted(0.8), say)
}

fn with_own_key(mut say: Say, own: u64) -> Say {
    match &mut say {
        Say::Register { key, .. }
        | Say::Reserve { key, .. }
        | Say::Release { key, .. }
        | Say::Clear { key }
        | Say::Preempt { key, .. }
        | Say::Move { key, .. } => *key = own,
        _ => {}
    }
    say
}

fn transport_id(named: Named) -> TransportId {
    match named {
        Named::Port(index) => TransportId::Port(port(index)),
        Named::Alpha => TransportId::Node(port(0).name().into()),
        Named::Beta => TransportId::Node(port(2).name().into()),
        Named::Nobody => TransportId::Node("iqn.2024-01.example:nobody".into()),
    }
}

/// The bytes of what is said, or `None` for the commands without a parameter list.
fn bytes(say: &Say) -> Option<Out> {
    let flags = |aptpl: bool, atp: bool| u8::from(aptpl) | (u8::from(atp) << 2);
    Some(match *say {
        Say::Register {
            key,
            sark,
            aptpl,
            atp,
            list: None,
        } => Out::basic(0, 0, key, sark, flags(aptpl, atp)),
        Say::Register {
            key,
            sark,
            aptpl,
            atp,
            list: Some(ref list),
        } => {
            let ids: Vec<_> = list.iter().copied().map(transport_id).collect();
            Out::listed(key, sark, flags(aptpl, atp), &ids)
        }
        Say::Ignore { sark, aptpl, atp } => Out::basic(6, 0, 77, sark, flags(aptpl, atp)),
        Say::Reserve { key, kind } => Out::basic(1, kind, key, 0, 0),
        Say::Release { key, kind } => Out::basic(2, kind, key, 0, 0),
        Say::Clear { key } => Out::basic(3, 0, key, 0, 0),
        Say::Preempt {
            key,
            sark,
            kind,
            abort,
        } => Out::basic(4 + u8::from(abort), kind, key, sark, 0),
        Say::Move {
            key,
            sark,
            unreg,
            aptpl,
            rtpi,
            to,
        } => {
            let flags = u8::from(aptpl) | (u8::from(unreg) << 1);
            Out::relocate(key, sark, flags, rtpi, &transport_id(to))
        }
        _ => return None,
    })
}

fn send(world: &mut World, from: usize, say: &Say) -> Result<Outcome, Refusal> {
    let from_nexus = nexus(from);
    let outcome = match (bytes(say), say) {
        (Some(out), _) => {
            // As the caller does: an SPC-2 reservation comes before any fault in the CDB.
            if !world.state.rights(&from_nexus).permits(Access::Register) {
                return Err(Refusal::Conflict);
            }
            return world.send(from, &out);
        }
        (None, Say::LegacyReserve) => reserve_legacy(&world.state, &from_nexus)?,
        (None, Say::LegacyRelease) => release_legacy(&world.state, &from_nexus)?,
        (None, Say::LegacyEnd { everyone }) => {
            let lost = (!everyone).then_some(&from_nexus);
            match end_legacy(&world.state, lost) {
                Some(outcome) => outcome,
                None => Outcome::between(&world.state, world.state.clone(), Vec::new()),
            }
        }
        _ => unreachable!("all others have bytes"),
    };
    world.state = outcome.next.clone();
    Ok(outcome)
}

fn verdict(result: &Result<Outcome, Refusal>) -> Verdict {
    let mut verdict = Verdict {
        status: Status::Good,
        told: [0; NEXUSES],
        aborted: [false; NEXUSES],
    };
    match result {
        Ok(outcome) => {
            for (to, what) in &outcome.attentions {
                let slot = &mut verdict.told[index_of(to)];
                assert_eq!(*slot, 0, "one attention for each nexus");
                *slot = what.additional_sense().1;
            }
            outcome
                .aborted
                .iter()
                .for_each(|nexus| verdict.aborted[index_of(nexus)] = true);
        }
        Err(refusal) => {
            verdict.status = match refusal.additional_sense() {
                None => Status::Conflict,
                Some((asc, ascq)) => Status::Check(asc, ascq),
            };
        }
    }
    verdict
}

/// The state as the oracle writes it.
fn as_oracle(world: &World) -> Oracle {
    let mut oracle = Oracle::new(world.registrations_max as usize);
    for (nexus, registration) in world.state.registrations() {
        oracle.keys[index_of(nexus)] = registration.key.0;
        oracle.atp[index_of(nexus)] = registration.all_target_ports;
    }
    (oracle.kind, oracle.holder) = world.held().unwrap_or_default();
    oracle.generation = world.state.generation();
    oracle.aptpl = world.state.aptpl();
    oracle.legacy = world.state.legacy_holder().map(index_of);
    oracle
}

fn oracle_permits(oracle: &Oracle, who: Option<usize>, access: Access) -> bool {
    let standing = match who {
        Some(who) if oracle.holds(who) => Standing::Holder,
        Some(who) if oracle.keys[who] != 0 => Standing::Registrant,
        _ => Standing::Stranger,
    };
    let shut_out = oracle.legacy.is_some() && oracle.legacy != who;
    let shut_out = shut_out && access != Access::Exempt;
    !shut_out && allowed(oracle.kind, standing, access)
}

fn lost(before: &Oracle, after: &Oracle, who: Option<usize>) -> bool {
    [Access::Read, Access::Write]
        .into_iter()
        .any(|access| oracle_permits(before, who, access) && !oracle_permits(after, who, access))
}

fn check_fence(before: &Oracle, after: &Oracle, outcome: &Outcome) {
    for who in 0..NEXUSES {
        let touched = [before, after]
            .iter()
            .any(|o| o.keys[who] != 0 || o.legacy == Some(who));
        let listed = outcome.fenced.contains(&nexus(who));
        assert_eq!(
            listed,
            touched && lost(before, after, Some(who)),
            "the fence and nexus {who}"
        );
        let covered = listed || (!touched && outcome.fences_unregistered);
        assert!(
            covered || !lost(before, after, Some(who)),
            "nexus {who} slips through"
        );
    }
    assert_eq!(outcome.fences_unregistered, lost(before, after, None));
}

/// What outlives a power loss, as the oracle sees it.
fn persistent(oracle: &Oracle) -> Oracle {
    if !oracle.aptpl {
        return Oracle::new(oracle.max);
    }
    Oracle {
        generation: 0,
        legacy: None,
        ..oracle.clone()
    }
}

fn check_rights(world: &World, oracle: &Oracle) {
    // Places in the table that are neither dense nor in order.
    let place = |nexus: &Nexus| NexusIndex(u32::try_from(11 - index_of(nexus) * 2).unwrap());
    let snapshot = Snapshot::build(&world.state, |nexus| Some(place(nexus)));
    for access in Access::ALL {
        for who in 0..NEXUSES {
            let expected = oracle_permits(oracle, Some(who), access);
            let nexus = nexus(who);
            assert_eq!(world.state.rights(&nexus).permits(access), expected);
            assert_eq!(snapshot.rights(place(&nexus)).permits(access), expected);
        }
        let expected = oracle_permits(oracle, None, access);
        for unknown in [NexusIndex(0), NexusIndex(4000), NexusIndex::NONE] {
            assert_eq!(snapshot.rights(unknown).permits(access), expected);
        }
    }
    assert_eq!(
        snapshot.is_reserved(),
        oracle.kind != 0 || oracle.legacy.is_some()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_state_machine_agrees_with_the_oracle(
        registrations_max in prop_oneof![1 => 1..5_u32, 2 => Just(1024)],
        generation in prop_oneof![3 => Just(0), 1 => Just(u32::MAX - 2)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World { registrations_max, ..World::new() };
        world.state.generation = generation;
        let mut oracle = as_oracle(&world);
        for (from, own, say) in steps {
            let say = if own { with_own_key(say, oracle.keys[from]) } else { say };
            let before = oracle.clone();
            let expected = oracle.hear(from, &say);
            let result = send(&mut world, from, &say);
            prop_assert_eq!(verdict(&result), expected, "{} says {:?} to {:?}", from, &say, &before);
            prop_assert_eq!(as_oracle(&world), oracle.clone(), "{} says {:?} to {:?}", from, say, &before);
            if let Ok(outcome) = result {
                check_fence(&before, &oracle, &outcome);
                prop_assert_eq!(outcome.durable, persistent(&before) != persistent(&oracle));
            }
            check_rights(&world, &oracle);
            let record = encode(&world.state);
            prop_assert_eq!(decode(&record), Ok(world.state.after_power_loss()));
        }
    }
}

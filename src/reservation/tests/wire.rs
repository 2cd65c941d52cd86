//! The CDB and parameter list on the wire, and the bodies of PERSISTENT RESERVE IN.

use super::world::*;
use crate::reservation::*;
use proptest::prelude::*;

#[test]
fn unknown_service_actions_are_a_fault_of_the_cdb() {
    for action in 8..0x20 {
        let out = Out::basic(action, 1, 1, 2, 0);
        assert_eq!(out.parse(), Err(Refusal::cdb_field(1)));
        assert_eq!(parameter_length(&out.cdb), Err(Refusal::cdb_field(1)));
    }
    assert_eq!(
        Out::basic(0xe0, 0, 0, 1, 0).parse(),
        Out::basic(0, 0, 0, 1, 0).parse()
    );
}

#[test]
fn lengths_are_judged_before_anything_is_fetched() {
    let cdb = |action: u8, length: u32| {
        let mut cdb = Out::basic(action, 1, 0, 0, 0).cdb;
        cdb[5..9].copy_from_slice(&length.to_be_bytes());
        parameter_length(&cdb)
    };
    for action in 0..8 {
        for length in [0, 8, 23, 25, 65_537, 1 << 24, u32::MAX] {
            assert_eq!(
                cdb(action, length),
                Err(Refusal::LENGTH),
                "action {action}, {length}"
            );
        }
    }
    for action in 0..7 {
        assert_eq!(cdb(action, 24), Ok(24));
    }
    assert_eq!((cdb(0, 28), cdb(0, 65_536)), (Ok(28), Ok(65_536)));
    assert_eq!(
        (cdb(6, 28), cdb(0, 27)),
        (Err(Refusal::LENGTH), Err(Refusal::LENGTH))
    );
    assert_eq!(
        (cdb(7, 48), cdb(7, 24), cdb(7, 47)),
        (Ok(48), Err(Refusal::LENGTH), Err(Refusal::LENGTH))
    );
    assert_eq!(parameter_length(&[0x5f, 0, 0]), Err(Refusal::cdb_field(0)));
}

#[test]
fn data_that_is_not_as_long_as_announced_is_refused() {
    let mut short = Out::basic(0, 0, 0, 1, 0);
    short.parameters.pop();
    assert_eq!(short.parse(), Err(Refusal::LENGTH));
    let long = Out::with(0, 0, vec![0; 28]);
    assert_eq!(
        long.parse(),
        Err(Refusal::LENGTH),
        "28 bytes without SPEC_I_PT"
    );
    assert_eq!(
        Out::basic(0, 0, 0, 1, 0x08).parse(),
        Err(Refusal::LENGTH),
        "24 bytes with it"
    );
    let mut relocate = Out::relocate(1, 2, 0, 1, &TransportId::Port(port(0)));
    relocate.parameters[23] -= 4;
    assert_eq!(relocate.parse(), Err(Refusal::LENGTH));
}

#[test]
fn flags_of_other_service_actions_are_ignored() {
    for action in 1..6 {
        assert_eq!(
            Out::basic(action, 1, 1, 2, 0xff).parse(),
            Out::basic(action, 1, 1, 2, 0).parse()
        );
    }
}

#[test]
fn read_keys_keeps_duplicates() {
    let mut world = World::new();
    assert_eq!(report::read_keys(&world.state), [0; 8]);
    for (index, key) in [(A, 1), (B, 0x0102_0304_0506_0708), (C, 1)] {
        world.good(index, &Out::basic(0, 0, 0, key, 0));
    }
    let body = report::read_keys(&world.state);
    assert_eq!(body[..8], [0, 0, 0, 3, 0, 0, 0, 24]);
    assert_eq!(
        body[8..],
        [
            0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1
        ]
    );
}

#[test]
fn read_reservation_shows_the_holders_key() {
    let world = World::reserved(&[(A, 0xaabb), (B, 2)], A, 5);
    let body = report::read_reservation(&world.state);
    assert_eq!(body[..8], [0, 0, 0, 2, 0, 0, 0, 16]);
    assert_eq!(
        body[8..],
        [0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0, 0, 0, 0, 0, 5, 0, 0]
    );
    let world = World::reserved(&[(A, 0xaabb)], A, 8);
    let body = report::read_reservation(&world.state);
    assert_eq!((&body[8..16], body[21]), (&[0; 8][..], 8));
    assert_eq!(report::read_reservation(&State::new()), [0; 8]);
}

#[test]
fn capabilities_tell_what_is_implemented_and_whether_it_persists() {
    let mut world = World::new();
    assert_eq!(
        report::report_capabilities(&world.state),
        [0, 8, 0x1d, 0xd0, 0xea, 0x01, 0, 0]
    );
    world.good(A, &Out::basic(0, 0, 0, 1, 0x01));
    assert_eq!(report::report_capabilities(&world.state)[3], 0xd1);
}

#[test]
fn full_status_describes_every_registration() {
    let mut world = World::new();
    world.good(A, &Out::basic(0, 0, 0, 1, 0x04));
    world.good(C, &Out::basic(0, 0, 0, 3, 0));
    world.good(A, &Out::basic(1, 5, 1, 0, 0));
    let descriptors = |state: &State| {
        let body = report::read_full_status(state);
        let announced = u32::from_be_bytes(body[4..8].try_into().unwrap()) as usize;
        assert_eq!(announced, body.len() - 8);
        let mut rest = &body[8..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[20..24].try_into().unwrap()) as usize;
            let (id, behind) = TransportId::parse(&rest[24..24 + length]).unwrap();
            assert!(behind.is_empty());
            found.push((rest[7], rest[12], rest[13], rest[19], id));
            rest = &rest[24 + length..];
        }
        found
    };
    let [a, c] = [port(0), port(2)].map(TransportId::Port);
    assert_eq!(
        descriptors(&world.state),
        [
            (1, 0x03, 5, 1, a.clone()),
            (1, 0x02, 0, 2, a),
            (3, 0, 0, 1, c)
        ]
    );
    world.good(A, &Out::basic(2, 5, 1, 0, 0));
    world.good(C, &Out::basic(1, 7, 3, 0, 0));
    let holders: Vec<_> = descriptors(&world.state)
        .iter()
        .map(|d| (d.1 & 1, d.2))
        .collect();
    assert_eq!(holders, [(1, 7); 3], "every registrant holds it");
}

#[test]
fn unknown_service_actions_of_in_are_refused() {
    for action in 0..=0x1f {
        assert_eq!(report::body(action, &State::new()).is_ok(), action < 4);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(
        cdb in proptest::collection::vec(any::<u8>(), 0..20),
        parameters in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = parameter_length(&cdb);
        let _ = parse_out(&cdb, &parameters);
    }

    /// Bytes that get past the header: a valid length, an arbitrary list.
    #[test]
    fn arbitrary_parameters_do_not_panic(
        action in 0_u8..8,
        flags: u8,
        mut parameters in proptest::collection::vec(any::<u8>(), 24..200),
    ) {
        parameters[20] = flags;
        for offset in [20_usize, 24] {
            let rest = u32::try_from(parameters.len().saturating_sub(offset + 4)).unwrap();
            if let Some(field) = parameters.get_mut(offset..offset + 4).filter(|_| action != 0 || offset == 24) {
                field.copy_from_slice(&rest.to_be_bytes());
            }
        }
        let out = Out::with(action, 5, parameters);
        if let Ok(command) = out.parse() {
            let context = Context { ports: &PORTS, known: &known, registrations_max: 8 };
            let _ = apply(&State::new(), &nexus(A), &command, &context);
        }
    }

    /// One byte changed in a valid list.
    #[test]
    fn mutated_lists_do_not_panic(at in 0_usize..200, byte: u8, from in 0..NEXUSES) {
        let list = [TransportId::Port(port(1)), TransportId::Node(port(2).name().into())];
        for mut out in [Out::listed(0, 1, 0, &list), Out::relocate(1, 2, 0, 1, &list[0])] {
            if let Some(place) = out.parameters.get_mut(at) {
                *place = byte;
            }
            let mut world = World::reserved(&[(A, 1), (B, 2)], A, 5);
            let _ = world.send(from, &out);
        }
    }
}

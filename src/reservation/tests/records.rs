//! The durable record: round trips, and every way to damage it.

use super::world::*;
use crate::base::crc32c::crc32c;
use crate::reservation::*;
use proptest::prelude::*;

fn durable_world() -> World {
    let mut world = World::reserved(&[(A, 1), (B, 2), (C, 3)], B, 5);
    world.good(A, &Out::basic(0, 0, 1, 9, 0x05));
    world
}

/// The record with its checksum made right again.
fn resealed(mut record: Vec<u8>) -> Vec<u8> {
    record.truncate(record.len() - 4);
    let checksum = crc32c(&record);
    record.extend(checksum.to_le_bytes());
    record
}

#[test]
fn what_persists_comes_back_with_generation_zero() {
    let state = durable_world().state;
    let back = decode(&encode(&state)).unwrap();
    assert_eq!(back.generation(), 0);
    assert_eq!(
        State {
            generation: state.generation,
            ..back
        },
        state
    );
}

#[test]
fn without_aptpl_nothing_persists() {
    let state = World::reserved(&[(A, 1), (B, 2)], B, 7).state;
    assert_eq!(decode(&encode(&state)), Ok(State::new()));
}

#[test]
fn an_all_registrants_reservation_persists_without_a_holder() {
    let mut world = World::reserved(&[(A, 1), (B, 2)], B, 8);
    world.good(A, &Out::basic(6, 0, 0, 1, 0x01));
    let back = decode(&encode(&world.state)).unwrap();
    assert_eq!(back.reservation(), world.state.reservation());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let record = encode(&durable_world().state);
    for bit in 0..record.len() * 8 {
        let mut damaged = record.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(decode(&damaged), Err(DecodeError::Checksum { .. })),
            "bit {bit}"
        );
    }
    for length in 0..record.len() {
        assert!(decode(&record[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_record_with_a_valid_checksum_is_still_checked() {
    let record = encode(&durable_world().state);
    let with = |at: usize, byte: u8| {
        let mut changed = record.clone();
        changed[at] = byte;
        decode(&resealed(changed)).unwrap_err()
    };
    let holder = record.len() - 8;
    assert_eq!(with(0, 0), DecodeError::Magic);
    assert_eq!(with(4, 2), DecodeError::Version(2));
    assert_eq!(with(6, 3), DecodeError::Field("flag field"));
    assert_eq!(
        with(6, 0),
        DecodeError::Field("combination of fields"),
        "not APTPL, but not empty"
    );
    assert_eq!(with(10, 1), DecodeError::TooMany(0x1_0004));
    assert_eq!(
        with(8, 3),
        DecodeError::Field("length"),
        "one registration too few"
    );
    assert_eq!(with(holder - 1, 2), DecodeError::Field("reservation type"));
    assert_eq!(
        with(12, 0),
        DecodeError::Field("combination of fields"),
        "a key of zero"
    );
    assert_eq!(
        with(28, 2),
        DecodeError::Field("flag field of a registration")
    );
    assert_eq!(with(31, b'I'), DecodeError::Field("initiator name"));
    assert_eq!(with(31, b'z'), DecodeError::Field("order of registrations"));
    assert_eq!(
        with(holder - 1, 7),
        DecodeError::Field("combination of fields"),
        "AR with a holder"
    );
    assert_eq!(with(holder, 9), DecodeError::Field("holder"));
    let mut longer = record.clone();
    longer.insert(holder + 4, 0);
    assert_eq!(decode(&resealed(longer)), Err(DecodeError::Field("length")));
    assert_eq!(
        decode(&resealed(record[..20].to_vec())),
        Err(DecodeError::Truncated)
    );
    assert_eq!(decode(&[]), Err(DecodeError::Truncated));
}

proptest! {
    #[test]
    fn arbitrary_bytes_decode_to_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
        if bytes.len() >= 4 {
            prop_assert!(decode(&resealed(bytes)).is_err());
        }
    }

    /// Whatever decodes is a sound state with this one record.
    #[test]
    fn mutations_decode_to_their_own_record_or_not_at_all(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut record = encode(&durable_world().state);
        for (at, byte) in changes {
            *at.get_mut(&mut record) = byte;
        }
        let record = resealed(record);
        if let Ok(state) = decode(&record) {
            prop_assert_eq!(encode(&state), record);
        }
    }
}

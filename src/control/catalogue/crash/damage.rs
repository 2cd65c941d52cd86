//! Damage of what is on the disk: it is told, or it was where nothing is kept. It is never taken for
//! a crash, after which an older state would be served.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::disk::{Arrival, Disk, Platter, Step};
use super::workload::{Change, Expected, Workload, open};
use super::{look, seed};
use crate::control::catalogue::file::sequence_of;
use crate::control::catalogue::storage::FILE;

const SECTOR: usize = 512;

#[test]
fn a_flipped_bit_is_never_taken_for_a_crash() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let workload = Workload::new(seed).run(20);
    // The server was killed: nothing has been closed.
    let files = left_of(&workload.disk().steps(), Arrival::Everything);
    let expected = workload.history().last().unwrap();
    let (mut told, mut harmless) = (0, 0);
    let used: Vec<_> = files[FILE]
        .chunks(SECTOR)
        .enumerate()
        .filter(|(_, sector)| sector.iter().any(|byte| *byte != 0))
        .map(|(number, _)| number)
        .collect();
    for sector in used {
        let bit = sector * SECTOR * 8 + rng.random_range(0..SECTOR * 8);
        match is_told_or_harmless(&with_flipped(&files, bit), expected) {
            Ok(true) => told += 1,
            Ok(false) => harmless += 1,
            Err(why) => panic!("bit {bit} (seed {seed}): {why}"),
        }
    }
    eprintln!("{told} told, {harmless} harmless");
    assert!(told > 0, "damage was found");
}

/// The power is cut just after a change was acknowledged, and a sector that the change wrote is damaged.
/// The second flush of a commit is what tells this from a power cut in the middle of the change: without
/// it the state before is served, as it would be with commits of one phase.
#[test]
fn damage_of_the_last_change_is_told_because_of_the_second_flush() {
    let seed = seed();
    let mut workload = Workload::new(seed).run(20);
    let before = workload.disk().steps().len();
    let change = Change::AddGroup("the-last".to_owned());
    workload.attempt(&change).unwrap();
    workload.expect(change);
    let expected = workload.history().last().unwrap();
    let steps = workload.disk().steps();
    let written = steps[before..].iter().filter_map(|step| match step {
        Step::Write { offset, data, .. } => {
            Some((offset / SECTOR)..(offset + data.len()).div_ceil(SECTOR))
        }
        _ => None,
    });
    let written: Vec<usize> = written.flatten().collect();
    let told = |steps: &[Step]| -> Result<usize, String> {
        let files = left_of(steps, Arrival::Nothing);
        let damaged = written.iter().map(|sector| with_spoiled(&files, *sector));
        let told: Result<Vec<bool>, _> = damaged
            .map(|files| is_told_or_harmless(&files, expected))
            .collect();
        Ok(told?.into_iter().filter(|told| *told).count())
    };
    assert!(told(&steps).unwrap() > 0, "damage was found");
    let mut unflushed = steps.clone();
    let last = unflushed
        .iter()
        .rposition(|step| matches!(step, Step::Flush { .. }));
    unflushed.remove(last.unwrap());
    told(&unflushed).unwrap_err();
}

/// Whether an error tells what is wrong; otherwise nothing is.
fn is_told_or_harmless(
    files: &BTreeMap<String, Vec<u8>>,
    expected: &Expected,
) -> Result<bool, String> {
    match look(&Disk::with(files)) {
        Err(message) if is_told(&message) => Ok(true),
        Err(message) => Err(message),
        Ok(found) if found == *expected => Ok(false),
        Ok(found) => Err(format!("{found:#?}")),
    }
}

fn left_of(steps: &[Step], arrival: Arrival<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut platter = Platter::default();
    for step in steps {
        platter.take(step);
    }
    platter.cut(arrival)
}

/// The header decides which of two states is the present one. Each of its bits is tried, and each of its
/// bytes at once, of a server that was killed and of one that was stopped. One bit says which state is
/// the present one, and no checksum covers it.
#[test]
fn no_bit_and_no_byte_of_the_header_brings_an_older_state_back() {
    let seed = seed();
    for is_closed in [false, true] {
        let mut workload = Workload::new(seed).run(20);
        if is_closed {
            workload.close();
        }
        let files = left_of(&workload.disk().steps(), Arrival::Everything);
        let expected = workload.history().last().unwrap();
        let judge = |files: &BTreeMap<String, Vec<u8>>, what: &str| {
            if let Err(why) = is_told_or_harmless(files, expected) {
                panic!("{what}, closed: {is_closed} (seed {seed}): {why}");
            }
        };
        for bit in 0..HEADER_BYTES * 8 {
            judge(&with_flipped(&files, bit), &format!("bit {bit}"));
        }
        for byte in 0..HEADER_BYTES {
            let mut files = files.clone();
            files.get_mut(FILE).unwrap()[byte] ^= 0xff;
            judge(&files, &format!("byte {byte}"));
        }
    }
}

/// That bit alone flips after a change was acknowledged. By the bit the state before is the present one;
/// what is served is the state after, and what follows is built on it.
#[test]
fn an_acknowledged_change_outlives_the_bit_that_selects_it() {
    let mut workload = Workload::new(seed()).run(20);
    let change = Change::AddGroup("the-last".to_owned());
    workload.attempt(&change).unwrap();
    workload.expect(change);
    let sound = left_of(&workload.disk().steps(), Arrival::Everything);
    let flipped = with_flipped(&sound, SLOT_SELECTOR_BIT);
    let [of_sound, of_flipped] = [&sound, &flipped].map(|files| sequence_of(&files[FILE]).unwrap());
    assert_eq!(of_flipped + 1, of_sound, "redb alone goes back a change");
    let disk = Disk::with(&flipped);
    let expected = workload.history().last().unwrap();
    assert_eq!(look(&disk).unwrap(), *expected);
    let group = "after-the-flip".parse().unwrap();
    open(&disk).unwrap().0.create_group(&group).unwrap();
    open(&disk).unwrap().0.delete_group(&group).unwrap();
    assert_eq!(look(&disk).unwrap(), *expected);
}

/// Bytes of redb's header: its own fields, and two slots.
const HEADER_BYTES: usize = 320;
/// The bit that says which slot is the present one.
const SLOT_SELECTOR_BIT: usize = 9 * 8;

fn with_flipped(files: &BTreeMap<String, Vec<u8>>, bit: usize) -> BTreeMap<String, Vec<u8>> {
    let mut files = files.clone();
    files.get_mut(FILE).unwrap()[bit / 8] ^= 1 << (bit % 8);
    files
}

fn with_spoiled(files: &BTreeMap<String, Vec<u8>>, sector: usize) -> BTreeMap<String, Vec<u8>> {
    let mut files = files.clone();
    let bytes = files.get_mut(FILE).unwrap().iter_mut();
    for byte in bytes.skip(sector * SECTOR).take(SECTOR) {
        *byte ^= 0xff;
    }
    files
}

fn is_told(message: &str) -> bool {
    message.contains("is damaged") && message.contains("holdfast repair --data /recorded")
}

//! Damage of what is on the disk: it is told, or it was where nothing is kept. It is never taken for
//! a crash, after which an older state would be served.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::disk::{Arrival, Disk, Platter};
use super::workload::Workload;
use super::{look, seed};
use crate::control::catalogue::storage::FILE;

const SECTOR: usize = 512;

#[test]
fn a_flipped_bit_is_never_taken_for_a_crash() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let workload = Workload::new(seed).run(20);
    let mut platter = Platter::default();
    for step in &workload.disk().steps() {
        platter.take(step);
    }
    // The server was killed: nothing has been closed.
    let files = platter.cut(Arrival::Everything);
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
        if bit == PRIMARY_SLOT_BIT {
            continue;
        }
        match look(&Disk::with(&with_flipped(&files, bit))) {
            Err(message) => {
                assert!(is_told(&message), "bit {bit} (seed {seed}): {message}");
                told += 1;
            }
            Ok(found) => {
                assert!(found == *expected, "bit {bit} (seed {seed}): {found:#?}");
                harmless += 1;
            }
        }
    }
    eprintln!("{told} told, {harmless} harmless");
    assert!(told > 0, "damage was found");
}

/// The one bit of the file that no checksum covers: it names the slot of the present state, and the
/// other slot holds a state that was as good. A power cut between the two phases of a commit leaves
/// the same bytes, so nothing in the file can tell the two apart.
const PRIMARY_SLOT_BIT: usize = 9 * 8;

/// The header decides which of two states is the present one, so each of its bits is tried.
#[test]
fn no_bit_of_the_header_brings_an_older_state_back() {
    let seed = seed();
    let workload = Workload::new(seed).run(20);
    let mut platter = Platter::default();
    for step in &workload.disk().steps() {
        platter.take(step);
    }
    let files = platter.cut(Arrival::Everything);
    let expected = workload.history().last().unwrap();
    for bit in (0..320 * 8).filter(|bit| *bit != PRIMARY_SLOT_BIT) {
        match look(&Disk::with(&with_flipped(&files, bit))) {
            Err(message) => assert!(is_told(&message), "bit {bit} (seed {seed}): {message}"),
            Ok(found) => assert!(found == *expected, "bit {bit} (seed {seed}): {found:#?}"),
        }
    }
}

fn with_flipped(files: &BTreeMap<String, Vec<u8>>, bit: usize) -> BTreeMap<String, Vec<u8>> {
    let mut files = files.clone();
    files.get_mut(FILE).unwrap()[bit / 8] ^= 1 << (bit % 8);
    files
}

fn is_told(message: &str) -> bool {
    message.contains("is damaged") && message.contains("holdfast repair --data /recorded")
}

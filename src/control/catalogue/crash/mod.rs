//! What a power cut at any step leaves: the state before a change or after it, never a mix, and
//! nothing lost that was acknowledged.
//!
//! The catalogue runs on a [`Disk`] that records its writes, lengths, flushes and renames. Every
//! prefix of them is cut in every way that a disk may cut it, opened again by the same code, and
//! compared with an oracle that knows nothing of redb: plain maps, changed by hand.

mod damage;
mod disk;
mod faults;
mod workload;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::disk::{Arrival, Disk, Platter, Step, sectors};
use self::workload::{Expected, Workload, observe, open};
use super::tests::begin_and_finish;
use crate::target::{ReservationStore, ReservationUpdate};

/// What was found to be wrong, and where.
type Verdict = Result<(), String>;

/// Draws of what arrives, at each step.
const DRAWS: usize = 3;
/// Every so many cuts, recovery itself is cut as well.
const RECOVERY_CUT_EVERY: usize = 16;

fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_SEED").ok();
    let seed = given.map_or_else(|| rand::rng().random(), |text| text.parse().unwrap());
    eprintln!("HOLDFAST_SEED={seed} repeats this run");
    seed
}

/// Cuts the power after every step, in every way. Returns how often.
fn judge(steps: &[Step], expected: &[Expected], seed: u64) -> Result<usize, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut platter = Platter::default();
    let (mut begun, mut returned, mut cuts) = (0, 0, 0);
    for (number, step) in steps.iter().enumerate() {
        platter.take(step);
        match step {
            Step::Begins(change) => begun = *change,
            Step::Returned(change) => returned = *change,
            Step::Refused => begun = returned,
            _ => {}
        }
        let allowed = [&expected[returned], &expected[begun]];
        let mut images = vec![
            platter.cut(Arrival::Everything),
            platter.cut(Arrival::Nothing),
        ];
        for arrived in 1..sectors(step) {
            images.push(platter.cut(Arrival::Torn(arrived)));
        }
        for _ in 0..DRAWS {
            images.push(platter.cut(Arrival::Chance(&mut rng)));
        }
        images.dedup();
        for (image, files) in images.iter().enumerate() {
            cuts += 1;
            let disk = Disk::with(files);
            let judged = recover(&disk, allowed).and_then(|()| match cuts % RECOVERY_CUT_EVERY {
                0 => recover_from_a_cut_recovery(&disk, files, allowed, &mut rng),
                _ => Ok(()),
            });
            judged.map_err(|why| {
                format!("cut {image} after step {number}, {step:?} (seed {seed}): {why}")
            })?;
        }
    }
    Ok(cuts)
}

/// Opens what a cut left, compares it, and sees that it can be changed and opened once more.
fn recover(disk: &Disk, allowed: [&Expected; 2]) -> Verdict {
    let found = look(disk)?;
    if !allowed.contains(&&found) {
        return Err(format!("expected one of {allowed:#?}, found {found:#?}"));
    }
    Ok(())
}

fn look(disk: &Disk) -> Result<Expected, String> {
    let (catalogue, unfinished) = open(disk).map_err(|error| error.to_string())?;
    Ok(observe(&catalogue, &unfinished))
}

/// Cuts the power again, while what it left is being opened.
fn recover_from_a_cut_recovery(
    recovered: &Disk,
    before: &std::collections::BTreeMap<String, Vec<u8>>,
    allowed: [&Expected; 2],
    rng: &mut StdRng,
) -> Verdict {
    let steps = recovered.steps();
    let mut platter = Platter::with(before);
    for step in &steps[..rng.random_range(0..=steps.len())] {
        platter.take(step);
    }
    let again = Disk::with(&platter.cut(Arrival::Chance(rng)));
    recover(&again, allowed).map_err(|why| format!("in the recovery's recovery: {why}"))?;
    let (catalogue, _) = open(&again).map_err(|error| error.to_string())?;
    let change = catalogue.set_founded();
    change.map_err(|error| format!("after it, a change: {error}"))
}

#[test]
fn a_power_cut_at_any_step_leaves_the_state_before_or_after() {
    let seed = seed();
    let workload = Workload::new(seed).run(60);
    let steps = workload.disk().steps();
    let cuts = judge(&steps, workload.history(), seed).unwrap();
    eprintln!("{} steps, {cuts} power cuts", steps.len());
    assert!(cuts > 4 * steps.len(), "the cuts were made");
}

/// What a commit costs does not depend on how many changes share it.
#[test]
fn changes_that_are_saved_together_cost_two_flushes() {
    let disk = Disk::default();
    let (catalogue, _) = open(&disk).unwrap();
    let volumes = (0..10).map(|number| begin_and_finish(&catalogue, &format!("vol-{number}")));
    let volumes: Vec<_> = volumes.collect();
    let update = ReservationUpdate {
        record: Some(b"record".to_vec()),
        ..ReservationUpdate::default()
    };
    let changes: Vec<_> = volumes.iter().map(|volume| (volume.id, &update)).collect();
    for together in [1, 2, volumes.len()] {
        let (_, before) = disk.counts();
        let saved = catalogue.save_together(&changes[..together]);
        let (_, after) = disk.counts();
        assert!(saved.iter().all(Result::is_ok) && saved.len() == together);
        assert_eq!(after - before, 2, "{together} at once");
    }
    for volume in &volumes {
        assert_eq!(catalogue.reservation(volume.id).unwrap(), b"record");
    }
}

/// Were these not caught, the first test could not fail.
#[test]
fn a_disk_that_does_not_flush_is_caught() {
    let seed = seed();
    let workload = Workload::new(seed).run(12);
    let without = |lie: fn(&Step) -> bool| {
        let mut steps = workload.disk().steps();
        steps.retain(|step| !lie(step));
        judge(&steps, workload.history(), seed)
    };
    without(|_| false).unwrap();
    without(|step| matches!(step, Step::Flush { .. })).unwrap_err();
    without(|step| matches!(step, Step::FlushNames)).unwrap_err();
}

/// With the first of its two flushes a change is there to stay; see `damage` for the second one.
#[test]
fn a_change_that_is_told_too_early_is_caught() {
    let seed = seed();
    let workload = Workload::new(seed).run(12);
    let mut steps = workload.disk().steps();
    let is_flush = |step: &Step| matches!(step, Step::Flush { .. });
    for position in 0..steps.len() {
        if !matches!(steps[position], Step::Returned(_)) {
            continue;
        }
        let flushes = (0..position).rev().filter(|at| is_flush(&steps[*at]));
        if let Some(first) = flushes.take(2).last() {
            steps[first..=position].rotate_right(1);
        }
    }
    judge(&steps, workload.history(), seed).unwrap_err();
}

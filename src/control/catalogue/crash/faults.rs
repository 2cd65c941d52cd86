//! A disk that is full, and one that can't flush.

use super::disk::{Arrival, Fault, Platter};
use super::workload::{Change, Workload};
use super::{DRAWS, judge, look, seed};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A full disk refuses a change whole, wherever in it the space runs out, and once there is space
/// the next one is made. A power cut at any step of all this changes nothing of it.
#[test]
fn a_full_disk_refuses_a_change_and_the_next_is_made() {
    let seed = seed();
    let mut workload = Workload::new(seed);
    let mut refused = 0;
    for _ in 0..24 {
        let change = workload.choose();
        for room in 0.. {
            assert!(room < 1000, "the change is made in the end");
            let (writes, _) = workload.disk().counts();
            let from = writes + room;
            workload.disk().set_fault(Some(Fault::Full { from }));
            let made = workload.attempt(&change);
            workload.disk().set_fault(None);
            match made {
                Ok(()) => break,
                Err(error) => assert!(is_about_space(&error.to_string()), "{error}"),
            }
            refused += 1;
            if !matches!(change, Change::Restart) {
                workload.check();
            }
        }
        workload.expect(change);
    }
    assert!(refused > 24, "every change met a full disk");
    judge(&workload.disk().steps(), workload.history(), seed).unwrap();
}

fn is_about_space(message: &str) -> bool {
    message.contains("no storage space")
}

/// After a flush that failed nobody knows what is on the disk: the change is refused, and so is
/// every further one, until the server has been started again and has read what is there.
#[test]
fn after_a_failed_flush_nothing_is_acknowledged() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut failures = 0;
    // Some changes flush nothing; the seed decides how many rounds it takes.
    for round in 0..100 {
        if failures > 6 {
            break;
        }
        for nth in 0.. {
            let mut workload = Workload::new(seed + round).run(8);
            let change = workload.choose();
            if matches!(change, Change::Restart) {
                break;
            }
            let (_, flushes) = workload.disk().counts();
            let fault = Fault::Flush { nth: flushes + nth };
            workload.disk().set_fault(Some(fault));
            let made = workload.attempt(&change);
            workload.disk().set_fault(None);
            let Err(error) = made else { break };
            failures += 1;
            assert!(error.to_string().contains("flushing the catalogue"));
            workload.attempt(&change).unwrap_err();

            let mut platter = Platter::default();
            for step in &workload.disk().steps() {
                platter.take(step);
            }
            let mut cuts = vec![Arrival::Everything, Arrival::Nothing]
                .into_iter()
                .map(|arrival| platter.cut(arrival))
                .collect::<Vec<_>>();
            cuts.extend((0..DRAWS).map(|_| platter.cut(Arrival::Chance(&mut rng))));
            let before = workload.history().last().unwrap().clone();
            workload.expect_unchecked(change);
            let after = workload.history().last().unwrap();
            for files in &cuts {
                let found = look(&super::Disk::with(files)).unwrap();
                assert!(found == before || found == *after, "{found:#?}");
            }
        }
    }
    assert!(failures > 6, "flushes failed");
}

//! What the permission check of an I/O costs: one atomic load of the volume's reservation snapshot
//! under a guard that is pinned once per tick, and an array read.
//!
//! `cargo bench --bench permission` compares a volume without registrants with one of 1024, beside an
//! A/A control, and the guard pinned per tick with a guard pinned per I/O. What is shown is ratios of
//! neighbouring bursts, which criterion does not take; `cargo bench --bench micro` has the nanoseconds.

mod crowd;
mod pairs;

use std::hint::black_box;

use holdfast::base::rcu::{RcuCell, pin};
use holdfast::reservation::{Access, NexusIndex, Snapshot};

/// Checks under one pinned guard: the I/Os of a busy tick.
const CHECKS_PER_TICK: u32 = 64;

fn main() {
    let none = RcuCell::new(Snapshot::open());
    let also_none = RcuCell::new(Snapshot::open());
    let many = RcuCell::new(crowd::snapshot());

    let control = pairs::compare(|| tick(&none), || tick(&also_none));
    let registrants = pairs::compare(|| tick(&none), || tick(&many));
    let pinned_each = pairs::compare(|| tick(&many), || tick_pinning_each_time(&many));

    println!("permission check, ns            A       B   B/A");
    let line = |what: &str, result: &pairs::Comparison| {
        println!(
            "{what:<26} {:>6.2}  {:>6.2}  {:>4.2}",
            result.a_ns, result.b_ns, result.ratio
        );
    };
    line("none / none (control)", &control);
    line("none / 1024 registrants", &registrants);
    line("pin per tick / per check", &pinned_each);
}

/// The checks of one tick, each for another nexus.
fn tick(cell: &RcuCell<Snapshot>) -> u64 {
    let guard = pin();
    for index in 0..CHECKS_PER_TICK {
        let rights = black_box(cell)
            .load(&guard)
            .rights(NexusIndex(black_box(index)));
        assert!(rights.permits(Access::Write));
    }
    u64::from(CHECKS_PER_TICK)
}

fn tick_pinning_each_time(cell: &RcuCell<Snapshot>) -> u64 {
    for index in 0..CHECKS_PER_TICK {
        let guard = pin();
        let rights = black_box(cell)
            .load(&guard)
            .rights(NexusIndex(black_box(index)));
        assert!(rights.permits(Access::Write));
    }
    u64::from(CHECKS_PER_TICK)
}

//! The load generator must not be the limit of what it measures: it allocates nothing for an I/O,
//! and what it has to say in a turn leaves in one send.

#[path = "support/allocations.rs"]
mod allocations;
mod support;

use std::num::NonZeroU64;
use std::time::Duration;

use allocations::{CountingAllocator, watch_load};
use holdfast::load::{Cores, Plan, Rig};
use holdfast::volume::IscsiName;
use support::server::Setup;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// What a burst allocates however long it is: its histograms, and what carries them to the crew.
const PER_BURST_MAX: usize = 64;
const IOS: u64 = 4000;
const DEPTH: u32 = 32;

#[test]
fn an_io_allocates_nothing_and_a_turn_sends_once() {
    let server = Setup::default().start();
    let volume = server.create_small("disk");
    let url = format!("iscsi://{}/{}/0", server.portal(), volume.iqn);
    for (read_percent, digests) in [(100, false), (0, false), (50, true)] {
        let name = IscsiName::new("iqn.2024-01.test:load").expect("a name");
        let mut plan = Plan::new(vec![url.parse().expect("an address")], name);
        plan.depth = DEPTH;
        plan.workload.read_percent = read_percent;
        plan.login.header_digest = digests;
        plan.login.data_digest = digests;
        plan.threads.cores = Cores::Any;
        plan.threads.yielding = true;
        plan.io_count = NonZeroU64::new(IOS);
        let mut rig = Rig::connect(plan).expect("it logs in");
        let minute = Duration::from_secs(60);
        // Queues grow while the load is new.
        rig.burst(minute).expect("it runs");
        let mut burst = None;
        let tally = watch_load(|| burst = Some(rig.burst(minute).expect("it runs")));
        let burst = burst.expect("it ran");
        assert_eq!((burst.ios(), burst.failures()), (IOS, 0));
        assert!(
            tally.allocations <= PER_BURST_MAX,
            "{} allocations in {IOS} I/Os, {read_percent}% reads:\n{}",
            tally.allocations,
            tally.places.join("\n")
        );
        // One turn starts the load, every other one follows a receive; a socket that is full asks
        // for another send.
        let turns = burst.work.receives + 1;
        assert!(
            burst.work.sends <= turns + turns / 4,
            "{} sends for {turns} turns with something to say",
            burst.work.sends
        );
    }
}

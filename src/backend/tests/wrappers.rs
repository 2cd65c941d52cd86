//! Null, and the stores that serve tests.

use super::driver::Driver;
use crate::backend::delay::{DelayStore, Held, Hold, Until};
use crate::backend::fault::{Action, FaultRule, FaultStore, Trigger};
use crate::backend::lossy::LossyStore;
use crate::backend::*;
use crate::base::clock::Instant;
use std::sync::Arc;

const SIZE: u64 = 1 << 20;

fn ram() -> Arc<RamStore> {
    RamStore::new(SIZE).unwrap()
}

#[test]
fn null_forgets_and_reads_zeros() {
    let mut driver = Driver::new(NullStore::new(SIZE), None);
    driver.write(0, &[1; 512]).unwrap();
    assert_eq!(driver.read(0, 512).unwrap(), [0; 512]);
    let token = driver.submit(Op::Read, 0, 512, None);
    assert_eq!(driver.finish(token).result.unwrap(), Done::Zeros);
    let token = driver.submit(Op::Read, SIZE, 512, None);
    assert_eq!(
        driver.finish(token).result.unwrap_err().kind(),
        ErrorKind::OutOfRange
    );
    assert_eq!(driver.extents(0, SIZE)[0].state, ExtentState::Deallocated);
    assert!(zeros().iter().all(|&byte| byte == 0));
}

#[test]
fn ram_grows_within_its_reservation() {
    let store = ram();
    let mut driver = Driver::new(Arc::clone(&store) as Arc<dyn Store>, None);
    assert!(driver.read(SIZE, 512).is_err());
    store.grow(2 * SIZE).unwrap();
    assert_eq!(driver.read(SIZE, 512).unwrap(), [0; 512]);
    let refused = store.grow(1 << 45).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::SpaceExhausted);
}

#[test]
fn a_long_deallocation_of_ram_lets_others_have_their_turn() {
    let size = 256 << 20;
    let mut driver = Driver::new(RamStore::new(size).unwrap(), None);
    driver.write(size - 512, &[1; 512]).unwrap();
    let long = driver.start(Op::Deallocate, 0, size, &[]);
    assert_eq!(driver.channel.in_flight(), 1);
    assert_eq!(driver.channel.next_deadline(), Some(Instant::ZERO));
    driver.finish(long).result.unwrap();
    assert_eq!(driver.read(size - 512, 512).unwrap(), [0; 512]);
    assert_eq!(driver.extents(0, size).len(), 1);
}

fn rule(on: OpKind, when: Trigger, action: Action) -> FaultRule {
    FaultRule {
        on: Some(on),
        range: None,
        when,
        action,
    }
}

#[test]
fn faults_befall_the_requests_that_the_rules_name() {
    let rules = vec![
        FaultRule {
            on: None,
            range: Some((8192, 12288)),
            when: Trigger::Always,
            action: Action::Fail(ErrorKind::Medium),
        },
        rule(
            OpKind::Write,
            Trigger::Nth(2),
            Action::Fail(ErrorKind::SpaceExhausted),
        ),
        rule(OpKind::Flush, Trigger::Every(2), Action::Dropped),
    ];
    let store = FaultStore::new(ram(), rules, 0);
    let mut driver = Driver::new(Arc::clone(&store) as Arc<dyn Store>, None);
    assert!(driver.write(0, &[1; 512]).is_ok());
    let exhausted = driver.write(0, &[2; 512]).unwrap_err();
    assert_eq!(exhausted.kind(), ErrorKind::SpaceExhausted);
    assert_eq!(
        driver.read(0, 512).unwrap(),
        [1; 512],
        "what failed had no effect"
    );
    assert!(driver.write(0, &[3; 512]).is_ok());
    assert_eq!(
        driver.read(8000, 512).unwrap_err().kind(),
        ErrorKind::Medium
    );
    assert!(driver.read(12288, 512).is_ok());
    store.arm(false);
    assert!(driver.read(8000, 512).is_ok());
}

#[test]
fn a_torn_write_takes_effect_in_part_and_fails() {
    let rules = vec![rule(OpKind::Write, Trigger::Always, Action::Torn(700))];
    let mut driver = Driver::new(
        FaultStore::new(LossyStore::new(SIZE).unwrap(), rules, 0),
        None,
    );
    assert_eq!(
        driver.write(0, &[9; 1024]).unwrap_err().kind(),
        ErrorKind::Medium
    );
    let read = driver.read(0, 1024).unwrap();
    assert_eq!(read[..512], [9; 512], "700 bytes are one whole sector");
    assert_eq!(read[512..], [0; 512]);
}

#[test]
fn the_same_seed_brings_the_same_faults() {
    let outcomes = |seed| {
        let rules = vec![rule(
            OpKind::Write,
            Trigger::OneIn(3),
            Action::Fail(ErrorKind::Medium),
        )];
        let mut driver = Driver::new(FaultStore::new(ram(), rules, seed), None);
        (0..64)
            .map(|_| driver.write(0, &[1; 512]).is_ok())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcomes(1), outcomes(1));
    assert_ne!(outcomes(1), outcomes(2));
    let failed = outcomes(1).iter().filter(|ok| !**ok).count();
    assert!((8..40).contains(&failed), "{failed} of 64 at one in three");
}

#[test]
fn delays_reorder_and_report_their_deadline() {
    let hold = Hold {
        what: Held::Completions,
        until: Until::Elapsed {
            min_us: 100,
            max_us: 5000,
        },
    };
    let mut driver = Driver::new(DelayStore::new(ram(), hold, 3), None);
    let tokens: Vec<_> = (0..16)
        .map(|_| driver.start(Op::Write { durable: false }, 0, 1, &[1]))
        .collect();
    assert!(driver.channel.next_deadline().is_some());
    tokens
        .iter()
        .for_each(|&token| driver.finish(token).result.map(drop).unwrap());
    assert_eq!(driver.channel.next_deadline(), None);
    assert_ne!(driver.order, tokens, "some overtook others");
}

#[test]
fn a_held_request_has_no_effect_before_its_release() {
    let store = ram();
    let hold = Hold {
        what: Held::Requests,
        until: Until::Released,
    };
    let delayed = DelayStore::new(Arc::clone(&store) as Arc<dyn Store>, hold, 3);
    let mut slow = Driver::new(Arc::clone(&delayed) as Arc<dyn Store>, None);
    let mut direct = Driver::new(store, None);
    let first = slow.start(Op::Write { durable: false }, 0, 512, &[1; 512]);
    slow.turn();
    assert_eq!(direct.read(0, 512).unwrap(), [0; 512]);
    delayed.release(1);
    slow.finish(first).result.unwrap();
    assert_eq!(direct.read(0, 512).unwrap(), [1; 512]);
    let _second = slow.start(Op::Read, 0, 512, &[]);
    slow.turn();
    assert_eq!(slow.channel.in_flight(), 1, "one release lets one go");
}

#[test]
fn a_store_that_holds_effects_acknowledges_what_is_not_there() {
    let store = ram();
    let hold = Hold {
        what: Held::Effects,
        until: Until::Released,
    };
    let lying = DelayStore::new(Arc::clone(&store) as Arc<dyn Store>, hold, 3);
    let mut driver = Driver::new(Arc::clone(&lying) as Arc<dyn Store>, None);
    let mut direct = Driver::new(store, None);
    driver.write(0, &[1; 512]).unwrap();
    driver.run(Op::Flush, 0, 0).unwrap();
    assert_eq!(driver.read(0, 512).unwrap(), [0; 512], "not even to itself");
    assert_eq!(driver.channel.in_flight(), 1);
    lying.release(1);
    driver.turn();
    assert_eq!(direct.read(0, 512).unwrap(), [1; 512]);
    assert_eq!(driver.channel.in_flight(), 0);
    assert_eq!(driver.order.len(), 3, "nothing completes twice");
    driver.run(Op::Deallocate, 0, 512).unwrap();
    assert_eq!(direct.read(0, 512).unwrap(), [1; 512]);
    lying.release(1);
    driver.turn();
    assert_eq!(direct.read(0, 512).unwrap(), [0; 512]);
}

#[test]
fn a_power_cut_takes_what_was_not_flushed_and_nothing_else() {
    let run = |seed| {
        let store = LossyStore::new(SIZE).unwrap();
        let mut driver = Driver::new(Arc::clone(&store) as Arc<dyn Store>, None);
        driver.write(0, &[1; 8192]).unwrap();
        driver.run(Op::Flush, 0, 0).unwrap();
        driver.write(0, &[2; 4096]).unwrap();
        driver.write(0, &[3; 4096]).unwrap();
        driver.write_as(4096, &[4; 4096], true).unwrap();
        store.cut_power(seed);
        driver.read(0, 8192).unwrap()
    };
    let left = run(5);
    assert!(
        left[4096..].iter().all(|&byte| byte == 4),
        "a durable write stays"
    );
    for sector in left[..4096].chunks(512) {
        assert!((1..=3).contains(&sector[0]), "old or new");
        assert!(
            sector.iter().all(|&byte| byte == sector[0]),
            "a sector is never torn"
        );
    }
    assert_eq!(left, run(5));
    assert_ne!(left, run(6));
}

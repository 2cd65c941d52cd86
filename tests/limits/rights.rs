//! Reservations change while writes wait: what counts is the right at the time when they go on.

use std::time::Duration;

use crate::stage::{BYTES, Stage, operations};
use crate::support::initiator::Command;
use crate::support::scsi::write10;
use crate::support::server::Setup;

crate::on_every_engine!(
    a_write_that_waits_out_a_preempt_is_refused,
    a_preempt_and_abort_ends_what_waits,
);

const TEN_MS: Duration = Duration::from_millis(10);
const WRITE_EXCLUSIVE_REGISTRANTS_ONLY: u8 = 5;
const VICTIM: u64 = 0xa;
const VICTOR: u64 = 0xb;
const AT_ONCE: usize = 6;

fn registered(stage: &mut Stage) -> [crate::support::initiator::Initiator; 2] {
    let (mut victim, mut victor) = (stage.session(0, "victim"), stage.session(0, "victor"));
    stage.during(|_| {
        victim.register(0, VICTIM).good();
        victor.register(0, VICTOR).good();
        victim
            .reserve(WRITE_EXCLUSIVE_REGISTRANTS_ONLY, VICTIM)
            .good();
    });
    [victim, victor]
}

fn a_write_that_waits_out_a_preempt_is_refused(setup: Setup) {
    let mut stage = Stage::set(&setup);
    let [mut victim, mut victor] = registered(&mut stage);
    stage.limit(0, operations(100), None);
    let waiting = stage.writes(&mut victim, 20);
    assert_eq!(stage.done("victim"), AT_ONCE);
    // The fence waits for nothing of the limits: what waits has not been issued.
    let kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
    stage.during(|_| victor.preempt(kind, VICTOR, VICTIM).good());
    // What the victim was about to write must not come over this.
    stage.limit(0, operations(100), None);
    let own = Command::write(&write10(0, 8), &[9; BYTES]);
    let own = stage.submit(&mut victor, 1, &own)[0];
    stage.pass_with(Duration::from_secs(2), [&mut victor]);
    for _ in 0..20 {
        stage.pass_with(TEN_MS, [&mut victim, &mut victor]);
    }
    stage.during(|_| {
        victor.complete(own).expect("a status").good();
        for (number, tag) in waiting.iter().enumerate() {
            let outcome = victim.complete(*tag).expect("a status");
            assert_eq!(outcome.is_conflict(), number >= AT_ONCE, "write {number}");
        }
    });
    assert_eq!(stage.done("victim"), AT_ONCE);
    stage.pass(Duration::from_secs(1));
    let read = stage.during(|_| victor.read_blocks(0, 8).good());
    assert_eq!(read, [9; BYTES]);
}

fn a_preempt_and_abort_ends_what_waits(setup: Setup) {
    let mut stage = Stage::set(&setup);
    let [mut victim, mut victor] = registered(&mut stage);
    stage.limit(0, operations(100), None);
    let waiting = stage.writes(&mut victim, 20);
    let kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
    stage.during(|_| victor.preempt_and_abort(kind, VICTOR, VICTIM).good());
    // Those of the victim take no turn any more.
    stage.reads(&mut victor, 10);
    let before = stage.done("victor");
    for done in 1..=5 {
        stage.pass_with(TEN_MS, [&mut victim, &mut victor]);
        assert_eq!(stage.done("victor"), before + done);
    }
    assert_eq!(stage.done("victim"), AT_ONCE);
    assert!(
        waiting[AT_ONCE..]
            .iter()
            .all(|tag| !victim.is_answered(*tag))
    );
}

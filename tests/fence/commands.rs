//! Long and compound commands: each step of theirs is checked as it is issued, and counted until it is
//! over.

use super::scene::{Scene, complete, reserve_out, submit, submit_unfed, write_of};
use crate::support::cluster::{A, B, C};
use crate::support::copy::{Segment, copy_target, extended_copy, write_using_token};
use crate::support::initiator::{Attribute, Command, Initiator};
use crate::support::reserve::{action, kind};
use crate::support::rig::{Rig, until};
use crate::support::scsi::{
    BLOCK, compare_and_write, orwrite16, pattern, unmap, unmap_list, write_same16, write16,
};
use crate::support::server::Setup;

/// Blocks of 4 MiB: several backend requests for whatever command.
const LONG: u32 = 8192;
/// Blocks that UNMAP takes in more than one step on one shard, too: 128 MiB.
const VERY_LONG: u32 = 262_144;

crate::on_every_engine!(
    a_write_that_waits_for_data_blocks_nobody_and_conflicts,
    a_long_write_stops,
    write_same_stops,
    unmap_stops,
    format_unit_stops,
    sanitize_stops,
    extended_copy_stops,
    a_copy_in_the_background_stops,
    a_copy_by_token_stops,
    an_extended_copy_to_another_volume_is_fenced_there,
    compare_and_write_does_not_write_after_the_fence,
    orwrite_does_not_write_after_the_fence,
    a_write_behind_a_range_lock_conflicts,
    head_of_queue_gets_no_other_way,
    writes_short_of_buffers_conflict,
);

/// `b` runs `command`, which takes several backend requests; `a` preempts `b` while the first is in
/// flight. PREEMPT waits for that one, and no other reaches the medium.
fn stops(scene: Scene, command: &Command) {
    let Scene {
        rig, mut a, mut b, ..
    } = scene;
    rig.gate().close();
    let before = rig.gate().changes();
    let long = submit(&mut b, command);
    serve_until_held(&rig, &mut b);
    preempt_while_held(&rig, &mut a);
    let after = rig.gate().changes();
    assert!(after > before, "what was in flight took effect");
    complete(&mut b, long).conflict();
    rig.settle();
    assert_eq!(
        rig.gate().changes(),
        after,
        "nothing reached the medium after GOOD"
    );
}

/// Serves the connection (R2T) until a request of its stands at the gate.
fn serve_until_held(rig: &Rig, session: &mut Initiator) {
    until("a request stands at the gate", || {
        // A question that is answered serves what is asked in between.
        session.ping(b"?").expect("an answer");
        rig.gate().held() > 0
    });
}

/// `a` preempts `b`, which must wait for what is held at the gate.
fn preempt_while_held(rig: &Rig, a: &mut Initiator) {
    let generation = rig.state().generation();
    let task = submit(a, &reserve_out(action::PREEMPT, kind::WE_RO, A, B));
    rig.wait_for_generation(generation);
    rig.assert_unanswered(a, task);
    rig.gate().open();
    complete(a, task).good();
    assert_eq!(rig.gate().held(), 0);
}

fn a_write_that_waits_for_data_blocks_nobody_and_conflicts(setup: Setup) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(&setup).with_reticent_b();
    b.write_blocks(0, &pattern(3, 8)).good();
    let before = rig.gate().changes();
    let (task, transfer) = submit_unfed(&mut b, &write_of(0, 8, 4));
    a.preempt(kind::WE_RO, A, B).good();
    b.send_data_out(task, transfer, 0, 8 * BLOCK)
        .expect("the data is sent");
    complete(&mut b, task).conflict();
    assert_eq!(rig.gate().changes(), before);
    assert_eq!(a.read_blocks(0, 8).good(), pattern(3, 8));
}

fn a_long_write_stops(setup: Setup) {
    stops(Scene::held_by_b(&setup), &write_of(0, LONG, 5));
}

fn write_same_stops(setup: Setup) {
    let same = Command::write(&write_same16(0, LONG, false), &pattern(5, 1));
    stops(Scene::held_by_b(&setup), &same);
}

fn unmap_stops(setup: Setup) {
    let list = unmap_list(0, VERY_LONG);
    let length = u16::try_from(list.len()).expect("a short list");
    stops(
        Scene::held_by_b(&setup),
        &Command::write(&unmap(length), &list),
    );
}

fn format_unit_stops(setup: Setup) {
    stops(
        Scene::held_by_b(&setup),
        &Command::none(&[0x04, 0, 0, 0, 0, 0]),
    );
}

fn sanitize_stops(setup: Setup) {
    let mut cdb = [0; 10];
    cdb[..2].copy_from_slice(&[0x48, 0x01]); // OVERWRITE
    let list = [&[1, 0, 0, 4][..], &[0xa5; 4]].concat();
    cdb[8] = u8::try_from(list.len()).expect("a short list");
    stops(Scene::held_by_b(&setup), &Command::write(&cdb, &list));
}

/// EXTENDED COPY (LID4) of `blocks` blocks from the start of one target to the second half of another.
fn copy_to_the_second_half(targets: &[Vec<u8>], to: u8, blocks: u16, immediate: bool) -> Command {
    let segment = Segment {
        to,
        from_lba: 0,
        to_lba: 100_000,
        blocks,
    };
    extended_copy(9, targets, &segment, immediate)
}

fn extended_copy_stops(setup: Setup) {
    let mut scene = Scene::held_by_b(&setup);
    let target = copy_target(&mut scene.b);
    let Scene {
        rig, mut a, mut b, ..
    } = scene;
    rig.gate().close();
    let copy = submit(&mut b, &copy_to_the_second_half(&[target], 0, 8192, false));
    rig.gate().wait_for(1);
    preempt_while_held(&rig, &mut a);
    let after = rig.gate().changes();
    assert!(!complete(&mut b, copy).is_good());
    assert_eq!(rig.gate().changes(), after);
}

/// The status has been sent already; the copy goes on under the rights of its nexus, and so not at all.
fn a_copy_in_the_background_stops(setup: Setup) {
    let mut scene = Scene::held_by_b(&setup);
    let target = copy_target(&mut scene.b);
    let Scene {
        rig, mut a, mut b, ..
    } = scene;
    rig.gate().close();
    b.run(&copy_to_the_second_half(&[target], 0, 8192, true))
        .good();
    rig.gate().wait_for(1);
    let counted = rig.in_flight("b");
    assert_eq!(counted[0].issued_writes, 1, "{counted:?}");
    preempt_while_held(&rig, &mut a);
    let after = rig.gate().changes();
    until("the copy has noticed", || {
        rig.in_flight("b").iter().all(|entry| entry.issued == 0)
    });
    assert_eq!(rig.gate().changes(), after);
}

fn a_copy_by_token_stops(setup: Setup) {
    const TOKEN_OF_ZEROS: [u8; 4] = [0xff, 0xff, 0x00, 0x01];
    let command = write_using_token(3, &TOKEN_OF_ZEROS, 0, &[(0, VERY_LONG)]);
    stops(Scene::held_by_b(&setup), &command);
}

/// The copy runs on a session with one volume, and is fenced on the other one, which it writes.
fn an_extended_copy_to_another_volume_is_fenced_there(setup: Setup) {
    let Scene {
        mut rig,
        mut a,
        mut b,
        ..
    } = Scene::held_by_b(&setup);
    rig.add_volume();
    let mut source = rig.session_with(1, "b");
    let targets = [copy_target(&mut source), copy_target(&mut b)];
    rig.gate().close();
    let copy = submit(
        &mut source,
        &copy_to_the_second_half(&targets, 1, 8192, false),
    );
    rig.gate().wait_for(1);
    preempt_while_held(&rig, &mut a);
    let after = rig.gate().changes();
    assert!(!complete(&mut source, copy).is_good());
    assert_eq!(rig.gate().changes(), after);
}

/// `b` runs a command that reads first and writes then; `a` preempts `b` in between. There is no write
/// in flight to wait for, and there must be none later.
fn reads_and_does_not_write(setup: &Setup, cdb: &[u8], data: &[u8]) {
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(setup);
    b.write_blocks(0, &pattern(1, 8)).good();
    rig.gate().close_for_reads_too();
    let before = rig.gate().changes();
    let command = submit(&mut b, &Command::write(cdb, data));
    serve_until_held(&rig, &mut b);
    a.preempt(kind::WE_RO, A, B).good();
    rig.gate().open();
    complete(&mut b, command).conflict();
    assert_eq!(rig.gate().changes(), before);
    assert_eq!(a.read_blocks(0, 8).good(), pattern(1, 8));
}

fn compare_and_write_does_not_write_after_the_fence(setup: Setup) {
    let data = [pattern(1, 8), pattern(2, 8)].concat();
    reads_and_does_not_write(&setup, &compare_and_write(0, 8), &data);
}

fn orwrite_does_not_write_after_the_fence(setup: Setup) {
    reads_and_does_not_write(&setup, &orwrite16(0, 8), &pattern(2, 8));
}

/// `c` holds the range by a COMPARE AND WRITE that is in flight; a write of `b` waits for it.
fn a_write_behind_a_range_lock_conflicts(setup: Setup) {
    let Scene {
        rig,
        mut a,
        mut b,
        mut c,
    } = Scene::held_by_b(&setup);
    rig.gate().close();
    let data = [vec![0; 8 * BLOCK], pattern(2, 8)].concat();
    let compare = submit(&mut c, &Command::write(&compare_and_write(0, 8), &data));
    serve_until_held(&rig, &mut c);
    let waiting = submit(&mut b, &write_of(0, 8, 3));
    until("the write has arrived", || {
        let counted = rig.in_flight("b");
        counted
            .iter()
            .any(|entry| entry.commands.get(&0x8a) == Some(&1) && entry.awaiting_data == 0)
    });
    rig.settle();
    assert_eq!(rig.gate().held(), 1, "the write waits for the lock");
    a.preempt(kind::WE_RO, A, B).good();
    rig.gate().open();
    complete(&mut c, compare).good();
    complete(&mut b, waiting).conflict();
    assert_eq!(a.read_blocks(0, 8).good(), pattern(2, 8));
    assert_eq!(a.keys(), [A, C]);
}

fn head_of_queue_gets_no_other_way(setup: Setup) {
    let scene = Scene::held_by_b(&setup);
    let command = write_of(0, LONG, 6).attribute(Attribute::HeadOfQueue);
    stops(scene, &command);
}

/// More writes than a connection gets buffers for: some are in flight, the others wait for theirs.
fn writes_short_of_buffers_conflict(setup: Setup) {
    const BLOCKS: u32 = 2048;
    let Scene {
        rig, mut a, mut b, ..
    } = Scene::held_by_b(&setup).with_reticent_b();
    rig.gate().close();
    let data = pattern(1, BLOCKS as usize);
    let writes: Vec<u32> = (0..24)
        .map(|number| {
            let cdb = write16(number * u64::from(BLOCKS), BLOCKS);
            submit(&mut b, &Command::write(&cdb, &data))
        })
        .collect();
    serve_until_held(&rig, &mut b);
    preempt_while_held(&rig, &mut a);
    let after = rig.gate().changes();
    let conflicts = writes
        .into_iter()
        .filter(|write| complete(&mut b, *write).is_conflict())
        .count();
    assert!(conflicts > 0);
    assert_eq!(
        rig.gate().changes(),
        after,
        "nothing reached the medium after GOOD"
    );
}

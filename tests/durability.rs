//! What survives `kill -9`: every block that was acknowledged as durable, the registrations that were
//! asked to persist, volumes and names. What was not promised may be lost, never mixed up.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::initiator::{Command, Initiator};
use support::reserve::{Reservation, action, flag, kind, parameters};
use support::scsi::{BLOCK, pattern, synchronize_cache10, write16, write16_fua};
use support::server::{Server, Setup, Volume};

on_every_file_engine!(
    fua_writes_survive_a_kill,
    flushed_writes_survive_a_kill,
    discards_and_writes_same_survive_a_kill,
    persistent_registrations_survive_a_kill,
    volatile_registrations_do_not_survive,
    the_last_aptpl_governs,
    volumes_and_their_sizes_survive_a_kill,
    reservations_survive_a_clean_stop_with_aptpl,
);

const KEY_A: u64 = 0xa1;
const KEY_B: u64 = 0xb2;
const ROUNDS: u64 = 3;
const WRITERS: u64 = 4;
const BLOCKS_PER_WRITE: usize = 8;
/// Blocks that one writer may fill in one round; far more than it can before the kill.
const SPAN_BLOCKS: u64 = 8192;
/// Durable writes of every writer before the kill.
const ENOUGH: u64 = 24;

fn start(setup: &Setup) -> (Server, Volume) {
    let server = setup.start();
    let volume = server.create("disk", "128MiB");
    (server, volume)
}

/// One write of the test: where it goes and what it writes follow from its numbers.
#[derive(Clone, Copy, Debug)]
struct Place {
    round: u64,
    writer: u64,
    index: u64,
}

impl Place {
    fn lba(self) -> u64 {
        let span = (self.writer * ROUNDS + self.round) * SPAN_BLOCKS;
        span + self.index * BLOCKS_PER_WRITE as u64
    }

    fn data(self) -> Vec<u8> {
        pattern(self.lba() + 1, BLOCKS_PER_WRITE)
    }
}

/// Writes until the server is gone; returns how many were acknowledged as durable.
///
/// `running` is cleared once enough has been written for the kill to come in the middle, and in any
/// case at the end, so that nobody waits for a writer that failed.
fn write_until_killed(
    session: &mut Initiator,
    running: &AtomicBool,
    mut write: impl FnMut(&mut Initiator, u64) -> std::io::Result<u64>,
) -> u64 {
    let mut durable = 0;
    while durable < SPAN_BLOCKS / BLOCKS_PER_WRITE as u64 - 8 {
        match write(session, durable) {
            Ok(count) => durable += count,
            Err(_killed) => break,
        }
        if durable >= ENOUGH {
            running.store(false, Ordering::Release);
        }
    }
    running.store(false, Ordering::Release);
    assert!(durable >= ENOUGH, "the writer failed before the kill");
    durable
}

/// Runs writers, kills the server in their middle, and checks every acknowledged write.
///
/// `write` does the writer's next writes from an index on, and returns how many are now durable.
fn kill_while_writing(
    setup: &Setup,
    write: impl Fn(&mut Initiator, Place) -> std::io::Result<u64> + Sync,
) {
    let (mut server, volume) = start(setup);
    for round in 0..ROUNDS {
        let mut sessions: Vec<_> = (0..WRITERS)
            .map(|w| server.session(&volume, &format!("writer{w}")))
            .collect();
        let running: Vec<_> = (0..WRITERS).map(|_| AtomicBool::new(true)).collect();
        let counts = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for ((writer, session), running) in (0..).zip(&mut sessions).zip(&running) {
                let write = &write;
                threads.push(scope.spawn(move || {
                    write_until_killed(session, running, |session, index| {
                        write(
                            session,
                            Place {
                                round,
                                writer,
                                index,
                            },
                        )
                    })
                }));
            }
            while running.iter().any(|flag| flag.load(Ordering::Acquire)) {
                std::thread::yield_now();
            }
            server.kill_now();
            threads
                .into_iter()
                .map(|t| t.join().expect("a writer"))
                .collect::<Vec<_>>()
        });
        server = server.kill().start();
        let mut reader = server.session(&volume, "reader");
        for (writer, count) in (0..).zip(counts) {
            for index in 0..count {
                let place = Place {
                    round,
                    writer,
                    index,
                };
                let found = reader.read_blocks(place.lba(), BLOCKS_PER_WRITE).good();
                assert!(found == place.data(), "{place:?} of {count} acknowledged");
            }
        }
    }
}

fn fua_writes_survive_a_kill(setup: Setup) {
    kill_while_writing(&setup, |session, place| {
        let cdb = write16_fua(place.lba(), 8);
        session
            .try_run(&Command::write(&cdb, &place.data()))?
            .good();
        Ok(1)
    });
}

fn flushed_writes_survive_a_kill(setup: Setup) {
    kill_while_writing(&setup, |session, first| {
        const BATCH: u64 = 8;
        let mut tags = Vec::new();
        for member in 0..BATCH {
            let place = Place {
                index: first.index + member,
                ..first
            };
            let cdb = write16(place.lba(), 8);
            tags.push(session.submit(&Command::write(&cdb, &place.data()))?);
        }
        for tag in tags {
            session.complete(tag)?.good();
        }
        session
            .try_run(&Command::none(&synchronize_cache10()))?
            .good();
        Ok(BATCH)
    });
}

fn discards_and_writes_same_survive_a_kill(setup: Setup) {
    use support::scsi::{unmap, unmap_list, write_same16};
    let (server, volume) = start(&setup);
    let mut session = server.session(&volume, "a");
    session.write_blocks(0, &pattern(1, 4096)).good();
    session.write(&unmap(24), &unmap_list(1024, 1024)).good();
    let stamp = pattern(7, 1);
    session
        .write(&write_same16(2048, 512, false), &stamp)
        .good();
    session.flush().good();
    let server = server.kill().start();
    let mut session = server.session(&volume, "a");
    let found = session.read_blocks(0, 4096).good();
    let whole = pattern(1, 4096);
    assert!(found[..1024 * BLOCK] == whole[..1024 * BLOCK]);
    assert!(
        found[1024 * BLOCK..2048 * BLOCK]
            .iter()
            .all(|byte| *byte == 0)
    );
    assert!(
        found[2048 * BLOCK..2560 * BLOCK]
            .chunks(BLOCK)
            .all(|block| block == stamp)
    );
    assert!(found[2560 * BLOCK..] == whole[2560 * BLOCK..]);
}

fn register(session: &mut Initiator, key: u64, flags: u8) {
    let list = parameters(0, key, flags);
    session
        .reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
        .good();
}

fn persistent_registrations_survive_a_kill(setup: Setup) {
    let (server, volume) = start(&setup);
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    register(&mut a, KEY_A, flag::APTPL);
    register(&mut b, KEY_B, flag::APTPL);
    a.reserve(kind::WE_RO, KEY_A).good();
    let before = a.read_full_status();
    let server = server.kill().start();

    let mut stranger = server.session(&volume, "stranger");
    assert_eq!(stranger.keys(), [KEY_A, KEY_B]);
    let held = Some(Reservation {
        key: KEY_A,
        kind: kind::WE_RO,
    });
    assert_eq!(stranger.read_reservation(), held);
    assert_eq!(
        stranger.generation(),
        0,
        "zero at power-on, even with APTPL"
    );
    assert_eq!(
        stranger.read_full_status(),
        before,
        "ports and holder are the same"
    );
    assert_eq!(stranger.report_capabilities().0[1] & 1, 1, "PTPL_A");
    stranger.write_blocks(0, &pattern(1, 1)).conflict();
    let mut a = server.session(&volume, "a");
    a.write_blocks(0, &pattern(1, 1)).good();
    a.preempt(kind::WE_RO, KEY_A, KEY_B).good();
    let server = server.kill().start();
    let mut stranger = server.session(&volume, "stranger");
    assert_eq!(stranger.keys(), [KEY_A], "what was fenced stays fenced");
}

fn volatile_registrations_do_not_survive(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut a = server.session(&volume, "a");
    register(&mut a, KEY_A, 0);
    a.reserve(kind::EA, KEY_A).good();
    let server = server.kill().start();
    let mut b = server.session(&volume, "b");
    assert!(b.keys().is_empty());
    assert_eq!(b.read_reservation(), None);
    b.write_blocks(0, &pattern(1, 1)).good();
}

fn the_last_aptpl_governs(setup: Setup) {
    let (server, volume) = start(&setup);
    let (mut a, mut b) = (server.session(&volume, "a"), server.session(&volume, "b"));
    register(&mut a, KEY_A, flag::APTPL);
    register(&mut b, KEY_B, 0);
    assert_eq!(
        a.report_capabilities().0[1] & 1,
        0,
        "PTPL_A follows the last accepted value"
    );
    let server = server.kill().start();
    let mut a = server.session(&volume, "a");
    assert!(a.keys().is_empty());
    let mut b = server.session(&volume, "b");
    register(&mut b, KEY_B, 0);
    register(&mut a, KEY_A, flag::APTPL);
    let server = server.kill().start();
    assert_eq!(
        server.session(&volume, "a").keys(),
        [KEY_A, KEY_B],
        "of the whole logical unit"
    );
}

fn volumes_and_their_sizes_survive_a_kill(setup: Setup) {
    let (server, volume) = start(&setup);
    server.text(&["volume", "resize", "disk", "--size", "256MiB"]);
    let server = server.kill().start();
    let again = server.volume("disk");
    assert_eq!(again.iqn, volume.iqn);
    assert_eq!(again.bytes, 256 << 20);
    assert_eq!(
        server.session(&again, "a").capacity().0 * BLOCK as u64,
        256 << 20
    );
    server.text(&["volume", "delete", "disk"]);
    let server = server.kill().start();
    assert!(
        server
            .volumes()
            .iter()
            .all(|volume| volume["name"] != "disk")
    );
}

fn reservations_survive_a_clean_stop_with_aptpl(setup: Setup) {
    let (server, volume) = start(&setup);
    let mut a = server.session(&volume, "a");
    register(&mut a, KEY_A, flag::APTPL);
    a.reserve(kind::EA, KEY_A).good();
    a.logout();
    let server = server.stop().start();
    server.session(&volume, "b").read_blocks(0, 1).conflict();
    server.session(&volume, "a").read_blocks(0, 1).good();
}

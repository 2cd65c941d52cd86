//! Every store against a naive model: a vector of bytes. Proptest prints the shortest sequence of
//! requests that reproduces a failure.

use super::driver::{Driver, small_ring};
use super::ways::polled_file;
use crate::backend::delay::{DelayStore, Held, Hold, Until};
use crate::backend::lossy::LossyStore;
use crate::backend::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use std::sync::Arc;

const SIZE: usize = 1 << 20;
/// Requests of one batch are in flight together, each in a stripe of its own.
const STRIPES: usize = 8;
const STRIPE: usize = SIZE / STRIPES;

#[derive(Debug, Clone)]
struct Step {
    op: Op,
    /// In grains, cut to the stripe.
    start: usize,
    length: usize,
    fill: u8,
}

fn step(grains: usize) -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        4 => Just(Op::Read),
        4 => any::<bool>().prop_map(|durable| Op::Write { durable }),
        2 => Just(Op::Deallocate),
        2 => any::<bool>().prop_map(|may_deallocate| Op::WriteZeros { may_deallocate }),
        1 => Just(Op::Flush),
        1 => Just(Op::Extents),
    ];
    (op, 0..grains, 1..=grains, 1_u8..).prop_map(|(op, start, length, fill)| Step {
        op,
        start,
        length,
        fill,
    })
}

/// Runs random batches on a fresh store and on the model, and compares every byte.
fn against_model(grain: usize, cases: u32, mut fresh: impl FnMut() -> Driver) {
    let batch = proptest::collection::vec(step(STRIPE / grain), 1..=STRIPES);
    let batches = proptest::collection::vec(batch, 1..12);
    let mut runner = TestRunner::new(Config {
        cases,
        ..Config::default()
    });
    let mut run = |batches: Vec<Vec<Step>>| {
        let mut driver = fresh();
        let mut model = vec![0_u8; SIZE];
        for batch in batches {
            run_batch(&mut driver, &mut model, grain, &batch)?;
        }
        prop_assert_eq!(driver.channel.in_flight(), 0);
        prop_assert!(
            driver.read(0, SIZE as u64).unwrap() == model,
            "the stores differ at the end"
        );
        Ok(())
    };
    // The runner wants a shared closure; the cases run one after the other.
    let run = std::cell::RefCell::new(&mut run);
    runner
        .run(&batches, |batches| (run.borrow_mut())(batches))
        .unwrap();
}

fn run_batch(
    driver: &mut Driver,
    model: &mut [u8],
    grain: usize,
    batch: &[Step],
) -> Result<(), TestCaseError> {
    let ranges = batch.iter().enumerate().map(|(stripe, step)| {
        let start = stripe * STRIPE + step.start * grain;
        start..(start + step.length * grain).min((stripe + 1) * STRIPE)
    });
    let started: Vec<_> = batch
        .iter()
        .zip(ranges)
        .map(|(step, range)| {
            let bytes: Vec<u8> = range
                .clone()
                .map(|at| step.fill ^ (at >> 9).to_le_bytes()[0])
                .collect();
            let token = driver.start(step.op, range.start as u64, range.len() as u64, &bytes);
            (step, range, bytes, token)
        })
        .collect();
    for (step, range, bytes, token) in started {
        let completion = driver.finish(token);
        let done = match completion.result {
            // The caller writes zeros instead.
            Err(error) if error.kind() == ErrorKind::Unsupported => continue,
            result => {
                result.map_err(|error| TestCaseError::fail(format!("{step:?}: {error:?}")))?
            }
        };
        match (step.op, done) {
            (Op::Read, _) => {
                let read = completion.buffer.unwrap();
                prop_assert!(read[..] == model[range], "{:?} read other bytes", step);
            }
            (Op::Write { .. }, _) => model[range].copy_from_slice(&bytes),
            (Op::Deallocate | Op::WriteZeros { .. }, _) => model[range].fill(0),
            (Op::Extents, Done::Extents(extents)) => {
                let mut at = range.start;
                for Extent {
                    offset,
                    length,
                    state,
                } in extents
                {
                    prop_assert_eq!(offset, at as u64, "extents have no gaps");
                    let end = at + usize::try_from(length).unwrap();
                    let zeros = model[at..end].iter().all(|&byte| byte == 0);
                    prop_assert!(zeros || state == ExtentState::Mapped);
                    at = end;
                }
                prop_assert_eq!(at, range.end, "extents cover the range");
            }
            (Op::Flush, Done::Completed) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
    Ok(())
}

fn file_store(directory: &Path, block_bytes: u32, workers: &Arc<Workers>) -> Arc<dyn Store> {
    let path = directory.join("volume.img");
    let _ = std::fs::remove_file(&path);
    let opening = Opening {
        directory,
        size_bytes: SIZE as u64,
        block_bytes,
        intent: Intent::Create,
        read_only: false,
        workers,
        means: Means::default(),
    };
    open(&BackendSpec::File { path }, &opening).unwrap()
}

/// Two reactors, each with shards of its own: every other stripe.
#[test]
fn reactors_with_disjoint_shards_do_not_disturb_each_other() {
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(2).unwrap());
    let stores: [(Arc<dyn Store>, _); 2] = [
        (RamStore::new(SIZE as u64).unwrap(), 40),
        (file_store(directory.path(), 512, &workers), 10),
    ];
    for (store, rounds) in stores {
        let reactors = [0, 1].map(|reactor| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let mut driver = Driver::new(store, if reactor == 0 { small_ring() } else { None });
                for round in 0..rounds {
                    for stripe in (reactor..STRIPES).step_by(2) {
                        let offset = (stripe * STRIPE) as u64;
                        let content = [u8::try_from(round % 255).unwrap() + 1; STRIPE];
                        driver.write(offset, &content).unwrap();
                        driver.run(Op::Deallocate, offset + 512, 8192).unwrap();
                        let read = driver.read(offset, STRIPE as u64).unwrap();
                        let (hole, rest) = (512..8704, [&read[..512], &read[8704..]].concat());
                        assert!(read[hole].iter().all(|&byte| byte == 0));
                        assert!(rest.iter().all(|&byte| byte == content[0]));
                    }
                }
            })
        });
        for reactor in reactors {
            reactor.join().unwrap();
        }
    }
}

#[test]
fn ram_is_a_vector_of_bytes() {
    against_model(512, 128, || {
        Driver::new(RamStore::new(SIZE as u64).unwrap(), None)
    });
}

#[test]
fn ram_needs_no_alignment() {
    against_model(1, 32, || {
        Driver::new(RamStore::new(SIZE as u64).unwrap(), None)
    });
}

#[test]
fn lossy_memory_is_a_vector_of_bytes_while_the_power_stays() {
    against_model(512, 32, || {
        Driver::new(LossyStore::new(SIZE as u64).unwrap(), None)
    });
}

#[test]
fn a_delayed_store_is_a_vector_of_bytes() {
    for what in [Held::Requests, Held::Completions] {
        let hold = Hold {
            what,
            until: Until::Elapsed {
                min_us: 0,
                max_us: 300,
            },
        };
        against_model(512, 16, || {
            Driver::new(
                DelayStore::new(RamStore::new(SIZE as u64).unwrap(), hold, 7),
                None,
            )
        });
    }
}

#[test]
fn a_file_is_a_vector_of_bytes_by_ring() {
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(2).unwrap());
    for block_bytes in [512, 4096] {
        against_model(block_bytes as usize, 12, || {
            Driver::new(
                file_store(directory.path(), block_bytes, &workers),
                small_ring(),
            )
        });
    }
}

#[test]
fn a_file_is_a_vector_of_bytes_by_workers() {
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(2).unwrap());
    for block_bytes in [512, 4096] {
        against_model(block_bytes as usize, 12, || {
            Driver::new(file_store(directory.path(), block_bytes, &workers), None)
        });
    }
}

#[test]
fn a_file_in_the_page_cache_is_a_vector_of_bytes() {
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
    // A block smaller than any medium's rules direct I/O out.
    for ring in [true, false] {
        against_model(64, 12, || {
            let ring = if ring { small_ring() } else { None };
            Driver::new(file_store(directory.path(), 64, &workers), ring)
        });
    }
}

#[test]
fn a_file_in_memory_is_a_vector_of_bytes() {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        eprintln!("skipped: there is no memory file system here");
        return;
    }
    let (directory, workers) = (
        tempfile::tempdir_in(memory).unwrap(),
        Workers::start(1).unwrap(),
    );
    for ring in [true, false] {
        against_model(512, 12, || {
            let ring = if ring { small_ring() } else { None };
            Driver::new(file_store(directory.path(), 512, &workers), ring)
        });
    }
}

#[test]
fn a_file_that_turns_out_not_to_be_polled_is_a_vector_of_bytes() {
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
    for commands in [false, true] {
        against_model(4096, 12, || {
            let store = polled_file(directory.path(), SIZE as u64, &workers, commands);
            Driver::new(store, small_ring())
        });
    }
}

//! Which way requests take: at once, by the ring, polled for or not, by workers; and that it is told.

use super::driver::{Driver, small_ring};
use crate::backend::disk::{Disk, file};
use crate::backend::*;
use std::path::Path;
use std::sync::Arc;

const SIZE: u64 = 4 << 20;

fn opening<'a>(directory: &'a Path, size_bytes: u64, workers: &'a Arc<Workers>) -> Opening<'a> {
    Opening {
        directory,
        size_bytes,
        block_bytes: 4096,
        intent: Intent::Create,
        read_only: false,
        workers,
        means: Means {
            ring: true,
            polling: true,
            nvme_passthrough: true,
            prefault: true,
        },
    }
}

/// A new file that is polled for, although its disk may not know how, and if `commands` is sent NVMe
/// commands, although it knows none.
pub(super) fn polled_file(
    directory: &Path,
    size: u64,
    workers: &Arc<Workers>,
    commands: bool,
) -> Arc<Disk> {
    let path = directory.join("volume.img");
    let _ = std::fs::remove_file(&path);
    let disk = file::open(&path, &opening(directory, size, workers)).unwrap();
    disk.polled(commands)
}

/// A driver of a new file in memory, if there is a place for one.
fn file_in_memory() -> Option<(tempfile::TempDir, Driver, Arc<dyn Store>)> {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        eprintln!("skipped: there is no memory file system here");
        return None;
    }
    let directory = tempfile::tempdir_in(memory).unwrap();
    let workers = Workers::start(1).unwrap();
    let spec = BackendSpec::File {
        path: "volume.img".into(),
    };
    let store = open(&spec, &opening(directory.path(), SIZE, &workers)).unwrap();
    let driver = Driver::new(Arc::clone(&store), small_ring());
    Some((directory, driver, store))
}

#[test]
fn a_file_in_memory_is_served_at_once() {
    let Some((_directory, mut driver, store)) = file_in_memory() else {
        return;
    };
    assert!(store.route().starts_with("tmpfs"), "{}", store.route());
    for (op, bytes) in [
        (Op::Write { durable: false }, vec![7; 64 << 10]),
        (Op::Write { durable: true }, vec![8; 4096]),
        (Op::Read, vec![0; 256 << 10]),
        (Op::Flush, Vec::new()),
    ] {
        let token = driver.start(op, 0, bytes.len() as u64, &bytes);
        assert_eq!(driver.order.last(), Some(&token), "{op:?} is done at once");
    }
    assert_eq!(driver.channel.in_flight(), 0);
    assert_eq!(driver.read(0, 4096).unwrap(), [8; 4096]);
    assert_eq!(driver.read(4096, 4096).unwrap(), [7; 4096]);
}

#[test]
fn a_long_request_to_a_file_in_memory_leaves_others_their_turn() {
    let Some((directory, mut driver, _store)) = file_in_memory() else {
        return;
    };
    let long = driver.start(Op::Write { durable: false }, 0, 1 << 20, &[5; 1 << 20]);
    let short = driver.start(Op::Write { durable: false }, 1 << 20, 4096, &[6; 4096]);
    assert_eq!(driver.order, [short], "the long one is not done yet");
    assert_eq!(driver.channel.in_flight(), 1);
    assert!(
        driver.channel.next_deadline().is_some(),
        "it goes on by itself"
    );
    driver.finish(long).result.unwrap();
    assert_eq!(driver.channel.in_flight(), 0);
    assert!(driver.channel.next_deadline().is_none());
    assert_eq!(driver.read(0, 1 << 20).unwrap(), [5; 1 << 20]);
    // Somebody truncates it behind our back, and nothing but zeros is there.
    let path = directory.path().join("volume.img");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(512 << 10).unwrap();
    let read = driver.read(0, 1 << 20).unwrap();
    assert!(read[..512 << 10].iter().all(|&byte| byte == 5));
    assert!(read[512 << 10..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_disk_that_cannot_be_polled_is_served_by_interrupts() {
    let Some(route) = route_of_busy_file(false) else {
        return;
    };
    // What the machine's disk can do decides which of the two it is.
    let refused = route.contains("by interrupts (the kernel refused to poll");
    assert!(refused || route.contains("polled for (IOPOLL)"), "{route}");
}

#[test]
fn a_disk_that_takes_no_nvme_commands_is_served_without() {
    let Some(route) = route_of_busy_file(true) else {
        return;
    };
    let refused = "not as NVMe commands (one was refused";
    assert!(route.contains(refused), "{route}");
}

/// What a file says of its way after it was polled for, and sent commands, and did what it had to.
fn route_of_busy_file(commands: bool) -> Option<String> {
    let Some(ring) = small_ring() else {
        eprintln!("skipped: there is no io_uring here");
        return None;
    };
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
    let disk = polled_file(directory.path(), SIZE, &workers, commands);
    let before = disk.route();
    assert!(before.contains("polled for"), "{before}");
    assert_eq!(before.contains(", as NVMe commands"), commands, "{before}");
    let store: Arc<dyn Store> = Arc::clone(&disk) as _;
    let mut driver = Driver::new(store, Some(ring));
    let tokens: Vec<u64> = (0..8)
        .map(|number| {
            let durable = number % 2 == 1;
            driver.start(Op::Write { durable }, number * 4096, 4096, &[3; 4096])
        })
        .collect();
    for token in tokens {
        driver.finish(token).result.unwrap();
    }
    assert_eq!(driver.read(0, 8 * 4096).unwrap(), [3; 8 * 4096]);
    driver.run(Op::Flush, 0, 0).unwrap();
    Some(disk.route())
}

#[test]
fn each_store_tells_its_way() {
    let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
    let mut opening = opening(directory.path(), SIZE, &workers);
    let mut route = |spec: &BackendSpec, means: Means| {
        opening.means = means;
        open(spec, &opening).unwrap().route()
    };
    let named = |name: &str| BackendSpec::File { path: name.into() };
    let all = Means {
        ring: true,
        polling: true,
        nvme_passthrough: true,
        prefault: true,
    };
    // How much of it depends on the memory that the machine has left.
    assert!(route(&BackendSpec::Ram {}, all).contains(", prefaulted"));
    let lazy = route(&BackendSpec::Ram {}, Means::default());
    assert!(lazy.ends_with("found as it is first written"), "{lazy}");
    let ring = Means {
        polling: false,
        ..all
    };
    assert!(route(&named("ring"), ring).starts_with("io_uring, "));
    let without = route(&named("workers"), Means::default());
    assert!(
        without.starts_with("worker threads (no io_uring)"),
        "{without}"
    );
    assert!(without.contains("polling takes io_uring"), "{without}");
}

//! Files and devices: what survives, who is kept out, where the edges are.

use super::driver::{Driver, small_ring};
use crate::backend::*;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const SIZE: u64 = 1 << 20;

struct Bench {
    directory: tempfile::TempDir,
    workers: Arc<Workers>,
    spec: BackendSpec,
}

impl Bench {
    fn new() -> Self {
        let spec = BackendSpec::File {
            path: "volume.img".into(),
        };
        let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
        Self {
            directory,
            workers,
            spec,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("volume.img")
    }

    fn open(&self, intent: Intent, size_bytes: u64) -> Result<Arc<dyn Store>, OpenError> {
        self.open_as(intent, size_bytes, false)
    }

    fn open_as(
        &self,
        intent: Intent,
        size_bytes: u64,
        read_only: bool,
    ) -> Result<Arc<dyn Store>, OpenError> {
        let (directory, workers) = (self.directory.path(), &self.workers);
        let opening = Opening {
            directory,
            size_bytes,
            block_bytes: 512,
            intent,
            read_only,
            workers,
            means: Means::default(),
        };
        open(&self.spec, &opening)
    }
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let bench = Bench::new();
    let store = bench.open(Intent::Create, SIZE).unwrap();
    assert!(store.properties().volatile_cache);
    let mut driver = Driver::new(store, small_ring());
    driver.write_as(4096, &[7; 4096], true).unwrap();
    driver.write(SIZE - 512, &[8; 512]).unwrap();
    driver.run(Op::Flush, 0, 0).unwrap();
    drop(driver);
    let mut driver = Driver::new(bench.open(Intent::Existing, SIZE).unwrap(), None);
    assert_eq!(driver.read(4096, 4096).unwrap(), [7; 4096]);
    assert_eq!(driver.read(SIZE - 512, 512).unwrap(), [8; 512]);
    assert_eq!(driver.read(0, 4096).unwrap(), [0; 4096]);
}

#[test]
fn a_store_that_is_only_read_cannot_be_written() {
    let bench = Bench::new();
    let mut driver = Driver::new(bench.open(Intent::Create, SIZE).unwrap(), None);
    driver.write(0, &[7; 4096]).unwrap();
    drop(driver);
    for ring in [small_ring(), None] {
        let store = bench.open_as(Intent::Existing, SIZE, true).unwrap();
        let mut driver = Driver::new(store, ring);
        assert!(driver.write(0, &[8; 4096]).is_err());
        assert_eq!(driver.read(0, 4096).unwrap(), [7; 4096]);
        driver.run(Op::Flush, 0, 0).unwrap();
    }
}

#[test]
fn a_file_serves_one_volume() {
    let bench = Bench::new();
    let first = bench.open(Intent::Create, SIZE).unwrap();
    let second = bench.open(Intent::Existing, SIZE).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    drop(first);
    bench.open(Intent::Existing, SIZE).unwrap();
}

#[test]
fn each_mistake_at_opening_has_its_own_error() {
    let bench = Bench::new();
    let missing = bench.open(Intent::Existing, SIZE).unwrap_err();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    drop(bench.open(Intent::Create, SIZE).unwrap());
    let exists = bench.open(Intent::Create, SIZE).unwrap_err();
    assert!(matches!(exists, OpenError::Exists { .. }), "{exists}");
    let short = bench.open(Intent::Existing, 2 * SIZE).unwrap_err();
    assert!(
        matches!(short, OpenError::TooSmall { found: SIZE, .. }),
        "{short}"
    );
    remove(&bench.spec, bench.directory.path()).unwrap();
    remove(&bench.spec, bench.directory.path()).unwrap();
    std::fs::create_dir(bench.path()).unwrap();
    let directory = bench.open(Intent::Existing, SIZE).unwrap_err();
    assert!(
        matches!(directory, OpenError::WrongType { .. }),
        "{directory}"
    );
}

#[test]
fn a_grown_file_reads_as_zeros_where_it_is_new() {
    for ring in [true, false] {
        let bench = Bench::new();
        let store = bench.open(Intent::Create, SIZE).unwrap();
        store.grow(2 * SIZE).unwrap();
        assert!(store.grow(SIZE).is_err(), "it does not shrink");
        assert_eq!(store.size_bytes(), 2 * SIZE);
        // Somebody truncates it behind our back: reads beyond the end are short.
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(bench.path())
            .unwrap();
        file.set_len(SIZE + 512).unwrap();
        let ring = if ring { small_ring() } else { None };
        let mut driver = Driver::new(store, ring);
        assert_eq!(driver.read(SIZE - 4096, 8192).unwrap(), [0; 8192]);
        assert_eq!(driver.read(2 * SIZE - 512, 512).unwrap(), [0; 512]);
        driver.write(2 * SIZE - 512, &[1; 512]).unwrap();
        assert_eq!(driver.read(2 * SIZE - 512, 512).unwrap(), [1; 512]);
    }
}

#[test]
fn requests_outside_or_off_the_grid_are_refused() {
    let bench = Bench::new();
    let store = bench.open(Intent::Create, SIZE).unwrap();
    let grain = store.properties().logical_block_bytes;
    let mut driver = Driver::new(store, None);
    let refused = driver.read(SIZE - 512, 1024).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfRange);
    for op in [
        Op::Deallocate,
        Op::Extents,
        Op::WriteZeros {
            may_deallocate: true,
        },
    ] {
        assert_eq!(
            driver.run(op, u64::MAX, 2).unwrap_err().kind(),
            ErrorKind::OutOfRange
        );
    }
    let token = driver.submit(Op::Read, 0, 512, None);
    assert_eq!(
        driver.finish(token).result.unwrap_err().kind(),
        ErrorKind::InvalidRequest
    );
    if grain > 1 {
        assert_eq!(
            driver.read(1, 512).unwrap_err().kind(),
            ErrorKind::InvalidRequest
        );
    }
}

#[test]
fn deallocation_gives_space_back_and_extents_show_it() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let mut driver = Driver::new(bench.open(Intent::Create, SIZE).unwrap(), small_ring());
    driver.write_as(0, &[1; 256 << 10], true).unwrap();
    let full = std::fs::metadata(bench.path()).unwrap().blocks();
    driver.run(Op::Deallocate, 64 << 10, 128 << 10).unwrap();
    driver.run(Op::Flush, 0, 0).unwrap();
    assert!(std::fs::metadata(bench.path()).unwrap().blocks() < full);
    use ExtentState::{Deallocated, Mapped};
    let states: Vec<_> = driver
        .extents(0, SIZE)
        .iter()
        .map(|e| (e.offset >> 10, e.length >> 10, e.state))
        .collect();
    let expected = [
        (0, 64, Mapped),
        (64, 128, Deallocated),
        (192, 64, Mapped),
        (256, 768, Deallocated),
    ];
    assert_eq!(states, expected);
}

#[test]
fn want_of_space_is_an_error_of_its_own() {
    use rustix::io::Errno;
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
        assert_eq!(BackendError::from(errno).kind(), ErrorKind::SpaceExhausted);
    }
    assert_eq!(
        BackendError::from(Errno::OPNOTSUPP).kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(BackendError::from(Errno::IO).kind(), ErrorKind::Medium);
}

/// A file system of 256 KiB, where the system lets us have one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=256k", "holdfast-test"])
            .arg(directory.path());
        mount
            .output()
            .ok()?
            .status
            .success()
            .then_some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_thin_file_that_outgrows_its_disk_says_so_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let workers = Workers::start(1).unwrap();
    for (name, ring) in [("ring", small_ring()), ("workers", None)] {
        let directory = disk.0.path();
        let spec = BackendSpec::File { path: name.into() };
        let opening = Opening {
            directory,
            size_bytes: SIZE,
            block_bytes: 512,
            intent: Intent::Create,
            read_only: false,
            workers: &workers,
            means: Means::default(),
        };
        let mut driver = Driver::new(open(&spec, &opening).unwrap(), ring);
        let step = 64 << 10;
        let mut failed = (0..SIZE / step).filter_map(|number| {
            driver
                .write(number * step, &[1; 64 << 10])
                .err()
                .map(|error| (number, error))
        });
        let (number, error) = failed.next().unwrap();
        assert_eq!(error.kind(), ErrorKind::SpaceExhausted);
        drop(failed);
        driver.run(Op::Deallocate, 0, step).unwrap();
        driver.write(number * step, &[2; 32 << 10]).unwrap();
        assert_eq!(driver.read(step, step).unwrap(), [1; 64 << 10]);
        drop(driver);
        remove(&spec, directory).unwrap();
    }
}

/// A loop device over a file, where the system lets us have one.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .ok()?;
        let device = String::from_utf8(made.stdout).ok()?;
        made.status.success().then(|| Self(device.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn a_block_device_keeps_what_is_written_and_serves_one_volume() {
    let mut bench = Bench::new();
    std::fs::File::create(bench.path())
        .unwrap()
        .set_len(SIZE)
        .unwrap();
    let Some(device) = Loop::over(&bench.path()) else {
        eprintln!("skipped: no loop device is to be had here");
        return;
    };
    bench.spec = BackendSpec::Block {
        path: device.0.clone(),
    };
    let short = bench.open(Intent::Existing, 2 * SIZE).unwrap_err();
    assert!(matches!(short, OpenError::TooSmall { .. }), "{short}");
    let store = bench.open(Intent::Existing, SIZE).unwrap();
    let second = bench.open(Intent::Existing, SIZE).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(store.grow(2 * SIZE).is_err(), "the device has not grown");
    let properties = store.properties();
    assert_eq!(
        properties.atomic_write_bytes, properties.physical_block_bytes,
        "a device promises no more, whatever its cache"
    );
    let can_deallocate = properties.can_deallocate;
    let mut driver = Driver::new(store, small_ring());
    driver.write_as(512, &[5; 4096], true).unwrap();
    driver.run(Op::Flush, 0, 0).unwrap();
    assert_eq!(driver.read(512, 4096).unwrap(), [5; 4096]);
    if can_deallocate {
        driver.run(Op::Deallocate, 0, 8192).unwrap();
        assert_eq!(driver.read(0, 8192).unwrap(), [0; 8192]);
    }
    let all = Extent {
        offset: 0,
        length: SIZE,
        state: ExtentState::Mapped,
    };
    assert_eq!(driver.extents(0, SIZE), [all]);
    drop(driver);
    bench.spec = BackendSpec::Block { path: bench.path() };
    let wrong = bench.open(Intent::Existing, SIZE).unwrap_err();
    assert!(matches!(wrong, OpenError::WrongType { .. }), "{wrong}");
}

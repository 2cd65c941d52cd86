//! The polled-disk floor: reads of 4 KiB by io_uring past the page cache, asked for without sleeping.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::cpu;
use super::super::plan::Cores;
use super::super::tally::{Direction, Tally};
use super::super::workload::mix;
use crate::base::buffer::{Buffer, Pool};
use crate::base::clock::Instant;
use crate::ring::{Completion, FileHandle, Op, Owner, Ring, RingConfig, Token};

/// Bytes of each read.
pub const READ_BYTES: u32 = 4096;
const READ_LENGTH: usize = READ_BYTES as usize;
/// Reads in flight at most.
pub const DEPTH_MAX: u32 = 1024;

/// What the disk can do.
#[derive(Debug, Clone)]
pub struct DiskFloor {
    /// Reads in flight.
    pub depth: u32,
    /// Reads per second.
    pub iops: f64,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Reads at random places of `path`, a file or a block device, for `duration`.
///
/// # Errors
/// When io_uring is not permitted, the file can't be read past the page cache, or holds less than
/// 4 KiB.
pub fn measure(
    path: &Path,
    depth: u32,
    duration: Duration,
    cores: &Cores,
) -> io::Result<DiskFloor> {
    if !(1..=DEPTH_MAX).contains(&depth) {
        let text = format!("depth {depth}, where 1 to {DEPTH_MAX} are possible");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            cpu::pin(cores, 0)?;
            Reader::open(path, depth)?.read(duration)
        });
        let gone = |_| Err(io::Error::other("the reading thread ended early"));
        reader.join().unwrap_or_else(gone)
    })
}

struct Reader {
    ring: Ring,
    file: FileHandle,
    buffers: Vec<Buffer>,
    pages: u64,
    depth: u32,
    number: u64,
    /// By buffer in flight, which a token names: when its read was started.
    started: Vec<Instant>,
    free: Vec<usize>,
    tally: Tally,
}

impl Reader {
    fn open(path: &Path, depth: u32) -> io::Result<Self> {
        let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
        let file = File::options()
            .read(true)
            .custom_flags(direct)
            .open(path)
            .map_err(|error| named(path, &error))?;
        let pages = length(&file)? / u64::from(READ_BYTES);
        if pages == 0 {
            return Err(named(path, &io::Error::other("holds less than 4 KiB")));
        }
        let config = RingConfig {
            submissions: depth,
            in_flight: depth,
            provided_buffers: 0,
        };
        let ring = Ring::new(config).map_err(io::Error::other)?;
        let mut pool = Pool::new(depth as usize * READ_LENGTH, 0)?;
        let buffers = (0..depth).map_while(|_| pool.allocate(READ_LENGTH));
        Ok(Self {
            ring,
            file: file.into(),
            buffers: buffers.collect(),
            pages,
            depth,
            number: 0,
            started: vec![Instant::ZERO; depth as usize],
            free: (0..depth as usize).collect(),
            tally: Tally::default(),
        })
    }

    fn read(mut self, duration: Duration) -> io::Result<DiskFloor> {
        let begin = Instant::now();
        let end = begin + duration;
        let mut now = begin;
        loop {
            if now < end {
                self.start(now)?;
            } else if self.free.len() == self.depth as usize {
                break;
            }
            self.ring.enter(None)?;
            now = Instant::now();
            while let Some(completion) = self.ring.completion(Owner::Backend) {
                self.finish(completion, now)?;
            }
        }
        let elapsed = now.since(begin);
        Ok(DiskFloor {
            depth: self.depth,
            iops: super::super::report::per_second(self.tally.read.ios, elapsed),
            latency: self.tally.read.latency,
        })
    }

    fn start(&mut self, now: Instant) -> io::Result<()> {
        while let (Some(slot), Some(buffer)) = (self.free.pop(), self.buffers.pop()) {
            let page = mix(self.number) % self.pages;
            self.number += 1;
            self.started[slot] = now;
            let op = Op::Read {
                file: self.file.clone(),
                offset: page * u64::from(READ_BYTES),
                buffer,
                skip: 0,
            };
            let token = Token::new(Owner::Backend, slot as u64);
            self.ring
                .submit(op, token)
                .map_err(|_| io::Error::other("the ring takes no more reads"))?;
        }
        Ok(())
    }

    fn finish(&mut self, completion: Completion, now: Instant) -> io::Result<()> {
        let bytes = completion.result?;
        if bytes != READ_BYTES {
            return Err(io::Error::other("a read came short"));
        }
        let slot = usize::try_from(completion.token.value).unwrap_or(0);
        if let Op::Read { buffer, .. } = completion.op {
            self.buffers.push(buffer);
            self.free.push(slot);
        }
        let latency = now.nanos().saturating_sub(self.started[slot].nanos());
        self.tally.count(Direction::Read, bytes, latency);
        Ok(())
    }
}

/// Bytes of a file or a block device, whose metadata tell none.
fn length(file: &File) -> io::Result<u64> {
    let mut file = file;
    file.seek(SeekFrom::End(0))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

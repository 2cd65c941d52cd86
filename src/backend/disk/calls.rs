//! The blocking calls, for the workers' threads: one request from beginning to end.

use super::{Disk, Medium};
use crate::backend::request::{
    BackendError, Completion, Done, ErrorKind, Extent, ExtentState, Op, Request, push_extent,
};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fdatasync, seek};
use rustix::io::{Errno, ReadWriteFlags, pread, pwritev2};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

/// Bytes of a file or device. (Moves the descriptor's position, which nothing here relies on.)
pub(super) fn length_bytes(file: impl AsFd) -> rustix::io::Result<u64> {
    seek(file, SeekFrom::End(0))
}

/// Bytes to write where there are to be zeros, aligned as direct I/O may want it.
#[repr(align(4096))]
struct Zeros([u8; 256 << 10]);

static ZEROS: Zeros = Zeros([0; 256 << 10]);

impl Disk {
    /// Carries the request out on this thread.
    pub(in crate::backend) fn perform(&self, mut request: Request) -> Completion {
        let result = self.attempt(&mut request);
        request.answer(result)
    }

    /// Carries a read, write or flush out on this thread from byte `skip` on, at most `most` bytes of
    /// it, and says how many bytes are moved by now.
    pub(super) fn perform_part(
        &self,
        request: &mut Request,
        skip: usize,
        most: usize,
    ) -> Result<usize, BackendError> {
        let offset = request.offset + skip as u64;
        match (request.op, &mut request.buffer) {
            (Op::Flush, _) => self.flush().map(|()| skip),
            (Op::Read, Some(buffer)) => {
                let end = buffer.len().min(skip + most);
                self.read(offset, &mut buffer[skip..end]).map(|()| end)
            }
            (Op::Write { durable }, Some(buffer)) => {
                let end = buffer.len().min(skip + most);
                self.write(offset, &buffer[skip..end], durable)
                    .map(|()| end)
            }
            _ => Err(ErrorKind::InvalidRequest.into()),
        }
    }

    fn attempt(&self, request: &mut Request) -> Result<Done, BackendError> {
        let (offset, length) = (request.offset, request.length);
        match (request.op, &mut request.buffer) {
            (Op::Read, Some(buffer)) => self.read(offset, buffer)?,
            (Op::Write { durable }, Some(buffer)) => self.write(offset, buffer, durable)?,
            (Op::Read | Op::Write { .. }, None) => return Err(ErrorKind::InvalidRequest.into()),
            (Op::Flush, _) => self.flush()?,
            (_, _) if length == 0 => {}
            (Op::Deallocate, _) => self.deallocate(offset, length)?,
            (Op::WriteZeros { may_deallocate }, _) => {
                self.write_zeros(offset, length, may_deallocate)?;
            }
            (Op::Extents, _) => return self.extents(offset, length).map(Done::Extents),
        }
        Ok(Done::Completed)
    }

    fn read(&self, offset: u64, mut bytes: &mut [u8]) -> Result<(), BackendError> {
        let mut offset = offset;
        while !bytes.is_empty() {
            match pread(&self.file, &mut *bytes, offset) {
                // Beyond the end of the file there is nothing but zeros.
                Ok(0) => {
                    bytes.fill(0);
                    return Ok(());
                }
                Ok(count) => {
                    bytes = &mut bytes[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, mut bytes: &[u8], durable: bool) -> Result<(), BackendError> {
        let flags = if durable {
            ReadWriteFlags::DSYNC
        } else {
            ReadWriteFlags::empty()
        };
        let mut offset = offset;
        while !bytes.is_empty() {
            match pwritev2(&self.file, &[IoSlice::new(bytes)], offset, flags) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(self.write_failed(durable, errno.into())),
            }
        }
        Ok(())
    }

    /// The error of a write. A durable one flushes, and the kernel may have told it, and only it,
    /// about earlier writes that were lost; a want of space is its own alone.
    pub(super) fn write_failed(&self, durable: bool, source: io::Error) -> BackendError {
        let error = BackendError::from(source);
        if durable && error.kind() == ErrorKind::Medium {
            self.flush_lost.store(true, Ordering::Release);
        }
        error
    }

    /// Whether flushing is still worth trying; see [`ErrorKind::FlushLost`].
    pub(super) fn check_flush(&self) -> Result<(), BackendError> {
        if self.flush_lost.load(Ordering::Acquire) {
            return Err(ErrorKind::FlushLost.into());
        }
        Ok(())
    }

    /// The error of a flush, which none of the later ones can make good.
    pub(super) fn flush_failed(&self, source: io::Error) -> BackendError {
        tracing::error!(error = %source, "a flush failed: no flush succeeds until the store is reopened");
        self.flush_lost.store(true, Ordering::Release);
        BackendError::flush_lost(source)
    }

    fn flush(&self) -> Result<(), BackendError> {
        self.check_flush()?;
        loop {
            match fdatasync(&self.file) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.flush_failed(errno.into())),
            }
        }
    }

    fn deallocate(&self, offset: u64, length: u64) -> Result<(), BackendError> {
        self.allocation(
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            offset,
            length,
        )
    }

    fn write_zeros(&self, offset: u64, length: u64, deallocate: bool) -> Result<(), BackendError> {
        if deallocate {
            match self.deallocate(offset, length) {
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                result => return result,
            }
        }
        match self.allocation(FallocateFlags::ZERO_RANGE, offset, length) {
            // File systems need not know it: tmpfs does not, nor do all of NFS. This once it is done here.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.lacks_zero_range.store(true, Ordering::Relaxed);
                self.fill(offset, length)
            }
            result => result,
        }
    }

    /// Zeros the plain way.
    fn fill(&self, offset: u64, length: u64) -> Result<(), BackendError> {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let bytes =
                usize::try_from(end - at).map_or(ZEROS.0.len(), |left| left.min(ZEROS.0.len()));
            self.write(at, &ZEROS.0[..bytes], false)?;
            at += bytes as u64;
        }
        Ok(())
    }

    fn allocation(
        &self,
        mode: FallocateFlags,
        offset: u64,
        length: u64,
    ) -> Result<(), BackendError> {
        loop {
            match fallocate(&self.file, mode, offset, length) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Data and holes as the file system tells them apart. What was zeroed without giving the space
    /// back is a hole to it, which is true of the bytes if not of the space.
    fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>, BackendError> {
        if self.medium == Medium::BlockDevice {
            return Ok(vec![Extent {
                offset,
                length,
                state: ExtentState::Mapped,
            }]);
        }
        let end = offset + length;
        let mut extents = Vec::new();
        let mut at = offset;
        while at < end {
            let data = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data.min(end),
                Err(Errno::NXIO) => end,
                Err(errno) => return Err(errno.into()),
            };
            let hole = match data {
                data if data == end => end,
                data => seek(&self.file, SeekFrom::Hole(data))?.min(end),
            };
            let parts = [
                (at, data, ExtentState::Deallocated),
                (data, hole, ExtentState::Mapped),
            ];
            for (start, stop, state) in parts.into_iter().filter(|(start, stop, _)| start < stop) {
                if !push_extent(
                    &mut extents,
                    Extent {
                        offset: start,
                        length: stop - start,
                        state,
                    },
                ) {
                    return Ok(extents);
                }
            }
            at = hole;
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Intent, Means, Opening, Store as _, Workers, disk::file};

    /// On a file system that can't zero a range by itself, where there is one, and on the usual one.
    #[test]
    fn zeros_are_written_where_they_can_t_be_had_otherwise() {
        let memory = std::path::Path::new("/dev/shm");
        let places = [std::env::temp_dir().as_path(), memory].map(|place| {
            let place = if place.is_dir() {
                place
            } else {
                std::path::Path::new(".")
            };
            tempfile::tempdir_in(place).unwrap()
        });
        // Aligned, for direct I/O.
        let mut pool = crate::base::buffer::Pool::new(4 << 20, 0).unwrap();
        let mut bytes = pool.allocate(1 << 20).unwrap();
        for place in &places {
            let disk = small_disk(place.path(), 1 << 20);
            assert!(disk.properties().can_write_zeros, "{place:?}, before");
            for by_hand in [false, true] {
                bytes.fill(7);
                disk.write(0, &bytes, false).unwrap();
                let (offset, length) = (512_u64, (600 << 10) + 512);
                if by_hand {
                    disk.fill(offset, length).unwrap();
                } else {
                    disk.write_zeros(offset, length, false).unwrap();
                }
                let mut expected = vec![7; 1 << 20];
                expected[512..1024 + (600 << 10)].fill(0);
                disk.read(0, &mut bytes).unwrap();
                assert!(bytes[..] == expected[..], "{place:?}, by hand: {by_hand}");
            }
            let asked = disk.allocation(FallocateFlags::ZERO_RANGE, 0, 512);
            let has = !matches!(&asked, Err(error) if error.kind() == ErrorKind::Unsupported);
            assert_eq!(disk.properties().can_write_zeros, has, "{place:?}");
        }
    }

    fn small_disk(directory: &std::path::Path, size_bytes: u64) -> std::sync::Arc<Disk> {
        let workers = Workers::start(1).unwrap();
        let opening = Opening {
            directory,
            size_bytes,
            block_bytes: 512,
            intent: Intent::Create,
            read_only: false,
            workers: &workers,
            means: Means::default(),
        };
        file::open(&directory.join("volume.img"), &opening).unwrap()
    }

    #[test]
    fn after_a_failed_flush_none_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let disk = small_disk(directory.path(), 4096);
        assert!(disk.flush().is_ok());
        let exhausted = disk.write_failed(true, Errno::NOSPC.into());
        assert_eq!(exhausted.kind(), ErrorKind::SpaceExhausted);
        assert!(
            disk.flush().is_ok(),
            "a want of space loses nothing that was accepted"
        );
        assert_eq!(
            disk.flush_failed(Errno::IO.into()).kind(),
            ErrorKind::FlushLost
        );
        assert_eq!(disk.flush().unwrap_err().kind(), ErrorKind::FlushLost);
    }
}

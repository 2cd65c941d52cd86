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
        self.allocation(FallocateFlags::ZERO_RANGE, offset, length)
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
    use crate::backend::{Intent, Means, Opening, Workers, disk::file};

    #[test]
    fn after_a_failed_flush_none_succeeds() {
        let (directory, workers) = (tempfile::tempdir().unwrap(), Workers::start(1).unwrap());
        let opening = Opening {
            directory: directory.path(),
            size_bytes: 4096,
            block_bytes: 512,
            intent: Intent::Create,
            read_only: false,
            workers: &workers,
            means: Means::default(),
        };
        let disk = file::open(&directory.path().join("volume.img"), &opening).unwrap();
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

//! What a ring can be asked to do. An operation owns everything the kernel will touch.

use crate::base::buffer::Buffer;
use crate::base::gather::Gather;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// An open file or socket, shared by whoever uses it: it closes with its last handle, so an
/// operation in flight keeps its file open and no descriptor is reused under it.
#[derive(Debug, Clone)]
pub struct FileHandle(Arc<OwnedFd>);

impl FileHandle {
    /// The file alone, if this is its last handle.
    ///
    /// # Errors
    /// The handle itself, when there are others.
    pub fn into_owned(self) -> Result<OwnedFd, Self> {
        Arc::try_unwrap(self.0).map_err(Self)
    }

    /// Whether there is no other handle: no operation in flight has the file.
    #[must_use]
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<F: Into<OwnedFd>> From<F> for FileHandle {
    fn from(file: F) -> Self {
        Self(Arc::new(file.into()))
    }
}

impl AsFd for FileHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whose operation it is. Each owner fetches its own completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The loop: its doorbell.
    Reactor,
    /// Sockets.
    Net,
    /// Volumes.
    Backend,
}

impl Owner {
    pub(super) const COUNT: usize = 3;

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Comes back with the completion: the owner, and a word of the owner's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Who asked.
    pub owner: Owner,
    /// What the owner knows the operation by.
    pub value: u64,
}

impl Token {
    /// A token of `owner`.
    #[must_use]
    pub const fn new(owner: Owner, value: u64) -> Self {
        Self { owner, value }
    }
}

/// One operation. `result` below is that of its [`Completion`](super::Completion).
#[derive(Debug)]
pub enum Op {
    /// Receives once: `result` bytes, zero at the end of the stream.
    Receive {
        /// The socket.
        socket: FileHandle,
        /// Where the bytes go, up to its length. `None` takes one of the buffers given to
        /// [`Ring::provide`](super::Ring::provide) when bytes are there, so that a socket at rest
        /// holds no buffer; the completion carries it, cut to `result` bytes. With none left the
        /// result is `ENOBUFS`.
        buffer: Option<Buffer>,
        /// Waits for readiness without trying first: saves a futile attempt when the socket is
        /// likely empty.
        poll_first: bool,
    },
    /// Sends what follows the first `skip` bytes; `result` bytes were taken, possibly fewer.
    Send {
        /// The socket.
        socket: FileHandle,
        /// The bytes.
        gather: Gather,
        /// Bytes of it that were sent before.
        skip: usize,
    },
    /// Accepts one connection, close-on-exec. The listener and the connection must be blocking: the
    /// kernel fails operations on non-blocking files with `EAGAIN` instead of waiting.
    Accept {
        /// The listening socket.
        listener: FileHandle,
        /// The connection, in a successful completion.
        accepted: Option<OwnedFd>,
    },
    /// Reads into the buffer from `skip` to its end; `result` bytes, zero at the end of the file.
    Read {
        /// The file.
        file: FileHandle,
        /// Where in the file byte 0 of the buffer belongs (so the read starts at `offset + skip`).
        offset: u64,
        /// Where the bytes go.
        buffer: Buffer,
        /// Bytes of the buffer that are there already, after a short read.
        skip: usize,
    },
    /// Writes the buffer from `skip` to its end; `result` bytes were written.
    Write {
        /// The file.
        file: FileHandle,
        /// Where in the file byte 0 of the buffer belongs (so the write starts at `offset + skip`).
        offset: u64,
        /// The bytes.
        buffer: Buffer,
        /// Bytes of the buffer that were written before.
        skip: usize,
        /// Completes only when the bytes are durable (`RWF_DSYNC`).
        dsync: bool,
    },
    /// Makes everything written before durable.
    Fsync {
        /// The file.
        file: FileHandle,
        /// Leaves out metadata that reading the data back does not need (`fdatasync`).
        data_only: bool,
    },
    /// `fallocate(2)`.
    Fallocate {
        /// The file.
        file: FileHandle,
        /// `FALLOC_FL_*`.
        mode: i32,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Completes once when the file can be read from; `result` is the `POLL*` mask.
    PollIn {
        /// The file: a doorbell, another ring.
        file: FileHandle,
    },
}

//! Requests, their completions, and what can go wrong with them.

use crate::base::buffer::Buffer;
use crate::base::limits::EXTENTS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Fills the buffer from the range.
    Read,
    /// Writes the buffer to the range.
    Write {
        /// Completes only when the bytes survive a power cut.
        durable: bool,
    },
    /// Makes every write that completed before durable. The range is ignored: all of the store.
    Flush,
    /// Gives the range's space back. Reads of it are zeros afterwards if
    /// [`Properties::zeros_after_deallocate`](super::Properties) says so.
    Deallocate,
    /// Makes the range read as zeros.
    WriteZeros {
        /// The range's space may be given back on the way. Otherwise it stays allocated.
        may_deallocate: bool,
    },
    /// Reports which parts of the range are allocated; see [`Done::Extents`].
    Extents,
}

/// The kinds of [`Op`], without their flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// [`Op::Read`].
    Read,
    /// [`Op::Write`].
    Write,
    /// [`Op::Flush`].
    Flush,
    /// [`Op::Deallocate`].
    Deallocate,
    /// [`Op::WriteZeros`].
    WriteZeros,
    /// [`Op::Extents`].
    Extents,
}

impl Op {
    /// Which operation it is.
    #[must_use]
    pub const fn kind(self) -> OpKind {
        match self {
            Self::Read => OpKind::Read,
            Self::Write { .. } => OpKind::Write,
            Self::Flush => OpKind::Flush,
            Self::Deallocate => OpKind::Deallocate,
            Self::WriteZeros { .. } => OpKind::WriteZeros,
            Self::Extents => OpKind::Extents,
        }
    }

    /// Whether what is read of the store can differ afterwards.
    #[must_use]
    pub const fn changes_medium(self) -> bool {
        match self {
            Self::Read | Self::Flush | Self::Extents => false,
            Self::Write { .. } | Self::Deallocate | Self::WriteZeros { .. } => true,
        }
    }
}

/// One operation on one byte range.
#[derive(Debug)]
pub struct Request {
    /// Comes back with the completion. No two requests in flight on a channel have the same.
    pub token: u64,
    /// What to do.
    pub op: Op,
    /// First byte of the range.
    pub offset: u64,
    /// Bytes of the range.
    pub length: u64,
    /// Of a read or write: as long as the range. A store of which
    /// [`Properties::always_zero`](super::Properties) is true reads without one.
    pub buffer: Option<Buffer>,
}

impl Request {
    /// Refuses what leaves the store, is not aligned, or brings the wrong buffer.
    pub(super) fn check(&self, size_bytes: u64, alignment_bytes: u32) -> Result<(), BackendError> {
        if self.op != Op::Flush {
            check_range(self.offset, self.length, size_bytes)?;
        }
        if !matches!(self.op, Op::Read | Op::Write { .. }) {
            return Ok(());
        }
        let alignment = u64::from(alignment_bytes);
        let aligned =
            self.offset.is_multiple_of(alignment) && self.length.is_multiple_of(alignment);
        let buffered = self
            .buffer
            .as_ref()
            .is_some_and(|buffer| buffer.len() as u64 == self.length);
        if aligned && buffered {
            Ok(())
        } else {
            Err(ErrorKind::InvalidRequest.into())
        }
    }

    /// The answer to this request.
    pub(super) fn answer(self, result: Result<Done, BackendError>) -> Completion {
        Completion {
            token: self.token,
            buffer: self.buffer,
            result,
        }
    }
}

/// Refuses what leaves a store of that many bytes.
#[inline]
pub(super) fn check_range(offset: u64, length: u64, size_bytes: u64) -> Result<(), BackendError> {
    match offset.checked_add(length) {
        Some(end) if end <= size_bytes => Ok(()),
        _ => Err(ErrorKind::OutOfRange.into()),
    }
}

/// A request's end. Every request has exactly one.
#[derive(Debug)]
pub struct Completion {
    /// The request's.
    pub token: u64,
    /// The request's, back again.
    pub buffer: Option<Buffer>,
    /// How it went. After an error, a range to be written holds old bytes, new ones or a mixture.
    pub result: Result<Done, BackendError>,
}

/// What a successful request yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// All that was asked; a read's bytes are in its buffer.
    Completed,
    /// A read without a buffer: every byte is zero (see [`zeros`](super::zeros)).
    Zeros,
    /// The extents of the range, in order and without gaps, merged where the state is the same; at
    /// most [`EXTENTS_MAX`], so they may end before the range.
    Extents(Vec<Extent>),
}

/// Part of a store of which all bytes are in the same state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The state of all of them.
    pub state: ExtentState,
}

/// Whether space is behind an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentState {
    /// It has been written.
    Mapped,
    /// It reads as zeros. (A file system may hold space for it all the same.)
    Deallocated,
}

/// Appends an extent, merged with the last one where the state is the same. False when the list is
/// full.
pub(super) fn push_extent(extents: &mut Vec<Extent>, extent: Extent) -> bool {
    let full = extents.len() == EXTENTS_MAX;
    match extents.last_mut() {
        Some(last) if last.state == extent.state => last.length += extent.length,
        _ if full => return false,
        _ => extents.push(extent),
    }
    true
}

/// What became of a submission.
#[derive(Debug)]
#[must_use]
pub enum Submitted {
    /// It is done already.
    Done(Completion),
    /// Its completion will come out of [`Channel::poll`](super::Channel::poll) or
    /// [`Channel::completed`](super::Channel::completed).
    Pending,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct BackendError {
    kind: ErrorKind,
    source: Option<io::Error>,
}

/// What a caller can tell apart.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The range ends beyond the store.
    #[error("the range ends beyond the store")]
    OutOfRange,
    /// The range is not aligned, or the buffer does not fit it: the caller's mistake.
    #[error("the request is malformed")]
    InvalidRequest,
    /// Nothing is left to allocate the range from: a thin store has outgrown what is behind it.
    #[error("no space is left behind the store")]
    SpaceExhausted,
    /// The store cannot do this at all; the caller finds another way (writes zeros, say).
    #[error("the store does not support the operation")]
    Unsupported,
    /// A flush failed, now or before. The kernel forgets what it could not write, so a later flush
    /// that succeeds proves nothing: every flush fails until the store is opened anew.
    #[error("a flush failed: writes since the last good one may be lost")]
    FlushLost,
    /// Reading or writing failed.
    #[error("the medium failed")]
    Medium,
}

impl BackendError {
    /// What a caller can tell apart.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(super) const fn flush_lost(source: io::Error) -> Self {
        Self {
            kind: ErrorKind::FlushLost,
            source: Some(source),
        }
    }
}

impl From<ErrorKind> for BackendError {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<io::Error> for BackendError {
    fn from(source: io::Error) -> Self {
        use io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::SpaceExhausted,
            Io::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Medium,
        };
        Self {
            kind,
            source: Some(source),
        }
    }
}

impl From<rustix::io::Errno> for BackendError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

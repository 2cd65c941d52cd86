//! Plain non-blocking system calls on sockets.

use crate::base::buffer::Buffer;
use crate::base::gather::{Gather, Lender};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

/// Slices that one `sendmsg` takes (`UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;
const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Receives what is there, up to the buffer's length; the buffer is cut to it. `None` if nothing is
/// there yet; zero at the end of the stream, and then the buffer is left as it was.
pub(super) fn receive(socket: impl AsFd, buffer: &mut Buffer) -> io::Result<Option<usize>> {
    loop {
        match recv(&socket, &mut **buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Ok(Some(0)),
            Ok((_, bytes)) => {
                buffer.set_len(bytes);
                return Ok(Some(bytes));
            }
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends gather lists, and keeps the room for their slices between calls.
#[derive(Debug, Default)]
pub(super) struct Sender {
    slices: Vec<IoSlice<'static>>,
}

impl Sender {
    /// Sends once what follows the first `skip` bytes. `None` if the socket takes nothing now.
    pub(super) fn send(
        &mut self,
        socket: impl AsFd,
        gather: &Gather,
        skip: usize,
        lender: &dyn Lender,
    ) -> io::Result<Option<usize>> {
        if let Some(rest) = gather.as_single().and_then(|all| all.get(skip..)) {
            // The kernel has no list to copy in and check.
            return until_done(|| send(&socket, rest, FLAGS));
        }
        let mut slices: Vec<IoSlice<'_>> = std::mem::take(&mut self.slices);
        gather.slices(skip, lender, &mut slices);
        let count = slices.len().min(SLICES_MAX);
        let slice = &slices[..count];
        let sent =
            until_done(|| sendmsg(&socket, slice, &mut SendAncillaryBuffer::default(), FLAGS));
        slices.clear();
        // Collecting in place keeps the allocation; only the lifetime changes.
        self.slices = slices.into_iter().map(|_| IoSlice::new(&[])).collect();
        sent
    }
}

/// Repeats a system call that a signal has interrupted. `None` if the socket takes nothing now.
#[inline]
fn until_done(mut call: impl FnMut() -> Result<usize, Errno>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

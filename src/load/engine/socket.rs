//! One TCP connection, never waited for once it is open.

use std::io::{self, IoSlice};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::SockRef;

use crate::base::tcp::set_congestion_control;
use crate::load::initiator::outbox::{Outbox, SLICES_MAX};
use crate::load::plan::SocketOptions;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Socket {
    /// Connects to `HOST:PORT`, to the first of its addresses that takes it.
    ///
    /// # Errors
    /// When the name is unknown, or no address takes the connection.
    pub(crate) fn connect(portal: &str, options: &SocketOptions) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in portal.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Self::adopt(stream, options),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Takes a connection over.
    ///
    /// # Errors
    /// When an option can't be set.
    pub(crate) fn adopt(stream: TcpStream, options: &SocketOptions) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let socket = SockRef::from(&stream);
        if let Some(bytes) = options.buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(name) = &options.congestion_control {
            set_congestion_control(&socket, name)?;
        }
        Ok(Self(stream))
    }

    /// Receives what is there. `None` if nothing is there yet, zero at the end of the stream.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, bytes)) => return Ok(Some(bytes)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends once of what is in `outbox`, as much as goes. `false` if the socket takes nothing now.
    pub(crate) fn send(&self, outbox: &mut Outbox) -> io::Result<bool> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbox.slices(&mut slices);
        let sent = loop {
            let sent = match &slices[..count] {
                [] => return Ok(false),
                [one] => send(&self.0, one, flags),
                several => sendmsg(&self.0, several, &mut SendAncillaryBuffer::default(), flags),
            };
            match sent {
                Ok(bytes) => break bytes,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        outbox.advance(sent);
        Ok(true)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

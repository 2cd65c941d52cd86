//! What both engines do with listeners: prepare them, and hold back after errors.

use super::{NetEvent, SocketOptions};
use crate::base::clock::Instant;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Listeners of one reactor.
pub(super) const LISTENERS_MAX: u32 = 256;
/// How long a listener rests after an error that trying again at once would only repeat.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A listener's name and whether it rests.
#[derive(Debug)]
pub(super) struct Listener<L> {
    pub(super) portal: u32,
    pub(super) socket: L,
    /// Accepts nothing until then.
    pub(super) resting_until: Option<Instant>,
    /// An error was logged and no connection has come since.
    troubled: bool,
}

impl<L> Listener<L> {
    pub(super) const fn new(portal: u32, socket: L) -> Self {
        Self {
            portal,
            socket,
            resting_until: None,
            troubled: false,
        }
    }

    /// Whether the rest is over, if there was one; it is then.
    pub(super) fn wakes(&mut self, now: Instant) -> bool {
        self.resting_until.take_if(|until| *until <= now).is_some()
    }

    /// The event of a new connection, unless its peer is gone already.
    pub(super) fn accepted(
        &mut self,
        stream: TcpStream,
        peer: Option<SocketAddr>,
        options: &SocketOptions,
    ) -> Option<NetEvent> {
        self.troubled = false;
        let prepared = peer
            .map_or_else(|| stream.peer_addr(), Ok)
            .and_then(|peer| {
                options.apply(&stream)?;
                Ok(peer)
            });
        match prepared {
            Ok(peer) => Some(NetEvent::Accepted {
                portal: self.portal,
                stream,
                peer,
            }),
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
                None
            }
        }
    }

    /// Takes an error of accepting in. Returns whether to go on at once: the error was of one
    /// connection (accept(2) passes on its network errors). Otherwise, as when descriptors run out,
    /// the listener rests.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant) -> bool {
        if is_of_the_connection(error) {
            return true;
        }
        if !self.troubled {
            self.troubled = true;
            tracing::warn!(portal = self.portal, %error, "cannot accept connections for now");
        }
        self.resting_until = Some(now + BACK_OFF);
        false
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EPERM
        )
    )
}

/// Sets what connections inherit, and whether accepting blocks.
pub(super) fn prepare(
    listener: &TcpListener,
    options: &SocketOptions,
    nonblocking: bool,
) -> io::Result<()> {
    options.apply_to_listener(listener)?;
    listener.set_nonblocking(nonblocking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_rests_when_descriptors_run_out_and_not_for_a_lost_connection() {
        let mut listener = Listener::new(0, ());
        let now = Instant::ZERO;
        assert!(listener.failed(&io::Error::from_raw_os_error(libc::ECONNABORTED), now));
        assert_eq!(listener.resting_until, None);
        assert!(!listener.failed(&io::Error::from_raw_os_error(libc::EMFILE), now));
        assert!(!listener.wakes(now));
        assert!(listener.wakes(now + BACK_OFF));
        assert!(!listener.wakes(now + BACK_OFF), "once");
    }
}

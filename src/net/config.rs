//! Knobs of the sockets.

use super::Engine;
use crate::base::limits::CONNECTIONS_MAX;
use crate::base::tcp::set_congestion_control;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

/// What a [`Net`](super::Net) is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConfig {
    /// What moves the bytes.
    pub engine: Engine,
    /// Sockets at most.
    pub sockets_max: u32,
    /// Memory for receive buffers, in bytes.
    pub receive_bytes: usize,
    /// That many sockets io_uring leaves aside while the reactor polls: each is received from and
    /// sent to directly, which has the lowest latency, at the price of a system call per socket and
    /// tick. If there are more sockets, it is those that speak; a silent one makes way. Zero: never.
    pub direct_sockets_max: u32,
    /// Options of accepted connections.
    pub options: SocketOptions,
}

impl NetConfig {
    /// The defaults for an engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            sockets_max: CONNECTIONS_MAX,
            receive_bytes: 16 << 20,
            direct_sockets_max: 0,
            options: SocketOptions::default(),
        }
    }
}

/// Options of a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// Sends at once what is sent (`TCP_NODELAY`).
    pub nodelay: bool,
    /// How long a peer is silent before the kernel asks whether it is there, and how long between
    /// questions; three unanswered end the connection. `None`: it never asks.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged before the connection ends
    /// (`TCP_USER_TIMEOUT`). `None`: the kernel's default.
    pub unacknowledged_max: Option<Duration>,
    /// `SO_SNDBUF` in bytes; `None` lets the kernel tune it.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF` in bytes; `None` lets the kernel tune it.
    pub receive_buffer_bytes: Option<usize>,
    /// `TCP_CONGESTION`; `None` leaves it to the kernel.
    pub congestion_control: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_secs(30)),
            unacknowledged_max: Some(Duration::from_secs(90)),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            congestion_control: None,
        }
    }
}

/// Questions that may stay unanswered before the connection ends.
const KEEPALIVE_PROBES: u32 = 3;

impl SocketOptions {
    /// Sets the options of a connection.
    ///
    /// # Errors
    /// When the kernel refuses one, as it does when the peer is gone already.
    pub fn apply(&self, stream: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(interval) = self.keepalive {
            let keepalive = TcpKeepalive::new()
                .with_time(interval)
                .with_interval(interval)
                .with_retries(KEEPALIVE_PROBES);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        socket.set_tcp_user_timeout(self.unacknowledged_max)?;
        self.apply_buffers(&socket)
    }

    /// Sets what the connections of a listener inherit. The window scale is settled by the handshake
    /// (RFC 7323 section 2.2), so later would be too late for the buffers; and a congestion control
    /// that the kernel does not know is found out before anyone has connected.
    pub(super) fn apply_to_listener(&self, listener: &TcpListener) -> io::Result<()> {
        let socket = SockRef::from(listener);
        if let Some(name) = &self.congestion_control {
            set_congestion_control(&socket, name)?;
        }
        self.apply_buffers(&socket)
    }

    fn apply_buffers(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }
}

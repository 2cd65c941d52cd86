//! The options of `holdfast bench` and `holdfast bench floor` that say how sockets are set.

use super::values::Size;
use crate::load::plan::SocketOptions;
use clap::Args;

/// What each connection's socket is like.
#[derive(Debug, Args)]
pub(super) struct SocketArguments {
    /// SO_SNDBUF and SO_RCVBUF of each connection [default: the kernel's]
    #[arg(long, value_name = "SIZE")]
    socket_buffer: Option<Size>,
    /// Congestion control of each connection, such as cubic [default: the kernel's]
    #[arg(long, value_name = "NAME")]
    congestion_control: Option<String>,
}

impl SocketArguments {
    pub(super) fn options(&self) -> SocketOptions {
        SocketOptions {
            buffer_bytes: self.socket_buffer.map(|size| {
                // More than the address space is more than any kernel grants.
                usize::try_from(size.0).unwrap_or(usize::MAX)
            }),
            congestion_control: self.congestion_control.clone(),
        }
    }
}

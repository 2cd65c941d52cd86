//! Options of TCP sockets that a target and an initiator set alike.

use socket2::SockRef;
use std::io;

/// Sets the congestion control, as net.ipv4.tcp_available_congestion_control names it.
///
/// # Errors
/// What the kernel says of a name that it does not have, or that this process may not use, with the name.
pub fn set_congestion_control(socket: &SockRef<'_>, name: &str) -> io::Result<()> {
    socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
        let text = format!(
            "congestion control {name:?} is refused ({error}); \
             net.ipv4.tcp_available_congestion_control lists what there is"
        );
        io::Error::new(error.kind(), text)
    })
}

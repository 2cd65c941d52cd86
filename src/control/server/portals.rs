//! Opens the portals' sockets, all or none.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::control::catalogue::WantedPortal;
use crate::control::config::PortalConfig;
use crate::control::plane::PortalSocket;
use crate::target::Redirect;

/// Connections that wait to be accepted: a whole cluster may log in at once.
const BACKLOG: i32 = 1024;

/// A portal that can't be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}{}", hint(source, address))]
pub struct PortalError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// The operating system's refusal.
    pub source: io::Error,
}

fn hint(error: &io::Error, address: &SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "\n  hint: another program listens there (`ss -ltnp 'sport = :{port}'` names it); \
             stop it, or choose another port with --listen {ip}:PORT",
            port = address.port(),
            ip = bracketed(address),
        ),
        io::ErrorKind::AddrNotAvailable => {
            "\n  hint: this machine has no such address (`ip addr` lists them)".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "\n  hint: ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => String::new(),
    }
}

fn bracketed(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// Listens on every portal; returns where, with the ports that the system chose.
pub(super) fn bind(
    portals: &[PortalConfig],
) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), PortalError> {
    let bound = portals.iter().map(|portal| bind_one(portal.listen.0));
    let bound: Result<Vec<_>, _> = bound.collect();
    Ok(bound?.into_iter().unzip())
}

/// Listens at one address.
pub(super) fn bind_one(address: SocketAddr) -> Result<(TcpListener, SocketAddr), PortalError> {
    let failed = |source| PortalError { address, source };
    let listener = listen(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// What the catalogue has to know of the portals to give them their tags.
pub(super) fn wanted(portals: &[PortalConfig]) -> Vec<WantedPortal> {
    let wanted = portals.iter().map(|portal| WantedPortal {
        listen: portal.listen.0,
        tag: portal.tag,
    });
    wanted.collect()
}

/// The portals as the data path is to open them.
pub(super) fn sockets(
    portals: &[PortalConfig],
    listeners: Vec<TcpListener>,
    tags: Vec<u16>,
) -> Vec<PortalSocket> {
    let bound = portals.iter().zip(listeners).zip(tags);
    let sockets = bound.map(|((portal, listener), tag)| PortalSocket {
        listener,
        tag,
        advertise: portal.advertise.as_ref().map(ToString::to_string),
        redirect: portal.redirect.as_ref().map(|address| Redirect {
            address: address.to_string(),
            permanent: portal.redirect_permanent,
        }),
    });
    sockets.collect()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can be two portals.
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the last run's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

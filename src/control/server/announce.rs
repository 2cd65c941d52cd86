//! What a server prints when it is ready: where it listens, and lines to paste.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytesize::ByteSize;

use crate::control::api::{VolumeState, VolumeView};
use crate::control::config::{Config, PortalConfig};

/// Volumes that are shown with lines to paste; `holdfast volume list` shows all.
const VOLUMES_SHOWN_MAX: usize = 4;

/// `ADDR:PORT` of each portal as an initiator is to use it.
pub(in crate::control) fn reachable(portals: &[PortalConfig], bound: &[SocketAddr]) -> Vec<String> {
    portals
        .iter()
        .zip(bound)
        .map(|(portal, bound)| match &portal.advertise {
            Some(advertise) => advertise.to_string(),
            None => specified(*bound).to_string(),
        })
        .collect()
}

/// An address to connect to; one that means "all" becomes loopback.
fn specified(mut bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => bound.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => bound.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    bound
}

/// Everything there is to say. The lines `listening on ADDR:PORT` come last: a script that has
/// read them all knows that all is ready.
pub(super) fn text(
    config: &Config,
    bound: &[SocketAddr],
    volumes: &[VolumeView],
    metrics: Option<SocketAddr>,
) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut text, config, bound, volumes, metrics);
    text
}

fn write_all(
    text: &mut String,
    config: &Config,
    bound: &[SocketAddr],
    volumes: &[VolumeView],
    metrics: Option<SocketAddr>,
) -> std::fmt::Result {
    let portal = reachable(&config.portals, bound)
        .into_iter()
        .next()
        .unwrap_or_default();
    let online = || {
        volumes
            .iter()
            .filter(|volume| volume.state == VolumeState::Online)
    };
    for volume in online().take(VOLUMES_SHOWN_MAX) {
        let VolumeView {
            name,
            iqn,
            size_bytes,
            ..
        } = volume;
        writeln!(text, "volume {name} ({}): {iqn}", ByteSize::b(*size_bytes))?;
        writeln!(text, "  iscsiadm -m node -T {iqn} -p {portal} -o new")?;
        writeln!(text, "  iscsiadm -m node -T {iqn} -p {portal} --login")?;
        writeln!(text, "  qemu-img info iscsi://{portal}/{iqn}/0")?;
        writeln!(text, "  iscsi-inq iscsi://{portal}/{iqn}/0")?;
    }
    let shown = online().count().min(VOLUMES_SHOWN_MAX);
    if shown < volumes.len() {
        writeln!(
            text,
            "and {} more: holdfast volume list",
            volumes.len() - shown
        )?;
    }
    writeln!(text, "control socket {}", config.control_socket().display())?;
    if let Some(metrics) = metrics {
        writeln!(text, "metrics http://{metrics}/metrics")?;
    }
    for address in bound {
        writeln!(text, "listening on {address}")?;
    }
    Ok(())
}

//! Where a logical unit is: `iscsi://HOST[:PORT]/TARGET[/LUN]`.

use std::fmt;
use std::str::FromStr;

use crate::volume::{IscsiName, IscsiNameError};

/// The port that IANA gave to iSCSI (RFC 7143 section 14).
pub const DEFAULT_PORT: u16 = 3260;
/// LUNs of the peripheral device and flat space addressing methods (SAM-5 section 4.7).
const LUN_MAX: u16 = 0x3fff;
/// Above that, the flat space addressing method is used.
const PERIPHERAL_LUN_MAX: u16 = 0xff;

/// A logical unit, as libiscsi and QEMU write it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address of the portal.
    pub host: String,
    /// TCP port of the portal.
    pub port: u16,
    /// The target's name.
    pub target: IscsiName,
    /// Logical unit number, below 16384.
    pub lun: u16,
}

/// Why a text is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not have the form.
    #[error(
        "expected iscsi://HOST[:PORT]/TARGET[/LUN], such as iscsi://127.0.0.1:3260/iqn.2024-01.example:disk/0"
    )]
    Form,
    /// A user before the host.
    #[error(
        "credentials have no place in the URL, where others can see them: use --user and --secret-file"
    )]
    Credentials,
    /// The target's name is none.
    #[error("the target's name is invalid")]
    Target(#[from] IscsiNameError),
    /// The LUN is no number, or too large.
    #[error("LUN {0:?}: expected a number up to {LUN_MAX}")]
    Lun(String),
    /// The port is none.
    #[error("port {0:?}: expected a number from 1 to 65535")]
    Port(String),
}

impl Address {
    /// The LUN as the eight bytes of a PDU (SAM-5 section 4.7).
    #[must_use]
    pub const fn lun_field(&self) -> [u8; 8] {
        let [high, low] = self.lun.to_be_bytes();
        let method = if self.lun > PERIPHERAL_LUN_MAX {
            0x40
        } else {
            0
        };
        [method | high, low, 0, 0, 0, 0, 0, 0]
    }

    /// `HOST:PORT` of the portal.
    #[must_use]
    pub fn portal(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same unit at another portal: `HOST[:PORT]` with perhaps `,TPGT` behind it, as a
    /// redirection names it (RFC 7143 section 13.8).
    pub(super) fn moved_to(&self, portal: &str) -> Result<Self, AddressError> {
        let portal = portal.split(',').next().unwrap_or_default();
        let (host, port) = host_and_port(portal)?;
        Ok(Self {
            host,
            port,
            ..self.clone()
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("iscsi://").ok_or(AddressError::Form)?;
        let (portal, unit) = rest.split_once('/').ok_or(AddressError::Form)?;
        if portal.contains('@') {
            return Err(AddressError::Credentials);
        }
        let (target, lun) = unit.split_once('/').unwrap_or((unit, "0"));
        let (host, port) = host_and_port(portal)?;
        let lun = lun
            .parse()
            .ok()
            .filter(|lun| *lun <= LUN_MAX)
            .ok_or_else(|| AddressError::Lun(lun.to_owned()))?;
        Ok(Self {
            host,
            port,
            target: IscsiName::new(target)?,
            lun,
        })
    }
}

/// Brackets around an IPv6 address stay: name resolution wants them before a port.
fn host_and_port(portal: &str) -> Result<(String, u16), AddressError> {
    let (host, port) = match portal.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (portal, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        return Err(AddressError::Form);
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| AddressError::Port(port.to_owned()))?,
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            target,
            lun,
        } = self;
        write!(out, "iscsi://{host}:{port}/{target}/{lun}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        for (text, written) in [
            (
                "iscsi://10.0.0.1/iqn.2024-01.a:b",
                "iscsi://10.0.0.1:3260/iqn.2024-01.a:b/0",
            ),
            (
                "iscsi://[::1]:860/iqn.2024-01.a:b/7",
                "iscsi://[::1]:860/iqn.2024-01.a:b/7",
            ),
            (
                "iscsi://[::1]/iqn.2024-01.a:b/7",
                "iscsi://[::1]:3260/iqn.2024-01.a:b/7",
            ),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), written);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn each_mistake_has_its_error() {
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(error("10.0.0.1:3260/iqn.2024-01.a:b/0"), AddressError::Form);
        assert_eq!(error("iscsi://10.0.0.1:3260"), AddressError::Form);
        assert_eq!(error("iscsi://:3260/iqn.2024-01.a:b"), AddressError::Form);
        assert_eq!(error("iscsi://::1/iqn.2024-01.a:b"), AddressError::Form);
        assert_eq!(
            error("iscsi://a%b@h/iqn.2024-01.a:b"),
            AddressError::Credentials
        );
        assert!(matches!(error("iscsi://h/disk"), AddressError::Target(_)));
        assert!(matches!(
            error("iscsi://h:x/iqn.2024-01.a:b"),
            AddressError::Port(_)
        ));
        assert!(matches!(
            error("iscsi://h/iqn.2024-01.a:b/99999"),
            AddressError::Lun(_)
        ));
    }

    #[test]
    fn a_large_lun_is_in_flat_space() {
        let at = |lun| Address {
            host: "h".into(),
            port: 1,
            target: IscsiName::new("iqn.2024-01.a:b").unwrap(),
            lun,
        };
        assert_eq!(at(7).lun_field(), [0, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(at(0x1234).lun_field(), [0x52, 0x34, 0, 0, 0, 0, 0, 0]);
        let moved = at(3).moved_to("[fe80::1]:3261,1").unwrap();
        assert_eq!(
            moved.to_string(),
            "iscsi://[fe80::1]:3261/iqn.2024-01.a:b/3"
        );
    }
}

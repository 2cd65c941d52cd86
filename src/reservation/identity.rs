//! Who a registration belongs to: the initiator port and the I_T nexus.
//!
//! A nexus is four values (initiator name, ISID, target name, target portal group tag), not a
//! session: a later login with the same four finds its registration again. The target name is the
//! volume, and the portal group is told apart by the relative target port identifier.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// An iSCSI initiator port: the initiator name and the ISID (RFC 7143 section 4.2.7).
///
/// Names compare case-insensitively (RFC 3722), so the name is kept in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, [u8; 6])", into = "(String, [u8; 6])")]
pub struct InitiatorPort {
    name: Arc<str>,
    isid: [u8; 6],
}

impl InitiatorPort {
    /// The port of `isid` at the node called `name`, in any case.
    #[must_use]
    pub fn new(name: &str, isid: [u8; 6]) -> Self {
        Self {
            name: normal_name(name).into(),
            isid,
        }
    }

    /// Stands for the whole node called `name`, in any case, where its ports share one registration.
    #[must_use]
    pub fn of_client(name: &str) -> Self {
        Self::new(name, [0; 6])
    }

    /// The initiator name in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The initiator session identifier.
    #[must_use]
    pub const fn isid(&self) -> [u8; 6] {
        self.isid
    }
}

impl From<(String, [u8; 6])> for InitiatorPort {
    fn from((name, isid): (String, [u8; 6])) -> Self {
        Self::new(&name, isid)
    }
}

impl From<InitiatorPort> for (String, [u8; 6]) {
    fn from(port: InitiatorPort) -> Self {
        (port.name().to_owned(), port.isid)
    }
}

/// An iSCSI name in the case it is compared in.
#[must_use]
pub fn normal_name(name: &str) -> String {
    name.to_lowercase()
}

/// The name SPC-4 section 7.6.4.6 gives the port: `name,i,0x` and twelve hexadecimal digits.
impl fmt::Display for InitiatorPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{},i,0x", self.name)?;
        self.isid
            .iter()
            .try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for InitiatorPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// An initiator port seen through one target port of the volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nexus {
    /// The initiator port.
    pub initiator: InitiatorPort,
    /// The relative target port identifier (RTPI) of the target port.
    pub target_port: u16,
}

impl Nexus {
    /// The nexus of `initiator` with the target port of that RTPI.
    #[must_use]
    pub const fn new(initiator: InitiatorPort, target_port: u16) -> Self {
        Self {
            initiator,
            target_port,
        }
    }

    /// Stands for every nexus of the node called `name`, where they share one registration.
    ///
    /// Its target port is zero, a reserved identifier that no target port has, so that it is never
    /// taken for the nexus of one session.
    #[must_use]
    pub fn of_client(name: &str) -> Self {
        Self::new(InitiatorPort::of_client(name), Self::CLIENT_PORT)
    }

    /// The target port of [`Nexus::of_client`].
    pub const CLIENT_PORT: u16 = 0;

    /// Whether this stands for all nexuses of a node.
    #[must_use]
    pub const fn is_client(&self) -> bool {
        self.target_port == Self::CLIENT_PORT
    }
}

impl fmt::Display for Nexus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_client() {
            return write!(out, "{}, any session", self.initiator.name());
        }
        write!(
            out,
            "{} at target port {}",
            self.initiator, self.target_port
        )
    }
}

/// Position of a nexus in its volume's table, and in every [`Snapshot`](super::Snapshot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NexusIndex(pub u32);

impl NexusIndex {
    /// No position: a nexus the volume does not remember. Its rights are a stranger's.
    pub const NONE: Self = Self(u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_case_insensitively() {
        let isid = [0x80, 0, 0, 0, 0, 0x2a];
        let lower = InitiatorPort::new("iqn.2024-01.example:node", isid);
        let upper = InitiatorPort::new("IQN.2024-01.Example:NODE", isid);
        assert_eq!(lower, upper);
        assert_eq!(
            lower.to_string(),
            "iqn.2024-01.example:node,i,0x80000000002a"
        );
        assert_ne!(
            lower,
            InitiatorPort::new("iqn.2024-01.example:node", [0; 6])
        );
    }

    #[test]
    fn a_client_is_one_nexus_in_any_case() {
        let client = Nexus::of_client("iqn.2024-01.example:node");
        assert_eq!(client, Nexus::of_client("IQN.2024-01.EXAMPLE:node"));
        assert!(client.is_client());
        assert_eq!(client.to_string(), "iqn.2024-01.example:node, any session");
        let port = InitiatorPort::new("iqn.2024-01.example:node", [0; 6]);
        assert!(!Nexus::new(port, 1).is_client());
    }

    #[test]
    fn each_target_port_makes_another_nexus() {
        let port = InitiatorPort::new("iqn.2024-01.example:node", [0; 6]);
        assert_ne!(Nexus::new(port.clone(), 1), Nexus::new(port, 2));
    }
}

//! Who takes part: initiator ports, each with a way of its own to move data.

use std::net::SocketAddr;

use super::record::Nexus;
use super::support::initiator::Initiator;
use super::support::login::{Login, LoginError, initiator_name};
use super::support::reserve::transport_id;

/// Logins that may be cut off one after another.
const LOGINS_MAX: u32 = 20;

/// One initiator port and the target port that it logs in to.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) nexus: Nexus,
    pub(crate) login: Login,
    name: String,
    /// The relative port identifier of its target port.
    pub(crate) target_port: u16,
    /// It keeps the target waiting for its data.
    pub(crate) dawdles: bool,
}

impl Port {
    /// The port of a nexus. Neighbours differ in portal and in how their data go out: immediate,
    /// unsolicited or asked for by R2T, in one burst or in many, with digests or without. Nodes of
    /// two ports have two sessions.
    pub(crate) fn new(nexus: Nexus, node: &str, portals: &[SocketAddr], target: &str) -> Self {
        let index = usize::try_from(nexus).expect("a small number");
        let portal = index % portals.len();
        let isid = u16::try_from(nexus + 1).expect("a small number");
        let login = Login::new(portals[portal], target, node).isid(isid);
        let asked = |login: Login| login.key("ImmediateData", "No").key("InitialR2T", "Yes");
        let login = match nexus % 6 {
            0 => login.key("InitialR2T", "Yes"),
            1 | 4 => asked(login)
                .key("MaxBurstLength", "4096")
                .key("FirstBurstLength", "4096"),
            2 => login
                .key("InitialR2T", "No")
                .key("FirstBurstLength", "8192"),
            3 => login.key("InitialR2T", "No").key("ImmediateData", "No"),
            _ => asked(login).digests("CRC32C", "CRC32C"),
        };
        Self {
            nexus,
            login,
            name: initiator_name(node),
            target_port: u16::try_from(portal + 1).expect("few portals"),
            dawdles: matches!(nexus % 6, 1 | 5),
        }
    }

    /// The same port, which answers every R2T at once.
    pub(crate) fn prompt(self) -> Self {
        Self {
            dawdles: false,
            ..self
        }
    }

    /// Logs in, or reinstates the session that there is. Who logs in while the server is replaced is cut
    /// off and tries again, as initiators do.
    pub(crate) fn connect(&self) -> Initiator {
        let mut tries = 0;
        let mut session = loop {
            match self.login.try_connect() {
                Ok(session) => break session,
                Err(LoginError::Dropped(_)) if tries < LOGINS_MAX => tries += 1,
                Err(error) => panic!("{:?}: {error:?}", self.login),
            }
        };
        session.holds_r2ts = self.dawdles;
        session
    }

    /// How REGISTER AND MOVE names it.
    pub(crate) fn transport_id(&self) -> Vec<u8> {
        transport_id(&self.name, Some(self.login.isid))
    }

    /// How READ FULL STATUS names it.
    pub(crate) fn full_name(&self) -> String {
        let digits: String = self
            .login
            .isid
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{},i,0x{digits}", self.name)
    }
}

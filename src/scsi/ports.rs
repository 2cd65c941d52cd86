//! Target ports and asymmetric access: REPORT and SET TARGET PORT GROUPS (SPC-4 sections 6.37, 6.45).

use super::dispatch::{Planned, Request};
use super::fields::Fields;
use super::plan::{Plan, Reply};
use super::sense::{Code, Failure};
use serde::{Deserialize, Serialize};

/// The target ports of a logical unit, with the groups that share an access state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    ports: Vec<TargetPort>,
    groups: Vec<PortGroup>,
    all_active: bool,
}

/// One target port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPort {
    /// RELATIVE TARGET PORT IDENTIFIER, stable over restarts, never 0.
    pub identifier: u16,
    /// The target port group it belongs to.
    pub group: u16,
    /// The iSCSI portal group tag, for its name `<target name>,t,0x<tag>`.
    pub portal_group_tag: u16,
}

/// A target port group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortGroup {
    /// TARGET PORT GROUP.
    pub identifier: u16,
    /// How its ports reach the volume.
    pub state: AccessState,
    /// PREF.
    pub preferred: bool,
    /// The last change came from SET TARGET PORT GROUPS (STATUS CODE 01h), not from the target (02h).
    pub explicit: Option<bool>,
}

/// Asymmetric access state (SPC-4 section 5.15.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum AccessState {
    /// The best way.
    ActiveOptimized = 0x0,
    /// Works, with a hop.
    ActiveNonOptimized = 0x1,
    /// Takes no I/O until it is made active: 2/04/0B.
    Standby = 0x2,
    /// Takes no I/O: 2/04/0C.
    Unavailable = 0x3,
}

/// One line of SET TARGET PORT GROUPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortGroupChange {
    /// The group.
    pub group: u16,
    /// Its new state.
    pub state: AccessState,
}

impl Ports {
    /// The ports of a logical unit. `groups` holds every group that a port names.
    #[must_use]
    pub fn new(ports: Vec<TargetPort>, groups: Vec<PortGroup>) -> Self {
        let all_active = groups.iter().all(|g| {
            matches!(
                g.state,
                AccessState::ActiveOptimized | AccessState::ActiveNonOptimized
            )
        });
        Self {
            ports,
            groups,
            all_active,
        }
    }

    /// Every port.
    #[must_use]
    pub fn ports(&self) -> &[TargetPort] {
        &self.ports
    }

    /// Every group.
    #[must_use]
    pub fn groups(&self) -> &[PortGroup] {
        &self.groups
    }

    /// How `port` reaches the volume. A port that is not known counts as optimized.
    #[must_use]
    pub fn state_of(&self, port: u16) -> AccessState {
        if self.all_active {
            return AccessState::ActiveOptimized;
        }
        self.ports
            .iter()
            .find(|p| p.identifier == port)
            .and_then(|p| self.groups.iter().find(|g| g.identifier == p.group))
            .map_or(AccessState::ActiveOptimized, |g| g.state)
    }

    /// The same ports after `changes`.
    #[must_use]
    pub fn changed(&self, changes: &[PortGroupChange]) -> Self {
        let mut groups = self.groups.clone();
        for change in changes {
            for group in groups.iter_mut().filter(|g| g.identifier == change.group) {
                group.state = change.state;
                group.explicit = Some(true);
            }
        }
        Self::new(self.ports.clone(), groups)
    }
}

const PREFERRED: u8 = 0x80;
/// Unavailable, standby, active/non-optimized and active/optimized are supported.
const SUPPORTED_STATES: u8 = 0x0F;
/// STATUS CODE: no change yet, by SET TARGET PORT GROUPS, by the target itself.
const fn status_code(explicit: Option<bool>) -> u8 {
    match explicit {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    }
}

/// PARAMETER DATA FORMAT: length only, and with the extended header.
const LENGTH_ONLY: u8 = 0b000;
const EXTENDED_HEADER: u8 = 0b001;

/// REPORT TARGET PORT GROUPS.
pub(super) fn report(request: &Request<'_>) -> Planned {
    let ports = &request.view.unit.ports;
    let format = request.cdb.byte(1) >> 5;
    let mut data = match format {
        LENGTH_ONLY => vec![0; 4],
        // IMPLICIT TRANSITION TIME 0: not told.
        EXTENDED_HEADER => vec![0, 0, 0, 0, EXTENDED_HEADER << 4, 0, 0, 0],
        _ => return Err(Failure::cdb_bit(1, 7)),
    };
    for group in ports.groups() {
        let members: Vec<_> = ports
            .ports()
            .iter()
            .filter(|port| port.group == group.identifier)
            .collect();
        let preferred = if group.preferred { PREFERRED } else { 0 };
        data.extend_from_slice(&[preferred | group.state as u8, SUPPORTED_STATES]);
        data.extend_from_slice(&group.identifier.to_be_bytes());
        let count = u8::try_from(members.len()).unwrap_or(u8::MAX);
        data.extend_from_slice(&[0, status_code(group.explicit), 0, count]);
        for port in members.iter().take(usize::from(count)) {
            data.extend_from_slice(&[0, 0]);
            data.extend_from_slice(&port.identifier.to_be_bytes());
        }
    }
    let length = u32::try_from(data.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(field) = data.first_chunk_mut() {
        *field = length.to_be_bytes();
    }
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(6))))
}

const SET_HEADER_BYTES: usize = 4;
const SET_DESCRIPTOR_BYTES: usize = 4;

/// SET TARGET PORT GROUPS: as many descriptors as there are groups, at most.
pub(super) fn set(request: &Request<'_>) -> Planned {
    let length = request.cdb.be32(6);
    if length == 0 {
        return Ok(Plan::Reply(Reply::default()));
    }
    let groups = request.view.unit.ports.groups().len();
    let most = groups
        .saturating_mul(SET_DESCRIPTOR_BYTES)
        .saturating_add(SET_HEADER_BYTES);
    let fits = usize::try_from(length).is_ok_and(|length| length <= most);
    if !fits || length < 4 || !length.is_multiple_of(4) {
        return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    Ok(Plan::Parameters { length })
}

/// Either every descriptor is right, or nothing changes.
pub(super) fn parse_set(request: &Request<'_>, data: &[u8]) -> Planned {
    let groups = request.view.unit.ports.groups();
    let descriptors = Fields(data).slice(SET_HEADER_BYTES, usize::MAX);
    let mut changes: Vec<PortGroupChange> = Vec::new();
    for (index, bytes) in descriptors.0.chunks_exact(SET_DESCRIPTOR_BYTES).enumerate() {
        let at = index
            .saturating_mul(SET_DESCRIPTOR_BYTES)
            .saturating_add(SET_HEADER_BYTES);
        let descriptor = Fields(bytes);
        let state = AccessState::from_code(descriptor.byte(0) & 0x0F)
            .ok_or(Failure::parameter_field(at))?;
        let group = descriptor.be16(2);
        let known = groups.iter().any(|g| g.identifier == group);
        let repeated = changes.iter().any(|change| change.group == group);
        if !known || repeated {
            return Err(Failure::parameter_field(at.saturating_add(2)));
        }
        changes.push(PortGroupChange { group, state });
    }
    if changes.is_empty() {
        return Ok(Plan::Reply(Reply::default()));
    }
    Ok(Plan::SetPortGroups(changes))
}

impl AccessState {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0x0 => Some(Self::ActiveOptimized),
            0x1 => Some(Self::ActiveNonOptimized),
            0x2 => Some(Self::Standby),
            0x3 => Some(Self::Unavailable),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing::{failure_code, unit, view};
    use crate::scsi::{plan, plan_with_parameters};

    const REPORT: [u8; 12] = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

    #[test]
    fn groups_are_reported_with_their_ports() {
        let unit = unit();
        let Plan::Reply(reply) = plan(&REPORT, &view(&unit)) else {
            panic!()
        };
        assert_eq!(
            reply.data,
            [
                0, 0, 0, 16, 0, 0x0F, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2
            ]
        );
        let mut extended = REPORT;
        extended[1] |= 0x20;
        let Plan::Reply(reply) = plan(&extended, &view(&unit)) else {
            panic!()
        };
        assert_eq!(reply.data[..8], [0, 0, 0, 20, 0x10, 0, 0, 0]);
    }

    #[test]
    fn a_set_is_all_or_nothing() {
        let unit = unit();
        let view = view(&unit);
        let cdb = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
        let set = |data: &[u8]| plan_with_parameters(&cdb, data, &view);
        let change = PortGroupChange {
            group: 1,
            state: AccessState::Standby,
        };
        assert_eq!(
            set(&[0, 0, 0, 0, 2, 0, 0, 1]),
            Plan::SetPortGroups(vec![change])
        );
        for wrong in [[0, 0, 0, 0, 2, 0, 0, 9], [0, 0, 0, 0, 0x0E, 0, 0, 1]] {
            assert_eq!(
                failure_code(&set(&wrong)),
                Some(Code::INVALID_FIELD_IN_PARAMETERS)
            );
        }
        assert_eq!(
            failure_code(&set(&[0; 7])),
            Some(Code::PARAMETER_LIST_LENGTH)
        );
    }

    #[test]
    fn a_port_that_is_not_active_takes_no_io() {
        let mut unit = unit();
        let change = PortGroupChange {
            group: 1,
            state: AccessState::Standby,
        };
        unit.ports = unit.ports.changed(&[change]);
        let view = view(&unit);
        let read = plan(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &view);
        assert_eq!(failure_code(&read), Some(Code::PORT_STANDBY));
        assert!(matches!(plan(&REPORT, &view), Plan::Reply(_)));
    }
}

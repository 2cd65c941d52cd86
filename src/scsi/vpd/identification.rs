//! Device identification (83h) and SCSI ports (88h) (SPC-4 sections 7.8.6, 7.8.15).

use crate::scsi::copy::program::Designator;
use crate::scsi::ports::TargetPort;
use crate::scsi::unit::{Identity, LogicalUnit, LunKind, View};

const BINARY: u8 = 1;
const ASCII: u8 = 2;
const UTF8: u8 = 3;

const LOGICAL_UNIT: u8 = 0;
const TARGET_PORT: u8 = 1;
const TARGET_DEVICE: u8 = 2;

const T10_VENDOR_ID: u8 = 1;
const NAA: u8 = 3;
const RELATIVE_TARGET_PORT: u8 = 4;
const TARGET_PORT_GROUP: u8 = 5;
const SCSI_NAME: u8 = 8;

/// PROTOCOL IDENTIFIER of iSCSI, in the upper half of a designator's first byte.
const ISCSI: u8 = 0x50;
/// PIV: the protocol identifier counts.
const PROTOCOL_VALID: u8 = 0x80;

/// The names of the unit first, for initiators that read no further; then those of the port the
/// command came through; then the target's.
pub(super) fn body(view: &View<'_>) -> Vec<u8> {
    let identity = &view.unit.identity;
    let mut body = Vec::new();
    if view.lun == LunKind::Disk {
        push(&mut body, BINARY, LOGICAL_UNIT, NAA, &identity.naa);
        push(
            &mut body,
            ASCII,
            LOGICAL_UNIT,
            T10_VENDOR_ID,
            &vendor_designator(identity),
        );
    }
    let port = view
        .unit
        .ports
        .ports()
        .iter()
        .find(|p| p.identifier == view.port);
    if let Some(port) = port {
        push_port_name(&mut body, identity, port);
        push(
            &mut body,
            BINARY,
            TARGET_PORT,
            RELATIVE_TARGET_PORT,
            &numbered(port.identifier),
        );
        push(
            &mut body,
            BINARY,
            TARGET_PORT,
            TARGET_PORT_GROUP,
            &numbered(port.group),
        );
    }
    push(
        &mut body,
        UTF8,
        TARGET_DEVICE,
        SCSI_NAME,
        &padded(&identity.target_name),
    );
    body
}

/// Every target port with its name.
pub(super) fn ports(unit: &LogicalUnit) -> Vec<u8> {
    let mut body = Vec::new();
    for port in unit.ports.ports() {
        let mut name = Vec::new();
        push_port_name(&mut name, &unit.identity, port);
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&port.identifier.to_be_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&name);
    }
    body
}

/// `<target name>,t,0x<portal group tag>` (RFC 7143 section 4.4.4).
fn push_port_name(body: &mut Vec<u8>, identity: &Identity, port: &TargetPort) {
    let name = format!("{},t,0x{:04x}", identity.target_name, port.portal_group_tag);
    push(body, UTF8, TARGET_PORT, SCSI_NAME, &padded(&name));
}

fn push(body: &mut Vec<u8>, code_set: u8, association: u8, kind: u8, bytes: &[u8]) {
    let of_protocol = association != LOGICAL_UNIT;
    let (protocol, valid) = if of_protocol {
        (ISCSI, PROTOCOL_VALID)
    } else {
        (0, 0)
    };
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    body.extend_from_slice(&[
        protocol | code_set,
        valid | association << 4 | kind,
        0,
        length,
    ]);
    body.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}

/// A name with its NUL, padded to four bytes (SPC-4 section 7.8.6.11).
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn numbered(identifier: u16) -> [u8; 4] {
    u32::from(identifier).to_be_bytes()
}

/// The vendor with the serial number behind it.
fn vendor_designator(identity: &Identity) -> Vec<u8> {
    let mut bytes = identity.vendor.to_vec();
    bytes.extend_from_slice(identity.serial.as_bytes());
    bytes
}

impl LogicalUnit {
    /// Whether a copy descriptor's designator names this unit.
    #[must_use]
    pub fn answers_to(&self, designator: &Designator) -> bool {
        if designator.association != LOGICAL_UNIT {
            return false;
        }
        match designator.kind {
            NAA => designator.bytes() == self.identity.naa,
            T10_VENDOR_ID => designator.bytes() == vendor_designator(&self.identity),
            _ => false,
        }
    }
}

impl Identity {
    /// The unit's NAA name as a designator of a copy descriptor.
    #[must_use]
    pub fn designator(&self) -> Designator {
        Designator::new(BINARY, LOGICAL_UNIT, NAA, &self.naa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing;

    /// The designators one after the other: type and bytes.
    fn designators(mut body: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        while let [_, kind, _, length, rest @ ..] = body {
            let (bytes, rest) = rest.split_at(usize::from(*length));
            found.push((kind & 0x0F, bytes));
            body = rest;
        }
        assert!(body.is_empty());
        found
    }

    #[test]
    fn the_unit_comes_first_and_every_designator_is_whole() {
        let unit = testing::unit();
        let body = body(&testing::view(&unit));
        assert_eq!(&body[..4], &[0x01, 0x03, 0, 8]);
        let found = designators(&body);
        assert_eq!(found[0].1, unit.identity.naa);
        let kinds: Vec<u8> = found.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [3, 1, 8, 4, 5, 8]);
    }

    #[test]
    fn the_longest_name_still_fits() {
        let mut unit = testing::unit();
        unit.identity.target_name = "x".repeat(223);
        let body = body(&testing::view(&unit));
        let (_, name) = designators(&body)[2];
        assert!(name.len() % 4 == 0 && name.ends_with(&[0]));
        assert!(name.starts_with(unit.identity.target_name.as_bytes()));
    }

    #[test]
    fn it_answers_to_its_own_names_only() {
        let unit = testing::unit();
        assert!(unit.answers_to(&unit.identity.designator()));
        let mut other = unit.clone();
        other.identity.naa[7] ^= 1;
        assert!(!unit.answers_to(&other.identity.designator()));
        let vendor = Designator::new(ASCII, LOGICAL_UNIT, T10_VENDOR_ID, b"HOLDFASTvol-1");
        assert!(unit.answers_to(&vendor));
        let port = Designator::new(BINARY, TARGET_PORT, NAA, &unit.identity.naa);
        assert!(!unit.answers_to(&port));
    }
}

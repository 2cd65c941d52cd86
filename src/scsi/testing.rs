//! A unit and shorthands for the tests of this room.

use super::mode::{ModePages, Modes};
use super::plan::Plan;
use super::ports::{AccessState, PortGroup, Ports, TargetPort};
use super::sense::Code;
use super::unit::{Geometry, Identity, LogicalUnit, LunKind, Medium, Properties, View};
use crate::reservation::{Rights, Snapshot};

/// A thin volume of 8192 blocks of 512 bytes behind two ports of one group.
pub(super) fn unit() -> LogicalUnit {
    let port = |identifier| TargetPort {
        identifier,
        group: 1,
        portal_group_tag: identifier,
    };
    let group = PortGroup {
        identifier: 1,
        state: AccessState::ActiveOptimized,
        preferred: false,
        explicit: None,
    };
    LogicalUnit {
        identity: Identity {
            vendor: *b"HOLDFAST",
            product: *b"volume          ",
            revision: *b"0001",
            serial: "vol-1".into(),
            naa: [0x3F; 8],
            target_name: "iqn.2026-01.org.example:san:vol-1".into(),
            label: "vol-1".into(),
        },
        geometry: Geometry {
            block_bytes: 512,
            blocks: 8192,
            physical_exponent: 3,
            lowest_aligned: 0,
        },
        properties: Properties {
            thin: true,
            reads_zeros: true,
            volatile_cache: true,
            atomic_write_bytes: crate::base::limits::ATOMIC_WRITE_BYTES_MAX,
            crypto_erase: false,
            rotational: false,
            removable: false,
            read_only: false,
            unmap_granularity_bytes: 4096,
            optimal_transfer_bytes: 0,
        },
        modes: Modes::new(ModePages::default()),
        reservation: Snapshot::open(),
        ports: Ports::new(vec![port(1), port(2)], vec![group]),
        medium: Medium::Ready,
        removal_prevented: false,
    }
}

/// The same with every feature there is.
pub(super) fn everything() -> LogicalUnit {
    let mut unit = unit();
    unit.properties.crypto_erase = true;
    unit.properties.removable = true;
    unit
}

/// A nexus with every right, on port 1.
pub(super) fn view(unit: &LogicalUnit) -> View<'_> {
    View {
        unit,
        lun: LunKind::Disk,
        rights: Rights::UNRESERVED,
        port: 1,
        attention: None,
        timestamp_ms: 0x0001_0203_0405,
    }
}

/// The data of a reply.
pub(super) fn reply(plan: Plan) -> Vec<u8> {
    match plan {
        Plan::Reply(reply) => reply.data,
        other => panic!("not a reply: {other:?}"),
    }
}

/// The additional sense code of a failure.
pub(super) fn failure_code(plan: &Plan) -> Option<Code> {
    match plan {
        Plan::Fail(failure) => failure.sense.map(|sense| sense.code),
        _ => None,
    }
}

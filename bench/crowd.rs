//! Volumes that many have registered with.

use std::ops::Range;

use holdfast::reservation::{
    Command, Context, InitiatorPort, Key, Nexus, NexusIndex, ReservationType, Snapshot, State,
    apply,
};

/// The most that anyone asks for here.
pub(crate) const REGISTRANTS: u16 = 1024;
/// The target port of every nexus.
pub(crate) const PORT: u16 = 1;
/// The initiator's part of every session identifier.
pub(crate) const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];

/// The iSCSI name of node `number`.
pub(crate) fn node(number: u16) -> String {
    format!("iqn.2024-01.bench:node{number:04}")
}

fn nexus(number: u16) -> Nexus {
    Nexus::new(InitiatorPort::new(&node(number), ISID), PORT)
}

/// Those nodes are registered, and the first of them holds a reservation.
pub(crate) fn state(nodes: Range<u16>, kind: ReservationType) -> State {
    let context = Context {
        ports: &[PORT],
        known: &|_| Vec::new(),
        registrations_max: REGISTRANTS.into(),
    };
    let register = Command::RegisterAndIgnore {
        new_key: Key(1),
        aptpl: false,
        all_target_ports: false,
    };
    let reserve = Command::Reserve { key: Key(1), kind };
    let holder = (nexus(nodes.start), &reserve);
    let registered = nodes.map(|number| (nexus(number), &register));
    registered
        .chain([holder])
        .fold(State::new(), |state, (nexus, command)| {
            apply(&state, &nexus, command, &context)
                .expect("the command succeeds")
                .next
        })
}

/// What nexuses may do while 1024 are registered under a reservation that lets registrants write.
#[allow(dead_code, reason = "not every benchmark checks by itself")]
pub(crate) fn snapshot() -> Snapshot {
    let state = state(
        0..REGISTRANTS,
        ReservationType::WriteExclusiveRegistrantsOnly,
    );
    let all: Vec<Nexus> = (0..REGISTRANTS).map(nexus).collect();
    Snapshot::build(&state, |nexus| {
        let place = all.iter().position(|known| known == nexus)?;
        Some(NexusIndex(u32::try_from(place).ok()?))
    })
}

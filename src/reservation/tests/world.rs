//! A small world to play in: three initiator ports of two nodes, two target ports, six nexuses.

use crate::reservation::*;

/// Relative target port identifiers of the volume.
pub(super) const PORTS: [u16; 2] = [1, 2];
/// Nexuses in the world: index = initiator port × 2 + target port.
pub(super) const NEXUSES: usize = 6;

pub(super) const A: usize = 0;
pub(super) const A2: usize = 1;
pub(super) const B: usize = 2;
pub(super) const C: usize = 4;

/// The port's node: ports 0 and 1 are `alpha`'s, port 2 is `beta`'s.
pub(super) fn port(index: usize) -> InitiatorPort {
    let name = [
        "iqn.2024-01.example:alpha",
        "iqn.2024-01.example:alpha",
        "iqn.2024-01.example:beta",
    ];
    InitiatorPort::new(
        name[index],
        [0x80, 0, 0, 0, 0, u8::try_from(index).unwrap()],
    )
}

pub(super) fn nexus(index: usize) -> Nexus {
    Nexus::new(port(index / 2), PORTS[index % 2])
}

pub(super) fn index_of(nexus: &Nexus) -> usize {
    (0..NEXUSES)
        .find(|index| self::nexus(*index) == *nexus)
        .expect("a nexus of the world")
}

pub(super) fn known(name: &str) -> Vec<InitiatorPort> {
    (0..3)
        .map(port)
        .filter(|port| port.name() == name)
        .collect()
}

/// A PERSISTENT RESERVE OUT as bytes: what the wire carries.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) cdb: [u8; 10],
    pub(super) parameters: Vec<u8>,
}

impl Out {
    /// A command with the basic parameter list.
    pub(super) fn basic(action: u8, scope_and_type: u8, key: u64, sark: u64, flags: u8) -> Self {
        let mut parameters = Vec::new();
        parameters.extend(key.to_be_bytes());
        parameters.extend(sark.to_be_bytes());
        parameters.extend([0, 0, 0, 0, flags, 0, 0, 0]);
        Self::with(action, scope_and_type, parameters)
    }

    /// A REGISTER with SPEC_I_PT and that list.
    pub(super) fn listed(key: u64, sark: u64, flags: u8, list: &[TransportId]) -> Self {
        let mut ids = Vec::new();
        list.iter().for_each(|id| id.emit(&mut ids));
        let mut parameters = Self::basic(0, 0, key, sark, flags | 0x08).parameters;
        parameters.extend(u32::try_from(ids.len()).unwrap().to_be_bytes());
        parameters.extend(ids);
        Self::with(0, 0, parameters)
    }

    /// A REGISTER AND MOVE to that port of the world, or to its node.
    pub(super) fn relocate(key: u64, sark: u64, flags: u8, rtpi: u16, to: &TransportId) -> Self {
        let mut id = Vec::new();
        to.emit(&mut id);
        let mut parameters = Vec::new();
        parameters.extend(key.to_be_bytes());
        parameters.extend(sark.to_be_bytes());
        parameters.extend([0, flags]);
        parameters.extend(rtpi.to_be_bytes());
        parameters.extend(u32::try_from(id.len()).unwrap().to_be_bytes());
        parameters.extend(id);
        Self::with(7, 0, parameters)
    }

    pub(super) fn with(action: u8, scope_and_type: u8, parameters: Vec<u8>) -> Self {
        let length = u32::try_from(parameters.len()).unwrap().to_be_bytes();
        let [l0, l1, l2, l3] = length;
        Self {
            cdb: [0x5f, action, scope_and_type, 0, 0, l0, l1, l2, l3, 0],
            parameters,
        }
    }

    pub(super) fn parse(&self) -> Result<Command, Refusal> {
        parse_out(&self.cdb, &self.parameters)
    }
}

/// A logical unit that takes commands as bytes and keeps the state between them.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) registrations_max: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            state: State::new(),
            registrations_max: 1024,
        }
    }

    /// Nexuses registered, each with the key at its place, and a reservation of that type held by
    /// `holder`.
    pub(super) fn reserved(keys: &[(usize, u64)], holder: usize, kind: u8) -> Self {
        let mut world = Self::new();
        for (index, key) in keys {
            world.good(*index, &Out::basic(0, 0, 0, *key, 0));
        }
        let key = keys.iter().find(|(index, _)| *index == holder).unwrap().1;
        world.good(holder, &Out::basic(1, kind, key, 0, 0));
        world
    }

    pub(super) fn send(&mut self, from: usize, out: &Out) -> Result<Outcome, Refusal> {
        let context = Context {
            ports: &PORTS,
            known: &known,
            registrations_max: self.registrations_max,
        };
        let outcome = apply(&self.state, &nexus(from), &out.parse()?, &context)?;
        self.state = outcome.next.clone();
        Ok(outcome)
    }

    pub(super) fn good(&mut self, from: usize, out: &Out) -> Outcome {
        self.send(from, out)
            .unwrap_or_else(|refusal| panic!("{refusal} for {out:?}"))
    }

    /// The refusal, after a check that nothing has changed.
    pub(super) fn refused(&mut self, from: usize, out: &Out) -> Refusal {
        let before = self.state.clone();
        let refusal = self.send(from, out).expect_err("a refusal");
        assert_eq!(self.state, before);
        refusal
    }

    pub(super) fn key(&self, index: usize) -> u64 {
        self.state.key(&nexus(index)).map_or(0, |key| key.0)
    }

    /// Type and holder of the reservation.
    pub(super) fn held(&self) -> Option<(u8, Option<usize>)> {
        let held = self.state.reservation()?;
        Some((held.kind.code(), held.holder.as_ref().map(index_of)))
    }
}

/// The refusal with that additional sense.
pub(super) fn is_sense(refusal: Refusal, asc: u8, ascq: u8) -> bool {
    refusal.additional_sense() == Some((asc, ascq))
}

/// Attentions by index and qualifier of 2Ah, sorted.
pub(super) fn told(outcome: &Outcome) -> Vec<(usize, u8)> {
    let told = outcome.attentions.iter();
    let mut told: Vec<_> = told
        .map(|(to, what)| (index_of(to), what.additional_sense().1))
        .collect();
    told.sort_unstable();
    told
}

/// Nexuses by index, sorted.
pub(super) fn indices(nexuses: &[Nexus]) -> Vec<usize> {
    let mut indices: Vec<_> = nexuses.iter().map(index_of).collect();
    indices.sort_unstable();
    indices
}

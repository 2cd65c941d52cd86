//! The worlds that are explored: who is there, and what they can send.

use holdfast::reservation::{
    Command, InitiatorPort, Key, Nexus, Refusal, ReservationType, ScopeAndType, TransportId,
};

/// The most nexuses of a world.
pub(crate) const PLACES: usize = 4;

/// What the parser says of a TransportID that it cannot read.
pub(crate) const GARBLED: Refusal = Refusal::parameter_field(24);

/// A small world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    /// Each nexus: its initiator, and the relative identifier of its target port.
    pub(crate) nexuses: &'static [(usize, u16)],
    /// The target ports of the logical unit.
    pub(crate) ports: &'static [u16],
    /// Keys that are registered.
    pub(crate) keys: &'static [u64],
    /// Types that are reserved.
    pub(crate) kinds: &'static [u8],
    /// The most registrations.
    pub(crate) registrations_max: u32,
    /// Values of APTPL.
    pub(crate) aptpl: &'static [bool],
    /// Values of ALL_TG_PT.
    pub(crate) everywhere: &'static [bool],
    /// Lists of SPEC_I_PT, beside none.
    pub(crate) lists: &'static [Listed],
    /// Destinations of REGISTER AND MOVE.
    pub(crate) destinations: &'static [(u16, Named)],
    /// Whether SPC-2 reservations are made as well.
    pub(crate) spc2: bool,
}

/// Initiator ports that a SPEC_I_PT list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Listed {
    /// No list.
    None,
    /// These initiators.
    Ports(&'static [usize]),
    /// A known initiator, then one that nobody knows.
    WithUnknown(usize),
    /// The parser could not read it.
    Garbled,
}

/// The destination of a REGISTER AND MOVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Named {
    /// The initiator's port, by name and ISID.
    Port(usize),
    /// Its node, by name alone.
    Node(usize),
    /// A node that nobody knows.
    Unknown,
    /// The parser could not read it.
    Garbled,
}

/// One command, small enough to be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Register {
        key: u64,
        new_key: u64,
        aptpl: bool,
        everywhere: bool,
        list: Listed,
    },
    RegisterAndIgnore {
        new_key: u64,
        aptpl: bool,
        everywhere: bool,
    },
    Reserve {
        key: u64,
        kind: u8,
    },
    Release {
        key: u64,
        scope_and_type: u8,
    },
    Clear {
        key: u64,
    },
    Preempt {
        key: u64,
        victim: u64,
        scope_and_type: u8,
        abort: bool,
    },
    RegisterAndMove {
        key: u64,
        new_key: u64,
        unregister: bool,
        aptpl: bool,
        port: u16,
        to: Named,
    },
    Spc2Reserve,
    Spc2Release,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A nexus sends a command.
    Send { from: usize, order: Order },
    /// A nexus is lost, or logs out.
    NexusLost(usize),
    /// A reset of the logical unit or the target.
    Reset,
    /// The power goes, and comes back.
    PowerLoss,
}

/// Three nexuses, two keys, all six types, every service action, SPC-2 beside them.
pub(crate) const WIDE: World = World {
    nexuses: &[(0, 1), (1, 1), (2, 1)],
    ports: &[1],
    keys: &[1, 2],
    kinds: &[1, 3, 5, 6, 7, 8],
    registrations_max: 1024,
    aptpl: &[false, true],
    everywhere: &[false],
    lists: &[
        Listed::Ports(&[1]),
        Listed::Ports(&[0, 2]),
        Listed::WithUnknown(2),
        Listed::Garbled,
    ],
    destinations: &[
        (1, Named::Port(0)),
        (1, Named::Port(1)),
        (1, Named::Node(2)),
        (1, Named::Unknown),
        (1, Named::Garbled),
        (9, Named::Port(1)),
    ],
    spc2: true,
};

/// Two initiators, each through two target ports: what ALL_TG_PT ties together.
pub(crate) const TWO_PORTS: World = World {
    nexuses: &[(0, 1), (0, 2), (1, 1), (1, 2)],
    ports: &[1, 2],
    kinds: &[5, 8],
    aptpl: &[true],
    everywhere: &[false, true],
    lists: &[Listed::Ports(&[0, 1])],
    destinations: &[(1, Named::Port(0)), (2, Named::Port(1))],
    spc2: false,
    ..WIDE
};

/// As [`WIDE`], with no more than it takes to find a machine out that does one thing wrong.
pub(crate) const NARROW: World = World {
    kinds: &[1, 5, 7],
    lists: &[Listed::WithUnknown(2)],
    destinations: &[(1, Named::Port(1))],
    ..WIDE
};

/// Three nexuses where two may be registered.
pub(crate) const CROWDED: World = World {
    kinds: &[1, 7],
    registrations_max: 2,
    aptpl: &[false, true],
    lists: &[Listed::Ports(&[0, 1])],
    destinations: &[(1, Named::Port(0)), (1, Named::Port(1))],
    spc2: false,
    ..WIDE
};

/// A TYPE field that names no type.
const NO_TYPE: u8 = 0x00;
/// A known type with a scope other than the logical unit.
const OTHER_SCOPE: u8 = 0x15;

impl World {
    /// Every step, each of which is tried in every state.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for from in 0..self.nexuses.len() {
            steps.extend(
                self.orders()
                    .into_iter()
                    .map(|order| Step::Send { from, order }),
            );
            if self.spc2 {
                steps.push(Step::NexusLost(from));
            }
        }
        if self.spc2 {
            steps.push(Step::Reset);
        }
        steps.push(Step::PowerLoss);
        steps
    }

    fn orders(&self) -> Vec<Order> {
        let keys: Vec<u64> = [0].iter().chain(self.keys).copied().collect();
        let mut orders = Vec::new();
        for (new_key, aptpl, everywhere) in triples(&keys, self.aptpl, self.everywhere) {
            orders.push(Order::RegisterAndIgnore {
                new_key,
                aptpl,
                everywhere,
            });
            for &key in &keys {
                let lists = [Listed::None].iter().chain(self.lists);
                orders.extend(lists.map(|&list| Order::Register {
                    key,
                    new_key,
                    aptpl,
                    everywhere,
                    list,
                }));
            }
        }
        let faulty: Vec<u8> = self
            .kinds
            .iter()
            .copied()
            .chain([NO_TYPE, OTHER_SCOPE])
            .collect();
        for &key in &keys {
            let reserve = self.kinds.iter().map(|&kind| Order::Reserve { key, kind });
            orders.extend(reserve);
            let release = faulty.iter().map(|&scope_and_type| Order::Release {
                key,
                scope_and_type,
            });
            orders.extend(release);
            orders.push(Order::Clear { key });
            for (victim, scope_and_type, abort) in triples(&keys, &faulty, &[false, true]) {
                orders.push(Order::Preempt {
                    key,
                    victim,
                    scope_and_type,
                    abort,
                });
            }
            for (new_key, aptpl, unregister) in triples(&keys, self.aptpl, &[false, true]) {
                orders.extend(
                    self.destinations
                        .iter()
                        .map(|&(port, to)| Order::RegisterAndMove {
                            key,
                            new_key,
                            unregister,
                            aptpl,
                            port,
                            to,
                        }),
                );
            }
        }
        if self.spc2 {
            orders.extend([Order::Spc2Reserve, Order::Spc2Release]);
        }
        orders
    }

    /// The nexus at that place.
    pub(crate) fn nexus(&self, place: usize) -> Nexus {
        let (initiator, target_port) = self.nexuses[place];
        Nexus::new(initiator_port(initiator), target_port)
    }

    /// The place of an initiator's nexus through that target port.
    pub(crate) fn place(&self, initiator: usize, port: u16) -> Option<usize> {
        self.nexuses.iter().position(|at| *at == (initiator, port))
    }
}

/// Every combination.
fn triples<A: Copy, B: Copy, C: Copy>(a: &[A], b: &[B], c: &[C]) -> Vec<(A, B, C)> {
    let pairs = |&a| b.iter().map(move |&b| (a, b));
    let pairs = a.iter().flat_map(pairs);
    pairs
        .flat_map(|(a, b)| c.iter().map(move |&c| (a, b, c)))
        .collect()
}

/// Each initiator is a node of its own, with one port.
pub(crate) fn initiator_port(initiator: usize) -> InitiatorPort {
    InitiatorPort::new(&node(initiator), [0x80, 0, 0, 0, 0, 1])
}

fn node(initiator: usize) -> String {
    format!("iqn.2024-01.example:node-{initiator}")
}

const UNKNOWN: &str = "iqn.2024-01.example:unknown";

impl Order {
    /// The command as the machine takes it, or `None` for those of SPC-2.
    pub(crate) fn command(self) -> Option<Command> {
        Some(match self {
            Self::Register {
                key,
                new_key,
                aptpl,
                everywhere,
                list,
            } => Command::Register {
                key: Key(key),
                new_key: Key(new_key),
                aptpl,
                all_target_ports: everywhere,
                others: list.command(),
            },
            Self::RegisterAndIgnore {
                new_key,
                aptpl,
                everywhere,
            } => Command::RegisterAndIgnore {
                new_key: Key(new_key),
                aptpl,
                all_target_ports: everywhere,
            },
            Self::Reserve { key, kind } => Command::Reserve {
                key: Key(key),
                kind: ReservationType::try_from(kind).expect("worlds reserve known types"),
            },
            Self::Release {
                key,
                scope_and_type,
            } => Command::Release {
                key: Key(key),
                scope_and_type: ScopeAndType(scope_and_type),
            },
            Self::Clear { key } => Command::Clear { key: Key(key) },
            Self::Preempt {
                key,
                victim,
                scope_and_type,
                abort,
            } => {
                let (key, victim) = (Key(key), Key(victim));
                let scope_and_type = ScopeAndType(scope_and_type);
                if abort {
                    Command::PreemptAndAbort {
                        key,
                        victim,
                        scope_and_type,
                    }
                } else {
                    Command::Preempt {
                        key,
                        victim,
                        scope_and_type,
                    }
                }
            }
            Self::RegisterAndMove {
                key,
                new_key,
                unregister,
                aptpl,
                port,
                to,
            } => Command::RegisterAndMove {
                key: Key(key),
                new_key: Key(new_key),
                unregister,
                aptpl,
                target_port: port,
                destination: to.id(),
            },
            Self::Spc2Reserve | Self::Spc2Release => return None,
        })
    }
}

impl Listed {
    fn command(self) -> Option<Result<Vec<TransportId>, Refusal>> {
        let port = |initiator: &usize| TransportId::Port(initiator_port(*initiator));
        Some(match self {
            Self::None => return None,
            Self::Ports(initiators) => Ok(initiators.iter().map(port).collect()),
            Self::WithUnknown(initiator) => {
                Ok(vec![port(&initiator), TransportId::Node(UNKNOWN.into())])
            }
            Self::Garbled => Err(GARBLED),
        })
    }
}

impl Named {
    fn id(self) -> Result<TransportId, Refusal> {
        match self {
            Self::Port(initiator) => Ok(TransportId::Port(initiator_port(initiator))),
            Self::Node(initiator) => Ok(TransportId::Node(node(initiator))),
            Self::Unknown => Ok(TransportId::Node(UNKNOWN.into())),
            Self::Garbled => Err(GARBLED),
        }
    }
}

//! The tables of SPC-4 section 5.13 as tables: what each command does, and who may do what.
//!
//! Written from the standard's tables, apart from the machine that it judges: places instead of
//! nexuses, raw type codes, one row for each case. A state is small enough to be copied.

use super::world::{Listed, Named, Order, PLACES, World};
use holdfast::reservation::Access;

/// What the tables know of a logical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Unit {
    /// The key of each place, 0 where it is not registered.
    pub(crate) keys: [u64; PLACES],
    /// Registered with ALL_TG_PT.
    pub(crate) everywhere: [bool; PLACES],
    /// The type of the reservation, 0 for none.
    pub(crate) kind: u8,
    /// The holder, none under the all-registrants types.
    pub(crate) holder: Option<usize>,
    /// PTPL_A.
    pub(crate) aptpl: bool,
    /// The holder of the SPC-2 reservation.
    pub(crate) spc2: Option<usize>,
}

/// The status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    Good,
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION, ILLEGAL REQUEST, with that additional sense.
    Check(u8, u8),
}

/// What a command brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) unit: Unit,
    /// Whether PRGENERATION moves, by one.
    pub(crate) counted: bool,
    /// Qualifier of the unit attention 2Ah for each place, 0 for none.
    pub(crate) told: [u8; PLACES],
    /// Places whose commands are aborted.
    pub(crate) aborted: [bool; PLACES],
}

const INVALID_CDB: Status = Status::Check(0x24, 0x00);
const INVALID_PARAMETERS: Status = Status::Check(0x26, 0x00);
const INVALID_RELEASE: Status = Status::Check(0x26, 0x04);
const NO_ROOM: Status = Status::Check(0x55, 0x04);

const RESERVATIONS_PREEMPTED: u8 = 0x03;
const RESERVATIONS_RELEASED: u8 = 0x04;
const REGISTRATIONS_PREEMPTED: u8 = 0x05;

const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];

const fn is_registrants_only(kind: u8) -> bool {
    matches!(kind, 5 | 6)
}

const fn is_all_registrants(kind: u8) -> bool {
    matches!(kind, 7 | 8)
}

// ---- who may do what ----------------------------------------------------------------------------

/// Allowed (A) or conflict (C), for whoever does not hold the reservation:
/// **a** Write Exclusive, **b** Exclusive Access, registered or not; **c** registrants only, a
/// registrant; **d** Write Exclusive for registrants, **e** Exclusive Access for registrants, a
/// stranger.
const MATRIX: [(Access, &str); 5] = [
    //               abcde
    (Access::Never, "AAAAA"),
    (Access::Read, "ACAAC"),
    (Access::Write, "CCACC"),
    (Access::Register, "AAAAA"),
    (Access::Take, "CCCCC"),
];

impl Unit {
    fn is_registered(&self, who: usize) -> bool {
        self.keys[who] != 0
    }

    fn is_held(&self) -> bool {
        self.kind != 0
    }

    /// Under the all-registrants types every registrant is a holder.
    pub(crate) fn holds(&self, who: usize) -> bool {
        if is_all_registrants(self.kind) {
            self.is_registered(who)
        } else {
            self.is_held() && self.holder == Some(who)
        }
    }

    /// Whether the class of command is allowed to a place, or to a stranger.
    pub(crate) fn permits(&self, who: Option<usize>, access: Access) -> bool {
        if access == Access::Exempt {
            return true;
        }
        if self.spc2.is_some() && self.spc2 != who {
            return false;
        }
        if !self.is_held() || who.is_some_and(|who| self.holds(who)) {
            return true;
        }
        let registered = who.is_some_and(|who| self.is_registered(who));
        let column = match (self.kind, registered) {
            (1, _) => 0,
            (3, _) => 1,
            (_, true) => 2,
            (5 | 7, false) => 3,
            _ => 4,
        };
        let row = MATRIX.iter().find(|(class, _)| *class == access);
        match row {
            Some((_, cells)) => cells.as_bytes()[column] == b'A',
            // CLEAR, PREEMPT, RELEASE: every registrant, and nobody else.
            None => registered,
        }
    }

    /// Whether a place, or a stranger, has less than before to read or write with.
    pub(crate) fn loses(&self, after: &Self, who: Option<usize>) -> bool {
        [Access::Read, Access::Write]
            .into_iter()
            .any(|access| self.permits(who, access) && !after.permits(who, access))
    }

    /// Registered or holding an SPC-2 reservation.
    pub(crate) fn knows(&self, who: usize) -> bool {
        self.is_registered(who) || self.spc2 == Some(who)
    }

    /// What is left when the power comes back.
    pub(crate) fn after_power_loss(self) -> Self {
        match self.aptpl {
            true => Self { spc2: None, ..self },
            false => Self::default(),
        }
    }

    /// Whether it contradicts itself.
    pub(crate) fn is_sound(&self) -> bool {
        let registrants = self.keys.iter().filter(|key| **key != 0).count();
        match self.holder {
            Some(holder) => {
                TYPES.contains(&self.kind)
                    && !is_all_registrants(self.kind)
                    && self.is_registered(holder)
            }
            None => !self.is_held() || (is_all_registrants(self.kind) && registrants > 0),
        }
    }

    // ---- what commands are made of --------------------------------------------------------------

    fn registrants(&self) -> impl Iterator<Item = usize> + use<> {
        let keys = self.keys;
        (0..PLACES).filter(move |who| keys[*who] != 0)
    }

    fn take(&mut self, who: usize, kind: u8) {
        self.kind = kind;
        self.holder = (!is_all_registrants(kind)).then_some(who);
    }

    fn release(&mut self) {
        self.kind = 0;
        self.holder = None;
    }

    /// Unregisters; the reservation goes with its holder, or with the last of all registrants.
    fn unregister(&mut self, who: usize) {
        let held = self.holds(who);
        self.keys[who] = 0;
        self.everywhere[who] = false;
        if held && (!is_all_registrants(self.kind) || self.registrants().count() == 0) {
            self.release();
        }
    }
}

impl Effect {
    fn on(unit: Unit) -> Self {
        Self {
            unit,
            counted: false,
            told: [0; PLACES],
            aborted: [false; PLACES],
        }
    }

    fn tell(&mut self, who: impl Iterator<Item = usize>, from: usize, qualifier: u8) {
        who.filter(|who| *who != from)
            .for_each(|who| self.told[who] = qualifier);
    }
}

// ---- what each command does ---------------------------------------------------------------------

/// The order of the checks: SPC-2, the matrix, the key, the rules of the service action.
pub(crate) fn answer(
    world: &World,
    unit: &Unit,
    from: usize,
    order: Order,
) -> Result<Effect, Status> {
    let class = match order {
        Order::Spc2Reserve | Order::Spc2Release => Access::Exempt,
        Order::Register { .. } | Order::RegisterAndIgnore { .. } => Access::Register,
        Order::Reserve { .. } | Order::RegisterAndMove { .. } => Access::Take,
        Order::Release { .. } | Order::Clear { .. } | Order::Preempt { .. } => Access::Manage,
    };
    if !unit.permits(Some(from), class) {
        return Err(Status::Conflict);
    }
    let is_known = |key: u64| match unit.is_registered(from) && unit.keys[from] == key {
        true => Ok(()),
        false => Err(Status::Conflict),
    };
    let mut effect = Effect::on(*unit);
    let next = &mut effect.unit;
    match order {
        Order::Register { .. } | Order::RegisterAndIgnore { .. } => {
            return register(world, unit, from, order);
        }
        Order::Reserve { key, kind } => {
            is_known(key)?;
            match (unit.is_held(), unit.holds(from), unit.kind == kind) {
                (false, _, _) => next.take(from, kind),
                (true, true, true) => {}
                _ => return Err(Status::Conflict),
            }
        }
        Order::Release {
            key,
            scope_and_type,
        } => {
            is_known(key)?;
            match (unit.holds(from), unit.kind == scope_and_type) {
                (false, _) => {}
                (true, false) => return Err(INVALID_RELEASE),
                (true, true) => {
                    next.release();
                    if is_registrants_only(unit.kind) || is_all_registrants(unit.kind) {
                        effect.tell(unit.registrants(), from, RESERVATIONS_RELEASED);
                    }
                }
            }
        }
        Order::Clear { key } => {
            is_known(key)?;
            *next = Unit {
                aptpl: unit.aptpl,
                spc2: unit.spc2,
                ..Unit::default()
            };
            effect.counted = true;
            effect.tell(unit.registrants(), from, RESERVATIONS_PREEMPTED);
        }
        Order::Preempt {
            key,
            victim,
            scope_and_type,
            abort,
        } => {
            is_known(key)?;
            return preempt(unit, from, victim, scope_and_type, abort);
        }
        Order::RegisterAndMove { key, .. } => {
            is_known(key)?;
            return relocate(world, unit, from, order);
        }
        Order::Spc2Reserve => return spc2(unit, from, true),
        Order::Spc2Release => return spc2(unit, from, false),
    }
    Ok(effect)
}

/// What holds the reservation, as PREEMPT sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    One,
    All,
}

/// Whose key the SERVICE ACTION RESERVATION KEY is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Zero,
    Nobody,
    Holder,
    Others,
}

#[derive(Debug, Clone, Copy)]
enum Preempts {
    /// Removes every registration with that key; the reservation is left alone.
    Matches,
    /// Removes every registration with that key but the sender's, and takes the reservation.
    Holder,
    /// Removes every registration but the sender's, and takes the reservation.
    Everyone,
    Fails(Status),
}

/// SPC-4 section 5.13.11.4.
const PREEMPT: [(Held, Names, Preempts); 9] = [
    (
        Held::Nothing,
        Names::Zero,
        Preempts::Fails(INVALID_PARAMETERS),
    ),
    (
        Held::Nothing,
        Names::Nobody,
        Preempts::Fails(Status::Conflict),
    ),
    (Held::Nothing, Names::Others, Preempts::Matches),
    (Held::All, Names::Zero, Preempts::Everyone),
    (Held::All, Names::Nobody, Preempts::Fails(Status::Conflict)),
    (Held::All, Names::Others, Preempts::Matches),
    (Held::One, Names::Zero, Preempts::Fails(INVALID_PARAMETERS)),
    (Held::One, Names::Holder, Preempts::Holder),
    (Held::One, Names::Others, Preempts::Matches),
];

fn preempt(
    unit: &Unit,
    from: usize,
    victim: u64,
    scope_and_type: u8,
    abort: bool,
) -> Result<Effect, Status> {
    let held = match unit.kind {
        0 => Held::Nothing,
        kind if is_all_registrants(kind) => Held::All,
        _ => Held::One,
    };
    let names = match victim {
        0 => Names::Zero,
        key if unit.holder.is_some_and(|holder| unit.keys[holder] == key) => Names::Holder,
        key if unit.keys.contains(&key) => Names::Others,
        _ => Names::Nobody,
    };
    let row = PREEMPT
        .iter()
        .find(|(when, whom, _)| (*when, *whom) == (held, names));
    let preempts = row.map_or(Preempts::Fails(Status::Conflict), |(_, _, what)| *what);
    let is_removed = |who: usize| match preempts {
        Preempts::Matches => unit.keys[who] == victim,
        Preempts::Holder => unit.keys[who] == victim && who != from,
        Preempts::Everyone => who != from,
        Preempts::Fails(_) => false,
    };
    let removed: Vec<usize> = unit.registrants().filter(|who| is_removed(*who)).collect();
    let mut effect = Effect::on(*unit);
    removed.iter().for_each(|who| effect.unit.unregister(*who));
    match preempts {
        Preempts::Fails(status) => return Err(status),
        Preempts::Holder | Preempts::Everyone => {
            if !TYPES.contains(&scope_and_type) {
                return Err(INVALID_CDB);
            }
            effect.unit.take(from, scope_and_type);
            if scope_and_type != unit.kind {
                effect.tell(effect.unit.registrants(), from, RESERVATIONS_RELEASED);
            }
        }
        Preempts::Matches => {}
    }
    effect.tell(removed.iter().copied(), from, REGISTRATIONS_PREEMPTED);
    effect.counted = true;
    if abort {
        removed.iter().for_each(|who| effect.aborted[*who] = true);
    }
    Ok(effect)
}

/// REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-4 section 5.13.7).
fn register(world: &World, unit: &Unit, from: usize, order: Order) -> Result<Effect, Status> {
    let (key, new_key, aptpl, everywhere, list) = match order {
        Order::Register {
            key,
            new_key,
            aptpl,
            everywhere,
            list,
        } => (Some(key), new_key, aptpl, everywhere, list),
        Order::RegisterAndIgnore {
            new_key,
            aptpl,
            everywhere,
        } => (None, new_key, aptpl, everywhere, Listed::None),
        _ => unreachable!("another service action"),
    };
    if key.is_some_and(|key| key != unit.keys[from]) {
        return Err(Status::Conflict);
    }
    if list != Listed::None && unit.is_registered(from) || list == Listed::Garbled {
        return Err(INVALID_PARAMETERS);
    }
    let covered: Vec<usize> = (0..world.nexuses.len())
        .filter(|who| *who == from || is_covered(world, unit, from, *who, key, everywhere))
        .collect();
    let mut effect = Effect::on(*unit);
    let next = &mut effect.unit;
    if new_key == 0 {
        if !covered.iter().any(|who| unit.is_registered(*who)) {
            return Ok(effect);
        }
        covered.iter().for_each(|who| next.unregister(*who));
        if is_registrants_only(unit.kind) && !next.is_held() {
            effect.tell(effect.unit.registrants(), from, RESERVATIONS_RELEASED);
        }
    } else {
        for who in covered {
            next.keys[who] = new_key;
            next.everywhere[who] |= everywhere;
        }
        if let Listed::WithUnknown(_) = list {
            return Err(INVALID_PARAMETERS);
        }
        if let Listed::Ports(initiators) = list {
            let (_, own_port) = world.nexuses[from];
            let ports: Vec<u16> = match everywhere {
                true => world.ports.to_vec(),
                false => vec![own_port],
            };
            let listed = initiators
                .iter()
                .flat_map(|who| ports.iter().map(|port| (*who, *port)));
            for who in listed.filter_map(|(who, port)| world.place(who, port)) {
                if !next.is_registered(who) {
                    next.keys[who] = new_key;
                    next.everywhere[who] = everywhere;
                }
            }
        }
        fits(world, unit, next)?;
    }
    effect.unit.aptpl = aptpl;
    effect.counted = true;
    Ok(effect)
}

/// Whether ALL_TG_PT has the request change another nexus of the same initiator port: because the
/// two are registered together, or because the request counts as received there too, where its key
/// has to be the right one as well.
fn is_covered(
    world: &World,
    unit: &Unit,
    from: usize,
    who: usize,
    key: Option<u64>,
    everywhere: bool,
) -> bool {
    let same_initiator = world.nexuses[from].0 == world.nexuses[who].0;
    let together =
        unit.everywhere[from] && unit.everywhere[who] && unit.keys[from] == unit.keys[who];
    let reached =
        everywhere && (!unit.is_registered(who) || key.is_none_or(|key| key == unit.keys[who]));
    same_initiator && (together || reached)
}

fn fits(world: &World, before: &Unit, after: &Unit) -> Result<(), Status> {
    let (before, after) = (before.registrants().count(), after.registrants().count());
    match after > before && after > world.registrations_max as usize {
        true => Err(NO_ROOM),
        false => Ok(()),
    }
}

/// REGISTER AND MOVE (SPC-4 section 5.13.8).
fn relocate(world: &World, unit: &Unit, from: usize, order: Order) -> Result<Effect, Status> {
    let Order::RegisterAndMove {
        new_key,
        unregister,
        aptpl,
        port,
        to,
        ..
    } = order
    else {
        unreachable!("another service action");
    };
    if !unit.is_held() {
        return Err(INVALID_CDB);
    }
    if unit.holder != Some(from) {
        return Err(Status::Conflict);
    }
    let destination = match to {
        Named::Port(initiator) | Named::Node(initiator) => world.place(initiator, port),
        Named::Unknown | Named::Garbled => None,
    };
    let destination = destination.filter(|who| new_key != 0 && *who != from);
    let destination = destination.ok_or(INVALID_PARAMETERS)?;
    let mut effect = Effect::on(*unit);
    let next = &mut effect.unit;
    next.keys[destination] = new_key;
    next.holder = Some(destination);
    if unregister {
        next.unregister(from);
    }
    fits(world, unit, next)?;
    next.aptpl = aptpl;
    effect.counted = true;
    Ok(effect)
}

/// RESERVE and RELEASE of SPC-2 with CRH = 1 (SPC-4 section 5.13.3).
fn spc2(unit: &Unit, from: usize, reserve: bool) -> Result<Effect, Status> {
    let mut effect = Effect::on(*unit);
    let served = unit.holds(from) || (unit.is_registered(from) && is_registrants_only(unit.kind));
    let others = unit.spc2.is_some_and(|holder| holder != from);
    if unit.spc2 == Some(from) && !reserve {
        effect.unit.spc2 = None;
    } else if others && reserve {
        return Err(Status::Conflict);
    } else if !served {
        if unit.registrants().count() > 0 {
            return Err(Status::Conflict);
        }
        if reserve {
            effect.unit.spc2 = Some(from);
        }
    }
    Ok(effect)
}

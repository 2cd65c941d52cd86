//! A deliberately naive reading of the specification's tables: arrays, raw numbers, no sharing of
//! code or structure with what it judges.

use super::world::{NEXUSES, PORTS};

/// What a command says, before it is bytes.
#[derive(Debug, Clone)]
pub(super) enum Say {
    Register {
        key: u64,
        sark: u64,
        aptpl: bool,
        atp: bool,
        list: Option<Vec<Named>>,
    },
    Ignore {
        sark: u64,
        aptpl: bool,
        atp: bool,
    },
    Reserve {
        key: u64,
        kind: u8,
    },
    Release {
        key: u64,
        kind: u8,
    },
    Clear {
        key: u64,
    },
    Preempt {
        key: u64,
        sark: u64,
        kind: u8,
        abort: bool,
    },
    Move {
        key: u64,
        sark: u64,
        unreg: bool,
        aptpl: bool,
        rtpi: u16,
        to: Named,
    },
    LegacyReserve,
    LegacyRelease,
    LegacyEnd {
        everyone: bool,
    },
}

/// An initiator port of the world, one of its nodes, or someone nobody knows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Port(usize),
    Alpha,
    Beta,
    Nobody,
}

/// What the initiator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Conflict,
    Check(u8, u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Status,
    /// Qualifier of 2Ah for each nexus, 0 for none.
    pub(super) told: [u8; NEXUSES],
    pub(super) aborted: [bool; NEXUSES],
}

/// The state: one slot per nexus of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oracle {
    /// 0 = not registered.
    pub(super) keys: [u64; NEXUSES],
    pub(super) atp: [bool; NEXUSES],
    /// 0 = no reservation.
    pub(super) kind: u8,
    pub(super) holder: Option<usize>,
    pub(super) generation: u32,
    pub(super) aptpl: bool,
    pub(super) legacy: Option<usize>,
    pub(super) max: usize,
}

const PORTS_OF_ALPHA: [usize; 2] = [0, 1];

impl Oracle {
    pub(super) fn new(max: usize) -> Self {
        Self {
            keys: [0; NEXUSES],
            atp: [false; NEXUSES],
            kind: 0,
            holder: None,
            generation: 0,
            aptpl: false,
            legacy: None,
            max,
        }
    }

    pub(super) fn holds(&self, who: usize) -> bool {
        self.keys[who] != 0
            && match self.kind {
                0 => false,
                7 | 8 => true,
                _ => self.holder == Some(who),
            }
    }

    fn registered(&self) -> usize {
        self.keys.iter().filter(|key| **key != 0).count()
    }

    /// Runs one command; a command that fails leaves everything as it was.
    pub(super) fn hear(&mut self, from: usize, say: &Say) -> Verdict {
        let before = self.clone();
        let mut told = [0; NEXUSES];
        let mut aborted = [false; NEXUSES];
        let status = self.run(from, say, &mut told, &mut aborted);
        if status != Status::Good {
            *self = before;
            told = [0; NEXUSES];
            aborted = [false; NEXUSES];
        }
        assert_eq!(told[from], 0, "the sender is never told");
        Verdict {
            status,
            told,
            aborted,
        }
    }

    fn run(
        &mut self,
        from: usize,
        say: &Say,
        told: &mut [u8; NEXUSES],
        aborted: &mut [bool; NEXUSES],
    ) -> Status {
        let shut_out = self.legacy.is_some_and(|holder| holder != from);
        match say {
            Say::LegacyReserve | Say::LegacyRelease => return self.legacy_command(from, say),
            Say::LegacyEnd { everyone } => {
                if *everyone || self.legacy == Some(from) {
                    self.legacy = None;
                }
                return Status::Good;
            }
            _ if shut_out => return Status::Conflict,
            _ => {}
        }
        let named_key = match say {
            Say::Reserve { key, .. }
            | Say::Release { key, .. }
            | Say::Clear { key }
            | Say::Preempt { key, .. }
            | Say::Move { key, .. } => Some(*key),
            _ => None,
        };
        if let Say::Reserve { kind, .. } = say
            && ![1, 3, 5, 6, 7, 8].contains(kind)
        {
            return Status::Check(0x24, 0);
        }
        if let Some(key) = named_key
            && (self.keys[from] == 0 || self.keys[from] != key)
        {
            return Status::Conflict;
        }
        match say {
            Say::Register {
                key,
                sark,
                aptpl,
                atp,
                list,
            } => {
                if self.keys[from] != *key {
                    return Status::Conflict;
                }
                if list.is_some() && self.keys[from] != 0 {
                    return Status::Check(0x26, 0);
                }
                let list = list.as_deref().unwrap_or_default();
                self.register(from, Some(*key), *sark, (*aptpl, *atp), list, told)
            }
            Say::Ignore { sark, aptpl, atp } => {
                self.register(from, None, *sark, (*aptpl, *atp), &[], told)
            }
            Say::Reserve { kind, .. } => {
                if self.kind == 0 {
                    self.take(from, *kind);
                    Status::Good
                } else if self.holds(from) && self.kind == *kind {
                    Status::Good
                } else {
                    Status::Conflict
                }
            }
            Say::Release { kind, .. } => {
                if self.kind == 0 || !self.holds(from) {
                    return Status::Good;
                }
                if self.kind != *kind {
                    return Status::Check(0x26, 0x04);
                }
                if self.kind >= 5 {
                    self.tell(told, from, 0x04);
                }
                self.drop_reservation();
                Status::Good
            }
            Say::Clear { .. } => {
                self.tell(told, from, 0x03);
                self.keys = [0; NEXUSES];
                self.atp = [false; NEXUSES];
                self.drop_reservation();
                self.generation = self.generation.wrapping_add(1);
                Status::Good
            }
            Say::Preempt {
                sark, kind, abort, ..
            } => {
                let mut gone = [false; NEXUSES];
                let status = self.preempt(from, *sark, *kind, told, &mut gone);
                if *abort {
                    *aborted = gone;
                }
                status
            }
            Say::Move {
                sark,
                unreg,
                aptpl,
                rtpi,
                to,
                ..
            } => self.relocate(from, *sark, *unreg, *aptpl, *rtpi, *to),
            _ => unreachable!("answered above"),
        }
    }

    fn legacy_command(&mut self, from: usize, say: &Say) -> Status {
        let reserve = matches!(say, Say::LegacyReserve);
        if !reserve && self.legacy == Some(from) {
            self.legacy = None;
            return Status::Good;
        }
        if reserve && self.legacy.is_some() && self.legacy != Some(from) {
            return Status::Conflict;
        }
        if self.holds(from) || (self.keys[from] != 0 && (self.kind == 5 || self.kind == 6)) {
            return Status::Good;
        }
        if self.registered() > 0 {
            return Status::Conflict;
        }
        if reserve {
            self.legacy = Some(from);
        }
        Status::Good
    }

    fn tell(&self, told: &mut [u8; NEXUSES], from: usize, what: u8) {
        for (who, slot) in told.iter_mut().enumerate() {
            if who != from && self.keys[who] != 0 {
                *slot = what;
            }
        }
    }

    fn take(&mut self, who: usize, kind: u8) {
        self.kind = kind;
        self.holder = if kind >= 7 { None } else { Some(who) };
    }

    fn drop_reservation(&mut self) {
        self.kind = 0;
        self.holder = None;
    }

    /// Removes one registration; the reservation goes with its holder or the last registrant.
    fn remove(&mut self, who: usize) {
        let held = self.holds(who);
        self.keys[who] = 0;
        self.atp[who] = false;
        let last = self.registered() == 0;
        if held && (self.kind < 7 || last) {
            self.drop_reservation();
        }
    }

    fn register(
        &mut self,
        from: usize,
        key: Option<u64>,
        sark: u64,
        (aptpl, atp): (bool, bool),
        list: &[Named],
        told: &mut [u8; NEXUSES],
    ) -> Status {
        let old = (self.keys[from], self.atp[from]);
        let mut meant = vec![from];
        for sibling in (0..NEXUSES).filter(|who| *who / 2 == from / 2 && *who != from) {
            let together = old.0 != 0 && old.1 && (self.keys[sibling], self.atp[sibling]) == old;
            let by_request = match key {
                None => true,
                Some(_) if self.keys[sibling] == 0 => sark != 0,
                Some(key) => self.keys[sibling] == key,
            };
            if together || (atp && by_request) {
                meant.push(sibling);
            }
        }
        if sark == 0 {
            meant.retain(|who| self.keys[*who] != 0);
            if meant.is_empty() {
                return Status::Good;
            }
            let kind = self.kind;
            meant.iter().for_each(|who| self.remove(*who));
            if self.kind == 0 && (kind == 5 || kind == 6) {
                self.tell(told, from, 0x04);
            }
        } else {
            let before = self.registered();
            for who in meant {
                self.keys[who] = sark;
                self.atp[who] |= atp;
            }
            for named in list {
                let ports = match named {
                    Named::Port(port) => vec![*port],
                    Named::Alpha => PORTS_OF_ALPHA.to_vec(),
                    Named::Beta => vec![2],
                    Named::Nobody => return Status::Check(0x26, 0),
                };
                for who in (0..NEXUSES).filter(|who| ports.contains(&(who / 2))) {
                    if self.keys[who] == 0 && (atp || who % 2 == from % 2) {
                        self.keys[who] = sark;
                        self.atp[who] = atp;
                    }
                }
                if self.registered() > self.max {
                    return Status::Check(0x55, 0x04);
                }
            }
            if self.registered() > self.max && self.registered() > before {
                return Status::Check(0x55, 0x04);
            }
        }
        self.aptpl = aptpl;
        self.generation = self.generation.wrapping_add(1);
        Status::Good
    }

    fn preempt(
        &mut self,
        from: usize,
        sark: u64,
        kind: u8,
        told: &mut [u8; NEXUSES],
        gone: &mut [bool; NEXUSES],
    ) -> Status {
        let matches: Vec<usize> = (0..NEXUSES)
            .filter(|who| sark != 0 && self.keys[*who] == sark)
            .collect();
        let all_registrants = self.kind >= 7;
        let take = match (self.kind, self.holder) {
            (0, _) => false,
            (7 | 8, _) => sark == 0,
            (_, Some(holder)) => sark != 0 && self.keys[holder] == sark,
            (_, None) => unreachable!("a single holder"),
        };
        if sark == 0 && !all_registrants {
            return Status::Check(0x26, 0);
        }
        if sark != 0 && matches.is_empty() {
            return Status::Conflict;
        }
        if take && ![1, 3, 5, 6, 7, 8].contains(&kind) {
            return Status::Check(0x24, 0);
        }
        let old = self.kind;
        for (who, is_gone) in gone.iter_mut().enumerate() {
            let hit = if take {
                who != from && self.keys[who] != 0 && (sark == 0 || self.keys[who] == sark)
            } else {
                matches.contains(&who)
            };
            if hit {
                self.remove(who);
                *is_gone = true;
            }
        }
        if take {
            self.take(from, kind);
            if kind != old {
                self.tell(told, from, 0x04);
            }
        }
        for who in (0..NEXUSES).filter(|who| gone[*who] && *who != from) {
            told[who] = 0x05;
        }
        self.generation = self.generation.wrapping_add(1);
        Status::Good
    }

    fn relocate(
        &mut self,
        from: usize,
        sark: u64,
        unreg: bool,
        aptpl: bool,
        rtpi: u16,
        to: Named,
    ) -> Status {
        if self.kind == 0 {
            return Status::Check(0x24, 0);
        }
        if self.kind >= 7 || self.holder != Some(from) {
            return Status::Conflict;
        }
        let port = match to {
            Named::Port(port) => port,
            Named::Beta => 2,
            Named::Alpha | Named::Nobody => return Status::Check(0x26, 0),
        };
        let Some(target) = PORTS.iter().position(|port| *port == rtpi) else {
            return Status::Check(0x26, 0);
        };
        let destination = port * 2 + target;
        if sark == 0 || destination == from {
            return Status::Check(0x26, 0);
        }
        let before = self.registered();
        self.keys[destination] = sark;
        self.holder = Some(destination);
        if unreg {
            self.keys[from] = 0;
            self.atp[from] = false;
        }
        if self.registered() > self.max && self.registered() > before {
            return Status::Check(0x55, 0x04);
        }
        self.aptpl = aptpl;
        self.generation = self.generation.wrapping_add(1);
        Status::Good
    }
}

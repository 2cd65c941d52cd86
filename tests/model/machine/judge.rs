//! Holds what the machine does against the tables, step by step and state by state.

use super::Machine;
use super::table::{self, Effect, Status, Unit};
use super::world::{PLACES, Step, World, initiator_port};
use holdfast::reservation::{
    self, Access, Attention, Context, InitiatorPort, Nexus, NexusIndex, Outcome, Refusal, Snapshot,
    State,
};

/// What a fault breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// The status of the command, and why it was refused.
    Status,
    /// The registrations, the reservation and APTPL from there on.
    NextState,
    /// PRGENERATION.
    Generation,
    /// Who is told what.
    Attentions,
    /// Every nexus that has less to read or write with is fenced, and nobody else.
    Fence,
    /// Whose commands end.
    Aborted,
    /// What has to be durable before GOOD.
    Durable,
    /// At most one holder unless all are, who is registered; no key is zero.
    Soundness,
    /// The matrix, as every I/O reads it.
    Matrix,
    /// The stored record.
    Record,
}

/// The machine is not what the tables say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fault {
    pub(crate) rule: Rule,
    pub(crate) says: String,
}

fn fault<T>(rule: Rule, says: impl Into<String>) -> Result<T, Fault> {
    let says = says.into();
    Err(Fault { rule, says })
}

fn expect<T: PartialEq + std::fmt::Debug>(
    rule: Rule,
    found: &T,
    expected: &T,
) -> Result<(), Fault> {
    match found == expected {
        true => Ok(()),
        false => fault(rule, format!("{found:?}, the tables say {expected:?}")),
    }
}

/// A world with its nexuses, ready to be asked.
pub(crate) struct Judge {
    pub(crate) world: World,
    nexuses: Vec<Nexus>,
    initiators: Vec<InitiatorPort>,
}

impl Judge {
    pub(crate) fn new(world: World) -> Self {
        let mut initiators: Vec<usize> = world.nexuses.iter().map(|at| at.0).collect();
        initiators.dedup();
        Self {
            world,
            nexuses: (0..world.nexuses.len()).map(|at| world.nexus(at)).collect(),
            initiators: initiators.into_iter().map(initiator_port).collect(),
        }
    }

    /// Takes one step with the machine, and judges it. Nothing if it changes nothing.
    pub(crate) fn step(
        &self,
        machine: Machine,
        state: &State,
        unit: &Unit,
        step: Step,
    ) -> Result<Option<(State, Unit)>, Fault> {
        let (outcome, effect) = match step {
            Step::Send { from, order } => {
                let known = |name: &str| -> Vec<InitiatorPort> {
                    let ports = self.initiators.iter().filter(|port| port.name() == name);
                    ports.cloned().collect()
                };
                let context = Context {
                    ports: self.world.ports,
                    known: &known,
                    registrations_max: self.world.registrations_max,
                };
                let answer = machine.send(state, &self.nexuses[from], order, &context);
                let expected = table::answer(&self.world, unit, from, order);
                let status = answer.as_ref().map_or_else(status_of, |_| Status::Good);
                let right = expected.map_or_else(|status| status, |_| Status::Good);
                expect(Rule::Status, &status, &right)?;
                match (answer, expected) {
                    (Ok(outcome), Ok(effect)) => (outcome, effect),
                    // Nothing has changed: the machine has only read the state.
                    _ => return Ok(None),
                }
            }
            Step::NexusLost(who) => return self.spc2_ends(machine, state, unit, Some(who)),
            Step::Reset => return self.spc2_ends(machine, state, unit, None),
            Step::PowerLoss => {
                let next = machine.power_loss(state);
                let found = self.view(&next)?;
                expect(Rule::NextState, &found, &unit.after_power_loss())?;
                expect(Rule::Generation, &next.generation(), &0)?;
                return Ok(Some((next, found)));
            }
        };
        self.judge(state, unit, &outcome, &effect)?;
        let next = effect.unit;
        Ok((next != *unit).then_some((outcome.next, next)))
    }

    /// An SPC-2 reservation ends with its holder's nexus, or by a reset.
    fn spc2_ends(
        &self,
        machine: Machine,
        state: &State,
        unit: &Unit,
        lost: Option<usize>,
    ) -> Result<Option<(State, Unit)>, Fault> {
        let ended = machine.spc2_ends(state, lost.map(|who| &self.nexuses[who]));
        let ends = unit.spc2.is_some() && lost.is_none_or(|lost| unit.spc2 == Some(lost));
        expect(Rule::NextState, &ended.is_some(), &ends)?;
        let Some(outcome) = ended else {
            return Ok(None);
        };
        let unit_after = Unit {
            spc2: None,
            ..*unit
        };
        let effect = Effect {
            unit: unit_after,
            counted: false,
            told: [0; PLACES],
            aborted: [false; PLACES],
        };
        self.judge(state, unit, &outcome, &effect)?;
        Ok(Some((outcome.next, unit_after)))
    }

    fn judge(
        &self,
        state: &State,
        unit: &Unit,
        outcome: &Outcome,
        effect: &Effect,
    ) -> Result<(), Fault> {
        let next = self.view(&outcome.next)?;
        expect(Rule::NextState, &next, &effect.unit)?;
        let generation = state.generation().wrapping_add(effect.counted.into());
        expect(Rule::Generation, &outcome.next.generation(), &generation)?;
        expect(Rule::Attentions, &self.told(outcome)?, &effect.told)?;
        expect(
            Rule::Aborted,
            &self.places(&outcome.aborted)?,
            &effect.aborted,
        )?;
        let fenced = std::array::from_fn(|who| {
            let known = unit.knows(who) || next.knows(who);
            known && unit.loses(&next, Some(who))
        });
        expect(Rule::Fence, &self.places(&outcome.fenced)?, &fenced)?;
        let strangers = unit.loses(&next, None);
        expect(Rule::Fence, &outcome.fences_unregistered, &strangers)?;
        let stored = unit.after_power_loss() != next.after_power_loss();
        expect(Rule::Durable, &outcome.durable, &stored)
    }

    /// Judges a state by itself.
    pub(crate) fn state(&self, machine: Machine, state: &State, unit: &Unit) -> Result<(), Fault> {
        expect(Rule::Soundness, &unit.is_sound(), &true)?;
        for (who, nexus) in self.nexuses.iter().enumerate() {
            expect(Rule::Soundness, &state.is_holder(nexus), &unit.holds(who))?;
        }
        // Positions in the table that are neither dense nor in the order of the nexuses.
        let position = |who: usize| NexusIndex(u32::try_from(2 * (PLACES - who)).expect("small"));
        let at = |nexus: &Nexus| self.place(nexus).map(position);
        let snapshot = Snapshot::build(state, at);
        let strangers = [NexusIndex(1), NexusIndex(999), NexusIndex::NONE];
        let strangers = strangers.map(|index| (None, index));
        let everyone = (0..self.nexuses.len()).map(|who| (Some(who), position(who)));
        for (who, index) in everyone.chain(strangers) {
            let rights = machine.rights(state, &snapshot, index);
            for access in Access::ALL {
                if rights.permits(access) != unit.permits(who, access) {
                    return fault(
                        Rule::Matrix,
                        format!("{who:?} {access:?}: {}", rights.permits(access)),
                    );
                }
            }
        }
        let decoded = reservation::decode(&reservation::encode(state));
        expect(Rule::Record, &decoded, &Ok(state.after_power_loss()))
    }

    /// The state as the tables write it.
    pub(crate) fn view(&self, state: &State) -> Result<Unit, Fault> {
        let mut unit = Unit {
            aptpl: state.aptpl(),
            ..Unit::default()
        };
        for (nexus, registration) in state.registrations() {
            let who = self.known(nexus)?;
            if registration.key.is_none() {
                return fault(Rule::Soundness, format!("{nexus} registered the key zero"));
            }
            unit.keys[who] = registration.key.0;
            unit.everywhere[who] = registration.all_target_ports;
        }
        if let Some(held) = state.reservation() {
            unit.kind = held.kind.code();
            unit.holder = held
                .holder
                .as_ref()
                .map(|who| self.known(who))
                .transpose()?;
        }
        unit.spc2 = state
            .legacy_holder()
            .map(|who| self.known(who))
            .transpose()?;
        Ok(unit)
    }

    /// Each at most once, and the qualifier of what it is told.
    fn told(&self, outcome: &Outcome) -> Result<[u8; PLACES], Fault> {
        let mut told = [0; PLACES];
        for (nexus, attention) in &outcome.attentions {
            let who = self.known(nexus)?;
            let (asc, qualifier) = Attention::additional_sense(*attention);
            if asc != 0x2a || told[who] != 0 {
                return fault(Rule::Attentions, format!("{attention:?} for {nexus}"));
            }
            told[who] = qualifier;
        }
        Ok(told)
    }

    fn places(&self, nexuses: &[Nexus]) -> Result<[bool; PLACES], Fault> {
        let mut places = [false; PLACES];
        for nexus in nexuses {
            places[self.known(nexus)?] = true;
        }
        Ok(places)
    }

    fn place(&self, nexus: &Nexus) -> Option<usize> {
        self.nexuses.iter().position(|known| known == nexus)
    }

    fn known(&self, nexus: &Nexus) -> Result<usize, Fault> {
        match self.place(nexus) {
            Some(who) => Ok(who),
            None => fault(Rule::NextState, format!("{nexus} is not of this world")),
        }
    }
}

fn status_of(refusal: &Refusal) -> Status {
    match refusal.additional_sense() {
        None => Status::Conflict,
        Some((asc, ascq)) => Status::Check(asc, ascq),
    }
}

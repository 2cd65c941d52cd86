//! The reservation machine, explored until nothing new is found.
//!
//! Three nexuses, two keys, six types and every service action make some thousand states; each step
//! out of each of them is judged ([`judge`]) by the tables of the standard ([`table`]). The generation
//! counts for ever, so it is judged at every step and left out of the state. What the machine does
//! never depends on it.

mod judge;
mod mutants;
mod table;
mod world;

use holdfast::reservation::State;
use judge::{Fault, Judge};
use mutants::Machine;
use stateright::{Checker, Model, Property};
use std::hash::{Hash, Hasher};
use table::Unit;
use world::{CROWDED, Step, TWO_PORTS, WIDE, World};

/// A state that was reached, and what was wrong with the step that reached it.
#[derive(Debug, Clone)]
struct Reached {
    state: State,
    unit: Unit,
    fault: Option<Fault>,
}

impl PartialEq for Reached {
    fn eq(&self, other: &Self) -> bool {
        (&self.unit, &self.fault) == (&other.unit, &other.fault)
    }
}

impl Hash for Reached {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.unit, &self.fault).hash(hasher);
    }
}

/// What is explored: a machine in a world.
struct Exploration {
    machine: Machine,
    judge: Judge,
    steps: Vec<Step>,
}

impl Exploration {
    fn new(machine: Machine, world: World) -> Self {
        Self {
            machine,
            judge: Judge::new(world),
            steps: world.steps(),
        }
    }

    /// What is wrong, with the step or with the state.
    fn fault(&self, reached: &Reached) -> Option<Fault> {
        let state = || {
            let judged = self
                .judge
                .state(self.machine, &reached.state, &reached.unit);
            judged.err()
        };
        reached.fault.clone().or_else(state)
    }
}

impl Model for Exploration {
    type State = Reached;
    type Action = Step;

    fn init_states(&self) -> Vec<Reached> {
        vec![Reached {
            state: State::new(),
            unit: Unit::default(),
            fault: None,
        }]
    }

    fn actions(&self, reached: &Reached, actions: &mut Vec<Step>) {
        if reached.fault.is_none() {
            actions.extend(&self.steps);
        }
    }

    fn next_state(&self, reached: &Reached, step: Step) -> Option<Reached> {
        let taken = self
            .judge
            .step(self.machine, &reached.state, &reached.unit, step);
        match taken {
            Ok(next) => next.map(|(state, unit)| Reached {
                state,
                unit,
                fault: None,
            }),
            Err(fault) => Some(Reached {
                fault: Some(fault),
                ..reached.clone()
            }),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("as the tables say", |model, reached| {
            model.fault(reached).is_none()
        })]
    }
}

/// Explores all of a world, and shows that nothing is at fault. Neither the states nor the steps
/// judged may become fewer unnoticed.
#[track_caller]
fn explore(world: World, states_min: usize, judged_min: usize) {
    let exploration = Exploration::new(Machine::Real, world);
    let steps = exploration.steps.len();
    let checker = exploration.checker().threads(2).spawn_bfs().join();
    if let Some(path) = checker.discovery("as the tables say") {
        let fault = checker.model().fault(path.last_state());
        panic!("{fault:?} after {:#?}", path.into_actions());
    }
    let states = checker.unique_state_count();
    let judged = states * steps;
    println!("{states} states, {judged} steps judged");
    assert!(states >= states_min, "only {states} states were explored");
    assert!(judged >= judged_min, "only {judged} steps were judged");
}

#[test]
fn three_nexuses_two_keys_six_types_every_service_action() {
    explore(WIDE, 2_300, 3_500_000);
}

#[test]
fn two_initiators_through_two_target_ports() {
    explore(TWO_PORTS, 3_200, 2_200_000);
}

#[test]
fn more_nexuses_than_there_is_room_for() {
    explore(CROWDED, 130, 80_000);
}

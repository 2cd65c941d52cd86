//! The machine, and machines that do one thing wrong: mistakes that other targets have made, or that
//! are easily made here.
//!
//! A mutant is the real machine with its outcome falsified, so that it differs in the one thing that
//! its name says. The state itself is closed to the outside; a wrong one is reached by further
//! commands.

use super::Exploration;
use super::judge::Rule;
use super::world::{CROWDED, Listed, NARROW, Order, TWO_PORTS, World};
use holdfast::reservation::{
    self, Attention, Command, Context, Key, Nexus, NexusIndex, Outcome, Refusal, Rights,
    ScopeAndType, Snapshot, State,
};
use stateright::{Checker, Model};

/// What is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// `holdfast::reservation` as it is.
    Real,
    /// A holder that changes its key loses the reservation.
    KeyChangeLosesTheHolder,
    /// CLEAR reports REGISTRATIONS PREEMPTED.
    ClearReportsRegistrations,
    /// PREEMPT counts once for every registration that it removes.
    GenerationCountsRemovedKeys,
    /// RESERVE counts.
    ReserveCounts,
    /// PREEMPT with a key of zero under all registrants keeps the others.
    PreemptAllKeepsTheOthers,
    /// The first of all registrants that unregisters releases the reservation.
    UnregisteringReleasesAllRegistrants,
    /// The fence forgets one nexus.
    FenceMissesANexus,
    /// The fence forgets those who are not registered.
    FenceMissesStrangers,
    /// PREEMPT AND ABORT aborts whoever has the key, the sender included.
    AbortsByKey,
    /// PREEMPT aborts too.
    PreemptAborts,
    /// Under the all-registrants types those who are not registered are let in.
    StrangersLetIn,
    /// RELEASE by a nexus that is not registered is answered GOOD.
    ReleaseByStrangerIsGood,
    /// RELEASE with the wrong type is a conflict.
    WrongReleaseConflicts,
    /// The sender is told of what it has done.
    SenderIsTold,
    /// Nobody is told when the holder of a registrants-only reservation unregisters.
    ReleaseIsNotTold,
    /// GOOD goes out before anything is durable.
    NothingIsDurable,
    /// Registrations outlive a power loss without APTPL.
    PowerLossKeepsAll,
    /// REGISTER AND MOVE registers the destination and keeps the reservation.
    MoveKeepsTheReservation,
    /// ALL_TG_PT registers through one target port.
    AllTargetPortsIgnored,
    /// SPEC_I_PT leaves out what it does not know, and registers the rest.
    UnknownPortsSkipped,
    /// There is always room.
    NoLimit,
    /// An SPC-2 reservation outlives its nexus.
    Spc2OutlivesItsNexus,
}

impl Machine {
    /// The answer to a command.
    pub(crate) fn send(
        self,
        state: &State,
        from: &Nexus,
        order: Order,
        context: &Context<'_>,
    ) -> Result<Outcome, Refusal> {
        let command = match order {
            Order::Spc2Reserve => return reservation::reserve_legacy(state, from),
            Order::Spc2Release => return reservation::release_legacy(state, from),
            _ => self.heard(order).command().expect("not of SPC-2"),
        };
        let context = match self {
            Self::NoLimit => Context {
                registrations_max: 1024,
                ..*context
            },
            _ => *context,
        };
        let answer = reservation::apply(state, from, &command, &context);
        match (self, answer) {
            (Self::ReleaseByStrangerIsGood, Err(Refusal::Conflict)) => {
                let unregistered = state.registration(from).is_none();
                match command {
                    // To change a key to zero from zero is GOOD, and changes nothing.
                    Command::Release { .. } if unregistered && !state.is_blocked(from) => {
                        reservation::apply(state, from, &no_change(), &context)
                    }
                    _ => Err(Refusal::Conflict),
                }
            }
            (Self::WrongReleaseConflicts, Err(Refusal::WRONG_RELEASE)) => Err(Refusal::Conflict),
            (_, Ok(outcome)) => Ok(self.falsify(state, from, &command, &context, outcome)),
            (_, refused) => refused,
        }
    }

    /// The order as a machine that does not understand all of it hears it.
    fn heard(self, order: Order) -> Order {
        match (self, order) {
            (
                Self::AllTargetPortsIgnored,
                Order::RegisterAndIgnore {
                    new_key,
                    aptpl,
                    everywhere: true,
                },
            ) => Order::RegisterAndIgnore {
                new_key,
                aptpl,
                everywhere: false,
            },
            (
                Self::UnknownPortsSkipped,
                Order::Register {
                    key,
                    new_key,
                    aptpl,
                    everywhere,
                    list: Listed::WithUnknown(_),
                },
            ) => Order::Register {
                key,
                new_key,
                aptpl,
                everywhere,
                list: Listed::Ports(&[2]),
            },
            (_, order) => order,
        }
    }

    fn falsify(
        self,
        state: &State,
        from: &Nexus,
        command: &Command,
        context: &Context<'_>,
        mut outcome: Outcome,
    ) -> Outcome {
        let held = state.reservation().map(|held| held.kind);
        let key = state.key(from).unwrap_or(Key::NONE);
        // What follows when `who` sends one more command that succeeds.
        let then = |state: &State, who: &Nexus, command: &Command| {
            reservation::apply(state, who, command, context).map_or(state.clone(), |then| then.next)
        };
        let again = Command::RegisterAndIgnore {
            new_key: outcome.next.key(from).unwrap_or(Key::NONE),
            aptpl: outcome.next.aptpl(),
            all_target_ports: false,
        };
        let release = |key: Key| Command::Release {
            key,
            scope_and_type: held.map_or(ScopeAndType(0), ScopeAndType::of),
        };
        match (self, command) {
            (Self::KeyChangeLosesTheHolder, Command::Register { new_key, .. })
                if !new_key.is_none() && state.is_holder(from) =>
            {
                outcome.next = then(&outcome.next, from, &release(*new_key));
            }
            (Self::ClearReportsRegistrations, Command::Clear { .. }) => {
                for (_, attention) in &mut outcome.attentions {
                    *attention = Attention::RegistrationsPreempted;
                }
            }
            (Self::GenerationCountsRemovedKeys, Command::Preempt { .. }) => {
                let left = outcome.next.registrations().len();
                let removed = state.registrations().len() - left;
                if removed >= 2 && outcome.next.key(from).is_some() {
                    outcome.next = then(&outcome.next, from, &again);
                }
            }
            (Self::ReserveCounts, Command::Reserve { .. }) => {
                outcome.next = then(&outcome.next, from, &again);
            }
            (
                Self::PreemptAllKeepsTheOthers,
                Command::Preempt {
                    victim: Key::NONE,
                    scope_and_type,
                    ..
                },
            ) => {
                if let Some(kind) = scope_and_type.kind() {
                    let released = then(state, from, &release(key));
                    let reserved = then(&released, from, &Command::Reserve { key, kind });
                    outcome.next = then(&reserved, from, &again);
                }
            }
            (
                Self::UnregisteringReleasesAllRegistrants,
                Command::Register {
                    new_key: Key::NONE, ..
                },
            ) => {
                let left = outcome.next.registrations().next();
                let left = left.map(|(nexus, registration)| (nexus.clone(), registration.key));
                let all = held.is_some_and(|kind| kind.is_all_registrants());
                if let (true, true, Some((other, key))) =
                    (all, state.registration(from).is_some(), left)
                {
                    outcome.next = then(&outcome.next, &other, &release(key));
                }
            }
            (Self::FenceMissesANexus, _) => drop(outcome.fenced.pop()),
            (Self::FenceMissesStrangers, _) => outcome.fences_unregistered = false,
            (Self::AbortsByKey, Command::PreemptAndAbort { victim, .. }) => {
                let named = state.registrations();
                let named = named.filter(|(_, registration)| registration.key == *victim);
                outcome.aborted = named.map(|(nexus, _)| nexus.clone()).collect();
            }
            (
                Self::PreemptAborts,
                Command::Preempt {
                    key,
                    victim,
                    scope_and_type,
                },
            ) => {
                let aborts = Command::PreemptAndAbort {
                    key: *key,
                    victim: *victim,
                    scope_and_type: *scope_and_type,
                };
                let aborts = reservation::apply(state, from, &aborts, context);
                outcome.aborted = aborts.map_or(Vec::new(), |outcome| outcome.aborted);
            }
            (Self::SenderIsTold, Command::Clear { .. }) => {
                let told = Attention::ReservationsPreempted;
                outcome.attentions.push((from.clone(), told));
            }
            (
                Self::ReleaseIsNotTold,
                Command::Register { .. } | Command::RegisterAndIgnore { .. },
            ) => outcome.attentions.clear(),
            (Self::NothingIsDurable, _) => outcome.durable = false,
            (
                Self::MoveKeepsTheReservation,
                Command::RegisterAndMove {
                    new_key,
                    unregister: false,
                    aptpl,
                    destination: Ok(reservation::TransportId::Port(port)),
                    target_port,
                    ..
                },
            ) => {
                let destination = Nexus::new(port.clone(), *target_port);
                let registers = Command::RegisterAndIgnore {
                    new_key: *new_key,
                    aptpl: *aptpl,
                    all_target_ports: false,
                };
                outcome.next = then(state, &destination, &registers);
            }
            _ => {}
        }
        outcome
    }

    /// What follows from the loss of a nexus, or from a reset.
    pub(crate) fn spc2_ends(self, state: &State, lost: Option<&Nexus>) -> Option<Outcome> {
        reservation::end_legacy(state, lost)
            .filter(|_| self != Self::Spc2OutlivesItsNexus || lost.is_none())
    }

    /// The state after the record was written, the power lost, and the record read.
    pub(crate) fn power_loss(self, state: &State) -> State {
        match self {
            Self::PowerLossKeepsAll => state.clone(),
            _ => reservation::decode(&reservation::encode(state)).expect("its own record"),
        }
    }

    /// What an I/O of the nexus at `index` finds.
    pub(crate) fn rights(self, state: &State, snapshot: &Snapshot, index: NexusIndex) -> Rights {
        let rights = snapshot.rights(index);
        let held = state.reservation().map(|held| held.kind);
        let all = held.is_some_and(|kind| kind.is_all_registrants());
        match self {
            Self::StrangersLetIn if all && !rights.is_registered() && !rights.spc2_blocked() => {
                Rights::UNRESERVED
            }
            _ => rights,
        }
    }
}

/// What changes nothing when a nexus that is not registered sends it.
fn no_change() -> Command {
    Command::Register {
        key: Key::NONE,
        new_key: Key::NONE,
        aptpl: false,
        all_target_ports: false,
        others: None,
    }
}

/// Shows that the exploration finds the mutant out, by the rule that it breaks, and prints how.
#[track_caller]
fn is_caught(mutant: Machine, world: World, rule: Rule) {
    let checker = Exploration::new(mutant, world).checker().spawn_bfs().join();
    let Some(path) = checker.discovery("as the tables say") else {
        panic!("{mutant:?} was not found out");
    };
    let fault = checker.model().fault(path.last_state());
    let fault = fault.expect("the last state of a counterexample is at fault");
    println!("{mutant:?}: {:?}: {}", fault.rule, fault.says);
    for step in path.into_actions() {
        println!("    {step:?}");
    }
    assert_eq!(fault.rule, rule, "{mutant:?} was found out by another rule");
}

/// One test for each mutant.
macro_rules! mutants {
    ($($name:ident: $mutant:ident in $world:ident breaks $rule:ident;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Machine::$mutant, $world, Rule::$rule);
        })*
    };
}

mutants! {
    a_key_change_that_loses_the_holder: KeyChangeLosesTheHolder in NARROW breaks NextState;
    a_clear_that_reports_registrations_preempted: ClearReportsRegistrations in NARROW breaks Attentions;
    a_generation_that_counts_removed_keys: GenerationCountsRemovedKeys in NARROW breaks Generation;
    a_reserve_that_counts: ReserveCounts in NARROW breaks Generation;
    a_preempt_of_all_that_keeps_the_others: PreemptAllKeepsTheOthers in NARROW breaks NextState;
    an_unregistration_that_releases_for_all: UnregisteringReleasesAllRegistrants in NARROW breaks NextState;
    a_fence_that_misses_a_nexus: FenceMissesANexus in NARROW breaks Fence;
    a_fence_that_misses_strangers: FenceMissesStrangers in NARROW breaks Fence;
    an_abort_by_key: AbortsByKey in NARROW breaks Aborted;
    a_preempt_that_aborts: PreemptAborts in NARROW breaks Aborted;
    strangers_let_in_under_all_registrants: StrangersLetIn in NARROW breaks Matrix;
    a_release_by_a_stranger_answered_good: ReleaseByStrangerIsGood in NARROW breaks Status;
    a_wrong_release_answered_with_a_conflict: WrongReleaseConflicts in NARROW breaks Status;
    a_sender_that_is_told: SenderIsTold in NARROW breaks Attentions;
    a_release_that_nobody_is_told_of: ReleaseIsNotTold in NARROW breaks Attentions;
    a_change_that_is_not_made_durable: NothingIsDurable in NARROW breaks Durable;
    a_power_loss_that_keeps_all: PowerLossKeepsAll in NARROW breaks NextState;
    a_move_that_keeps_the_reservation: MoveKeepsTheReservation in NARROW breaks NextState;
    all_target_ports_ignored: AllTargetPortsIgnored in TWO_PORTS breaks NextState;
    unknown_ports_skipped: UnknownPortsSkipped in NARROW breaks Status;
    no_limit_of_registrations: NoLimit in CROWDED breaks Status;
    an_spc2_reservation_that_outlives_its_nexus: Spc2OutlivesItsNexus in NARROW breaks NextState;
}

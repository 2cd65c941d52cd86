//! A model of the fence: check → issue → publish → grace period → GOOD, with everything around it
//! that can come in between.
//!
//! The program's reactors, the volume's home, the backend, the store and the initiators take steps in
//! every order that is possible. Each step stands for a function of `src/target`, which its comment
//! names. What is promised ([`state::Fault`]) is judged at every step:
//!
//! - no write of a node starts or takes effect after the command that took its right has returned
//!   GOOD, until the node has the right again;
//! - nothing is answered GOOD that a power cut would undo;
//! - PREEMPT AND ABORT ends every command of its victims and nobody else's;
//! - no piece is issued under an index that names another node;
//! - a command that fails has changed nothing; a write that is over takes no effect;
//! - every command is answered, by itself or by the bound of the fence.
//!
//! ```text
//!  initiators          reactor of the connection      owner of the shard           home
//!  WRITE ────────────▶ check at arrival, R2T
//!  Data-Out ─────────▶ launch ────── Piece ─────────▶ check │ count, issue ─▶ backend
//!                                                           └ another reactor may publish here
//!  PERSISTENT
//!  RESERVE OUT ──────▶ ───────────── Order ──────────────────────────────────────▶ save, publish
//!                      mark victims ◀────────────────────────── Abort ────────────┤
//!                                                    drain ◀───── Fence ───────────┤
//!                      quiet ────────────────────────┴─────────── Reply ──────────▶ GOOD
//! ```
//!
//! Left out, because nothing of it bears on these promises: reads, unit attentions, the move of a
//! connection to its reactor, buffers, and the types of reservations, which `machine` explores. The
//! bound of what is aborted, once the fence has passed, is left out too: where something is reserved only
//! a read could be waited for there, and `Home::enact` asks for another fence where it is not over.

mod home;
mod mutants;
mod reactor;
mod scenario;
mod state;

use mutants::Mutant;
use scenario::{
    HOPS, HUNG, HUNG_ABORT, LOCKED, MUTUAL, NEWCOMER, ONE_SHARD, REGAIN, REMOTE_SESSIONS, SESSIONS,
    STRANGERS, Scenario, UNORDERED, UNRESERVED, UNRESERVED_ONE_SHARD,
};
use state::{
    Fault, HOME, Home, INDICES, Message, Order, Piece, Reactor, Reservation, Session, Set,
    Snapshot, Stage, State, Task, Write,
};
use stateright::{Checker, Model, Path, Property};

/// The model: what happens, and what is done wrong.
struct Fence {
    scenario: Scenario,
    mutant: Option<Mutant>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    // Initiators.
    Write(u8),
    DataOut(u8),
    Order(u8),
    AbortTask(u8),
    LoseSession(u8),
    LogIn(u8),
    // Reactors.
    Deliver { from: usize, to: usize, at: usize },
    Issue { reactor: usize },
    Unlock { reactor: usize },
    IssueAgain(u8),
    HearFromStore,
    FenceTimesOut,
    // Devices.
    TakeEffect(u8),
    Complete(u8),
    StoreSaves,
    StoreFails,
    PowerCut,
}

/// A step as it is taken.
struct Run<'a> {
    model: &'a Fence,
    state: State,
}

impl Run<'_> {
    fn has(&self, mutant: Mutant) -> bool {
        self.model.mutant == Some(mutant)
    }

    fn break_promise(&mut self, fault: Fault) {
        self.state.fault.get_or_insert(fault);
    }

    fn deliver(&mut self, from: usize, to: usize, at: usize) {
        match self.state.mail[from][to].remove(at) {
            Message::Piece(write) => self.piece_arrives(write),
            Message::PieceDone { write, good } => self.piece_is_done(write, good),
            Message::Order(order) => self.order_arrives(order),
            Message::Answer(order) => self.order_ends(order),
            Message::Fence { order, lost } => self.fence(to, order, lost),
            Message::Abort { order, nexuses } => self.abort(to, order, nexuses),
            Message::Reply { order, stage } => self.reply_arrives(from, order, stage),
            Message::Leave { node, index } => self.session_leaves(node, index),
        }
    }

    /// The power goes: the reservation is now what the store has, which is what was last answered
    /// GOOD, or what is being changed to. A save that failed to undo another one is known to differ.
    fn cut_power(&mut self) {
        self.state.cut = true;
        let State { store, home, .. } = &self.state;
        let changing = home.change.is_some_and(|change| change.next == *store);
        if *store != self.state.acknowledged && !changing && !home.unsaved {
            self.break_promise(Fault::NotDurable);
        }
    }
}

impl Fence {
    /// What some reactor or device will do, sooner or later.
    fn will(&self, state: &State, actions: &mut Vec<Action>) {
        let reactors = usize::from(self.scenario.reactors);
        let free = |reactor: usize| state.reactors[reactor].checking.is_none();
        for to in 0..reactors {
            if !free(to) {
                actions.push(Action::Issue { reactor: to });
                continue;
            }
            for from in 0..reactors {
                let waiting = state.mail[from][to].len();
                let first = if self.scenario.unordered {
                    waiting
                } else {
                    waiting.min(1)
                };
                actions.extend((0..first).map(|at| Action::Deliver { from, to, at }));
            }
            if state.reactors[to].locked {
                actions.push(Action::Unlock { reactor: to });
            }
        }
        for number in 0..small(state.writes.len()) {
            let owner = self.owner(state, number);
            let waits = state.writes[usize::from(number)].piece == Piece::Waits;
            if waits && free(owner) && !state.reactors[owner].locked {
                actions.push(Action::IssueAgain(number));
            }
        }
        match state.home.change.map(|change| change.stage) {
            Some(Stage::Saving | Stage::TakingBack) => actions.push(Action::StoreSaves),
            Some(Stage::Saved) if free(HOME) => actions.push(Action::HearFromStore),
            // The bound is seconds; a mark that was posted has arrived by then.
            Some(Stage::Fencing) if free(HOME) && self.bounded() && !marks_travel(state) => {
                actions.push(Action::FenceTimesOut);
            }
            _ => {}
        }
        if !self.scenario.backend_hangs {
            self.backend(state, actions);
        }
    }

    /// What the backend does unless it hangs.
    fn backend(&self, state: &State, actions: &mut Vec<Action>) {
        for number in 0..small(state.writes.len()) {
            let owner = self.owner(state, number);
            match state.writes[usize::from(number)].piece {
                Piece::Issued => actions.push(Action::TakeEffect(number)),
                Piece::Effective if state.reactors[owner].checking.is_none() => {
                    actions.push(Action::Complete(number));
                }
                _ => {}
            }
        }
    }

    /// What initiators may do, and what may go wrong.
    fn may(&self, state: &State, actions: &mut Vec<Action>) {
        if self.scenario.backend_hangs {
            self.backend(state, actions);
        }
        let lives = |node: u8| {
            let reactor = self.scenario.connections[usize::from(node)];
            let free = state.reactors[reactor].checking.is_none();
            free && matches!(state.sessions[usize::from(node)], Session::In { .. })
        };
        for (number, write) in (0..).zip(&state.writes) {
            let (node, _) = self.scenario.writes[usize::from(number)];
            match write.task {
                Task::Unsent if lives(node) => actions.push(Action::Write(number)),
                Task::AwaitsData if lives(node) => actions.push(Action::DataOut(number)),
                _ => {}
            }
            let sent = matches!(write.task, Task::AwaitsData | Task::Runs);
            if self.scenario.task_aborts && sent && !write.aborted && lives(node) {
                actions.push(Action::AbortTask(number));
            }
        }
        for (number, order) in (0..).zip(&state.orders) {
            let (node, _) = self.scenario.orders[usize::from(number)];
            if order.task == Task::Unsent && lives(node) {
                actions.push(Action::Order(number));
            }
        }
        let drops = state.may_drop.iter().filter(|node| lives(*node));
        actions.extend(drops.map(Action::LoseSession));
        if state.reactors[HOME].checking.is_none() {
            let out = |node: &u8| {
                let gone = state.sessions[usize::from(*node)] == Session::Out;
                gone && !state.home.seats.contains(*node)
            };
            actions.extend(state.may_log_in.iter().filter(out).map(Action::LogIn));
        }
        let stage = state.home.change.map(|change| change.stage);
        if state.store_may_fail && matches!(stage, Some(Stage::Saving | Stage::TakingBack)) {
            actions.push(Action::StoreFails);
        }
        if self.scenario.power_cut {
            actions.push(Action::PowerCut);
        }
    }

    fn owner(&self, state: &State, write: u8) -> usize {
        let chunk = state.writes[usize::from(write)].chunk;
        self.scenario.writes[usize::from(write)].1[usize::from(chunk)]
    }

    fn bounded(&self) -> bool {
        self.scenario.backend_hangs && self.mutant != Some(Mutant::NoBound)
    }

    /// What is wrong: a promise that the last step broke, or a command that nobody will answer.
    fn fault(&self, state: &State) -> Option<Fault> {
        let unanswered = || {
            let mut coming = Vec::new();
            self.will(state, &mut coming);
            let orders = state.orders.iter().any(|order| order.task == Task::Runs);
            let writes = state.writes.iter().any(|write| write.task == Task::Runs);
            let closing = |session: &Session| matches!(session, Session::Closing { .. });
            let tasks = writes || state.sessions.iter().any(closing);
            let waits = orders || tasks && !self.scenario.backend_hangs;
            (coming.is_empty() && !state.cut && waits).then_some(Fault::Unanswered)
        };
        state.fault.or_else(unanswered)
    }
}

impl Model for Fence {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let scenario = &self.scenario;
        let reservation = Reservation {
            registered: scenario.registered.iter().copied().collect(),
            reserved: scenario.reserved,
        };
        let write = Write {
            task: Task::Unsent,
            aborted: false,
            chunk: 0,
            index: 0,
            piece: Piece::None,
            counted: false,
            doomed: false,
        };
        let order = Order {
            task: Task::Unsent,
            aborted: false,
            doomed: false,
        };
        let locked = |reactor| Reactor {
            locked: scenario.locked == Some(reactor),
            ..Reactor::default()
        };
        let state = State {
            home: Home {
                reservation,
                table: [None; INDICES],
                seats: Set::EMPTY,
                queue: Vec::new(),
                change: None,
                aborting: Set::EMPTY,
                unsaved: false,
            },
            snapshot: Snapshot {
                registered: Set::EMPTY,
                reserved: scenario.reserved,
            },
            store: reservation,
            reactors: std::array::from_fn(locked),
            mail: Default::default(),
            sessions: [Session::Out; 3],
            writes: vec![write; scenario.writes.len()],
            orders: vec![order; scenario.orders.len()],
            may_drop: scenario.drops.iter().copied().collect(),
            may_log_in: Set::EMPTY,
            store_may_fail: scenario.store_fails,
            cut: false,
            barred: Set::EMPTY,
            acknowledged: reservation,
            fault: None,
        };
        let mut run = Run { model: self, state };
        run.publish(reservation);
        for node in scenario.registered.iter().chain(scenario.strangers) {
            run.session_begins(*node);
        }
        run.state.may_log_in = scenario.logins.iter().copied().collect();
        vec![run.state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.fault.is_none() && !state.cut {
            self.will(state, actions);
            self.may(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut run = Run {
            model: self,
            state: state.clone(),
        };
        match action {
            Action::Write(write) => run.write_arrives(write),
            Action::DataOut(write) => run.data_arrives(write),
            Action::Order(order) => run.order_is_sent(order),
            Action::AbortTask(write) => run.task_is_aborted(write),
            Action::LoseSession(node) => run.session_is_lost(node),
            Action::LogIn(node) => run.session_begins(node),
            Action::Deliver { from, to, at } => run.deliver(from, to, at),
            Action::Issue { reactor } => run.piece_is_issued(reactor),
            Action::Unlock { reactor } => run.state.reactors[reactor].locked = false,
            Action::IssueAgain(write) => run.piece_arrives(write),
            Action::HearFromStore => run.change_is_durable(),
            Action::FenceTimesOut => run.fence_times_out(),
            Action::TakeEffect(write) => run.piece_takes_effect(write),
            Action::Complete(write) => run.piece_completes(write),
            Action::StoreSaves => run.store_saves(),
            Action::StoreFails => run.store_fails(),
            Action::PowerCut => run.cut_power(),
        }
        Some(run.state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("as promised", |model, state| {
            model.fault(state).is_none()
        })]
    }
}

/// Whether some reactor has yet to hear whose commands it is to abort.
fn marks_travel(state: &State) -> bool {
    let mut mail = state.mail.iter().flatten().flatten();
    mail.any(|message| matches!(message, Message::Abort { .. }))
}

/// A number of something of which there are few.
fn small(number: usize) -> u8 {
    u8::try_from(number).expect("there are few of everything")
}

/// The steps of a path, one a line; for a message, which one it is.
fn story(path: Path<State, Action>) -> String {
    let steps = path.into_vec().into_iter().filter_map(|(state, action)| {
        Some(match action? {
            Action::Deliver { from, to, at } => {
                let message = state.mail[from][to].get(at)?;
                format!("    reactor {from} to {to}: {message:?}\n")
            }
            action => format!("    {action:?}\n"),
        })
    });
    steps.collect()
}

/// Explores a scenario to its end, and shows that every promise is kept.
#[track_caller]
fn holds(scenario: Scenario, states_min: usize) {
    let model = Fence {
        scenario,
        mutant: None,
    };
    let checker = model.checker().threads(2).spawn_bfs().join();
    if let Some(path) = checker.discovery("as promised") {
        let fault = checker.model().fault(path.last_state());
        panic!("{fault:?} after\n{}", story(path));
    }
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{states} states, {steps} steps");
    assert!(states >= states_min, "only {states} states were explored");
}

/// One test for each scenario, with the least number of states that it has to have.
macro_rules! scenarios {
    ($($name:ident: $scenario:ident from $states_min:literal states;)*) => {
        $(#[test]
        fn $name() {
            holds($scenario, $states_min);
        })*
    };
}

scenarios! {
    writes_that_hop_between_reactors: HOPS from 40_000 states;
    mailboxes_that_keep_no_order: UNORDERED from 20_000 states;
    writes_to_a_volume_of_one_shard: ONE_SHARD from 10_000 states;
    an_abort_on_a_volume_of_one_shard: UNRESERVED_ONE_SHARD from 30_000 states;
    writes_that_wait_for_a_range_lock: LOCKED from 1_500 states;
    sessions_that_end_and_begin: SESSIONS from 25_000 states;
    a_newcomer_that_takes_a_free_index: NEWCOMER from 25_000 states;
    sessions_at_another_reactor: REMOTE_SESSIONS from 25_000 states;
    two_nodes_that_fence_each_other: MUTUAL from 150_000 states;
    a_backend_that_hangs_and_a_store_that_fails: HUNG from 250_000 states;
    an_abort_on_a_backend_that_hangs: HUNG_ABORT from 200_000 states;
    an_abort_where_nothing_is_reserved: UNRESERVED from 100_000 states;
    a_node_that_registers_again: REGAIN from 20_000 states;
    strangers_that_a_reserve_shuts_out: STRANGERS from 30_000 states;
}

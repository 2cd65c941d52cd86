//! `kill -9` at a random point, while several nodes register, reserve, release, preempt and clear.
//!
//! After the restart the volume has a state that the commands can have led to, one after the other:
//! each that was acknowledged has had its effect and its answer, in an order that agrees with when
//! they were sent and answered; each that was not may have had it or not. The next round begins with
//! that state. (Power cuts within the store's own writes: `cargo test --lib catalogue::crash`.)

mod support;

#[path = "crash_points/judge.rs"]
mod judge;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use judge::{Answer, Event, NODES, Order, State, explains};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::initiator::Initiator;
use support::login::initiator_name;
use support::reserve::{action, flag, kind, parameters};
use support::scsi::status;
use support::server::{Server, Setup, Volume};

on_every_file_engine!(acknowledged_reservations_survive_a_kill_at_any_point);

const ROUNDS: usize = 6;
const KIND: u8 = kind::WE_RO;

/// What the nodes of a round share.
#[derive(Default)]
struct Round {
    /// Ticks once for each command sent or answered.
    clock: AtomicU64,
    answered: AtomicU64,
    killed: AtomicBool,
    /// The key that each node had registered last, for others to preempt.
    keys: [AtomicU64; NODES],
}

fn acknowledged_reservations_survive_a_kill_at_any_point(setup: Setup) {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(
        |_| rand::rng().random(),
        |text| text.parse().expect("HOLDFAST_SEED is a number"),
    );
    eprintln!("HOLDFAST_SEED={seed} draws the same commands");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = setup.start();
    let volume = server.create_small("disk");
    let mut state = State::default();
    let mut next_key = 1;
    for round in 0..ROUNDS {
        let enough = rng.random_range(1..120);
        let seeds: [u64; NODES] = rng.random();
        let events = storm(&mut server, &volume, &state, enough, seeds, next_key);
        next_key += 1 << 20;
        server = server.kill().start();
        let found = observe(&server, &volume);
        assert!(
            explains(&state, &events, &found),
            "round {round} (seed {seed}): from {state:?} no order of these leads to {found:?}: \
             {events:#?}"
        );
        state = found;
    }
}

/// Lets the nodes loose until enough commands were answered, then kills the server.
fn storm(
    server: &mut Server,
    volume: &Volume,
    state: &State,
    enough: u64,
    seeds: [u64; NODES],
    first_key: u64,
) -> Vec<Event> {
    let round = Round::default();
    let sessions: Vec<_> = (0..NODES)
        .map(|node| server.session(volume, &name(node)))
        .collect();
    for (key, shared) in state.keys.iter().zip(&round.keys) {
        shared.store(*key, Ordering::Relaxed);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .into_iter()
            .enumerate()
            .map(|(node, session)| {
                let (round, rng) = (&round, StdRng::seed_from_u64(seeds[node]));
                scope.spawn(move || Node::new(node, session, round, rng, first_key).run())
            })
            .collect();
        while round.answered.load(Ordering::Acquire) < enough
            && !threads.iter().any(|thread| thread.is_finished())
        {
            std::thread::yield_now();
        }
        round.killed.store(true, Ordering::Release);
        server.kill_now();
        let events = threads.into_iter().map(|thread| thread.join());
        events.flat_map(|events| events.expect("a node")).collect()
    })
}

/// One node: a session, and what it has sent.
struct Node<'a> {
    node: usize,
    session: Initiator,
    round: &'a Round,
    rng: StdRng,
    next_key: u64,
    events: Vec<Event>,
}

impl<'a> Node<'a> {
    fn new(node: usize, session: Initiator, round: &'a Round, rng: StdRng, first_key: u64) -> Self {
        Self {
            node,
            session,
            round,
            rng,
            // No two nodes ever register the same key.
            next_key: first_key + ((node as u64) << 16),
            events: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Event> {
        loop {
            let order = self.choose();
            let sent = self.tick();
            self.events.push(Event {
                node: self.node,
                order,
                sent,
                answer: None,
            });
            let Some(answer) = self.send(order) else {
                assert!(self.round.killed.load(Ordering::Acquire), "lost too early");
                return self.events;
            };
            if let (Answer::Good, Order::Register { key }) = (answer, order) {
                self.round.keys[self.node].store(key, Ordering::Relaxed);
            }
            let at = self.tick();
            self.events.last_mut().expect("just sent").answer = Some((at, answer));
            self.round.answered.fetch_add(1, Ordering::Release);
        }
    }

    fn tick(&self) -> u64 {
        self.round.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn choose(&mut self) -> Order {
        let key = self.round.keys[self.node].load(Ordering::Relaxed);
        let other = (self.node + self.rng.random_range(1..NODES)) % NODES;
        let victim = self.round.keys[other].load(Ordering::Relaxed);
        match self.rng.random_range(0..20) {
            0..7 => {
                self.next_key += 1;
                Order::Register { key: self.next_key }
            }
            7 => Order::Register { key: 0 },
            8..12 => Order::Reserve { key },
            12..14 => Order::Release { key },
            14 => Order::Clear { key },
            // A key of zero means something else here.
            _ if victim == 0 => Order::Reserve { key },
            _ => Order::Preempt { key, victim },
        }
    }

    /// The command's answer; `None` if the server is gone.
    fn send(&mut self, order: Order) -> Option<Answer> {
        let (action, own, other) = match order {
            Order::Register { key } => (action::REGISTER_AND_IGNORE, 0, key),
            Order::Reserve { key } => (action::RESERVE, key, 0),
            Order::Release { key } => (action::RELEASE, key, 0),
            Order::Preempt { key, victim } => (action::PREEMPT, key, victim),
            Order::Clear { key } => (action::CLEAR, key, 0),
        };
        let list = parameters(own, other, flag::APTPL);
        loop {
            let outcome = self.session.try_reserve_out(action, KIND, &list).ok()?;
            match (outcome.status, outcome.sense_code().0) {
                (status::GOOD, _) => return Some(Answer::Good),
                (status::RESERVATION_CONFLICT, _) => return Some(Answer::Conflict),
                // Nothing was done: a unit attention came instead, or another node's turn.
                (status::CHECK_CONDITION, 6) | (status::BUSY, _) => {}
                _ => panic!("{order:?}: {outcome:?}"),
            }
        }
    }
}

fn name(node: usize) -> String {
    format!("node{node}")
}

fn observe(server: &Server, volume: &Volume) -> State {
    let mut reader = server.session(volume, "reader");
    assert_eq!(reader.generation(), 0);
    let mut state = State::default();
    let registered = reader.read_full_status();
    for entry in &registered {
        let node = (0..NODES)
            .find(|node| entry.initiator.starts_with(&initiator_name(&name(*node))))
            .expect("one of the nodes");
        assert_eq!(state.keys[node], 0, "one registration for each node");
        state.keys[node] = entry.key;
        if entry.is_holder {
            assert_eq!((state.holder, entry.kind), (None, KIND));
            state.holder = Some(node);
        }
    }
    assert_eq!(reader.read_reservation().is_some(), state.holder.is_some());
    state
}

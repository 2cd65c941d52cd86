//! What it costs that a command crosses from one reactor to another: `cargo bench --bench hop`.
//!
//! Two reactors are pinned to a core each and spin. A message goes from one to the other through the
//! real mesh, by full rounds of the real loop, and comes back; half of that is a hop.

#[allow(dead_code, reason = "shared with the counted benchmark")]
#[path = "counting/cases.rs"]
mod cases;
#[path = "counting/client.rs"]
mod client;
mod cores;
mod crowd;
#[path = "counting/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::base::clock::Instant;
use holdfast::reactor::{App, Config, Idle, Placement, Reactors, Source, Tick};
use holdfast::ring::{Ring, RingConfig};

/// As large as what reactors send each other for an I/O.
type Load = [u64; 16];

enum Message {
    /// To the near reactor: go that many rounds, and tell how long they took.
    Go {
        rounds: u64,
        done: Sender<Duration>,
    },
    There(Load),
    Back(Load),
    Stop,
}

const FAR: usize = 1;

/// Rounds that go on.
struct Trip {
    left: u64,
    since: Instant,
    done: Sender<Duration>,
}

#[derive(Default)]
struct Player {
    trip: Option<Trip>,
    stopped: bool,
}

impl App for Player {
    type Message = Message;

    fn message(&mut self, from: Source, message: Message, tick: &mut Tick<'_, Message>) {
        match (message, from) {
            (Message::Go { rounds, done }, _) => {
                self.trip = Some(Trip {
                    left: rounds,
                    since: Instant::now(),
                    done,
                });
                tick.outbox.send(FAR, Message::There([rounds; 16]));
            }
            (Message::There(load), Source::Reactor(sender)) => {
                tick.outbox.send(sender, Message::Back(load));
            }
            (Message::Back(load), _) => {
                let Some(trip) = &mut self.trip else { return };
                trip.left -= 1;
                if trip.left > 0 {
                    return tick.outbox.send(FAR, Message::There(load));
                }
                let spent = Instant::now().since(trip.since);
                trip.done.send(spent).expect("somebody waits");
                self.trip = None;
            }
            (Message::Stop, _) => self.stopped = true,
            (Message::There(_), Source::External) => unreachable!("only reactors send these"),
        }
    }

    fn tick(&mut self, _: &mut Tick<'_, Message>) -> bool {
        false
    }

    fn stopped(&self) -> bool {
        self.stopped
    }
}

fn hops(c: &mut Criterion) {
    let Some(cores) = cores::two() else {
        eprintln!("left out: a hop needs two cores");
        return;
    };
    let mut group = c.benchmark_group("hop between two reactors");
    let by_ring = Ring::probe().is_ok();
    for (name, ring) in [("io_uring", by_ring), ("epoll", false)] {
        if name == "io_uring" && !by_ring {
            eprintln!("left out: io_uring is not permitted here");
            continue;
        }
        let config = Config {
            placement: Placement::Cores(cores.to_vec()),
            idle: Idle::Spin,
            pool_bytes: 1 << 20,
            ring: ring.then(RingConfig::default),
            register_arenas: false,
            readiness: !ring,
            ..Config::default()
        };
        let reactors = Reactors::start(config, |_| Ok(Player::default())).expect("two reactors");
        let near = reactors.sender(0);
        group.bench_function(name, |b| {
            b.iter_custom(|hops| {
                let rounds = hops.div_ceil(2);
                let (done, is_done) = channel();
                let go = near.send(Message::Go { rounds, done });
                assert!(go.is_ok(), "the reactor runs");
                let spent = is_done.recv().expect("the rounds end");
                spent.mul_f64(hops as f64 / (2 * rounds) as f64)
            });
        });
        for reactor in 0..reactors.count() {
            assert!(
                reactors.sender(reactor).send(Message::Stop).is_ok(),
                "the reactor runs"
            );
        }
        reactors.join().expect("the reactors end");
    }
    group.finish();
}

/// READ of 4 KiB at depth 1 from a null volume, of blocks that belong to the connection's reactor or
/// to another on another core. The initiator runs on the core of the first and steps it, so that two
/// cores do for what takes three: the difference of the two is what two hops add to an I/O.
fn commands(c: &mut Criterion) {
    let Some([near, far]) = cores::two() else {
        eprintln!("left out: a hop needs two cores");
        return;
    };
    cores::pin(near);
    let mut group = c.benchmark_group("READ of 4 KiB, two reactors share the volume");
    for name in ["read-4k-null-1-local-of-2", "read-4k-null-1-remote-of-2"] {
        let case = cases::CASES
            .iter()
            .find(|case| case.name == name)
            .expect("such a case");
        if let Some(reason) = stage::cannot_run(case) {
            eprintln!("left out: {reason}");
            return;
        }
        let (target, mut berths) = stage::target(case);
        let second = berths.pop().expect("two reactors");
        let reactors = berths
            .into_iter()
            .map(|berth| berth.take().expect("a reactor"));
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let thread = cores::spawn_on(far, move || {
            let mut reactor = second.take().expect("a reactor");
            while !stop.load(Ordering::Relaxed) {
                reactor.step(Instant::ZERO).expect("the reactor goes on");
            }
        });
        let mut stage = stage::Stage::set(case, target, reactors.collect());
        group.bench_function(name, |b| b.iter(|| stage.go_round(case)));
        drop(stage);
        is_over.store(true, Ordering::Relaxed);
        thread.join().expect("the other reactor ends");
    }
    group.finish();
}

criterion_group!(mesh, hops, commands);
criterion_main!(mesh);

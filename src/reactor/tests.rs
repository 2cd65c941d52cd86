//! The loop with real threads.

use super::*;
use crate::ring::RingConfig;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::io;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a reactor waits in.
const SOURCES: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

fn config(reactors: usize, idle: Idle, (ring, readiness): (bool, bool)) -> Config {
    let small = RingConfig {
        submissions: 16,
        in_flight: 64,
        provided_buffers: 0,
    };
    Config {
        placement: Placement::Anywhere(reactors),
        idle,
        pool_bytes: 1 << 20,
        ring: ring.then_some(small),
        readiness,
        mailbox_messages: 4,
        external_messages: 4,
        ..Config::default()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// Goes from reactor to reactor until it has made so many hops.
    Token {
        hops: u64,
    },
    /// Numbered, to be sent to the next reactor, many at once.
    Burst {
        count: u64,
    },
    Numbered(u64),
    Stop,
}

#[derive(Debug, PartialEq, Eq)]
enum Report {
    Landed { reactor: usize },
    Numbered { from: Source, number: u64 },
    Ticked,
}

struct TestApp {
    reports: Sender<Report>,
    stopped: bool,
    /// Asks for a tick so long after the first.
    alarm: Option<Duration>,
    alarm_at: Option<Instant>,
}

impl App for TestApp {
    type Message = Message;

    fn message(&mut self, from: Source, message: Message, tick: &mut Tick<'_, Message>) {
        let next = (tick.reactor + 1) % tick.outbox.reactors();
        match message {
            Message::Token { hops: 0 } => {
                let reactor = tick.reactor;
                self.reports.send(Report::Landed { reactor }).unwrap();
            }
            Message::Token { hops } => tick.outbox.send(next, Message::Token { hops: hops - 1 }),
            Message::Burst { count } => {
                (0..count).for_each(|number| tick.outbox.send(next, Message::Numbered(number)));
            }
            Message::Numbered(number) => {
                self.reports
                    .send(Report::Numbered { from, number })
                    .unwrap();
            }
            Message::Stop => self.stopped = true,
        }
    }

    fn tick(&mut self, tick: &mut Tick<'_, Message>) -> bool {
        if let Some(alarm) = self.alarm.take() {
            self.alarm_at = Some(tick.now + alarm);
        }
        let busy = self.alarm_at.take_if(|at| *at <= tick.now).is_some();
        if busy {
            self.reports.send(Report::Ticked).unwrap();
        }
        busy
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.alarm_at
    }

    fn stopped(&self) -> bool {
        self.stopped
    }
}

fn start(config: Config, alarm: Option<Duration>) -> (Reactors<Message>, Receiver<Report>) {
    let (reports, received) = unbounded();
    let reactors = Reactors::start(config, move |_| {
        Ok(TestApp {
            reports: reports.clone(),
            stopped: false,
            alarm,
            alarm_at: None,
        })
    });
    (reactors.unwrap(), received)
}

fn stop(reactors: Reactors<Message>) {
    for reactor in 0..reactors.count() {
        while let Err(NotSent::Full(_)) = reactors.sender(reactor).send(Message::Stop) {
            std::thread::yield_now();
        }
    }
    reactors.join().unwrap();
}

/// A lost wake-up leaves the token lying in a mailbox for good.
#[test]
fn a_waiting_reactor_is_woken_by_every_message() {
    for sources in SOURCES {
        for idle in [
            Idle::Wait,
            Idle::Adaptive {
                spin_max: Duration::from_micros(20),
            },
        ] {
            let (reactors, reports) = start(config(2, idle, sources), None);
            reactors
                .sender(0)
                .send(Message::Token { hops: 3001 })
                .unwrap();
            let landed = reports.recv_timeout(PATIENCE);
            assert_eq!(
                landed,
                Ok(Report::Landed { reactor: 1 }),
                "{sources:?} {idle:?}"
            );
            stop(reactors);
        }
    }
}

#[test]
fn a_waiting_reactor_is_woken_by_other_threads() {
    for sources in SOURCES {
        let (reactors, reports) = start(config(1, Idle::Wait, sources), None);
        let sender = reactors.sender(0);
        for _ in 0..1000 {
            sender.send(Message::Token { hops: 0 }).unwrap();
            assert_eq!(
                reports.recv_timeout(PATIENCE),
                Ok(Report::Landed { reactor: 0 })
            );
        }
        assert!(reactors.counters(0).waits() > 0, "it does wait");
        stop(reactors);
    }
}

#[test]
fn what_finds_the_mailbox_full_arrives_late_but_in_order() {
    for reactors in [1, 2, 3] {
        let (reactors, reports) = start(config(reactors, Idle::Wait, (true, false)), None);
        reactors
            .sender(0)
            .send(Message::Burst { count: 2000 })
            .unwrap();
        for number in 0..2000 {
            let from = Source::Reactor(0);
            assert_eq!(
                reports.recv_timeout(PATIENCE),
                Ok(Report::Numbered { from, number })
            );
        }
        stop(reactors);
    }
}

#[test]
fn a_deadline_ends_the_wait() {
    for sources in SOURCES {
        let alarm = Duration::from_millis(30);
        let begin = Instant::now();
        let (reactors, reports) = start(config(1, Idle::Wait, sources), Some(alarm));
        assert_eq!(reports.recv_timeout(PATIENCE), Ok(Report::Ticked));
        assert!(Instant::now().since(begin) >= alarm);
        assert!(
            reactors.counters(0).ticks() < 1000,
            "it does not spin meanwhile"
        );
        stop(reactors);
    }
}

#[test]
fn a_spinning_reactor_never_waits() {
    let (reactors, reports) = start(config(1, Idle::Spin, (true, false)), None);
    reactors
        .sender(0)
        .send(Message::Token { hops: 10 })
        .unwrap();
    assert_eq!(
        reports.recv_timeout(PATIENCE),
        Ok(Report::Landed { reactor: 0 })
    );
    let counters = reactors.counters(0);
    assert!(counters.ticks() >= counters.busy_ticks() && counters.messages() >= 11);
    assert_eq!(counters.waits(), 0);
    stop(reactors);
}

#[test]
fn a_failed_start_is_reported_and_leaves_nothing_running() {
    let failed = Reactors::start(config(3, Idle::Wait, (true, false)), |seat| {
        if seat.reactor == 1 {
            return Err(io::Error::other("no app today"));
        }
        let (reports, _) = unbounded();
        Ok(TestApp {
            reports,
            stopped: false,
            alarm: None,
            alarm_at: None,
        })
    });
    assert_eq!(failed.unwrap_err().to_string(), "no app today");
}

#[test]
fn a_core_that_is_not_there_is_reported() {
    let mut config = config(1, Idle::Wait, (false, true));
    config.placement = Placement::Cores(vec![100_000]);
    let failed = Reactors::start(config, |_| -> io::Result<TestApp> {
        unreachable!("no core")
    });
    assert!(failed.unwrap_err().to_string().contains("core 100000"));
}

#[test]
fn a_reactor_runs_on_its_core() {
    let core = core_affinity::get_core_ids().unwrap()[0].id;
    let mut config = config(1, Idle::Wait, (true, false));
    config.placement = Placement::Cores(vec![core]);
    let (reports, received) = unbounded();
    let reactors = Reactors::start(config, move |_| {
        assert_eq!(core_affinity::get_core_ids().unwrap().len(), 1);
        Ok(TestApp {
            reports: reports.clone(),
            stopped: false,
            alarm: None,
            alarm_at: None,
        })
    });
    stop(reactors.unwrap());
    assert!(received.recv().is_err());
}

#[test]
fn an_ended_reactor_hands_messages_back() {
    let (reactors, _reports) = start(config(1, Idle::Wait, (true, false)), None);
    let sender = reactors.sender(0);
    stop(reactors);
    assert_eq!(
        sender.send(Message::Stop),
        Err(NotSent::Ended(Message::Stop))
    );
}

#[test]
fn stepped_reactors_do_one_round_at_a_time() {
    for sources in SOURCES {
        if sources.0 && io_uring::IoUring::new(2).is_err() {
            continue;
        }
        let (reports, reported) = unbounded();
        let berths = Berth::make(config(2, Idle::Spin, sources)).unwrap();
        let mut reactors: Vec<_> = berths
            .into_iter()
            .map(|berth| {
                berth.take(|seat| {
                    assert_eq!(seat.reactors, 2);
                    Ok(TestApp {
                        reports: reports.clone(),
                        stopped: false,
                        alarm: Some(Duration::from_secs(1)),
                        alarm_at: None,
                    })
                })
            })
            .collect::<io::Result<_>>()
            .unwrap();
        let first = reactors[0].sender();
        let mut step = |reactor: usize, nanos| {
            let now = Instant::from_nanos(nanos);
            reactors[reactor].step(now).unwrap()
        };
        // The first round sets the alarm, and time passes only by what the owner says.
        assert!(!step(0, 0) && !step(1, 0) && !step(0, 999_999_999));
        assert!(step(0, 1_000_000_000));
        assert_eq!(reported.try_recv(), Ok(Report::Ticked));
        first.send(Message::Token { hops: 1 }).unwrap();
        assert!(!step(1, 1), "the token is with the first");
        assert!(step(0, 1_000_000_001) && reported.is_empty());
        assert!(step(1, 2), "and now with the second");
        assert_eq!(reported.try_recv(), Ok(Report::Landed { reactor: 1 }));
        assert!(!step(0, 1_000_000_002) && !step(1, 3));
    }
}

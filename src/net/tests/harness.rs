//! A small server on real reactors, and its clients.

use crate::base::clock::Instant;
use crate::base::gather::{Gather, Nobody, Payload};
use crate::net::{Engine, ListenerId, Net, NetConfig, NetEvent, SendOutcome, SocketId};
use crate::reactor::{
    App, Config, Driver, ExternalSender, Idle, NotSent, Placement, Reactors, Source, Tick,
};
use crate::ring::RingConfig;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// How the reactors move bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    pub(super) engine: Engine,
    pub(super) ring: bool,
    /// Buffers lent to the kernel at most; zero: every receive brings its own.
    pub(super) provided: u16,
    pub(super) direct: u32,
    pub(super) idle: Idle,
}

const BRIEFLY: Idle = Idle::Adaptive {
    spin_max: Duration::from_micros(50),
};

/// Long enough for a direct socket to be silent for too long while the reactor polls.
const FOR_LONG: Idle = Idle::Adaptive {
    spin_max: Duration::from_millis(20),
};

pub(super) const MODES: [Mode; 6] = [
    Mode {
        engine: Engine::Uring,
        ring: true,
        provided: 16,
        direct: 0,
        idle: Idle::Wait,
    },
    Mode {
        engine: Engine::Uring,
        ring: true,
        provided: 16,
        direct: 8,
        idle: BRIEFLY,
    },
    Mode {
        engine: Engine::Uring,
        ring: true,
        provided: 16,
        direct: 2,
        idle: FOR_LONG,
    },
    Mode {
        engine: Engine::Uring,
        ring: true,
        provided: 0,
        direct: 0,
        idle: BRIEFLY,
    },
    Mode {
        engine: Engine::Mio,
        ring: false,
        provided: 0,
        direct: 0,
        idle: Idle::Wait,
    },
    Mode {
        engine: Engine::Mio,
        ring: true,
        provided: 0,
        direct: 0,
        idle: BRIEFLY,
    },
];

/// What the server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Sends back what comes.
    Echo,
    /// Sends back what comes, and moves to the next reactor after each answer.
    Hop,
    /// Sends a pattern of so many bytes at once, and asks for bytes.
    Flood(usize),
    /// Does nothing.
    Mute,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    Closed { failed: bool },
}

enum Message {
    Listen { listener: TcpListener, style: Style },
    Adopt { stream: TcpStream, style: Style },
    StopListening,
    CloseAll,
    Withdraw,
    Stop,
}

#[derive(Debug, Default)]
struct Tally {
    moves: AtomicU64,
    received: AtomicU64,
}

struct TestApp {
    net: Net,
    styles: BTreeMap<SocketId, Style>,
    /// Bytes that came on sockets while what was in flight there was taken back.
    withdrawing: BTreeMap<SocketId, Vec<u8>>,
    /// By portal number.
    listeners: Vec<(ListenerId, Style)>,
    events: Vec<NetEvent>,
    spare: Vec<Gather>,
    accepted: usize,
    reports: Sender<Report>,
    tally: Arc<Tally>,
    stopped: bool,
}

impl TestApp {
    fn adopt(&mut self, driver: &mut Driver, stream: TcpStream, style: Style) {
        let id = self.net.adopt(driver, stream).unwrap();
        self.styles.insert(id, style);
        if let Style::Flood(bytes) = style {
            let mut gather = Gather::default();
            let payload = gather.hold(Payload::Bytes(pattern(bytes, 0)));
            // Many slices, more than one system call takes.
            for start in (0..bytes).step_by(4096) {
                gather.push_range(payload, start, (start + 4096).min(bytes));
            }
            // Usually it is more than the socket takes at once; if not, there is no more to do.
            let _ = self.net.send(driver, id, gather, &Nobody).unwrap();
        }
        if style != Style::Mute {
            self.net.receive(driver, id, usize::MAX);
        }
    }

    fn sent(&mut self, id: SocketId, mut gather: Gather, tick: &mut Tick<'_, Message>) {
        gather.clear(drop);
        self.spare.push(gather);
        if self.withdrawing.contains_key(&id) {
            return;
        }
        match self.styles[&id] {
            Style::Hop => {
                let stream = self.net.detach(tick.driver, id).unwrap();
                self.styles.remove(&id);
                self.tally.moves.fetch_add(1, Ordering::Relaxed);
                let next = (tick.reactor + 1) % tick.outbox.reactors();
                let style = Style::Hop;
                tick.outbox.send(next, Message::Adopt { stream, style });
            }
            _ => self.net.receive(tick.driver, id, 1000),
        }
    }

    fn handle(&mut self, event: NetEvent, tick: &mut Tick<'_, Message>) {
        match event {
            NetEvent::Accepted {
                portal,
                stream,
                peer,
            } => {
                assert!(peer.ip().is_loopback());
                let style = self.listeners[portal as usize].1;
                let reactor = self.accepted % tick.outbox.reactors();
                self.accepted += 1;
                tick.outbox.send(reactor, Message::Adopt { stream, style });
            }
            NetEvent::Received { id, bytes } => {
                assert!(!bytes.is_empty());
                self.tally
                    .received
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if let Some(kept) = self.withdrawing.get_mut(&id) {
                    kept.extend_from_slice(&bytes);
                    return self.net.recycle(bytes);
                }
                let mut gather = self.spare.pop().unwrap_or_default();
                gather.push_bytes(&bytes);
                self.net.recycle(bytes);
                // A socket that is going hands the list back, and that is all right.
                if let Ok(SendOutcome::Done(gather)) =
                    self.net.send(tick.driver, id, gather, &Nobody)
                {
                    self.sent(id, gather, tick);
                }
            }
            NetEvent::Sent { id, gather } => self.sent(id, gather, tick),
            NetEvent::Withdrawn { id, unsent } => {
                self.net.reclaim(id).unwrap();
                let twin = self.net.duplicate(id).unwrap();
                assert_eq!(twin.peer_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
                let mut rest = Gather::default();
                if let Some((gather, skip)) = unsent {
                    rest.push_bytes(&gather.to_vec()[skip..]);
                }
                rest.push_bytes(&self.withdrawing.remove(&id).unwrap());
                if rest.is_empty() {
                    return self.net.receive(tick.driver, id, usize::MAX);
                }
                if let SendOutcome::Done(gather) =
                    self.net.send(tick.driver, id, rest, &Nobody).unwrap()
                {
                    self.sent(id, gather, tick);
                }
            }
            NetEvent::Closed { id, error } => {
                assert!(self.styles.remove(&id).is_some(), "once");
                let _ = self.reports.send(Report::Closed {
                    failed: error.is_some(),
                });
            }
        }
    }
}

impl App for TestApp {
    type Message = Message;

    fn message(&mut self, _: Source, message: Message, tick: &mut Tick<'_, Message>) {
        match message {
            Message::Listen { listener, style } => {
                let portal = u32::try_from(self.listeners.len()).unwrap();
                let id = self.net.listen(tick.driver, listener, portal).unwrap();
                self.listeners.push((id, style));
            }
            Message::Adopt { stream, style } => self.adopt(tick.driver, stream, style),
            Message::StopListening => {
                for (id, _) in self.listeners.drain(..) {
                    self.net.stop_listening(tick.driver, id);
                }
            }
            Message::CloseAll => {
                for &id in self.styles.keys() {
                    self.net.close(tick.driver, id);
                }
            }
            Message::Withdraw => {
                for &id in self.styles.keys() {
                    // What is being taken back already is not taken back twice.
                    if let Entry::Vacant(entry) = self.withdrawing.entry(id) {
                        entry.insert(Vec::new());
                        self.net.withdraw(tick.driver, id);
                    }
                }
            }
            Message::Stop => self.stopped = true,
        }
    }

    fn tick(&mut self, tick: &mut Tick<'_, Message>) -> bool {
        let mut events = std::mem::take(&mut self.events);
        let mut busy = self.net.poll(tick.driver, tick.now, &mut events);
        events.drain(..).for_each(|event| self.handle(event, tick));
        self.events = events;
        while let Some(event) = self.net.receive_next(tick.driver) {
            self.handle(event, tick);
            busy = true;
        }
        busy
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.net.next_deadline()
    }

    fn park(&mut self, tick: &mut Tick<'_, Message>) -> bool {
        self.net.park(tick.driver)
    }

    fn stopped(&self) -> bool {
        self.stopped
    }
}

pub(super) struct Server {
    reactors: Reactors<Message>,
    reports: Receiver<Report>,
    tally: Arc<Tally>,
    style: Style,
}

impl Server {
    pub(super) fn start(mode: Mode, reactors: usize, style: Style) -> Self {
        Self::try_start(mode, reactors, style).unwrap()
    }

    pub(super) fn try_start(mode: Mode, reactors: usize, style: Style) -> io::Result<Self> {
        let ring = RingConfig {
            submissions: 64,
            in_flight: 1024,
            provided_buffers: mode.provided,
        };
        let config = Config {
            placement: Placement::Anywhere(reactors),
            idle: mode.idle,
            pool_bytes: 1 << 20,
            ring: mode.ring.then_some(ring),
            readiness: mode.engine == Engine::Mio,
            ..Config::default()
        };
        let (reports, received) = unbounded();
        let tally = Arc::new(Tally::default());
        let shared = Arc::clone(&tally);
        let reactors = Reactors::start(config, move |seat| {
            let net = NetConfig {
                receive_bytes: 1 << 20,
                direct_sockets_max: mode.direct,
                ..NetConfig::new(mode.engine)
            };
            Ok(TestApp {
                net: Net::new(net, seat.driver)?,
                styles: BTreeMap::new(),
                withdrawing: BTreeMap::new(),
                listeners: Vec::new(),
                events: Vec::new(),
                spare: Vec::new(),
                accepted: 0,
                reports: reports.clone(),
                tally: Arc::clone(&shared),
                stopped: false,
            })
        })?;
        Ok(Self {
            reactors,
            reports: received,
            tally,
            style,
        })
    }

    pub(super) fn listen(&self, address: &str) -> SocketAddr {
        self.listen_as(address, self.style)
    }

    pub(super) fn listen_as(&self, address: &str, style: Style) -> SocketAddr {
        let listener = TcpListener::bind(address).unwrap();
        let bound = listener.local_addr().unwrap();
        send(
            &self.reactors.sender(0),
            Message::Listen { listener, style },
        );
        bound
    }

    pub(super) fn stop_listening(&self) {
        send(&self.reactors.sender(0), Message::StopListening);
    }

    /// Takes back what is in flight on every socket, and then starts it again.
    pub(super) fn withdraw(&self) {
        for reactor in 0..self.reactors.count() {
            send(&self.reactors.sender(reactor), Message::Withdraw);
        }
    }

    pub(super) fn close_all(&self) {
        for reactor in 0..self.reactors.count() {
            send(&self.reactors.sender(reactor), Message::CloseAll);
        }
    }

    pub(super) fn report(&self) -> Report {
        self.reports
            .recv_timeout(PATIENCE)
            .expect("something should have closed")
    }

    pub(super) fn moves(&self) -> u64 {
        self.tally.moves.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.tally.received.load(Ordering::Relaxed)
    }

    pub(super) fn stop(self) {
        for reactor in 0..self.reactors.count() {
            send(&self.reactors.sender(reactor), Message::Stop);
        }
        self.reactors.join().unwrap();
    }
}

fn send(sender: &ExternalSender<Message>, message: Message) {
    let mut message = message;
    loop {
        match sender.send(message) {
            Err(NotSent::Full(back)) => message = back,
            Err(NotSent::Ended(_)) => panic!("the reactor has ended"),
            Ok(()) => return,
        }
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Sends so many bytes and expects them back.
pub(super) fn echo(client: &mut TcpStream, bytes: usize) {
    let sent = pattern(bytes, bytes as u64);
    // A large message comes back while it is still being sent.
    let mut writer = client.try_clone().unwrap();
    let mut back = vec![0; bytes];
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&sent).unwrap());
        client.read_exact(&mut back).unwrap();
    });
    assert!(back == sent, "{bytes} bytes came back changed");
}

/// Bytes that show when any of them is lost, doubled or moved.
pub(super) fn pattern(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut pattern = Vec::with_capacity(bytes + 8);
    while pattern.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        pattern.extend_from_slice(&state.to_be_bytes());
    }
    pattern.truncate(bytes);
    pattern
}

//! A target whose reactors the test steps, and initiators on a thread of their own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use holdfast::backend::{NullStore, RamStore, Store};
use holdfast::base::clock::Instant;
use holdfast::base::rate::{Limiter, Rates};
use holdfast::iscsi::Settings;
use holdfast::net::{self, NetConfig};
use holdfast::reactor;
use holdfast::ring::RingConfig;
use holdfast::target::stepped::{Berth, Stepped, step_while};
use holdfast::target::{
    Access, ConnectionPlacement, Journal, Limits, ReservationStore, ReservationUpdate, Restored,
    ShardPlacement, StoreFailed, Target, TargetConfig, VolumeConfig,
};
use holdfast::volume::{AccessRules, ReservationScope, VolumeId};

use crate::support::initiator::{Command, Initiator};
use crate::support::login::{Login, initiator_name};
use crate::support::scsi::{BLOCK, read10, write10};
use crate::support::server::{Engine, Setup};

const VOLUME_BYTES: u64 = 64 << 20;
const ARENA_BYTES: usize = 16 << 20;
/// Rounds of pings after which whatever can go on at one time has gone on: a command, its R2T, its data.
const ROUNDS: usize = 3;
/// Ticks without anything to do after which reactors have told each other what there was to tell.
const QUIET_TICKS: usize = 4;

/// Blocks of a transfer of 4 KiB.
pub(crate) const BLOCKS: u16 = 8;
pub(crate) const BYTES: usize = BLOCKS as usize * BLOCK;

/// How long unused credit adds up here, unless a test says otherwise.
pub(crate) const BURST: Duration = Duration::from_millis(50);

/// A target, its reactors and the time.
pub(crate) struct Stage {
    pub(crate) target: Target,
    reactors: Vec<Stepped>,
    portal: SocketAddr,
    now: Instant,
    volumes: Vec<(VolumeId, String)>,
}

impl Stage {
    /// On the engine, the backend and with the reactors of `setup`; one volume without limits.
    pub(crate) fn set(setup: &Setup) -> Self {
        let (target, berths) = Berth::make(config(setup)).expect("a target");
        let reactors = berths.into_iter().map(|berth| berth.take());
        let reactors = reactors.map(|reactor| reactor.expect("a reactor"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let portal = listener.local_addr().expect("an address");
        let mut stage = Self {
            target,
            reactors: reactors.collect(),
            portal,
            now: Instant::from_nanos(1_000_000_000),
            volumes: Vec::new(),
        };
        stage.during(|target| target.open_portal(listener, 1, None, None).expect("opens"));
        stage.add_volume(setup);
        stage
    }

    /// One more volume; its number.
    pub(crate) fn add_volume(&mut self, setup: &Setup) -> usize {
        let number = self.volumes.len();
        let id = VolumeId::from(uuid::Uuid::from_u128(number as u128 + 1));
        let iqn = format!("iqn.2024-01.test:limited-{number}");
        let store: Arc<dyn Store> = match setup.backend {
            "null" => NullStore::new(VOLUME_BYTES),
            _ => RamStore::new(VOLUME_BYTES).expect("memory"),
        };
        let config = VolumeConfig {
            id,
            iqn: iqn.clone(),
            name: format!("limited-{number}"),
            vendor: "HOLDFAST".to_owned(),
            product: "VOLUME".to_owned(),
            block_bytes: u32::try_from(BLOCK).expect("fits"),
            read_only: false,
            removable: false,
            sessions_max: 64,
            registrations_max: 64,
            reservation_scope: ReservationScope::Nexus,
            store,
            access: Access {
                rules: AccessRules::loopback(),
                ..Access::default()
            },
            reservation: Restored::default(),
            handed_over: false,
        };
        self.during(|target| target.attach_volume(config).expect("the volume is served"));
        self.volumes.push((id, iqn));
        number
    }

    /// Steps the reactors at the time that it is, until `work` on another thread has ended.
    pub(crate) fn during<R: Send>(&mut self, work: impl FnOnce(&Target) -> R + Send) -> R {
        let target = &self.target;
        step_while(&mut self.reactors, self.now, || work(target)).expect("the reactors go on")
    }

    /// Lets time pass: none of it in between.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run_dry();
    }

    /// Steps the reactors until there is nothing left to do at this time.
    fn run_dry(&mut self) {
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            let step = |reactor: &mut Stepped| reactor.step(self.now).expect("the reactor goes on");
            let busy = self
                .reactors
                .iter_mut()
                .map(step)
                .fold(false, |one, other| one | other);
            quiet = if busy { 0 } else { quiet + 1 };
        }
    }

    /// Has a volume held to these rates and to its group's, or to nothing.
    pub(crate) fn limit(&mut self, volume: usize, rates: Rates, group: Option<&Arc<Limiter>>) {
        let limits = Limits::new(rates, group.cloned()).map(Arc::new);
        let id = self.volumes[volume].0;
        self.during(|target| target.set_limits(id, limits).expect("limits are set"));
    }

    /// A session with a volume, with nothing left to be told.
    pub(crate) fn session(&mut self, volume: usize, name: &str) -> Initiator {
        let login = Login::new(self.portal, &self.volumes[volume].1, name);
        self.during(|_| {
            let mut session = login.connect();
            session.take_attentions();
            session
        })
    }

    /// Sends `count` reads of 4 KiB; their tags.
    pub(crate) fn reads(&mut self, session: &mut Initiator, count: usize) -> Vec<u32> {
        self.submit(session, count, &Command::read(&read10(0, BLOCKS), BYTES))
    }

    /// Sends `count` writes of 4 KiB.
    pub(crate) fn writes(&mut self, session: &mut Initiator, count: usize) -> Vec<u32> {
        let data = vec![7; BYTES];
        self.submit(session, count, &Command::write(&write10(0, BLOCKS), &data))
    }

    /// Sends `count` of a command, and lets go on what may at this time.
    pub(crate) fn submit(
        &mut self,
        session: &mut Initiator,
        count: usize,
        command: &Command,
    ) -> Vec<u32> {
        let tags = self.during(|_| {
            let tags = (0..count).map(|_| session.submit(command).expect("it is sent"));
            tags.collect()
        });
        self.settle([session]);
        tags
    }

    /// Lets go on what may at this time, on these sessions.
    pub(crate) fn settle<'a>(&mut self, sessions: impl IntoIterator<Item = &'a mut Initiator>) {
        for session in sessions {
            self.during(|_| {
                for _ in 0..ROUNDS {
                    session.ping(b"?").expect("an answer");
                }
            });
            self.run_dry();
            self.during(|_| session.ping(b"?").expect("an answer"));
        }
    }

    /// Time passes, and everything that may goes on.
    pub(crate) fn pass_with<'a>(
        &mut self,
        time: Duration,
        sessions: impl IntoIterator<Item = &'a mut Initiator>,
    ) {
        self.pass(time);
        self.settle(sessions);
    }

    /// Bytes that the sessions of an initiator have read and written so far.
    pub(crate) fn moved(&mut self, name: &str) -> u64 {
        let sessions = self.during(|target| target.sessions().expect("the reactors answer"));
        let name = initiator_name(name);
        let own = sessions.iter().filter(|info| info.initiator == name);
        own.map(|info| info.read_bytes + info.written_bytes).sum()
    }

    /// Transfers of 4 KiB that the sessions of an initiator have done.
    pub(crate) fn done(&mut self, name: &str) -> usize {
        usize::try_from(self.moved(name)).expect("fits") / BYTES
    }
}

/// So many operations per second.
pub(crate) fn operations(per_second: u64) -> Rates {
    Rates {
        operations: Some(per_second),
        bytes: None,
        burst: BURST,
    }
}

/// So many bytes per second.
pub(crate) fn bytes(per_second: u64) -> Rates {
    Rates {
        operations: None,
        bytes: Some(per_second),
        burst: BURST,
    }
}

fn config(setup: &Setup) -> TargetConfig {
    let by_ring = setup.engine == Engine::Uring;
    let engine = if by_ring {
        net::Engine::Uring
    } else {
        net::Engine::Mio
    };
    TargetConfig {
        reactors: reactor::Config {
            placement: reactor::Placement::Anywhere(setup.reactors),
            pool_bytes: ARENA_BYTES,
            ring: by_ring.then(RingConfig::default),
            readiness: !by_ring,
            register_arenas: false,
            ..reactor::Config::default()
        },
        net: NetConfig::new(engine),
        settings: Settings::default(),
        fence_timeout: Duration::from_secs(10),
        shard_placement: ShardPlacement::Spread,
        shard_bytes: 1 << 20,
        connection_placement: ConnectionPlacement::Spread,
        reservations: Arc::new(NoStore),
        journal: Journal::default(),
        slow_io: None,
    }
}

/// No reservation here is made durable.
struct NoStore;

impl ReservationStore for NoStore {
    fn save(&self, _: VolumeId, _: &ReservationUpdate) -> Result<(), StoreFailed> {
        Ok(())
    }
}

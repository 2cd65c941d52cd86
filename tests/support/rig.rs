//! A target in the test's own process, reached over real sockets, with volumes behind [`Gate`]s.
//!
//! Volumes are in RAM, cut into small shards that are dealt out over all reactors, as are the
//! connections: neighbouring blocks [`SHARD_BLOCKS`] apart and neighbouring sessions belong to
//! different reactors wherever there is more than one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use holdfast::backend::RamStore;
use holdfast::base::clock::Instant;
use holdfast::iscsi::Settings;
use holdfast::net::{self, NetConfig};
use holdfast::reactor;
use holdfast::reservation::{State, decode};
use holdfast::ring::RingConfig;
use holdfast::target::{
    Access, ConnectionPlacement, InFlight, Journal, ReservationStore, ReservationUpdate, Restored,
    ShardPlacement, StoreFailed, Target, TargetConfig, VolumeConfig,
};
use holdfast::volume::{AccessRules, ReservationScope, VolumeId};

use super::gate::Gate;
use super::initiator::Initiator;
use super::login::{ANSWER_TIMEOUT, Login, initiator_name};
use super::scsi::{BLOCK, synchronize_cache10};
use super::server::{Engine, Setup};

/// Blocks of one shard.
pub const SHARD_BLOCKS: u64 = 128;
const VOLUME_BYTES: u64 = 256 << 20;
const ARENA_BYTES: usize = 32 << 20;

/// Longer than any test waits for an answer: what needs the bound to end does not end in time.
pub const NEVER: Duration = Duration::from_secs(120);

/// A target with volumes.
pub struct Rig {
    pub target: Target,
    pub reactors: usize,
    portals: Vec<SocketAddr>,
    pub volumes: Vec<GatedVolume>,
    pub records: Arc<Records>,
}

/// One of its volumes.
pub struct GatedVolume {
    pub id: VolumeId,
    pub iqn: String,
    pub gate: Arc<Gate>,
}

/// The reservation records that the target made durable.
#[derive(Default)]
pub struct Records {
    saved: SegQueue<Vec<u8>>,
    broken: AtomicBool,
    hung: AtomicBool,
    /// Saves that hang now.
    waiting: AtomicUsize,
}

impl Records {
    /// No save ends from now on, or until no longer.
    pub fn hang(&self, hung: bool) {
        self.hung.store(hung, Ordering::SeqCst);
    }

    /// How many saves hang now.
    pub fn waits(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Every record saved since the last call, oldest first.
    pub fn take(&self) -> Vec<State> {
        let records = std::iter::from_fn(|| self.saved.pop());
        records
            .map(|record| decode(&record).expect("a sound record"))
            .collect()
    }

    /// Every save fails from now on, or no longer.
    pub fn fail(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }
}

impl ReservationStore for Records {
    fn save(&self, _: VolumeId, update: &ReservationUpdate) -> Result<(), StoreFailed> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.hung.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreFailed("broken by the test".to_owned()));
        }
        if let Some(record) = &update.record {
            self.saved.push(record.clone());
        }
        Ok(())
    }
}

impl Rig {
    /// A target on the engine and with the reactors of `setup`, one volume and two portals of
    /// different groups.
    pub fn start(setup: &Setup, fence_timeout: Duration) -> Self {
        let engine = match setup.engine {
            Engine::Uring => net::Engine::Uring,
            Engine::Mio | Engine::Auto => net::Engine::Mio,
        };
        let records = Arc::new(Records::default());
        let config = TargetConfig {
            reactors: reactor::Config {
                placement: reactor::Placement::Anywhere(setup.reactors),
                pool_bytes: ARENA_BYTES,
                ring: (engine == net::Engine::Uring).then(RingConfig::default),
                readiness: engine == net::Engine::Mio,
                ..reactor::Config::default()
            },
            net: NetConfig::new(engine),
            settings: Settings::default(),
            fence_timeout,
            shard_placement: ShardPlacement::Spread,
            shard_bytes: SHARD_BLOCKS * BLOCK as u64,
            connection_placement: ConnectionPlacement::Spread,
            reservations: records.clone(),
            journal: Journal::default(),
            slow_io: None,
        };
        let target = Target::start(config).expect("the reactors start");
        let mut rig = Self {
            target,
            reactors: setup.reactors,
            portals: Vec::new(),
            volumes: Vec::new(),
            records,
        };
        for tag in [1, 2] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            rig.portals
                .push(listener.local_addr().expect("a bound port has an address"));
            rig.target
                .open_portal(listener, tag, None, None)
                .expect("the portal opens");
        }
        rig.add_volume();
        rig
    }

    /// One more volume.
    pub fn add_volume(&mut self) {
        let number = self.volumes.len() as u128 + 1;
        let id = VolumeId::from(uuid::Uuid::from_u128(number));
        let iqn = format!("iqn.2024-01.test:gated-{number}");
        let gate = Gate::new(RamStore::new(VOLUME_BYTES).expect("memory"));
        let config = VolumeConfig {
            id,
            iqn: iqn.clone(),
            name: format!("gated-{number}"),
            vendor: "HOLDFAST".to_owned(),
            product: "VOLUME".to_owned(),
            block_bytes: u32::try_from(BLOCK).expect("a block size fits"),
            read_only: false,
            removable: true,
            handed_over: false,
            sessions_max: 128,
            registrations_max: 128,
            reservation_scope: ReservationScope::Nexus,
            store: gate.clone(),
            access: Access {
                rules: AccessRules::loopback(),
                ..Access::default()
            },
            reservation: Restored::default(),
        };
        self.target
            .attach_volume(config)
            .expect("the volume is served");
        self.volumes.push(GatedVolume { id, iqn, gate });
    }

    /// The gate of the first volume.
    pub fn gate(&self) -> &Gate {
        &self.volumes[0].gate
    }

    /// A login of initiator `name` to the first volume, through the first portal.
    pub fn login(&self, name: &str) -> Login {
        Login::new(self.portals[0], &self.volumes[0].iqn, name)
    }

    /// The same through the second portal: another target port.
    pub fn other_port(&self, login: Login) -> Login {
        login.portal(self.portals[1])
    }

    /// A session with no unit attention left from the login.
    pub fn session(&self, name: &str) -> Initiator {
        let mut session = self.login(name).connect();
        session.take_attentions();
        session
    }

    /// A session with the volume of that number.
    pub fn session_with(&self, volume: usize, name: &str) -> Initiator {
        let mut session = Login::new(self.portals[0], &self.volumes[volume].iqn, name).connect();
        session.take_attentions();
        session
    }

    /// A session that sends no data before it is asked to.
    pub fn reticent_session(&self, name: &str) -> Initiator {
        let login = self.login(name).key("ImmediateData", "No");
        let mut session = login.key("InitialR2T", "Yes").connect();
        session.take_attentions();
        session
    }

    /// The reservation state at the home of the first volume, that of a change under way included.
    pub fn state(&self) -> State {
        self.target
            .reservation(self.volumes[0].id)
            .expect("the home answers")
            .state
    }

    /// What the node of that name has in flight on the first volume, over all its nexuses.
    pub fn in_flight(&self, name: &str) -> Vec<InFlight> {
        let all = self
            .target
            .in_flight(self.volumes[0].id)
            .expect("the reactors answer");
        let name = initiator_name(name);
        let of_node = |entry: &InFlight| {
            let nexus = entry.nexus.as_ref();
            nexus.is_some_and(|nexus| nexus.initiator.name() == name)
        };
        all.into_iter().filter(of_node).collect()
    }

    /// Whatever the home had sent to any reactor before is dealt with when this returns: a question
    /// goes from the home to all of them, behind it.
    pub fn settle(&self) {
        let _counts = self
            .target
            .in_flight(self.volumes[0].id)
            .expect("the reactors answer");
    }

    /// Asserts that `tag` has no status yet, and that none is on its way: an answer that the home had
    /// given would be here before that of a NOP-Out that is sent now.
    #[track_caller]
    pub fn assert_unanswered(&self, session: &mut Initiator, tag: u32) {
        self.settle();
        session.ping(b"?").expect("an answer");
        assert!(
            !session.is_answered(tag),
            "answered while a write of a fenced nexus was in flight"
        );
    }

    /// Waits until the home has counted a change of registrations beyond `generation`, and published
    /// it.
    #[track_caller]
    pub fn wait_for_generation(&self, generation: u32) {
        until("the registrations have changed", || {
            self.state().generation() > generation
        });
    }

    /// Waits until the session's right to write is gone: the new state has been published.
    #[track_caller]
    pub fn wait_for_conflict(&self, victim: &mut Initiator) {
        until("the reservation is published", || {
            victim.none(&synchronize_cache10()).is_conflict()
        });
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for volume in &self.volumes {
            volume.gate.open();
        }
        self.target.stop();
    }
}

/// Asks again until it is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

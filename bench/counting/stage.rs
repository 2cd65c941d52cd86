//! What a case needs before it can be measured: a target on stepped reactors, a volume with its
//! reservation, sessions.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use holdfast::backend::{NullStore, RamStore, Store};
use holdfast::base::clock::Instant;
use holdfast::iscsi::Settings;
use holdfast::net::{self, NetConfig};
use holdfast::reactor;
use holdfast::reservation::{ReservationType, State};
use holdfast::ring::{Ring, RingConfig};
use holdfast::target::stepped::{Berth, Stepped, step_while};
use holdfast::target::{
    Access, ConnectionPlacement, Journal, ReservationStore, ReservationUpdate, Restored,
    ShardPlacement, StoreFailed, Target, TargetConfig, VolumeConfig,
};
use holdfast::volume::{AccessRules, ReservationScope, VolumeId};

use crate::cases::{Backend, Case, Engine, GOOD, Reservation, Work};
use crate::client::{Client, Request, Wishes};
use crate::crowd;

const IQN: &str = "iqn.2024-01.bench:counted";
const SESSIONS_MAX: u32 = 64;
const ARENA_BYTES: usize = 32 << 20;
/// Of the `latency` profile.
const DIRECT_SOCKETS_MAX: u32 = 16;
/// Unit attentions that a new session may have to be told.
const ATTENTIONS_MAX: usize = 4;

/// A target and its initiators.
pub(crate) struct Stage {
    /// Those that this thread steps.
    pub(crate) reactors: Vec<Stepped>,
    pub(crate) client: Client,
    turn: usize,
    _idle: Vec<Client>,
    _target: Target,
}

/// Why this machine can't run the case, if so.
pub(crate) fn cannot_run(case: &Case) -> Option<String> {
    let needs_ring = case.engine != Engine::Epoll;
    let reason = Ring::probe().err().filter(|_| needs_ring)?;
    Some(format!("io_uring can't be used here: {reason}"))
}

/// The target of a case, and its reactors for whoever is to step them.
pub(crate) fn target(case: &Case) -> (Target, Vec<Berth>) {
    Berth::make(config(case)).expect("a target")
}

impl Stage {
    /// Everything up to the first request; `reactors` of `target` belong to this thread, the others
    /// are stepped elsewhere.
    pub(crate) fn set(case: &Case, target: Target, mut reactors: Vec<Stepped>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let volume = volume(case);
        let prepared = step_while(&mut reactors, Instant::ZERO, || {
            target.open_portal(listener, crowd::PORT, None, None)?;
            target.attach_volume(volume)
        });
        prepared
            .expect("the reactors go on")
            .expect("a portal and a volume");
        let mut clients: Vec<Client> = (0..case.sessions)
            .map(|number| log_in(&mut reactors, case, number))
            .collect();
        let client = clients.swap_remove(0);
        let mut stage = Self {
            reactors,
            client,
            turn: 0,
            _idle: clients,
            _target: target,
        };
        for request in case.preparation() {
            ask(&mut stage.reactors, &mut stage.client, &request);
            assert_eq!(stage.client.last_status, GOOD);
        }
        stage
    }

    /// One request and its answer, whoever steps the reactors that it needs.
    #[allow(dead_code, reason = "the counted benchmark has rounds of its own")]
    pub(crate) fn go_round(&mut self, case: &Case) {
        let request = case.request(self.turn());
        self.client.submit(&request);
        self.client.send();
        while self.client.outstanding() > 0 {
            if step(&mut self.reactors) {
                self.client.receive(case.status());
            }
        }
    }

    /// The number of the next request.
    pub(crate) const fn turn(&mut self) -> usize {
        self.turn += 1;
        self.turn - 1
    }
}

/// One tick of each; whether any had something to do.
fn step(reactors: &mut [Stepped]) -> bool {
    reactors.iter_mut().fold(false, |busy, reactor| {
        busy | reactor.step(Instant::ZERO).expect("the reactor goes on")
    })
}

fn ask(reactors: &mut [Stepped], client: &mut Client, request: &Request) {
    client.submit(request);
    client.send();
    while client.outstanding() > 0 {
        step(reactors);
        client.receive_any();
    }
}

/// A session with nothing left to be told.
fn log_in(reactors: &mut [Stepped], case: &Case, number: u16) -> Client {
    let initiator = crowd::node(number);
    let wishes = Wishes {
        initiator: &initiator,
        target: IQN,
        isid: crowd::ISID,
        digests: case.digests,
        immediate_data: !matches!(case.work, Work::SolicitedWrite(_)),
    };
    let peer = SocketAddr::from(([127, 0, 0, 1], 1024 + number));
    let stream = reactors[0].connect(0, peer).expect("a connection");
    let mut client = Client::begin_login(stream, &wishes);
    while !client.finish_login(&wishes) {
        step(reactors);
    }
    for _ in 0..ATTENTIONS_MAX {
        ask(reactors, &mut client, &Request::none([0; 16]));
        if client.last_status == GOOD {
            // What the answer has left behind is over before the next login.
            while step(reactors) {}
            return client;
        }
    }
    panic!("a session that has always something to tell");
}

fn config(case: &Case) -> TargetConfig {
    let engine = case.engine;
    let by_ring = engine != Engine::Epoll;
    let moves_bytes = if by_ring {
        net::Engine::Uring
    } else {
        net::Engine::Mio
    };
    TargetConfig {
        reactors: reactor::Config {
            placement: reactor::Placement::Anywhere(case.reactors),
            pool_bytes: ARENA_BYTES,
            ring: by_ring.then(RingConfig::default),
            readiness: !by_ring,
            // Pinned memory needs a limit that not every user has, and sockets don't use it.
            register_arenas: false,
            ..reactor::Config::default()
        },
        net: NetConfig {
            direct_sockets_max: if engine == Engine::Direct {
                DIRECT_SOCKETS_MAX
            } else {
                0
            },
            ..NetConfig::new(moves_bytes)
        },
        settings: Settings {
            entropy: |bytes| {
                bytes.fill(7);
                Ok(())
            },
            ..Settings::default()
        },
        fence_timeout: Duration::from_secs(10),
        shard_placement: ShardPlacement::Spread,
        shard_bytes: Case::shard_bytes(),
        connection_placement: ConnectionPlacement::Home,
        reservations: Arc::new(NoStore),
        journal: Journal::default(),
        slow_io: None,
    }
}

fn volume(case: &Case) -> VolumeConfig {
    let bytes = Case::volume_bytes();
    let store: Arc<dyn Store> = match case.backend {
        Backend::Null => NullStore::new(bytes),
        Backend::Ram => RamStore::new(bytes).expect("memory"),
    };
    VolumeConfig {
        id: VolumeId::from(uuid::Uuid::from_u128(7)),
        iqn: IQN.to_owned(),
        name: "counted".to_owned(),
        vendor: "HOLDFAST".to_owned(),
        product: "VOLUME".to_owned(),
        block_bytes: 512,
        read_only: false,
        removable: false,
        handed_over: false,
        sessions_max: SESSIONS_MAX,
        registrations_max: crowd::REGISTRANTS.into(),
        reservation_scope: ReservationScope::Nexus,
        store,
        access: Access {
            rules: AccessRules::loopback(),
            ..Access::default()
        },
        reservation: Restored {
            state: state(case.reservation),
            ..Restored::default()
        },
    }
}

/// The reservation that the volume comes up with. The session that is used is that of node 0.
fn state(reservation: Reservation) -> State {
    use ReservationType::{ExclusiveAccess, ExclusiveAccessRegistrantsOnly};
    match reservation {
        Reservation::None => State::new(),
        Reservation::ByAnother => crowd::state(1..2, ExclusiveAccess),
        Reservation::ByRegistrants => {
            crowd::state(0..crowd::REGISTRANTS, ExclusiveAccessRegistrantsOnly)
        }
    }
}

/// No reservation here is made durable.
struct NoStore;

impl ReservationStore for NoStore {
    fn save(&self, _: VolumeId, _: &ReservationUpdate) -> Result<(), StoreFailed> {
        Err(StoreFailed("nothing is saved here".to_owned()))
    }
}

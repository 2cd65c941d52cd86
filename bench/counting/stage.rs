//! What a case needs before it can be counted: a target on a stepped reactor, a volume with its
//! reservation, sessions.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use holdfast::backend::{NullStore, RamStore, Store};
use holdfast::base::clock::Instant;
use holdfast::iscsi::Settings;
use holdfast::net::{self, NetConfig};
use holdfast::reactor;
use holdfast::reservation::{
    Command, Context, InitiatorPort, Key, Nexus, ReservationType, State, apply,
};
use holdfast::ring::{Ring, RingConfig};
use holdfast::target::{
    Access, ReservationStore, ReservationUpdate, Restored, Stepped, StoreFailed, Target,
    TargetConfig, VolumeConfig,
};
use holdfast::volume::{AccessRules, ReservationScope, VolumeId};

use crate::cases::{Backend, Case, Engine, GOOD, Reservation, Work};
use crate::client::{Client, Request, Wishes};

const IQN: &str = "iqn.2024-01.bench:counted";
const REGISTRANTS: u16 = 1024;
const SESSIONS_MAX: u32 = 64;
const PORTAL_TAG: u16 = 1;
const ARENA_BYTES: usize = 32 << 20;
/// Of the `latency` profile.
const DIRECT_SOCKETS_MAX: u32 = 16;
/// Unit attentions that a new session may have to be told.
const ATTENTIONS_MAX: usize = 4;

/// A target and its initiators.
pub(crate) struct Stage {
    pub(crate) reactor: Stepped,
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

impl Stage {
    /// Everything up to the first request.
    pub(crate) fn set(case: &Case) -> Self {
        let (target, mut reactor) = Stepped::start(config(case.engine)).expect("a target");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let volume = volume(case);
        reactor
            .step_while(Instant::ZERO, || {
                target
                    .open_portal(listener, PORTAL_TAG, None, None)
                    .expect("a portal");
                target.attach_volume(volume).expect("a volume");
            })
            .expect("the reactor goes on");
        let mut clients: Vec<Client> = (0..case.sessions)
            .map(|number| log_in(&mut reactor, case, number))
            .collect();
        let client = clients.swap_remove(0);
        let mut stage = Self {
            reactor,
            client,
            turn: 0,
            _idle: clients,
            _target: target,
        };
        for request in case.preparation() {
            stage.ask(&request);
            assert_eq!(stage.client.last_status, GOOD);
        }
        stage
    }

    /// The number of the next request.
    pub(crate) const fn turn(&mut self) -> usize {
        self.turn += 1;
        self.turn - 1
    }

    fn ask(&mut self, request: &Request) {
        ask(&mut self.reactor, &mut self.client, request);
    }
}

fn rest(reactor: &mut Stepped) {
    while reactor.step(Instant::ZERO).expect("the reactor goes on") {}
}

fn ask(reactor: &mut Stepped, client: &mut Client, request: &Request) {
    client.submit(request);
    client.send();
    rest(reactor);
    client.receive_any();
    assert_eq!(client.outstanding(), 0, "an answer");
}

/// A session with nothing left to be told.
fn log_in(reactor: &mut Stepped, case: &Case, number: u16) -> Client {
    let initiator = initiator(number);
    let wishes = Wishes {
        initiator: &initiator,
        target: IQN,
        isid: ISID,
        digests: case.digests,
        immediate_data: !matches!(case.work, Work::SolicitedWrite(_)),
    };
    let peer = SocketAddr::from(([127, 0, 0, 1], 1024 + number));
    let stream = reactor.connect(0, peer).expect("a connection");
    let mut client = Client::begin_login(stream, &wishes);
    rest(reactor);
    client.finish_login(&wishes);
    for _ in 0..ATTENTIONS_MAX {
        ask(reactor, &mut client, &Request::none([0; 16]));
        if client.last_status == GOOD {
            return client;
        }
    }
    panic!("a session that has always something to tell");
}

fn config(engine: Engine) -> TargetConfig {
    let by_ring = engine != Engine::Epoll;
    let moves_bytes = if by_ring {
        net::Engine::Uring
    } else {
        net::Engine::Mio
    };
    TargetConfig {
        reactors: reactor::Config {
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
        shard_placement: holdfast::target::ShardPlacement::Home,
        shard_bytes: 1 << 30,
        connection_placement: holdfast::target::ConnectionPlacement::Home,
        reservations: Arc::new(NoStore),
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
        sessions_max: SESSIONS_MAX,
        registrations_max: REGISTRANTS.into(),
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

const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];

fn initiator(number: u16) -> String {
    format!("iqn.2024-01.bench:node{number:04}")
}

/// The reservation that the volume comes up with. The session that is used is that of node 0.
fn state(reservation: Reservation) -> State {
    let (registrants, kind) = match reservation {
        Reservation::None => return State::new(),
        Reservation::ByAnother => (1..2, ReservationType::ExclusiveAccess),
        Reservation::ByRegistrants => (
            0..REGISTRANTS,
            ReservationType::ExclusiveAccessRegistrantsOnly,
        ),
    };
    let nexus = |number| Nexus::new(InitiatorPort::new(&initiator(number), ISID), PORTAL_TAG);
    let context = Context {
        ports: &[PORTAL_TAG],
        known: &|_| Vec::new(),
        registrations_max: REGISTRANTS.into(),
    };
    let register = Command::RegisterAndIgnore {
        new_key: Key(1),
        aptpl: false,
        all_target_ports: false,
    };
    let reserve = Command::Reserve { key: Key(1), kind };
    let first = nexus(registrants.start);
    let registered = registrants.map(|number| (nexus(number), &register));
    registered
        .chain([(first, &reserve)])
        .fold(State::new(), |state, (nexus, command)| {
            apply(&state, &nexus, command, &context)
                .expect("the command succeeds")
                .next
        })
}

/// No reservation here is made durable.
struct NoStore;

impl ReservationStore for NoStore {
    fn save(&self, _: VolumeId, _: &ReservationUpdate) -> Result<(), StoreFailed> {
        Err(StoreFailed("nothing is saved here".to_owned()))
    }
}

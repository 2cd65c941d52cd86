//! The steady path of an I/O allocates nothing (the design's seventh rule): a target in this very
//! process serves READs and WRITEs over loopback while an allocator counts what its reactors ask of
//! the heap. Queues may grow while the load is new; then the count must be zero.

#[path = "support/allocations.rs"]
mod allocations;
mod support;

use std::net::{SocketAddr, TcpListener};
#[allow(clippy::disallowed_types, reason = "tests of one allocator take turns")]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use allocations::{CountingAllocator, watch_reactors};
use holdfast::backend::{self, BackendSpec, Intent, Means, Opening, Workers};
use holdfast::base::rate::Rates;
use holdfast::base::tuning::{Engine, Placement, Tuning};
use holdfast::control::catalogue::KeptHistory;
use holdfast::control::data_path::TargetLauncher;
use holdfast::control::plane::{DataPlane, Launch, LaunchPlan, PortalSocket, VolumeConfig};
use holdfast::target::{Access, Journal, Limits, ReservationStore, ReservationUpdate, StoreFailed};
use holdfast::volume::{AccessRules, ReservationScope, VolumeId};
use rustix::net::sockopt::set_tcp_cork;
use support::initiator::{Command, Initiator};
use support::login::Login;
use support::scsi::{BLOCK, compare_and_write, pattern, read16, write16};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Tests of one process share one allocator.
#[allow(clippy::disallowed_types, reason = "tests of one allocator take turns")]
static TURN: Mutex<()> = Mutex::new(());

const IQN: &str = "iqn.2024-01.test:allocation";
const VOLUME_BYTES: u64 = 64 << 20;
/// Small, so that neighbouring transfers belong to different reactors.
const SHARD_BYTES: u64 = 1 << 20;
const ARENA_BYTES: usize = 32 << 20;

/// Small, so that a client that does not read is soon felt.
const SOCKET_BUFFER_BYTES: usize = 64 << 10;

const DEPTH: usize = 16;
const SMALL: usize = 4 << 10;
const LARGE: usize = 64 << 10;
/// Transfers of a warm-up burst: within the command window, and within what a connection queues for
/// a peer that does not read.
const BURSTS: [(usize, usize); 2] = [(SMALL, 120), (LARGE, 60)];

/// How often the target is asked whether it is so far.
const TRIES: usize = 100_000;

/// A target in this process, with one volume.
struct InProcess {
    plane: Arc<dyn DataPlane>,
    portal: SocketAddr,
    _directory: tempfile::TempDir,
}

/// No test here asks for durable reservations.
struct NoReservations;

impl ReservationStore for NoReservations {
    fn save(&self, _: VolumeId, _: &ReservationUpdate) -> Result<(), StoreFailed> {
        Err(StoreFailed("none here".to_owned()))
    }
}

impl InProcess {
    fn start(engine: Engine, reactors: usize, backend: &BackendSpec) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let plan = LaunchPlan {
            cores: Vec::new(),
            reactors,
            tuning: Tuning {
                engine,
                arena_bytes: ARENA_BYTES,
                shards: Placement::Spread,
                shard_bytes: SHARD_BYTES,
                connections: Placement::Spread,
                socket_buffer_bytes: Some(SOCKET_BUFFER_BYTES),
                ..Tuning::default()
            },
            login_timeout: Duration::from_secs(15),
            nop_interval: Duration::from_secs(30),
            fence_timeout: Duration::from_secs(10),
            reservations: Arc::new(NoReservations),
            journal: Journal::default(),
            slow_io: None,
        };
        let plane = TargetLauncher.launch(plan).expect("the reactors start");
        let workers = Workers::start(reactors).expect("the workers start");
        let opening = Opening {
            read_only: false,
            directory: directory.path(),
            size_bytes: VOLUME_BYTES,
            block_bytes: 512,
            intent: Intent::Create,
            workers: &workers,
            means: Means::default(),
        };
        let volume = VolumeConfig {
            id: volume_id(),
            iqn: IQN.to_owned(),
            name: "allocation".to_owned(),
            vendor: "HOLDFAST".to_owned(),
            product: "VOLUME".to_owned(),
            block_bytes: 512,
            read_only: false,
            removable: false,
            handed_over: false,
            sessions_max: 128,
            registrations_max: 1024,
            reservation_scope: ReservationScope::Nexus,
            store: backend::open(backend, &opening).expect("the store opens"),
            access: Access {
                rules: AccessRules::loopback(),
                ..Access::default()
            },
            reservation: None,
            history: KeptHistory::default(),
        };
        plane.attach_volume(volume).expect("the volume is served");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let portal = listener.local_addr().expect("an address");
        let socket = PortalSocket {
            listener,
            tag: 1,
            advertise: None,
            redirect: None,
        };
        plane.open_portal(socket).expect("the portal opens");
        Self {
            plane,
            portal,
            _directory: directory,
        }
    }

    fn login(&self, isid: u16) -> Login {
        Login::new(self.portal, IQN, "allocation").isid(isid)
    }

    /// Bytes read by all sessions, those included whose way to the initiator is blocked.
    fn read_bytes(&self) -> u64 {
        let sessions = self.plane.sessions().expect("the reactors answer");
        sessions.iter().map(|session| session.read_bytes).sum()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.plane.stop();
    }
}

/// Command `index` of the load: READs and WRITEs by turns, over all shards.
fn transfer(index: usize, bytes: usize) -> Command {
    let places = usize::try_from(VOLUME_BYTES).expect("fits") / bytes;
    // A stride that shares no factor with the number of places visits them all.
    let lba = (index * 4099 % places * (bytes / BLOCK)) as u64;
    let blocks = u32::try_from(bytes / BLOCK).expect("fits");
    if index.is_multiple_of(2) {
        Command::write(&write16(lba, blocks), &vec![7; bytes])
    } else {
        Command::read(&read16(lba, blocks), bytes)
    }
}

/// Runs `count` transfers with `depth` of them outstanding.
fn load(session: &mut Initiator, count: usize, depth: usize, bytes: usize) {
    let mut outstanding = std::collections::VecDeque::new();
    for index in 0..count {
        if outstanding.len() == depth {
            let oldest = outstanding.pop_front().expect("depth is not zero");
            session.complete(oldest).expect("a status").good();
        }
        let itt = session.submit(&transfer(index, bytes)).expect("it is sent");
        outstanding.push_back(itt);
    }
    complete(session, outstanding);
}

/// Brings every queue of a session to a length that [`load`] does not reach.
fn warm_up(target: &InProcess, session: &mut Initiator) {
    for (bytes, count) in BURSTS {
        // WRITEs without their data: all of them are under way at once.
        let immediate_data = std::mem::take(&mut session.negotiated.immediate_data);
        let writes = burst(session, (0..count).map(|index| transfer(2 * index, bytes)));
        complete(session, writes);
        session.negotiated.immediate_data = immediate_data;
        // READs whose data nobody takes in: all of it is queued at once.
        let expected = target.read_bytes() + (count * bytes) as u64;
        let reads = burst(
            session,
            (0..count).map(|index| transfer(2 * index + 1, bytes)),
        );
        let is_queued = (0..TRIES).any(|_| target.read_bytes() == expected);
        assert!(
            is_queued,
            "{count} READs do not get as far as their replies"
        );
        complete(session, reads);
        load(session, 100, DEPTH, bytes);
    }
}

/// Sends commands in one piece; their tags.
fn burst(session: &mut Initiator, commands: impl Iterator<Item = Command>) -> Vec<u32> {
    set_tcp_cork(&session.stream, true).expect("a socket option");
    let sent = commands.map(|command| session.submit(&command).expect("it is sent"));
    let tags = sent.collect();
    set_tcp_cork(&session.stream, false).expect("a socket option");
    tags
}

fn complete(session: &mut Initiator, tags: impl IntoIterator<Item = u32>) {
    for itt in tags {
        session.complete(itt).expect("a status").good();
    }
}

/// Sessions with and without digests, whose data comes along or is asked for.
fn sessions(target: &InProcess) -> Vec<(&'static str, Initiator)> {
    let asked_for = |login: Login| login.key("ImmediateData", "No").key("InitialR2T", "Yes");
    let logins = [
        ("plain", target.login(1)),
        ("digests", target.login(2).digests("CRC32C", "CRC32C")),
        ("R2T", asked_for(target.login(3))),
        (
            "R2T, digests",
            asked_for(target.login(4)).digests("CRC32C", "CRC32C"),
        ),
    ];
    let connect = |(what, login): (_, Login)| {
        let mut session = login.connect();
        session.take_attentions();
        (what, session)
    };
    logins.into_iter().map(connect).collect()
}

fn steady_io_allocates_nothing(engine: Engine, reactors: usize, backend: &BackendSpec) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if engine == Engine::Uring && io_uring::IoUring::new(2).is_err() {
        support::skip("io_uring is not permitted here");
        return;
    }
    let target = InProcess::start(engine, reactors, backend);
    let mut failures = Vec::new();
    let mut sessions = sessions(&target);
    for (_, session) in &mut sessions {
        warm_up(&target, session);
    }
    for (what, session) in &mut sessions {
        for (count, depth, bytes) in [
            (300, 1, SMALL),
            (1500, DEPTH, SMALL),
            (100, 1, LARGE),
            (300, DEPTH, LARGE),
        ] {
            let tally = watch_reactors(|| load(session, count, depth, bytes));
            if tally.allocations > 0 {
                failures.push(format!(
                    "{what}: {} allocations in {count} transfers of {bytes} bytes, {depth} at \
                     once; by\n    {}",
                    tally.allocations,
                    tally.places.join("\n    ")
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Commands that wait for their volume's limits, and those that don't.
fn waiting_for_limits_allocates_nothing(engine: Engine, reactors: usize) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if engine == Engine::Uring && io_uring::IoUring::new(2).is_err() {
        support::skip("io_uring is not permitted here");
        return;
    }
    let target = InProcess::start(engine, reactors, &BackendSpec::Ram {});
    let mut sessions = sessions(&target);
    for (_, session) in &mut sessions {
        warm_up(&target, session);
    }
    let rates = Rates {
        operations: Some(500),
        bytes: None,
        burst: Duration::from_millis(10),
    };
    let limits = Limits::new(rates, None).map(Arc::new);
    let limits = limits.expect("there is something to limit");
    let set = target
        .plane
        .set_limits(volume_id(), Some(Arc::clone(&limits)));
    set.expect("the limits are set");
    let mut failures = Vec::new();
    for (what, session) in &mut sessions {
        // More of them wait at once than later.
        let waiting = burst(session, (0..100).map(|index| transfer(index, SMALL)));
        complete(session, waiting);
        let before = limits.usage().delayed;
        let tally = watch_reactors(|| load(session, 100, DEPTH, SMALL));
        assert!(
            limits.usage().delayed > before,
            "{what}: nothing had to wait"
        );
        if tally.allocations > 0 {
            failures.push(format!("{what}: by\n    {}", tally.places.join("\n    ")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn volume_id() -> VolumeId {
    VolumeId::from(uuid::Uuid::from_u128(7))
}

/// One module of tests on one engine.
macro_rules! on_engine {
    ($module:ident, $engine:ident) => {
        mod $module {
            use super::*;

            #[test]
            fn one_reactor_ram() {
                steady_io_allocates_nothing(Engine::$engine, 1, &BackendSpec::Ram {});
            }

            #[test]
            fn two_reactors_ram() {
                steady_io_allocates_nothing(Engine::$engine, 2, &BackendSpec::Ram {});
            }

            #[test]
            fn one_reactor_limited() {
                waiting_for_limits_allocates_nothing(Engine::$engine, 1);
            }

            #[test]
            fn two_reactors_limited() {
                waiting_for_limits_allocates_nothing(Engine::$engine, 2);
            }

            #[test]
            fn one_reactor_file() {
                steady_io_allocates_nothing(Engine::$engine, 1, &file());
            }

            #[test]
            fn two_reactors_file() {
                steady_io_allocates_nothing(Engine::$engine, 2, &file());
            }
        }
    };
}

fn file() -> BackendSpec {
    BackendSpec::File {
        path: "volume.img".into(),
    }
}

on_engine!(uring, Uring);
on_engine!(mio, Mio);

#[test]
fn the_count_counts() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = InProcess::start(Engine::Mio, 1, &BackendSpec::Ram {});
    let mut session = target.login(1).connect();
    session.take_attentions();
    load(&mut session, 200, DEPTH, SMALL);
    let data = pattern(1, 1);
    session.write(&write16(0, 1), &data).good();
    // A procedure, which may allocate.
    let tally = watch_reactors(|| {
        let both = [data.clone(), data.clone()].concat();
        session.write(&compare_and_write(0, 1), &both).good();
    });
    assert!(tally.allocations > 0, "a procedure allocates");
    assert!(
        tally
            .places
            .iter()
            .any(|place| place.contains("holdfast::target")),
        "and it is known where: {tally:?}"
    );
    let elsewhere = watch_reactors(|| drop(vec![0_u8; 4096]));
    assert_eq!(elsewhere.allocations, 0, "other threads do not count");
}

//! The floor of this machine: what remains when the target does nothing.
//!
//! [`EchoRig`] is the raw echo: a server that knows no protocol, and the load generator's own loop
//! against it. [`disk`] is the same for a disk: reads by io_uring, polled. A target's figure divided
//! by the floor's says how close to the limit it is, on whatever machine.
//!
//! ```text
//! client, a pinned thread                     server, a pinned thread
//! request: 48 bytes (and the payload) ──────▶ receive, count
//!                          answer ◀────────── 48 bytes (and the payload), all in one send a turn
//! ```
//!
//! On a `ram` set the server sends payloads by reference from, or copies them into, 256 MiB of
//! memory, at addresses scattered over it; without it the payload is one static piece.

mod client;
pub mod disk;
mod server;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::crew::Crew;
use super::engine::{Engine, Place, Socket, Span};
use super::initiator::outbox::Outbox;
use super::plan::{Cores, SocketOptions, Threads};
use super::rig::{Burst, LoadError};
use super::tally::Direction;
use client::EchoClient;
use server::EchoServer;

/// Bytes of a request or an answer without its payload: those of a basic header segment.
const HEADER_BYTES: usize = 48;
/// Connections of one echo: the backlog of the standard library's listener.
const CONNECTIONS_MAX: usize = 128;
/// Silence after which the echo has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server's payloads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payload {
    /// One static piece; what is written is thrown away.
    Null,
    /// 256 MiB of memory.
    Ram,
}

/// What the echo carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EchoShape {
    /// Whether the payload is in the answer or in the request.
    pub direction: Direction,
    /// Bytes of the payload.
    pub bytes: u32,
    /// Connections.
    pub connections: usize,
    /// Requests outstanding on each.
    pub depth: u32,
    /// Where the server's payloads are.
    pub payload: Payload,
}

/// The cores of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoCores {
    /// The server's.
    pub server: Cores,
    /// The client's.
    pub client: Cores,
}

impl EchoCores {
    /// The first core that the process may use for the server, the last one for the client.
    #[must_use]
    pub fn apart() -> Self {
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        Self {
            server: allowed
                .first()
                .map_or(Cores::Any, |core| Cores::These(vec![core.id])),
            client: Cores::Last,
        }
    }
}

/// What both sides of an echo are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoSides {
    /// Where they run.
    pub cores: EchoCores,
    /// As in [`Threads::yielding`].
    pub yielding: bool,
    /// Their sockets.
    pub sockets: SocketOptions,
}

/// An echo that is connected and waits for bursts. Between bursts its server sleeps, so that it can
/// share a core with a target that is measured in turns with it.
#[derive(Debug)]
pub struct EchoRig {
    crew: Crew,
    server: EchoServer,
}

impl EchoRig {
    /// Starts a server and connects to it.
    ///
    /// # Errors
    /// When a thread, a core, a socket or the memory can't be had.
    pub fn connect(shape: EchoShape, sides: &EchoSides) -> Result<Self, LoadError> {
        if !(1..=CONNECTIONS_MAX).contains(&shape.connections) || shape.depth == 0 {
            let text = format!("an echo of 1 to {CONNECTIONS_MAX} connections and a depth");
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err(LoadError::System(error));
        }
        let yielding = sides.yielding;
        let sockets = sides.sockets.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let threads = Threads {
            count: 1,
            cores: sides.cores.client.clone(),
            yielding,
        };
        // The kernel completes connections up to the backlog before anybody accepts them, so the
        // server finds all of them there.
        let make = move |_| -> Result<(Engine<EchoClient>, ()), LoadError> {
            let mut engine = Engine::new(1, yielding);
            let content: Arc<[u8]> = vec![0x5a; shape.bytes as usize].into();
            for session in 0..shape.connections {
                let socket = Socket::connect(&address.to_string(), &sockets)?;
                let outbox = Outbox::new(Arc::clone(&content));
                engine.add(
                    socket,
                    outbox,
                    EchoClient::new(shape),
                    Place { job: 0, session },
                )?;
            }
            Ok((engine, ()))
        };
        let (crew, _) = Crew::start(&threads, make)?;
        let server = EchoServer::start(listener, shape, sides.clone())?;
        server.ready()?;
        Ok(Self { crew, server })
    }

    /// Runs for `duration`.
    ///
    /// # Errors
    /// When the echo broke.
    pub fn burst(&mut self, duration: Duration) -> Result<Burst, LoadError> {
        self.server.wake();
        let never = Arc::new(AtomicBool::new(false));
        let outcome = self.crew.burst(Span::of(duration, TIMEOUT), &never, |_| {});
        self.server.sleep();
        let outcome = outcome?;
        match outcome.fault {
            None => Ok(outcome.total.into()),
            Some((_, fault)) => Err(LoadError::System(io::Error::other(fault))),
        }
    }
}

/// What the floor measured for one shape.
#[derive(Debug, Clone)]
pub struct FloorRow {
    /// The shape.
    pub shape: EchoShape,
    /// Median of the bursts' rates, in answers per second.
    pub iops: f64,
    /// Latencies of all bursts, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// How the floor is measured.
#[derive(Debug, Clone)]
pub struct FloorPlan {
    /// The shapes.
    pub shapes: Vec<EchoShape>,
    /// How long each burst is.
    pub burst: Duration,
    /// How many bursts of each shape.
    pub bursts: usize,
    /// Both sides.
    pub sides: EchoSides,
}

/// The shapes of `performance.md`'s limits: 4 KiB at 1×1, 1×32 and 16×8, and 128 KiB at 1×8, both
/// directions, on both sets.
#[must_use]
pub fn usual_shapes() -> Vec<EchoShape> {
    let mut shapes = Vec::new();
    for payload in [Payload::Null, Payload::Ram] {
        for direction in [Direction::Read, Direction::Write] {
            for (bytes, connections, depth) in [
                (4 << 10, 1, 1),
                (4 << 10, 1, 32),
                (4 << 10, 16, 8),
                (128 << 10, 1, 8),
            ] {
                shapes.push(EchoShape {
                    direction,
                    bytes,
                    connections,
                    depth,
                    payload,
                });
            }
        }
    }
    shapes
}

/// Measures the floor; `observe` gets each row as soon as it is there.
///
/// # Errors
/// When an echo can't be set up, or breaks.
pub fn measure(
    plan: &FloorPlan,
    mut observe: impl FnMut(&FloorRow),
) -> Result<Vec<FloorRow>, LoadError> {
    let mut rows = Vec::with_capacity(plan.shapes.len());
    for shape in &plan.shapes {
        let mut rig = EchoRig::connect(*shape, &plan.sides)?;
        // The first burst meets cold caches and small windows.
        rig.burst(plan.burst / 3)?;
        let mut bursts = Vec::with_capacity(plan.bursts);
        for _ in 0..plan.bursts.max(1) {
            bursts.push(rig.burst(plan.burst)?);
        }
        let row = FloorRow {
            shape: *shape,
            iops: median(bursts.iter().map(Burst::iops).collect()),
            latency: merged(&bursts),
        };
        observe(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn merged(bursts: &[Burst]) -> Histogram<u64> {
    let mut total = super::tally::Tally::default();
    for burst in bursts {
        total.merge(&burst.total());
    }
    total.latency()
}

/// The value in the middle, or the mean of the two that are; zero of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests;

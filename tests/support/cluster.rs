//! A server with one volume and three nodes, the usual stage of reservation tests.

use super::initiator::Initiator;
use super::reserve::Reservation;
use super::server::{Server, Setup, Volume};

/// The keys that the nodes `a`, `b` and `c` use.
pub const A: u64 = 0xaaaa;
pub const B: u64 = 0xbbbb;
pub const C: u64 = 0xcccc;

/// The three nodes; each is an initiator of its own.
pub struct Cluster {
    pub server: Server,
    pub volume: Volume,
    pub a: Initiator,
    pub b: Initiator,
    pub c: Initiator,
}

impl Cluster {
    /// Nobody has registered.
    pub fn new(setup: &Setup) -> Self {
        let server = setup.start();
        let volume = server.create_small("cluster");
        let [a, b, c] = ["a", "b", "c"].map(|name| server.session(&volume, name));
        Self {
            server,
            volume,
            a,
            b,
            c,
        }
    }

    /// Each node has registered its key.
    pub fn registered(setup: &Setup) -> Self {
        let mut all = Self::new(setup);
        all.a.register(0, A).good();
        all.b.register(0, B).good();
        all.c.register(0, C).good();
        all
    }
}

/// What READ RESERVATION tells of a reservation.
pub fn held(key: u64, kind: u8) -> Option<Reservation> {
    Some(Reservation { key, kind })
}

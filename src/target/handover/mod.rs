//! Handing everything that this process serves to another one, with the initiators still connected.
//!
//! ```text
//!  serving ──▶ holding ──────────────▶ parking ─────────────▶ parked ──▶ (the record is taken)
//!     ▲         no command begins       what is in flight on     │
//!     │         what runs ends          sockets is taken back    │
//!     └──────────────┴─── go_on, if nothing comes of it ─────────┘
//! ```
//!
//! **Holding.** No connection is accepted and no command begins; bytes that have come and are not parsed
//! stay with their connection. Commands that run end as always: their data is still taken in where they
//! wait for it, and they are answered. A WRITE of one piece whose data has not all come does not wait
//! for its initiator: it goes over as it is. Connections that log in, discover or end are closed.
//!
//! **Parking.** Nothing runs any more, on any reactor. Receives and sends in flight are taken back: what
//! had come is kept as input, what had not been sent as output.
//!
//! **Parked.** A parked target issues nothing, sends nothing and receives nothing: not to a medium, not
//! on a socket, not to the store of reservations. All that had been issued to a backend is over. So the
//! fence holds: nothing of this process can land after another one serves. Whoever owns the target
//! keeps to one rule: *after it has told the other process to serve, it never calls
//! [`Target::go_on`](super::Target::go_on) again*.
//!
//! The record is taken by reading alone. Where nothing comes of the handover, every reactor goes on with
//! what it still has, and the initiators have seen a pause.
//!
//! | room | what it is |
//! |---|---|
//! | `holding` | from serving to parked and back, on one reactor |
//! | `obstacle` | what is still going on, by name |
//! | `record` | what is handed over, as data |
//! | `giving` | a reactor's and a volume's part of the record |
//! | `taking` | the same in the new process |
//! | `handle` | the whole from outside |

mod giving;
mod handle;
mod holding;
mod obstacle;
mod record;
mod taking;

pub use handle::{Estate, NotAdopted, NotHandedOver};
pub use obstacle::Obstacle;
pub use record::{FORMAT, Record};

use crate::net::ListenerId;
use std::net::TcpListener;

/// What a reactor is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// Everything.
    Serving,
    /// Ending what runs.
    Holding,
    /// Nothing: its connections are parked, or on the way there.
    Parking,
}

/// A portal on the reactor that accepts its connections.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Its position among the portals.
    pub(crate) portal: u32,
    /// A handle of the socket, to listen again, or for another process.
    pub(crate) listener: TcpListener,
    /// Nothing while no connection is accepted.
    pub(crate) id: Option<ListenerId>,
}

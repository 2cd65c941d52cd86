//! The control socket: JSON-RPC 2.0, one request or batch a line, on a Unix socket of mode 0600.
//!
//! Served by plain threads off the reactors. Connections, the bytes of a request and the time that
//! one may take to arrive are bounded. Methods stand in [`crate::control::api::method`].

mod client;
mod message;
mod methods;
mod record;
mod server;
mod socket;

use std::time::Duration;

pub use client::{Client, ClientError};
pub use server::Server;
pub use socket::{ControlSocket, SocketError};

/// Bytes of one request line, or of one answer that a client takes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Requests of one batch.
const BATCH_REQUESTS_MAX: usize = 100;
/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// A connection that says nothing for that long is closed.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a client waits for an answer: opening a large backend may take its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;

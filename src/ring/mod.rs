//! Layer 3: io_uring, and all of its unsafe.
//!
//! A [`Ring`] takes an [`Op`] that owns its buffers and its file, keeps it until the kernel is done
//! with it, and hands it back in a [`Completion`]. So no memory that the kernel may still write is
//! ever freed or reused, whatever the caller does: an operation that cannot be submitted comes back
//! at once, and dropping the ring cancels what is in flight and waits for it.
//!
//! ```text
//! caller ──submit(op)──▶ in flight ──enter()──▶ kernel ──enter()──▶ completed ──completion()──▶ caller
//!    ▲                      │ no room
//!    └──────── Err(op) ─────┘
//! ```
//!
//! Several rooms share one ring; a [`Token`] names the [`Owner`] of an operation, and each owner
//! fetches its own completions. Nothing here knows what the bytes mean.

mod arenas;
mod core;
mod flight;
mod nvme;
mod op;
mod polled;
mod probe;
mod provided;
mod setup;
#[cfg(test)]
mod tests;

pub use self::core::{Completion, Ring, RingConfig, Ticket};
pub use nvme::Namespace;
pub use op::{FileHandle, Op, Owner, Token};
pub use probe::{Features, Unavailable};

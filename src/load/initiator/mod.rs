//! The initiator's side of RFC 7143, without I/O: bytes in, bytes and events out.
//!
//! | room | what it is |
//! |---|---|
//! | `login` | the login phase, up to full feature phase |
//! | `chap` | proving who we are, and having the target prove who it is |
//! | `session` | commands, Data-In, R2T and Data-Out, windows, pings, rejects |
//! | `command` | the CDBs that load and its preparation need |
//! | `outbox` | what a connection sends in one go |
//! | [`fault`] | why a connection fails |
//!
//! Error recovery is level 0 and a session has one connection, so what a fault leaves outstanding
//! is lost with the session. PDUs, text, CHAP digests and the cutting of the byte stream are shared
//! with the target in [`crate::iscsi`].

mod chap;
pub(super) mod command;
pub mod fault;
pub(super) mod login;
pub(super) mod outbox;
pub(super) mod session;
#[cfg(test)]
mod tests;

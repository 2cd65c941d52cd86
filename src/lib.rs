//! Holdfast: a polled-mode iSCSI target for shared volumes, with SCSI-3 persistent reservations.
//!
//! A volume is one target with one logical unit that many hosts share. `README.md` says how to run
//! it; here is how it is built.
//!
//! # The rooms
//!
//! A room imports only from rooms of a lower layer; `tests/architecture.rs` holds that.
//!
//! | # | module | what it is | what it never does |
//! |---|---|---|---|
//! | 0 | [`base`] | clock, buffers, slots, RCU cell, mailboxes, CRC32C, limits | know the domain |
//! | 1 | [`reservation`] | the pure PR state machine, its snapshot and durable record | I/O, clock |
//! | 1 | [`iscsi`] | RFC 7143 without I/O: PDUs, login, CHAP, sessions, data transfer | know SCSI commands |
//! | 1 | [`volume`] | SAN, group, volume, access rules, naming: a pure model | touch a disk |
//! | 2 | [`scsi`] | CDBs, sense, VPD, mode pages, unit attentions; `plan` | I/O |
//! | 3 | [`ring`] | the one place with io_uring's unsafe | know the domain |
//! | 4 | [`reactor`] | the loop: poll, timers, messages, idling, pinning | know iSCSI |
//! | 5 | [`net`] | sockets by io_uring or mio: bytes in and out | know PDUs |
//! | 5 | [`backend`] | null, ram, file, block; fault and delay: byte ranges | know LBAs or SCSI |
//! | 6 | [`target`] | portals, sessions, dispatch, task sets, shards, the fence | parse bytes |
//! | 7 | [`control`] | configuration, catalogue, JSON-RPC, metrics, events, audit, succession | reach the data path but through `target`'s handle |
//! | 7 | [`load`] | the load generator: an initiator, workloads, reports, the floor of the machine | serve |
//! | 7 | [`profile`] | performance profiles: find, explain, compare; examine the host | change the host |
//! | 8 | [`cli`] | commands, tables, progress | |
//!
//! # The way of an I/O
//!
//! ```text
//! net ─bytes─▶ iscsi::Connection ─command─▶ target ─cdb, view─▶ scsi::plan ─range─▶ the shard's owner
//!                                                                                          │
//! net ◀─bytes─ iscsi::Connection ◀─────data, status───── target ◀─completion── backend ◀───┘
//! ```
//!
//! The reservation is checked twice, each time by one load of the volume's
//! [`Snapshot`](reservation::Snapshot): in [`scsi::plan()`] on arrival, so that a conflict is told
//! before any data is asked for, and on the shard's reactor at backend issue, where the fence holds.
//!
//! # What holds everywhere
//!
//! - **Ownership.** A connection and a shard belong to one reactor each. Work crosses reactors only as
//!   messages through bounded mailboxes ([`base::mailbox`]).
//! - **One writer.** A volume's reservations are changed by its home reactor alone. Everyone else
//!   reads what it published in an RCU cell ([`base::rcu`]), under a guard pinned once per tick.
//! - **No lock, no clock, no sleep** in layers 0 to 6; `now` is passed in. `tests/architecture.rs`
//!   names each exception and why it is not on the way of an I/O.
//! - **A peer's mistake is a value**, never a panic. What a peer may make the process hold stands in
//!   [`base::limits`], and nowhere else.
//! - **A buffer belongs to whoever works on it**: to the kernel from submission to completion
//!   ([`ring`]), so nothing that it may still write is freed or reused.
//! - **`unsafe` lives in named leaves**, listed in the same test.
//!
//! # Where to begin
//!
//! [`iscsi::Connection`] for the protocol, [`mod@reservation::apply`] for the reservations,
//! [`scsi::table`] for the commands, [`target`] for how they meet, [`base::limits`] for how much of
//! everything.

pub mod backend;
pub mod base;
pub mod cli;
pub mod control;
pub mod iscsi;
pub mod load;
pub mod net;
pub mod profile;
pub mod reactor;
pub mod reservation;
pub mod ring;
pub mod scsi;
pub mod target;
pub mod volume;

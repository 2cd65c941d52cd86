//! Model checks of the mailbox, the doorbell and the RCU cell: the very files of `src/base`, compiled
//! with loom's atomics. `Cargo.toml` has the command; without `--cfg loom` there is nothing here.

#![cfg(loom)]
#![allow(dead_code, unused_imports, reason = "the models use the part of each room that is concurrent")]

#[path = "../../../src/base/doorbell.rs"]
mod doorbell;
#[path = "../../../src/base/mailbox.rs"]
mod mailbox;
#[path = "../../../src/base/rcu.rs"]
mod rcu;
#[path = "../../../src/base/sync.rs"]
mod sync;

#[cfg(test)]
mod models;

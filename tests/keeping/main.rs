//! What is kept of volumes: deleted ones for a while, snapshots, images; and what happens to their files.
#![allow(
    clippy::disallowed_methods,
    reason = "tests that wait for a server give up by the clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod deleting;
mod harm;
mod images;
mod places;
mod snapshots;

//! What the commands print, word for word: their output, their errors and their help.
//!
//! Each test is a transcript of commands against one server, compared with the file of its name in
//! `snapshots`. After a change that is meant, `INSTA_UPDATE=always cargo test --test commands` writes
//! the files anew; the review of their difference is the test of the new wording.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod configuration;
mod connect;
mod groups;
mod help;
mod keeping;
mod limits;
mod monitoring;
mod profiles;
mod repair;
mod reservations;
mod sessions;
mod transcript;
mod upgrade;
mod volumes;
mod without_a_server;

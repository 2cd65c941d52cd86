//! The fence (spec/reservations.md section 7), judged over real sockets: once a command that takes
//! rights away has returned GOOD, no write of a nexus that lost them starts or takes effect.
//!
//! The target runs in the test's process with its volumes behind gates ([`support::gate`]): a write
//! is in flight for exactly as long as the test says, and nothing depends on time.

mod support;

#[path = "fence/aborts.rs"]
mod aborts;
#[path = "fence/bound.rs"]
mod bound;
#[path = "fence/commands.rs"]
mod commands;
#[path = "fence/races.rs"]
mod races;
#[path = "fence/rights.rs"]
mod rights;
#[path = "fence/scene.rs"]
mod scene;

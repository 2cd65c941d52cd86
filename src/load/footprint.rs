//! How much memory a server of ours takes for an idle session and for a volume.
//!
//! A server is weighed before and after many of them are there, and the difference is divided by
//! their number. What is weighed is the proportional share of resident memory (`Pss` of
//! `/proc/PID/smaps_rollup`), huge pages included; what the kernel keeps for sockets is not in it.

use std::num::NonZeroU64;
use std::time::Duration;

use super::compare::{Server, ServerError};
use super::plan::Plan;
use super::rig::{LoadError, Rig};

/// Reads of each session before it is idle: buffers that a session keeps have then been used.
const READS_EACH: u64 = 16;
const READS_TIME_MAX: Duration = Duration::from_secs(60);

/// Why nothing was weighed.
#[derive(Debug, thiserror::Error)]
pub enum FootprintError {
    /// A session can't be opened, or failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A volume can't be made.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Reads failed, so that it is not known what was weighed.
    #[error("{0} reads failed")]
    Reads(u64),
    /// The kernel does not tell how much memory a process has.
    #[error("the kernel does not tell a process's memory")]
    Untold,
}

/// A server's memory without and with many of a kind.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Weighed {
    /// How many were added.
    pub count: usize,
    /// Bytes of the server without them.
    pub before_bytes: u64,
    /// Bytes of the server with them.
    pub after_bytes: u64,
    /// The difference over the count; zero if the server came to need less.
    pub bytes_each: u64,
}

impl Weighed {
    fn new(count: usize, before_bytes: u64, after_bytes: u64) -> Self {
        let each = after_bytes.saturating_sub(before_bytes) / count.max(1) as u64;
        Self {
            count,
            before_bytes,
            after_bytes,
            bytes_each: each,
        }
    }
}

/// Weighs the sessions of `plan`, which go to the server's own volume, each after some reads and idle
/// then. As many are there before: what the first ones bring into buffers that all share is no
/// session's own.
///
/// # Errors
/// When they can't be opened, a read fails, or the kernel does not tell.
pub fn sessions(server: &Server, plan: &Plan) -> Result<Weighed, FootprintError> {
    let first = used(plan.clone())?;
    let before = memory(server)?;
    let second = used(plan.clone())?;
    let after = memory(server)?;
    drop((first, second));
    Ok(Weighed::new(plan.sessions, before, after))
}

/// Weighs `count` more volumes of the server's kind.
///
/// # Errors
/// When they can't be made, or the kernel does not tell.
pub fn volumes(server: &Server, count: usize) -> Result<Weighed, FootprintError> {
    let before = memory(server)?;
    for number in 0..count {
        server.add_volume(&format!("weighed-{number}"))?;
    }
    Ok(Weighed::new(count, before, memory(server)?))
}

/// Sessions that have done their reads.
fn used(mut plan: Plan) -> Result<Rig, FootprintError> {
    plan.io_count = NonZeroU64::new(READS_EACH * plan.sessions as u64);
    plan.workload.read_percent = 100;
    let mut rig = Rig::connect(plan)?;
    match rig.burst(READS_TIME_MAX)?.failures() {
        0 => Ok(rig),
        count => Err(FootprintError::Reads(count)),
    }
}

fn memory(server: &Server) -> Result<u64, FootprintError> {
    server.memory().ok_or(FootprintError::Untold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_part_of_the_difference() {
        assert_eq!(Weighed::new(256, 1 << 20, 2 << 20).bytes_each, 4096);
        assert_eq!(Weighed::new(256, 2 << 20, 1 << 20).bytes_each, 0);
    }
}

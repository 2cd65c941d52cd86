//! What a connection is told once: knobs and limits, and where it was accepted.

use crate::base::limits;
use std::time::Duration;

/// Fills a slice with bytes that nobody can guess. A test puts a known sequence in its place.
pub type Entropy = fn(&mut [u8]) -> Result<(), EntropyError>;

/// The system gave no random bytes; a login that needs a challenge then fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random bytes")]
pub struct EntropyError;

/// Where a connection was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// Target portal group tag (RFC 7143 section 13.9).
    pub tag: u16,
    /// `host:port`, as told to initiators.
    pub address: String,
}

/// Knobs of every connection of a portal.
#[derive(Debug, Clone)]
pub struct Settings {
    /// MaxRecvDataSegmentLength that the target declares, in bytes.
    pub receive_data_segment_bytes: u32,
    /// Commands a session may have outstanding.
    pub session_commands: u32,
    /// Immediate commands a session may have outstanding.
    pub session_immediate_commands: u32,
    /// Payloads up to that many bytes are copied behind their header; larger ones go by reference.
    pub inline_payload_bytes: usize,
    /// A connection with that many bytes queued for sending takes no further input.
    pub send_queue_bytes: usize,
    /// A connection that has not logged in by then is dropped.
    pub login_timeout: Duration,
    /// An initiator silent for that long is asked with a NOP-In; `None` never asks.
    pub nop_interval: Option<Duration>,
    /// An initiator that stays silent for that long after a NOP-In is gone.
    pub nop_timeout: Duration,
    /// Data-Out that was asked for must make progress within that time.
    pub data_out_timeout: Duration,
    /// Source of CHAP challenges.
    pub entropy: Entropy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            receive_data_segment_bytes: limits::RECEIVE_DATA_SEGMENT_BYTES,
            session_commands: limits::SESSION_COMMANDS_MAX,
            session_immediate_commands: limits::SESSION_IMMEDIATE_COMMANDS_MAX,
            inline_payload_bytes: limits::INLINE_PAYLOAD_BYTES_MAX,
            send_queue_bytes: limits::SEND_QUEUE_BYTES_MAX,
            login_timeout: limits::LOGIN_TIMEOUT,
            nop_interval: Some(limits::NOP_INTERVAL),
            nop_timeout: limits::NOP_TIMEOUT,
            data_out_timeout: limits::DATA_OUT_TIMEOUT,
            entropy: system_entropy,
        }
    }
}

/// Random bytes from the operating system, different across restarts.
///
/// # Errors
/// When the system has none.
pub fn system_entropy(bytes: &mut [u8]) -> Result<(), EntropyError> {
    getrandom::fill(bytes).map_err(|_| EntropyError)
}

//! Where log lines go: standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::control::config::{LogConfig, LogFormat};

/// Sets up logging for the process.
pub(super) fn start(log: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(log.level.to_string()).map_err(Failure::new)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a line that it can't write by one more line, and panic over that: a log
        // on a full disk would end the server.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(Failure::new)
}

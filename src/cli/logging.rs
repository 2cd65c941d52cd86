//! Where log lines go: standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::control::config::{LogConfig, LogFilter, LogFormat};

/// The log of this process.
pub(super) struct Control {
    set: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl Control {
    /// Logs by that filter from now on.
    pub(super) fn set_filter(&self, filter: &LogFilter) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter.to_string()).map_err(|error| error.to_string())?;
        (self.set)(filter)
    }
}

/// Sets up logging for the process.
pub(super) fn start(log: &LogConfig) -> Result<Control, Failure> {
    let filter = EnvFilter::try_new(log.level.to_string()).map_err(Failure::new)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a line that it can't write by one more line, and panic over that: a log
        // on a full disk would end the server.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let told = |error: tracing_subscriber::reload::Error| error.to_string();
    let set: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;
    let started = match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            set = Box::new(move |filter| handle.reload(filter).map_err(told));
            builder.try_init()
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            set = Box::new(move |filter| handle.reload(filter).map_err(told));
            builder.try_init()
        }
    };
    started.map_err(Failure::new)?;
    Ok(Control { set })
}

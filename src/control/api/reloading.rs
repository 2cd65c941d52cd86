//! Reading the configuration again while the server runs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `config.reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigReload {
    /// Tell what would happen, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// End the sessions that could not log in again: they are asked to log out, and dropped where they
    /// have not within `limits.drain_timeout`.
    #[serde(default)]
    pub disconnect: bool,
}

/// What came of it, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigReloadView {
    /// The file that was read.
    pub file: PathBuf,
    /// Whether nothing was changed, because nothing was to be.
    pub dry_run: bool,
    /// Keys that are not, or were not, in force as the file has them.
    pub keys: Vec<KeyChangeView>,
    /// Keys that have a value and are in force as they were, by their paths.
    pub unchanged: Vec<String>,
    /// Sessions that could not log in again by the rules that hold now, or would then. They stay, unless
    /// they were to be ended.
    pub refused_sessions: Vec<RefusedSessionView>,
    /// What became of them, if they were to be ended.
    pub disconnected: Option<DisconnectedView>,
}

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyChangeView {
    /// Its path, as `jq` takes it.
    pub key: String,
    /// What becomes of it.
    pub outcome: KeyOutcome,
    /// The value in force before, as TOML; `None`: it had none.
    pub from: Option<String>,
    /// The value that the file has.
    pub to: Option<String>,
    /// For whom it holds, or why it does not; may be empty.
    pub note: String,
}

/// What becomes of a key that has changed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum KeyOutcome {
    /// It is in force.
    Applied,
    /// It will be after `holdfast upgrade`, or a restart.
    NeedsUpgrade,
    /// It will be after a restart.
    NeedsRestart,
    /// It can't change in this data directory.
    Fixed,
    /// A flag or a variable of the server's command line says otherwise.
    Hidden,
}

/// A session that could not log in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedSessionView {
    /// Its volume.
    pub volume: String,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// Its address and port.
    pub address: String,
    /// The target's part of the session id.
    pub tsih: u16,
    /// The rule that it breaks: `allow`, `initiators`, `chap_accounts` or `enforce_crc`.
    pub rule: String,
    /// The same for people.
    pub reason: String,
}

/// What became of sessions that were to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DisconnectedView {
    /// How many were asked to log out.
    pub sessions: usize,
    /// How many of them had not in time, and were dropped.
    pub dropped: usize,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningConfigView {
    /// The file that it came from, if there was one.
    pub file: Option<PathBuf>,
    /// Every key that has a value, as in the file, in JSON.
    pub config: serde_json::Value,
}

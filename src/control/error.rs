//! What went wrong with a request to the control plane, and what to do about it.

use serde::{Deserialize, Serialize};

/// An error with everything behind it, which its own text does not repeat.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such volume or group.
    NotFound,
    /// It exists already.
    Exists,
    /// It is in use.
    Busy,
    /// A parameter is wrong.
    Invalid,
    /// A limit is reached.
    Limit,
    /// The store, the backend or the data path failed.
    Failed,
    /// The server stops.
    Stopping,
}

impl ErrorKind {
    /// Its JSON-RPC error code, in the range that is left to the server.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::NotFound => -32_001,
            Self::Exists => -32_002,
            Self::Busy => -32_003,
            Self::Invalid => -32_602,
            Self::Limit => -32_004,
            Self::Failed => -32_000,
            Self::Stopping => -32_005,
        }
    }
}

/// A refused request: what it is about, what was expected, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", detail.describe(message))]
pub struct ControlError {
    /// Why.
    pub kind: ErrorKind,
    /// One line for people.
    pub message: String,
    /// The parts, for programs.
    pub detail: ErrorDetail,
}

/// `data` of a JSON-RPC error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// What the error is about, such as `volume db-1`.
    pub what: String,
    /// What would have been right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorDetail {
    /// `message` with what was expected and the hint behind it.
    #[must_use]
    pub fn describe(&self, message: &str) -> String {
        let mut text = message.to_owned();
        if let Some(expected) = &self.expected {
            text.push_str("; expected ");
            text.push_str(expected);
        }
        if let Some(hint) = &self.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text
    }
}

impl ControlError {
    /// An error about `what`.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>, message: impl Into<String>) -> Self {
        let detail = ErrorDetail {
            what: what.into(),
            ..ErrorDetail::default()
        };
        Self {
            kind,
            message: message.into(),
            detail,
        }
    }

    /// With what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.detail.expected = Some(expected.into());
        self
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail.hint = Some(hint.into());
        self
    }
}

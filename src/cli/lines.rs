//! What is printed in JSON one line at a time, beside the answers of the server.

use schemars::JsonSchema;
use serde::Serialize;

use crate::control::api::ProgressView;

/// How far long work is. Such lines come before the answer, which is one line then.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProgressLine<'a> {
    /// How far it is now.
    pub(super) progress: &'a ProgressView,
}

/// What is told where something happened that nobody can be told any more.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Lost {
    /// How many were pushed out by later ones before they could be read.
    pub(super) lost: u64,
}

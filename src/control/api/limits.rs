//! Limits of volumes and groups on the control socket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AsConfigured;
use crate::volume::LimitOrigin;

/// What is to be set of a volume's or a group's limits; what is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSet {
    /// All limits anew, from this preset; values that are set along with it come on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<LimitsPreset>,
    /// Operations per second: a number, or `none` for no value of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops_max: Option<LimitValue>,
    /// Bytes per second, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_max: Option<LimitValue>,
    /// How long unused credit adds up, in milliseconds, or `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_ms: Option<LimitBurst>,
}

/// Where limits begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitsPreset {
    /// No limits.
    None,
    /// By the size: min(80,000, 750 × GiB) operations and min(1,280, 60 × GiB) MB per second.
    Provisioned,
    /// Of a volume: as its group says.
    Inherit,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or \"none\"")]
pub enum LimitValue {
    /// That many.
    Of(u64),
    /// No value.
    None(NoLimit),
}

/// The word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoLimit {
    /// `none`.
    None,
}

/// A burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected milliseconds, or \"default\"")]
pub enum LimitBurst {
    /// That many milliseconds.
    Own(u64),
    /// As it is where nothing is set.
    Common(AsConfigured),
}

/// The limits of a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitsView {
    /// Operations per second; `null`: any number.
    pub iops_max: Option<u64>,
    /// What says so.
    pub iops_origin: LimitOrigin,
    /// Bytes per second; `null`: any number.
    pub bandwidth_max: Option<u64>,
    /// What says so.
    pub bandwidth_origin: LimitOrigin,
    /// How long unused credit adds up, in milliseconds.
    pub burst_ms: u64,
    /// What says so.
    pub burst_origin: LimitOrigin,
    /// What it shares with the other volumes of its group, if that is limited.
    pub group: Option<GroupLimitsView>,
    /// What it has made of them: only where one volume is shown, and has limits.
    pub usage: Option<LimitsUsageView>,
}

/// What the volumes of a group may have together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GroupLimitsView {
    /// Operations per second; `null`: any number.
    pub iops_max: Option<u64>,
    /// Bytes per second; `null`: any number.
    pub bandwidth_max: Option<u64>,
    /// How long unused credit adds up, in milliseconds.
    pub burst_ms: u64,
    /// The preset of its volumes that have chosen none.
    pub preset: Option<LimitsPreset>,
}

/// What a volume has made of its limits in the time that it was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsUsageView {
    /// For how long that was, in milliseconds.
    pub span_ms: u64,
    /// Operations per second that went on.
    pub iops: u64,
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// How many of a hundred operations had to wait.
    pub delayed_percent: u64,
    /// In how much of the time, in per cent, something waited.
    pub limited_percent: u64,
    /// Operations since the limits were set.
    pub operations: u64,
    /// Those of them that had to wait.
    pub operations_delayed: u64,
}

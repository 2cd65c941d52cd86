//! How many operations and bytes per second a volume may have: what is set, and what follows from it.
//!
//! A limit of a volume comes from the first of these that says something: the volume's own value; the
//! preset of the volume; the preset of its group, for volumes that have chosen none. A group's own values
//! are no defaults: they limit all of its volumes together, whatever each may have for itself.

use crate::base::limits::{
    BANDWIDTH_LIMIT_MAX, BANDWIDTH_LIMIT_MIN, LIMIT_BURST_DEFAULT, LIMIT_BURST_MAX,
    LIMIT_BURST_MIN, OPERATIONS_LIMIT_MAX, OPERATIONS_LIMIT_MIN,
};
use crate::base::rate::Rates;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const GIB: u128 = 1 << 30;
/// Performance that comes with each GiB of a volume, and the most that comes with any.
const OPERATIONS_PER_GIB: u128 = 750;
const OPERATIONS_PROVISIONED_MAX: u64 = 80_000;
const BYTES_PER_GIB: u128 = 60_000_000;
const BYTES_PROVISIONED_MAX: u64 = 1_280_000_000;

/// Limits that go by a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitPreset {
    /// None at all.
    None,
    /// By the size: [`provisioned`].
    Provisioned,
}

/// The performance that comes with a size: min(80,000, 750 × GiB) operations and min(1,280, 60 × GiB)
/// megabytes per second; parts of a GiB count, and less than one counts as one.
#[must_use]
pub fn provisioned(size_bytes: u64) -> (u64, u64) {
    let size = u128::from(size_bytes).max(GIB);
    let up_to = |per_gib: u128, most: u64| {
        let exact = size * per_gib / GIB;
        u64::try_from(exact).map_or(most, |exact| exact.min(most))
    };
    (
        up_to(OPERATIONS_PER_GIB, OPERATIONS_PROVISIONED_MAX),
        up_to(BYTES_PER_GIB, BYTES_PROVISIONED_MAX),
    )
}

/// What is set for one volume or for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Of a volume: what holds for values that are not set; `None`: as its group says. Of a group: what
    /// holds for its volumes that have set nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<LimitPreset>,
    /// Operations per second; of a group: of all its volumes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops_max: Option<u64>,
    /// Bytes per second, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_max: Option<u64>,
    /// How long unused credit adds up, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_ms: Option<u64>,
}

/// What is to be set otherwise; `None`: as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitChange {
    /// All limits anew, from this preset; `Some(None)`: as the group says.
    pub preset: Option<Option<LimitPreset>>,
    /// Operations per second; `Some(None)`: no value of its own.
    pub iops_max: Option<Option<u64>>,
    /// Bytes per second, likewise.
    pub bandwidth_max: Option<Option<u64>>,
    /// Milliseconds of burst, likewise.
    pub burst_ms: Option<Option<u64>>,
}

/// Why limits are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too few or too many operations.
    #[error(
        "a limit of {0} operations per second, expected {OPERATIONS_LIMIT_MIN} to \
         {OPERATIONS_LIMIT_MAX}, or none"
    )]
    Operations(u64),
    /// Too few or too many bytes.
    #[error(
        "a limit of {0} bytes per second, expected {BANDWIDTH_LIMIT_MIN} to {BANDWIDTH_LIMIT_MAX} (1 \
         MB/s to 1 TB/s), or none"
    )]
    Bandwidth(u64),
    /// Too short or too long a burst.
    #[error(
        "a burst of {0} ms, expected {least} to {most} ms (an hour)",
        least = LIMIT_BURST_MIN.as_millis(),
        most = LIMIT_BURST_MAX.as_millis()
    )]
    Burst(u64),
}

impl LimitSettings {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The settings after `change`.
    #[must_use]
    pub fn changed_by(&self, change: &LimitChange) -> Self {
        let from = match change.preset {
            Some(preset) => Self {
                preset,
                ..Self::default()
            },
            None => *self,
        };
        Self {
            preset: from.preset,
            iops_max: change.iops_max.unwrap_or(from.iops_max),
            bandwidth_max: change.bandwidth_max.unwrap_or(from.bandwidth_max),
            burst_ms: change.burst_ms.unwrap_or(from.burst_ms),
        }
    }

    /// Passes if all values are within their ranges.
    pub fn check(&self) -> Result<(), LimitError> {
        let outside =
            |value: Option<u64>, least, most| value.filter(|value| !(least..=most).contains(value));
        let (shortest, longest) = (ms(LIMIT_BURST_MIN), ms(LIMIT_BURST_MAX));
        if let Some(wrong) = outside(self.iops_max, OPERATIONS_LIMIT_MIN, OPERATIONS_LIMIT_MAX) {
            return Err(LimitError::Operations(wrong));
        }
        if let Some(wrong) = outside(self.bandwidth_max, BANDWIDTH_LIMIT_MIN, BANDWIDTH_LIMIT_MAX) {
            return Err(LimitError::Bandwidth(wrong));
        }
        match outside(self.burst_ms, shortest, longest) {
            Some(wrong) => Err(LimitError::Burst(wrong)),
            None => Ok(()),
        }
    }

    /// What the volumes of a group with these settings may have together.
    #[must_use]
    pub fn together(&self) -> Rates {
        Rates {
            operations: self.iops_max,
            bytes: self.bandwidth_max,
            burst: burst(self.burst_ms),
        }
    }
}

/// Who says how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitOrigin {
    /// Nobody.
    #[default]
    Default,
    /// The volume has a value of its own.
    Volume,
    /// The volume's preset.
    VolumePreset,
    /// The preset of its group.
    GroupPreset,
}

/// The limits that hold for one volume, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectiveLimits {
    /// Operations per second.
    pub iops_max: (Option<u64>, LimitOrigin),
    /// Bytes per second.
    pub bandwidth_max: (Option<u64>, LimitOrigin),
    /// How long unused credit adds up.
    pub burst: (Duration, LimitOrigin),
}

impl EffectiveLimits {
    /// Of a volume of that size with settings of its own, in a group.
    #[must_use]
    pub fn of(volume: &LimitSettings, group: &LimitSettings, size_bytes: u64) -> Self {
        let (preset, origin) = match (volume.preset, group.preset) {
            (Some(preset), _) => (preset, LimitOrigin::VolumePreset),
            (None, Some(preset)) => (preset, LimitOrigin::GroupPreset),
            (None, None) => (LimitPreset::None, LimitOrigin::Default),
        };
        let (operations, bytes) = match preset {
            LimitPreset::None => (None, None),
            LimitPreset::Provisioned => {
                let (operations, bytes) = provisioned(size_bytes);
                (Some(operations), Some(bytes))
            }
        };
        let first = |own: Option<u64>, preset: Option<u64>| match own {
            Some(own) => (Some(own), LimitOrigin::Volume),
            None => (preset, origin),
        };
        let burst_origin = match volume.burst_ms {
            Some(_) => LimitOrigin::Volume,
            None => LimitOrigin::Default,
        };
        Self {
            iops_max: first(volume.iops_max, operations),
            bandwidth_max: first(volume.bandwidth_max, bytes),
            burst: (burst(volume.burst_ms), burst_origin),
        }
    }

    /// What the data path keeps.
    #[must_use]
    pub const fn rates(&self) -> Rates {
        Rates {
            operations: self.iops_max.0,
            bytes: self.bandwidth_max.0,
            burst: self.burst.0,
        }
    }
}

fn burst(set: Option<u64>) -> Duration {
    set.map_or(LIMIT_BURST_DEFAULT, Duration::from_millis)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn performance_comes_with_size() {
        let mega = 1_000_000;
        assert_eq!(provisioned(GIB), (750, 60 * mega));
        assert_eq!(provisioned(GIB * 3 / 2), (1125, 90 * mega));
        assert_eq!(provisioned(21 * GIB), (15_750, 1260 * mega));
        assert_eq!(provisioned(22 * GIB), (16_500, 1280 * mega));
        assert_eq!(provisioned(106 * GIB), (79_500, 1280 * mega));
        assert_eq!(provisioned(107 * GIB), (80_000, 1280 * mega));
        assert_eq!(provisioned(64 << 40), (80_000, 1280 * mega));
        assert_eq!(
            provisioned(1 << 20),
            provisioned(GIB),
            "less than one is one"
        );
    }

    #[test]
    fn the_first_that_says_something_counts() {
        let nothing = LimitSettings::default();
        let preset = |preset| LimitSettings {
            preset: Some(preset),
            ..nothing
        };
        let of = |volume, group| {
            let limits = EffectiveLimits::of(&volume, &group, 4 * GIB);
            (limits.iops_max, limits.bandwidth_max)
        };
        let provisioned = |origin| ((Some(3000), origin), (Some(240_000_000), origin));
        let none = |origin| ((None, origin), (None, origin));
        assert_eq!(of(nothing, nothing), none(LimitOrigin::Default));
        let group = preset(LimitPreset::Provisioned);
        assert_eq!(of(nothing, group), provisioned(LimitOrigin::GroupPreset));
        let own = preset(LimitPreset::Provisioned);
        assert_eq!(of(own, nothing), provisioned(LimitOrigin::VolumePreset));
        let free = preset(LimitPreset::None);
        assert_eq!(of(free, group), none(LimitOrigin::VolumePreset));
        let one = LimitSettings {
            iops_max: Some(99),
            ..own
        };
        let expected = (
            (Some(99), LimitOrigin::Volume),
            (Some(240_000_000), LimitOrigin::VolumePreset),
        );
        assert_eq!(of(one, nothing), expected);
        // A group's own values are for all of its volumes together.
        let total = LimitSettings {
            iops_max: Some(500),
            ..nothing
        };
        assert_eq!(of(nothing, total), none(LimitOrigin::Default));
        assert_eq!(total.together().operations, Some(500));
    }

    #[test]
    fn a_preset_begins_anew_and_values_come_after_it() {
        let set = LimitSettings {
            preset: None,
            iops_max: Some(100),
            bandwidth_max: Some(5_000_000),
            burst_ms: Some(2000),
        };
        let none = LimitChange {
            preset: Some(Some(LimitPreset::None)),
            ..LimitChange::default()
        };
        let expected = LimitSettings {
            preset: Some(LimitPreset::None),
            ..LimitSettings::default()
        };
        assert_eq!(set.changed_by(&none), expected);
        let with_value = LimitChange {
            iops_max: Some(Some(7000)),
            ..none
        };
        assert_eq!(set.changed_by(&with_value).iops_max, Some(7000));
        let one = LimitChange {
            iops_max: Some(None),
            ..LimitChange::default()
        };
        let expected = LimitSettings {
            iops_max: None,
            ..set
        };
        assert_eq!(set.changed_by(&one), expected);
        assert_eq!(set.changed_by(&LimitChange::default()), set);
    }

    #[test]
    fn values_have_ranges() {
        let iops = |value| LimitSettings {
            iops_max: Some(value),
            ..LimitSettings::default()
        };
        let bandwidth = |value| LimitSettings {
            bandwidth_max: Some(value),
            ..LimitSettings::default()
        };
        let burst = |value| LimitSettings {
            burst_ms: Some(value),
            ..LimitSettings::default()
        };
        for right in [
            iops(OPERATIONS_LIMIT_MIN),
            iops(OPERATIONS_LIMIT_MAX),
            bandwidth(BANDWIDTH_LIMIT_MIN),
            bandwidth(BANDWIDTH_LIMIT_MAX),
            burst(10),
            burst(3_600_000),
        ] {
            assert_eq!(right.check(), Ok(()));
        }
        assert_eq!(iops(9).check(), Err(LimitError::Operations(9)));
        assert_eq!(iops(0).check(), Err(LimitError::Operations(0)));
        let wrong = BANDWIDTH_LIMIT_MAX + 1;
        assert_eq!(bandwidth(wrong).check(), Err(LimitError::Bandwidth(wrong)));
        assert_eq!(burst(9).check(), Err(LimitError::Burst(9)));
    }

    #[test]
    fn what_is_not_set_is_not_written_down() {
        let json = serde_json::to_string(&LimitSettings::default()).unwrap();
        assert_eq!(json, "{}");
        let set = LimitSettings {
            preset: Some(LimitPreset::Provisioned),
            iops_max: Some(100),
            ..LimitSettings::default()
        };
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, r#"{"preset":"provisioned","iops_max":100}"#);
        assert_eq!(serde_json::from_str::<LimitSettings>(&json).unwrap(), set);
    }
}

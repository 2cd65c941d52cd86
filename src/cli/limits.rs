//! Operations and bytes per second, on the command line and for people.

use clap::{Args, ValueEnum};

use crate::control::api::{
    AsConfigured, GroupLimitsView, LimitBurst, LimitValue, LimitsPreset, LimitsSet,
    LimitsUsageView, LimitsView, NoLimit,
};
use crate::volume::LimitOrigin;

const MEGA: u64 = 1_000_000;
const MIB: u64 = 1 << 20;

/// The values of limits as flags.
#[derive(Debug, Args)]
pub(super) struct LimitArguments {
    /// Operations per second at most, or `none`; at any time
    #[arg(long, value_name = "N|none", value_parser = operations)]
    iops_max: Option<LimitValue>,
    /// Bytes per second at most, such as 200MB/s or 64MiB/s, or `none`; at any time
    #[arg(long, value_name = "RATE|none", value_parser = bandwidth)]
    bandwidth_max: Option<LimitValue>,
    /// How long unused operations and bytes add up, such as 2s, or `default` (100ms); at any time
    #[arg(long, value_name = "TIME|default", value_parser = burst)]
    burst: Option<LimitBurst>,
}

/// [`LimitsPreset`] of a volume as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum VolumePreset {
    /// By the size, growing with it: min(80,000, 750 × GiB) IOPS and min(1,280, 60 × GiB) MB/s
    Provisioned,
    /// No limits, whatever the group says of its volumes
    None,
    /// As the group says of its volumes
    Inherit,
}

/// [`LimitsPreset`] of a group as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum GroupPreset {
    /// Each volume by its size, unless it has chosen otherwise
    Provisioned,
    /// No limits, neither of the group nor by it
    None,
}

impl LimitArguments {
    /// The request, on top of a preset.
    pub(super) fn request(&self, preset: Option<LimitsPreset>) -> LimitsSet {
        LimitsSet {
            preset,
            iops_max: self.iops_max,
            bandwidth_max: self.bandwidth_max,
            burst_ms: self.burst,
        }
    }
}

impl From<VolumePreset> for LimitsPreset {
    fn from(preset: VolumePreset) -> Self {
        match preset {
            VolumePreset::Provisioned => Self::Provisioned,
            VolumePreset::None => Self::None,
            VolumePreset::Inherit => Self::Inherit,
        }
    }
}

impl From<GroupPreset> for LimitsPreset {
    fn from(preset: GroupPreset) -> Self {
        match preset {
            GroupPreset::Provisioned => Self::Provisioned,
            GroupPreset::None => Self::None,
        }
    }
}

// ---- what is typed --------------------------------------------------------------------------------

fn operations(text: &str) -> Result<LimitValue, &'static str> {
    if text == "none" {
        return Ok(LimitValue::None(NoLimit::None));
    }
    let number = text.parse().map(LimitValue::Of);
    number.map_err(|_| "expected a number of operations per second, such as 5000, or `none`")
}

fn bandwidth(text: &str) -> Result<LimitValue, &'static str> {
    if text == "none" {
        return Ok(LimitValue::None(NoLimit::None));
    }
    let wrong = "expected bytes per second, such as 200MB/s or 64MiB/s (MB is 1000², MiB is 1024² \
                 bytes), or `none`";
    let size = text.strip_suffix("/s").unwrap_or(text);
    let size: super::values::Size = size.parse().map_err(|_| wrong)?;
    Ok(LimitValue::Of(size.0))
}

fn burst(text: &str) -> Result<LimitBurst, &'static str> {
    if text == "default" {
        return Ok(LimitBurst::Common(AsConfigured::Default));
    }
    let wrong = "expected a time such as 250ms, 2s or 5m, or `default`";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong),
    };
    let number: u64 = number.parse().map_err(|_| wrong)?;
    let ms = number.checked_mul(unit_ms).ok_or(wrong)?;
    Ok(LimitBurst::Own(ms))
}

// ---- what is shown --------------------------------------------------------------------------------

/// A volume's limits, for its description.
pub(super) fn of_volume(limits: &LimitsView, group: &str) -> Vec<(&'static str, String)> {
    let from = |origin| match origin {
        LimitOrigin::Default => "default".to_owned(),
        LimitOrigin::Volume => "set for the volume".to_owned(),
        LimitOrigin::VolumePreset => "by its size: preset of the volume".to_owned(),
        LimitOrigin::GroupPreset => format!("by its size: preset of group {group}"),
    };
    let is_limited = limits.iops_max.is_some() || limits.bandwidth_max.is_some();
    let mut lines = Vec::new();
    match (is_limited, limits.iops_origin) {
        (false, LimitOrigin::VolumePreset) => {
            lines.push(("limits", "none (set for the volume)".to_owned()));
        }
        (false, _) => lines.push(("limits", "none".to_owned())),
        (true, _) => {
            let operations = limits.iops_max.map(iops);
            let bytes = limits.bandwidth_max.map(rate);
            let values = [
                ("iops max", operations, limits.iops_origin),
                ("bandwidth", bytes, limits.bandwidth_origin),
            ];
            for (name, value, origin) in values {
                let text = match value {
                    Some(value) => format!("{value} ({})", from(origin)),
                    None => "no limit".to_owned(),
                };
                lines.push((name, text));
            }
        }
    }
    if is_limited || limits.burst_origin != LimitOrigin::Default {
        let text = format!("{} ({})", span(limits.burst_ms), from(limits.burst_origin));
        lines.push(("burst", text));
    }
    if let Some(shared) = &limits.group {
        let text = format!(
            "{} for all volumes of {group} together",
            together(shared).unwrap_or_default()
        );
        lines.push(("shared", text));
    }
    if let Some(usage) = &limits.usage {
        lines.push(("now", now(usage)));
    }
    lines
}

/// A group's limits in a line.
pub(super) fn of_group(limits: &GroupLimitsView) -> String {
    let each = match limits.preset {
        Some(LimitsPreset::Provisioned) => Some("each volume by its size"),
        _ => None,
    };
    let together = together(limits).map(|limits| format!("{limits} together"));
    match (together, each) {
        (Some(together), Some(each)) => format!("{together}; {each}"),
        (Some(together), None) => together,
        (None, Some(each)) => each.to_owned(),
        (None, None) => "none".to_owned(),
    }
}

/// What the volumes of a group may have together.
fn together(limits: &GroupLimitsView) -> Option<String> {
    let values = [limits.iops_max.map(iops), limits.bandwidth_max.map(rate)];
    let values: Vec<_> = values.into_iter().flatten().collect();
    (!values.is_empty()).then(|| {
        let burst = span(limits.burst_ms);
        format!("{}, burst {burst}", values.join(" and "))
    })
}

fn now(usage: &LimitsUsageView) -> String {
    format!(
        "{} IOPS, {:.1} MB/s; limited {}% of the time (in {} ms)",
        usage.iops,
        usage.bytes_per_second as f64 / MEGA as f64,
        usage.limited_percent,
        usage.span_ms
    )
}

fn iops(value: u64) -> String {
    format!("{value} IOPS")
}

/// In the unit in which it was probably typed.
fn rate(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) {
        return format!("{} MiB/s", bytes / MIB);
    }
    format!("{} MB/s", bytes as f64 / MEGA as f64)
}

fn span(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_units_and_words() {
        assert_eq!(operations("5000"), Ok(LimitValue::Of(5000)));
        assert_eq!(operations("none"), Ok(LimitValue::None(NoLimit::None)));
        let rate = |text| match bandwidth(text) {
            Ok(LimitValue::Of(bytes)) => Some(bytes),
            _ => None,
        };
        assert_eq!(rate("200MB/s"), Some(200_000_000));
        assert_eq!(rate("64MiB/s"), Some(64 << 20));
        assert_eq!(rate("1.5GB"), Some(1_500_000_000));
        let burst = |text| match burst(text) {
            Ok(LimitBurst::Own(ms)) => Some(ms),
            _ => None,
        };
        assert_eq!(
            ["250ms", "2s", "5m"].map(burst),
            [250, 2000, 300_000].map(Some)
        );
        assert!(
            ["", "-1", "5k", "1.5"]
                .iter()
                .all(|text| operations(text).is_err())
        );
        assert!(
            ["", "fast", "/s", "-1MB/s"]
                .iter()
                .all(|text| bandwidth(text).is_err())
        );
        assert_eq!(
            ["", "2", "2h", "99999999999999999999s"].map(burst),
            [None; 4]
        );
    }

    #[test]
    fn limits_are_told_with_their_origin() {
        let limits = LimitsView {
            iops_max: Some(750),
            iops_origin: LimitOrigin::GroupPreset,
            bandwidth_max: Some(64 << 20),
            bandwidth_origin: LimitOrigin::Volume,
            burst_ms: 100,
            group: Some(GroupLimitsView {
                iops_max: Some(9000),
                burst_ms: 2000,
                ..GroupLimitsView::default()
            }),
            usage: Some(LimitsUsageView {
                span_ms: 250,
                iops: 750,
                bytes_per_second: 3_070_000,
                limited_percent: 98,
                ..LimitsUsageView::default()
            }),
            ..LimitsView::default()
        };
        let expected = [
            ("iops max", "750 IOPS (by its size: preset of group db)"),
            ("bandwidth", "64 MiB/s (set for the volume)"),
            ("burst", "100ms (default)"),
            (
                "shared",
                "9000 IOPS, burst 2s for all volumes of db together",
            ),
            (
                "now",
                "750 IOPS, 3.1 MB/s; limited 98% of the time (in 250 ms)",
            ),
        ];
        let lines = of_volume(&limits, "db");
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        assert_eq!(lines, expected);
        let none = of_volume(&LimitsView::default(), "db");
        assert_eq!(none, [("limits", "none".to_owned())]);
    }

    #[test]
    fn a_group_is_told_in_a_line() {
        let limits = GroupLimitsView {
            iops_max: Some(9000),
            bandwidth_max: Some(500 * MEGA),
            burst_ms: 100,
            preset: Some(LimitsPreset::Provisioned),
        };
        let expected = "9000 IOPS and 500 MB/s, burst 100ms together; each volume by its size";
        assert_eq!(of_group(&limits), expected);
        assert_eq!(of_group(&GroupLimitsView::default()), "none");
    }
}

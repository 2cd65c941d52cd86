//! Values on the command line.

use std::ffi::OsStr;
use std::str::FromStr;

use bytesize::ByteSize;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

use crate::backend::Wrapper;
use crate::control::api::{AsConfigured, SessionsMax};
use crate::profile::BUILT_IN;
use crate::volume::VolumeName;

/// A size such as `1GiB`, `500MB` or `1073741824`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected a size such as 1GiB, 1.5TiB or 500MB (GiB is 1024³, GB is 1000³ bytes)"
                .to_owned()
        };
        // `ByteSize` would read a negative or huge number as some other one.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ' ');
        if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(plain) {
            return Err(wrong());
        }
        let size: ByteSize = text.parse().map_err(|_| wrong())?;
        if size.as_u64() == u64::MAX {
            return Err(wrong());
        }
        Ok(Self(size.as_u64()))
    }
}

/// A length of time such as `250us`, `5ms` or `1s`, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delay {
    pub(super) us: u64,
}

impl FromStr for Delay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "expected a time such as 250us, 5ms or 1s";
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit_us = match unit {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            _ => return Err(wrong),
        };
        let number: u64 = number.parse().map_err(|_| wrong)?;
        let us = number.checked_mul(unit_us).ok_or(wrong)?;
        Ok(Self { us })
    }
}

/// A snapshot: `VOLUME@NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotName {
    pub(super) volume: VolumeName,
    pub(super) snapshot: VolumeName,
}

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let VolumeOrSnapshot { volume, snapshot } = text.parse()?;
        let snapshot = snapshot.ok_or("expected a snapshot: VOLUME@NAME, such as db-1@monday")?;
        Ok(Self { volume, snapshot })
    }
}

/// A volume, or one of its snapshots: `VOLUME` or `VOLUME@NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VolumeOrSnapshot {
    pub(super) volume: VolumeName,
    pub(super) snapshot: Option<VolumeName>,
}

impl FromStr for VolumeOrSnapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = |text: &str| VolumeName::new(text).map_err(|error| error.to_string());
        let (volume, snapshot) = match text.split_once('@') {
            None => (text, None),
            Some((volume, snapshot)) => (volume, Some(name(snapshot)?)),
        };
        Ok(Self {
            volume: name(volume)?,
            snapshot,
        })
    }
}

/// A profile by its name or its file: any text, for which shells are offered the built-in names.
///
/// Help texts say it in their own words (`hide_possible_values`), since a file does as well.
#[derive(Debug, Clone)]
pub(super) struct ProfileName;

impl TypedValueParser for ProfileName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = BUILT_IN.iter().map(|(name, _)| PossibleValue::new(*name));
        Some(Box::new(names))
    }
}

/// A retention: `7d`, `12h`, `30m`, `90s`, or `0` for none; in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retention(pub(super) u64);

impl FromStr for Retention {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "expected a time such as 7d, 12h, 30m or 90s, or 0 to keep nothing";
        if text == "0" {
            return Ok(Self(0));
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit_seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong),
        };
        let number: u64 = number.parse().map_err(|_| wrong)?;
        number.checked_mul(unit_seconds).map(Self).ok_or(wrong)
    }
}

/// How many sessions a volume takes.
pub(super) fn sessions_max(text: &str) -> Result<SessionsMax, &'static str> {
    if text == "default" {
        return Ok(SessionsMax::Common(AsConfigured::Default));
    }
    let sessions = text.parse().map(SessionsMax::Own);
    sessions.map_err(|_| "expected a number of sessions, or `default`")
}

/// A backend's wrapper as JSON.
pub(super) fn wrapper(text: &str) -> Result<Wrapper, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a wrapper as JSON: {error}"))
}

/// A size for people.
pub(super) fn human(bytes: u64) -> String {
    ByteSize::b(bytes).to_string()
}

/// A length of time for people.
pub(super) fn human_seconds(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("64 MiB"), Ok(64 << 20));
        assert_eq!(size("1.5TiB"), Ok(3 << 39));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        assert_eq!(size("1073741824"), Ok(1 << 30));
        for wrong in [
            "",
            "GiB",
            "-1GiB",
            "1XiB",
            "1e30GiB",
            "99999999999999999999999",
            "+1",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn delays_take_units() {
        let delay = |text: &str| text.parse::<Delay>().map(|delay| delay.us).ok();
        assert_eq!(
            ["250us", "5ms", "1s", "0ms"].map(delay),
            [250, 5000, 1_000_000, 0].map(Some)
        );
        let wrong = [
            "",
            "5",
            "ms",
            "-5ms",
            "5 ms",
            "1.5s",
            "5h",
            "99999999999999999999s",
        ];
        assert_eq!(wrong.map(delay), [None; 8]);
        assert_eq!(delay("18446744073709551615s"), None);
    }

    #[test]
    fn snapshots_have_a_volume_and_a_name() {
        let snapshot = |text: &str| text.parse::<SnapshotName>();
        let found = snapshot("db-1@monday").unwrap();
        assert_eq!(
            (found.volume.as_str(), found.snapshot.as_str()),
            ("db-1", "monday")
        );
        assert!(snapshot("db-1").unwrap_err().contains("VOLUME@NAME"));
        assert!(snapshot("db-1@").is_err() && snapshot("@mon").is_err());
        assert!(snapshot("db-1@a@b").is_err());
        let volume: VolumeOrSnapshot = "db-1".parse().unwrap();
        assert_eq!(volume.snapshot, None);
    }

    #[test]
    fn retentions_take_units() {
        let seconds = |text: &str| text.parse::<Retention>().map(|kept| kept.0).ok();
        assert_eq!(
            ["0", "90s", "30m", "12h", "7d"].map(seconds),
            [0, 90, 1800, 43_200, 604_800].map(Some)
        );
        let wrong = ["", "7", "d", "-1d", "1w", "1.5d", "999999999999999999999d"];
        assert_eq!(wrong.map(seconds), [None; 7]);
    }

    #[test]
    fn sessions_are_a_number_or_as_configured() {
        assert_eq!(sessions_max("7"), Ok(SessionsMax::Own(7)));
        let common = SessionsMax::Common(AsConfigured::Default);
        assert_eq!(sessions_max("default"), Ok(common));
        assert!(
            ["", "-1", "many", "99999999999"]
                .iter()
                .all(|text| sessions_max(text).is_err())
        );
    }

    #[test]
    fn times_are_short() {
        let told = [5, 65, 3_700, 90_000].map(human_seconds);
        assert_eq!(told, ["5s", "1m05s", "1h01m", "1d01h"]);
    }
}

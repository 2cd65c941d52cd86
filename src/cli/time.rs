//! Points in time on the command line: UTC, as RFC 3339 writes it.

use std::str::FromStr;

use crate::base::clock::wall_clock_ms;

const MS_PER_SECOND: u64 = 1000;
const SECONDS_PER_DAY: u64 = 86_400;
/// Days of the 400 years after which the calendar repeats.
const DAYS_PER_CYCLE: u64 = 146_097;
/// From 1 March of year 0 to 1 January 1970. Years that begin in March have the leap day at their
/// end, where it disturbs nobody.
const DAYS_TO_1970: u64 = 719_468;

/// Milliseconds since 1970 as `2026-01-31 23:59:59.999Z`.
pub(super) fn utc(ms: u64) -> String {
    let seconds = ms / MS_PER_SECOND;
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let ms = ms % MS_PER_SECOND;
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The date that many days after 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (cycle, day) = (days / DAYS_PER_CYCLE, days % DAYS_PER_CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, and again: 153 days in five of them.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * cycle + year + next_year, month, day)
}

/// Days from 1 January 1970 to a date, if there is such a date and it is not earlier.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1970..=9999).contains(&year) {
        return None;
    }
    let (year, shifted) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_cycle = year % 400;
    let day_of_year = (153 * shifted + 2) / 5 + day.checked_sub(1)?;
    let days =
        year / 400 * DAYS_PER_CYCLE + 365 * of_cycle + of_cycle / 4 - of_cycle / 100 + day_of_year;
    let days = days.checked_sub(DAYS_TO_1970)?;
    // 31 April is not 1 May.
    (date(days).2 == day).then_some(days)
}

/// A point in time: `10m` ago, or `2026-01-31T12:00:00Z`; in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since(pub(super) u64);

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "expected how long ago, such as 30s, 10m, 2h or 7d, or a time in UTC such as \
                     2026-01-31, 2026-01-31T12:00Z or 2026-01-31T12:00:00Z";
        let ago = ago_ms(text).map(|ago| wall_clock_ms().saturating_sub(ago));
        ago.or_else(|| instant_ms(text)).map(Self).ok_or(wrong)
    }
}

fn ago_ms(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => SECONDS_PER_DAY,
        _ => return None,
    };
    number(&text[..text.len() - 1])?.checked_mul(seconds * MS_PER_SECOND)
}

fn instant_ms(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00"),
    };
    let mut date = date.splitn(3, '-').map(number);
    let days = days(date.next()??, date.next()??, date.next()??)?;
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (number(time.next()?)?, number(time.next()?)?);
    let second = time.next().map_or(Some(0), number)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second) * MS_PER_SECOND)
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        let told = [
            0,
            951_782_399_999,
            951_782_400_000,
            1_767_225_599_001,
            4_107_542_400_000,
        ];
        assert_eq!(
            told.map(utc),
            [
                "1970-01-01 00:00:00.000Z",
                "2000-02-28 23:59:59.999Z",
                "2000-02-29 00:00:00.000Z",
                "2025-12-31 23:59:59.001Z",
                "2100-03-01 00:00:00.000Z",
            ]
        );
    }

    #[test]
    fn every_day_is_told_and_read_alike() {
        let mut before = (1969, 12, 31);
        for day in 0..400 * 366 {
            let told = date(day);
            assert!(told > before, "{told:?} after {before:?}");
            assert_eq!(days(told.0, told.1, told.2), Some(day));
            before = told;
        }
    }

    #[test]
    fn times_are_read() {
        let read = |text: &str| text.parse::<Since>().ok().map(|since| since.0);
        assert_eq!(read("1970-01-02"), Some(86_400_000));
        assert_eq!(read("2000-02-29T00:00Z"), Some(951_782_400_000));
        assert_eq!(read("2000-02-29 00:00:01Z"), Some(951_782_401_000));
        let ago = wall_clock_ms() - read("2h").unwrap();
        assert!((7_200_000..7_260_000).contains(&ago), "{ago}");
        assert_eq!(read("99999d"), Some(0), "as far back as there is time");
        for wrong in [
            "",
            "m",
            "-5m",
            "+5m",
            "5",
            "5w",
            "2001-02-29",
            "2000-13-01",
            "2000-1-32",
            "1969-12-31",
            "2000-01-01T24:00Z",
            "2000-01-01T00:00",
            "99999999999999999999s",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

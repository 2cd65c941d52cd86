//! Numbers for people.

/// A rate with three or four digits: `812`, `45.2 k`, `1.22 M`.
#[must_use]
pub fn count(count: f64) -> String {
    match count {
        count if count >= 999_500.0 => format!("{:.2} M", count / 1e6),
        count if count >= 9_999.5 => format!("{:.1} k", count / 1e3),
        count => format!("{count:.0}"),
    }
}

/// Nanoseconds as `812 ns`, `8.41 µs`, `1.2 ms`, `3.05 s`.
#[must_use]
pub fn time(nanos: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "four digits are told")]
    let value = nanos as f64;
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    if value < 10.0 {
        format!("{value:.2} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

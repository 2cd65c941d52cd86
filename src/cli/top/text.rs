//! One look, as tables: for `--once`, and the words for numbers that the screen uses too.

use bytesize::ByteSize;

use super::rates::{DirectionRates, Rates, ReactorRates, SessionRates, VolumeRates};
use crate::cli::table::{Column, render};

/// What stands where there is nothing to tell.
pub(super) const NOTHING: &str = "-";

/// All tables, one below the other.
pub(super) fn tables(rates: &Rates) -> String {
    let volumes = render(
        &[
            Column::Text("VOLUME"),
            Column::Number("READ/S"),
            Column::Number("WRITE/S"),
            Column::Number("READ B/S"),
            Column::Number("WRITE B/S"),
            Column::Number("READ P50"),
            Column::Number("P99"),
            Column::Number("WRITE P50"),
            Column::Number("P99"),
            Column::Number("IN FLIGHT"),
            Column::Number("FAILED/S"),
            Column::Number("SESSIONS"),
            Column::Text("RESERVATION"),
        ],
        rates.volumes.iter().map(volume),
    );
    let reactors = render(
        &[
            Column::Number("REACTOR"),
            Column::Number("BUSY"),
            Column::Number("ROUNDS/S"),
            Column::Number("BUSY ROUND"),
            Column::Number("PDUS/S"),
            Column::Number("CONNECTIONS"),
            Column::Number("BACKEND"),
            Column::Number("STARVING"),
            Column::Number("BUFFERS LENT"),
        ],
        rates.reactors.iter().map(reactor),
    );
    let mut text = format!("{volumes}\n{reactors}");
    if !rates.sessions.is_empty() {
        let sessions = render(
            &[
                Column::Text("SESSION"),
                Column::Text("INITIATOR"),
                Column::Text("ADDRESS"),
                Column::Number("READ/S"),
                Column::Number("WRITE/S"),
                Column::Number("READ B/S"),
                Column::Number("WRITE B/S"),
                Column::Number("IN FLIGHT"),
                Column::Number("CONFLICTS/S"),
                Column::Number("REACTOR"),
            ],
            rates.sessions.iter().map(session),
        );
        text.push('\n');
        text.push_str(&sessions);
    }
    text
}

/// The cells of a volume.
pub(super) fn volume(volume: &VolumeRates) -> Vec<String> {
    let VolumeRates { read, write, .. } = volume;
    vec![
        volume.name.clone(),
        count(read.per_second),
        count(write.per_second),
        bytes(read.bytes_per_second),
        bytes(write.bytes_per_second),
        latency(read.p50_us),
        latency(read.p99_us),
        latency(write.p50_us),
        latency(write.p99_us),
        volume.in_flight.to_string(),
        count(volume.failures_per_second),
        format!("{}/{}", volume.sessions, volume.sessions_max),
        reservation(volume),
    ]
}

/// The reservation's type, and how many have registered.
pub(super) fn reservation(volume: &VolumeRates) -> String {
    match (&volume.reservation, volume.registrations) {
        (None, 0) => NOTHING.to_owned(),
        (None, registrations) => format!("none, {registrations} registered"),
        (Some(kind), registrations) => format!("{kind}, {registrations} registered"),
    }
}

/// The cells of a reactor.
pub(super) fn reactor(reactor: &ReactorRates) -> Vec<String> {
    let lent = ByteSize::b(reactor.buffer_bytes_lent);
    vec![
        reactor.reactor.to_string(),
        percent(reactor.utilisation),
        count(reactor.rounds_per_second),
        latency(reactor.busy_round_us),
        count(reactor.pdus_per_second),
        reactor.connections.to_string(),
        reactor.backend_requests.to_string(),
        reactor.starving.to_string(),
        format!("{lent} of {}", ByteSize::b(reactor.buffer_bytes)),
    ]
}

/// The cells of a session.
pub(super) fn session(session: &SessionRates) -> Vec<String> {
    vec![
        format!("{} {}", session.volume, session.tsih),
        session.initiator.clone(),
        session.address.clone(),
        count(session.reads_per_second),
        count(session.writes_per_second),
        bytes(session.read_bytes_per_second),
        bytes(session.write_bytes_per_second),
        session.in_flight.to_string(),
        count(session.conflicts_per_second),
        session.reactor.to_string(),
    ]
}

/// Both directions together.
pub(super) fn both(one: &DirectionRates, other: &DirectionRates) -> (f64, f64) {
    (
        one.per_second + other.per_second,
        one.bytes_per_second + other.bytes_per_second,
    )
}

/// How many a second: `0`, `12.5`, `980`, `12.3k`, `1.25M`.
pub(super) fn count(per_second: f64) -> String {
    match per_second {
        rate if rate >= 999_500.0 => format!("{:.2}M", rate / 1e6),
        rate if rate >= 9_999.5 => format!("{:.1}k", rate / 1e3),
        rate if rate >= 99.95 || rate == 0.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

/// Bytes a second, in powers of 1024.
pub(super) fn bytes(per_second: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is not negative, and saturates"
    )]
    let whole = per_second.round() as u64;
    if whole == 0 {
        return "0".to_owned();
    }
    ByteSize::b(whole).to_string()
}

/// A latency in microseconds, in the unit that suits it.
pub(super) fn latency(us: Option<f64>) -> String {
    match us {
        None => NOTHING.to_owned(),
        Some(us) if us >= 999_500.0 => format!("{:.2} s", us / 1e6),
        Some(us) if us >= 9_995.0 => format!("{:.1} ms", us / 1e3),
        Some(us) if us >= 999.5 => format!("{:.2} ms", us / 1e3),
        Some(us) if us >= 99.95 => format!("{us:.0} us"),
        Some(us) => format!("{us:.1} us"),
    }
}

/// A share, 0 to 1.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::rates::tests::example;
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let counts = [0.0, 0.5, 99.9, 100.0, 9_999.0, 12_345.0, 1_250_000.0];
        assert_eq!(
            counts.map(count),
            ["0", "0.5", "99.9", "100", "9999", "12.3k", "1.25M"]
        );
        let latencies = [
            None,
            Some(8.25),
            Some(250.0),
            Some(1_234.0),
            Some(45_600.0),
            Some(2e6),
        ];
        assert_eq!(
            latencies.map(latency),
            ["-", "8.2 us", "250 us", "1.23 ms", "45.6 ms", "2.00 s"]
        );
        assert_eq!(
            [0.0, 512.0, 1_048_576.0].map(bytes),
            ["0", "512 B", "1.0 MiB"]
        );
        assert_eq!(percent(0.4321), "43.2 %");
    }

    #[test]
    fn one_look_is_tables() {
        insta::assert_snapshot!(tables(&example()));
    }
}

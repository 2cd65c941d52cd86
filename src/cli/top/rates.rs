//! From two measurements to what happened in between.

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::histogram::Histogram;
use crate::control::api::{
    LatencyView, MeasurementView, ReactorMeasureView, SessionMeasureView, VolumeMeasureView,
};

/// What happened between two looks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(in crate::cli) struct Rates {
    /// When the second one was, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// How long there was between them.
    pub(super) seconds: f64,
    /// By volume.
    pub(super) volumes: Vec<VolumeRates>,
    /// By session.
    pub(super) sessions: Vec<SessionRates>,
    /// By reactor.
    pub(super) reactors: Vec<ReactorRates>,
}

/// One volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct VolumeRates {
    /// Its name.
    pub(super) name: String,
    /// Its group.
    pub(super) group: String,
    /// Its size.
    pub(super) size_bytes: u64,
    /// How many sessions are logged in.
    pub(super) sessions: u64,
    /// How many may be.
    pub(super) sessions_max: u64,
    /// Commands under way.
    pub(super) in_flight: u64,
    /// Reservation registrations.
    pub(super) registrations: u64,
    /// The reservation's type; `null`: not reserved.
    pub(super) reservation: Option<String>,
    /// Commands that read.
    pub(super) read: DirectionRates,
    /// Commands that write.
    pub(super) write: DirectionRates,
    /// All other commands.
    pub(super) other: DirectionRates,
    /// Conflicts, BUSY and errors a second.
    pub(super) failures_per_second: f64,
    /// Of those, reservation conflicts.
    pub(super) conflicts_per_second: f64,
    /// Backend requests that failed, since the server started.
    pub(super) backend_errors: u64,
}

/// Commands of one direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct DirectionRates {
    /// Commands that ended with GOOD, a second.
    pub(super) per_second: f64,
    /// Bytes of data, a second.
    pub(super) bytes_per_second: f64,
    /// The median latency, in microseconds; as all of these `null` where nothing ended.
    pub(super) p50_us: Option<f64>,
    /// The latency that 99% don't exceed.
    pub(super) p99_us: Option<f64>,
    /// The latency that 99.9% don't exceed.
    pub(super) p999_us: Option<f64>,
    /// The mean latency.
    pub(super) mean_us: Option<f64>,
    /// The mean time in the server.
    pub(super) server_mean_us: Option<f64>,
}

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct SessionRates {
    /// The volume.
    pub(super) volume: String,
    /// The initiator's iSCSI name.
    pub(super) initiator: String,
    /// Its ISID, twelve hexadecimal digits.
    pub(super) isid: String,
    /// The target session identifying handle.
    pub(super) tsih: u16,
    /// The initiator's address.
    pub(super) address: String,
    /// The reactor that owns the connection.
    pub(super) reactor: usize,
    /// Commands under way.
    pub(super) in_flight: u64,
    /// Reads, a second.
    pub(super) reads_per_second: f64,
    /// Writes, a second.
    pub(super) writes_per_second: f64,
    /// Bytes read, a second.
    pub(super) read_bytes_per_second: f64,
    /// Bytes written, a second.
    pub(super) write_bytes_per_second: f64,
    /// Reservation conflicts, a second.
    pub(super) conflicts_per_second: f64,
}

/// One reactor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct ReactorRates {
    /// Its number, from 0 on.
    pub(super) reactor: usize,
    /// Share of the time in rounds that found something to do, 0 to 1.
    pub(super) utilisation: f64,
    /// Rounds of its loop, a second.
    pub(super) rounds_per_second: f64,
    /// The mean length of a round that found something to do, in microseconds.
    pub(super) busy_round_us: Option<f64>,
    /// PDUs received and sent, a second.
    pub(super) pdus_per_second: f64,
    /// Connections that it owns.
    pub(super) connections: u64,
    /// Requests that are at backends.
    pub(super) backend_requests: u64,
    /// Commands that wait for a buffer.
    pub(super) starving: u64,
    /// Messages that wait because their receiver's mailbox is full.
    pub(super) backlog: u64,
    /// Payload memory.
    pub(super) buffer_bytes: u64,
    /// Of that, what is in use.
    pub(super) buffer_bytes_lent: u64,
}

/// A stretch of time, and what was counted in it.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    seconds: f64,
}

#[allow(clippy::cast_precision_loss, reason = "rates are told to a few digits")]
impl Stretch {
    /// Per second. A server that was started anew has counted from zero.
    fn rate(self, before: u64, now: u64) -> f64 {
        if self.seconds > 0.0 {
            now.saturating_sub(before) as f64 / self.seconds
        } else {
            0.0
        }
    }

    fn share(self, before_ns: u64, now_ns: u64) -> f64 {
        (self.rate(before_ns, now_ns) / 1e9).clamp(0.0, 1.0)
    }

    fn direction(
        self,
        (before, now): (&LatencyView, &LatencyView),
        (bytes_before, bytes): (u64, u64),
    ) -> DirectionRates {
        let histogram =
            |view: &LatencyView| Histogram::of_buckets(view.buckets.iter().copied(), view.sum_ns);
        let ended = histogram(now).since(&histogram(before));
        let micros = |quantile| {
            ended
                .quantile(quantile)
                .map(|latency| latency.as_nanos() as f64 / 1000.0)
        };
        let mean = |nanos: u64| {
            let count = ended.count();
            (count > 0).then(|| nanos as f64 / count as f64 / 1000.0)
        };
        DirectionRates {
            per_second: self.rate(before.good, now.good),
            bytes_per_second: self.rate(bytes_before, bytes),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            mean_us: mean(ended.sum_nanos()),
            server_mean_us: mean(now.server_ns.saturating_sub(before.server_ns)),
        }
    }

    fn volume(self, before: &VolumeMeasureView, now: &VolumeMeasureView) -> VolumeRates {
        let failures = |view: &VolumeMeasureView| view.conflicts + view.busy + view.errors;
        VolumeRates {
            name: now.name.clone(),
            group: now.group.clone(),
            size_bytes: now.size_bytes,
            sessions: now.sessions,
            sessions_max: now.sessions_max,
            in_flight: now.in_flight,
            registrations: now.registrations,
            reservation: now.reservation.clone(),
            read: self.direction(
                (&before.read, &now.read),
                (before.read_bytes, now.read_bytes),
            ),
            write: self.direction(
                (&before.write, &now.write),
                (before.written_bytes, now.written_bytes),
            ),
            other: self.direction((&before.other, &now.other), (0, 0)),
            failures_per_second: self.rate(failures(before), failures(now)),
            conflicts_per_second: self.rate(before.conflicts, now.conflicts),
            backend_errors: now.backend_errors,
        }
    }

    fn session(self, before: &SessionMeasureView, now: &SessionMeasureView) -> SessionRates {
        SessionRates {
            volume: now.volume.clone(),
            initiator: now.initiator.clone(),
            isid: now.isid.clone(),
            tsih: now.tsih,
            address: now.address.clone(),
            reactor: now.reactor,
            in_flight: now.in_flight,
            reads_per_second: self.rate(before.reads, now.reads),
            writes_per_second: self.rate(before.writes, now.writes),
            read_bytes_per_second: self.rate(before.read_bytes, now.read_bytes),
            write_bytes_per_second: self.rate(before.written_bytes, now.written_bytes),
            conflicts_per_second: self.rate(before.conflicts, now.conflicts),
        }
    }

    fn reactor(self, before: &ReactorMeasureView, now: &ReactorMeasureView) -> ReactorRates {
        let busy_ticks = now.busy_ticks.saturating_sub(before.busy_ticks);
        let busy_ns = now.busy_ns.saturating_sub(before.busy_ns);
        let pdus = |view: &ReactorMeasureView| view.pdus_received + view.pdus_sent;
        ReactorRates {
            reactor: now.reactor,
            utilisation: self.share(before.busy_ns, now.busy_ns),
            rounds_per_second: self.rate(before.ticks, now.ticks),
            busy_round_us: (busy_ticks > 0).then(|| busy_ns as f64 / busy_ticks as f64 / 1000.0),
            pdus_per_second: self.rate(pdus(before), pdus(now)),
            connections: now.connections,
            backend_requests: now.backend_requests,
            starving: now.starving,
            backlog: now.backlog,
            buffer_bytes: now.buffer_bytes,
            buffer_bytes_lent: now.buffer_bytes_lent,
        }
    }
}

impl Rates {
    /// What happened from `before` to `now`.
    #[allow(clippy::cast_precision_loss, reason = "rates are told to a few digits")]
    pub(super) fn between(before: &MeasurementView, now: &MeasurementView) -> Self {
        let stretch = Stretch {
            seconds: now.at_ns.saturating_sub(before.at_ns) as f64 / 1e9,
        };
        // What is new has come with all that it has counted.
        let volumes = now.volumes.iter().map(|volume| {
            let earlier = before.volumes.iter().find(|one| one.name == volume.name);
            stretch.volume(earlier.unwrap_or(&VolumeMeasureView::default()), volume)
        });
        let sessions = now.sessions.iter().map(|session| {
            let same = |one: &&SessionMeasureView| {
                (one.tsih, &one.volume) == (session.tsih, &session.volume)
            };
            let earlier = before.sessions.iter().find(same);
            stretch.session(earlier.unwrap_or(&SessionMeasureView::default()), session)
        });
        let reactors = now.reactors.iter().map(|reactor| {
            let same = |one: &&ReactorMeasureView| one.reactor == reactor.reactor;
            let earlier = before.reactors.iter().find(same);
            stretch.reactor(earlier.unwrap_or(&ReactorMeasureView::default()), reactor)
        });
        Self {
            at_ms: now.at_ms,
            seconds: stretch.seconds,
            volumes: volumes.collect(),
            sessions: sessions.collect(),
            reactors: reactors.collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A volume that has ended that many reads, of 4 KiB and 100 µs each.
    fn volume(reads: u64) -> VolumeMeasureView {
        let mut latency = Histogram::default();
        latency.record(100_000, reads);
        VolumeMeasureView {
            name: "db".to_owned(),
            group: "default".to_owned(),
            size_bytes: 10 << 30,
            sessions: 2,
            sessions_max: 128,
            registrations: 2,
            reservation: Some("WRITE EXCLUSIVE - REGISTRANTS ONLY".to_owned()),
            read_bytes: reads * 4096,
            conflicts: reads / 1000,
            read: LatencyView {
                good: reads,
                sum_ns: latency.sum_nanos(),
                server_ns: reads * 80_000,
                buckets: latency.buckets().collect(),
            },
            ..VolumeMeasureView::default()
        }
    }

    /// A server, `at` seconds after its start.
    fn measurement(at: u64, reads: u64) -> MeasurementView {
        MeasurementView {
            at_ns: at * 1_000_000_000,
            at_ms: at * 1000,
            volumes: vec![
                VolumeMeasureView {
                    name: "archive".to_owned(),
                    group: "default".to_owned(),
                    size_bytes: 64 << 40,
                    sessions_max: 128,
                    ..VolumeMeasureView::default()
                },
                volume(reads),
            ],
            sessions: vec![SessionMeasureView {
                volume: "db".to_owned(),
                initiator: "iqn.1993-08.org.debian:01:host1".to_owned(),
                isid: "00023d000001".to_owned(),
                tsih: 7,
                port: 1,
                address: "10.0.0.7:40000".to_owned(),
                in_flight: 32,
                reads,
                read_bytes: reads * 4096,
                ..SessionMeasureView::default()
            }],
            reactors: vec![ReactorMeasureView {
                busy_ns: at * 400_000_000,
                ticks: at * 100_000,
                busy_ticks: at * 40_000,
                connections: 2,
                buffer_bytes: 128 << 20,
                buffer_bytes_lent: 1 << 20,
                pdus_received: reads,
                pdus_sent: reads,
                ..ReactorMeasureView::default()
            }],
        }
    }

    pub(in super::super) fn example() -> Rates {
        Rates::between(&measurement(10, 1000), &measurement(12, 21_000))
    }

    #[test]
    fn counts_become_rates() {
        let rates = example();
        assert_eq!(rates.seconds, 2.0);
        let db = &rates.volumes[1];
        assert_eq!(db.read.per_second, 10_000.0);
        assert_eq!(db.read.bytes_per_second, 40_960_000.0);
        assert_eq!(db.conflicts_per_second, 10.0);
        let p99 = db.read.p99_us.unwrap();
        assert!((94.0..=107.0).contains(&p99), "{p99}");
        assert_eq!(db.read.mean_us, Some(100.0));
        assert_eq!(db.read.server_mean_us, Some(80.0));
        assert_eq!(db.write, DirectionRates::default());
        assert_eq!(rates.sessions[0].reads_per_second, 10_000.0);
        let reactor = &rates.reactors[0];
        assert!((reactor.utilisation - 0.4).abs() < 1e-9);
        assert_eq!(reactor.busy_round_us, Some(10.0));
    }

    #[test]
    fn a_server_that_was_started_anew_has_no_negative_rates() {
        let rates = Rates::between(&measurement(10, 5000), &measurement(11, 10));
        assert_eq!(rates.volumes[1].read.per_second, 0.0);
        let none = Rates::between(&measurement(10, 5000), &measurement(10, 6000));
        assert_eq!(none.volumes[1].read.per_second, 0.0, "no time has passed");
    }

    #[test]
    fn what_was_not_there_before_counts_from_zero() {
        let before = MeasurementView {
            volumes: Vec::new(),
            sessions: Vec::new(),
            ..measurement(10, 0)
        };
        let rates = Rates::between(&before, &measurement(11, 100));
        assert_eq!(rates.volumes[1].read.per_second, 100.0);
        assert_eq!(rates.sessions[0].reads_per_second, 100.0);
    }
}

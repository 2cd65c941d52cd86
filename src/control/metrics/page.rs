//! `/metrics`: what is counted, as OpenMetrics text.
//!
//! A page is made anew for each scrape from one measurement; nothing is kept between two. The number
//! of its lines is bounded by volumes, groups and reactors, and by sessions where they are asked for:
//! no label takes what a peer made up, but the names of initiators that were let in.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::base::histogram::Histogram;
use crate::control::api::EventKind;
use crate::control::error::{ControlError, ErrorKind};
use crate::target::{Direction, Measurement, ReactorMeasure, SessionInfo, VolumeMeasure};

/// Before every name.
const PREFIX: &str = "holdfast";
static BYTES: Unit = Unit::Bytes;
static SECONDS: Unit = Unit::Seconds;
/// Latencies are told in doublings from 16 µs to 17 s, as powers of two of nanoseconds.
const LATENCY_ORDERS: std::ops::RangeInclusive<u32> = 14..=34;

/// What is counted of each, and under which labels.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name without prefix, unit and `_total`.
    pub name: &'static str,
    /// What it is measured in, if that is part of the name.
    pub unit: Option<&'static str>,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// The labels of everything that is of one volume.
const VOLUME: &[&str] = &["volume", "group"];

macro_rules! families {
    ($($constant:ident = $name:literal $kind:ident $(in $unit:literal)? $labels:expr, $help:literal;)*) => {
        $(const $constant: Family = Family {
            name: $name,
            unit: families!(@unit $($unit)?),
            kind: stringify!($kind),
            labels: $labels,
            help: $help,
        };)*
        /// Every family of the page.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
    (@unit $unit:literal) => { Some($unit) };
    (@unit) => { None };
}

families! {
    BUILD = "build" info &["version"], "The program";
    READY = "ready" gauge &[], "1 where /readyz says 200";
    EVENTS = "events" counter &["event"], "Events since the start, by kind";
    EVENTS_LOST = "events_lost" counter &[], "What happened and was not taken note of: too much at once";
    AUDIT_FAILURES = "audit_failures" counter &[], "Lines of the audit log that could not be written";
    GROUP_VOLUMES = "group_volumes" gauge &["group"], "Volumes of a volume group";
    GROUP_SIZE = "group_size" gauge in "bytes" &["group"], "Size of all volumes of a volume group";
    SIZE = "volume_size" gauge in "bytes" VOLUME, "Size of a volume";
    ONLINE = "volume_online" gauge VOLUME, "1 where a volume is served";
    SESSIONS = "volume_sessions" gauge VOLUME, "Sessions that are logged in";
    SESSIONS_MAX = "volume_sessions_max" gauge VOLUME, "Sessions that may be logged in";
    IN_FLIGHT = "volume_commands_in_flight" gauge VOLUME, "Commands taken and not answered";
    COMMANDS = "volume_commands" counter VOLUME, "SCSI commands taken";
    TRANSACTIONS = "volume_transactions" counter &["volume", "group", "direction"],
        "Commands that ended GOOD (Transactions)";
    FAILED = "volume_failed_transactions" counter &["volume", "group", "status"],
        "Commands that did not, by how they ended (Transactions)";
    INGRESS = "volume_ingress" counter in "bytes" VOLUME, "Bytes that writes have taken (Ingress)";
    EGRESS = "volume_egress" counter in "bytes" VOLUME, "Bytes that reads have sent (Egress)";
    E2E_LATENCY = "volume_success_e2e_latency" histogram in "seconds" &["volume", "group", "direction"],
        "From the command to its status, of commands that ended GOOD (SuccessE2ELatency)";
    SERVER_LATENCY = "volume_success_server_latency" counter in "seconds" &["volume", "group", "direction"],
        "Of that, the time in the server, all commands together (SuccessServerLatency)";
    AVAILABILITY = "volume_availability_ratio" gauge VOLUME,
        "Share of commands since the start that the server did not fail (Availability)";
    BACKEND_ERRORS = "volume_backend_errors" counter VOLUME, "Requests that the backend failed";
    REGISTRATIONS = "volume_registrations" gauge VOLUME, "Persistent-reservation registrations";
    RESERVATION_TYPE = "volume_reservation_type" gauge VOLUME,
        "Code of the reservation's type (SPC-4 section 6.15.3.4), 0 without one";
    RESERVATION_COMMANDS = "volume_reservation_commands" counter
        &["volume", "group", "command", "action", "result"], "Reservation commands";
    BUSY = "reactor_busy" counter in "seconds" &["reactor"], "Time in rounds that found something to do";
    TICKS = "reactor_ticks" counter &["reactor"], "Rounds of the loop";
    BUSY_TICKS = "reactor_busy_ticks" counter &["reactor"], "Rounds that found something to do";
    WAITS = "reactor_waits" counter &["reactor"], "Times it waited in the kernel";
    MESSAGES = "reactor_messages" counter &["reactor"], "Messages of other threads that it has taken";
    BACKLOG = "reactor_backlog_messages" gauge &["reactor"],
        "Messages that wait because the mailbox of their receiver is full";
    CONNECTIONS = "reactor_connections" gauge &["reactor"], "Connections";
    IN_LOGIN = "reactor_connections_in_login" gauge &["reactor"], "Connections that have not logged in";
    PDUS_RECEIVED = "reactor_pdus_received" counter &["reactor"], "PDUs taken in";
    PDUS_SENT = "reactor_pdus_sent" counter &["reactor"], "PDUs sent";
    BACKEND_REQUESTS = "reactor_backend_requests" gauge &["reactor"],
        "Backend requests issued and not completed";
    STARVING = "reactor_starving_commands" gauge &["reactor"], "Commands that wait for a buffer";
    BUFFERS = "reactor_buffer" gauge in "bytes" &["reactor"], "Payload memory";
    BUFFERS_LENT = "reactor_buffer_lent" gauge in "bytes" &["reactor"], "Payload memory that is lent out";
    SESSION_COMMANDS = "session_commands" counter SESSION, "SCSI commands taken (metrics.sessions)";
    SESSION_INGRESS = "session_ingress" counter in "bytes" SESSION, "Bytes that writes have taken (metrics.sessions)";
    SESSION_EGRESS = "session_egress" counter in "bytes" SESSION, "Bytes that reads have sent (metrics.sessions)";
    SESSION_IN_FLIGHT = "session_commands_in_flight" gauge SESSION,
        "Commands taken and not answered (metrics.sessions)";
}

/// The labels of everything that is of one session.
const SESSION: &[&str] = &["volume", "group", "initiator", "isid", "port", "tsih"];

/// What a page is made of.
#[derive(Debug, Default)]
pub(in crate::control) struct Scrape {
    pub(in crate::control) measurement: Measurement,
    pub(in crate::control) volumes: Vec<Named>,
    /// Group, volumes, bytes.
    pub(in crate::control) groups: Vec<(String, u64, u64)>,
    pub(in crate::control) sessions: Vec<(usize, SessionInfo)>,
    pub(in crate::control) events: Vec<(EventKind, u64)>,
    pub(in crate::control) audit_failures: u64,
    pub(in crate::control) is_ready: bool,
}

/// A volume with its names and what was counted of it.
#[derive(Debug, Default)]
pub(in crate::control) struct Named {
    pub(in crate::control) name: String,
    pub(in crate::control) group: String,
    pub(in crate::control) size_bytes: u64,
    /// `None` where it is not served.
    pub(in crate::control) measured: Option<VolumeMeasure>,
}

/// The page.
pub(super) fn text(scrape: Scrape) -> Result<String, ControlError> {
    let mut registry = Registry::with_prefix(PREFIX);
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register(BUILD.name, BUILD.help, Info::new(version));
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| {
        ControlError::new(ErrorKind::Failed, "metrics", format!("no page: {error}"))
    })?;
    Ok(text)
}

/// A family that has one line for each reactor, and its value.
type OfReactor = (&'static Family, fn(&ReactorMeasure) -> u64);

/// One line: the values of its family's labels, and its own.
type Sample<const LABELS: usize, V> = ([String; LABELS], V);

impl Family {
    /// Its name on the page, as a query names it; of a histogram without `_bucket`, `_sum` and `_count`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let mut name = format!("{PREFIX}_{}", self.name);
        if let Some(unit) = self.unit {
            name.push('_');
            name.push_str(unit);
        }
        match self.kind {
            "counter" => name.push_str("_total"),
            "info" => name.push_str("_info"),
            _ => {}
        }
        name
    }

    fn describe<'a>(
        &self,
        page: &'a mut DescriptorEncoder<'_>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        let unit = match self.unit {
            Some("bytes") => Some(&BYTES),
            Some("seconds") => Some(&SECONDS),
            _ => None,
        };
        page.encode_descriptor(self.name, self.help, unit, kind)
    }

    fn labels<'a, const N: usize>(&self, values: &'a [String; N]) -> Vec<(&'static str, &'a str)> {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        let values = values.iter().map(String::as_str);
        self.labels.iter().copied().zip(values).collect()
    }

    fn counters<const N: usize, V: EncodeCounterValue>(
        &self,
        page: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = Sample<N, V>>,
    ) -> fmt::Result {
        let mut family = self.describe(page, MetricType::Counter)?;
        for (values, value) in samples {
            if N == 0 {
                family.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
                continue;
            }
            let labels = self.labels(&values);
            let mut line = family.encode_family(&labels)?;
            line.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<const N: usize, V: EncodeGaugeValue>(
        &self,
        page: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = Sample<N, V>>,
    ) -> fmt::Result {
        let mut family = self.describe(page, MetricType::Gauge)?;
        for (values, value) in samples {
            if N == 0 {
                family.encode_gauge(&value)?;
                continue;
            }
            let labels = self.labels(&values);
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histograms<'h, const N: usize>(
        &self,
        page: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = Sample<N, &'h Histogram>>,
    ) -> fmt::Result {
        let mut family = self.describe(page, MetricType::Histogram)?;
        for (values, histogram) in samples {
            let labels = self.labels(&values);
            let mut line = family.encode_family(&labels)?;
            line.encode_histogram::<NoLabelSet>(
                seconds(histogram.sum_nanos()),
                histogram.count(),
                &buckets(histogram),
                None,
            )?;
        }
        Ok(())
    }
}

/// What is not longer than each bound, and longer than the one before.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut below = 0;
    let bounded = LATENCY_ORDERS.map(|order| {
        let upto = histogram.count_below(order);
        let bucket = (seconds(1 << order), upto - below);
        below = upto;
        bucket
    });
    let mut buckets: Vec<_> = bounded.collect();
    let above = histogram.count() - below;
    buckets.push((f64::INFINITY, above));
    buckets
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds beyond 2^53 are a hundred days, to be told in seconds"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl Collector for Scrape {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut page;
        self.server(page)?;
        self.volumes(page)?;
        self.transactions(page)?;
        self.reservations(page)?;
        self.reactors(page)?;
        self.sessions(page)
    }
}

impl Scrape {
    fn server(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        READY.gauges(page, [([], i64::from(self.is_ready))])?;
        let events = self.events.iter();
        EVENTS.counters(page, events.map(|(event, count)| ([event.name()], *count)))?;
        EVENTS_LOST.counters(page, [([], self.measurement.happenings_lost)])?;
        AUDIT_FAILURES.counters(page, [([], self.audit_failures)])?;
        let groups = self.groups.iter();
        let volumes = groups
            .clone()
            .map(|(name, count, _)| ([name.clone()], *count));
        GROUP_VOLUMES.gauges(page, volumes)?;
        GROUP_SIZE.gauges(
            page,
            groups.map(|(name, _, bytes)| ([name.clone()], *bytes)),
        )
    }

    /// Those that are served.
    fn measured(&self) -> impl Iterator<Item = (&Named, &VolumeMeasure)> + Clone {
        let volumes = self.volumes.iter();
        volumes.filter_map(|volume| Some((volume, volume.measured.as_ref()?)))
    }

    /// One line for each volume that is served.
    fn each<V>(&self, value: impl Fn(&VolumeMeasure) -> V) -> impl Iterator<Item = Sample<2, V>> {
        self.measured()
            .map(move |(volume, measured)| (volume.labels(), value(measured)))
    }

    fn volumes(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = || self.volumes.iter();
        SIZE.gauges(page, all().map(|one| (one.labels(), one.size_bytes)))?;
        let online = |one: &Named| i64::from(one.measured.is_some());
        ONLINE.gauges(page, all().map(|one| (one.labels(), online(one))))?;
        SESSIONS.gauges(page, self.each(|one| one.sessions))?;
        SESSIONS_MAX.gauges(page, self.each(|one| one.sessions_max))?;
        IN_FLIGHT.gauges(page, self.each(|one| one.in_flight))?;
        COMMANDS.counters(page, self.each(|one| one.tally.commands))?;
        INGRESS.counters(page, self.each(|one| one.tally.written_bytes))?;
        EGRESS.counters(page, self.each(|one| one.tally.read_bytes))?;
        AVAILABILITY.gauges(page, self.each(availability))?;
        BACKEND_ERRORS.counters(page, self.each(|one| one.backend_errors))
    }

    fn transactions(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by_direction = || {
            self.measured().flat_map(|(volume, measured)| {
                Direction::ALL.into_iter().map(move |direction| {
                    let [name, group] = volume.labels();
                    let labels = [name, group, direction.name().to_owned()];
                    (labels, measured, direction as usize)
                })
            })
        };
        let good = by_direction()
            .map(|(labels, measured, direction)| (labels, measured.tally.good[direction]));
        TRANSACTIONS.counters(page, good)?;
        let failed = self.measured().flat_map(|(volume, measured)| {
            let tally = &measured.tally;
            let by_status = [
                ("reservation_conflict", tally.conflicts),
                ("busy", tally.busy),
                ("unit_attention", tally.attentions),
                ("check_condition", tally.errors),
                ("aborted", tally.aborted),
            ];
            let [name, group] = volume.labels();
            by_status
                .map(|(status, count)| ([name.clone(), group.clone(), status.to_owned()], count))
        });
        FAILED.counters(page, failed)?;
        let latencies = by_direction()
            .map(|(labels, measured, direction)| (labels, &measured.latency[direction].total));
        E2E_LATENCY.histograms(page, latencies)?;
        let in_server = by_direction().map(|(labels, measured, direction)| {
            (labels, seconds(measured.latency[direction].server_nanos))
        });
        SERVER_LATENCY.counters(page, in_server)
    }

    fn reservations(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        REGISTRATIONS.gauges(page, self.each(|one| one.registrations))?;
        let kind = |one: &VolumeMeasure| one.reservation.map_or(0, |kind| i64::from(kind.code()));
        RESERVATION_TYPE.gauges(page, self.each(kind))?;
        let commands = self.measured().flat_map(|(volume, measured)| {
            measured.reservation_commands.iter().map(move |told| {
                let [name, group] = volume.labels();
                let (command, action) = (told.command.to_owned(), told.action.to_owned());
                (
                    [name, group, command, action, told.result.to_owned()],
                    told.count,
                )
            })
        });
        RESERVATION_COMMANDS.counters(page, commands)
    }

    fn reactors(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters: [OfReactor; 6] = [
            (&TICKS, |one| one.ticks),
            (&BUSY_TICKS, |one| one.busy_ticks),
            (&WAITS, |one| one.waits),
            (&MESSAGES, |one| one.messages),
            (&PDUS_RECEIVED, |one| one.pdus_received),
            (&PDUS_SENT, |one| one.pdus_sent),
        ];
        let gauges: [OfReactor; 7] = [
            (&BACKLOG, |one| one.backlog),
            (&CONNECTIONS, |one| one.connections),
            (&IN_LOGIN, |one| one.in_login),
            (&BACKEND_REQUESTS, |one| one.backend_requests),
            (&STARVING, |one| one.starving),
            (&BUFFERS, |one| one.buffer_bytes),
            (&BUFFERS_LENT, |one| one.buffer_bytes_lent),
        ];
        let numbered = || {
            let reactors = self.measurement.reactors.iter().enumerate();
            reactors.map(|(number, one)| ([number.to_string()], one))
        };
        let busy = numbered().map(|(label, one)| (label, seconds(one.busy_nanos)));
        BUSY.counters(page, busy)?;
        for (family, value) in counters {
            family.counters(page, numbered().map(|(label, one)| (label, value(one))))?;
        }
        for (family, value) in gauges {
            family.gauges(page, numbered().map(|(label, one)| (label, value(one))))?;
        }
        Ok(())
    }

    fn sessions(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let each = |value: fn(&SessionInfo) -> u64| {
            self.sessions.iter().filter_map(move |(volume, session)| {
                let [name, group] = self.volumes.get(*volume)?.labels();
                let isid = session.isid.iter().fold(String::new(), |mut text, byte| {
                    // Writing to a string can't fail.
                    let _ = write!(text, "{byte:02x}");
                    text
                });
                let initiator = session.initiator.clone();
                let (port, tsih) = (session.port.to_string(), session.tsih.to_string());
                Some(([name, group, initiator, isid, port, tsih], value(session)))
            })
        };
        SESSION_COMMANDS.counters(page, each(|one| one.commands))?;
        SESSION_INGRESS.counters(page, each(|one| one.written_bytes))?;
        SESSION_EGRESS.counters(page, each(|one| one.read_bytes))?;
        SESSION_IN_FLIGHT.gauges(page, each(|one| one.in_flight))
    }
}

impl Named {
    fn labels(&self) -> [String; 2] {
        [self.name.clone(), self.group.clone()]
    }
}

/// A reservation conflict, a unit attention or an abort is what was asked for; BUSY and the other
/// errors are not.
#[allow(clippy::cast_precision_loss, reason = "a share of counts")]
fn availability(measured: &VolumeMeasure) -> f64 {
    let tally = &measured.tally;
    let failed = tally.busy + tally.errors;
    let right = tally.good.iter().sum::<u64>() + tally.conflicts + tally.attentions + tally.aborted;
    if failed + right == 0 {
        return 1.0;
    }
    right as f64 / (failed + right) as f64
}

#[cfg(test)]
mod tests;

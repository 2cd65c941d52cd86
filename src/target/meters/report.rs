//! The counts of all reactors, brought together for whoever looks at the server.
//!
//! Each reactor is asked in turn and goes on serving: it copies its numbers between two ticks' worth
//! of work, a bounded number of volumes at a time. The parts are of slightly different moments; each
//! by itself is exact.

use super::super::core::{Core, Turn};
use super::super::handle::{Target, TargetError};
use super::super::volume::VolumeIndex;
use super::{Latency, Tally};
use crate::base::clock::Instant;
use crate::base::limits::METERS_PER_LOOK_MAX;
use crate::reservation::ReservationType;
use crate::reservation::history::CommandCounts;
use crate::volume::VolumeId;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// All that is counted, since the server started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measurement {
    /// When it was taken: the tick of the reactor that was asked last.
    pub at: Instant,
    /// By reactor.
    pub reactors: Vec<ReactorMeasure>,
    /// By volume.
    pub volumes: BTreeMap<VolumeId, VolumeMeasure>,
    /// What happened and was not heard of in time.
    pub happenings_lost: u64,
}

/// One reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReactorMeasure {
    /// Rounds of the loop.
    pub ticks: u64,
    /// Rounds that found something to do.
    pub busy_ticks: u64,
    /// Time in them, in nanoseconds.
    pub busy_nanos: u64,
    /// Times it waited in the kernel.
    pub waits: u64,
    /// Messages of other reactors and threads that it has taken.
    pub messages: u64,
    /// Messages that wait here because their receiver's mailbox is full.
    pub backlog: u64,
    /// Connections, those in login included.
    pub connections: u64,
    /// Connections that have not logged in.
    pub in_login: u64,
    /// PDUs taken in.
    pub pdus_received: u64,
    /// PDUs sent.
    pub pdus_sent: u64,
    /// Backend requests issued and not completed.
    pub backend_requests: u64,
    /// Commands that wait for a buffer.
    pub starving: u64,
    /// Bytes of payload memory.
    pub buffer_bytes: u64,
    /// Those that are lent out.
    pub buffer_bytes_lent: u64,
}

/// One volume, over all reactors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeMeasure {
    /// What was done.
    pub tally: Tally,
    /// How long it took, by direction.
    pub latency: [Latency; 3],
    /// Commands taken and not answered.
    pub in_flight: u64,
    /// Backend requests that failed.
    pub backend_errors: u64,
    /// Sessions that are logged in.
    pub sessions: u64,
    /// How many may be.
    pub sessions_max: u64,
    /// Registrations.
    pub registrations: u64,
    /// The reservation's type, if there is one.
    pub reservation: Option<ReservationType>,
    /// Reservation commands.
    pub reservation_commands: CommandCounts,
}

/// What one look at a reactor brings.
struct Look {
    at: Instant,
    reactor: ReactorMeasure,
    volumes: Vec<(VolumeId, VolumeMeasure)>,
    /// Where the next look begins; nothing if that was all.
    next: Option<VolumeIndex>,
}

impl Target {
    /// Everything that is counted.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn measure(&self) -> Result<Measurement, TargetError> {
        let mut all = Measurement {
            happenings_lost: self.shared().journal.lost(),
            ..Measurement::default()
        };
        for reactor in 0..self.shared().reactors {
            let mut from = Some(VolumeIndex(0));
            let mut measured = ReactorMeasure::default();
            while let Some(first) = from {
                let look = self.ask(reactor, move |local, _| async move {
                    local
                        .with_core(move |core, turn| core.look(first, turn))
                        .await
                })??;
                all.at = look.at;
                measured = look.reactor;
                from = look.next;
                for (id, part) in look.volumes {
                    all.volumes.entry(id).or_default().add(&part);
                }
            }
            if let Some(counters) = self.counters(reactor) {
                measured.ticks = counters.ticks();
                measured.busy_ticks = counters.busy_ticks();
                measured.busy_nanos = counters.busy_nanos();
                measured.waits = counters.waits();
                measured.messages = counters.messages();
            }
            all.reactors.push(measured);
        }
        Ok(all)
    }
}

impl VolumeMeasure {
    /// Adds what another reactor knows of the volume.
    fn add(&mut self, part: &Self) {
        self.tally.add(&part.tally);
        for (latency, more) in self.latency.iter_mut().zip(&part.latency) {
            latency.add(more);
        }
        self.in_flight += part.in_flight;
        self.backend_errors += part.backend_errors;
        // Only the home knows these.
        self.sessions += part.sessions;
        self.sessions_max += part.sessions_max;
        self.registrations += part.registrations;
        self.reservation = self.reservation.or(part.reservation);
        self.reservation_commands.add(&part.reservation_commands);
    }
}

impl Core {
    /// This reactor, and its part of some volumes from `first` on.
    fn look(&self, first: VolumeIndex, turn: &Turn<'_, '_>) -> Look {
        let volumes: Vec<_> = (first.0..=self.shards.last().0)
            .map(VolumeIndex)
            .filter(|index| self.shards.get(*index).is_some())
            .take(METERS_PER_LOOK_MAX + 1)
            .collect();
        let next = volumes.get(METERS_PER_LOOK_MAX).copied();
        let mut parts: BTreeMap<VolumeIndex, VolumeMeasure> = volumes
            .into_iter()
            .take(METERS_PER_LOOK_MAX)
            .map(|index| (index, self.part_of(index)))
            .collect();
        for (_, conn) in self.connections.iter() {
            let Some(session) = conn.session.as_deref() else {
                continue;
            };
            if let Some(part) = parts.get_mut(&session.volume.index) {
                part.tally.add(&session.counters);
                part.in_flight += conn.in_flight();
            }
        }
        let named = parts.into_iter().filter_map(|(index, part)| {
            let shard = self.shards.get(index)?;
            Some((shard.volume.id, part))
        });
        Look {
            at: turn.now(),
            reactor: self.measure(turn),
            volumes: named.collect(),
            next,
        }
    }

    /// What is known here of a volume but for its sessions' own counts.
    fn part_of(&self, index: VolumeIndex) -> VolumeMeasure {
        let mut part = VolumeMeasure::default();
        if let Some(meter) = self.meters.get(index) {
            part.tally = meter.departed;
            part.latency.clone_from(&meter.latency);
            part.backend_errors = meter.backend_errors;
        }
        if let Some(home) = self.homes.get(&index) {
            let inner = home.inner.borrow();
            part.sessions = inner.seats.len() as u64;
            part.sessions_max = home.volume.sessions_max.load(Ordering::Relaxed).into();
            part.registrations = inner.state.registrations().len() as u64;
            part.reservation = inner.state.reservation().map(|held| held.kind);
            part.reservation_commands = home.chronicle.counts();
        }
        part
    }

    fn measure(&self, turn: &Turn<'_, '_>) -> ReactorMeasure {
        let pool = &turn.tick.driver.pool;
        let buffer_bytes = pool.arena().len();
        let (mut received, mut sent) = self.meters.departed_pdus;
        for (_, conn) in self.connections.iter() {
            let (more_received, more_sent) = conn.iscsi.pdus();
            received += more_received;
            sent += more_sent;
        }
        ReactorMeasure {
            backlog: turn.tick.outbox.backlog() as u64,
            connections: self.connections.len() as u64,
            in_login: self.in_login.into(),
            pdus_received: received,
            pdus_sent: sent,
            backend_requests: self.issued.len() as u64,
            starving: self.starving.len() as u64,
            buffer_bytes: buffer_bytes as u64,
            buffer_bytes_lent: buffer_bytes.saturating_sub(pool.free_bytes()) as u64,
            ..ReactorMeasure::default()
        }
    }
}

//! What has been done, counted where it is done: plain numbers of the reactor that owns them.
//!
//! A session counts its commands and bytes, which lie beside what an I/O of it touches anyway. A
//! [`Meter`] of its volume, one on each reactor that has had sessions of it, counts how long they took
//! and keeps what sessions have counted that are gone. Nothing is shared: whoever wants to know asks the
//! reactors, one after the other (`report`).
//!
//! # What a latency is
//!
//! No clock is read for an I/O. A command has come when the tick began that took it in, and has ended
//! when the tick began that found its completion; both moments are early by less than a tick, and on
//! average by the same. A command that ends in the tick it came in took as long as that tick, sending
//! included, which is known when the next one begins. So a latency is right to within the length of a
//! tick, which is busy time over busy ticks of the reactor, some microseconds.

mod count;
mod report;
mod slow;
#[cfg(test)]
mod tests;

pub use report::{Measurement, ReactorMeasure, VolumeMeasure};
pub use slow::{SlowIo, SlowKind};
pub(crate) use slow::{SlowLimit, SlowTask, Stages};

use super::failure::Failure;
use super::volume::VolumeIndex;
use crate::base::clock::Instant;
use crate::base::histogram::Histogram;
use crate::scsi::sense::SenseKey;
use crate::scsi::{Plan, Status};
use serde::{Deserialize, Serialize};

/// Which way the data of a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the medium to the initiator: READ.
    Read,
    /// To the medium: WRITE and its kin. UNMAP is not: it moves no data.
    Write,
    /// Anything else.
    Other,
}

impl Direction {
    /// Every direction, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Other];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Other => "other",
        }
    }

    /// Of a command that is carried out so, and the bytes that it moves between initiator and medium.
    pub(crate) fn of_plan(plan: &Plan) -> (Self, u64) {
        match plan {
            Plan::Read { range, .. } => (Self::Read, range.length),
            Plan::Write { range, .. }
            | Plan::WriteAndVerify { range, .. }
            | Plan::CompareAndWrite { range, .. }
            | Plan::OrWrite { range, .. } => (Self::Write, range.length),
            // One block comes, however many are written.
            Plan::WriteSame { .. } => (Self::Write, 0),
            _ => (Self::Other, 0),
        }
    }
}

/// What a session, or all of a volume, has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// SCSI commands taken.
    pub commands: u64,
    /// Those that ended GOOD, by direction.
    pub good: [u64; 3],
    /// Bytes that reads have sent.
    pub read_bytes: u64,
    /// Bytes that writes have taken.
    pub written_bytes: u64,
    /// Ended with RESERVATION CONFLICT.
    pub conflicts: u64,
    /// Ended with BUSY or TASK SET FULL.
    pub busy: u64,
    /// Ended with a unit attention, which is news and no failure.
    pub attentions: u64,
    /// Ended with any other CHECK CONDITION.
    pub errors: u64,
    /// Aborted by task management, by another session or with their own.
    pub aborted: u64,
}

impl Tally {
    /// Counts commands that ended GOOD.
    #[inline]
    pub(crate) fn count_good(&mut self, direction: Direction, commands: u64) {
        self.good[direction as usize] += commands;
    }

    /// Counts a command that did not.
    pub(crate) fn count_failure(&mut self, failure: &Failure) {
        let count = match (failure.status, &failure.sense) {
            (Status::ReservationConflict, _) => &mut self.conflicts,
            (Status::Busy | Status::TaskSetFull, _) => &mut self.busy,
            (Status::TaskAborted, _) => &mut self.aborted,
            (_, Some(sense)) if sense.key == SenseKey::UnitAttention => &mut self.attentions,
            _ => &mut self.errors,
        };
        *count += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        for (good, more) in self.good.iter_mut().zip(other.good) {
            *good += more;
        }
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.conflicts += other.conflicts;
        self.busy += other.busy;
        self.attentions += other.attentions;
        self.errors += other.errors;
        self.aborted += other.aborted;
    }
}

/// How long commands of one direction took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    /// From the command to its status.
    pub total: Histogram,
    /// All time in the server together, in nanoseconds: without waiting for the initiator's data.
    pub server_nanos: u64,
}

impl Latency {
    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.total.add(&other.total);
        self.server_nanos = self.server_nanos.wrapping_add(other.server_nanos);
    }
}

/// One volume on one reactor.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Of sessions that are gone.
    pub(crate) departed: Tally,
    /// By direction.
    pub(crate) latency: [Latency; 3],
    /// Commands that came and ended in this tick, by direction.
    fresh: [u64; 3],
    /// It stands in the list of volumes with such commands.
    is_touched: bool,
    /// Backend requests that failed, of this reactor's shards.
    pub(crate) backend_errors: u64,
    /// Lines of the slow-I/O log: when the last was written, and how many were kept back since.
    pub(super) slow: slow::Told,
    /// When a failure of the backend was told last.
    pub(crate) error_told: Option<Instant>,
}

/// The meters of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// By volume index; made when a volume gets its first session here, so that no I/O allocates.
    table: Vec<Option<Box<Meter>>>,
    /// Volumes with commands that came and ended in this tick.
    touched: Vec<VolumeIndex>,
    /// When the tick began.
    tick: Instant,
    /// From which time on an I/O is logged.
    pub(crate) slow: SlowLimit,
    /// PDUs taken in and sent by connections that are gone.
    pub(crate) departed_pdus: (u64, u64),
}

impl Meters {
    /// Meters that find an I/O slow from `slow` on.
    pub(crate) fn new(slow: SlowLimit) -> Self {
        Self {
            slow,
            ..Self::default()
        }
    }

    /// Sees to it that a volume is metered here.
    pub(crate) fn open(&mut self, volume: VolumeIndex) -> &mut Meter {
        let position = usize::from(volume.0);
        if self.table.len() <= position {
            self.table.resize_with(position + 1, || None);
            // Each volume stands in the list once at most: what is counted later does not grow it.
            self.touched.reserve(self.table.len() - self.touched.len());
        }
        self.table[position].get_or_insert_default()
    }

    /// The volume is gone.
    pub(crate) fn close(&mut self, volume: VolumeIndex) {
        if let Some(meter) = self.table.get_mut(usize::from(volume.0)) {
            *meter = None;
        }
    }

    pub(crate) fn get(&self, volume: VolumeIndex) -> Option<&Meter> {
        self.table.get(usize::from(volume.0))?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, volume: VolumeIndex) -> Option<&mut Meter> {
        self.table.get_mut(usize::from(volume.0))?.as_deref_mut()
    }

    /// A connection goes away, or to another reactor.
    pub(crate) const fn count_departed_pdus(&mut self, received: u64, sent: u64) {
        self.departed_pdus.0 += received;
        self.departed_pdus.1 += sent;
    }

    /// Whether what began at `began` and ends now has taken too long.
    #[inline]
    pub(crate) const fn is_slow(&self, began: Instant, now: Instant) -> bool {
        self.slow
            .is_reached(now.nanos().saturating_sub(began.nanos()))
    }

    /// A tick begins: what came and ended in the last one took as long as that.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant) {
        if now != self.tick {
            if !self.touched.is_empty() {
                self.settle(now);
            }
            self.tick = now;
        }
    }

    fn settle(&mut self, now: Instant) {
        let took = now.nanos().saturating_sub(self.tick.nanos());
        let mut touched = std::mem::take(&mut self.touched);
        for volume in touched.drain(..) {
            let Some(meter) = self.get_mut(volume) else {
                continue;
            };
            meter.is_touched = false;
            for (latency, fresh) in meter.latency.iter_mut().zip(&mut meter.fresh) {
                let times = std::mem::take(fresh);
                if times > 0 {
                    latency.total.record(took, times);
                    latency.server_nanos =
                        latency.server_nanos.wrapping_add(took.wrapping_mul(times));
                }
            }
        }
        self.touched = touched;
    }

    /// Commands came in this tick, and have ended.
    #[inline]
    pub(crate) fn ended_at_once(
        &mut self,
        volume: VolumeIndex,
        direction: Direction,
        commands: u64,
    ) {
        let Some(Some(meter)) = self.table.get_mut(usize::from(volume.0)) else {
            return;
        };
        meter.fresh[direction as usize] += commands;
        if !std::mem::replace(&mut meter.is_touched, true) {
            self.touched.push(volume);
        }
    }

    /// A command has ended GOOD.
    #[inline]
    pub(crate) fn ended(&mut self, volume: VolumeIndex, direction: Direction, stages: &Stages) {
        let now = self.tick;
        if stages.came == now {
            return self.ended_at_once(volume, direction, 1);
        }
        let took = now.nanos().saturating_sub(stages.came.nanos());
        if let Some(meter) = self.get_mut(volume) {
            let latency = &mut meter.latency[direction as usize];
            latency.total.record(took, 1);
            let served = now.nanos().saturating_sub(stages.launched.nanos());
            latency.server_nanos = latency.server_nanos.wrapping_add(served);
        }
    }
}

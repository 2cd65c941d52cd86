//! READs and WRITEs that are carried out while they still lie where they were received.
//!
//! Most of what initiators send are short READs and WRITEs, whole, in order, of a volume whose store
//! answers at once. From the header to the status nothing comes between: no other connection, no message,
//! no fence. So nothing has to remember such a command, and it gets no task, no event and no
//! buffer: a READ goes from the medium to the socket, a WRITE from where it was received to the medium.
//! It is planned as any other, and passes the same two doors of the shard: [`Shard::permits`], and
//! [`Shard::put`] if it writes.
//!
//! Where the socket takes bytes at once, those of a READ are not even copied: the medium
//! [lends](crate::base::gather::Gather::lend) them. What is lent is sent or copied before anything else
//! can happen to the medium, by this connection or another: before the next WRITE here, and before
//! anything that goes the long way; else when what was received is done with ([`Core::pump`]).
//!
//! Everything else is left where it is, for [`Core::pump`] to take the long way.

use super::connection::{Conn, Phase};
use super::core::{Core, Turn};
use super::limit::Line;
use super::meters::Direction;
use super::session::Session;
use super::shard::Shard;
use crate::base::clock::Instant;
use crate::base::limits::{INLINE_PAYLOAD_BYTES_MAX, LENT_BYTES_MAX, SEND_QUEUE_BYTES_MAX};
use crate::base::rcu::Guard;
use crate::base::slots::SlotKey;
use crate::iscsi::{Connection, ReadData, WholeCommand};
use crate::reservation::Access;
use crate::scsi::{self, LunKind, Plan, View};

impl Core {
    /// Carries out and answers what of a connection's received bytes can be, in their order, up to
    /// the first command that can't. What is left of the bytes.
    pub(crate) fn carry_out_whole(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) -> Rest {
        let Some(conn) = self.connections.get_mut(key) else {
            return Rest::Some;
        };
        let may_start = conn.phase == Phase::Full
            && !conn.held
            && conn.ordered.is_none()
            && conn.dormant.is_empty();
        let Conn {
            iscsi,
            input: Some(input),
            session: Some(session),
            sending_bytes,
            sending,
            socket: Some(socket),
            ..
        } = conn
        else {
            return Rest::Some;
        };
        if !may_start || !session.attentions.is_empty() {
            return Rest::Some;
        }
        let volume = session.volume.index;
        let Some(shard) = self.shards.get_mut(volume) else {
            return Rest::Some;
        };
        let received = input.bytes.as_slice();
        let rest = received.get(input.at..).unwrap_or_default();
        // Most of what can't be carried out here is seen from far, before anything is prepared.
        let Some(first) = iscsi
            .coming(rest)
            .and_then(|cdb| shard.ahead(cdb, turn.tick.guard))
        else {
            return Rest::Some;
        };
        let is_here = session.volume.shards.owner(first.range().offset) == self.id;
        if !is_here || !shard.answers_at_once() {
            return Rest::Some;
        }
        shard.expect(first);
        self.outlists.lend(iscsi);
        let lends = !*sending && iscsi.takes_loans() && self.net.sends_at_once(*socket);
        let mut run = Run {
            lends,
            is_cold: shard.channel.is_cold(),
            reactor: self.id,
            timestamp_ms: self.shared.wall_clock_ms(turn.now()),
            now: turn.now(),
            guard: turn.tick.guard,
            line: self.lines.get(volume),
            session,
            shard,
        };
        let (mut reads, mut writes) = (0, 0);
        while let rest = received.get(input.at..).unwrap_or_default()
            && *sending_bytes + iscsi.queued_bytes() < SEND_QUEUE_BYTES_MAX
            && let Some(command) = iscsi.whole_command(rest)
            && let Some(direction) = run.carry_out(&command, rest, iscsi)
        {
            input.at += command.pdu_bytes;
            match direction {
                Direction::Read => reads += 1,
                _ => writes += 1,
            }
        }
        let rest = if input.at < received.len() {
            Rest::Some
        } else {
            Rest::Nothing
        };
        if rest == Rest::Some && iscsi.lent_bytes() > 0 {
            iscsi.output().own(0, run.shard);
        }
        session.counters.commands += reads + writes;
        for (direction, count) in [(Direction::Read, reads), (Direction::Write, writes)] {
            if count == 0 {
                continue;
            }
            session.counters.count_good(direction, count);
            self.meters.ended_at_once(volume, direction, count);
        }
        rest
    }
}

/// What of received bytes is still to be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Something, as far as is known.
    Some,
    Nothing,
}

/// What the commands of one connection have in common.
struct Run<'a> {
    /// Bytes of the medium may be lent to the connection.
    lends: bool,
    /// They are likely to lie in no cache. Others are copied as fast as a list of them is read.
    is_cold: bool,
    reactor: usize,
    timestamp_ms: u64,
    now: Instant,
    guard: &'a Guard,
    /// The limits of the volume, if it has some.
    line: Option<&'a Line>,
    session: &'a mut Session,
    shard: &'a mut Shard,
}

impl Run<'_> {
    /// Carries out and answers `command`, with which `received` begins; which way its data went. Nothing
    /// where that can't be done now or ends otherwise than GOOD: it is to be tried the long way.
    ///
    /// It and what it calls become one function, for what they would hand on in memory would have to
    /// wait there: see [`Bhs::at_front`](crate::iscsi::pdu::Bhs::at_front).
    #[inline(always)]
    fn carry_out(
        &mut self,
        command: &WholeCommand<'_>,
        received: &[u8],
        iscsi: &mut Connection,
    ) -> Option<Direction> {
        let (volume, nexus) = (&self.session.volume, &self.session.nexus);
        let unit = volume.unit.load(self.guard);
        let view = View {
            unit,
            lun: LunKind::of(command.lun),
            rights: unit.reservation.rights(nexus.index),
            port: nexus.nexus.target_port,
            attention: None,
            timestamp_ms: self.timestamp_ms,
        };
        let planned = scsi::try_plan(command.cdb, &view);
        let plan = planned.as_ref().ok()?;
        let (range, access, direction) = match plan {
            Plan::Read { range, .. } => (range, Access::Read, Direction::Read),
            Plan::Write {
                range,
                atomic: false,
                ..
            } => (range, Access::Write, Direction::Write),
            _ => return None,
        };
        // A READ takes no more than there is room for. A WRITE needs all of its blocks.
        let room = match direction {
            Direction::Read => u64::from(command.read_length),
            _ => command.data_out.len() as u64,
        };
        let bytes = range.length.min(room);
        let is_short = bytes <= INLINE_PAYLOAD_BYTES_MAX as u64;
        let lends = self.lends
            && (self.is_cold || !is_short)
            && iscsi.lent_bytes() as u64 + bytes <= LENT_BYTES_MAX as u64;
        let fits = match direction {
            Direction::Read => bytes > 0 && (lends || is_short),
            _ => bytes == range.length,
        };
        let shards = &volume.shards;
        let is_here = shards.is_whole(range.offset, range.length)
            && shards.owner(range.offset) == self.reactor;
        if !fits || !is_here || !self.shard.permits(nexus.index, access, self.guard) {
            return None;
        }
        if let Some(line) = self.line
            && !line.lets_pass(plan, command.cdb[0], self.now)
        {
            return None;
        }
        // The memory of the next one's blocks comes while this one's are copied.
        let behind = received.get(command.pdu_bytes..).unwrap_or_default();
        self.shard.expect_next(iscsi, behind, self.guard);
        let counters = &mut self.session.counters;
        let data = if direction == Direction::Read {
            let found = self.shard.channel.bytes(range.offset, bytes)?;
            counters.read_bytes += bytes;
            Some(match u32::try_from(bytes) {
                Ok(bytes) if lends => ReadData::Lent {
                    offset: range.offset,
                    bytes,
                },
                _ => ReadData::Copied(found),
            })
        } else {
            let data = command.data_out.get(..usize::try_from(bytes).ok()?)?;
            if iscsi.lent_bytes() > 0 {
                iscsi.output().own(0, self.shard);
            }
            // What fails here fails again on the long way, which says so.
            self.shard.put(range.offset, data, self.guard).ok()?;
            counters.written_bytes += bytes;
            None
        };
        iscsi.end_whole(command, data, range.length, self.now);
        Some(direction)
    }
}

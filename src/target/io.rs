//! Commands: from a CDB to its status.
//!
//! READ and WRITE of one piece take the short way: a buffer, a piece, a reply; no allocation, no
//! procedure. Everything else becomes a procedure.

use super::at_once::Errand;
use super::connection::{Active, Conn, Phase, Quiet, Work, WritePlan};
use super::core::{Core, Turn};
use super::limit::Credit;
use super::local::{AbortSelect, Answer};
use super::message::{Origin, Piece, PieceDone};
use super::meters::{Direction, SlowTask, Stages};
use super::procedure::Procedure;
use super::reserve::Refused;
use crate::backend::{self, Done, zeros};
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::gather::Payload;
use crate::base::limits::{BUFFER_BYTES_MAX, CONNECTION_BUFFER_BYTES_MAX};
use crate::base::slots::SlotKey;
use crate::iscsi::{Command, DataOutError, Response, TaskAttribute, TaskId};
use crate::reservation::Access;
use crate::scsi::attention::{Admission, UnitAttention};
use crate::scsi::mode::{AttentionInterlock, QueueError};
use crate::scsi::sense::{Code, SENSE_BYTES_MAX, SenseKey};
use crate::scsi::{self, ByteRange, Failure, LunKind, Plan, Status, View};
use futures_channel::oneshot;
use std::cell::Cell;
use std::rc::Rc;

impl Core {
    /// A command has arrived, in order. The task set is the connection's (TST = 001b): an ORDERED
    /// command waits for all that are enabled, and what comes behind it waits for it; HEAD OF QUEUE
    /// waits for nothing (SAM-5 section 8.6).
    pub(crate) fn command(&mut self, key: SlotKey, command: Command, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let may_start = match command.attribute {
            _ if conn.held => false,
            TaskAttribute::HeadOfQueue => true,
            TaskAttribute::Ordered => conn.enabled == 0 && conn.dormant.is_empty(),
            _ => conn.ordered.is_none() && conn.dormant.is_empty(),
        };
        if may_start {
            return self.enable(key, &command, turn);
        }
        let _ = conn.iscsi.refuse_data_out(command.task);
        conn.activate(&command, Work::Dormant, turn.now());
        conn.dormant.push_back(command);
    }

    /// Enables what may start now that a task has ended.
    pub(crate) fn wake_dormant(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        loop {
            let Some(conn) = self.connections.get_mut(key).filter(|conn| !conn.held) else {
                return;
            };
            let Some(front) = conn.dormant.front() else {
                return;
            };
            let ordered = front.attribute == TaskAttribute::Ordered;
            if conn.ordered.is_some() || (ordered && conn.enabled > 0) {
                return;
            }
            let Some(command) = conn.dormant.pop_front() else {
                return;
            };
            let task = command.task;
            if !conn
                .active_mut(task)
                .is_some_and(|active| matches!(active.work, Work::Dormant))
            {
                continue;
            }
            conn.deactivate(task);
            self.enable(key, &command, turn);
        }
    }

    #[inline]
    fn enable(&mut self, key: SlotKey, command: &Command, turn: &mut Turn<'_, '_>) {
        let (task, ordered) = (command.task, command.attribute == TaskAttribute::Ordered);
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.as_mut() else {
            return;
        };
        session.counters.commands += 1;
        let mut attention = None;
        if !session.attentions.is_empty() && LunKind::of(command.lun) == LunKind::Disk {
            let unit = session.volume.unit.load(turn.tick.guard);
            let interlock = unit.modes.current.attention_interlock;
            match session.attentions.admit(command.cdb.as_slice(), interlock) {
                Admission::Proceed => {}
                Admission::ProceedWith(first) => attention = Some(first),
                Admission::Refuse(failure) => {
                    self.note_refusal(key, command, &failure, turn);
                    return self.answer(key, command.task, Answer::Failed(failure), turn);
                }
            }
        }
        self.start(key, command, attention, Credit::Ask, turn);
        if ordered && let Some(conn) = self.connections.get_mut(key) {
            conn.ordered = conn.active_mut(task).is_some().then_some(task);
        }
    }

    /// Starts a command anew that waited for a buffer, or for the limits of its volume.
    pub(crate) fn retry(&mut self, key: SlotKey, command: Command, turn: &mut Turn<'_, '_>) {
        let task = command.task;
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let ordered = conn.ordered == Some(task);
        conn.deactivate(task);
        self.start(key, &command, None, Credit::Has, turn);
        if let (true, Some(conn)) = (ordered, self.connections.get_mut(key)) {
            conn.ordered = conn.active_mut(task).is_some().then_some(task);
        }
    }

    /// Plans a command and starts what the plan says.
    pub(crate) fn start(
        &mut self,
        key: SlotKey,
        command: &Command,
        attention: Option<UnitAttention>,
        credit: Credit,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.as_mut() else {
            return;
        };
        let unit = session.volume.unit.load(turn.tick.guard);
        let lun = LunKind::of(command.lun);
        let cdb = command.cdb.as_slice();
        let view = View {
            unit,
            lun,
            rights: unit.reservation.rights(session.nexus.index),
            port: session.nexus.nexus.target_port,
            attention,
            timestamp_ms: self.shared.wall_clock_ms(turn.tick.now),
        };
        let volume = (session.volume.index, session.volume.home);
        let shards = session.volume.shards;
        // One piece does it: within a shard, and no longer than a buffer.
        let is_short = |range: &ByteRange| {
            range.length <= BUFFER_BYTES_MAX as u64 && shards.is_whole(range.offset, range.length)
        };
        let plan = scsi::plan(cdb, &view);
        if self.lines.has(volume.0)
            && credit == Credit::Ask
            && let Some(wait) = self.ask_credit(volume, command, &plan, turn.now())
        {
            return self.wait_for_credit(key, command.clone(), volume, wait, turn);
        }
        match plan {
            Plan::Read { range, .. } if is_short(&range) => {
                self.read(key, command, range, turn);
            }
            Plan::Write {
                range,
                fua,
                atomic: false,
                ..
            } if is_short(&range) && u64::from(command.write_length) >= range.length => {
                let durable = fua || !unit.modes.current.write_cache;
                self.write(key, command, range, durable, turn);
            }
            Plan::Reply(reply) => {
                self.measure_reply(key, command, turn.now());
                self.answer(key, command.task, Answer::of_reply(reply), turn);
            }
            Plan::Fail(failure) => {
                self.note_refusal(key, command, &failure, turn);
                self.answer(key, command.task, Answer::Failed(failure), turn);
            }
            plan => self.start_procedure(key, command, plan, turn.now()),
        }
    }

    /// Has the home write down a reservation command that was refused for its CDB, by an SPC-2
    /// reservation, or by a unit attention: an operator wants to see the attempt.
    fn note_refusal(
        &self,
        key: SlotKey,
        command: &Command,
        failure: &Failure,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get(key) else {
            return;
        };
        let session = conn.session.as_ref();
        let of_disk = |_: &&_| LunKind::of(command.lun) == LunKind::Disk;
        let Some(session) = session.filter(of_disk) else {
            return;
        };
        let refused = Refused {
            cdb: command.cdb.as_slice(),
            parameters: &[],
            nexus: &session.nexus.nexus,
            address: conn.peer,
            failure,
        };
        let at_ms = self.shared.wall_clock_ms(turn.now());
        if let Some(call) = refused.note(session.volume.index, at_ms) {
            self.tell_home(session.volume.home, call, turn);
        }
    }

    // ---- READ ---------------------------------------------------------------------------------

    fn read(&mut self, key: SlotKey, command: &Command, range: ByteRange, turn: &mut Turn<'_, '_>) {
        let asked = range.length;
        let send = command
            .read_length
            .min(u32::try_from(asked).unwrap_or(u32::MAX));
        let session = self
            .connections
            .get(key)
            .and_then(|conn| conn.session.as_ref());
        let Some(session) = session else {
            return;
        };
        let (volume, nexus) = (session.volume.index, session.nexus.index);
        let always_zero = session.volume.always_zero;
        let at_once = self.is_at_once(volume, session.volume.shards.owner(range.offset));
        let buffer = match always_zero {
            true => None,
            false => match self.buffer_for(key, asked, turn) {
                None => return self.starve(key, command.clone(), turn.now()),
                buffer => buffer,
            },
        };
        let work = Work::Read { asked, send };
        if at_once {
            let errand = Errand {
                volume,
                op: backend::Op::Read,
                range,
                buffer,
                nexus,
            };
            let (buffer, result) = self.run_errand(errand, turn);
            let stages = Stages::begin(command.arrived, turn.now());
            return self.conclude(key, command.task, (work, stages), buffer, result, turn);
        }
        if let Some(conn) = self.connections.get_mut(key) {
            conn.held_bytes += asked;
            conn.activate(command, work, turn.now());
        }
        self.launch(key, command.task, backend::Op::Read, range, buffer, turn);
    }

    /// A buffer for a READ or WRITE, if one is free and the connection has not taken its share yet: a
    /// peer that sends no data, or reads none, is to starve itself alone.
    fn buffer_for(&mut self, key: SlotKey, length: u64, turn: &mut Turn<'_, '_>) -> Option<Buffer> {
        let conn = self.connections.get(key)?;
        let unsent = conn.sending_bytes + conn.iscsi.queued_bytes();
        let held = conn.held_bytes + unsent as u64;
        if held > 0 && held + length > CONNECTION_BUFFER_BYTES_MAX {
            return None;
        }
        turn.tick.driver.pool.allocate(to_usize(length))
    }

    // ---- WRITE --------------------------------------------------------------------------------

    fn write(
        &mut self,
        key: SlotKey,
        command: &Command,
        range: ByteRange,
        durable: bool,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(buffer) = self.buffer_for(key, range.length, turn) else {
            return self.starve(key, command.clone(), turn.now());
        };
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.held_bytes += range.length;
        let plan = WritePlan {
            offset: range.offset,
            length: range.length,
            durable,
        };
        conn.activate(command, Work::AwaitData(plan), turn.now());
        conn.iscsi.accept_data_out(command.task, buffer, 0);
    }

    /// A window of Data-Out is full, or has failed.
    pub(crate) fn data_out(
        &mut self,
        key: SlotKey,
        task: TaskId,
        buffer: Buffer,
        result: Result<(), DataOutError>,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(active) = conn.active_mut(task) else {
            return turn.tick.driver.pool.recycle(buffer);
        };
        match (&mut active.work, result) {
            (Work::AwaitData(plan), Ok(())) => {
                let plan = *plan;
                let range = ByteRange {
                    offset: plan.offset,
                    length: plan.length,
                };
                active.work = Work::Write { asked: plan.length };
                active.stages.launched = turn.now();
                let op = backend::Op::Write {
                    durable: plan.durable,
                };
                self.write_out(key, task, op, range, buffer, turn);
            }
            (Work::AwaitData(plan), Err(error)) => {
                let length = plan.length;
                conn.held_bytes -= length;
                turn.tick.driver.pool.recycle(buffer);
                conn.deactivate(task);
                self.answer(key, task, Answer::Failed(of_data_out(&error)), turn);
            }
            (Work::Procedure { data, .. }, result) => {
                if let Some(sender) = data.take() {
                    let _ = sender.send(result.map(|()| buffer));
                }
            }
            (
                Work::Dormant
                | Work::Limited
                | Work::Starving
                | Work::Read { .. }
                | Work::Write { .. },
                _,
            ) => turn.tick.driver.pool.recycle(buffer),
        }
    }

    /// All Data-Out of a WRITE is here.
    fn write_out(
        &mut self,
        key: SlotKey,
        task: TaskId,
        op: backend::Op,
        range: ByteRange,
        buffer: Buffer,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(session) = self
            .connections
            .get(key)
            .and_then(|conn| conn.session.as_ref())
        else {
            return turn.tick.driver.pool.recycle(buffer);
        };
        let (volume, nexus) = (session.volume.index, session.nexus.index);
        if !self.is_at_once(volume, session.volume.shards.owner(range.offset)) {
            return self.launch(key, task, op, range, Some(buffer), turn);
        }
        let errand = Errand {
            volume,
            op,
            range,
            buffer: Some(buffer),
            nexus,
        };
        let (buffer, result) = self.run_errand(errand, turn);
        let asked = range.length;
        let ended = self.connections.get_mut(key).and_then(|conn| {
            conn.held_bytes -= asked;
            conn.deactivate(task)
        });
        if let Some(Active { stages, .. }) = ended {
            let work = Work::Write { asked };
            self.conclude(key, task, (work, stages), buffer, result, turn);
        }
    }

    // ---- one piece ----------------------------------------------------------------------------

    /// Sends the one piece of a READ or WRITE on its way.
    fn launch(
        &mut self,
        key: SlotKey,
        task: TaskId,
        op: backend::Op,
        range: ByteRange,
        buffer: Option<Buffer>,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.as_ref() else {
            return;
        };
        let access = if matches!(op, backend::Op::Read) {
            Access::Read
        } else {
            Access::Write
        };
        let piece = Piece {
            volume: session.volume.index,
            op,
            offset: range.offset,
            length: range.length,
            buffer,
            check: Some((session.nexus.index, access)),
            lock: None,
            reactor: self.id,
            origin: Origin::Task {
                connection: key,
                task,
            },
        };
        let owner = session.volume.shards.owner(range.offset);
        conn.outstanding += 1;
        self.dispatch(piece, owner, turn);
    }

    /// The piece of a READ or WRITE is back.
    pub(crate) fn task_piece_done(
        &mut self,
        key: SlotKey,
        task: TaskId,
        done: PieceDone,
        turn: &mut Turn<'_, '_>,
    ) {
        let PieceDone {
            buffer,
            result,
            issued,
            ..
        } = done;
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.outstanding -= 1;
        let Some(Active {
            work,
            abort,
            opcode,
            stages,
            ..
        }) = conn.deactivate(task)
        else {
            return;
        };
        if let Work::Read { asked, .. } | Work::Write { asked } = work {
            conn.held_bytes -= asked;
        }
        if let Some(abort) = abort {
            if let Some(buffer) = buffer {
                turn.tick.driver.pool.recycle(buffer);
            }
            return self.abort_settled(key, task, &abort, turn);
        }
        let now = turn.now();
        if self.meters.is_slow(stages.came, now) {
            let (direction, bytes) = work.moves();
            let task = SlowTask {
                opcode,
                direction,
                stages,
            };
            self.tell_slow_piece(key, task, bytes, issued, now);
        }
        self.conclude(key, task, (work, stages), buffer, result, turn);
    }

    /// Answers a READ or WRITE of one piece.
    fn conclude(
        &mut self,
        key: SlotKey,
        task: TaskId,
        (work, stages): (Work, Stages),
        buffer: Option<Buffer>,
        result: Result<Done, Failure>,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        self.outlists.lend(&mut conn.iscsi);
        match (work, result) {
            (Work::Read { asked, send }, Ok(_)) => {
                let payload = buffer.map_or(Payload::Static(zeros()), Payload::Buffer);
                if let Some(session) = conn.session.as_mut() {
                    session.counters.read_bytes += u64::from(send);
                    session.counters.count_good(Direction::Read, 1);
                    let volume = session.volume.index;
                    self.meters.ended(volume, Direction::Read, &stages);
                }
                let response = Response::good(asked);
                let range = 0..send as usize;
                let copied = conn
                    .iscsi
                    .send_data_in(task, payload, range, 0, Some(&response));
                if let Some(Payload::Buffer(buffer)) = copied {
                    turn.tick.driver.pool.recycle(buffer);
                }
            }
            (Work::Write { asked }, Ok(_)) => {
                if let Some(session) = conn.session.as_mut() {
                    session.counters.written_bytes += asked;
                    session.counters.count_good(Direction::Write, 1);
                    let volume = session.volume.index;
                    self.meters.ended(volume, Direction::Write, &stages);
                }
                if let Some(buffer) = buffer {
                    turn.tick.driver.pool.recycle(buffer);
                }
                conn.iscsi.respond(task, &Response::good(asked));
            }
            (_, Err(failure)) => {
                if let Some(buffer) = buffer {
                    turn.tick.driver.pool.recycle(buffer);
                }
                self.fail(key, task, &failure, turn);
            }
            (
                Work::Dormant
                | Work::Limited
                | Work::Starving
                | Work::AwaitData(_)
                | Work::Procedure { .. },
                Ok(_),
            ) => {}
        }
        self.mark_dirty(key);
        // The peer's next bytes may have waited for room in the send queue.
        self.pump(key, turn);
    }

    /// No buffer is free: the command waits for one. What comes behind it on its connection goes on,
    /// so that writes which have a buffer get their data and give it back: data that comes along
    /// with the waiting command is dropped, and asked for again by R2T once there is room.
    fn starve(&mut self, key: SlotKey, command: Command, now: Instant) {
        if let Some(conn) = self.connections.get_mut(key) {
            let _ = conn.iscsi.refuse_data_out(command.task);
            conn.activate(&command, Work::Starving, now);
            self.starving.push_back((key, command));
        }
    }

    // ---- procedures ---------------------------------------------------------------------------

    fn start_procedure(&mut self, key: SlotKey, command: &Command, plan: Plan, now: Instant) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.as_ref() else {
            return;
        };
        let aborted = Rc::new(Cell::new(false));
        let procedure = Procedure {
            local: self.local.clone(),
            connection: key,
            task: command.task,
            cdb: command.cdb.as_slice().to_vec(),
            read_length: command.read_length,
            write_length: command.write_length,
            volume: session.volume.clone(),
            nexus: session.nexus.clone(),
            hold: None,
            peer: conn.peer,
            proof: session.proof.clone(),
            aborted: Rc::clone(&aborted),
            shared: self.shared.clone(),
        };
        let (direction, bytes) = Direction::of_plan(&plan);
        let work = Work::Procedure {
            aborted,
            data: None,
            direction,
            bytes,
        };
        conn.activate(command, work, now);
        conn.outstanding += 1;
        self.local.spawn(procedure.run(plan));
    }

    /// A procedure asks for a window of its command's Data-Out.
    pub(crate) fn procedure_wants_data(
        &mut self,
        key: SlotKey,
        task: TaskId,
        offset: u32,
        buffer: Buffer,
        reply: oneshot::Sender<Result<Buffer, DataOutError>>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        if conn.phase == Phase::Closing {
            return;
        }
        let Some(active) = conn
            .active_mut(task)
            .filter(|active| active.abort.is_none())
        else {
            return;
        };
        if let Work::Procedure { data, .. } = &mut active.work {
            *data = Some(reply);
            conn.iscsi.accept_data_out(task, buffer, offset);
        }
        self.mark_dirty(key);
    }

    /// A procedure sends Data-In, with more to come.
    pub(crate) fn procedure_sends_data(
        &mut self,
        key: SlotKey,
        task: TaskId,
        offset: u32,
        buffer: Buffer,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let live = conn.phase == Phase::Full;
        if live
            && conn
                .active_mut(task)
                .is_some_and(|active| active.abort.is_none())
        {
            let range = 0..buffer.len();
            let payload = Payload::Buffer(buffer);
            let copied = conn.iscsi.send_data_in(task, payload, range, offset, None);
            if let Some(Payload::Buffer(buffer)) = copied {
                turn.tick.driver.pool.recycle(buffer);
            }
        }
        self.mark_dirty(key);
    }

    /// A procedure is over.
    pub(crate) fn finish_procedure(
        &mut self,
        key: SlotKey,
        task: TaskId,
        answer: Answer,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.outstanding -= 1;
        match conn.deactivate(task) {
            Some(Active {
                abort: Some(abort), ..
            }) => self.abort_settled(key, task, &abort, turn),
            Some(active) => {
                self.measure_procedure(key, &active, &answer, turn.now());
                self.answer(key, task, answer, turn);
            }
            None => self.answer(key, task, answer, turn),
        }
        self.pump(key, turn);
    }

    /// Ends a task with a failure, and does what the control mode page asks for then (SPC-4 section
    /// 7.5.8).
    fn fail(&mut self, key: SlotKey, task: TaskId, failure: &Failure, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.as_mut() else {
            return;
        };
        session.counters.count_failure(failure);
        let modes = session.volume.unit.load(turn.tick.guard).modes.current;
        if modes.attention_interlock == AttentionInterlock::KeepAndRaise {
            match failure.status {
                Status::Busy => session.attentions.raise(UnitAttention::PreviousBusy),
                Status::TaskSetFull => session.attentions.raise(UnitAttention::PreviousTaskSetFull),
                Status::ReservationConflict => {
                    session.attentions.raise(UnitAttention::PreviousConflict);
                }
                _ => {}
            }
        }
        respond_with(conn, task, failure, 0, modes.descriptor_sense);
        // With a task set for each nexus (TST = 001b) both values of QERR mean the same tasks.
        if failure.status == Status::CheckCondition && modes.queue_error != QueueError::Continue {
            self.abort_tasks(
                key,
                AbortSelect::AllBut(Some(task)),
                None,
                Quiet::Nobody,
                turn,
            );
        }
    }

    /// Ends a command.
    pub(crate) fn answer(
        &mut self,
        key: SlotKey,
        task: TaskId,
        answer: Answer,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        match answer {
            Answer::Data { data, asked } => {
                let range = 0..data.len();
                let response = Response::good(asked);
                if data.is_empty() {
                    conn.iscsi.respond(task, &response);
                } else {
                    let payload = Payload::Bytes(data);
                    let _ = conn
                        .iscsi
                        .send_data_in(task, payload, range, 0, Some(&response));
                }
            }
            Answer::Buffer {
                buffer,
                offset,
                asked,
            } => {
                let range = 0..buffer.len();
                let response = Response::good(asked);
                let payload = Payload::Buffer(buffer);
                let copied = conn
                    .iscsi
                    .send_data_in(task, payload, range, offset, Some(&response));
                if let Some(Payload::Buffer(buffer)) = copied {
                    turn.tick.driver.pool.recycle(buffer);
                }
            }
            Answer::Good { asked } => conn.iscsi.respond(task, &Response::good(asked)),
            Answer::Failed(failure) => self.fail(key, task, &failure, turn),
        }
        self.mark_dirty(key);
    }
}

/// Ends a task with a failure, in fixed format.
pub(crate) fn respond_failure(conn: &mut Conn, task: TaskId, failure: &Failure, asked: u64) {
    respond_with(conn, task, failure, asked, false);
}

fn respond_with(conn: &mut Conn, task: TaskId, failure: &Failure, asked: u64, descriptor: bool) {
    let mut bytes = [0; SENSE_BYTES_MAX];
    let length = failure
        .sense
        .map_or(0, |sense| sense.encode(descriptor, &mut bytes));
    let response = Response {
        status: failure.status.code(),
        sense: bytes.get(..length).unwrap_or_default(),
        asked,
        asked_read: 0,
        target_failure: false,
    };
    conn.iscsi.respond(task, &response);
}

/// The sense data of a transfer that failed (RFC 7143 section 11.4.7.2).
pub(crate) fn of_data_out(error: &DataOutError) -> Failure {
    let (asc, ascq) = error.additional_sense();
    Failure::check(SenseKey::AbortedCommand, Code { asc, ascq })
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(BUFFER_BYTES_MAX)
}

//! One reactor's way to a disk: by its ring, or by the workers.

use super::Disk;
use crate::backend::request::{BackendError, Completion, Done, Op, Request, Submitted};
use crate::backend::store::{Channel, ChannelId, Io, Store, Waker};
use crate::backend::workers::{Inbox, Job};
use crate::base::clock::Instant;
use crate::base::limits::CHANNEL_REQUESTS_MAX;
use crate::base::slots::{SlotKey, Slots};
use crate::ring::{self, FileHandle, Namespace, Owner, Ring, Token};
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long what found no room waits before it looks again by itself.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes that one call moves on the reactor itself, so that others get their turn: about as long as a
/// copy of them takes.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;

/// Reads, writes and flushes go by the ring if there is one; what changes allocation, and everything
/// where there is none, goes to the workers. To a file in memory they are carried out here.
pub(super) struct DiskChannel {
    disk: Arc<Disk>,
    id: ChannelId,
    /// What is known of the operations with the ring besides what the ring hands back.
    flights: Slots<Flight>,
    /// Requests with the workers.
    at_workers: usize,
    inbox: Arc<Inbox>,
    /// Longer requests to a file in memory, each partly carried out.
    partial: VecDeque<Task>,
    /// What found no room, in order.
    waiting: VecDeque<Task>,
    /// When to look for room even if nothing completes: the workers' queue may be full of other
    /// channels' jobs, whose completions do not wake this reactor.
    retry_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    token: u64,
    op: Op,
    offset: u64,
    length: u64,
    course: Course,
    /// Of its [`Task`].
    command_failed: bool,
}

/// How the ring carries an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It ends by an interrupt.
    Waited,
    /// The ring polls for it.
    Polled,
    /// The ring polls for it, and it is an NVMe command.
    Command {
        namespace: Namespace,
        /// Its buffer is named as a registered one.
        registered: bool,
    },
}

/// A request and how many of its bytes have been moved.
struct Task {
    request: Request,
    skip: usize,
    /// A command for it has failed. The block device's driver waits for paths and tries again, and knows
    /// better what an error means.
    command_failed: bool,
}

impl Task {
    const fn new(request: Request) -> Self {
        Self {
            request,
            skip: 0,
            command_failed: false,
        }
    }
}

impl DiskChannel {
    /// A channel starts small, as there may be thousands; it allocates nothing once it has seen its
    /// deepest queue.
    pub(super) fn new(disk: Arc<Disk>, id: ChannelId, waker: Waker) -> Self {
        let completions = ArrayQueue::new(usize::from(CHANNEL_REQUESTS_MAX));
        Self {
            disk,
            id,
            flights: Slots::bounded(u32::from(CHANNEL_REQUESTS_MAX)),
            at_workers: 0,
            inbox: Arc::new(Inbox { completions, waker }),
            partial: VecDeque::new(),
            waiting: VecDeque::new(),
            retry_at: Instant::ZERO,
        }
    }

    /// Gives the task to whoever carries it out, or hands it back when there is no room.
    fn start(&mut self, task: Task, ring: Option<&mut Ring>) -> Result<(), Task> {
        match (ring, task.request.op) {
            (Some(ring), Op::Read | Op::Write { .. } | Op::Flush) => self.start_on_ring(task, ring),
            _ => self.start_on_workers(task),
        }
    }

    fn start_on_workers(&mut self, task: Task) -> Result<(), Task> {
        if self.at_workers == self.inbox.completions.capacity() {
            return Err(task);
        }
        let (disk, inbox) = (Arc::clone(&self.disk), Arc::clone(&self.inbox));
        let job = Job {
            disk,
            request: task.request,
            inbox,
        };
        // A worker begins at the first byte: what was moved already is moved again.
        let submitted = self.disk.workers.submit(job);
        submitted.map_err(|job| Task::new(job.request))?;
        self.at_workers += 1;
        Ok(())
    }

    fn start_on_ring(&mut self, task: Task, ring: &mut Ring) -> Result<(), Task> {
        let Request {
            token,
            op,
            offset,
            length,
            ..
        } = task.request;
        let (course, file) = match self.command(&task, ring) {
            Some(command) => command,
            None => (self.course(op, length, ring), self.disk.file.clone()),
        };
        let flight = Flight {
            token,
            op,
            offset,
            length,
            course,
            command_failed: task.command_failed,
        };
        let Ok(key) = self.flights.insert(flight) else {
            return Err(task);
        };
        let Task { request, skip, .. } = task;
        let operation = match (op, request.buffer) {
            (Op::Read, Some(buffer)) => ring::Op::Read {
                file,
                offset,
                buffer,
                skip,
            },
            (Op::Write { durable }, Some(buffer)) => ring::Op::Write {
                file,
                offset,
                buffer,
                skip,
                dsync: durable,
            },
            _ => ring::Op::Fsync {
                file,
                data_only: true,
            },
        };
        let token = Token::new(Owner::Backend, token_value(self.id, key));
        let submitted = match course {
            Course::Waited => ring.submit(operation, token),
            Course::Polled => ring.submit_polled(operation, token),
            Course::Command {
                namespace,
                registered,
            } => ring.submit_nvme(operation, token, namespace, registered),
        };
        submitted.map(drop).map_err(|operation| {
            self.flights.remove(key);
            flight.task(operation, skip)
        })
    }

    /// The task as an NVMe command, and where that goes, if it can be one.
    fn command(&self, task: &Task, ring: &mut Ring) -> Option<(Course, FileHandle)> {
        let whole = matches!(task.request.op, Op::Read | Op::Write { .. }) && task.skip == 0;
        if !whole || task.command_failed {
            return None;
        }
        let (passthrough, commands) = self.disk.way.passthrough_for(task.request.length)?;
        if let Err(error) = ring.enable_nvme() {
            passthrough.refused(&error);
            return None;
        }
        let course = Course::Command {
            namespace: commands.namespace,
            registered: passthrough.registers(),
        };
        Some((course, commands.file.clone()))
    }

    /// How the ring is to carry out what is no command. What must be durable ends in a flush, by an
    /// interrupt.
    fn course(&self, op: Op, length: u64, ring: &mut Ring) -> Course {
        if !self.disk.way.polls_for(length)
            || !matches!(op, Op::Read | Op::Write { durable: false })
        {
            return Course::Waited;
        }
        match ring.enable_polling() {
            Ok(()) => Course::Polled,
            Err(error) => {
                self.disk.way.polling_refused(&error);
                Course::Waited
            }
        }
    }

    /// Carries out the next part of a request to a file in memory: the answer, or the rest. It is in
    /// flight until it is answered, and has no effect afterwards.
    fn step(&self, mut task: Task) -> Result<Completion, Task> {
        let moved = self
            .disk
            .perform_part(&mut task.request, task.skip, AT_ONCE_BYTES_MAX);
        match moved {
            Ok(moved) if task.request.op != Op::Flush && (moved as u64) < task.request.length => {
                task.skip = moved;
                Err(task)
            }
            result => Ok(task.request.answer(result.map(|_| Done::Completed))),
        }
    }

    /// What the end of a ring's operation means: the answer, or more to be done.
    fn judge(
        &self,
        flight: Flight,
        operation: ring::Op,
        result: io::Result<u32>,
    ) -> Result<Completion, Task> {
        let skip = moved_before(&operation);
        let mut task = flight.task(operation, skip);
        let length = task
            .request
            .buffer
            .as_ref()
            .map_or(0, |buffer| buffer.len());
        let answer = |task: Task, result| Ok(task.request.answer(result));
        match (result, flight.course) {
            (Err(error), _) if is_passing(&error) => Err(task),
            (Ok(_), Course::Command { .. }) => answer(task, Ok(Done::Completed)),
            (Err(error), Course::Command { registered, .. }) => {
                let goes_on = self.disk.way.command_may_go_on(&error, registered);
                task.command_failed = !goes_on;
                Err(task)
            }
            (Err(error), Course::Polled) if error.kind() == io::ErrorKind::Unsupported => {
                // Nothing was done, so it is begun anew without polling.
                self.disk.way.polling_refused(&error);
                Err(task)
            }
            (Err(error), _) => {
                let error: BackendError = match flight.op {
                    Op::Flush => self.disk.flush_failed(error),
                    Op::Write { durable } => self.disk.write_failed(durable, error),
                    _ => error.into(),
                };
                answer(task, Err(error))
            }
            (Ok(_), _) if flight.op == Op::Flush => answer(task, Ok(Done::Completed)),
            (Ok(0), _) if flight.op != Op::Read && length > skip => {
                answer(task, Err(io::Error::from(io::ErrorKind::WriteZero).into()))
            }
            (Ok(count), _) => {
                task.skip = length.min(skip + count as usize);
                if task.skip == length {
                    return answer(task, Ok(Done::Completed));
                }
                if count > 0 {
                    return Err(task);
                }
                // Beyond the end of the file there is nothing but zeros.
                if let Some(buffer) = &mut task.request.buffer {
                    buffer[skip..].fill(0);
                }
                answer(task, Ok(Done::Completed))
            }
        }
    }
}

impl Channel for DiskChannel {
    fn submit(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        let block_bytes = self.disk.properties.logical_block_bytes;
        let mut checked = request.check(self.disk.size_bytes(), block_bytes);
        if request.op == Op::Flush {
            checked = checked.and_then(|()| self.disk.check_flush());
        }
        if let Err(error) = checked {
            return Submitted::Done(request.answer(Err(error)));
        }
        let task = Task::new(request);
        let here = matches!(task.request.op, Op::Read | Op::Write { .. } | Op::Flush);
        if here && self.disk.way.is_at_once() {
            return match self.step(task) {
                Ok(completion) => Submitted::Done(completion),
                Err(rest) => {
                    self.partial.push_back(rest);
                    Submitted::Pending
                }
            };
        }
        // What waits goes first.
        let started = match self.waiting.is_empty() {
            true => self.start(task, io.ring.as_deref_mut()),
            false => Err(task),
        };
        if let Err(task) = started {
            self.waiting.push_back(task);
            self.retry_at = io.now + RETRY_INTERVAL;
        }
        Submitted::Pending
    }

    fn completed(
        &mut self,
        completion: ring::Completion,
        io: &mut Io<'_>,
        out: &mut Vec<Completion>,
    ) {
        let ring::Completion {
            token, result, op, ..
        } = completion;
        let Some(flight) = self.flights.remove(flight_key(token.value)) else {
            tracing::error!("the ring completed an operation that this channel does not know");
            return;
        };
        match self.judge(flight, op, result) {
            Ok(completion) => out.push(completion),
            Err(task) => {
                if let Err(task) = self.start(task, io.ring.as_deref_mut()) {
                    self.waiting.push_front(task);
                    self.retry_at = io.now + RETRY_INTERVAL;
                }
            }
        }
    }

    fn poll(&mut self, io: &mut Io<'_>, out: &mut Vec<Completion>) {
        while self.at_workers > 0
            && let Some(completion) = self.inbox.completions.pop()
        {
            self.at_workers -= 1;
            out.push(completion);
        }
        if let Some(task) = self.partial.pop_front() {
            match self.step(task) {
                Ok(completion) => out.push(completion),
                Err(rest) => self.partial.push_back(rest),
            }
        }
        while let Some(task) = self.waiting.pop_front() {
            if let Err(task) = self.start(task, io.ring.as_deref_mut()) {
                self.waiting.push_front(task);
                self.retry_at = io.now + RETRY_INTERVAL;
                break;
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.flights.len() + self.at_workers + self.partial.len() + self.waiting.len()
    }

    /// At once, if there is more to be carried out here.
    fn next_deadline(&self) -> Option<Instant> {
        if !self.partial.is_empty() {
            return Some(Instant::ZERO);
        }
        (!self.waiting.is_empty()).then_some(self.retry_at)
    }
}

impl Flight {
    /// The request again, from the operation that the ring handed back.
    fn task(self, operation: ring::Op, skip: usize) -> Task {
        let Self {
            token,
            op,
            offset,
            length,
            course: _,
            command_failed,
        } = self;
        let buffer = match operation {
            ring::Op::Read { buffer, .. } | ring::Op::Write { buffer, .. } => Some(buffer),
            _ => None,
        };
        Task {
            request: Request {
                token,
                op,
                offset,
                length,
                buffer,
            },
            skip,
            command_failed,
        }
    }
}

fn moved_before(operation: &ring::Op) -> usize {
    match operation {
        ring::Op::Read { skip, .. } | ring::Op::Write { skip, .. } => *skip,
        _ => 0,
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Channel, generation and index in one word: 16, 32 and 16 bits.
fn token_value(id: ChannelId, key: SlotKey) -> u64 {
    let (generation, index) = (key.to_bits() >> 32, u64::from(key.index()));
    (u64::from(id.0) << 48) | (generation << 16) | index
}

/// The slot of a [`token_value`].
const fn flight_key(value: u64) -> SlotKey {
    let (generation, index) = ((value >> 16) & 0xFFFF_FFFF, value & 0xFFFF);
    SlotKey::from_bits((generation << 32) | index)
}

//! The ring: submit, enter, fetch completions.

use super::arenas::RegisteredArenas;
use super::flight::{Flights, accepted};
use super::nvme;
use super::op::{Op, Owner, Token};
use super::polled::PolledRings;
use super::probe::{self, Features, Unavailable};
use super::provided::ProvidedBuffers;
use super::setup;
use crate::base::buffer::{Arena, Buffer};
use crate::base::clock::Instant;
use crate::base::limits::CONNECTIONS_MAX;
use crate::base::slots::SlotKey;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// `user_data` of requests to cancel, whose own completions interest nobody. No slot's key is zero:
/// generations start at one.
const CANCELLATION: u64 = 0;
/// How long the drop of a [`Ring`] waits between complaints about operations that do not end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Sizes of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingConfig {
    /// Operations between two calls of [`Ring::enter`] before it enters by itself.
    pub submissions: u32,
    /// Operations in flight; one more is handed back.
    pub in_flight: u32,
    /// Buffers that may be lent with [`Ring::provide`], a power of two; zero for none.
    pub provided_buffers: u16,
}

impl Default for RingConfig {
    fn default() -> Self {
        // Every connection at rest has a receive in flight; the rest is for sends and disk I/O.
        Self {
            submissions: 512,
            in_flight: CONNECTIONS_MAX + 4096,
            provided_buffers: 256,
        }
    }
}

/// Names one operation in flight, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub(super) SlotKey);

/// An operation that the kernel is done with.
#[derive(Debug)]
pub struct Completion {
    /// As given to [`Ring::submit`].
    pub token: Token,
    /// What the operation says it is, or the error.
    pub result: io::Result<u32>,
    /// The operation, and with it its buffers.
    pub op: Op,
    /// After a receive: the socket had more bytes than the buffer took.
    pub more_to_receive: bool,
}

/// A completion as the kernel wrote it.
#[derive(Debug, Clone, Copy)]
struct Reaped {
    key: SlotKey,
    result: i32,
    flags: u32,
}

/// An entry of a completion queue, however long those are.
pub(super) struct Entry {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl From<cqueue::Entry> for Entry {
    fn from(entry: cqueue::Entry) -> Self {
        Self {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }
    }
}

/// Only NVMe commands have entries so long.
impl From<cqueue::Entry32> for Entry {
    fn from(entry: cqueue::Entry32) -> Self {
        Self {
            user_data: entry.user_data(),
            result: nvme::outcome(entry.result()),
            flags: entry.flags(),
        }
    }
}

/// Completions that wait to be fetched, by owner.
pub(super) struct Completed {
    queues: [VecDeque<Reaped>; Owner::COUNT],
    count: usize,
}

impl Completed {
    fn with_room(room: usize) -> Self {
        Self {
            queues: std::array::from_fn(|_| VecDeque::with_capacity(room)),
            count: 0,
        }
    }

    /// Sorts in what the kernel completed.
    pub(super) fn take_in(&mut self, entries: impl Iterator<Item: Into<Entry>>, flights: &Flights) {
        for entry in entries {
            let Entry {
                user_data,
                result,
                flags,
            } = entry.into();
            if user_data == CANCELLATION {
                continue;
            }
            let key = SlotKey::from_bits(user_data);
            let Some(token) = flights.token(key) else {
                tracing::error!("the kernel completed an operation twice");
                continue;
            };
            let reaped = Reaped { key, result, flags };
            self.queues[token.owner.index()].push_back(reaped);
            self.count += 1;
        }
    }

    #[inline]
    fn pop(&mut self, owner: Owner) -> Option<Reaped> {
        let reaped = self.queues[owner.index()].pop_front()?;
        self.count -= 1;
        Some(reaped)
    }
}

/// One io_uring, for the thread that made it.
///
/// # Order of calls
/// [`Ring::submit`] any number of operations, [`Ring::enter`] once, then fetch each owner's
/// completions with [`Ring::completion`] until there are none; and again.
pub struct Ring {
    ring: IoUring,
    /// Beside it, for disks that are polled.
    pub(super) polled: Option<Box<PolledRings>>,
    pub(super) flights: Flights,
    completed: Completed,
    pub(super) arenas: RegisteredArenas,
    provided: Option<ProvidedBuffers>,
    features: Features,
    entered: u64,
    /// The last time in the kernel may not have done all of its completion work.
    work_may_be_left: bool,
    /// A ring with a single issuer stays on its thread.
    _on_one_thread: PhantomData<*const ()>,
}

impl Ring {
    /// What a ring would have here, or precisely why there can be none.
    ///
    /// # Errors
    /// The reason why io_uring cannot be used.
    pub fn probe() -> Result<Features, Unavailable> {
        probe::probe()
    }

    /// A ring for the calling thread. What the kernel does not grant is left out, with a log line.
    ///
    /// # Errors
    /// The reason why io_uring cannot be used.
    pub fn new(config: RingConfig) -> Result<Self, Unavailable> {
        let mut features = probe::probe()?;
        let mut builder = IoUring::builder();
        builder
            .setup_clamp()
            .setup_submit_all()
            .setup_cqsize(config.in_flight.saturating_mul(2));
        if features.defer_taskrun {
            builder.setup_single_issuer().setup_defer_taskrun();
        } else {
            tracing::info!("no DEFER_TASKRUN (before Linux 6.1): completions cost more");
            if features.coop_taskrun {
                builder.setup_coop_taskrun();
            }
        }
        if features.taskrun_flag {
            builder.setup_taskrun_flag();
        }
        let ring = setup::build(&builder, config.submissions).map_err(Unavailable::from_setup)?;
        let provided = match config.provided_buffers {
            0 => None,
            _ if !features.provided_buffers => None,
            count => match ProvidedBuffers::register(&ring, count) {
                Ok(provided) => Some(provided),
                Err(error) => {
                    tracing::info!(%error, "no provided buffers: sockets at rest each hold one");
                    None
                }
            },
        };
        features.provided_buffers = provided.is_some();
        Ok(Self {
            ring,
            flights: Flights::new(config.in_flight),
            polled: None,
            completed: Completed::with_room(config.in_flight as usize),
            arenas: RegisteredArenas::default(),
            provided,
            features,
            entered: 0,
            work_may_be_left: false,
            _on_one_thread: PhantomData,
        })
    }

    /// What this ring was granted.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Registers arenas, so that reads and writes of their buffers skip mapping the pages each time.
    /// To be called once, with the arenas of all reactors: a buffer may travel. Without it, and for
    /// buffers of other arenas, the plain operations are used.
    ///
    /// # Errors
    /// When the kernel refuses: `ENOMEM` if `RLIMIT_MEMLOCK` is too low. The ring stays usable.
    pub fn register_arenas(&mut self, arenas: &[Arc<Arena>]) -> io::Result<()> {
        self.arenas = RegisteredArenas::register(&self.ring, arenas)?;
        Ok(())
    }

    /// How many more buffers [`Ring::provide`] takes; zero where the kernel has no provided buffers.
    #[must_use]
    pub fn provided_vacancies(&self) -> usize {
        self.provided.as_ref().map_or(0, ProvidedBuffers::vacancies)
    }

    /// Lends a buffer to receives without one of their own.
    ///
    /// # Errors
    /// The buffer itself, when there is no room.
    pub fn provide(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        match &mut self.provided {
            Some(provided) => provided.lend(buffer),
            None => Err(buffer),
        }
    }

    /// Operations in flight, those included whose completion waits to be fetched.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How often the kernel was entered.
    #[must_use]
    pub const fn entered(&self) -> u64 {
        self.entered
    }

    /// Queues an operation for the next [`Ring::enter`].
    ///
    /// # Errors
    /// The operation itself, when as many as configured are in flight.
    ///
    /// # Panics
    /// If `skip` of a read or write is beyond its buffer.
    pub fn submit(&mut self, op: Op, token: Token) -> Result<Ticket, Op> {
        let (key, entry) = self.flights.take_off(op, token, &self.arenas)?;
        let entered = self.push(&entry);
        self.flights.ticket(key, entered)
    }

    /// Asks for an early end of an operation. It completes either way: with `ECANCELED`, or with
    /// its result if that came first.
    pub fn cancel(&mut self, ticket: Ticket) {
        if self.flights.contains(ticket.0) {
            let entry = opcode::AsyncCancel::new(ticket.0.to_bits()).build();
            if !self.push(&entry.user_data(CANCELLATION)) {
                tracing::warn!("the submission queue is stuck: an operation was not cancelled");
            }
        }
    }

    /// Hands what was submitted to the kernel and takes in what completed. Waits for a completion at
    /// most `wait` (`Duration::MAX`: without limit) if none is there to be fetched and none is polled
    /// for ([`Ring::is_polling`]); `None` does not wait, and enters the kernel only if something was
    /// submitted or completion work is flagged.
    ///
    /// # Errors
    /// When the ring is broken. Interruptions and want of memory are not errors: the next call goes
    /// on.
    pub fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        if let Some(polled) = &mut self.polled {
            polled.poll()?;
        }
        self.reap();
        let wait = wait.filter(|_| self.completed.count == 0 && !self.is_polling());
        if wait.is_none() && !self.must_enter() {
            return Ok(());
        }
        let entered = match wait {
            None => self.enter_kernel(0, None),
            Some(Duration::MAX) => self.enter_kernel(1, None),
            Some(limit) => self.enter_kernel(1, Some(&types::Timespec::from(limit))),
        };
        self.reap();
        match entered {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The next completion of `owner`'s operations, if any has come.
    #[inline]
    pub fn completion(&mut self, owner: Owner) -> Option<Completion> {
        let reaped = self.completed.pop(owner)?;
        self.land(reaped)
    }

    fn land(&mut self, reaped: Reaped) -> Option<Completion> {
        let (mut op, token) = self.flights.land(reaped.key)?;
        let result = match u32::try_from(reaped.result) {
            Ok(value) => Ok(value),
            Err(_) => Err(io::Error::from_raw_os_error(-reaped.result)),
        };
        self.fill_in(&mut op, &reaped);
        let more_to_receive = cqueue::sock_nonempty(reaped.flags);
        Some(Completion {
            token,
            result,
            op,
            more_to_receive,
        })
    }

    /// Whether completions wait to be fetched.
    #[must_use]
    pub const fn has_completions(&self) -> bool {
        self.completed.count > 0
    }

    /// Adds to the operation what the kernel made for it.
    fn fill_in(&mut self, op: &mut Op, reaped: &Reaped) {
        match op {
            Op::Receive { buffer, .. } => {
                if let (Some(number), Some(provided)) =
                    (cqueue::buffer_select(reaped.flags), &mut self.provided)
                {
                    *buffer = provided.take(number);
                }
                if let (Some(buffer), Ok(bytes)) = (buffer, usize::try_from(reaped.result)) {
                    buffer.set_len(bytes);
                }
            }
            Op::Accept {
                accepted: connection,
                ..
            } => {
                *connection = u32::try_from(reaped.result).ok().and_then(accepted);
            }
            _ => {}
        }
    }

    /// Queues an entry, making room by entering the kernel if need be.
    #[allow(
        unsafe_code,
        reason = "named leaf: the entry refers to what its slot owns"
    )]
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        for attempt in 0..2 {
            // SAFETY: what the entry refers to belongs to the operation in its slot, which stays
            // there until its completion is fetched; cancellations refer to nothing.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return true;
            }
            if attempt == 0 {
                if let Err(error) = self.enter_kernel(0, None) {
                    tracing::debug!(%error, "no room was made in the submission queue");
                }
                self.reap();
            }
        }
        false
    }

    fn must_enter(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty()
            || submission.cq_overflow()
            || submission.taskrun()
            || self.work_may_be_left
            // Without the flag only entering tells; without deferring, work runs by itself.
            || (self.features.defer_taskrun && !self.features.taskrun_flag)
    }

    /// Since Linux 6.13, one call runs some twenty pieces of deferred work and leaves the rest for the
    /// next one, with the flag taken down: whoever polls and trusts the flag alone never comes back for
    /// it. So a call that found work is followed by another, up to one that finds none.
    fn enter_kernel(&mut self, want: u32, limit: Option<&types::Timespec>) -> io::Result<usize> {
        let had_work = self.ring.submission().taskrun();
        let entered = self.call_kernel(want, limit);
        let found_work = had_work || !self.ring.completion().is_empty();
        self.work_may_be_left = self.features.defer_taskrun && found_work;
        entered
    }

    #[allow(unsafe_code, reason = "named leaf: the system call")]
    fn call_kernel(&mut self, want: u32, limit: Option<&types::Timespec>) -> io::Result<usize> {
        self.entered += 1;
        let count = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        let flags = EnterFlags::GETEVENTS;
        if let Some(limit) = limit {
            let arguments = types::SubmitArgs::new().timespec(limit);
            let flags = flags | EnterFlags::EXT_ARG;
            // SAFETY: the arguments and the time they point to outlive the call; the flag says
            // that they are what is passed.
            return unsafe {
                self.ring
                    .submitter()
                    .enter(count, want, flags.bits(), Some(&arguments))
            };
        }
        // SAFETY: no argument is passed; `count` entries are in the queue.
        unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(count, want, flags.bits(), None)
        }
    }

    /// Takes in what the kernel completed.
    #[inline]
    fn reap(&mut self) {
        self.completed
            .take_in(self.ring.completion(), &self.flights);
        if let Some(polled) = &mut self.polled {
            polled.reap(&mut self.completed, &self.flights);
        }
    }

    /// Cancels what is in flight and waits until the kernel has let go of all of it.
    fn drain(&mut self) -> io::Result<()> {
        for key in self.flights.keys() {
            self.cancel(Ticket(key));
        }
        let mut patient_until = Instant::now() + DRAIN_PATIENCE;
        loop {
            for owner in [Owner::Reactor, Owner::Net, Owner::Backend] {
                while self.completion(owner).is_some() {}
            }
            if self.flights.len() == 0 {
                return Ok(());
            }
            self.enter(Some(DRAIN_PATIENCE))?;
            if Instant::now() > patient_until {
                tracing::warn!(in_flight = self.flights.len(), "waiting for the kernel");
                patient_until = Instant::now() + DRAIN_PATIENCE;
            }
        }
    }
}

/// Errors of entering after which the next call goes on: time was up, a signal came, or memory or
/// room for completions is short.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM)
    )
}

impl AsFd for Ring {
    /// Readable when there is a reason to call [`Ring::enter`], so that an epoll loop can wait for
    /// the ring along with its sockets.
    #[allow(
        unsafe_code,
        reason = "named leaf: the descriptor lives as long as the ring"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring keeps its descriptor open for at least the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            // The kernel may still write to these buffers: better to lose the memory.
            tracing::error!(%error, in_flight = self.flights.len(), "an io_uring did not drain");
            std::mem::forget(std::mem::replace(&mut self.flights, Flights::new(0)));
            std::mem::forget(self.provided.take());
            return;
        }
        if let Some(provided) = &self.provided {
            provided.unregister(&self.ring);
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("in_flight", &self.flights.len())
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

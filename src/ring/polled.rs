//! Rings for disks whose completions are asked for (`IORING_SETUP_IOPOLL`).
//!
//! Such a ring takes nothing but reads and writes with direct I/O, on files whose device has poll
//! queues, and yields their completions only when it is entered. So it stands beside the ring that
//! sockets, timeouts and flushes need, is entered with it in every tick while anything is in flight,
//! and is made when the first disk asks for it. Nothing in it can be cancelled: devices answer.

use super::arenas::RegisteredArenas;
use super::core::{Completed, Entry, Ring, Ticket};
use super::flight::Flights;
use super::nvme::NvmeRing;
use super::op::{Op, Token};
use io_uring::{IoUring, cqueue, squeue};
use std::io;

/// Operations between two entries; more enter by themselves.
const SUBMISSIONS: u32 = 256;

/// The ring, and how much it is waited for.
pub(super) struct PolledRing<S = squeue::Entry, C = cqueue::Entry>
where
    S: squeue::EntryMarker,
    C: cqueue::EntryMarker,
{
    ring: IoUring<S, C>,
    arenas: RegisteredArenas,
    in_flight: usize,
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> PolledRing<S, C> {
    pub(super) fn new(others: &RegisteredArenas) -> io::Result<Self> {
        let ring = IoUring::<S, C>::builder()
            .setup_iopoll()
            .setup_submit_all()
            .build(SUBMISSIONS)?;
        let arenas = match others.arenas() {
            arenas if arenas.is_empty() => RegisteredArenas::default(),
            arenas => RegisteredArenas::register(&ring, &arenas).unwrap_or_else(|error| {
                tracing::warn!(
                    %error,
                    "arenas not registered for polled disks: the kernel pins the pages of each \
                     request instead; raise RLIMIT_MEMLOCK"
                );
                RegisteredArenas::default()
            }),
        };
        Ok(Self {
            ring,
            arenas,
            in_flight: 0,
        })
    }

    #[allow(
        unsafe_code,
        reason = "named leaf: the entry refers to what its slot owns"
    )]
    pub(super) fn push(&mut self, entry: &S) -> bool {
        for attempt in 0..2 {
            // SAFETY: what the entry refers to belongs to the operation in its slot, which stays
            // there until its completion is fetched.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.in_flight += 1;
                return true;
            }
            if attempt == 0
                && let Err(error) = self.poll()
            {
                tracing::debug!(%error, "no room was made in the submission queue");
            }
        }
        false
    }

    /// Hands over what was submitted and asks the devices once, if anything is in flight.
    pub(super) fn poll(&mut self) -> io::Result<()> {
        if self.in_flight == 0 {
            return Ok(());
        }
        match self.ring.submit() {
            Err(error) if !super::core::is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The arenas that are registered with it.
    pub(super) const fn arenas(&self) -> &RegisteredArenas {
        &self.arenas
    }

    const fn is_polling(&self) -> bool {
        self.in_flight > 0
    }

    fn reap(&mut self, completed: &mut Completed, flights: &Flights)
    where
        C: Into<Entry>,
    {
        if self.in_flight == 0 {
            return;
        }
        let entries = self.ring.completion();
        self.in_flight -= entries.len();
        completed.take_in(entries, flights);
    }
}

/// All of them. Each is made when a disk first asks for it.
#[derive(Default)]
pub(super) struct PolledRings {
    block: Option<PolledRing>,
    pub(super) nvme: Option<NvmeRing>,
}

impl PolledRings {
    /// Hands over what was submitted and asks the devices once. Out of line, for ticks without such disks.
    #[inline(never)]
    pub(super) fn poll(&mut self) -> io::Result<()> {
        if let Some(ring) = &mut self.block {
            ring.poll()?;
        }
        self.nvme.as_mut().map_or(Ok(()), PolledRing::poll)
    }

    /// Passes the completions on. Out of line, as [`PolledRings::poll`].
    #[inline(never)]
    pub(super) fn reap(&mut self, completed: &mut Completed, flights: &Flights) {
        if let Some(ring) = &mut self.block {
            ring.reap(completed, flights);
        }
        if let Some(ring) = &mut self.nvme {
            ring.reap(completed, flights);
        }
    }

    #[inline(never)]
    fn is_polling(&self) -> bool {
        self.block.as_ref().is_some_and(PolledRing::is_polling)
            || self.nvme.as_ref().is_some_and(PolledRing::is_polling)
    }
}

impl Ring {
    /// Makes ready for [`Ring::submit_polled`]; at once if it is.
    ///
    /// # Errors
    /// When the kernel grants no such ring.
    pub fn enable_polling(&mut self) -> io::Result<()> {
        let rings = self.polled.get_or_insert_default();
        if rings.block.is_none() {
            rings.block = Some(PolledRing::new(&self.arenas)?);
        }
        Ok(())
    }

    /// As [`Ring::submit`], for a read or write whose completion is polled for: until it is there,
    /// [`Ring::enter`] does not wait. The file must do direct I/O. Where its device has no poll queues
    /// the operation completes with `EOPNOTSUPP`, and nothing has been done.
    ///
    /// # Errors
    /// The operation itself, when as many as configured are in flight, or without
    /// [`Ring::enable_polling`].
    ///
    /// # Panics
    /// If it is no read or write, or `skip` is beyond its buffer.
    pub fn submit_polled(&mut self, op: Op, token: Token) -> Result<Ticket, Op> {
        assert!(
            matches!(op, Op::Read { .. } | Op::Write { .. }),
            "only reads and writes can be polled for"
        );
        let rings = self.polled.as_mut();
        let Some(ring) = rings.and_then(|rings| rings.block.as_mut()) else {
            return Err(op);
        };
        let (key, entry) = self.flights.take_off(op, token, &ring.arenas)?;
        let entered = ring.push(&entry);
        self.flights.ticket(key, entered)
    }

    /// Whether a completion is polled for: who would wait for something else as well must come back.
    #[must_use]
    pub fn is_polling(&self) -> bool {
        let rings = self.polled.as_ref();
        rings.is_some_and(|rings| rings.is_polling())
    }
}

//! Backend issue: the one place where an I/O meets the medium.
//!
//! Whatever wants to change a shard passes [`Shard::permits`] and then [`Shard::hand_over`] or
//! [`Shard::put`] on the shard's reactor, in one tick: the reservation is checked again there.
//! [`Core::issue`] also honours range locks and counts what has been issued until the backend has
//! completed it; that count is what a fence waits for (see `Home::enact`). Where a piece is over as soon as it is issued, there is nothing to
//! count, and [`super::at_once`] goes the short way.

use super::core::{Core, Turn};
use super::failure::Failure;
use super::journal::Happening;
use super::message::{LockId, Lost, Message, Origin, Piece, PieceDone};
use super::session::Session;
use super::volume::{Volume, VolumeIndex};
use crate::backend::{self, Channel, Completion, Request, Submitted};
use crate::base::clock::Instant;
use crate::base::gather::{Lender, Nobody};
use crate::base::limits::BACKEND_FAILURE_LOG_INTERVAL;
use crate::base::rcu::Guard;
use crate::base::slots::SlotKey;
use crate::iscsi::Connection;
use crate::reservation::{Access, NexusIndex};
use crate::scsi;
use crate::scsi::block::Ahead;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// One reactor's share of one volume.
pub(crate) struct Shard {
    pub(crate) volume: Arc<Volume>,
    pub(crate) channel: Box<dyn Channel>,
    locks: Vec<RangeLock>,
    /// Pieces that wait for a range lock to go.
    waiting: VecDeque<Piece>,
    /// The volume is going: nothing more is issued.
    retired: bool,
    /// The channel is done with reads and writes at once.
    at_once: bool,
    /// The channel can use a hint of what comes.
    fetches_ahead: bool,
}

struct RangeLock {
    id: LockId,
    range: Range<u64>,
    /// Nothing once the lock holds.
    pending: Option<Ticket>,
}

/// Pieces that somebody waits for; the last completion answers.
pub(crate) struct Ticket {
    pub(crate) remaining: u32,
    pub(crate) reactor: usize,
    pub(crate) token: SlotKey,
}

/// A piece between issue and completion.
pub(crate) struct Issued {
    pub(crate) volume: VolumeIndex,
    pub(crate) nexus: Option<NexusIndex>,
    pub(crate) changes_medium: bool,
    range: Range<u64>,
    reactor: usize,
    origin: Origin,
    /// When.
    at: Instant,
    /// Those that wait for this piece to end. Empty, and so without memory, on the steady path.
    watchers: Vec<Rc<std::cell::RefCell<Ticket>>>,
}

/// Lends the bytes of its medium.
impl Lender for Shard {
    fn lent(&self, offset: u64, length: usize) -> &[u8] {
        let bytes = self.channel.bytes(offset, length as u64);
        bytes.expect("what has been lent is still there: the tick in which it was is not over")
    }
}

impl Shard {
    pub(crate) fn new(volume: Arc<Volume>, channel: Box<dyn Channel>) -> Self {
        let at_once = channel.answers_at_once();
        let fetches_ahead = channel.fetches_ahead();
        Self {
            volume,
            channel,
            locks: Vec::new(),
            waiting: VecDeque::new(),
            retired: false,
            at_once,
            fetches_ahead,
        }
    }

    /// What a command will touch that is likely to come next.
    #[inline]
    pub(crate) fn ahead(&self, cdb: &[u8; 16], guard: &Guard) -> Option<Ahead> {
        scsi::block::ahead(cdb, &self.volume.unit.load(guard).geometry)
    }

    /// Tells the channel of what is likely to be touched next, if it can use that.
    #[inline]
    pub(crate) fn expect(&self, ahead: Ahead) {
        if !self.fetches_ahead {
            return;
        }
        match ahead {
            Ahead::Read(range) => self.channel.expect_read(range.offset, range.length),
            Ahead::Write(range) => self.channel.expect_write(range.offset, range.length),
        }
    }

    /// Tells the channel of the command that stands in a connection's `input`, if it can use that.
    #[inline]
    pub(crate) fn expect_next(&self, iscsi: &Connection, input: &[u8], guard: &Guard) {
        if self.fetches_ahead
            && let Some(cdb) = iscsi.coming(input)
            && let Some(ahead) = self.ahead(cdb, guard)
        {
            self.expect(ahead);
        }
    }

    /// Whether a read or write may be issued now, and is over then.
    #[inline]
    pub(crate) fn answers_at_once(&self) -> bool {
        self.at_once && !self.retired && self.locks.is_empty()
    }

    /// Whether a nexus has that right now: the last time that anybody asks. Under the guard of the tick
    /// in which the piece is handed over, so that a fence which is answered later finds it issued.
    #[inline]
    pub(super) fn permits(&self, nexus: NexusIndex, access: Access, guard: &Guard) -> bool {
        let unit = self.volume.unit.load(guard);
        unit.reservation.rights(nexus).permits(access)
    }

    /// Hands a request to the medium. Representations of data that it changes end here.
    #[inline]
    pub(super) fn hand_over(&mut self, request: Request, turn: &mut Turn<'_, '_>) -> Submitted {
        if request.op.changes_medium() {
            let end = request.offset.saturating_add(request.length);
            super::tokens::revoke(&self.volume, request.offset..end, turn.tick.guard);
        }
        self.channel.submit(request, &mut turn.io())
    }

    /// As [`Shard::hand_over`], of a write whose data lie elsewhere than in a buffer. Only while
    /// [`Shard::answers_at_once`].
    #[inline]
    pub(super) fn put(
        &mut self,
        offset: u64,
        bytes: &[u8],
        guard: &Guard,
    ) -> Result<(), backend::BackendError> {
        let end = offset.saturating_add(bytes.len() as u64);
        super::tokens::revoke(&self.volume, offset..end, guard);
        self.channel.put(offset, bytes)
    }

    fn is_locked(&self, piece: &Piece) -> bool {
        let range = piece.offset..piece.offset.saturating_add(piece.length);
        // A lock that still waits for an older one stops nobody: the older one's owner, for one.
        let holds = |lock: &&RangeLock| lock.pending.is_none() && Some(lock.id) != piece.lock;
        self.locks
            .iter()
            .filter(holds)
            .any(|lock| overlap(&lock.range, &range))
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Core {
    /// Sends a piece to the shard's owner, which may be this reactor.
    pub(crate) fn dispatch(&mut self, piece: Piece, owner: usize, turn: &mut Turn<'_, '_>) {
        if owner == self.id {
            self.issue(piece, turn);
        } else {
            turn.send(owner, Message::Piece(piece));
        }
    }

    /// Checks a piece and hands it to the backend.
    pub(crate) fn issue(&mut self, piece: Piece, turn: &mut Turn<'_, '_>) {
        let Some(shard) = self.shards.get_mut(piece.volume) else {
            return self.deliver(piece, Err(Failure::target("the volume is gone")), turn);
        };
        if shard.retired {
            return self.deliver(piece, Err(Failure::aborted()), turn);
        }
        if let Some((nexus, access)) = piece.check
            && !shard.permits(nexus, access, turn.tick.guard)
        {
            return self.deliver(piece, Err(Failure::RESERVATION_CONFLICT), turn);
        }
        if !shard.locks.is_empty() && shard.is_locked(&piece) {
            shard.waiting.push_back(piece);
            return;
        }
        let end = piece.offset.saturating_add(piece.length);
        let issued = Issued {
            volume: piece.volume,
            nexus: piece.check.map(|(nexus, _)| nexus),
            changes_medium: piece.op.changes_medium(),
            range: piece.offset..end,
            reactor: piece.reactor,
            origin: piece.origin,
            at: turn.now(),
            watchers: Vec::new(),
        };
        let key = match self.issued.insert(issued) {
            Ok(key) => key,
            Err(_) => return self.deliver(piece, Err(Failure::BUSY), turn),
        };
        let request = Request {
            token: key.to_bits(),
            op: piece.op,
            offset: piece.offset,
            length: piece.length,
            buffer: piece.buffer,
        };
        if let Submitted::Done(completion) = shard.hand_over(request, turn) {
            self.complete(completion, turn);
        }
    }

    /// Takes a backend completion back to whoever waits for it.
    pub(crate) fn complete(&mut self, completion: Completion, turn: &mut Turn<'_, '_>) {
        let Some(issued) = self.issued.remove(SlotKey::from_bits(completion.token)) else {
            debug_assert!(false, "a completion belongs to a piece");
            return;
        };
        for watcher in issued.watchers {
            let mut ticket = watcher.borrow_mut();
            ticket.remaining -= 1;
            if ticket.remaining == 0 {
                turn.reply(ticket.reactor, ticket.token, super::message::Reply::Done);
            }
        }
        let result = match completion.result {
            Ok(done) => Ok(done),
            Err(error) => {
                let (volume, writes) = (issued.volume, issued.changes_medium);
                Err(self.backend_failed(volume, &error, writes, turn.now()))
            }
        };
        let done = PieceDone {
            origin: issued.origin,
            buffer: completion.buffer,
            result,
            issued: issued.at,
        };
        self.hand_back(issued.reactor, done, turn);
    }

    fn deliver(
        &mut self,
        piece: Piece,
        result: Result<backend::Done, Failure>,
        turn: &mut Turn<'_, '_>,
    ) {
        let done = PieceDone {
            origin: piece.origin,
            buffer: piece.buffer,
            result,
            issued: turn.now(),
        };
        self.hand_back(piece.reactor, done, turn);
    }

    /// A backend has failed a request: counted, told now and then, and put as an initiator hears it.
    #[cold]
    pub(crate) fn backend_failed(
        &mut self,
        volume: VolumeIndex,
        error: &backend::BackendError,
        changes_medium: bool,
        now: Instant,
    ) -> Failure {
        let meter = self.meters.open(volume);
        meter.backend_errors += 1;
        let failures = meter.backend_errors;
        let recently = |told: Instant| now.since(told) < BACKEND_FAILURE_LOG_INTERVAL;
        if !meter.error_told.is_some_and(recently) {
            meter.error_told = Some(now);
            if let Some(shard) = self.shards.get(volume) {
                self.shared.journal.tell(Happening::BackendFailed {
                    volume: shard.volume.id,
                    reason: error.to_string(),
                    failures,
                });
            }
        }
        super::failure::of_backend(error, changes_medium)
    }

    fn hand_back(&mut self, reactor: usize, done: PieceDone, turn: &mut Turn<'_, '_>) {
        if reactor == self.id {
            self.piece_done(done, turn);
        } else {
            turn.send(reactor, Message::PieceDone(done));
        }
    }

    /// Answers when every medium-changing piece that `lost` names and that has been issued here is
    /// over. The snapshot that took the rights away is published already, so none is added.
    pub(crate) fn watch_writes(
        &mut self,
        volume: VolumeIndex,
        lost: &Lost,
        reactor: usize,
        token: SlotKey,
        turn: &mut Turn<'_, '_>,
    ) {
        let concerns = |issued: &Issued| {
            issued.volume == volume
                && issued.changes_medium
                && issued.nexus.is_some_and(|nexus| lost.contains(nexus))
        };
        self.watch(concerns, reactor, token, turn);
    }

    /// Issues nothing more for the volume; what waits is turned away.
    pub(crate) fn retire(&mut self, volume: VolumeIndex, turn: &mut Turn<'_, '_>) {
        let Some(shard) = self.shards.get_mut(volume) else {
            return;
        };
        shard.retired = true;
        for piece in std::mem::take(&mut shard.waiting) {
            self.deliver(piece, Err(Failure::aborted()), turn);
        }
    }

    /// Answers when everything of the volume that has been issued here is over.
    pub(crate) fn watch_all(
        &mut self,
        volume: VolumeIndex,
        asker: (usize, SlotKey),
        turn: &mut Turn<'_, '_>,
    ) {
        self.watch(|issued| issued.volume == volume, asker.0, asker.1, turn);
    }

    fn watch(
        &mut self,
        concerns: impl Fn(&Issued) -> bool,
        reactor: usize,
        token: SlotKey,
        turn: &mut Turn<'_, '_>,
    ) {
        let ticket = Rc::new(std::cell::RefCell::new(Ticket {
            remaining: 0,
            reactor,
            token,
        }));
        for (_, issued) in self
            .issued
            .iter_mut()
            .filter(|(_, issued)| concerns(issued))
        {
            ticket.borrow_mut().remaining += 1;
            issued.watchers.push(Rc::clone(&ticket));
        }
        if ticket.borrow().remaining == 0 {
            turn.reply(reactor, token, super::message::Reply::Done);
        }
    }

    /// Takes a range lock: new pieces wait from now on, and the answer goes out when those already
    /// issued in the range are over. Locks are taken in ascending order of shards, so that two of
    /// them can't wait for each other.
    pub(crate) fn lock_range(
        &mut self,
        volume: VolumeIndex,
        range: Range<u64>,
        id: LockId,
        reply: (usize, SlotKey),
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(shard) = self.shards.get_mut(volume) else {
            return turn.reply(reply.0, reply.1, super::message::Reply::Done);
        };
        let taken = shard.locks.iter().any(|lock| overlap(&lock.range, &range));
        let pending = taken.then_some(Ticket {
            remaining: 0,
            reactor: reply.0,
            token: reply.1,
        });
        let wait = pending.is_some();
        shard.locks.push(RangeLock {
            id,
            range: range.clone(),
            pending,
        });
        if !wait {
            self.watch(
                |issued| issued.volume == volume && overlap(&issued.range, &range),
                reply.0,
                reply.1,
                turn,
            );
        }
    }

    /// Lets a range lock go, and what waited for it.
    pub(crate) fn unlock_range(
        &mut self,
        volume: VolumeIndex,
        id: LockId,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(shard) = self.shards.get_mut(volume) else {
            return;
        };
        shard.locks.retain(|lock| lock.id != id);
        // The oldest pending lock that nothing older overlaps holds now.
        let mut granted = Vec::new();
        for position in 0..shard.locks.len() {
            let (older, rest) = shard.locks.split_at_mut(position);
            let lock = &mut rest[0];
            if lock.pending.is_some() && !older.iter().any(|o| overlap(&o.range, &lock.range)) {
                granted.extend(
                    lock.pending
                        .take()
                        .map(|ticket| (lock.range.clone(), ticket)),
                );
            }
        }
        let waiting = std::mem::take(&mut shard.waiting);
        for (range, ticket) in granted {
            self.watch(
                |issued| issued.volume == volume && overlap(&issued.range, &range),
                ticket.reactor,
                ticket.token,
                turn,
            );
        }
        for piece in waiting {
            self.issue(piece, turn);
        }
    }
}

/// The shards of a reactor, by volume index.
#[derive(Default)]
pub(crate) struct Shards {
    table: Vec<Option<Shard>>,
}

impl Shards {
    #[inline]
    pub(crate) fn get(&self, index: VolumeIndex) -> Option<&Shard> {
        self.table.get(usize::from(index.0))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: VolumeIndex) -> Option<&mut Shard> {
        self.table.get_mut(usize::from(index.0))?.as_mut()
    }

    pub(crate) fn insert(&mut self, index: VolumeIndex, shard: Shard) {
        let position = usize::from(index.0);
        if self.table.len() <= position {
            self.table.resize_with(position + 1, || None);
        }
        self.table[position] = Some(shard);
    }

    pub(crate) fn remove(&mut self, index: VolumeIndex) -> Option<Shard> {
        self.table.get_mut(usize::from(index.0))?.take()
    }

    /// No shard has a higher index.
    pub(crate) fn last(&self) -> VolumeIndex {
        VolumeIndex(u16::try_from(self.table.len().saturating_sub(1)).unwrap_or(u16::MAX))
    }

    /// Tells a session's volume of a command that stands in `input` behind the PDU at hand, so that
    /// what its blocks lie in can be fetched.
    #[inline]
    pub(crate) fn expect(
        &self,
        session: Option<&Session>,
        iscsi: &Connection,
        input: &[u8],
        guard: &Guard,
    ) {
        if let Some(session) = session
            && let Some(shard) = self.get(session.volume.index)
        {
            shard.expect_next(iscsi, input, guard);
        }
    }

    /// Who lends to a session: its volume's shard here.
    pub(crate) fn lender(&self, session: Option<&Session>) -> &dyn Lender {
        match session.and_then(|session| self.get(session.volume.index)) {
            Some(shard) => shard,
            None => &Nobody,
        }
    }

    /// When a channel wants to be polled at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.table
            .iter()
            .flatten()
            .filter_map(|shard| shard.channel.next_deadline())
            .min()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (VolumeIndex, &mut Shard)> {
        self.table
            .iter_mut()
            .enumerate()
            .filter_map(|(position, shard)| {
                let index = VolumeIndex(u16::try_from(position).unwrap_or(u16::MAX));
                shard.as_mut().map(|shard| (index, shard))
            })
    }
}

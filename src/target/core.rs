//! One reactor's part of the target: its connections, its shards, the volumes it is home to.
//!
//! A tick takes what has arrived (messages, bytes, completions), runs procedures for as long as
//! any can go on, and sends what there is to send: all replies of a connection leave in one go.

use super::connection::{Conn, Phase, Work};
use super::handover::{Course, Listening};
use super::home::Home;
use super::limit::Lines;
use super::local::{Local, MediumDone, Request};
use super::message::{Message, Origin, PieceDone, Reply};
use super::meters::Meters;
use super::outlists::Outlists;
use super::shard::{Issued, Shards};
use super::shared::Shared;
use super::volume::VolumeIndex;
use crate::backend::{Completion, Io, channel_of};
use crate::base::buffer::{Buffer, Pool};
use crate::base::clock::Instant;
use crate::base::gather::{Gather, Payload};
use crate::base::limits;
use crate::base::slots::{SlotKey, Slots};
use crate::iscsi::Command;
use crate::net::{Net, NetEvent, SendOutcome, SocketId};
use crate::reactor::{App, Driver, Source, Tick};
use crate::ring::{Owner, Ring};
use futures_channel::oneshot;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a command waits for a buffer for its first data. It holds none meanwhile.
const DATA_PATIENCE: Duration = Duration::from_secs(5);
/// How long a procedure waits for a further buffer: it may hold one already, and buffers that wait
/// for each other would wait for ever.
const WORK_PATIENCE: Duration = Duration::from_millis(200);
/// How often connections are asked for what is due.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Steps that procedures take in one tick before sockets and timers have their turn again: on a
/// backend that answers at once, a long command would otherwise run to its end.
const PROCEDURE_ROUNDS_PER_TICK: usize = 16;
/// How long a reactor that is short of buffers waits before it looks for returned ones.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(1);

/// The state of one reactor.
pub(crate) struct Core {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) net: Net,
    pub(crate) connections: Slots<Conn>,
    /// Which connection a socket belongs to, by the socket's index.
    sockets: Vec<Option<SlotKey>>,
    pub(super) outlists: Outlists,
    pub(crate) shards: Shards,
    pub(crate) issued: Slots<Issued>,
    pub(crate) homes: HashMap<VolumeIndex, Rc<Home>>,
    pub(crate) local: Local,
    pub(crate) meters: Meters,
    /// Procedures that wait for an answer or a backend request.
    waiters: Slots<Waiter>,
    timers: BinaryHeap<Reverse<(Instant, SlotKey)>>,
    /// Procedures that wait for a buffer.
    buffer_queue: VecDeque<BufferWaiter>,
    /// Commands that wait for a buffer.
    pub(crate) starving: VecDeque<(SlotKey, Command)>,
    /// Commands that wait for the limits of their volumes.
    pub(crate) lines: Lines,
    dirty: Vec<SlotKey>,
    events: Vec<NetEvent>,
    completions: Vec<Completion>,
    /// Room for messages of this reactor to itself; a tick has it.
    inbox: Option<VecDeque<Message>>,
    next_sweep: Instant,
    pub(crate) in_login: u32,
    pub(crate) stopping: bool,
    pub(super) course: Course,
    /// The portals, on the reactor that accepts their connections.
    pub(super) listening: Vec<Listening>,
}

/// A procedure that waits for a buffer.
struct BufferWaiter {
    bytes: usize,
    give_up: Instant,
    reply: oneshot::Sender<Buffer>,
}

/// Who waits behind a token.
enum Waiter {
    Medium(oneshot::Sender<MediumDone>),
    Call(oneshot::Sender<Reply>),
    Sleep(oneshot::Sender<()>),
}

/// One tick, with what a method needs of it.
pub(crate) struct Turn<'turn, 'tick> {
    pub(crate) tick: &'turn mut Tick<'tick, Message>,
    /// Messages of this reactor to itself.
    pub(crate) inbox: VecDeque<Message>,
    id: usize,
}

impl Turn<'_, '_> {
    /// Sends a message to any reactor.
    pub(crate) fn send(&mut self, reactor: usize, message: Message) {
        if reactor == self.id {
            self.inbox.push_back(message);
        } else {
            self.tick.outbox.send(reactor, message);
        }
    }

    /// Answers a call.
    pub(crate) fn reply(&mut self, reactor: usize, token: SlotKey, reply: Reply) {
        self.send(reactor, Message::Reply { token, reply });
    }

    /// What a backend may use of the reactor.
    pub(crate) fn io(&mut self) -> Io<'_> {
        let Driver { ring, pool, .. } = &mut *self.tick.driver;
        Io {
            ring: ring.as_mut(),
            pool,
            now: self.tick.now,
        }
    }

    /// The time of the tick.
    pub(crate) fn now(&self) -> Instant {
        self.tick.now
    }
}

impl Core {
    pub(crate) fn new(id: usize, shared: Arc<Shared>, net: Net) -> Self {
        let reactors = shared.reactors;
        Self {
            id,
            net,
            connections: Slots::bounded(limits::CONNECTIONS_MAX),
            sockets: Vec::new(),
            outlists: Outlists::default(),
            shards: Shards::default(),
            issued: Slots::with_capacity(limits::ISSUED_PIECES_MAX),
            homes: HashMap::new(),
            local: Local::new(id, reactors),
            meters: Meters::new(shared.slow_io),
            waiters: Slots::bounded(limits::WAITERS_MAX),
            timers: BinaryHeap::new(),
            buffer_queue: VecDeque::new(),
            starving: VecDeque::new(),
            lines: Lines::default(),
            dirty: Vec::new(),
            events: Vec::new(),
            completions: Vec::with_capacity(limits::CHANNEL_REQUESTS_MAX.into()),
            inbox: None,
            next_sweep: Instant::ZERO,
            in_login: 0,
            stopping: false,
            course: Course::Serving,
            listening: Vec::new(),
            shared,
        }
    }

    /// What the methods need of a tick. Its inbox is put back at the end.
    #[inline]
    fn turn<'turn, 'tick>(&mut self, tick: &'turn mut Tick<'tick, Message>) -> Turn<'turn, 'tick> {
        Turn {
            tick,
            inbox: self.inbox.take().unwrap_or_default(),
            id: self.id,
        }
    }

    /// What waits for the time of the tick hears it.
    fn begin_tick(&mut self, now: Instant) {
        self.local.set_now(now);
        self.meters.tick(now);
    }

    // ---- messages -----------------------------------------------------------------------------

    fn receive(&mut self, message: Message, turn: &mut Turn<'_, '_>) {
        match message {
            Message::Piece(piece) => self.issue(piece, turn),
            Message::PieceDone(done) => self.piece_done(done, turn),
            Message::Call { from, token, call } => self.serve(call, (from, token), turn),
            Message::Reply { token, reply } => {
                if let Some(Waiter::Call(sender)) = self.waiters.remove(token) {
                    let _ = sender.send(reply);
                }
            }
            Message::Wait { volume, ticket } => self.enter_line(volume, ticket, None, turn),
            Message::Go { volume, ticket } => self.go_on(volume, ticket, turn),
            Message::Forget {
                volume,
                reactor,
                connection,
                tasks,
            } => {
                let now = turn.now();
                let flow = (reactor, connection);
                self.lines
                    .change(volume, |line| line.forget(flow, &tasks, now));
            }
            Message::Adopt(moving) => self.adopt(*moving, turn),
            Message::Control(request) => self.control(request, turn),
        }
    }

    /// A backend request has come back to the reactor that asked for it.
    pub(crate) fn piece_done(&mut self, done: PieceDone, turn: &mut Turn<'_, '_>) {
        match done.origin {
            Origin::Task { connection, task } => {
                self.task_piece_done(connection, task, done, turn);
            }
            Origin::Procedure(token) => {
                if let Some(Waiter::Medium(sender)) = self.waiters.remove(token) {
                    let _ = sender.send(MediumDone {
                        buffer: done.buffer,
                        result: done.result,
                    });
                }
            }
        }
    }

    // ---- procedures ---------------------------------------------------------------------------

    #[inline]
    fn run_procedures(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let at_rest = self.local.is_at_rest() && turn.inbox.is_empty();
        !at_rest && self.run_rounds(turn)
    }

    fn run_rounds(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let mut ran = false;
        for _ in 0..PROCEDURE_ROUNDS_PER_TICK {
            let mut again = self.local.run();
            while let Some(request) = self.local.next_request() {
                self.serve_request(request, turn);
                again = true;
            }
            while let Some(message) = turn.inbox.pop_front() {
                self.receive(message, turn);
                again = true;
            }
            if !again {
                return ran;
            }
            ran = true;
        }
        ran
    }

    fn serve_request(&mut self, request: Request, turn: &mut Turn<'_, '_>) {
        match request {
            Request::Allocate {
                bytes,
                undecided,
                reply,
            } => {
                let patience = if undecided.is_some() {
                    DATA_PATIENCE
                } else {
                    WORK_PATIENCE
                };
                let give_up = turn.now() + patience;
                self.buffer_queue.push_back(BufferWaiter {
                    bytes,
                    give_up,
                    reply,
                });
                self.feed_starving(turn);
                if let (Some((key, task)), false) = (undecided, self.buffer_queue.is_empty()) {
                    // As in `starve`: a command that waits must not hold up its connection.
                    if let Some(conn) = self.connections.get_mut(key) {
                        let _ = conn.iscsi.refuse_data_out(task);
                    }
                    self.pump(key, turn);
                }
            }
            Request::Medium {
                reactor,
                mut piece,
                reply,
            } => match self.waiters.insert(Waiter::Medium(reply)) {
                Ok(token) => {
                    piece.origin = Origin::Procedure(token);
                    self.dispatch(piece, reactor, turn);
                }
                Err(_) => tracing::warn!("too many procedures wait; one gives up"),
            },
            Request::Call {
                reactor,
                call,
                deadline,
                reply,
            } => {
                if let Ok(token) = self.waiters.insert(Waiter::Call(reply)) {
                    if let Some(deadline) = deadline {
                        self.timers.push(Reverse((deadline, token)));
                    }
                    turn.send(
                        reactor,
                        Message::Call {
                            from: self.id,
                            token,
                            call,
                        },
                    );
                }
            }
            Request::Tell { reactor, call } => {
                let token = SlotKey::from_bits(0);
                turn.send(
                    reactor,
                    Message::Call {
                        from: self.id,
                        token,
                        call,
                    },
                );
            }
            Request::Sleep { delay, reply } => {
                if let Ok(token) = self.waiters.insert(Waiter::Sleep(reply)) {
                    self.timers.push(Reverse((turn.now() + delay, token)));
                }
            }
            Request::DataOut {
                connection,
                task,
                offset,
                buffer,
                reply,
            } => {
                self.procedure_wants_data(connection, task, offset, buffer, reply);
                self.pump(connection, turn);
            }
            Request::DataIn {
                connection,
                task,
                offset,
                buffer,
            } => {
                self.procedure_sends_data(connection, task, offset, buffer, turn);
            }
            Request::Finish {
                connection,
                task,
                answer,
            } => {
                self.finish_procedure(connection, task, answer, turn);
            }
            Request::Run(work) => work(self, turn),
        }
    }

    fn expire_timers(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let now = turn.now();
        let mut expired = false;
        while self
            .timers
            .peek()
            .is_some_and(|Reverse((deadline, _))| *deadline <= now)
        {
            let Some(Reverse((_, token))) = self.timers.pop() else {
                break;
            };
            match self.waiters.remove(token) {
                Some(Waiter::Sleep(sender)) => {
                    let _ = sender.send(());
                }
                Some(Waiter::Call(sender)) => {
                    let failure = super::failure::Failure::target("an answer took too long");
                    let _ = sender.send(Reply::Failed(failure));
                }
                Some(Waiter::Medium(_)) | None => {}
            }
            expired = true;
        }
        expired
    }

    /// Serves those who wait for a buffer, first come, first served.
    pub(crate) fn feed_starving(&mut self, turn: &mut Turn<'_, '_>) {
        while let Some(waiter) = self.buffer_queue.front() {
            let Some(buffer) = turn.tick.driver.pool.allocate(waiter.bytes) else {
                let now = turn.now();
                // Whoever gives up answers BUSY, and lets go of what it holds.
                self.buffer_queue
                    .retain(|waiter| waiter.give_up > now && !waiter.reply.is_canceled());
                return;
            };
            if let Some(waiter) = self.buffer_queue.pop_front() {
                // A procedure that is gone drops the buffer, which brings it back.
                let _ = waiter.reply.send(buffer);
            }
        }
        if self.course != Course::Serving {
            return;
        }
        for _ in 0..self.starving.len() {
            let Some((key, command)) = self.starving.pop_front() else {
                return;
            };
            let task = command.task;
            let waits = self
                .connections
                .get_mut(key)
                .and_then(|conn| conn.active_mut(task));
            if waits.is_some_and(|active| matches!(active.work, Work::Starving)) {
                // It goes to the end of the line again if there is still nothing for it: what it
                // waits for may be its own connection's share.
                self.retry(key, command, turn);
            }
        }
    }

    // ---- sockets ------------------------------------------------------------------------------

    /// Notes whose socket this is. The socket engine gives a position to another socket once the old
    /// one is gone, perhaps before the event that says so has been looked at: whoever is still
    /// noted there hears of it now.
    pub(crate) fn bind_socket(&mut self, socket: SocketId, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let index = socket.index() as usize;
        if self.sockets.len() <= index {
            self.sockets.resize(index + 1, None);
        }
        let Some(former) = self.sockets[index].replace(key) else {
            return;
        };
        let held = self.connections.get(former).and_then(|conn| conn.socket);
        if held.is_some_and(|held| held.index() == socket.index() && held != socket) {
            self.socket_closed(former, None, turn);
        }
    }

    fn connection_of(&self, socket: SocketId) -> Option<SlotKey> {
        let key = (*self.sockets.get(socket.index() as usize)?)?;
        let conn = self.connections.get(key)?;
        (conn.socket == Some(socket)).then_some(key)
    }

    fn poll_net(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.net.poll(turn.tick.driver, turn.tick.now, &mut events);
        let mut busy = !events.is_empty();
        for event in events.drain(..) {
            self.net_event(event, turn);
        }
        self.events = events;
        while let Some(event) = self.net.receive_next(turn.tick.driver) {
            self.net_event(event, turn);
            busy = true;
        }
        busy
    }

    fn net_event(&mut self, event: NetEvent, turn: &mut Turn<'_, '_>) {
        match event {
            NetEvent::Accepted {
                portal,
                stream,
                peer,
            } => {
                self.accepted(portal, stream, peer, turn);
            }
            NetEvent::Received { id, bytes } => match self.connection_of(id) {
                Some(key) => self.received(key, bytes, turn),
                None => self.net.recycle(bytes),
            },
            NetEvent::Sent { id, gather } => {
                if let Some(key) = self.connection_of(id) {
                    self.sent(key, gather, turn);
                }
            }
            NetEvent::Withdrawn { id, unsent } => {
                if let Some(key) = self.connection_of(id) {
                    self.withdrawn(key, unsent, turn);
                }
            }
            NetEvent::Closed { id, error } => {
                if let Some(key) = self.connection_of(id) {
                    self.socket_closed(key, error, turn);
                }
            }
        }
    }

    /// The connection has something to send; it goes out at the end of the tick.
    pub(crate) fn mark_dirty(&mut self, key: SlotKey) {
        if let Some(conn) = self.connections.get_mut(key)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Sends what there is to send, wakes commands whose turn has come, and takes connections that
    /// move or end a step further. A command that is answered at once marks its connection again.
    fn flush(&mut self, turn: &mut Turn<'_, '_>) {
        let mut next = 0;
        while let Some(key) = self.dirty.get(next).copied() {
            next += 1;
            if let Some(conn) = self.connections.get_mut(key) {
                conn.dirty = false;
            }
            self.wake_dormant(key, turn);
            self.send_output(key, turn);
            self.settle(key, turn);
        }
        self.dirty.clear();
    }

    /// Sends what a connection has to say now, where a send is a system call of its own: the peer can
    /// go to work while this tick goes on. Sends that enter the kernel together wait for its end.
    pub(crate) fn send_early(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get(key) else {
            return;
        };
        let at_once = |socket| self.net.sends_at_once(socket);
        if conn.phase == Phase::Full && conn.socket.is_some_and(at_once) {
            self.send_output(key, turn);
        }
        let waits = |conn: &Conn| conn.iscsi.queued_bytes() > 0;
        if self.connections.get(key).is_some_and(waits) {
            self.mark_dirty(key);
        }
    }

    fn send_output(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let all_sent = self.send_once(key, turn);
        // What is still to be parsed may have waited for room in the send queue.
        if all_sent && self.has_input(key) {
            self.pump(key, turn);
        }
    }

    fn has_input(&self, key: SlotKey) -> bool {
        let conn = self.connections.get(key);
        conn.is_some_and(|conn| conn.input.is_some())
    }

    /// Sends what of a volume's memory has been lent to a connection, or copies it: the memory is about
    /// to change. Whether there is more to parse, and room for its answers.
    pub(crate) fn return_loans(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) -> bool {
        let all_sent = self.send_once(key, turn);
        if let Some(conn) = self.connections.get_mut(key)
            && conn.iscsi.output().lent_bytes() > 0
        {
            let lender = self.shards.lender(conn.session.as_deref());
            conn.iscsi.output().own(0, lender);
        }
        all_sent && self.has_input(key)
    }

    /// Sends what a connection has to say, if nothing of it is on its way already. Whether all of it has
    /// left.
    fn send_once(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) -> bool {
        let Some(conn) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(socket) = conn.socket else {
            return false;
        };
        let held = matches!(
            conn.phase,
            Phase::Departing | Phase::Parking | Phase::Parked
        );
        if held || conn.sending || conn.iscsi.queued_bytes() == 0 {
            return false;
        }
        let gather = conn.iscsi.take_output();
        let bytes = gather.len();
        let lender = self.shards.lender(conn.session.as_deref());
        match self.net.send(turn.tick.driver, socket, gather, lender) {
            Ok(SendOutcome::Underway) => {
                conn.sending = true;
                conn.sending_bytes = bytes;
                conn.send_began = turn.tick.now;
            }
            Ok(SendOutcome::Done(mut gather)) => {
                clear(&mut gather, &mut turn.tick.driver.pool);
                self.outlists.take_back(gather);
                return true;
            }
            // The socket is going; its end is on the way.
            Err(mut gather) => {
                clear(&mut gather, &mut turn.tick.driver.pool);
                self.outlists.take_back(gather);
            }
        }
        false
    }

    fn sent(&mut self, key: SlotKey, mut gather: Gather, turn: &mut Turn<'_, '_>) {
        clear(&mut gather, &mut turn.tick.driver.pool);
        self.outlists.take_back(gather);
        if let Some(conn) = self.connections.get_mut(key) {
            let (began, bytes) = (conn.send_began, conn.sending_bytes);
            conn.sending = false;
            conn.sending_bytes = 0;
            if conn.iscsi.queued_bytes() > 0 || conn.phase != Phase::Full {
                self.mark_dirty(key);
            }
            let now = turn.now();
            if self.meters.is_slow(began, now) {
                self.tell_slow_send(key, bytes, began, now);
            }
            self.pump(key, turn);
        }
    }

    // ---- backends -----------------------------------------------------------------------------

    fn poll_backends(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let ring = turn.tick.driver.ring.as_ref();
        if self.issued.is_empty() && !ring.is_some_and(Ring::has_completions) {
            return false;
        }
        let mut completions = std::mem::take(&mut self.completions);
        while let Some(completion) = turn
            .tick
            .driver
            .ring
            .as_mut()
            .and_then(|ring| ring.completion(Owner::Backend))
        {
            let volume = VolumeIndex(channel_of(completion.token).0);
            let mut io = turn.io();
            if let Some(shard) = self.shards.get_mut(volume) {
                shard
                    .channel
                    .completed(completion, &mut io, &mut completions);
            }
        }
        // Whatever a channel has in flight has been issued.
        if !self.issued.is_empty() {
            let mut io = turn.io();
            for (_, shard) in self.shards.iter_mut() {
                if shard.channel.in_flight() > 0 {
                    shard.channel.poll(&mut io, &mut completions);
                }
            }
        }
        let busy = !completions.is_empty();
        for completion in completions.drain(..) {
            self.complete(completion, turn);
        }
        self.completions = completions;
        busy
    }

    // ---- time ---------------------------------------------------------------------------------

    fn sweep(&mut self, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_INTERVAL;
        // What procedures have dropped is used again before memory that was never touched.
        turn.tick.driver.pool.reclaim();
        let mut next = 0;
        while let Some((key, conn)) = self.connections.from(next) {
            next = key.index() + 1;
            if conn.phase == Phase::Closing {
                if conn.close_by.is_some_and(|by| by <= now) {
                    self.cut(key, turn);
                }
            } else if !conn.held && conn.iscsi.next_deadline().is_some_and(|due| due <= now) {
                self.timed_out(key, turn);
            }
        }
    }

    /// Whether somebody waits for a buffer.
    fn is_hungry(&self) -> bool {
        !self.starving.is_empty() || !self.buffer_queue.is_empty()
    }

    /// The work of one tick.
    fn work(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        self.begin_tick(turn.now());
        let mut busy = self.poll_net(turn);
        busy |= self.poll_backends(turn);
        busy |= self.expire_timers(turn);
        if self.lines.next_deadline().is_some() && self.course == Course::Serving {
            busy |= self.release_due(turn);
        }
        self.sweep(turn);
        if self.course == Course::Holding {
            self.end_unsettled(turn);
        }
        if self.is_hungry() {
            self.feed_starving(turn);
        }
        busy |= self.run_procedures(turn);
        self.flush(turn);
        // Flushing can end a connection, which its home has to hear of.
        if !turn.inbox.is_empty() {
            busy |= self.run_procedures(turn);
        }
        busy
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.local.shut();
    }
}

impl App for Core {
    type Message = Message;

    fn message(&mut self, _from: Source, message: Message, tick: &mut Tick<'_, Message>) {
        let mut turn = self.turn(tick);
        self.begin_tick(turn.now());
        self.receive(message, &mut turn);
        while let Some(message) = turn.inbox.pop_front() {
            self.receive(message, &mut turn);
        }
        self.inbox = Some(turn.inbox);
    }

    fn tick(&mut self, tick: &mut Tick<'_, Message>) -> bool {
        let mut turn = self.turn(tick);
        let busy = self.work(&mut turn);
        self.inbox = Some(turn.inbox);
        busy
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((deadline, _))| *deadline);
        let sweep = (!self.connections.is_empty()).then_some(self.next_sweep);
        let reclaim = self
            .is_hungry()
            .then(|| self.local.now() + RECLAIM_INTERVAL);
        let channels = if self.issued.is_empty() {
            None
        } else {
            self.shards.next_deadline()
        };
        let net = self.net.next_deadline();
        let serving = self.course == Course::Serving;
        let limits = self.lines.next_deadline().filter(|_| serving);
        [timer, sweep, reclaim, channels, net, limits]
            .into_iter()
            .flatten()
            .min()
    }

    fn park(&mut self, tick: &mut Tick<'_, Message>) -> bool {
        self.net.park(tick.driver)
    }

    fn stopped(&self) -> bool {
        self.stopping
    }
}

/// Empties a gather list; its buffers go back to the pool.
pub(super) fn clear(gather: &mut Gather, pool: &mut Pool) {
    gather.clear(|payload| {
        if let Payload::Buffer(buffer) = payload {
            pool.recycle(buffer);
        }
    });
}

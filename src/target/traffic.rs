//! Bytes in, events out, and the end of connections.

use super::connection::{Abort, AbortTicket, Bytes, Conn, Input, Phase, Quiet, Stage, Work};
use super::core::{Core, Turn};
use super::journal::{Happening, SessionEnd};
use super::local::AbortSelect;
use super::message::Reply;
use super::session::Session;
use super::whole::Rest;
use crate::base::slots::SlotKey;
use crate::iscsi::{CloseReason, Event, LoginStatus};
use crate::net::{RECEIVE_BYTES, RECEIVE_BYTES_MAX, RecvBuffer};
use crate::scsi::Failure;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How long a peer has to take what is still to be sent when its connection ends.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

impl Core {
    /// Bytes have come in on a connection.
    pub(crate) fn received(&mut self, key: SlotKey, bytes: RecvBuffer, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.receiving = false;
        debug_assert!(
            conn.input.is_none(),
            "bytes are asked for when the last ones are parsed"
        );
        self.outlists.lend(&mut conn.iscsi);
        conn.input = Some(Input {
            bytes: Bytes::Received(bytes),
            at: 0,
        });
        if self.carry_out_whole(key, turn) == Rest::Nothing {
            self.end_input(key);
            // The peer waits for the answers, and nobody for what follows.
            self.send_early(key, turn);
            self.ask_for_bytes(key, turn);
        } else {
            self.pump(key, turn);
            self.send_early(key, turn);
        }
    }

    /// All that was received has been parsed.
    fn end_input(&mut self, key: SlotKey) {
        let conn = self.connections.get_mut(key);
        if let Some(buffer) = conn.and_then(|conn| Input::end(&mut conn.input)) {
            self.net.recycle(buffer);
        }
    }

    /// Parses what has been received for as long as the connection takes events, then asks for
    /// more. A connection that waits for a buffer, or whose peer reads too slowly, asks for none:
    /// the peer feels it, and nobody else.
    #[inline]
    pub(crate) fn pump(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        // An answer given at once comes here again; the loop goes on by itself, and must not grow the
        // stack by what a peer has pipelined.
        while let Some(conn) = self.connections.get_mut(key)
            && !std::mem::replace(&mut conn.pumping, true)
        {
            self.parse(key, turn);
            let lent = |conn: &Conn| conn.iscsi.lent_bytes() > 0;
            if !self.connections.get(key).is_some_and(lent) || !self.return_loans(key, turn) {
                return;
            }
        }
    }

    fn parse(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        // Who has received something has tried that already.
        let mut tries_whole = false;
        loop {
            let Some(conn) = self.connections.get_mut(key) else {
                return;
            };
            if !conn.takes_input() {
                conn.carry_input();
                // What has been taken in already has to be dealt with.
                if conn.held
                    && let Some(event) = conn.iscsi.raised_event()
                {
                    self.handle_event(key, event, turn);
                    continue;
                }
                break;
            }
            if std::mem::replace(&mut tries_whole, true) {
                let _ = self.carry_out_whole(key, turn);
            }
            let Some(conn) = self.connections.get_mut(key) else {
                return;
            };
            let Some(input) = conn.input.as_mut() else {
                let mut nothing: &[u8] = &[];
                match conn.iscsi.next_event(&mut nothing, now) {
                    Some(event) => {
                        self.handle_event(key, event, turn);
                        continue;
                    }
                    None => break,
                }
            };
            let whole = input.bytes.as_slice();
            let mut rest = whole.get(input.at..).unwrap_or_default();
            let event = conn.iscsi.next_event(&mut rest, now);
            input.at = whole.len() - rest.len();
            let exhausted = rest.is_empty();
            if matches!(event, Some(Event::Command(_))) {
                // The memory of the next one's blocks comes while this one is carried out.
                let (session, shards) = (conn.session.as_deref(), &self.shards);
                shards.expect(session, &conn.iscsi, rest, turn.tick.guard);
            }
            if exhausted && let Some(buffer) = Input::end(&mut conn.input) {
                self.net.recycle(buffer);
            }
            match event {
                Some(event) => self.handle_event(key, event, turn),
                None if exhausted => {}
                // The connection wants an answer first.
                None => break,
            }
        }
        if let Some(conn) = self.connections.get_mut(key) {
            conn.pumping = false;
        }
        self.ask_for_bytes(key, turn);
        if self
            .connections
            .get(key)
            .is_some_and(|conn| conn.iscsi.queued_bytes() > 0)
        {
            self.mark_dirty(key);
        }
    }

    fn ask_for_bytes(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let wants = conn.takes_input() && conn.input.is_none() && !conn.receiving;
        if let (true, Some(socket)) = (wants, conn.socket) {
            conn.receiving = true;
            let bytes_max = conn
                .iscsi
                .bytes_to_receive(RECEIVE_BYTES, RECEIVE_BYTES_MAX);
            self.net.receive(turn.tick.driver, socket, bytes_max);
        }
    }

    #[inline]
    fn handle_event(&mut self, key: SlotKey, event: Event, turn: &mut Turn<'_, '_>) {
        match event {
            Event::Command(command) => self.command(key, command, turn),
            Event::DataOut {
                task,
                buffer,
                result,
            } => {
                self.data_out(key, task, buffer, result, turn);
            }
            Event::TaskManagement(request) => self.task_management(key, request, turn),
            Event::Identify(identity) => self.identify(key, &identity, turn),
            Event::LoginComplete(summary) => self.login_complete(key, summary, turn),
            Event::SendTargets(request) => self.send_targets(key, &request, turn),
            Event::Logout { reason } => {
                tracing::debug!(?reason, connection = ?key, "logout");
            }
            Event::Closed(reason) => self.close(key, &reason, turn),
        }
    }

    /// What is due on a connection by the clock.
    pub(crate) fn timed_out(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        let event = self
            .connections
            .get_mut(key)
            .and_then(|conn| conn.iscsi.handle_timeout(now));
        if let Some(event) = event {
            self.handle_event(key, event, turn);
        }
        self.mark_dirty(key);
    }

    // ---- the end ------------------------------------------------------------------------------

    /// Begins the end of a connection: what is queued is still sent, what runs is aborted.
    pub(crate) fn close(&mut self, key: SlotKey, reason: &CloseReason, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.log_close(reason);
        let refused = match reason {
            CloseReason::LoginRefused(status) if !is_redirection(*status) => {
                Some(conn.refusal.take().unwrap_or_else(|| reason.to_string()))
            }
            // A secret that was wrong, a digest that was missing: who watches wants to hear of these first.
            CloseReason::LoginFailed { violation, .. } => Some(violation.to_string()),
            _ => None,
        };
        if let Some(reason) = refused {
            self.shared.journal.tell(Happening::LoginRefused {
                initiator: conn.initiator.clone(),
                address: conn.peer,
                target: conn.wanted.clone(),
                reason,
            });
        }
        if *reason == CloseReason::LoggedOut && conn.session.is_some() {
            // The initiator may count on its place and its nexus being free once it has the response.
            conn.phase = Phase::Departing;
            self.abort_tasks(key, AbortSelect::AllBut(None), None, Quiet::Nobody, turn);
            return self.mark_dirty(key);
        }
        self.begin_close(key, turn);
    }

    /// The session of a connection that logged out is quiet: the volume lets go of it.
    fn depart(&mut self, key: SlotKey) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = conn.session.take() else {
            return;
        };
        let (home, call) = (session.volume.home, session.leave());
        conn.outstanding += 1;
        let peer = conn.peer;
        self.note_end(&session, peer, SessionEnd::LoggedOut);
        let local = self.local.clone();
        self.local.spawn(async move {
            let _ = local.call(home, call, None).await;
            local.run_on_core(move |core, turn| {
                if let Some(conn) = core.connections.get_mut(key) {
                    conn.outstanding -= 1;
                }
                core.begin_close(key, turn);
                core.settle(key, turn);
            });
        });
    }

    pub(crate) fn begin_close(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        if conn.phase == Phase::Closing {
            return;
        }
        if std::mem::take(&mut conn.in_login) {
            self.in_login = self.in_login.saturating_sub(1);
        }
        // A seat that was on its way to another reactor is given back.
        if let Some((_, Stage::Seat { session })) = conn.destination.take() {
            conn.session = Some(session);
        }
        conn.phase = Phase::Closing;
        conn.close_by = Some(turn.now() + CLOSE_PATIENCE);
        if let Some(buffer) = Input::end(&mut conn.input) {
            self.net.recycle(buffer);
        }
        self.abort_tasks(key, AbortSelect::AllBut(None), None, Quiet::Nobody, turn);
        self.mark_dirty(key);
    }

    /// The peer is gone, or the socket we closed is.
    pub(crate) fn socket_closed(
        &mut self,
        key: SlotKey,
        error: Option<io::Error>,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.socket = None;
        conn.sending = false;
        conn.receiving = false;
        if !matches!(conn.phase, Phase::Closing | Phase::Departing) {
            let error = error.map(|error| error.to_string());
            tracing::info!(
                peer = %conn.peer,
                initiator = conn.initiator.as_deref(),
                error,
                "connection lost"
            );
        }
        if self
            .connections
            .get(key)
            .is_some_and(|conn| conn.phase != Phase::Departing)
        {
            self.begin_close(key, turn);
        }
        self.settle(key, turn);
    }

    /// Takes a connection that is changing place or ending one step further, if it can go.
    pub(crate) fn settle(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        match conn.phase {
            Phase::Departing if conn.outstanding == 0 => self.depart(key),
            Phase::Moving if !conn.sending && conn.iscsi.queued_bytes() == 0 => {
                self.move_on(key, turn);
            }
            Phase::Closing => {
                if let Some(socket) = conn.socket {
                    if !conn.sending && conn.iscsi.queued_bytes() == 0 {
                        conn.socket = None;
                        self.net.close(turn.tick.driver, socket);
                    } else {
                        return;
                    }
                }
                if self
                    .connections
                    .get(key)
                    .is_some_and(|conn| conn.outstanding == 0)
                {
                    self.bury(key, turn);
                }
            }
            _ => {}
        }
    }

    /// Cuts the connection, whatever is still to be sent.
    pub(crate) fn cut(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        if let Some(conn) = self.connections.get_mut(key) {
            conn.sending = false;
            conn.close_by = None;
            if let Some(socket) = conn.socket.take() {
                self.net.close(turn.tick.driver, socket);
            }
        }
        self.settle(key, turn);
    }

    /// The connection is gone and quiet.
    fn bury(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.remove(key) else {
            return;
        };
        self.shared.connection_closed();
        let (received, sent) = conn.iscsi.pdus();
        self.meters.count_departed_pdus(received, sent);
        if let Some(session) = conn.session {
            self.note_end(&session, conn.peer, SessionEnd::Lost);
            self.tell_home(session.volume.home, session.leave(), turn);
        }
        for funeral in conn.mourners {
            if let Some((reactor, token)) = funeral.attend() {
                turn.reply(reactor, token, Reply::Done);
            }
        }
    }

    /// A session is over: its counts stay with the volume.
    fn note_end(&mut self, session: &Session, address: SocketAddr, end: SessionEnd) {
        if let Some(meter) = self.meters.get_mut(session.volume.index) {
            meter.departed.add(&session.counters);
        }
        self.shared.journal.tell(Happening::LoggedOut {
            volume: session.volume.id,
            nexus: Box::new(session.nexus.nexus.clone()),
            tsih: session.nexus.tsih,
            address,
            end,
        });
    }

    // ---- aborts -------------------------------------------------------------------------------

    /// Aborts tasks: what waits for data goes at once, what runs goes when it is quiet. `status` is
    /// sent for each if given. `reply` hears when the last one is quiet.
    pub(crate) fn abort_tasks(
        &mut self,
        key: SlotKey,
        select: AbortSelect,
        status: Option<Failure>,
        reply: Quiet,
        turn: &mut Turn<'_, '_>,
    ) {
        let ticket = AbortTicket::new(reply);
        self.abort_with(key, select, status, &ticket, turn);
        if let Some(quiet) = ticket.finished() {
            self.tell_quiet(quiet, turn);
        }
    }

    /// As [`Core::abort_tasks`], for several connections under one ticket. The caller asks the
    /// ticket at the end. Returns how many tasks it ended.
    pub(crate) fn abort_with(
        &mut self,
        key: SlotKey,
        select: AbortSelect,
        status: Option<Failure>,
        ticket: &Rc<AbortTicket>,
        turn: &mut Turn<'_, '_>,
    ) -> usize {
        let Some(conn) = self.connections.get_mut(key) else {
            return 0;
        };
        let mut aborted_tasks = 0;
        let mut waited = false;
        let mut buffers = Vec::new();
        for position in 0..conn.active.len() {
            let Some(active) = conn.active[position].as_mut() else {
                continue;
            };
            if !select.selects(active.task) {
                continue;
            }
            if let Some(abort) = &mut active.abort {
                // Already on its way out; this one waits for it as well.
                ticket.add();
                abort.tickets.push(Rc::clone(ticket));
                continue;
            }
            let task = active.task;
            aborted_tasks += 1;
            match &mut active.work {
                Work::Dormant | Work::Limited | Work::Starving | Work::AwaitData(_) => {
                    waited |= matches!(active.work, Work::Limited);
                    if let Work::AwaitData(plan) = active.work {
                        conn.held_bytes -= plan.length;
                    }
                    conn.deactivate(task);
                    buffers.extend(end_aborted(conn, task, status));
                    continue;
                }
                Work::Procedure { aborted, data, .. } => {
                    aborted.set(true);
                    // The procedure wakes with an error and ends by itself.
                    *data = None;
                }
                Work::Read { .. } | Work::Write { .. } => {}
            }
            ticket.add();
            if let Some(active) = conn.active[position].as_mut() {
                active.abort = Some(Abort {
                    status,
                    tickets: vec![Rc::clone(ticket)],
                });
            }
        }
        if let Some(session) = conn.session.as_mut() {
            session.counters.aborted += aborted_tasks as u64;
        }
        for buffer in buffers {
            turn.tick.driver.pool.recycle(buffer);
        }
        if waited {
            self.forget_aborted(key, turn);
        }
        self.mark_dirty(key);
        aborted_tasks
    }

    /// A task that was aborted is quiet.
    pub(crate) fn abort_settled(
        &mut self,
        key: SlotKey,
        task: crate::iscsi::TaskId,
        abort: &Abort,
        turn: &mut Turn<'_, '_>,
    ) {
        if let Some(conn) = self.connections.get_mut(key) {
            if let Some(buffer) = end_aborted(conn, task, abort.status) {
                turn.tick.driver.pool.recycle(buffer);
            }
            conn.tell_of_aborted();
        }
        for ticket in &abort.tickets {
            if let Some(quiet) = ticket.settle() {
                self.tell_quiet(quiet, turn);
            }
        }
        self.mark_dirty(key);
    }

    pub(crate) fn tell_quiet(&mut self, quiet: Quiet, turn: &mut Turn<'_, '_>) {
        match quiet {
            Quiet::Procedure(sender) => {
                let _ = sender.send(());
            }
            Quiet::Call(reactor, token) => turn.reply(reactor, token, Reply::Done),
            Quiet::Nobody => {}
        }
    }
}

/// Whether the initiator is sent elsewhere rather than away.
const fn is_redirection(status: LoginStatus) -> bool {
    matches!(
        status,
        LoginStatus::MovedTemporarily | LoginStatus::MovedPermanently
    )
}

fn end_aborted(
    conn: &mut Conn,
    task: crate::iscsi::TaskId,
    status: Option<Failure>,
) -> Option<crate::base::buffer::Buffer> {
    match status.filter(|_| conn.phase.is_full_feature()) {
        Some(failure) => {
            super::io::respond_failure(conn, task, &failure, 0);
            None
        }
        None => conn.iscsi.abort_task(task),
    }
}

impl Conn {
    /// Whether events of this connection can be acted on now.
    pub(crate) fn takes_input(&self) -> bool {
        let phase = matches!(self.phase, Phase::Login | Phase::Full);
        phase
            && (!self.held || self.awaits_data_of_procedure())
            && self.sending_bytes + self.iscsi.queued_bytes()
                < crate::base::limits::SEND_QUEUE_BYTES_MAX
    }

    /// Puts what is left of received bytes aside, so that a connection that waits keeps none of the
    /// socket engine's buffers from the others.
    fn carry_input(&mut self) {
        if let Some(Input { bytes, at }) = &mut self.input
            && matches!(bytes, Bytes::Received(_))
        {
            let rest = bytes.as_slice().get(*at..).unwrap_or_default().to_vec();
            // Dropped buffers find their way back to the engine.
            *bytes = Bytes::Carried(rest);
            *at = 0;
        }
    }

    fn log_close(&self, reason: &CloseReason) {
        let initiator = self.initiator.as_deref();
        let mut cause = String::new();
        let mut source = std::error::Error::source(reason);
        while let Some(error) = source {
            cause.push_str(": ");
            cause.push_str(&error.to_string());
            source = error.source();
        }
        let peer = self.peer;
        match reason {
            CloseReason::LoggedOut => tracing::info!(%peer, initiator, "session logged out"),
            // Said already, with where it goes.
            CloseReason::LoginRefused(status) if is_redirection(*status) => {}
            _ => tracing::warn!(%peer, initiator, "connection ends: {reason}{cause}"),
        }
    }
}

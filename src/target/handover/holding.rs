//! From serving to parked and back, on one reactor.

use super::{Course, Listening};
use crate::base::gather::Gather;
use crate::base::slots::SlotKey;
use crate::target::connection::{Conn, Phase, Work};
use crate::target::core::{Core, Turn, clear};
use std::io;
use std::net::TcpListener;

impl Core {
    /// Accepts connections of a portal from now on, or when the reactor goes on.
    pub(crate) fn listen(
        &mut self,
        listener: TcpListener,
        portal: u32,
        turn: &mut Turn<'_, '_>,
    ) -> io::Result<()> {
        let id = match self.course {
            Course::Serving => {
                let socket = listener.try_clone()?;
                Some(self.net.listen(turn.tick.driver, socket, portal)?)
            }
            Course::Holding | Course::Parking => None,
        };
        self.listening.push(Listening {
            portal,
            listener,
            id,
        });
        Ok(())
    }

    /// Nothing begins any more.
    pub(super) fn hold(&mut self, turn: &mut Turn<'_, '_>) {
        self.course = Course::Holding;
        for portal in &mut self.listening {
            if let Some(id) = portal.id.take() {
                self.net.stop_listening(turn.tick.driver, id);
            }
        }
        self.end_unsettled(turn);
    }

    /// Holds the connections that are logged in, and ends those that can't be handed over: who logs in
    /// or discovers tries again.
    pub(crate) fn end_unsettled(&mut self, turn: &mut Turn<'_, '_>) {
        for key in self.connections.keys() {
            let Some(conn) = self.connections.get_mut(key) else {
                continue;
            };
            match conn.phase {
                Phase::Full if conn.session.is_some() => {
                    if !std::mem::replace(&mut conn.held, true) {
                        self.pump(key, turn);
                    }
                }
                Phase::Full | Phase::Login | Phase::Moving | Phase::Admitting => {
                    self.begin_close(key, turn);
                    self.settle(key, turn);
                }
                Phase::Departing | Phase::Closing | Phase::Parking | Phase::Parked => {}
            }
        }
    }

    /// Nothing runs any more: takes back what is in flight on every socket.
    pub(super) fn park(&mut self, turn: &mut Turn<'_, '_>) {
        self.course = Course::Parking;
        for (_, conn) in self.connections.iter_mut() {
            if let (Phase::Full, Some(socket)) = (conn.phase, conn.socket) {
                conn.phase = Phase::Parking;
                self.net.withdraw(turn.tick.driver, socket);
            }
        }
    }

    /// What was in flight on a socket has been taken back.
    pub(crate) fn withdrawn(
        &mut self,
        key: SlotKey,
        unsent: Option<(Gather, usize)>,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.receiving = false;
        conn.sending = false;
        conn.sending_bytes = 0;
        if let Some((mut gather, sent)) = unsent {
            let unsent = gather.to_vec().split_off(sent);
            let mut queued = conn.iscsi.take_output();
            let output = conn.iscsi.output();
            output.push_bytes(&unsent);
            output.push_bytes(&queued.to_vec());
            for list in [&mut gather, &mut queued] {
                clear(list, &mut turn.tick.driver.pool);
            }
            self.outlists.take_back(gather);
            self.outlists.take_back(queued);
        }
        if conn.phase == Phase::Parking {
            conn.phase = Phase::Parked;
        }
        // Somebody may have thought better of it meanwhile.
        self.mark_dirty(key);
        self.pump(key, turn);
    }

    /// Serves again, or for the first time, what is parked here. Sockets are made this engine's: another
    /// process may have had them.
    pub(super) fn serve_on(&mut self, turn: &mut Turn<'_, '_>) {
        self.course = Course::Serving;
        let now = turn.now();
        for key in self.connections.keys() {
            let Some(conn) = self.connections.get_mut(key) else {
                continue;
            };
            if !std::mem::take(&mut conn.held) {
                continue;
            }
            if matches!(conn.phase, Phase::Parking | Phase::Parked) {
                conn.phase = Phase::Full;
            }
            conn.iscsi.excuse(now);
            let reclaimed = conn.socket.map(|socket| self.net.reclaim(socket));
            if let Some(Err(error)) = reclaimed {
                tracing::warn!(peer = %conn.peer, %error, "a connection could not be taken up again");
                self.cut(key, turn);
                continue;
            }
            self.mark_dirty(key);
            self.pump(key, turn);
        }
        for portal in &mut self.listening {
            if portal.id.is_some() {
                continue;
            }
            let socket = portal.listener.try_clone();
            let listening =
                socket.and_then(|socket| self.net.listen(turn.tick.driver, socket, portal.portal));
            match listening {
                Ok(id) => portal.id = Some(id),
                Err(error) => {
                    let portal = portal.portal;
                    tracing::error!(portal, %error, "no connection is accepted on a portal any more");
                }
            }
        }
    }
}

impl Conn {
    /// Whether a command that runs waits for data of its initiator.
    pub(crate) fn awaits_data_of_procedure(&self) -> bool {
        let waits = |work: &Work| matches!(work, Work::Procedure { data: Some(_), .. });
        self.active
            .iter()
            .flatten()
            .any(|active| waits(&active.work))
    }
}

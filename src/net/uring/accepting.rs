//! Accepts: one in flight per listener.

use super::{STARVED_RETRY, UringNet};
use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use crate::ring::{Op, Owner, Ring, Token};
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;

impl UringNet {
    pub(super) fn accept(&mut self, ring: &mut Ring, key: SlotKey, now: Instant) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        let op = Op::Accept {
            listener: listener.socket.handle.clone(),
            accepted: None,
        };
        listener.socket.ticket = ring.submit(op, Token::new(Owner::Net, key.to_bits())).ok();
        if listener.socket.ticket.is_none() {
            let retry_at = now + STARVED_RETRY;
            listener.resting_until = Some(retry_at);
            self.retry_by(retry_at);
        }
    }

    pub(super) fn accepted(
        &mut self,
        ring: &mut Ring,
        key: SlotKey,
        result: io::Result<u32>,
        connection: Option<OwnedFd>,
        now: Instant,
    ) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        listener.socket.ticket = None;
        if listener.socket.stopped {
            self.listeners.remove(key);
            return;
        }
        if let Some(connection) = connection {
            let stream = TcpStream::from(connection);
            self.pending
                .extend(listener.accepted(stream, None, &self.config.options));
        }
        let goes_on = result
            .err()
            .is_none_or(|error| listener.failed(&error, now));
        match listener.resting_until {
            Some(until) if !goes_on => self.retry_by(until),
            _ => self.accept(ring, key, now),
        }
    }

    pub(super) fn wake_listeners(&mut self, ring: &mut Ring, now: Instant) {
        for key in self.listeners.keys() {
            let Some(listener) = self.listeners.get_mut(key) else {
                continue;
            };
            if listener.wakes(now) {
                self.accept(ring, key, now);
            } else if let Some(until) = listener.resting_until {
                self.retry_by(until);
            }
        }
    }
}

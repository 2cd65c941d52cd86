//! Nodes that are taken out of service: their sessions are asked to log out (RFC 7143 section 11.9.1)
//! and dropped when they have not in time; their logins are refused, or sent elsewhere, until they are
//! admitted again.
//!
//! Reservations stay as they are: a drain ends sessions and nothing else.

use super::core::{Core, Turn};
use super::directory::Redirect;
use super::handle::{Target, TargetError};
use super::local::Local;
use super::message::Call;
use super::shared::Shared;
use crate::base::rcu;
use crate::iscsi::AsyncEvent;
use crate::volume::VolumeId;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Which sessions and logins a drain concerns: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainScope {
    /// Of this iSCSI name, normalised.
    pub initiator: Option<String>,
    /// From this address.
    pub address: Option<IpAddr>,
    /// Of this volume.
    pub volume: Option<VolumeId>,
}

/// A node that is taken out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Never given twice.
    pub id: u64,
    /// What it concerns.
    pub scope: DrainScope,
    /// Where its logins are sent; `None`: they are refused.
    pub redirect: Option<Arc<Redirect>>,
}

impl DrainScope {
    /// Whether it concerns a session of that initiator.
    #[must_use]
    pub fn covers(&self, initiator: &str, address: IpAddr, volume: VolumeId) -> bool {
        let named = self.initiator.as_deref();
        named.is_none_or(|name| name.eq_ignore_ascii_case(initiator))
            && self
                .address
                .is_none_or(|own| own.to_canonical() == address.to_canonical())
            && self.volume.is_none_or(|own| own == volume)
    }
}

impl Drain {
    /// Whether it keeps out a session of that initiator that comes by the portal `reached`. Who has come
    /// where it sends logins to is where it belongs.
    #[must_use]
    pub fn concerns(
        &self,
        initiator: &str,
        address: IpAddr,
        volume: VolumeId,
        reached: SocketAddr,
    ) -> bool {
        let arrived = |redirect: &Arc<Redirect>| redirect.address == reached.to_string();
        self.scope.covers(initiator, address, volume)
            && !self.redirect.as_ref().is_some_and(arrived)
    }
}

impl Target {
    /// Begins a drain: from now on logins are refused or sent elsewhere, and the sessions that are there
    /// are asked to log out. Those that are left after `patience` are dropped, unless the drain has ended.
    /// Returns how many were asked.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn begin_drain(&self, drain: Drain, patience: Duration) -> Result<usize, TargetError> {
        let drain = Arc::new(drain);
        let mut control = self.control();
        control.drains.push(Arc::clone(&drain));
        self.publish(&control);
        let seconds = u16::try_from(patience.as_secs()).unwrap_or(u16::MAX);
        let mut asked = 0;
        for reactor in 0..self.reactors() {
            let drain = Arc::clone(&drain);
            asked += self.ask(reactor, move |local, _| async move {
                let ask = move |core: &mut Core, _: &mut Turn<'_, '_>| {
                    core.ask_for_logout(seconds, Some(&drain))
                };
                local.with_core(ask).await
            })??;
        }
        self.ask(0, move |local, shared| async move {
            let late = drop_late(local.clone(), shared, drain);
            local.spawn_later(patience, late);
        })?;
        Ok(asked)
    }

    /// Ends a drain: its node may log in again. Whether there was such a drain.
    pub fn end_drain(&self, id: u64) -> bool {
        let mut control = self.control();
        let before = control.drains.len();
        control.drains.retain(|drain| drain.id != id);
        self.publish(&control);
        control.drains.len() < before
    }
}

/// Drops the sessions that have not logged out in time.
async fn drop_late(local: Local, shared: Arc<Shared>, drain: Arc<Drain>) {
    let stands = {
        let guard = rcu::pin();
        let drains = &shared.directory.load(&guard).drains;
        drains.iter().any(|standing| standing.id == drain.id)
    };
    if !stands {
        return;
    }
    if let Err(failure) = local
        .call_all(|| Call::EndDrained(Arc::clone(&drain)), None)
        .await
    {
        tracing::warn!(?failure, "sessions of a drained node may be left");
    }
}

impl Core {
    /// Asks sessions to log out: all of them, or those that a drain concerns. Returns how many.
    pub(crate) fn ask_for_logout(&mut self, seconds: u16, drain: Option<&Drain>) -> usize {
        let mut asked = 0;
        for key in self.connections.keys() {
            if let Some(conn) = self.connections.get_mut(key)
                && conn.session.is_some()
                && drain.is_none_or(|drain| conn.is_kept_out_by(drain))
            {
                conn.iscsi.send_async(AsyncEvent::RequestLogout { seconds });
                asked += 1;
                self.mark_dirty(key);
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_come_where_a_drain_sends_logins_is_let_in() {
        let id = VolumeId::from(uuid::Uuid::from_u128(1));
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let [old, new] = ["10.0.0.5:3260", "10.0.0.6:3260"].map(|text| text.parse().unwrap());
        let drain = |redirect: Option<&str>| Drain {
            id: 1,
            scope: DrainScope::default(),
            redirect: redirect.map(|address| {
                Arc::new(Redirect {
                    address: address.to_owned(),
                    permanent: false,
                })
            }),
        };
        let moved = drain(Some("10.0.0.6:3260"));
        assert!(moved.concerns("iqn.a", address, id, old));
        assert!(!moved.concerns("iqn.a", address, id, new));
        assert!(drain(None).concerns("iqn.a", address, id, new));
    }

    #[test]
    fn a_scope_covers_what_fits_everything_given() {
        let [one, other] = [1u128, 2].map(|id| VolumeId::from(uuid::Uuid::from_u128(id)));
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let everything = DrainScope::default();
        assert!(everything.covers("iqn.a", address, one));
        let node = DrainScope {
            initiator: Some("iqn.a".to_owned()),
            address: Some(address),
            volume: Some(one),
        };
        assert!(node.covers("IQN.A", "::ffff:10.0.0.1".parse().unwrap(), one));
        assert!(!node.covers("iqn.b", address, one));
        assert!(!node.covers("iqn.a", "10.0.0.2".parse().unwrap(), one));
        assert!(!node.covers("iqn.a", address, other));
    }
}

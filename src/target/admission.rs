//! Admission at the volume's home: the session that a login reinstates ends, then there is a seat or
//! none.

use super::home::{Home, Inner, Seat};
use super::journal::Happening;
use super::local::Local;
use super::message::{Announce, Call, SessionNexus};
use super::meters::Tally;
use super::scope;
use super::session::Session;
use super::shared::{ConnectionPlacement, Shared};
use super::terms::Proof;
use crate::base::clock::Instant;
use crate::base::rcu;
use crate::iscsi::{LoginStatus, LoginSummary};
use crate::reservation::Nexus;
use crate::scsi::attention::UnitAttention;
use crate::scsi::data_buffer::NexusBuffers;
use crate::volume::sessions_run_short;
use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Ends the session that this one reinstates (RFC 7143 section 6.3.5), then takes a seat if there
/// is one.
pub(super) async fn admission(
    home: &Rc<Home>,
    nexus: &Nexus,
    address: IpAddr,
    summary: &LoginSummary,
    local: &Local,
    shared: &Shared,
) -> Result<(Box<Session>, usize), (LoginStatus, Cow<'static, str>)> {
    let volume = &home.volume;
    if summary.identity.tsih != 0 {
        // A session has one connection, so there is none to join (MaxConnections=1).
        let tsih = summary.identity.tsih;
        let mut seats = home.inner.borrow().seats.clone().into_iter();
        return Err(
            if seats.any(|seat| seat.tsih == tsih && seat.nexus == *nexus) {
                (
                    LoginStatus::TooManyConnections,
                    "the session has its connection already".into(),
                )
            } else {
                (
                    LoginStatus::SessionDoesNotExist,
                    "there is no session of that handle".into(),
                )
            },
        );
    }
    let deadline = local.now() + shared.fence_timeout();
    let mut reinstated = false;
    loop {
        let old = home
            .inner
            .borrow()
            .seats
            .iter()
            .find(|seat| seat.nexus == *nexus)
            .cloned();
        let Some(old) = old else { break };
        if local.now() >= deadline {
            let why = "the session to be reinstated did not end in time";
            return Err((LoginStatus::ServiceUnavailable, why.into()));
        }
        if !std::mem::replace(&mut reinstated, true) {
            let initiator = nexus.initiator.name();
            tracing::info!(initiator, tsih = old.tsih, "session reinstatement");
            shared.journal.tell(Happening::Reinstated {
                volume: volume.id,
                initiator: initiator.to_owned(),
                from: old.address,
                to: address,
            });
            home.note_takeover(initiator, old.address, address, local.now());
        }
        let call = Call::EndSession {
            volume: volume.index,
            tsih: old.tsih,
            announce: Announce::Silently,
        };
        let _ = local.call(old.reactor, call, Some(deadline)).await;
        if home
            .inner
            .borrow()
            .seats
            .iter()
            .any(|seat| seat.tsih == old.tsih)
        {
            // On its way to its reactor: it can be ended once it is there.
            local.sleep(Duration::from_millis(5)).await;
        }
    }
    if volume.closing.load(Ordering::Relaxed) {
        return Err((
            LoginStatus::TargetRemoved,
            "the volume is being removed".into(),
        ));
    }
    if shared.directory.load(&rcu::pin()).draining {
        return Err((
            LoginStatus::ServiceUnavailable,
            "the target is shutting down".into(),
        ));
    }
    let mut inner = home.inner.borrow_mut();
    let sessions_max = volume.sessions_max.load(Ordering::Relaxed);
    let budget = volume.access.load(&rcu::pin()).sessions_per_initiator;
    if let Some(why) = inner.no_place(nexus.initiator.name(), sessions_max, budget) {
        return Err((LoginStatus::OutOfResources, why.into()));
    }
    let registrant = scope::registrant(volume.reservation_scope, nexus);
    let Some(index) = inner.nexuses.enter(&registrant) else {
        let why = "the volume knows as many nexuses as it can remember";
        return Err((LoginStatus::OutOfResources, why.into()));
    };
    let tsih = loop {
        let tsih = shared.next_tsih();
        if !inner.seats.iter().any(|seat| seat.tsih == tsih) {
            break tsih;
        }
    };
    let reactor = match shared.connection_placement {
        ConnectionPlacement::Home => volume.home,
        ConnectionPlacement::Spread => (0..shared.reactors)
            .min_by_key(|reactor| inner.seats.iter().filter(|s| s.reactor == *reactor).count())
            .unwrap_or(volume.home),
    };
    inner.seats.push(Seat {
        tsih,
        nexus: nexus.clone(),
        index,
        address,
        reactor,
        prevents_removal: false,
    });
    inner.warn_of_shortage(&volume.name, sessions_max);
    let (sessions, sessions_max) = (inner.seats.len(), sessions_max as usize);
    if is_near_limit(sessions, sessions_max) {
        shared.journal.tell(Happening::NearSessionLimit {
            volume: volume.id,
            sessions,
            sessions_max,
        });
    }
    let mut attentions = inner.take_owed(&registrant);
    attentions.raise(if reinstated {
        UnitAttention::NexusLoss
    } else {
        UnitAttention::PowerOn
    });
    let session = Box::new(Session {
        volume: Arc::clone(volume),
        nexus: SessionNexus {
            nexus: nexus.clone(),
            index,
            tsih,
        },
        attentions,
        cleared: None,
        buffers: NexusBuffers::default(),
        proof: Arc::new(Proof::of(summary)),
        parameters: summary.parameters,
        since: local.now(),
        counters: Tally::default(),
    });
    Ok((session, reactor))
}

impl Inner {
    /// Why there is no place for one more session of this initiator, if there is none.
    fn no_place(&self, initiator: &str, sessions_max: u32, budget: Option<u32>) -> Option<String> {
        if let Some(budget) = budget {
            let seats = self.seats.iter();
            let own = seats.filter(|seat| seat.nexus.initiator.name() == initiator);
            if own.count() >= budget as usize {
                return Some(format!(
                    "the initiator has all {budget} sessions that sessions_per_initiator lets it have \
                     on this volume"
                ));
            }
        }
        (self.seats.len() >= sessions_max as usize)
            .then(|| format!("the volume has all {sessions_max} sessions that it takes"))
    }

    /// Says once that places run short, and again when they have not in between.
    fn warn_of_shortage(&mut self, volume: &str, sessions_max: u32) {
        let short = sessions_run_short(self.seats.len(), sessions_max);
        if short && !self.shortage_told {
            tracing::warn!(
                volume,
                sessions = self.seats.len(),
                sessions_max,
                "sessions run short: logins are refused when all are taken; `holdfast session list` \
                 shows who has them"
            );
        }
        self.shortage_told = short;
    }
}

/// Whether the session that has just come is to be told of: the one that makes nine tenths of what the
/// volume takes, and the last.
const fn is_near_limit(sessions: usize, sessions_max: usize) -> bool {
    sessions == sessions_max || sessions == (sessions_max * 9).div_ceil(10)
}

impl Home {
    /// A login ends a session: reports it where that session came from another address.
    fn note_takeover(&self, initiator: &str, from: IpAddr, to: IpAddr, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        let Some(takeover) = inner.takeovers.note(initiator, from, to, now) else {
            return;
        };
        let (volume, count) = (&self.volume.name, takeover.count);
        if takeover.is_mutual {
            tracing::warn!(
                initiator, %volume, one = %from, other = %to, count,
                "two hosts share one initiator name and throw each other out; reservations can't tell \
                 them apart: give each host a name of its own"
            );
        } else {
            tracing::warn!(
                initiator, %volume, %from, %to, count,
                "a login from another address took a session over: a failover, or two hosts that \
                 share one initiator name"
            );
        }
    }
}

//! Logins: who may come in, where the session will live, and its seat.

use super::admission::admission;
use super::connection::{Bytes, Conn, Input, Moving, Phase, Stage};
use super::core::{Core, Turn};
use super::directory::{Directory, Found, Redirect, Seeker};
use super::handover::Course;
use super::journal::{Happening, Login};
use super::session::Session;
use super::volume::{Access, Volume};
use crate::base::limits;
use crate::base::slots::SlotKey;
use crate::iscsi::{
    self, Identity, LoginIdentity, LoginStatus, LoginSummary, Offer, Portal, SendTargetsRequest,
    SessionType,
};
use crate::reservation::{InitiatorPort, Nexus};
use crate::volume::{Denied, IscsiName};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An initiator that may log in is to do so.
enum Welcome {
    /// On this connection.
    Here(Identity),
    /// At another portal, to which it has to prove who it is.
    Elsewhere(Arc<Redirect>),
}

const DRAINED: &str = "the node is drained; `holdfast session admit` lets it in again";

/// Where a login is to go instead, by its drain or its portal. An error: it is to go nowhere.
fn elsewhere(
    conn: &Conn,
    identity: &LoginIdentity,
    volume: &Volume,
    directory: &Directory,
) -> Result<Option<Arc<Redirect>>, &'static str> {
    match directory.drain_of(&identity.initiator_name, conn.peer.ip(), volume, conn.local) {
        Some(drain) => match &drain.redirect {
            Some(redirect) => Ok(Some(Arc::clone(redirect))),
            None => Err(DRAINED),
        },
        None => Ok(conn.redirect.clone()),
    }
}

impl Core {
    /// A connection has come in.
    pub(crate) fn accepted(
        &mut self,
        portal: u32,
        stream: TcpStream,
        peer: SocketAddr,
        turn: &mut Turn<'_, '_>,
    ) {
        let directory = self.shared.directory.load(turn.tick.guard);
        let Some(portal) = directory.portals.get(portal as usize) else {
            return;
        };
        if self.course != Course::Serving {
            // It was accepted in the moment of a handover; its initiator tries again.
            return;
        }
        if self.in_login >= limits::CONNECTIONS_IN_LOGIN_MAX || !self.shared.connection_opened() {
            tracing::warn!(%peer, "too many connections; this one is turned away");
            return;
        }
        let local = stream.local_addr().unwrap_or(portal.address);
        let (tag, redirect) = (portal.tag, portal.redirect.clone());
        let socket = match self.net.adopt(turn.tick.driver, stream) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%peer, %error, "a connection could not be taken in");
                return self.shared.connection_closed();
            }
        };
        let portal = Portal {
            tag,
            address: local.to_string(),
        };
        let engine = iscsi::Connection::new(portal, Arc::clone(&self.shared.settings), turn.now());
        let mut conn = Conn::new(socket, engine, peer, local, tag);
        conn.in_login = true;
        conn.redirect = redirect;
        match self.connections.insert(conn) {
            Ok(key) => {
                self.in_login += 1;
                self.bind_socket(socket, key, turn);
                self.pump(key, turn);
            }
            Err(_) => {
                self.net.close(turn.tick.driver, socket);
                self.shared.connection_closed();
            }
        }
    }

    /// The initiator has said who it is and what it wants.
    pub(crate) fn identify(
        &mut self,
        key: SlotKey,
        identity: &LoginIdentity,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.initiator = Some(identity.initiator_name.clone());
        let directory = self.shared.directory.load(turn.tick.guard);
        let refused = |status: LoginStatus, why: &str| (status, why.to_owned());
        let answer = if directory.draining {
            Err(refused(
                LoginStatus::ServiceUnavailable,
                "the target is shutting down",
            ))
        } else if identity.session_type == SessionType::Discovery {
            Ok(Welcome::Here(Identity {
                target_portal_group_tag: conn.portal_tag,
                target_alias: None,
                auth: directory.discovery_policy(conn.peer.ip(), &identity.initiator_name),
                require_header_digest: false,
                require_data_digest: false,
                offer: Offer::default(),
            }))
        } else {
            let name = identity
                .target_name
                .as_deref()
                .unwrap_or_default()
                .to_ascii_lowercase();
            match directory.targets.get(&name) {
                None => Err(refused(LoginStatus::NotFound, "no such target")),
                Some(volume) if volume.closing.load(Ordering::Relaxed) => Err(refused(
                    LoginStatus::TargetRemoved,
                    "the volume is being removed",
                )),
                Some(volume) => match volume.access.admit(conn.peer.ip(), identity) {
                    Err((status, why)) => Err(refused(status, &why)),
                    Ok(()) => match elsewhere(conn, identity, volume, directory) {
                        Err(why) => Err(refused(LoginStatus::ServiceUnavailable, why)),
                        Ok(Some(redirect)) => Ok(Welcome::Elsewhere(redirect)),
                        Ok(None) => Ok(Welcome::Here(Identity {
                            target_portal_group_tag: conn.portal_tag,
                            target_alias: Some(volume.alias.clone()),
                            auth: volume.access.auth.clone(),
                            require_header_digest: volume.access.require_digests,
                            require_data_digest: volume.access.require_digests,
                            offer: volume.access.offer,
                        })),
                    },
                },
            }
        };
        match answer {
            Ok(Welcome::Here(identity)) => conn.iscsi.identify(identity),
            Ok(Welcome::Elsewhere(redirect)) => {
                let Redirect { address, permanent } = &*redirect;
                tracing::info!(
                    peer = %conn.peer,
                    initiator = identity.initiator_name,
                    address,
                    permanent,
                    "login redirected"
                );
                conn.iscsi.redirect_login(address, *permanent);
            }
            Err((status, why)) => {
                tracing::warn!(
                    peer = %conn.peer,
                    initiator = identity.initiator_name,
                    target_name = identity.target_name,
                    "login refused: {why}"
                );
                conn.refusal = Some(why);
                conn.wanted = identity.target_name.clone();
                conn.iscsi.refuse_login(status);
            }
        }
        self.mark_dirty(key);
    }

    /// Negotiation is over: a discovery session starts here, any other one goes to its volume.
    pub(crate) fn login_complete(
        &mut self,
        key: SlotKey,
        summary: Box<LoginSummary>,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        if summary.identity.session_type == SessionType::Discovery {
            conn.phase = Phase::Full;
            conn.satisfied = summary.satisfied;
            conn.iscsi.admit(self.shared.next_tsih());
            self.leave_login(key);
            return self.mark_dirty(key);
        }
        let name = summary
            .identity
            .target_name
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let directory = self.shared.directory.load(turn.tick.guard);
        let Some(volume) = directory.targets.get(&name) else {
            conn.iscsi.refuse_login(LoginStatus::TargetRemoved);
            return self.mark_dirty(key);
        };
        let stage = Stage::Admission {
            volume: volume.index,
            summary,
        };
        if volume.home == self.id {
            self.leave_login(key);
            self.admit(key, stage, turn);
        } else {
            conn.phase = Phase::Moving;
            conn.destination = Some((volume.home, stage));
            self.mark_dirty(key);
        }
    }

    fn leave_login(&mut self, key: SlotKey) {
        if let Some(conn) = self.connections.get_mut(key)
            && std::mem::take(&mut conn.in_login)
        {
            self.in_login = self.in_login.saturating_sub(1);
        }
    }

    // ---- from reactor to reactor --------------------------------------------------------------

    /// Takes a connection off this reactor and sends it where it is bound.
    pub(crate) fn move_on(&mut self, key: SlotKey, turn: &mut Turn<'_, '_>) {
        self.leave_login(key);
        let Some(mut conn) = self.connections.remove(key) else {
            return;
        };
        let (Some((reactor, stage)), Some(socket)) = (conn.destination.take(), conn.socket) else {
            return self.shared.connection_closed();
        };
        let carried = conn.input.take().map_or_else(Vec::new, |input| {
            input
                .bytes
                .as_slice()
                .get(input.at..)
                .unwrap_or_default()
                .to_vec()
        });
        let (received, sent) = conn.iscsi.take_pdus();
        self.meters.count_departed_pdus(received, sent);
        match self.net.detach(turn.tick.driver, socket) {
            Ok(stream) => turn.send(
                reactor,
                Moving {
                    stream,
                    iscsi: conn.iscsi,
                    peer: conn.peer,
                    local: conn.local,
                    portal_tag: conn.portal_tag,
                    initiator: conn.initiator,
                    carried,
                    stage,
                }
                .into(),
            ),
            Err(error) => {
                tracing::warn!(peer = %conn.peer, %error, "a connection could not move");
                self.net.close(turn.tick.driver, socket);
                self.shared.connection_closed();
                if let Stage::Seat { session } = stage {
                    self.give_up_seat(&session, turn);
                }
            }
        }
    }

    /// Takes a connection in from another reactor.
    pub(crate) fn adopt(&mut self, moving: Moving, turn: &mut Turn<'_, '_>) {
        let Moving {
            stream,
            iscsi,
            peer,
            local,
            portal_tag,
            initiator,
            carried,
            stage,
        } = moving;
        let seated = match self.net.adopt(turn.tick.driver, stream) {
            Ok(socket) => {
                let mut conn = Conn::new(socket, iscsi, peer, local, portal_tag);
                conn.initiator = initiator;
                if !carried.is_empty() {
                    conn.input = Some(Input {
                        bytes: Bytes::Carried(carried),
                        at: 0,
                    });
                }
                match self.connections.insert(conn) {
                    Ok(key) => {
                        self.bind_socket(socket, key, turn);
                        Some(key)
                    }
                    Err(_) => {
                        self.net.close(turn.tick.driver, socket);
                        None
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "a connection could not move in");
                None
            }
        };
        match (seated, stage) {
            (Some(key), Stage::Seat { session }) => self.take_seat(key, session, turn),
            (Some(key), stage) => self.admit(key, stage, turn),
            (None, Stage::Seat { session }) => {
                self.shared.connection_closed();
                self.give_up_seat(&session, turn);
            }
            (None, Stage::Admission { .. }) => self.shared.connection_closed(),
        }
    }

    // ---- at the home --------------------------------------------------------------------------

    fn admit(&mut self, key: SlotKey, stage: Stage, turn: &mut Turn<'_, '_>) {
        let Stage::Admission { volume, summary } = stage else {
            return;
        };
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        conn.phase = Phase::Admitting;
        conn.wanted.clone_from(&summary.identity.target_name);
        let Some(home) = self.homes.get(&volume) else {
            return self.refuse(key, LoginStatus::TargetRemoved, "the volume is gone", turn);
        };
        let port = InitiatorPort::new(&summary.identity.initiator_name, summary.identity.isid);
        let nexus = Nexus::new(port, conn.portal_tag);
        let address = conn.peer.ip();
        let (home, local, shared) = (Rc::clone(home), self.local.clone(), self.shared.clone());
        self.local.spawn(async move {
            let admitted = admission(&home, &nexus, address, &summary, &local, &shared).await;
            local.run_on_core(move |core, turn| match admitted {
                Ok((session, reactor)) => core.place(key, session, reactor, turn),
                Err((status, why)) => core.refuse(key, status, &why, turn),
            });
        });
    }

    /// The home has admitted a session and chosen its reactor.
    fn place(
        &mut self,
        key: SlotKey,
        session: Box<Session>,
        reactor: usize,
        turn: &mut Turn<'_, '_>,
    ) {
        let waits = self
            .connections
            .get(key)
            .is_some_and(|conn| conn.phase == Phase::Admitting);
        if !waits {
            return self.give_up_seat(&session, turn);
        }
        if reactor == self.id {
            return self.take_seat(key, session, turn);
        }
        if let Some(conn) = self.connections.get_mut(key) {
            conn.phase = Phase::Moving;
            conn.destination = Some((reactor, Stage::Seat { session }));
        }
        self.mark_dirty(key);
    }

    fn take_seat(&mut self, key: SlotKey, session: Box<Session>, turn: &mut Turn<'_, '_>) {
        if session.volume.closing.load(Ordering::Relaxed) {
            self.give_up_seat(&session, turn);
            return self.refuse(key, LoginStatus::TargetRemoved, "the volume is gone", turn);
        }
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        // A drain that has begun since asks and drops only sessions that it finds.
        let directory = self.shared.directory.load(turn.tick.guard);
        let initiator = session.nexus.nexus.initiator.name();
        let drain = directory.drain_of(initiator, conn.peer.ip(), &session.volume, conn.local);
        if drain.is_some() {
            self.give_up_seat(&session, turn);
            return self.refuse(key, LoginStatus::ServiceUnavailable, DRAINED, turn);
        }
        tracing::info!(
            peer = %conn.peer,
            initiator = session.nexus.nexus.initiator.name(),
            volume = %session.volume.name,
            tsih = session.nexus.tsih,
            reactor = self.id,
            "session begins"
        );
        self.meters.open(session.volume.index);
        self.shared
            .journal
            .tell(Happening::LoggedIn(Box::new(Login {
                volume: session.volume.id,
                nexus: session.nexus.nexus.clone(),
                tsih: session.nexus.tsih,
                address: conn.peer,
                reactor: self.id,
                header_digest: session.parameters.header_digest,
                data_digest: session.parameters.data_digest,
            })));
        conn.phase = Phase::Full;
        conn.iscsi.admit(session.nexus.tsih);
        conn.session = Some(session);
        self.mark_dirty(key);
        self.pump(key, turn);
    }

    fn give_up_seat(&mut self, session: &Session, turn: &mut Turn<'_, '_>) {
        self.tell_home(session.volume.home, session.leave(), turn);
    }

    fn refuse(&mut self, key: SlotKey, status: LoginStatus, why: &str, turn: &mut Turn<'_, '_>) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        tracing::warn!(
            peer = %conn.peer,
            initiator = conn.initiator.as_deref(),
            "login refused: {why}"
        );
        self.shared.journal.tell(Happening::LoginRefused {
            initiator: conn.initiator.clone(),
            address: conn.peer,
            target: conn.wanted.clone(),
            reason: why.to_owned(),
        });
        conn.iscsi.refuse_login(status);
        self.begin_close(key, turn);
    }

    // ---- discovery ----------------------------------------------------------------------------

    /// SendTargets (RFC 7143 appendix C).
    pub(crate) fn send_targets(
        &mut self,
        key: SlotKey,
        request: &SendTargetsRequest,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(conn) = self.connections.get_mut(key) else {
            return;
        };
        let own = conn.session.as_ref().map(|session| &session.volume);
        let only = match request {
            SendTargetsRequest::All => None,
            SendTargetsRequest::Own => own.map(|volume| volume.name.as_str()),
            SendTargetsRequest::Named(name) => Some(name.as_str()),
        };
        let proved = match own {
            Some(volume) => volume.access.proved_by_session(),
            None => &conn.satisfied,
        };
        let directory = self.shared.directory.load(turn.tick.guard);
        let seeker = Seeker {
            initiator: conn.initiator.as_deref().unwrap_or_default(),
            peer: conn.peer.ip(),
            reached: conn.local,
            satisfied: proved,
        };
        let Found { records, unproved } = directory.find(&seeker, only);
        if unproved > 0 {
            tracing::info!(
                peer = %conn.peer,
                initiator = conn.initiator.as_deref(),
                targets = unproved,
                "discovery does not show targets that ask for CHAP and that the initiator has not \
                 proved itself to"
            );
        }
        conn.iscsi.answer_targets(&records);
        self.mark_dirty(key);
    }
}

impl Access {
    /// Passes an initiator that may come from there under that name.
    fn admit(&self, peer: IpAddr, identity: &LoginIdentity) -> Result<(), (LoginStatus, String)> {
        let name = IscsiName::new(&identity.initiator_name)
            .map_err(|error| (LoginStatus::InitiatorError, error.to_string()))?;
        let denied = |error: Denied| (LoginStatus::AuthorizationFailure, error.to_string());
        self.rules.admit(peer, &name).map_err(denied)
    }
}

//! Nodes that are taken out of service, and let in again.

use std::sync::Arc;
use std::time::Duration;

use super::Service;
use crate::base::clock::wall_clock_ms;
use crate::base::limits::{DRAIN_DEADLINE_MAX, DRAINS_MAX};
use crate::control::api::{DrainSelect, DrainView, SessionAdmit, SessionDrain};
use crate::control::catalogue::{KeptDrain, Model};
use crate::control::config::Advertise;
use crate::control::error::{ControlError, ErrorKind};
use crate::target::{Drain, DrainScope, Redirect, SessionInfo};
use crate::volume::VolumeId;

impl Service {
    /// Takes a node out of service: its sessions are asked to log out, and dropped at the deadline; its
    /// logins are refused or sent elsewhere until it is admitted again, also by the next server. A drain of
    /// the same node takes the place of the one before.
    ///
    /// # Errors
    /// Nobody is named, the volume does not exist, a parameter can't be, or the store failed; nothing has
    /// changed then.
    pub fn drain_sessions(&self, drain: &SessionDrain) -> Result<DrainView, ControlError> {
        let _turn = self.take_turn();
        let patience = Duration::from_millis(drain.deadline_ms);
        if patience > DRAIN_DEADLINE_MAX {
            let most = DRAIN_DEADLINE_MAX.as_secs();
            let message = format!("a deadline of {patience:?} is too far away");
            return Err(invalid("deadline_ms", message).expected(format!("at most {most} s")));
        }
        if let Some(redirect) = &drain.redirect
            && let Err(error) = redirect.parse::<Advertise>()
        {
            return Err(invalid("redirect", error));
        }
        let mut drains = self.catalogue.drains();
        let now = wall_clock_ms();
        let kept = KeptDrain {
            id: drains
                .iter()
                .map(|drain| drain.id)
                .max()
                .unwrap_or(0)
                .max(now)
                + 1,
            redirect: drain.redirect.clone(),
            since_ms: now,
            deadline_ms: now.saturating_add(drain.deadline_ms),
            ..self.scope(&drain.select)?
        };
        let former: Vec<KeptDrain> = drains
            .extract_if(.., |drain| drain.is_of_same_scope(&kept))
            .collect();
        if drains.len() >= DRAINS_MAX {
            let message = format!("{DRAINS_MAX} nodes are drained already");
            return Err(ControlError::new(ErrorKind::Limit, "drain", message)
                .hint("`holdfast session drains` shows them, `holdfast session admit` ends one"));
        }
        drains.push(kept.clone());
        self.catalogue.set_drains(&drains)?;
        let asked = self.plane.begin_drain(in_force(&kept), patience)?;
        for drain in former {
            self.plane.end_drain(drain.id)?;
        }
        tracing::info!(
            node = describe(&kept),
            sessions = asked,
            ?patience,
            "drain begins"
        );
        self.drain_view(&kept)
    }

    /// Lets a node in again. Whoever was asked to log out and has not stays.
    ///
    /// # Errors
    /// No such node is drained, or the store failed.
    pub fn admit_sessions(&self, admit: &SessionAdmit) -> Result<DrainView, ControlError> {
        let _turn = self.take_turn();
        let wanted = self.scope(&admit.select)?;
        let mut drains = self.catalogue.drains();
        let Some(at) = drains
            .iter()
            .position(|drain| drain.is_of_same_scope(&wanted))
        else {
            let message = format!("{} is not drained", describe(&wanted));
            return Err(ControlError::new(ErrorKind::NotFound, "drain", message)
                .hint("`holdfast session drains` shows who is; name the node as it says"));
        };
        let ended = drains.remove(at);
        self.catalogue.set_drains(&drains)?;
        self.plane.end_drain(ended.id)?;
        tracing::info!(node = describe(&ended), "drain ends");
        self.drain_view(&ended)
    }

    /// The nodes that are out of service, the oldest first.
    ///
    /// # Errors
    /// The data path did not answer.
    pub fn list_drains(&self) -> Result<Vec<DrainView>, ControlError> {
        let drains = self.catalogue.drains();
        drains.iter().map(|drain| self.drain_view(drain)).collect()
    }

    /// Keeps those nodes out that were out of service when the last server stopped.
    pub(super) fn restore_drains(&self) -> Result<(), ControlError> {
        for drain in self.catalogue.drains() {
            tracing::info!(node = describe(&drain), "still drained");
            let left = Duration::from_millis(left_ms(&drain));
            self.plane.begin_drain(in_force(&drain), left)?;
        }
        Ok(())
    }

    /// What is selected, as a drain that has not begun.
    fn scope(&self, select: &DrainSelect) -> Result<KeptDrain, ControlError> {
        let DrainSelect {
            initiator,
            address,
            volume,
            everyone,
        } = select;
        let names_a_node = initiator.is_some() || address.is_some();
        if *everyone == (names_a_node || volume.is_some()) || (!*everyone && !names_a_node) {
            let message = match everyone {
                true => "every node and one node can't both be meant",
                false => "no node is named",
            };
            return Err(invalid("initiator", message).expected(
                "an initiator name, an address, or both; or everyone, and nothing else",
            ));
        }
        let volume = match volume {
            Some(name) => Some(self.find(name)?.id),
            None => None,
        };
        Ok(KeptDrain {
            id: 0,
            initiator: initiator.clone(),
            address: *address,
            volume,
            redirect: None,
            since_ms: 0,
            deadline_ms: 0,
        })
    }

    fn drain_view(&self, drain: &KeptDrain) -> Result<DrainView, ControlError> {
        let in_force = in_force(drain);
        let kept_out = |session: &&SessionInfo| {
            let (name, address) = (&session.initiator, session.address.ip());
            let volume = session.volume;
            volume.is_some_and(|id| in_force.concerns(name, address, id, session.portal))
        };
        let sessions = self.plane.sessions()?.iter().filter(kept_out).count();
        Ok(DrainView {
            initiator: drain.initiator.as_ref().map(ToString::to_string),
            address: drain.address.map(|address| address.to_string()),
            volume: drain.volume.map(|id| name_of(&self.catalogue.model(), id)),
            redirect: drain.redirect.clone(),
            since_ms: drain.since_ms,
            left_ms: left_ms(drain),
            sessions,
        })
    }
}

/// What is said of a volume that nodes are kept off.
pub(super) fn warnings(drains: &[KeptDrain], volume: VolumeId) -> Vec<String> {
    let concerned = drains
        .iter()
        .filter(|drain| drain.volume.is_none_or(|own| own == volume));
    concerned
        .map(|drain| {
            let fate = match &drain.redirect {
                Some(portal) => format!("are sent to {portal}"),
                None => "are refused".to_owned(),
            };
            format!(
                "{} is drained: logins {fate}; `holdfast session drains` shows who is, `holdfast \
                 session admit` lets it in again",
                describe(drain)
            )
        })
        .collect()
}

fn invalid(what: &str, message: impl Into<String>) -> ControlError {
    ControlError::new(ErrorKind::Invalid, what, message)
}

/// A volume's name; its id where it has been deleted.
fn name_of(model: &Model, id: VolumeId) -> String {
    match model.volume(id) {
        Ok(volume) => volume.name.to_string(),
        Err(_) => id.to_string(),
    }
}

fn left_ms(drain: &KeptDrain) -> u64 {
    drain.deadline_ms.saturating_sub(wall_clock_ms())
}

fn scope_of(drain: &KeptDrain) -> DrainScope {
    DrainScope {
        initiator: drain.initiator.as_ref().map(ToString::to_string),
        address: drain.address,
        volume: drain.volume,
    }
}

fn in_force(drain: &KeptDrain) -> Drain {
    let redirect = drain.redirect.as_ref().map(|address| {
        Arc::new(Redirect {
            address: address.clone(),
            permanent: false,
        })
    });
    Drain {
        id: drain.id,
        scope: scope_of(drain),
        redirect,
    }
}

/// A node as messages call it.
fn describe(drain: &KeptDrain) -> String {
    let KeptDrain {
        initiator, address, ..
    } = drain;
    match (initiator, address) {
        (Some(name), Some(address)) => format!("{name} from {address}"),
        (Some(name), None) => name.to_string(),
        (None, Some(address)) => format!("every initiator from {address}"),
        (None, None) => "every initiator".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::VolumeList;
    use crate::control::service::fake::{FakePlane, service};

    fn drain(initiator: &str, redirect: Option<&str>) -> SessionDrain {
        SessionDrain {
            select: select(initiator),
            redirect: redirect.map(str::to_owned),
            deadline_ms: 5000,
        }
    }

    fn select(initiator: &str) -> DrainSelect {
        DrainSelect {
            initiator: Some(initiator.parse().unwrap()),
            ..DrainSelect::default()
        }
    }

    const HOST: &str = "iqn.1993-08.org.debian:01:host1";

    #[test]
    fn a_drain_counts_its_sessions_and_outlives_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let plane = Arc::new(FakePlane::default());
        {
            let (service, _stopped) = service(data.path(), &plane);
            let volume = service
                .list_volumes(VolumeList::default())
                .unwrap()
                .remove(0);
            let id = plane.volumes()[0];
            plane.log_in(id);
            let begun = service.drain_sessions(&drain(HOST, None)).unwrap();
            assert_eq!(
                (begun.sessions, begun.initiator.as_deref()),
                (1, Some(HOST))
            );
            assert!(begun.left_ms <= 5000);
            let name = volume.name.parse().unwrap();
            let select = crate::control::api::VolumeSelect { name };
            let warnings = service.show_volume(&select).unwrap().warnings;
            assert!(
                warnings
                    .iter()
                    .any(|text| text.contains("logins are refused")),
                "{warnings:?}"
            );
        }
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        assert_eq!(plane.drains().len(), 1, "in force before any portal opens");
        let again = service
            .drain_sessions(&drain(HOST, Some("10.0.0.2:3260")))
            .unwrap();
        assert_eq!(again.redirect.as_deref(), Some("10.0.0.2:3260"));
        let standing = plane.drains();
        assert_eq!(standing.len(), 1, "the new one in the place of the old one");
        assert!(standing[0].redirect.is_some());
        let admit = SessionAdmit {
            select: select(HOST),
        };
        service.admit_sessions(&admit).unwrap();
        assert!(plane.drains().is_empty() && service.list_drains().unwrap().is_empty());
        let kind = service.admit_sessions(&admit).unwrap_err().kind;
        assert_eq!(kind, ErrorKind::NotFound);
    }

    #[test]
    fn what_can_not_be_meant_changes_nothing() {
        let data = tempfile::tempdir().unwrap();
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let everyone_and_one = SessionDrain {
            select: DrainSelect {
                everyone: true,
                ..select(HOST)
            },
            ..drain(HOST, None)
        };
        let nobody = SessionDrain {
            select: DrainSelect::default(),
            ..drain(HOST, None)
        };
        let late = SessionDrain {
            deadline_ms: u64::MAX,
            ..drain(HOST, None)
        };
        for wrong in [everyone_and_one, nobody, late, drain(HOST, Some("nowhere"))] {
            let error = service.drain_sessions(&wrong).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        }
        assert!(plane.drains().is_empty());
        for number in 0..DRAINS_MAX {
            let name = format!("iqn.2024-01.test:{number}");
            service.drain_sessions(&drain(&name, None)).unwrap();
        }
        let error = service.drain_sessions(&drain(HOST, None)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit);
    }
}

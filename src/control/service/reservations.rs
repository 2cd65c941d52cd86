//! What an operator sees of reservations, and may do.

use std::time::Duration;

use super::refusal::{about_volume, volume_error};
use super::{Service, reservation_views as views};
use crate::base::clock::wall_clock_ms;
use crate::base::limits::HISTORY_WAIT_MAX;
use crate::control::api::{
    HistoryCursor, HistoryQuery, HistoryView, PreemptCheck, PreemptCheckView, ReservationClear,
    ReservationClearView, ReservationView, VolumeSelect,
};
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind};
use crate::reservation::history::{Cursor, Excerpt, Process};
use crate::reservation::{Key, NotAKey, ReservationType, State};
use crate::target::{Preemption, ReservationReport, SessionInfo};
use crate::volume::VolumeName;

impl Service {
    /// A volume's registrations and reservation.
    ///
    /// # Errors
    /// There is no such volume, or the data path did not answer.
    pub fn show_reservation(&self, select: &VolumeSelect) -> Result<ReservationView, ControlError> {
        let volume = self.find(&select.name)?;
        let report = self.report(&volume)?;
        let sessions = self.sessions_of(&volume)?;
        let now_ms = wall_clock_ms();
        Ok(views::reservation(&volume.name, &report, &sessions, now_ms))
    }

    /// What happened to a volume's reservations, or what is new of it since the query's `after`, which
    /// may be waited for.
    ///
    /// # Errors
    /// There is no such volume, too many wait already, or the data path did not answer.
    pub fn reservation_history(&self, query: &HistoryQuery) -> Result<HistoryView, ControlError> {
        let volume = self.find(&query.name)?;
        let excerpt = match query.after {
            None => self.plane.reservation_history(volume.id),
            Some(seen) => {
                let wait = Duration::from_millis(query.wait_ms).min(HISTORY_WAIT_MAX);
                let _seat = (!wait.is_zero())
                    .then(|| self.followers.take())
                    .transpose()?;
                let seen = Cursor {
                    sequence: seen.sequence,
                    revision: seen.revision,
                };
                self.plane.follow_history(volume.id, seen, wait)
            }
        };
        let Excerpt {
            entries,
            cursor,
            lost,
        } = excerpt.map_err(|error| about_volume(&volume.name, &error))?;
        let since = query.since_ms.unwrap_or(0);
        let recent = entries.iter().filter(|entry| entry.last_ms >= since);
        let mut shown: Vec<_> = recent
            .rev()
            .take(query.limit.unwrap_or(usize::MAX))
            .map(views::entry)
            .collect();
        shown.reverse();
        Ok(HistoryView {
            volume: volume.name.to_string(),
            left_out: entries.len() - shown.len(),
            lost,
            cursor: HistoryCursor {
                sequence: cursor.sequence,
                revision: cursor.revision,
            },
            entries: shown,
        })
    }

    /// What a PREEMPT would do; nothing is done.
    ///
    /// # Errors
    /// There is no such volume or key, or the data path did not answer.
    pub fn check_preempt(&self, check: &PreemptCheck) -> Result<PreemptCheckView, ControlError> {
        let volume = self.find(&check.name)?;
        let victim = key(&check.preempt)?;
        let kind = check.type_code.map(kind).transpose()?;
        let before = self.report(&volume)?;
        // Zero is no key of anybody's; under an all-registrants type it means all others.
        if !victim.is_none() {
            self.check_registered(&volume.name, victim, &before.state)?;
        }
        let preemption = Preemption {
            victim,
            kind,
            by: check.by.clone(),
        };
        let forecast = self
            .plane
            .foresee(volume.id, preemption)
            .map_err(|error| about_volume(&volume.name, &error))?
            .ok_or_else(|| {
                volume_error(ErrorKind::Invalid, &volume.name, "has no registration")
                    .expected("a registrant that would send the PREEMPT")
                    .hint("name one that shall count as the sender, by --as INITIATOR")
            })?;
        let sessions = self.sessions_of(&volume)?;
        Ok(views::check(&volume.name, victim, &forecast, &sessions))
    }

    /// Removes the registrations of a key, or all registrations and the reservation.
    ///
    /// # Errors
    /// There is no such volume or key, nothing to remove, or it came to nothing.
    pub fn clear_reservation(
        &self,
        clear: &ReservationClear,
        operator: Option<Process>,
    ) -> Result<ReservationClearView, ControlError> {
        // Not in the middle of an upgrade, where it would be forgotten.
        let _no_upgrade = self.unless_departed(self.upgrade_lock());
        let volume = self.find(&clear.name)?;
        let key = clear.key.as_deref().map(key).transpose()?;
        if let Some(key) = key {
            self.check_registered(&volume.name, key, &self.report(&volume)?.state)?;
        }
        let cleared = self
            .plane
            .clear_reservation(volume.id, key, operator)
            .map_err(|error| about_volume(&volume.name, &error))?
            .ok_or_else(|| {
                let message = "has no registration and no reservation to remove";
                volume_error(ErrorKind::NotFound, &volume.name, message)
            })?;
        let after = ReservationReport {
            state: cleared.after,
            ..ReservationReport::default()
        };
        let sessions = self.sessions_of(&volume)?;
        Ok(ReservationClearView {
            losses: cleared.losses.iter().map(views::loss).collect(),
            after: views::reservation(&volume.name, &after, &sessions, wall_clock_ms()),
        })
    }

    pub(super) fn report(&self, volume: &Volume) -> Result<ReservationReport, ControlError> {
        self.plane
            .reservation(volume.id)
            .map_err(|error| about_volume(&volume.name, &error))
    }

    pub(super) fn sessions_of(&self, volume: &Volume) -> Result<Vec<SessionInfo>, ControlError> {
        let mut sessions = self.plane.sessions()?;
        sessions.retain(|session| session.volume == Some(volume.id));
        Ok(sessions)
    }

    /// Passes a key that somebody has registered; else lists those that there are.
    fn check_registered(
        &self,
        volume: &VolumeName,
        key: Key,
        state: &State,
    ) -> Result<(), ControlError> {
        let mut keys: Vec<Key> = state.registrations().map(|(_, own)| own.key).collect();
        if keys.contains(&key) {
            return Ok(());
        }
        keys.sort_unstable();
        keys.dedup();
        let keys: Vec<_> = keys.into_iter().map(views::key).collect();
        let message = format!("has no registration of key {}", views::key(key));
        Err(
            volume_error(ErrorKind::NotFound, volume, &message).expected(if keys.is_empty() {
                "a registered key; there is none".to_owned()
            } else {
                format!("one of {}", keys.join(", "))
            }),
        )
    }
}

fn key(text: &str) -> Result<Key, ControlError> {
    text.parse().map_err(|error: NotAKey| {
        let shown: String = text.chars().take(40).collect();
        ControlError::new(ErrorKind::Invalid, "key", format!("{shown:?} is no key"))
            .expected(error.to_string().replacen("expected ", "", 1))
    })
}

fn kind(code: u8) -> Result<ReservationType, ControlError> {
    ReservationType::try_from(code)
        .map_err(|error| ControlError::new(ErrorKind::Invalid, "type", error.to_string()))
}

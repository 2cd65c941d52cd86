//! Reservations as the control socket shows them.

use super::views::hex;
use crate::control::api::{
    ActorView, AttentionView, HistoryEntryView, LossView, NexusView, PreemptCheckView,
    RegistrationView, ReservationView, VictimView,
};
use crate::reservation::history::{Actor, Entry, Event, Loss, Parameters, Status};
use crate::reservation::{Key, Nexus, ReservationType};
use crate::target::{Forecast, InFlight, ReservationReport, SessionInfo};
use crate::volume::VolumeName;

/// A volume's reservation, as of `now_ms`; `sessions` are those of the volume.
pub(super) fn reservation(
    volume: &VolumeName,
    report: &ReservationReport,
    sessions: &[SessionInfo],
    now_ms: u64,
) -> ReservationView {
    let ReservationReport {
        state,
        ages,
        changing,
    } = report;
    let held = state.reservation();
    let registrations = state
        .registrations()
        .map(|(nexus, registration)| RegistrationView {
            key: key(registration.key),
            key_text: registration.key.text(),
            nexus: self::nexus(nexus),
            holder: state.is_holder(nexus),
            all_target_ports: registration.all_target_ports,
            since_ms: ages.registered(nexus),
            addresses: addresses(nexus, sessions),
        })
        .collect();
    ReservationView {
        volume: volume.to_string(),
        now_ms,
        changing: *changing,
        generation: state.generation(),
        kind: held.map(|held| type_name(held.kind).to_owned()),
        type_code: held.map(|held| held.kind.code()),
        scope: held.map(|_| "LU_SCOPE".to_owned()),
        since_ms: held.and(ages.reserved()),
        aptpl: state.aptpl(),
        registrations,
        spc2_holder: state.legacy_holder().map(nexus),
    }
}

/// What happened once.
pub(in crate::control) fn entry(entry: &Entry) -> HistoryEntryView {
    let mut view = HistoryEntryView {
        sequence: entry.sequence,
        at_ms: entry.at_ms,
        last_ms: entry.last_ms,
        times: entry.times,
        by: actor(&entry.actor),
        action: action_name(entry.event),
        service_action: None,
        kind: None,
        scope_and_type: None,
        key: None,
        action_key: None,
        aptpl: None,
        count: None,
        status: entry.status.to_string(),
        effect: entry.effect,
        losses: entry.losses.iter().map(loss).collect(),
        losses_left_out: entry.losses_left_out,
        aborted: entry.aborted,
        generation: entry.generation,
        fence_us: entry.fence_us,
    };
    match entry.event {
        Event::ReserveOut {
            action,
            scope_and_type,
            parameters,
        } => {
            view.service_action = Some(action);
            // RESERVE, RELEASE, PREEMPT and PREEMPT AND ABORT take them, others ignore them.
            if matches!(action, 1 | 2 | 4 | 5) {
                view.scope_and_type = Some(scope_and_type.0);
                view.kind = scope_and_type.kind().map(|kind| type_name(kind).to_owned());
            }
            if let Some(parameters) = parameters {
                set_parameters(&mut view, action, parameters);
            }
        }
        Event::Removed(removed) => view.action_key = Some(key(removed)),
        Event::Restored {
            registrations,
            kind,
        } => {
            view.count = Some(registrations);
            view.kind = kind.map(|kind| type_name(kind).to_owned());
        }
        Event::EntriesLost(count) => view.count = Some(count),
        Event::Reserve
        | Event::Release
        | Event::EndedByReset
        | Event::EndedByNexusLoss
        | Event::Cleared => {}
    }
    view
}

/// REGISTER AND IGNORE EXISTING KEY takes no RESERVATION KEY; RESERVE, RELEASE and CLEAR no SERVICE
/// ACTION RESERVATION KEY; APTPL goes with registrations alone (SPC-4 section 6.16.3).
fn set_parameters(view: &mut HistoryEntryView, action: u8, parameters: Parameters) {
    view.key = (action != 6).then(|| key(parameters.key));
    view.action_key = (!matches!(action, 1..=3)).then(|| key(parameters.action_key));
    view.aptpl = matches!(action, 0 | 6 | 7).then_some(parameters.aptpl);
}

/// What one nexus lost.
pub(super) fn loss(loss: &Loss) -> LossView {
    let what = [
        (loss.registration, "registration"),
        (loss.reservation, "reservation"),
        (loss.write, "write"),
        (loss.read, "read"),
    ];
    LossView {
        nexus: nexus(&loss.nexus),
        lost: what
            .into_iter()
            .filter(|(lost, _)| *lost)
            .map(|(_, name)| name.to_owned())
            .collect(),
    }
}

/// What a PREEMPT of `victim` would do.
pub(super) fn check(
    volume: &VolumeName,
    victim: Key,
    forecast: &Forecast,
    sessions: &[SessionInfo],
) -> PreemptCheckView {
    let (change, status) = match &forecast.result {
        Ok(change) => (Some(change), Status::Good),
        Err(refusal) => (None, Status::from(*refusal)),
    };
    let victims = change.map(|change| {
        let losses = change.losses.iter();
        losses
            .map(|loss| victim_view(loss, &forecast.in_flight, sessions))
            .collect()
    });
    let attentions = change.map(|change| {
        let told = change.attentions.iter().map(|(nexus, attention)| {
            let (asc, ascq) = attention.additional_sense();
            AttentionView {
                nexus: self::nexus(nexus),
                sense: format!("{asc:02X}/{ascq:02X}"),
            }
        });
        told.collect()
    });
    let after = change.map(|change| {
        let report = ReservationReport {
            state: change.after.clone(),
            ..ReservationReport::default()
        };
        reservation(volume, &report, sessions, 0)
    });
    PreemptCheckView {
        volume: volume.to_string(),
        by: nexus(&forecast.by),
        key: key(forecast.key),
        preempt: key(victim),
        kind: type_name(forecast.kind).to_owned(),
        type_code: forecast.kind.code(),
        status: status.to_string(),
        victims: victims.unwrap_or_default(),
        attentions: attentions.unwrap_or_default(),
        after,
    }
}

fn victim_view(loss: &Loss, in_flight: &[InFlight], sessions: &[SessionInfo]) -> VictimView {
    let own = in_flight
        .iter()
        .filter(|entry| entry.nexus.as_ref() == Some(&loss.nexus));
    let sum = |count: fn(&InFlight) -> u32| own.clone().map(count).sum();
    VictimView {
        loss: self::loss(loss),
        addresses: addresses(&loss.nexus, sessions),
        commands: sum(InFlight::commands_total),
        awaiting_data: sum(|entry| entry.awaiting_data),
        writes: sum(|entry| entry.issued_writes),
    }
}

fn actor(actor: &Actor) -> ActorView {
    match actor {
        Actor::Target => ActorView::Target,
        Actor::Nexus { nexus, address } => ActorView::Initiator {
            nexus: self::nexus(nexus),
            address: address.map(|address| address.to_string()),
        },
        Actor::Operator { process } => ActorView::Operator {
            uid: process.map(|process| process.uid),
            pid: process.map(|process| process.pid),
        },
    }
}

/// Where the sessions of a registrant come from.
fn addresses(nexus: &Nexus, sessions: &[SessionInfo]) -> Vec<String> {
    let own = sessions.iter().filter(|session| {
        session.initiator == nexus.initiator.name()
            && (nexus.is_client()
                || session.isid == nexus.initiator.isid() && session.port == nexus.target_port)
    });
    own.map(|session| session.address.to_string()).collect()
}

fn nexus(nexus: &Nexus) -> NexusView {
    NexusView {
        initiator: nexus.initiator.name().to_owned(),
        isid: if nexus.is_client() {
            "any".to_owned()
        } else {
            hex(&nexus.initiator.isid())
        },
        port: nexus.target_port,
    }
}

/// `0x` and sixteen hexadecimal digits.
pub(super) fn key(key: Key) -> String {
    format!("{:#018x}", key.0)
}

/// What was done (SPC-4 section 6.16.2).
fn action_name(event: Event) -> String {
    let name = match event {
        Event::ReserveOut { action, .. } => match action {
            0 => "REGISTER",
            1 => "RESERVE",
            2 => "RELEASE",
            3 => "CLEAR",
            4 => "PREEMPT",
            5 => "PREEMPT AND ABORT",
            6 => "REGISTER AND IGNORE EXISTING KEY",
            7 => "REGISTER AND MOVE",
            8 => "REPLACE LOST RESERVATION",
            other => return format!("SERVICE ACTION {other:02X}h"),
        },
        Event::Reserve => "SPC-2 RESERVE",
        Event::Release => "SPC-2 RELEASE",
        Event::EndedByReset => "SPC-2 RESERVATION ENDED BY RESET",
        Event::EndedByNexusLoss => "SPC-2 RESERVATION ENDED WITH ITS SESSION",
        Event::Cleared => "OPERATOR CLEAR",
        Event::Removed(_) => "OPERATOR REMOVE KEY",
        Event::Restored { .. } => "RESTART",
        Event::EntriesLost(_) => "ENTRIES LOST",
    };
    name.to_owned()
}

/// The name of a reservation type (SPC-4 section 6.15.3.4).
pub(super) fn type_name(kind: ReservationType) -> &'static str {
    match kind {
        ReservationType::WriteExclusive => "WRITE EXCLUSIVE",
        ReservationType::ExclusiveAccess => "EXCLUSIVE ACCESS",
        ReservationType::WriteExclusiveRegistrantsOnly => "WRITE EXCLUSIVE - REGISTRANTS ONLY",
        ReservationType::ExclusiveAccessRegistrantsOnly => "EXCLUSIVE ACCESS - REGISTRANTS ONLY",
        ReservationType::WriteExclusiveAllRegistrants => "WRITE EXCLUSIVE - ALL REGISTRANTS",
        ReservationType::ExclusiveAccessAllRegistrants => "EXCLUSIVE ACCESS - ALL REGISTRANTS",
    }
}

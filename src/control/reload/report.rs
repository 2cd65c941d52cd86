//! What came of a reload, as the control socket, the log and the events tell it.

use super::compare::Change;
use super::outcome_of;
use crate::control::api::{ConfigReloadView, KeyChangeView, KeyOutcome, RefusedSessionView};
use crate::control::config::Config;
use crate::control::config::keys::Place;
use crate::control::service::Service;
use crate::target::{BrokenRule, Unwelcome};
use crate::volume::Denied;

/// Keys whose values differ from those in force.
pub(super) fn changed(changes: &[Change]) -> Vec<KeyChangeView> {
    let view = |change: &Change| KeyChangeView {
        key: change.place.to_string(),
        outcome: outcome_of(change.key.effect),
        from: change.from.clone(),
        to: change.to.clone(),
        note: change.key.effect.note().to_owned(),
    };
    changes.iter().map(view).collect()
}

/// A file of accounts that has other accounts.
pub(super) fn accounts(place: &Place, config: &Config) -> KeyChangeView {
    let key = place.to_string();
    let group = config
        .groups
        .iter()
        .find(|(name, _)| key == format!("groups.{name}.chap_accounts"));
    let access = group.map_or(&config.access, |(_, access)| access);
    let path = access.chap_accounts.as_ref();
    let path = path.map(|path| format!("{:?}", path.display().to_string()));
    KeyChangeView {
        key,
        outcome: KeyOutcome::Applied,
        from: path.clone(),
        to: path,
        note: "the accounts in the file are others, for logins from now on".to_owned(),
    }
}

/// Keys that the command line decides.
pub(super) fn hidden(changes: &[Change]) -> Vec<KeyChangeView> {
    let view = |change: &Change| KeyChangeView {
        key: change.place.to_string(),
        outcome: KeyOutcome::Hidden,
        from: change.from.clone(),
        to: change.to.clone(),
        note: format!("{} decides", change.key.flag.unwrap_or_default()),
    };
    changes.iter().map(view).collect()
}

/// Sessions that could not log in again.
pub(super) fn sessions(service: &Service, unwelcome: &[Unwelcome]) -> Vec<RefusedSessionView> {
    let view = |session: &Unwelcome| RefusedSessionView {
        volume: service.volume_name(session.volume),
        initiator: session.initiator.clone(),
        address: session.address.to_string(),
        tsih: session.tsih,
        rule: rule(&session.rule).to_owned(),
        reason: session.rule.to_string(),
    };
    let mut views: Vec<_> = unwelcome.iter().map(view).collect();
    views.sort_by(|one, other| {
        (&one.volume, &one.initiator, one.tsih).cmp(&(&other.volume, &other.initiator, other.tsih))
    });
    views
}

/// The key of the configuration that is meant.
const fn rule(rule: &BrokenRule) -> &'static str {
    match rule {
        BrokenRule::Denied(Denied::Network(_)) => "allow",
        BrokenRule::Denied(Denied::Initiator(_)) => "initiators",
        BrokenRule::Proof => "chap_accounts",
        BrokenRule::Digests => "enforce_crc",
    }
}

/// An outcome in words.
pub(super) const fn outcome(outcome: KeyOutcome) -> &'static str {
    match outcome {
        KeyOutcome::Applied => "applied",
        KeyOutcome::NeedsUpgrade => "needs an upgrade",
        KeyOutcome::NeedsRestart => "needs a restart",
        KeyOutcome::Fixed => "can't change",
        KeyOutcome::Hidden => "hidden by the command line",
    }
}

/// All of it in one line.
pub(super) fn summary(view: &ConfigReloadView) -> String {
    let mut parts = Vec::new();
    for wanted in [
        KeyOutcome::Applied,
        KeyOutcome::NeedsUpgrade,
        KeyOutcome::NeedsRestart,
        KeyOutcome::Fixed,
        KeyOutcome::Hidden,
    ] {
        let keys = view.keys.iter().filter(|key| key.outcome == wanted);
        let keys: Vec<_> = keys.map(|key| key.key.as_str()).collect();
        if !keys.is_empty() {
            parts.push(format!("{}: {}", outcome(wanted), keys.join(", ")));
        }
    }
    match parts.is_empty() {
        true => "nothing has changed".to_owned(),
        false => parts.join("; "),
    }
}

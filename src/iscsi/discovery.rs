//! SendTargets (RFC 7143 appendix C) and the other keys of a Text request.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::answer::TargetRecord;
use super::event::SendTargetsRequest;
use super::negotiate;
use super::pdu::SessionType;
use super::text::Outgoing;
use crate::base::limits::{ISCSI_NAME_BYTES_MAX, TEXT_RESPONSE_BYTES_MAX};

/// What the keys of a Text request come to.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Targets to be asked for.
    pub targets: Option<SendTargetsRequest>,
    /// MaxRecvDataSegmentLength that the initiator declares anew, in bytes.
    pub initiator_data_segment_bytes: Option<u32>,
}

/// Judges the keys of a Text request; answers go to `answers`.
#[must_use]
pub fn judge(session: SessionType, pairs: &[(&str, &str)], answers: &mut Outgoing) -> Outcome {
    let mut outcome = Outcome::default();
    for (key, value) in pairs {
        match *key {
            "SendTargets" => match request(session, value) {
                Some(request) if outcome.targets.is_none() => outcome.targets = Some(request),
                _ => answers.push(key, "Reject"),
            },
            "MaxRecvDataSegmentLength" => match negotiate::data_segment_bytes(value) {
                Some(bytes) => outcome.initiator_data_segment_bytes = Some(bytes),
                None => answers.push(key, "Reject"),
            },
            // Agreed at login, for good.
            key if negotiate::is_operational(key) => answers.push(key, "Reject"),
            key => answers.push(key, "NotUnderstood"),
        }
    }
    outcome
}

/// `All` belongs to discovery sessions, the empty value to normal ones.
fn request(session: SessionType, value: &str) -> Option<SendTargetsRequest> {
    match (session, value) {
        (SessionType::Discovery, "All") => Some(SendTargetsRequest::All),
        (SessionType::Normal, "All") | (SessionType::Discovery, "") => None,
        (SessionType::Normal, "") => Some(SendTargetsRequest::Own),
        (_, name) if name.len() > ISCSI_NAME_BYTES_MAX => None,
        (_, name) => Some(SendTargetsRequest::Named(name.to_owned())),
    }
}

/// Writes the records; what would go beyond [`TEXT_RESPONSE_BYTES_MAX`] is left off, by whole
/// records.
pub fn write(targets: &[TargetRecord], answers: &mut Outgoing) {
    for target in targets {
        // Escaping makes three bytes of one at worst, and each key is shorter than 32 bytes.
        let alias = target
            .alias
            .as_ref()
            .map_or(0, |alias| alias.len().saturating_add(32));
        let addresses = target.addresses.iter().map(|(address, _)| address.len());
        let bytes = addresses.fold(target.name.len(), |sum, len| {
            sum.saturating_add(len).saturating_add(32)
        });
        let bytes = bytes
            .saturating_add(alias)
            .saturating_add(32)
            .saturating_mul(3);
        if answers.len().saturating_add(bytes) > TEXT_RESPONSE_BYTES_MAX {
            return;
        }
        answers.push("TargetName", &target.name);
        if let Some(alias) = &target.alias {
            answers.push("TargetAlias", alias);
        }
        for (address, tag) in &target.addresses {
            answers.push("TargetAddress", &format!("{address},{tag}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn which_value_is_allowed_in_which_session() {
        use SendTargetsRequest::{All, Named, Own};
        let (normal, discovery) = (SessionType::Normal, SessionType::Discovery);
        for (session, value, expected) in [
            (discovery, "All", Some(All)),
            (discovery, "", None),
            (discovery, "iqn.a", Some(Named("iqn.a".into()))),
            (normal, "All", None),
            (normal, "", Some(Own)),
            (normal, "iqn.a", Some(Named("iqn.a".into()))),
        ] {
            let mut answers = Outgoing::default();
            let outcome = judge(session, &[("SendTargets", value)], &mut answers);
            assert_eq!(outcome.targets.is_none(), !answers.is_empty());
            assert_eq!(outcome.targets, expected, "{session:?} {value}");
        }
    }

    #[test]
    fn records_are_written_in_the_order_of_appendix_c() {
        let record = TargetRecord {
            name: "iqn.a".into(),
            alias: Some("A".into()),
            addresses: vec![("10.0.0.1:3260".into(), 1), ("[::1]:3260".into(), 2)],
        };
        let mut answers = Outgoing::default();
        write(&[record], &mut answers);
        assert_eq!(
            text::parse(&answers.next_piece(usize::MAX)).unwrap(),
            [
                ("TargetName", "iqn.a"),
                ("TargetAlias", "A"),
                ("TargetAddress", "10.0.0.1:3260,1"),
                ("TargetAddress", "[::1]:3260,2"),
            ]
        );
    }

    #[test]
    fn an_answer_has_an_end() {
        let name = "n".repeat(200);
        let record = TargetRecord {
            name,
            alias: None,
            addresses: Vec::new(),
        };
        let mut answers = Outgoing::default();
        write(&vec![record; 30_000], &mut answers);
        assert!(answers.len() <= TEXT_RESPONSE_BYTES_MAX);
    }
}

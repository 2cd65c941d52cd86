//! `connect --check`: an attached client as the target sees it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::plan::LENGTH_BYTES;
use crate::cli::table::{Column, render};
use crate::control::api::{GroupView, SessionView, VolumeView};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Not as it should be, and the client works.
    Warning,
    /// The client has not what it was connected for.
    Error,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Finding {
    /// How bad it is.
    severity: Severity,
    /// What is judged: `sessions`, `digests`, `negotiation`, `paths` or `name`.
    subject: &'static str,
    /// What is wrong, and what was expected.
    text: String,
}

/// One client.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct ClientReport {
    /// Its iSCSI name.
    initiator: String,
    /// Where its sessions come from, without the ports.
    addresses: BTreeSet<String>,
    /// How many it has.
    sessions: usize,
    /// How many of them came by which portal's `ADDR:PORT`.
    portals: BTreeMap<String, usize>,
    /// What is not as it should be.
    findings: Vec<Finding>,
}

/// All clients of a volume, or the one that was asked for.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::cli) struct Report {
    /// The volume's name.
    volume: String,
    /// Its target's iSCSI name.
    iqn: String,
    /// No client has an error, and there is one.
    pub(super) ok: bool,
    /// Each client that has a session.
    clients: Vec<ClientReport>,
}

/// What clients are held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) volume: &'a VolumeView,
    pub(super) group: &'a GroupView,
    /// Sessions of each client; `None`: any number.
    pub(super) sessions: Option<u32>,
    /// Portals that each client is to come by.
    pub(super) portals: usize,
}

/// Judges the clients whose sessions these are.
pub(super) fn judge(expected: &Expected<'_>, sessions: &[SessionView]) -> Report {
    let mut clients: BTreeMap<&str, Vec<&SessionView>> = BTreeMap::new();
    for session in sessions {
        let own = clients.entry(session.initiator.as_str()).or_default();
        own.push(session);
    }
    let clients: Vec<_> = clients
        .into_iter()
        .map(|(name, sessions)| client(expected, name, &sessions))
        .collect();
    let sound = |client: &ClientReport| {
        let mut findings = client.findings.iter();
        findings.all(|finding| finding.severity == Severity::Warning)
    };
    Report {
        volume: expected.volume.name.clone(),
        iqn: expected.volume.iqn.clone(),
        ok: !clients.is_empty() && clients.iter().all(sound),
        clients,
    }
}

fn client(expected: &Expected<'_>, name: &str, sessions: &[&SessionView]) -> ClientReport {
    let mut portals: BTreeMap<String, usize> = BTreeMap::new();
    for session in sessions {
        *portals.entry(session.portal.clone()).or_default() += 1;
    }
    let host = |address: &String| match address.rsplit_once(':') {
        Some((host, _)) => host.to_owned(),
        None => address.clone(),
    };
    let findings = [
        number(expected, sessions.len()),
        digests(sessions),
        negotiation(expected.group, sessions),
        paths(expected, &portals),
        names(sessions),
    ];
    ClientReport {
        initiator: name.to_owned(),
        addresses: sessions
            .iter()
            .map(|session| host(&session.address))
            .collect(),
        sessions: sessions.len(),
        portals,
        findings: findings.concat(),
    }
}

fn number(expected: &Expected<'_>, found: usize) -> Vec<Finding> {
    let Some(wanted) = expected.sessions.map(|wanted| wanted as usize) else {
        return Vec::new();
    };
    let severity = match found.cmp(&wanted) {
        std::cmp::Ordering::Less => Severity::Error,
        std::cmp::Ordering::Equal => return Vec::new(),
        std::cmp::Ordering::Greater => Severity::Warning,
    };
    let text = format!("{found} sessions, expected {wanted}");
    vec![Finding {
        severity,
        subject: "sessions",
        text,
    }]
}

/// The scripts ask for digests, so a session without is not one of theirs, or older. Data digests are more
/// than QEMU's script can ask for, and a group that insists on them has let nobody in without.
fn digests(sessions: &[&SessionView]) -> Vec<Finding> {
    let all = sessions.len();
    let without = |has: fn(&SessionView) -> bool| sessions.iter().filter(|seen| !has(seen)).count();
    let finding = |(name, severity, without, advice): (&str, Severity, usize, &str)| {
        (without > 0).then(|| Finding {
            severity,
            subject: "digests",
            text: format!("{without} of {all} sessions without {name}=CRC32C: {advice}"),
        })
    };
    let missing = [
        (
            "HeaderDigest",
            Severity::Error,
            without(|session| session.header_digest),
            "log out and in again",
        ),
        (
            "DataDigest",
            Severity::Warning,
            without(|session| session.data_digest),
            "the initiator of QEMU has none; any other: log out and in again",
        ),
    ];
    missing.into_iter().filter_map(finding).collect()
}

fn negotiation(group: &GroupView, sessions: &[&SessionView]) -> Vec<Finding> {
    let max_burst = group.max_burst_length.min(LENGTH_BYTES);
    let first_burst = group.first_burst_length.min(max_burst);
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    for session in sessions {
        let agreed = &session.negotiated;
        let yes_no = |value| if value { "Yes" } else { "No" }.to_owned();
        let values = [
            (
                "MaxBurstLength",
                agreed.max_burst_length.to_string(),
                max_burst.to_string(),
            ),
            (
                "FirstBurstLength",
                agreed.first_burst_length.to_string(),
                first_burst.to_string(),
            ),
            (
                "the client's MaxRecvDataSegmentLength",
                agreed.initiator_max_receive_segment.to_string(),
                LENGTH_BYTES.to_string(),
            ),
            ("InitialR2T", yes_no(agreed.initial_r2t), yes_no(false)),
            ("ImmediateData", yes_no(agreed.immediate_data), yes_no(true)),
        ];
        for (key, found, expected) in values {
            if found != expected {
                *wrong
                    .entry(format!("{key} is {found}, expected {expected}"))
                    .or_default() += 1;
            }
        }
    }
    let finding = |(text, count): (String, usize)| Finding {
        severity: Severity::Warning,
        subject: "negotiation",
        text: format!("{text} ({count} of {} sessions)", sessions.len()),
    };
    wrong.into_iter().map(finding).collect()
}

fn paths(expected: &Expected<'_>, portals: &BTreeMap<String, usize>) -> Vec<Finding> {
    let (fewest, most) = (portals.values().min(), portals.values().max());
    let (severity, text) = match (fewest, most) {
        _ if portals.len() < expected.portals => (
            Severity::Error,
            format!(
                "sessions come by {} of {} portals: no other path is left when it fails",
                portals.len(),
                expected.portals
            ),
        ),
        (Some(fewest), Some(most)) if most - fewest > 1 => (
            Severity::Warning,
            format!("{fewest} sessions come by one portal and {most} by another"),
        ),
        _ => return Vec::new(),
    };
    vec![Finding {
        severity,
        subject: "paths",
        text,
    }]
}

/// Two hosts under one name are one to reservations.
fn names(sessions: &[&SessionView]) -> Vec<Finding> {
    let warnings: BTreeSet<&String> = sessions.iter().flat_map(|seen| &seen.warning).collect();
    let finding = |warning: &String| Finding {
        severity: Severity::Error,
        subject: "name",
        text: warning.clone(),
    };
    warnings.into_iter().map(finding).collect()
}

/// The report for people.
pub(super) fn show(report: &Report) -> String {
    let columns = [
        Column::Text("INITIATOR"),
        Column::Number("SESSIONS"),
        Column::Text("PORTALS"),
        Column::Text("ADDRESSES"),
        Column::Text("STATE"),
    ];
    let row = |client: &ClientReport| {
        let portals = client.portals.iter();
        let portals: Vec<_> = portals
            .map(|(portal, count)| format!("{portal} ({count})"))
            .collect();
        let addresses: Vec<_> = client.addresses.iter().map(String::as_str).collect();
        vec![
            client.initiator.clone(),
            client.sessions.to_string(),
            portals.join(", "),
            addresses.join(", "),
            match client.findings.len() {
                0 => "as it should be".to_owned(),
                _ => "see below".to_owned(),
            },
        ]
    };
    let mut text = render(&columns, report.clients.iter().map(row));
    for client in &report.clients {
        for finding in &client.findings {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            text.push_str(&format!(
                "{severity}: {}: {}\n",
                client.initiator, finding.text
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{group, volume};
    use super::*;
    use crate::control::api::NegotiatedView;

    fn session(initiator: &str, portal: &str) -> SessionView {
        SessionView {
            volume: Some("db-1".to_owned()),
            initiator: initiator.to_owned(),
            isid: "000000000000".to_owned(),
            tsih: 1,
            address: "10.0.0.9:40000".to_owned(),
            portal: portal.to_owned(),
            portal_group: 1,
            reactor: 0,
            header_digest: true,
            data_digest: true,
            seconds: 1,
            commands: 0,
            read_bytes: 0,
            written_bytes: 0,
            negotiated: NegotiatedView {
                max_burst_length: LENGTH_BYTES,
                first_burst_length: LENGTH_BYTES,
                initiator_max_receive_segment: LENGTH_BYTES,
                target_max_receive_segment: LENGTH_BYTES,
                initial_r2t: false,
                immediate_data: true,
                max_outstanding_r2t: 1,
            },
            warning: None,
        }
    }

    const A: &str = "10.0.0.5:3260";
    const B: &str = "10.0.1.5:3260";

    fn judged(sessions: &[SessionView], wanted: Option<u32>) -> Report {
        let (volume, group) = (volume(&[A, B]), group());
        let expected = Expected {
            volume: &volume,
            group: &group,
            sessions: wanted,
            portals: 2,
        };
        judge(&expected, sessions)
    }

    /// Severity and subject of everything found.
    fn found(report: &Report) -> Vec<(Severity, &'static str)> {
        let findings = report.clients.iter().flat_map(|client| &client.findings);
        findings
            .map(|finding| (finding.severity, finding.subject))
            .collect()
    }

    #[test]
    fn a_sound_client_is_sound() {
        let sessions = [session("a", A), session("a", B)];
        let report = judged(&sessions, Some(2));
        assert!(report.ok && found(&report).is_empty());
        assert!(show(&report).contains("as it should be"));
        assert!(!judged(&[], None).ok, "nobody is there");
    }

    #[test]
    fn each_fault_is_found_and_no_other() {
        use Severity::{Error, Warning};
        type Fault = fn(&mut Vec<SessionView>);
        let faults: [(Fault, &[(Severity, &str)]); 9] = [
            (|all| all.truncate(3), &[(Error, "sessions")]),
            (
                |all| all.extend([session("a", A), session("a", B)]),
                &[(Warning, "sessions")],
            ),
            (|all| all[0].header_digest = false, &[(Error, "digests")]),
            (|all| all[1].data_digest = false, &[(Warning, "digests")]),
            (
                |all| all[0].negotiated.initial_r2t = true,
                &[(Warning, "negotiation")],
            ),
            (
                |all| all[0].negotiated.max_burst_length = 8192,
                &[(Warning, "negotiation")],
            ),
            (
                |all| all.iter_mut().for_each(|one| one.portal = A.to_owned()),
                &[(Error, "paths")],
            ),
            (|all| all[1].portal = A.to_owned(), &[(Warning, "paths")]),
            (
                |all| all[2].warning = Some("two hosts".to_owned()),
                &[(Error, "name")],
            ),
        ];
        for (index, (fault, expected)) in faults.into_iter().enumerate() {
            let mut sessions: Vec<_> = [A, B, A, B].map(|portal| session("a", portal)).into();
            fault(&mut sessions);
            let report = judged(&sessions, Some(4));
            assert_eq!(found(&report), expected, "fault {index}");
            let errors = expected.iter().any(|(severity, _)| *severity == Error);
            assert_eq!(report.ok, !errors, "fault {index}");
        }
    }

    #[test]
    fn clients_are_judged_one_by_one() {
        let mut sessions: Vec<_> = [("a", A), ("a", B), ("b", A)]
            .map(|(name, portal)| session(name, portal))
            .into();
        sessions[2].address = "10.0.0.10:1".to_owned();
        let report = judged(&sessions, None);
        assert!(report.clients[0].findings.is_empty());
        assert_eq!(report.clients[1].findings.len(), 1, "b has one path");
        let shown = show(&report);
        assert!(
            shown.contains("error: b: sessions come by 1 of 2 portals"),
            "{shown}"
        );
    }
}

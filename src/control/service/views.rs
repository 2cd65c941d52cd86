//! From what the data path and the catalogue say to what the control socket shows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backend::{BackendSpec, Wrapper};
use crate::base::clock::Instant;
use crate::base::limits::RECEIVE_DATA_SEGMENT_BYTES;
use crate::control::access::Ruling;
use crate::control::api::{
    GroupLimitsView, GroupView, LimitsView, NegotiatedView, SessionView, VolumeState, VolumeView,
};
use crate::control::catalogue::{self, Model};
use crate::iscsi::{AuthPolicy, Parameters};
use crate::target::{Access, IdentityInfo, SessionInfo, Takeover};
use crate::volume::{CommonSettings, GroupName, Initiators, ReservationScope, sessions_run_short};

/// What a volume's view is made of.
pub(super) struct Volume<'a> {
    pub(super) record: &'a catalogue::Volume,
    pub(super) common: &'a CommonSettings,
    pub(super) data: &'a Path,
    /// `None` where its store is not open.
    pub(super) route: Option<String>,
    pub(super) problem: Option<String>,
    /// What is to be said of its file.
    pub(super) warning: Option<String>,
    pub(super) sessions: &'a [SessionInfo],
    pub(super) sessions_max: u32,
    /// `None` where it is not served.
    pub(super) identity: Option<&'a IdentityInfo>,
    pub(super) portals: Vec<String>,
    /// What is said of nodes that are kept off it.
    pub(super) drains: Vec<String>,
    pub(super) limits: LimitsView,
}

pub(super) fn volume(volume: Volume<'_>) -> VolumeView {
    let Volume {
        record,
        common,
        data,
        route,
        problem,
        warning,
        sessions,
        sessions_max,
        identity,
        portals,
        drains,
        limits,
    } = volume;
    let now = Instant::now();
    let (backend, path) = backend(&record.backend, data);
    let takeovers = identity.map_or(&[][..], |known| &known.takeovers);
    let mut warnings: Vec<_> = takeovers
        .iter()
        .map(|seen| takeover_warning(seen, now))
        .collect();
    warnings.extend(warning);
    if record.settings.reservation_scope == ReservationScope::Client {
        warnings.extend(shared_registrations(sessions));
    }
    if sessions_run_short(sessions.len(), sessions_max) {
        warnings.push(format!(
            "{} of {sessions_max} sessions are taken: further logins are refused when all are; `holdfast \
             session list --volume {}` shows who has them",
            sessions.len(),
            record.name
        ));
    }
    warnings.extend(drains);
    let state = match (&record.deleted, &problem) {
        (Some(_), _) => VolumeState::Deleted,
        (None, Some(_)) => VolumeState::Failed,
        (None, None) => VolumeState::Online,
    };
    VolumeView {
        name: record.name.to_string(),
        group: record.group.to_string(),
        id: record.id.to_string(),
        iqn: record.target_name.to_string(),
        vendor: common.vendor.to_string(),
        product: common.product.to_string(),
        size_bytes: record.size_bytes,
        block_bytes: record.settings.block_size.bytes(),
        read_only: record.settings.read_only,
        removable: record.settings.removable,
        backend: backend.to_owned(),
        path,
        route,
        delay_us: delay_us(&record.backend),
        test_wrappers: record.backend.wrappers(),
        state,
        problem,
        sessions: sessions.len(),
        sessions_max,
        reservation_scope: record.settings.reservation_scope,
        limits,
        nexuses: identity.map_or(0, |known| known.nexuses),
        owed_attentions: identity.map_or(0, |known| known.owed_attentions),
        warnings,
        snapshots: record.whole_snapshots().count(),
        deleted_ms: record.deleted.map(|deletion| deletion.at_ms),
        purge_ms: record.deleted.map(|deletion| deletion.purge_ms),
        portals,
    }
}

/// A length of time for people, to its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [
        (days, "d"),
        (hours, "h"),
        (minutes, "m"),
        (seconds % 60, "s"),
    ];
    let mut told: Vec<_> = parts
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if told.is_empty() {
        told.push("0s".to_owned());
    }
    told.join(" ")
}

/// What an initiator name is said of whose sessions were taken over from another address.
fn takeover_warning(takeover: &Takeover, now: Instant) -> String {
    let Takeover {
        initiator,
        from,
        to,
        count,
        is_mutual,
        last,
    } = takeover;
    let seconds = now.nanos().saturating_sub(last.nanos()) / 1_000_000_000;
    if *is_mutual {
        let (one, other) = (from.min(to), from.max(to));
        return format!(
            "name {initiator} is used from {one} and {other}: two hosts share one initiator name; \
             reservations cannot tell them apart ({count} sessions taken over, the last {seconds} s \
             ago)"
        );
    }
    format!(
        "the session of {initiator} from {from} was taken over by a login from {to} {seconds} s ago: \
         a failover, or two hosts that share one initiator name"
    )
}

/// What is said of clients whose sessions come from several addresses where they share a registration:
/// nothing that they do tells multi-path from two hosts, so the operator has to.
fn shared_registrations(sessions: &[SessionInfo]) -> impl Iterator<Item = String> {
    let mut clients: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
    for session in sessions {
        let addresses = clients.entry(&session.initiator).or_default();
        addresses.insert(session.address.ip().to_canonical());
    }
    clients
        .into_iter()
        .filter(|(_, addresses)| addresses.len() > 1)
        .map(|(initiator, addresses)| {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!(
                "sessions of {initiator} come from {} and share one registration \
                 (reservation_scope is client): multi-path, or hosts that share one initiator name \
                 and can't be fenced one without the other",
                addresses.join(", ")
            )
        })
}

/// What is to be said of a session's initiator name.
fn session_warning(
    session: &SessionInfo,
    identities: &[IdentityInfo],
    now: Instant,
) -> Option<String> {
    let known = identities
        .iter()
        .find(|known| Some(known.volume) == session.volume)?;
    let mut concerned = known
        .takeovers
        .iter()
        .filter(|seen| seen.initiator == session.initiator);
    let worst = concerned.clone().find(|seen| seen.is_mutual);
    Some(takeover_warning(worst.or_else(|| concerned.next())?, now))
}

/// For how long a backend holds each request at least.
fn delay_us(spec: &BackendSpec) -> u64 {
    let shortest = |wrapper: &Wrapper| match wrapper {
        Wrapper::Delay { hold, .. } => hold.shortest(),
        Wrapper::Fault { .. } => Duration::ZERO,
    };
    let together: Duration = spec.wrappers().iter().map(shortest).sum();
    u64::try_from(together.as_micros()).unwrap_or(u64::MAX)
}

/// What a backend is called, and its file or device.
fn backend(spec: &BackendSpec, data: &Path) -> (&'static str, Option<PathBuf>) {
    match spec {
        BackendSpec::Null {} => ("null", None),
        BackendSpec::Ram {} => ("ram", None),
        BackendSpec::File { path } => ("file", Some(data.join(path))),
        BackendSpec::Block { path } => ("block", Some(data.join(path))),
        BackendSpec::Fault { inner, .. } | BackendSpec::Delay { inner, .. } => backend(inner, data),
        BackendSpec::Lossy {} => ("lossy", None),
    }
}

pub(super) fn group(
    name: &GroupName,
    volumes: usize,
    ruling: &Ruling,
    limits: GroupLimitsView,
) -> GroupView {
    let Ruling { access, origins } = ruling;
    let Access {
        rules,
        auth,
        require_digests,
        sessions_per_initiator,
        offer,
    } = access;
    let policy = match auth {
        AuthPolicy::Chap(policy) => Some(policy),
        AuthPolicy::None | AuthPolicy::Optional(_) => None,
    };
    let accounts = policy.iter().flat_map(|policy| &policy.accounts);
    GroupView {
        name: name.to_string(),
        volumes,
        allow: rules.networks.iter().map(ToString::to_string).collect(),
        initiators: match &rules.initiators {
            Initiators::Any => Vec::new(),
            Initiators::Only(names) => names.iter().map(ToString::to_string).collect(),
        },
        chap: policy.is_some(),
        chap_users: accounts.map(|account| account.name.clone()).collect(),
        chap_mutual: policy
            .and_then(|policy| policy.mutual.as_ref())
            .map(|own| own.name.clone()),
        enforce_crc: *require_digests,
        require_digests: *require_digests,
        sessions_per_initiator: *sessions_per_initiator,
        max_burst_length: offer.max_burst_bytes,
        first_burst_length: offer.first_burst_bytes.min(offer.max_burst_bytes),
        max_receive_segment: offer
            .receive_data_segment_bytes
            .unwrap_or(RECEIVE_DATA_SEGMENT_BYTES),
        origins: *origins,
        limits,
        retention_seconds: 0,
        deleted_volumes: 0,
    }
}

pub(super) fn session(
    session: &SessionInfo,
    model: &Model,
    identities: &[IdentityInfo],
    now: Instant,
) -> SessionView {
    let volume = session.volume.map(|id| match model.volume(id) {
        Ok(volume) => volume.name.to_string(),
        // Deleted between the two questions.
        Err(_) => id.to_string(),
    });
    SessionView {
        volume,
        initiator: session.initiator.clone(),
        isid: hex(&session.isid),
        tsih: session.tsih,
        address: session.address.to_string(),
        portal: session.portal.to_string(),
        portal_group: session.port,
        reactor: session.reactor,
        header_digest: session.header_digest,
        data_digest: session.data_digest,
        seconds: now.nanos().saturating_sub(session.since.nanos()) / 1_000_000_000,
        commands: session.commands,
        read_bytes: session.read_bytes,
        written_bytes: session.written_bytes,
        negotiated: negotiated(&session.parameters),
        warning: session_warning(session, identities, now),
    }
}

fn negotiated(agreed: &Parameters) -> NegotiatedView {
    NegotiatedView {
        max_burst_length: agreed.max_burst_bytes,
        first_burst_length: agreed.first_burst_bytes,
        initiator_max_receive_segment: agreed.initiator_data_segment_bytes,
        target_max_receive_segment: agreed.target_data_segment_bytes,
        initial_r2t: agreed.initial_r2t,
        immediate_data: agreed.immediate_data,
        max_outstanding_r2t: agreed.max_outstanding_r2t,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

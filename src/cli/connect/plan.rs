//! What a client is to do, whatever its system: where to, how often, and on what terms.

use crate::control::api::{GroupView, VolumeView};
use crate::control::config::Advertise;
use crate::volume::IscsiName;

/// MaxBurstLength, FirstBurstLength and MaxRecvDataSegmentLength that clients ask for, in bytes. The
/// target may agree on less.
pub(super) const LENGTH_BYTES: u32 = 262_144;
/// Sessions where nothing else is said.
const SESSIONS_DEFAULT: u32 = 32;

/// A connection to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) volume: String,
    pub(super) group: String,
    pub(super) iqn: String,
    pub(super) size_bytes: u64,
    pub(super) read_only: bool,
    pub(super) vendor: String,
    pub(super) product: String,
    pub(super) paths: Vec<Path>,
    /// A login without both digests is refused.
    pub(super) enforce_crc: bool,
    pub(super) chap: Option<Chap>,
    /// The initiator names that are let in; empty: any.
    pub(super) initiators: Vec<String>,
}

/// Sessions through one portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// `ADDR`, or a name; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) sessions: u32,
}

/// How the client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chap {
    pub(super) user: String,
    /// The name with which the target is to prove itself in turn.
    pub(super) mutual: Option<String>,
}

/// What the command line says of it.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) sessions: Option<u32>,
    pub(super) portals: Vec<Advertise>,
    pub(super) chap_user: Option<String>,
    pub(super) mutual: bool,
    pub(super) initiator: Option<IscsiName>,
}

impl Path {
    /// `ADDR:PORT`, as iscsiadm and others take it.
    pub(super) fn portal(&self) -> String {
        let Self { host, port, .. } = self;
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

impl Plan {
    /// The plan for a volume, as its group's rules want it.
    ///
    /// # Errors
    /// What is wished for would be refused; the text says why and what would do.
    pub(super) fn new(
        volume: &VolumeView,
        group: &GroupView,
        wishes: Wishes,
    ) -> Result<Self, String> {
        let portals = match wishes.portals.is_empty() {
            true => volume.portals.clone(),
            false => wishes.portals.iter().map(ToString::to_string).collect(),
        };
        let sessions = sessions(volume, group, wishes.sessions, portals.len())?;
        Ok(Self {
            volume: volume.name.clone(),
            group: group.name.clone(),
            iqn: volume.iqn.clone(),
            size_bytes: volume.size_bytes,
            read_only: volume.read_only,
            vendor: volume.vendor.clone(),
            product: volume.product.clone(),
            paths: paths(&portals, sessions)?,
            enforce_crc: group.enforce_crc,
            chap: chap(group, wishes.chap_user, wishes.mutual)?,
            initiators: initiators(group, wishes.initiator.as_ref())?,
        })
    }

    /// All sessions together.
    pub(super) fn sessions(&self) -> u32 {
        self.paths.iter().map(|path| path.sessions).sum()
    }

    /// HeaderDigest and DataDigest as a client is to offer them.
    pub(super) fn digests(&self) -> &'static str {
        match self.enforce_crc {
            true => "CRC32C",
            false => "CRC32C,None",
        }
    }
}

/// How many sessions: those wished for, or as many of the usual number as the volume's rules allow.
pub(super) fn sessions(
    volume: &VolumeView,
    group: &GroupView,
    wished: Option<u32>,
    portals: usize,
) -> Result<u32, String> {
    let budget = group.sessions_per_initiator.unwrap_or(u32::MAX);
    let most = volume.sessions_max.min(budget);
    let sessions = wished.unwrap_or(SESSIONS_DEFAULT.min(most));
    if sessions > most {
        return Err(format!(
            "{sessions} sessions would be refused: one initiator may have {most} on volume {}{}",
            volume.name,
            match most == budget {
                true => format!(" (sessions_per_initiator of group {})", group.name),
                false => String::new(),
            }
        ));
    }
    if (sessions as usize) < portals {
        return Err(format!(
            "{portals} portals need at least {portals} sessions, got {sessions}; choose portals with \
             --portal"
        ));
    }
    Ok(sessions)
}

/// The sessions dealt out over the portals.
fn paths(portals: &[String], sessions: u32) -> Result<Vec<Path>, String> {
    let count = u32::try_from(portals.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return Err("the server has no portal; name one with --portal ADDR:PORT".to_owned());
    }
    let path = |(index, portal): (u32, &String)| {
        let wrong = || format!("{portal:?} is no portal; expected ADDR:PORT");
        let (host, port) = portal.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Path {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            sessions: sessions / count + u32::from(index < sessions % count),
        })
    };
    (0..).zip(portals).map(path).collect()
}

/// The account to log in with.
fn chap(group: &GroupView, user: Option<String>, mutual: bool) -> Result<Option<Chap>, String> {
    let name = &group.name;
    if !group.chap {
        return match user.is_some() || mutual {
            true => Err(format!(
                "group {name} asks for no CHAP, and a target that asks for none refuses initiators \
                 that insist on it; leave --chap-user and --mutual out"
            )),
            false => Ok(None),
        };
    }
    let known = group.chap_users.join(", ");
    let user = match (user, group.chap_users.as_slice()) {
        (Some(user), users) if users.contains(&user) => user,
        (Some(user), _) => {
            return Err(format!(
                "group {name} has no CHAP account {user:?}; it has {known}"
            ));
        }
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(format!(
                "group {name} asks for CHAP: say which account with --chap-user; it has {known}"
            ));
        }
    };
    let mutual = match (mutual, &group.chap_mutual) {
        (false, _) => None,
        (true, Some(own)) => Some(own.clone()),
        (true, None) => {
            return Err(format!(
                "the target can't prove itself to group {name}: its accounts have no mutual_user and \
                 mutual_secret; leave --mutual out"
            ));
        }
    };
    Ok(Some(Chap { user, mutual }))
}

/// The names that are let in, or the one of them that is meant.
fn initiators(group: &GroupView, meant: Option<&IscsiName>) -> Result<Vec<String>, String> {
    let Some(meant) = meant.map(ToString::to_string) else {
        return Ok(group.initiators.clone());
    };
    if !group.initiators.is_empty() && !group.initiators.contains(&meant) {
        return Err(format!(
            "group {} does not let {meant} in; it lets in {}",
            group.name,
            group.initiators.join(", ")
        ));
    }
    Ok(vec![meant])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::api::{GroupLimitsView, LimitsView, VolumeState};
    use crate::volume::ReservationScope;

    pub(in super::super) fn volume(portals: &[&str]) -> VolumeView {
        VolumeView {
            name: "db-1".to_owned(),
            group: "databases".to_owned(),
            id: "00000000-0000-0000-0000-000000000001".to_owned(),
            iqn: "iqn.2024-01.com.example:san:db-1".to_owned(),
            vendor: "HOLDFAST".to_owned(),
            product: "VOLUME".to_owned(),
            size_bytes: 100 << 30,
            block_bytes: 512,
            read_only: false,
            removable: false,
            backend: "file".to_owned(),
            path: None,
            route: None,
            delay_us: 0,
            test_wrappers: Vec::new(),
            state: VolumeState::Online,
            problem: None,
            sessions: 0,
            sessions_max: 128,
            reservation_scope: ReservationScope::Nexus,
            nexuses: 0,
            owed_attentions: 0,
            warnings: Vec::new(),
            snapshots: 0,
            deleted_ms: None,
            purge_ms: None,
            limits: LimitsView::default(),
            portals: portals.iter().map(|portal| (*portal).to_owned()).collect(),
        }
    }

    pub(in super::super) fn group() -> GroupView {
        GroupView {
            name: "databases".to_owned(),
            volumes: 1,
            allow: vec!["10.0.0.0/8".to_owned()],
            initiators: Vec::new(),
            chap: false,
            chap_users: Vec::new(),
            chap_mutual: None,
            enforce_crc: false,
            require_digests: false,
            sessions_per_initiator: None,
            max_burst_length: 1 << 20,
            first_burst_length: 256 << 10,
            max_receive_segment: 256 << 10,
            limits: GroupLimitsView::default(),
            retention_seconds: 0,
            deleted_volumes: 0,
            origins: crate::control::access::Origins::default(),
        }
    }

    const TWO: &[&str] = &["10.0.0.5:3260", "[fd00::5]:3260"];

    #[test]
    fn sessions_are_dealt_out_over_portals() {
        let wishes = |sessions| Wishes {
            sessions,
            ..Wishes::default()
        };
        let plan = |sessions| Plan::new(&volume(TWO), &group(), wishes(sessions));
        let dealt = |plan: Plan| {
            plan.paths
                .iter()
                .map(|path| path.sessions)
                .collect::<Vec<_>>()
        };
        assert_eq!(dealt(plan(None).unwrap()), [16, 16]);
        assert_eq!(dealt(plan(Some(5)).unwrap()), [3, 2]);
        assert_eq!(plan(Some(5)).unwrap().sessions(), 5);
        assert_eq!(plan(None).unwrap().paths[1].portal(), "[fd00::5]:3260");
        assert!(plan(Some(1)).unwrap_err().contains("at least 2 sessions"));
        assert!(plan(Some(129)).unwrap_err().contains("may have 128"));
        let narrow = GroupView {
            sessions_per_initiator: Some(8),
            ..group()
        };
        let budgeted = |sessions| Plan::new(&volume(TWO), &narrow, wishes(sessions));
        assert_eq!(budgeted(None).unwrap().sessions(), 8);
        assert!(
            budgeted(Some(9))
                .unwrap_err()
                .contains("sessions_per_initiator of group")
        );
    }

    #[test]
    fn an_account_is_chosen_or_asked_for() {
        let asks = GroupView {
            chap: true,
            chap_users: vec!["db1".to_owned(), "db2".to_owned()],
            chap_mutual: Some("san".to_owned()),
            ..group()
        };
        let chosen = |user: Option<&str>, mutual| chap(&asks, user.map(str::to_owned), mutual);
        assert!(
            chosen(None, false)
                .unwrap_err()
                .contains("--chap-user; it has db1, db2")
        );
        assert!(
            chosen(Some("db3"), false)
                .unwrap_err()
                .contains("no CHAP account \"db3\"")
        );
        let account = Chap {
            user: "db2".to_owned(),
            mutual: Some("san".to_owned()),
        };
        assert_eq!(chosen(Some("db2"), true), Ok(Some(account)));
        let one_way = GroupView {
            chap_users: vec!["db1".to_owned()],
            chap_mutual: None,
            ..asks.clone()
        };
        assert_eq!(chap(&one_way, None, false).unwrap().unwrap().user, "db1");
        assert!(
            chap(&one_way, None, true)
                .unwrap_err()
                .contains("leave --mutual out")
        );
        assert!(chap(&group(), Some("db1".to_owned()), false).is_err());
    }

    #[test]
    fn a_name_that_is_not_let_in_is_told_before_it_is_tried() {
        let named = GroupView {
            initiators: vec!["iqn.2024-01.test:a".to_owned()],
            ..group()
        };
        let meant = |name: &str| initiators(&named, Some(&name.parse().unwrap()));
        assert_eq!(meant("iqn.2024-01.test:A").unwrap(), named.initiators);
        assert!(
            meant("iqn.2024-01.test:b")
                .unwrap_err()
                .contains("does not let")
        );
    }
}

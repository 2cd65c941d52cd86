//! Every key of the configuration, and when a change of it takes effect in a server that runs.
//!
//! One table, beside the definition of the keys: a key without a line here fails a test, so whoever adds
//! one decides.

use std::fmt;

/// When a change of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// With a reload; for whom, if not for all at once.
    Live(&'static str),
    /// With `holdfast upgrade` or a restart; why not before.
    Upgrade(&'static str),
    /// With a restart alone; why.
    Restart(&'static str),
    /// Never, in this data directory; why.
    Never(&'static str),
}

impl Effect {
    /// Whether a reload applies it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// What there is to say about it; may be empty.
    #[must_use]
    pub const fn note(self) -> &'static str {
        match self {
            Self::Live(note) | Self::Upgrade(note) | Self::Restart(note) | Self::Never(note) => {
                note
            }
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its full path, such as `limits.login_timeout`. Keys of `[groups.NAME]` are those of `[access]`.
    pub path: &'static str,
    /// What on the command line or in the environment overrides it, if anything does.
    pub flag: Option<&'static str>,
    /// When a change takes effect.
    pub effect: Effect,
}

const fn key(path: &'static str, effect: Effect) -> Key {
    Key {
        path,
        flag: None,
        effect,
    }
}

const fn with_flag(path: &'static str, flag: &'static str, effect: Effect) -> Key {
    Key {
        path,
        flag: Some(flag),
        effect,
    }
}

const LOGINS: Effect = Effect::Live("for logins from now on; sessions stay as they are");
const NEW_VOLUMES: Effect = Effect::Live("for volumes made from now on");
const NEW_CONNECTIONS: Effect = Effect::Live("for connections from now on");
const REACTORS: Effect =
    Effect::Upgrade("reactors own connections and shards, and are started with it");
const INQUIRY: Effect = Effect::Restart("hosts have read it, and read it anew when they log in");

/// Every key.
pub const KEYS: &[Key] = &[
    with_flag(
        "data",
        "--data or HOLDFAST_DATA",
        Effect::Restart("the server holds its data directory for as long as it runs"),
    ),
    with_flag(
        "control",
        "--control or HOLDFAST_CONTROL",
        Effect::Upgrade("commands find the server there"),
    ),
    with_flag("reactors", "--reactors or --cores", REACTORS),
    with_flag("cores", "--reactors or --cores", REACTORS),
    with_flag("profile", "--profile", REACTORS),
    key("san.name", Effect::Never("the names of targets contain it")),
    key("san.authority", NEW_VOLUMES),
    key("san.vendor", INQUIRY),
    key("san.product", INQUIRY),
    key("san.reservation_scope", NEW_VOLUMES),
    with_flag(
        "portal",
        "--listen",
        Effect::Upgrade("each portal is a listening socket and a target port"),
    ),
    with_flag(
        "portal.listen",
        "--listen",
        Effect::Upgrade("the portal's socket listens where it does"),
    ),
    with_flag(
        "portal.advertise",
        "--advertise or --listen",
        Effect::Live("for discovery from now on"),
    ),
    with_flag(
        "portal.tag",
        "--listen",
        Effect::Restart("registrations name the target port by it"),
    ),
    with_flag("portal.redirect", "--listen", NEW_CONNECTIONS),
    with_flag("portal.redirect_permanent", "--listen", NEW_CONNECTIONS),
    key("limits.sessions_per_volume", LOGINS),
    key("limits.sessions_per_initiator", LOGINS),
    key(
        "limits.registrations_per_volume",
        Effect::Live("for registrations from now on; those that are there stay"),
    ),
    key("limits.login_timeout", NEW_CONNECTIONS),
    key("limits.nop_interval", NEW_CONNECTIONS),
    key("limits.drain_timeout", Effect::Live("")),
    key(
        "limits.fence_timeout",
        Effect::Live("for reservation commands from now on"),
    ),
    key("access.allow", LOGINS),
    key("access.initiators", LOGINS),
    key("access.chap", LOGINS),
    key("access.chap_accounts", LOGINS),
    key("access.enforce_crc", LOGINS),
    key("access.sessions_per_initiator", LOGINS),
    key("access.max_burst_length", LOGINS),
    key("access.first_burst_length", LOGINS),
    key("access.max_receive_segment", LOGINS),
    with_flag("log.level", "--log or HOLDFAST_LOG", Effect::Live("")),
    with_flag(
        "log.format",
        "--log-format",
        Effect::Upgrade("whoever reads the log would find two forms in it"),
    ),
    key("log.slow_io", Effect::Live("")),
    with_flag("metrics.listen", "--metrics", Effect::Live("")),
    key("metrics.sessions", Effect::Live("")),
    key("audit.path", Effect::Live("")),
    key("tuning.idle", REACTORS),
    key("tuning.spin_max_microseconds", REACTORS),
    with_flag("tuning.engine", "--engine", REACTORS),
    key("tuning.arena", REACTORS),
    key("tuning.shards", REACTORS),
    key("tuning.shard_size", REACTORS),
    key("tuning.connections", REACTORS),
    key("tuning.socket_buffer", REACTORS),
    key("tuning.direct_sockets", REACTORS),
    key("tuning.congestion_control", REACTORS),
    key("tuning.prefault", REACTORS),
    key("tuning.poll_disks", REACTORS),
    key("tuning.nvme_passthrough", REACTORS),
];

/// Where in a configuration something stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl Place {
    /// The key `name` of the table that stands here.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        self.then(Step::Key(name.to_owned()))
    }

    /// Number `index` of the array that stands here, from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        let steps = self.0.iter().cloned().chain([step]);
        Self(steps.collect())
    }

    /// The line of the table for what stands here.
    #[must_use]
    pub fn decision(&self) -> Option<&'static Key> {
        let mut names: Vec<&str> = self.0.iter().filter_map(Step::name).collect();
        if let ["groups", _, _] = names.as_slice() {
            names.drain(..2);
            names.insert(0, "access");
        }
        let path = names.join(".");
        KEYS.iter().find(|key| key.path == path)
    }
}

impl Step {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Key(name) => Some(name),
            Self::Index(_) => None,
        }
    }
}

/// As `jq` would find it: `portal[0].listen`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) if position == 0 => f.write_str(name)?,
                Step::Key(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::control::config::Config;

    /// The parser itself lists the keys of a table when it meets a stranger.
    fn keys_of(table: &str) -> Vec<String> {
        let text = format!("{table}\nno_such_key = 1");
        let message = Config::parse(Path::new("x"), &text)
            .unwrap_err()
            .to_string();
        let keys = message.split('`').skip(3).step_by(2);
        keys.map(str::to_owned).collect()
    }

    #[test]
    fn for_every_key_it_is_decided_when_a_change_takes_effect() {
        let mut defined = BTreeSet::from(["portal".to_owned()]);
        let tables = [
            ("", ""),
            ("[san]", "san."),
            ("[[portal]]", "portal."),
            ("[limits]", "limits."),
            ("[access]", "access."),
            ("[log]", "log."),
            ("[metrics]", "metrics."),
            ("[audit]", "audit."),
            ("[tuning]", "tuning."),
        ];
        for (table, prefix) in tables {
            defined.extend(keys_of(table).iter().map(|key| format!("{prefix}{key}")));
        }
        // These are tables, of which each key has a line; and one key has two names.
        for table in [
            "san", "limits", "access", "groups", "log", "metrics", "audit", "tuning",
        ] {
            assert!(defined.remove(table), "{table}");
        }
        defined.remove("access.require_digests");
        let decided: BTreeSet<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(decided, defined);
        assert_eq!(decided.len(), KEYS.len(), "each key once");
        assert_eq!(keys_of("[groups.abc]"), keys_of("[access]"));
    }

    #[test]
    fn a_place_finds_its_decision() {
        let top = Place::default();
        let found = |place: &Place| place.decision().map(|key| key.path);
        let portal = top.key("portal").index(3).key("listen");
        assert_eq!(portal.to_string(), "portal[3].listen");
        assert_eq!(found(&portal), Some("portal.listen"));
        let group = top.key("groups").key("databases").key("allow");
        assert_eq!(group.to_string(), "groups.databases.allow");
        assert_eq!(found(&group), Some("access.allow"));
        assert_eq!(found(&top.key("limits")), None);
    }

    #[test]
    fn what_does_not_change_live_says_why() {
        for key in KEYS {
            assert!(
                key.effect.is_live() || !key.effect.note().is_empty(),
                "{key:?}"
            );
        }
    }
}

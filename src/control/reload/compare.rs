//! Two configurations, key by key.

use toml::{Table, Value};

use crate::control::config::keys::{Effect, Key, Place};
use crate::control::config::{Config, ConfigError};

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Where it stands.
    pub(super) place: Place,
    /// The line of the table for it.
    pub(super) key: &'static Key,
    /// Its former value as TOML; `None`: it had none.
    pub(super) from: Option<String>,
    /// Its new value.
    pub(super) to: Option<String>,
}

/// What differs between a configuration in force and one that is to be.
#[derive(Debug)]
pub(super) struct Comparison {
    /// What will be in force: what changes live as in the new one, all else as in the old one.
    pub(super) in_force: Config,
    /// Keys that differ, in the order of their places.
    pub(super) changes: Vec<Change>,
    /// Keys that have a value and are the same.
    pub(super) unchanged: Vec<Place>,
}

/// Compares the configuration in force with the one that is to be.
pub(super) fn compare(old: &Config, new: &Config) -> Result<Comparison, ConfigError> {
    let mut walk = Walk::default();
    let (old, new) = (table(old)?, table(new)?);
    let in_force = walk.tables(Some(&old), Some(&new), &Place::default());
    let in_force = in_force.try_into().map_err(unreadable)?;
    Ok(Comparison {
        in_force,
        changes: walk.changes,
        unchanged: walk.unchanged,
    })
}

fn table(config: &Config) -> Result<Table, ConfigError> {
    Table::try_from(config).map_err(unreadable)
}

/// A configuration that was read can be written and read again; a test holds that.
fn unreadable(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::of_flags(format!(
        "the configuration in force can't be put together: {error}"
    ))
}

#[derive(Default)]
struct Walk {
    changes: Vec<Change>,
    unchanged: Vec<Place>,
}

impl Walk {
    fn tables(&mut self, old: Option<&Table>, new: Option<&Table>, place: &Place) -> Table {
        let names = |table: Option<&Table>| {
            let names = table.into_iter().flat_map(Table::keys);
            names.cloned().collect::<std::collections::BTreeSet<_>>()
        };
        let mut in_force = Table::new();
        for name in names(old).union(&names(new)) {
            let (old, new) = (
                old.and_then(|table| table.get(name)),
                new.and_then(|table| table.get(name)),
            );
            if let Some(value) = self.values(old, new, &place.key(name)) {
                in_force.insert(name.clone(), value);
            }
        }
        in_force
    }

    fn values(&mut self, old: Option<&Value>, new: Option<&Value>, place: &Place) -> Option<Value> {
        let is_table = [old, new].into_iter().flatten().any(Value::is_table);
        if is_table {
            let (old, new) = (old.and_then(Value::as_table), new.and_then(Value::as_table));
            let table = self.tables(old, new, place);
            // A group that says nothing is there nevertheless.
            return (new.is_some() || !table.is_empty()).then_some(Value::Table(table));
        }
        if let (Some(old), Some(new)) = (tables_of(old), tables_of(new))
            && old.len() == new.len()
        {
            let pairs = old.iter().zip(&new).enumerate();
            let tables = pairs.map(|(index, (old, new))| {
                let table = self.tables(Some(*old), Some(*new), &place.index(index));
                Value::Table(table)
            });
            return Some(Value::Array(tables.collect()));
        }
        self.leaf(old, new, place)
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, place: &Place) -> Option<Value> {
        if old == new {
            self.unchanged.push(place.clone());
            return old.cloned();
        }
        // A test sees to it that each key has a line; one that had none would wait for a restart.
        let key = place.decision().unwrap_or(&UNDECIDED);
        self.changes.push(Change {
            place: place.clone(),
            key,
            from: old.map(shown),
            to: new.map(shown),
        });
        if key.effect.is_live() { new } else { old }.cloned()
    }
}

const UNDECIDED: Key = Key {
    path: "",
    flag: None,
    effect: Effect::Restart("nothing is known about it"),
};

/// The tables of an array that has nothing else.
fn tables_of(value: Option<&Value>) -> Option<Vec<&Table>> {
    let items = value?.as_array()?;
    let tables: Option<Vec<_>> = items.iter().map(Value::as_table).collect();
    tables.filter(|tables| !tables.is_empty())
}

/// A value in one line. Of tables, only how many there are: their keys would fill the screen.
fn shown(value: &Value) -> String {
    match tables_of(Some(value)) {
        Some(tables) => tables.len().to_string(),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("x"), text).unwrap()
    }

    fn changed(comparison: &Comparison) -> Vec<(String, Option<&str>, Option<&str>)> {
        let changes = comparison.changes.iter();
        let told = changes.map(|change| {
            let place = change.place.to_string();
            (place, change.from.as_deref(), change.to.as_deref())
        });
        told.collect()
    }

    #[test]
    fn what_is_live_is_taken_over_and_all_else_stays() {
        let old =
            config("reactors = 2\n[log]\nslow_io = \"5ms\"\n[limits]\nfence_timeout = \"9s\"\n");
        let new =
            config("reactors = 4\n[limits]\nfence_timeout = \"8s\"\n[metrics]\nsessions = true\n");
        let comparison = compare(&old, &new).unwrap();
        assert_eq!(
            changed(&comparison),
            [
                (
                    "limits.fence_timeout".to_owned(),
                    Some("\"9s\""),
                    Some("\"8s\"")
                ),
                ("log.slow_io".to_owned(), Some("\"5ms\""), None),
                ("metrics.sessions".to_owned(), Some("false"), Some("true")),
                ("reactors".to_owned(), Some("2"), Some("4")),
            ]
        );
        let expected =
            config("reactors = 2\n[limits]\nfence_timeout = \"8s\"\n[metrics]\nsessions = true\n");
        assert_eq!(comparison.in_force, expected);
    }

    #[test]
    fn portals_are_compared_one_by_one_while_there_are_as_many() {
        let one = "[[portal]]\nlisten = \"127.0.0.1:1\"\n";
        let told = "[[portal]]\nlisten = \"127.0.0.1:2\"\nadvertise = \"a.example:1\"\n";
        let comparison = compare(&config(one), &config(told)).unwrap();
        let places: Vec<_> = changed(&comparison)
            .into_iter()
            .map(|(place, ..)| place)
            .collect();
        assert_eq!(places, ["portal[0].advertise", "portal[0].listen"]);
        let portal = &comparison.in_force.portals[0];
        assert_eq!(portal.listen.to_string(), "127.0.0.1:1");
        assert!(portal.advertise.is_some());

        let two = format!("{one}{told}");
        let comparison = compare(&config(one), &config(&two)).unwrap();
        assert_eq!(
            changed(&comparison),
            [("portal".to_owned(), Some("1"), Some("2"))]
        );
        assert_eq!(comparison.in_force, config(one));
    }

    #[test]
    fn groups_come_and_go_with_their_rules() {
        let old = config("[groups.gone]\nallow = [\"10.0.0.0/8\"]\n");
        let new = config("[groups.come]\nenforce_crc = true\n");
        let comparison = compare(&old, &new).unwrap();
        assert_eq!(
            changed(&comparison),
            [
                ("groups.come.enforce_crc".to_owned(), None, Some("true")),
                (
                    "groups.gone.allow".to_owned(),
                    Some("[\"10.0.0.0/8\"]"),
                    None
                ),
            ]
        );
        assert_eq!(comparison.in_force, new);
    }

    #[test]
    fn every_configuration_survives_the_way_through_the_comparison() {
        let example = include_str!("../../../tuning/holdfast.toml");
        let full = "data = \"/d\"\ncontrol = \"/c\"\ncores = \"0,2-3\"\n\
                    [[portal]]\nlisten = \"[::1]:1\"\nadvertise = \"a.example:1\"\ntag = 9\n\
                    redirect = \"b.example:1\"\nredirect_permanent = true\n\
                    [limits]\nsessions_per_initiator = 3\n[access]\nchap_accounts = \"/a\"\n\
                    initiators = [\"iqn.2024-01.test:a\"]\nmax_burst_length = \"64KiB\"\n\
                    [groups.abc]\nchap = \"none\"\nallow = []\n[log]\nslow_io = \"1ms\"\n\
                    [metrics]\nlisten = \"127.0.0.1:0\"\n[audit]\npath = \"/p\"\n\
                    [tuning]\nidle = \"spin\"\narena = \"64MiB\"\n";
        for text in [example, full, ""] {
            let config = config(text);
            let same = compare(&config, &config).unwrap();
            assert!(same.changes.is_empty());
            assert_eq!(same.in_force, config);
            let grown = compare(&Config::default(), &config).unwrap();
            assert!(
                grown
                    .changes
                    .iter()
                    .all(|change| !change.key.path.is_empty())
            );
        }
    }
}

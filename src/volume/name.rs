//! Names that people give: validated once, valid from then on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a name is not taken: what was named, where it goes wrong, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?}: {violation}; expected {expected}")]
pub struct NameError {
    /// What the name is for, as in "volume name".
    pub what: &'static str,
    /// The name as it was given.
    pub name: String,
    /// What is wrong with it.
    pub violation: NameViolation,
    /// The rule for such names.
    pub expected: &'static str,
}

/// What is wrong with a name, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameViolation {
    /// Too short or too long.
    #[error("{0} characters")]
    Length(usize),
    /// A character that such names do not have.
    #[error("character {character:?} at byte {at}")]
    Character {
        /// The character.
        character: char,
        /// Where it stands.
        at: usize,
    },
    /// A separator at the beginning or the end, or one that follows another.
    #[error("separator at byte {at} without a letter or digit on both sides")]
    Separator {
        /// Where it stands.
        at: usize,
    },
}

/// How names of one sort are made.
struct Rule {
    what: &'static str,
    length_min: usize,
    length_max: usize,
    separators: &'static str,
    expected: &'static str,
}

impl Rule {
    fn check(&self, name: &str) -> Result<(), NameError> {
        self.violation(name).map_or(Ok(()), |violation| {
            let Self { what, expected, .. } = *self;
            Err(NameError {
                what,
                name: name.to_owned(),
                violation,
                expected,
            })
        })
    }

    /// The first thing wrong with `name`.
    fn violation(&self, name: &str) -> Option<NameViolation> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let mut after_plain = false;
        for (at, character) in name.char_indices() {
            let plain = is_plain(character);
            if !plain && !self.separators.contains(character) {
                return Some(NameViolation::Character { character, at });
            }
            if !plain && !after_plain {
                return Some(NameViolation::Separator { at });
            }
            after_plain = plain;
        }
        if !(self.length_min..=self.length_max).contains(&name.len()) {
            return Some(NameViolation::Length(name.len()));
        }
        (!after_plain).then(|| NameViolation::Separator { at: name.len() - 1 })
    }
}

macro_rules! validated_name {
    ($(#[$docs:meta])* $name:ident, $rule:expr) => {
        $(#[$docs])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            const RULE: Rule = $rule;

            /// The name, if it is valid.
            pub fn new(name: &str) -> Result<Self, NameError> {
                Self::RULE.check(name).map(|()| Self(name.to_owned()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::RULE.check(&name).map(|()| Self(name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }
    };
}

validated_name! {
    /// The name of a SAN.
    SanName,
    Rule {
        what: "SAN name",
        length_min: 3,
        length_max: 24,
        separators: "-_",
        expected: "3 to 24 of a-z, 0-9, single \"-\" and \"_\" between them",
    }
}

validated_name! {
    /// The name of a volume group.
    GroupName,
    Rule {
        what: "group name",
        length_min: 3,
        length_max: 63,
        separators: "-",
        expected: "3 to 63 of a-z, 0-9, single \"-\" between them",
    }
}

validated_name! {
    /// The name of a volume or of a snapshot.
    VolumeName,
    Rule {
        what: "volume name",
        length_min: 3,
        length_max: 63,
        separators: "-_",
        expected: "3 to 63 of a-z, 0-9, single \"-\" and \"_\" between them",
    }
}

validated_name! {
    /// The name under which a CHAP account is kept. It is a reference: the secret is elsewhere.
    AccountName,
    Rule {
        what: "account name",
        length_min: 1,
        length_max: 63,
        separators: "-_.:@",
        expected: "1 to 63 of a-z, 0-9, single \"-\", \"_\", \".\", \":\" and \"@\" between them",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation<T>(result: Result<T, NameError>) -> Option<NameViolation> {
        result.err().map(|error| error.violation)
    }

    #[test]
    fn lengths_are_those_of_the_service() {
        for (length, san, group, volume) in [
            (0, false, false, false),
            (2, false, false, false),
            (3, true, true, true),
            (24, true, true, true),
            (25, false, true, true),
            (63, false, true, true),
            (64, false, false, false),
        ] {
            let name = "a".repeat(length);
            assert_eq!(SanName::new(&name).is_ok(), san, "SAN, {length}");
            assert_eq!(GroupName::new(&name).is_ok(), group, "group, {length}");
            assert_eq!(VolumeName::new(&name).is_ok(), volume, "volume, {length}");
        }
        assert_eq!(
            violation(SanName::new("ab")),
            Some(NameViolation::Length(2))
        );
    }

    #[test]
    fn characters_are_those_of_the_service() {
        assert!(VolumeName::new("data_01-b").is_ok() && SanName::new("san_1").is_ok());
        let found = |name, at| NameViolation::Character {
            character: name,
            at,
        };
        assert_eq!(violation(GroupName::new("group_1")), Some(found('_', 5)));
        assert_eq!(violation(VolumeName::new("Data")), Some(found('D', 0)));
        assert_eq!(violation(VolumeName::new("dé-b")), Some(found('é', 1)));
        assert_eq!(violation(VolumeName::new("a/../b")), Some(found('/', 1)));
    }

    #[test]
    fn separators_stand_alone_between_letters_and_digits() {
        for (name, at) in [("-ab", 0), ("ab-", 2), ("a--b", 2), ("a-_b", 2), ("_", 0)] {
            assert_eq!(
                violation(VolumeName::new(name)),
                Some(NameViolation::Separator { at })
            );
        }
    }

    #[test]
    fn the_error_says_what_where_and_what_was_expected() {
        assert_eq!(
            GroupName::new("a b").unwrap_err().to_string(),
            "group name \"a b\": character ' ' at byte 1; expected 3 to 63 of a-z, 0-9, \
             single \"-\" between them"
        );
    }

    #[test]
    fn an_invalid_name_is_not_deserialised() {
        let good: VolumeName = serde_json::from_str("\"data\"").unwrap();
        assert_eq!(serde_json::to_string(&good).unwrap(), "\"data\"");
        let error = serde_json::from_str::<VolumeName>("\"da--ta\"").unwrap_err();
        assert!(error.to_string().contains("separator at byte 3"), "{error}");
    }
}

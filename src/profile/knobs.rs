//! The knobs of a profile as its file writes and explains them.
//!
//! Which knobs there are stands in one place, [`Overrides`](crate::base::tuning::Overrides); here
//! they are whatever a parsed file holds, so that a new one needs no line in this file.

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::Serialize;
use toml::Value;

use super::{BUILT_IN, Profile};

/// One knob of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Knob {
    /// Its key in the file.
    pub name: String,
    /// Its value, as the file writes it.
    #[schemars(with = "serde_json::Value")]
    pub value: Value,
    /// What it does: the comment above it, its lines as they stand; empty where nobody says.
    pub meaning: String,
}

/// One knob that two profiles set to different values.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// Its key in the files.
    pub name: String,
    /// Its value in the first profile.
    #[schemars(with = "serde_json::Value")]
    pub first: Value,
    /// Its value in the second profile.
    #[schemars(with = "serde_json::Value")]
    pub second: Value,
    /// What it does.
    pub meaning: String,
}

/// The knobs of `values`, in the order of `text`, which they were parsed from. What the file leaves
/// unexplained is explained as in the built-in profiles.
pub(super) fn knobs(text: &str, values: &toml::Table) -> Vec<Knob> {
    let documented = meanings(text);
    let built_in: Vec<_> = BUILT_IN
        .iter()
        .flat_map(|(_, text)| meanings(text))
        .collect();
    let place = |name: &str| documented.iter().position(|(key, _)| key == name);
    let mut knobs: Vec<Knob> = values
        .iter()
        .map(|(name, value)| {
            let meaning = documented
                .iter()
                .chain(&built_in)
                .find(|(key, meaning)| key == name && !meaning.is_empty());
            Knob {
                name: name.clone(),
                value: value.clone(),
                meaning: meaning.map(|(_, text)| text.clone()).unwrap_or_default(),
            }
        })
        .collect();
    knobs.sort_by_key(|knob| place(&knob.name).unwrap_or(usize::MAX));
    knobs
}

/// Each key of a profile's text with the comment above it. A comment explains every key that
/// follows it, up to an empty line.
fn meanings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut used = false;
    for line in text.lines() {
        if let Some(explained) = line.strip_prefix('#') {
            if used {
                comment.clear();
                used = false;
            }
            comment.push(explained.strip_prefix(' ').unwrap_or(explained));
        } else if let Some((key, _)) = line.split_once('=') {
            found.push((key.trim().to_owned(), comment.join("\n")));
            used = true;
        } else {
            comment.clear();
            used = false;
        }
    }
    found
}

impl Profile {
    /// The knobs that `self` and `other` set to different values, in the order of `self`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let differs = |knob: &Knob| {
            let second = other.knobs.iter().find(|theirs| theirs.name == knob.name)?;
            (comparable(&knob.value) != comparable(&second.value)).then(|| Difference {
                name: knob.name.clone(),
                first: knob.value.clone(),
                second: second.value.clone(),
                meaning: knob.meaning.clone(),
            })
        };
        self.knobs.iter().filter_map(differs).collect()
    }

    /// The value of the knob of that name, where it is a text.
    pub(super) fn text_knob(&self, name: &str) -> Option<&str> {
        let knob = self.knobs.iter().find(|knob| knob.name == name)?;
        knob.value.as_str()
    }
}

/// A size as its number of bytes, so that "1GiB" is "1024MiB"; anything else as it is.
fn comparable(value: &Value) -> Value {
    let bytes = value
        .as_str()
        .and_then(|text| text.parse::<ByteSize>().ok());
    match bytes.map(|size| i64::try_from(size.as_u64())) {
        Some(Ok(bytes)) => Value::Integer(bytes),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tuning::Overrides;

    #[test]
    fn every_knob_of_every_built_in_profile_is_explained() {
        for (name, _) in BUILT_IN {
            for knob in Profile::find(name).unwrap().knobs {
                assert!(!knob.meaning.is_empty(), "{name}: {}", knob.name);
            }
        }
    }

    #[test]
    fn the_knobs_are_those_of_the_overrides() {
        let known = serde_json::to_value(Overrides::default()).unwrap();
        let mut known: Vec<_> = known.as_object().unwrap().keys().cloned().collect();
        let knobs = Profile::find("latency").unwrap().knobs;
        let mut named: Vec<_> = knobs.into_iter().map(|knob| knob.name).collect();
        known.sort();
        named.sort();
        assert_eq!(named, known);
    }

    #[test]
    fn a_comment_explains_the_keys_below_it() {
        let text = "# The file.\n\n# Two\n# lines.\na = 1\nb = 2\n# Another.\nc = 3\n\nd = 4\n";
        let told = |key: &str, meaning: &str| (key.to_owned(), meaning.to_owned());
        assert_eq!(
            meanings(text),
            [
                told("a", "Two\nlines."),
                told("b", "Two\nlines."),
                told("c", "Another."),
                told("d", ""),
            ]
        );
    }

    #[test]
    fn a_profile_differs_from_itself_in_nothing() {
        let latency = Profile::find("latency").unwrap();
        assert_eq!(latency.differences(&latency), []);
        let differences = latency.differences(&Profile::find("compat").unwrap());
        let idle = differences
            .iter()
            .find(|found| found.name == "idle")
            .unwrap();
        assert_eq!(
            (idle.first.as_str(), idle.second.as_str()),
            (Some("spin"), Some("wait"))
        );
        assert!(idle.meaning.contains("with nothing to do"));
    }

    #[test]
    fn sizes_are_compared_by_their_bytes() {
        let text = BUILT_IN[0].1;
        assert!(text.contains("\"1GiB\""), "{text}");
        let first = Profile::parse("a", text).unwrap();
        let same = Profile::parse("b", &text.replace("\"1GiB\"", "\"1024 MiB\"")).unwrap();
        assert_eq!(first.differences(&same), []);
        let other = Profile::parse("c", &text.replace("\"1GiB\"", "\"2GiB\"")).unwrap();
        assert_eq!(first.differences(&other).len(), 1);
    }
}

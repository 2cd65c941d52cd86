//! Layer 7: performance profiles.
//!
//! A profile is a TOML file that sets every knob of [`Tuning`] and documents each
//! beside its value. Four are built in; anyone can write another. This room finds, reads, explains
//! and compares them. [`check`] examines the host for one; nothing here ever changes it.

pub mod check;
mod knobs;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::knobs::{Difference, Knob};
use crate::base::tuning::{Overrides, Tuning};

/// The profiles that are built in, with their text.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("latency", include_str!("../../tuning/latency.toml")),
    ("throughput", include_str!("../../tuning/throughput.toml")),
    ("efficiency", include_str!("../../tuning/efficiency.toml")),
    ("compat", include_str!("../../tuning/compat.toml")),
];

/// Every knob, from one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name, or its file's.
    pub name: String,
    /// One line on what it is for.
    pub description: String,
    /// Its values.
    pub tuning: Tuning,
    /// Its values as its file writes them, each with what it does, in the file's order.
    pub knobs: Vec<Knob>,
}

/// A profile that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", origin.display())]
pub struct ProfileError {
    origin: PathBuf,
    message: String,
}

/// A profile's file: its description, and the knobs.
///
/// `deny_unknown_fields` does not go with `flatten`, so the knobs are parsed from what is left.
#[derive(Deserialize)]
struct ProfileFile {
    description: String,
    #[serde(flatten)]
    knobs: toml::Table,
}

impl Profile {
    /// The built-in profile of that name, or the file: whatever holds a `/` or ends in `.toml`.
    ///
    /// # Errors
    /// There is none, or it does not set every knob to a value that can be.
    pub fn find(name: &str) -> Result<Self, ProfileError> {
        let path = Path::new(name);
        if let Some((name, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text);
        }
        if !name.contains('/') && path.extension().is_none_or(|extension| extension != "toml") {
            let known = BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(refused(
                name,
                format!("no such profile; expected {known} or a file"),
            ));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| refused(name, format!("the profile can't be read: {error}")))?;
        Self::parse(name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let file: ProfileFile =
            toml::from_str(text).map_err(|error| refused(name, error.to_string()))?;
        let knobs = knobs::knobs(text, &file.knobs);
        let overrides: Overrides = file.knobs.try_into().map_err(|error: toml::de::Error| {
            refused(name, error.to_string().trim_end().replace('\n', " "))
        })?;
        if let Some(knob) = overrides.first_missing() {
            return Err(refused(
                name,
                format!("a profile sets every knob; {knob} is missing"),
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            description: file.description,
            tuning: Tuning::default().overridden(&overrides),
            knobs,
        })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.description)
    }
}

fn refused(origin: &str, message: String) -> ProfileError {
    ProfileError {
        origin: PathBuf::from(origin),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tuning::{Engine, Idle};

    #[test]
    fn every_built_in_profile_can_be_used() {
        for (name, _) in BUILT_IN {
            let profile = Profile::find(name).unwrap();
            assert!(!profile.description.is_empty());
        }
        assert_eq!(Profile::find("latency").unwrap().tuning.idle, Idle::Spin);
        assert_eq!(Profile::find("compat").unwrap().tuning.engine, Engine::Mio);
    }

    #[test]
    fn efficiency_is_the_default() {
        assert_eq!(
            Profile::find("efficiency").unwrap().tuning,
            Tuning::default()
        );
    }

    #[test]
    fn a_file_is_a_profile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        std::fs::write(&path, BUILT_IN[0].1).unwrap();
        assert_eq!(
            Profile::find(path.to_str().unwrap()).unwrap().tuning,
            Profile::find("latency").unwrap().tuning
        );
    }

    #[test]
    fn errors_say_what_was_expected() {
        let told = |name: &str| Profile::find(name).unwrap_err().to_string();
        assert!(told("fastest").contains("expected latency, throughput, efficiency, compat"));
        assert!(told("/nowhere/p.toml").contains("can't be read"));
        let parsed = |text: &str| Profile::parse("p", text).unwrap_err().to_string();
        assert!(parsed("description = \"d\"\nidle = \"spin\"").contains("is missing"));
        assert!(parsed("description = \"d\"\nwarp = 9").contains("unknown field `warp`"));
        assert!(parsed("description = \"d\"\nidle = \"nap\"").contains("`adaptive`"));
    }
}

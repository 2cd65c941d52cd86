//! What `bench compare` compares, on its command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::load::Address;
use crate::load::floor::Payload;

const FORM: &str = "expected [NAME=]iscsi://HOST/TARGET, [NAME=]profile:PROFILE, [NAME=]floor, \
                    [NAME=]floor:ram or [NAME=]floor:disk, with ,sessions=N ,depth=N ,idle=N ,digests behind it, \
                    or ,program=PATH behind a profile";

/// A candidate: what it is, and in what it differs from the load of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CandidateArgument {
    pub(super) name: String,
    pub(super) what: What,
    pub(super) sessions: Option<usize>,
    pub(super) depth: Option<u32>,
    pub(super) idle_sessions: usize,
    pub(super) digests: bool,
    /// Whose server a profile gets; nothing for this very program's.
    pub(super) program: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Target(Address),
    Profile(String),
    Floor(Payload),
    DiskFloor,
}

impl FromStr for CandidateArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (subject, options) = text.split_once(',').unwrap_or((text, ""));
        // A name has no colon: what stands before a `=` behind one is no name.
        let named = subject
            .split_once('=')
            .filter(|(name, _)| !name.contains(':'));
        let (name, subject) = match named {
            Some(("", _)) => return Err(FORM.to_owned()),
            Some((name, subject)) => (Some(name), subject),
            None => (None, subject),
        };
        let what = match subject.split_once(':') {
            None if subject == "floor" => What::Floor(Payload::Null),
            Some(("floor", "null")) => What::Floor(Payload::Null),
            Some(("floor", "ram")) => What::Floor(Payload::Ram),
            Some(("floor", "disk")) => What::DiskFloor,
            Some(("profile", profile)) if !profile.is_empty() => What::Profile(profile.to_owned()),
            Some(("iscsi", _)) => {
                What::Target(subject.parse().map_err(|error| format!("{error}"))?)
            }
            _ => return Err(FORM.to_owned()),
        };
        // Unnamed candidates are called what they are, options included, so that they differ.
        let mut candidate = Self {
            name: name.unwrap_or(text).to_owned(),
            what,
            sessions: None,
            depth: None,
            idle_sessions: 0,
            digests: false,
            program: None,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            candidate.set(option)?;
        }
        Ok(candidate)
    }
}

impl CandidateArgument {
    fn set(&mut self, option: &str) -> Result<(), String> {
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| format!("{option}: expected a number"))
        };
        let is_target = !matches!(self.what, What::Floor(_) | What::DiskFloor);
        let is_profile = matches!(self.what, What::Profile(_));
        match option.split_once('=') {
            Some(("sessions", count)) => self.sessions = Some(number(count)? as usize),
            Some(("depth", depth)) => self.depth = Some(number(depth)?),
            Some(("idle", count)) if is_target => self.idle_sessions = number(count)? as usize,
            Some(("program", path)) if is_profile && !path.is_empty() => {
                self.program = Some(path.into());
            }
            None if option == "digests" && is_target => self.digests = true,
            _ => return Err(format!("{option}: {FORM}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<CandidateArgument, String> {
        text.parse()
    }

    #[test]
    fn candidates_say_what_they_are() {
        let plain = parsed("floor").unwrap();
        assert_eq!(
            (plain.name.as_str(), &plain.what),
            ("floor", &What::Floor(Payload::Null))
        );
        let profile = parsed("busy=profile:latency,sessions=16,depth=8,idle=255,digests").unwrap();
        assert_eq!(profile.name, "busy");
        assert_eq!(profile.what, What::Profile("latency".to_owned()));
        assert_eq!((profile.sessions, profile.depth), (Some(16), Some(8)));
        assert_eq!((profile.idle_sessions, profile.digests), (255, true));
        let older = parsed("old=profile:latency,program=/opt/1.0/holdfast").unwrap();
        assert_eq!(older.program, Some("/opt/1.0/holdfast".into()));
        let url = "iscsi://127.0.0.1:3261/iqn.2024-01.example:disk/0";
        let target = parsed(&format!("old={url},depth=4")).unwrap();
        assert_eq!((target.name.as_str(), target.depth), ("old", Some(4)));
        assert_eq!(target.what, What::Target(url.parse().unwrap()));
        assert_eq!(parsed(url).unwrap().name, url);
    }

    #[test]
    fn what_is_no_candidate_is_refused() {
        for wrong in [
            "",
            "=floor",
            "ceiling",
            "floor:tape",
            "floor:disk,digests",
            "floor,digests",
            "floor,idle=3",
            "profile:",
            "profile:latency,depth=deep",
            "profile:latency,speed=9",
            "profile:latency,program=",
            "floor,program=/bin/true",
            "iscsi://host",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}

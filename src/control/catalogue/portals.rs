//! Which portal has which portal group tag, over restarts.
//!
//! A tag is also the relative identifier of a target port, and registrations name it. So a portal
//! keeps its tag when others come, go or change places, and a new portal gets one that none has ever
//! had: a registration must not come to mean another port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A portal of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPortal {
    /// Where it listens, as configured.
    pub listen: SocketAddr,
    /// Its tag, where the configuration gives one.
    pub tag: Option<u16>,
}

/// Why portals can't have tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortalTagError {
    /// The tag that the configuration gives one portal is what another has had from before.
    #[error(
        "portal {portal} can't have tag {tag}: portal {owner} has had it since an earlier start, and \
         registrations may name it; give {portal} another tag, or {owner} one in the configuration"
    )]
    Taken {
        /// The portal that is to have it.
        portal: String,
        /// The tag.
        tag: u16,
        /// The portal that has it.
        owner: String,
    },
    /// Every tag has been given once.
    #[error("portal {portal} can't have a tag: all 65535 have been used; give it one with `tag`")]
    Exhausted {
        /// The portal.
        portal: String,
    },
}

/// Every tag that was ever given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortalBook {
    /// The tag of each portal, those that are gone included.
    portals: BTreeMap<String, u16>,
    /// Tags that are not given to a new portal, whoever had them.
    used: BTreeSet<u16>,
}

impl PortalBook {
    /// The tags of these portals, in their order: the one that the configuration gives, else the one
    /// that the portal had before, else the lowest that none has had. All are remembered.
    pub(super) fn assign(&mut self, wanted: &[WantedPortal]) -> Result<Vec<u16>, PortalTagError> {
        let names = names(wanted);
        let remembered = |book: &Self, index: usize| book.portals.get(&names[index]).copied();
        for (index, portal) in wanted.iter().enumerate() {
            let Some(tag) = portal.tag else { continue };
            // Portals of one group that the configuration made stay one, whoever names it now.
            let is_new = remembered(self, index) != Some(tag);
            let owner = (0..wanted.len()).find(|other| {
                wanted[*other].tag.is_none() && remembered(self, *other) == Some(tag)
            });
            if let Some(owner) = owner.filter(|_| is_new) {
                return Err(PortalTagError::Taken {
                    portal: names[index].clone(),
                    tag,
                    owner: names[owner].clone(),
                });
            }
            self.used.insert(tag);
        }
        let mut tags = Vec::with_capacity(wanted.len());
        for (name, portal) in names.into_iter().zip(wanted) {
            let tag = match portal.tag.or_else(|| self.portals.get(&name).copied()) {
                Some(tag) => tag,
                None => self.unused().ok_or_else(|| PortalTagError::Exhausted {
                    portal: name.clone(),
                })?,
            };
            self.used.insert(tag);
            self.portals.insert(name, tag);
            tags.push(tag);
        }
        Ok(tags)
    }

    fn unused(&self) -> Option<u16> {
        (1..=u16::MAX).find(|tag| !self.used.contains(tag))
    }
}

/// What each portal is remembered by: its address. Portals that take a free port have no port to be
/// known by, so each is known by its place among those of the same address.
fn names(wanted: &[WantedPortal]) -> Vec<String> {
    let mut ephemeral: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    let name = |portal: &WantedPortal| {
        let listen = portal.listen;
        if listen.port() != 0 {
            return listen.to_string();
        }
        let place = ephemeral.entry(listen).or_default();
        *place += 1;
        match *place {
            1 => listen.to_string(),
            place => format!("{listen} (number {place})"),
        }
    };
    wanted.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "10.0.0.1:3260";
    const B: &str = "10.0.0.2:3260";
    const C: &str = "[fd00::3]:3260";

    fn portals(listen: &[&str]) -> Vec<WantedPortal> {
        let portal = |listen: &&str| WantedPortal {
            listen: listen.parse().unwrap(),
            tag: None,
        };
        listen.iter().map(portal).collect()
    }

    fn tagged(listen: &str, tag: u16) -> WantedPortal {
        WantedPortal {
            listen: listen.parse().unwrap(),
            tag: Some(tag),
        }
    }

    #[test]
    fn a_portal_keeps_its_tag_and_a_new_one_gets_one_never_used() {
        let mut book = PortalBook::default();
        let mut tags = |listen: &[&str]| book.assign(&portals(listen)).unwrap();
        assert_eq!(tags(&[A, B]), [1, 2]);
        assert_eq!(tags(&[B]), [2]);
        assert_eq!(tags(&[C, B]), [3, 2], "not the tag of A, which is gone");
        assert_eq!(tags(&[A, C, B]), [1, 3, 2], "A comes back as it was");
    }

    #[test]
    fn portals_on_free_ports_are_known_by_their_place() {
        let mut book = PortalBook::default();
        let free = "127.0.0.1:0";
        let mut tags = |listen: &[&str]| book.assign(&portals(listen)).unwrap();
        assert_eq!(tags(&[free, A, free]), [1, 2, 3]);
        assert_eq!(tags(&["127.0.0.2:0", free, free]), [4, 1, 3]);
    }

    #[test]
    fn the_configuration_wins_and_is_remembered() {
        let mut book = PortalBook::default();
        assert_eq!(
            book.assign(&[tagged(A, 7), tagged(B, 7)]).unwrap(),
            [7, 7],
            "two portals of one group"
        );
        assert_eq!(book.assign(&portals(&[A, B, C])).unwrap(), [7, 7, 1]);
        let half = [tagged(A, 7), portals(&[B]).remove(0)];
        assert_eq!(book.assign(&half).unwrap(), [7, 7], "still one group");
        assert_eq!(book.assign(&[tagged(A, 9)]).unwrap(), [9]);
        assert_eq!(book.assign(&portals(&[A])).unwrap(), [9]);
    }

    #[test]
    fn a_tag_that_a_new_portal_is_about_to_get_can_be_claimed() {
        let mut book = PortalBook::default();
        let mut wanted = portals(&[A]);
        wanted.push(tagged(B, 1));
        assert_eq!(book.assign(&wanted).unwrap(), [2, 1]);
    }

    #[test]
    fn a_tag_of_another_portal_is_refused_and_of_one_that_is_gone_inherited() {
        let mut book = PortalBook::default();
        book.assign(&portals(&[A])).unwrap();
        let mut both = portals(&[A]);
        both.push(tagged(B, 1));
        let error = book.clone().assign(&both).unwrap_err();
        assert_eq!(
            error,
            PortalTagError::Taken {
                portal: B.to_owned(),
                tag: 1,
                owner: A.to_owned()
            }
        );
        let text = error.to_string();
        assert!(text.contains("give 10.0.0.2:3260 another tag"), "{text}");
        // The same target port at another address.
        assert_eq!(book.assign(&[tagged(B, 1)]).unwrap(), [1]);
    }

    #[test]
    fn tags_end() {
        let mut book = PortalBook {
            used: (1..=u16::MAX).collect(),
            ..PortalBook::default()
        };
        let error = book.assign(&portals(&[A])).unwrap_err();
        assert!(matches!(error, PortalTagError::Exhausted { .. }));
    }
}

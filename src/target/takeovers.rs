//! Logins that end a session of another address: a host that has moved, or two hosts under one name.
//!
//! A login with the name and ISID of a session that exists ends that session (RFC 7143 section
//! 6.3.5), wherever it comes from. One such takeover from another address may be a failover: a host
//! with two addresses that has lost the first one. The sure sign of two hosts is a takeover *back*
//! while the first one is fresh: the host that was thrown out logs in again and throws the other one
//! out. Initiators do so within seconds, so that a short memory is enough. Sessions of one name from
//! two addresses under different ISIDs are multi-path, and are never counted.

use crate::base::clock::Instant;
use crate::base::limits::{
    TAKEOVER_LOG_INTERVAL, TAKEOVER_MEMORY, TAKEOVER_PAIRS_MAX, TAKEOVER_RETURN_MAX,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An initiator name under which sessions of one address ended sessions of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// The address whose session was ended last.
    pub from: IpAddr,
    /// The address that ended it.
    pub to: IpAddr,
    /// How often one of the two ended a session of the other.
    pub count: u64,
    /// Whether it went both ways, shortly after each other: two hosts share the name.
    pub is_mutual: bool,
    /// When it last happened.
    pub last: Instant,
}

/// What one volume has seen; lives at its home.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Takeovers {
    pairs: Vec<Pair>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pair {
    takeover: Takeover,
    logged: Option<Instant>,
}

impl Takeovers {
    /// The session of `initiator` from one address was ended by a login from another. Returns what
    /// is to be logged: a pair of addresses once in an interval, and once more when it turns out to
    /// be two hosts.
    pub(crate) fn note(
        &mut self,
        initiator: &str,
        from: IpAddr,
        to: IpAddr,
        now: Instant,
    ) -> Option<&Takeover> {
        let (from, to) = (from.to_canonical(), to.to_canonical());
        if from == to {
            return None;
        }
        self.forget(now);
        let position = self.pairs.iter().position(|pair| {
            let known = &pair.takeover;
            let addresses = [(known.from, known.to), (known.to, known.from)];
            known.initiator == initiator && addresses.contains(&(from, to))
        });
        let position = position.unwrap_or_else(|| self.remember(initiator, from, to, now));
        let Pair { takeover, logged } = self.pairs.get_mut(position)?;
        let is_back = takeover.count > 0 && takeover.from == to;
        let is_news = is_back && !takeover.is_mutual && now < takeover.last + TAKEOVER_RETURN_MAX;
        takeover.is_mutual |= is_news;
        takeover.count += 1;
        (takeover.from, takeover.to, takeover.last) = (from, to, now);
        if is_news || logged.is_none_or(|at| at + TAKEOVER_LOG_INTERVAL <= now) {
            *logged = Some(now);
            return Some(takeover);
        }
        None
    }

    /// What is still remembered, the oldest first.
    pub(crate) fn recent(&self, now: Instant) -> Vec<Takeover> {
        self.pairs
            .iter()
            .map(|pair| &pair.takeover)
            .filter(|takeover| is_fresh(takeover, now))
            .cloned()
            .collect()
    }

    fn remember(&mut self, initiator: &str, from: IpAddr, to: IpAddr, now: Instant) -> usize {
        if self.pairs.len() >= TAKEOVER_PAIRS_MAX {
            let ages = self.pairs.iter().enumerate();
            let oldest = ages.min_by_key(|(_, pair)| pair.takeover.last);
            if let Some((oldest, _)) = oldest {
                self.pairs.remove(oldest);
            }
        }
        self.pairs.push(Pair {
            takeover: Takeover {
                initiator: initiator.to_owned(),
                from,
                to,
                count: 0,
                is_mutual: false,
                last: now,
            },
            logged: None,
        });
        self.pairs.len() - 1
    }

    fn forget(&mut self, now: Instant) {
        self.pairs.retain(|pair| is_fresh(&pair.takeover, now));
    }
}

fn is_fresh(takeover: &Takeover, now: Instant) -> bool {
    now < takeover.last + TAKEOVER_MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NAME: &str = "iqn.2024-01.x:a";

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn one_takeover_is_a_move_and_one_back_is_two_hosts() {
        let mut seen = Takeovers::default();
        let first = seen.note(NAME, address(1), address(2), at(0)).cloned();
        assert!(!first.expect("the first is logged").is_mutual);
        let back = seen.note(NAME, address(2), address(1), at(2)).cloned();
        let back = back.expect("the finding is logged at once");
        assert!(back.is_mutual);
        assert_eq!(
            (back.count, back.from, back.to),
            (2, address(2), address(1))
        );
        assert_eq!(seen.recent(at(3)), vec![back]);
    }

    #[test]
    fn a_failover_and_a_failback_much_later_are_moves() {
        let mut seen = Takeovers::default();
        seen.note(NAME, address(1), address(2), at(0));
        let later = TAKEOVER_RETURN_MAX.as_secs();
        seen.note(NAME, address(2), address(1), at(later));
        assert!(seen.recent(at(later)).iter().all(|seen| !seen.is_mutual));
    }

    #[test]
    fn moving_on_and_on_is_no_return() {
        let mut seen = Takeovers::default();
        seen.note(NAME, address(1), address(2), at(0));
        seen.note(NAME, address(2), address(3), at(1));
        seen.note("iqn.2024-01.x:b", address(2), address(1), at(2));
        assert!(seen.recent(at(2)).iter().all(|seen| !seen.is_mutual));
        assert_eq!(seen.recent(at(2)).len(), 3);
    }

    #[test]
    fn the_same_address_is_a_host_that_comes_back() {
        let mut seen = Takeovers::default();
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(seen.note(NAME, address(1), mapped, at(0)), None);
        assert!(seen.recent(at(0)).is_empty());
    }

    #[test]
    fn a_pair_is_logged_once_in_an_interval_and_all_are_counted() {
        let mut seen = Takeovers::default();
        let interval = TAKEOVER_LOG_INTERVAL.as_secs();
        let logged = (0..2 * interval)
            .filter(|second| {
                let (a, b) = match second % 2 {
                    0 => (1, 2),
                    _ => (2, 1),
                };
                seen.note(NAME, address(a), address(b), at(*second))
                    .is_some()
            })
            .count();
        assert_eq!(
            logged, 3,
            "the first, the finding, and one an interval later"
        );
        assert_eq!(seen.recent(at(2 * interval))[0].count, 2 * interval);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_ends() {
        let mut seen = Takeovers::default();
        for host in 0..200 {
            let name = format!("iqn.2024-01.x:{host}");
            seen.note(&name, address(1), address(2), at(host));
        }
        let recent = seen.recent(at(200));
        assert_eq!(recent.len(), TAKEOVER_PAIRS_MAX);
        assert_eq!(
            recent[TAKEOVER_PAIRS_MAX - 1].initiator,
            "iqn.2024-01.x:199"
        );
        assert!(seen.recent(at(200) + TAKEOVER_MEMORY).is_empty());
    }
}

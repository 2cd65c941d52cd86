//! Who may log in: networks, initiator names, CHAP accounts.

use super::iscsi_name::IscsiName;
use super::name::AccountName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rules of a group, and of its volumes where they say nothing else.
///
/// The default denies everyone: no network is listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessRules {
    /// An initiator's address must be in one of these.
    pub networks: Vec<IpNet>,
    /// Which initiator names may log in.
    pub initiators: Initiators,
    /// How an initiator proves who it is.
    pub authentication: Authentication,
}

/// Which initiator names may log in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiators {
    /// Any name.
    #[default]
    Any,
    /// The names listed.
    Only(BTreeSet<IscsiName>),
}

/// How an initiator proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// It need not.
    #[default]
    None,
    /// By CHAP.
    Chap {
        /// The accounts that may log in.
        accounts: BTreeSet<AccountName>,
        /// The account with which the target answers an initiator that asks for proof in turn.
        mutual: Option<AccountName>,
    },
}

/// What a volume sets apart from its group: each rule given replaces the group's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessOverrides {
    /// Replaces [`AccessRules::networks`].
    pub networks: Option<Vec<IpNet>>,
    /// Replaces [`AccessRules::initiators`].
    pub initiators: Option<Initiators>,
    /// Replaces [`AccessRules::authentication`].
    pub authentication: Option<Authentication>,
}

/// Why an initiator may not log in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Its address is in no network listed.
    #[error("address {0} is in none of the networks allowed")]
    Network(IpAddr),
    /// Its name is not listed.
    #[error("initiator {0} is not among those allowed")]
    Initiator(IscsiName),
}

impl AccessRules {
    /// The rules of the group that a fresh start makes: any initiator of this host.
    #[must_use]
    pub fn loopback() -> Self {
        let networks = [
            IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        Self {
            networks: networks.into(),
            ..Self::default()
        }
    }

    /// These rules with what a volume sets apart.
    #[must_use]
    pub fn overridden_by(&self, overrides: &AccessOverrides) -> Self {
        let AccessOverrides {
            networks,
            initiators,
            authentication,
        } = overrides;
        Self {
            networks: networks.as_ref().unwrap_or(&self.networks).clone(),
            initiators: initiators.as_ref().unwrap_or(&self.initiators).clone(),
            authentication: authentication
                .as_ref()
                .unwrap_or(&self.authentication)
                .clone(),
        }
    }

    /// Passes if `initiator` may come from `address`. Proof of identity is asked for later, at the
    /// security stage of login.
    pub fn admit(&self, address: IpAddr, initiator: &IscsiName) -> Result<(), Denied> {
        // A portal on [::] sees IPv4 peers as ::ffff:a.b.c.d.
        let address = address.to_canonical();
        if !self
            .networks
            .iter()
            .any(|network| network.contains(&address))
        {
            return Err(Denied::Network(address));
        }
        match &self.initiators {
            Initiators::Only(names) if !names.contains(initiator) => {
                Err(Denied::Initiator(initiator.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IscsiName {
        IscsiName::new(text).unwrap()
    }

    fn rules(networks: &[&str]) -> AccessRules {
        let networks = networks
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        AccessRules {
            networks,
            ..AccessRules::default()
        }
    }

    #[test]
    fn nobody_is_admitted_unless_listed() {
        let alpha = name("iqn.2024-01.com.example:alpha");
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(
            AccessRules::default().admit(local, &alpha),
            Err(Denied::Network(local))
        );
        let rules = rules(&["10.1.0.0/16", "2001:db8::/32"]);
        for address in ["10.1.2.3", "2001:db8::7", "::ffff:10.1.2.3"] {
            assert_eq!(
                rules.admit(address.parse().unwrap(), &alpha),
                Ok(()),
                "{address}"
            );
        }
        for address in ["10.2.2.3", "127.0.0.1", "2001:db9::7", "::ffff:10.2.2.3"] {
            assert!(
                rules.admit(address.parse().unwrap(), &alpha).is_err(),
                "{address}"
            );
        }
    }

    #[test]
    fn a_fresh_start_admits_this_host() {
        let alpha = name("iqn.2024-01.com.example:alpha");
        for address in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(
                AccessRules::loopback().admit(address.parse().unwrap(), &alpha),
                Ok(())
            );
        }
        assert!(
            AccessRules::loopback()
                .admit("10.0.0.1".parse().unwrap(), &alpha)
                .is_err()
        );
    }

    #[test]
    fn names_narrow_what_networks_admit() {
        let (alpha, beta) = (name("iqn.2024-01.com:alpha"), name("iqn.2024-01.com:beta"));
        let mut rules = rules(&["0.0.0.0/0"]);
        rules.initiators = Initiators::Only(BTreeSet::from([alpha.clone()]));
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(rules.admit(address, &name("IQN.2024-01.com:ALPHA")), Ok(()));
        assert_eq!(rules.admit(address, &beta), Err(Denied::Initiator(beta)));
    }

    #[test]
    fn a_volume_replaces_rule_by_rule() {
        let group = AccessRules {
            authentication: Authentication::Chap {
                accounts: BTreeSet::from([AccountName::new("nodes").unwrap()]),
                mutual: None,
            },
            ..rules(&["10.0.0.0/8"])
        };
        assert_eq!(group.overridden_by(&AccessOverrides::default()), group);
        let networks = Some(rules(&["192.0.2.0/24"]).networks);
        let overrides = AccessOverrides {
            networks: networks.clone(),
            ..Default::default()
        };
        let effective = group.overridden_by(&overrides);
        assert_eq!(Some(effective.networks), networks);
        assert_eq!(effective.authentication, group.authentication);
        let nobody = AccessOverrides {
            networks: Some(vec![]),
            ..Default::default()
        };
        assert_eq!(group.overridden_by(&nobody).networks, []);
    }

    #[test]
    fn rules_read_like_configuration() {
        let text = r#"{"networks": ["10.0.0.0/8"], "initiators": {"only": ["IQN.2024-01.com:a"]},
            "authentication": {"chap": {"accounts": ["nodes"], "mutual": null}}}"#;
        let rules: AccessRules = serde_json::from_str(text).unwrap();
        let again: AccessRules =
            serde_json::from_value(serde_json::to_value(&rules).unwrap()).unwrap();
        assert_eq!(again, rules);
        let any: AccessRules = serde_json::from_str(r#"{"initiators": "any"}"#).unwrap();
        assert_eq!(any, AccessRules::default());
        assert!(serde_json::from_str::<AccessRules>(r#"{"networks": ["10.0.0.0/33"]}"#).is_err());
    }
}

//! For tests: what may stand between a volume and the store of its bytes.

use super::delay::{Held, Hold, Until};
use super::fault::FaultRule;
use super::open::BackendSpec;
use crate::base::limits::{BACKEND_DELAY_MAX, FAULT_RULES_MAX, TEST_WRAPPERS_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A wrapper as it is asked for when a volume is made:
/// `{"type": "delay", "seed": 7, "hold": {"what": "requests", "until": {"elapsed": {"min_us": 100,
/// "max_us": 20000}}}}`, or `{"type": "fault", "rules": [{"on": "write", "when": {"one-in": 50},
/// "action": {"fail": "medium"}}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wrapper {
    /// Some requests fail, as [`FaultStore`](super::fault::FaultStore) has it.
    Fault {
        /// Decides what is left to chance.
        #[serde(default)]
        seed: u64,
        /// The first rule that fits a request decides.
        rules: Vec<FaultRule>,
    },
    /// Requests, completions or effects come late, as [`DelayStore`](super::delay::DelayStore) has
    /// it.
    Delay {
        /// Decides the length of delays, and so what overtakes what.
        #[serde(default)]
        seed: u64,
        /// What is held, and for how long.
        hold: Hold,
    },
}

/// Why wrappers are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapperError {
    /// More than a volume may have.
    #[error("{0} wrappers, expected at most {TEST_WRAPPERS_MAX}")]
    Wrappers(usize),
    /// More rules than one wrapper may have.
    #[error("{0} fault rules, expected at most {FAULT_RULES_MAX}")]
    Rules(usize),
    /// Together they might hold a request for longer than a backend may take.
    #[error("a delay of {0:?}, expected at most {BACKEND_DELAY_MAX:?} over all wrappers")]
    Delay(Duration),
    /// The shortest delay is longer than the longest.
    #[error("a delay of {min_us} to {max_us} µs, expected the shorter one first")]
    Order {
        /// The one that should be the shortest.
        min_us: u64,
        /// The one that should be the longest.
        max_us: u64,
    },
    /// Only code that has the store in its hands can release what it holds.
    #[error("a hold until released, expected one of a time: nobody could release it")]
    Released,
}

impl Wrapper {
    /// Every request held for `delay` before it takes effect.
    #[must_use]
    pub fn constant_delay(delay: Duration) -> Self {
        let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        Self::Delay {
            seed: 0,
            hold: Hold {
                what: Held::Requests,
                until: Until::Elapsed {
                    min_us: delay_us,
                    max_us: delay_us,
                },
            },
        }
    }

    /// The longest that it may hold a request.
    fn longest(&self) -> Result<Duration, WrapperError> {
        match self {
            Self::Fault { rules, .. } if rules.len() > FAULT_RULES_MAX => {
                Err(WrapperError::Rules(rules.len()))
            }
            Self::Fault { .. } => Ok(Duration::ZERO),
            Self::Delay { hold, .. } => match hold.until {
                Until::Released => Err(WrapperError::Released),
                Until::Elapsed { min_us, max_us } if min_us > max_us => {
                    Err(WrapperError::Order { min_us, max_us })
                }
                Until::Elapsed { max_us, .. } => Ok(Duration::from_micros(max_us)),
            },
        }
    }
}

/// Passes if a volume of a running server may stand behind all of these.
///
/// # Errors
/// They could hold a request for too long or for ever, or there are too many.
pub fn check_wrappers(wrappers: &[Wrapper]) -> Result<(), WrapperError> {
    if wrappers.len() > TEST_WRAPPERS_MAX {
        return Err(WrapperError::Wrappers(wrappers.len()));
    }
    let mut together = Duration::ZERO;
    for wrapper in wrappers {
        together = together.saturating_add(wrapper.longest()?);
    }
    if together > BACKEND_DELAY_MAX {
        return Err(WrapperError::Delay(together));
    }
    Ok(())
}

impl BackendSpec {
    /// This store behind `wrapper`.
    #[must_use]
    pub fn wrapped(self, wrapper: Wrapper) -> Self {
        let inner = Box::new(self);
        match wrapper {
            Wrapper::Fault { seed, rules } => Self::Fault { inner, seed, rules },
            Wrapper::Delay { seed, hold } => Self::Delay { inner, seed, hold },
        }
    }

    /// What stands before the store that holds the bytes, the innermost first.
    #[must_use]
    pub fn wrappers(&self) -> Vec<Wrapper> {
        let (inner, wrapper) = match self {
            Self::Fault { inner, seed, rules } => {
                let (seed, rules) = (*seed, rules.clone());
                (inner, Wrapper::Fault { seed, rules })
            }
            Self::Delay { inner, seed, hold } => {
                let (seed, hold) = (*seed, *hold);
                (inner, Wrapper::Delay { seed, hold })
            }
            _ => return Vec::new(),
        };
        let mut all = inner.wrappers();
        all.push(wrapper);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(min_us: u64, max_us: u64) -> Wrapper {
        Wrapper::Delay {
            seed: 7,
            hold: Hold {
                what: Held::Requests,
                until: Until::Elapsed { min_us, max_us },
            },
        }
    }

    #[test]
    fn wrappers_read_as_documented() {
        let text = r#"{"type": "delay", "seed": 7, "hold": {"what": "requests",
            "until": {"elapsed": {"min_us": 100, "max_us": 20000}}}}"#;
        let read: Wrapper = serde_json::from_str(text).unwrap();
        assert_eq!(read, delay(100, 20_000));
        let text = r#"{"type": "fault", "rules": [{"on": "write", "when": {"one-in": 50},
            "action": {"fail": "medium"}}]}"#;
        assert!(serde_json::from_str::<Wrapper>(text).is_ok());
        assert!(serde_json::from_str::<Wrapper>(r#"{"type": "ram"}"#).is_err());
    }

    #[test]
    fn a_store_tells_what_stands_before_it() {
        let rules = Vec::new();
        let wrappers = [delay(1, 2), Wrapper::Fault { seed: 1, rules }, delay(3, 4)];
        let spec = wrappers
            .iter()
            .cloned()
            .fold(BackendSpec::Ram {}, BackendSpec::wrapped);
        assert_eq!(spec.wrappers(), wrappers);
        assert_eq!(spec.innermost(), &BackendSpec::Ram {});
    }

    #[test]
    fn what_could_hang_a_volume_is_refused() {
        assert_eq!(
            check_wrappers(&[delay(0, 400_000), delay(1, 600_000)]),
            Ok(())
        );
        let refused = |wrappers: &[Wrapper]| check_wrappers(wrappers).unwrap_err().to_string();
        assert!(refused(&[delay(0, 500_000), delay(0, 500_001)]).contains("at most 1s"));
        assert!(refused(&[delay(0, u64::MAX), delay(0, u64::MAX)]).contains("at most 1s"));
        assert!(refused(&[delay(2, 1)]).contains("the shorter one first"));
        assert!(refused(&vec![delay(0, 0); TEST_WRAPPERS_MAX + 1]).contains("5 wrappers"));
        let held = Wrapper::Delay {
            seed: 0,
            hold: Hold {
                what: Held::Completions,
                until: Until::Released,
            },
        };
        assert!(refused(&[held]).contains("nobody could release it"));
    }
}

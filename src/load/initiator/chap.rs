//! CHAP from the initiator's side, one-way and mutual (RFC 7143 section 12.1.3).
//!
//! ```text
//! initiator                                                    target
//! CHAP_A=7,8,6,5                                          ──▶
//!                                  ◀──  CHAP_A=7  CHAP_I=…  CHAP_C=…
//! respond(): CHAP_N=…  CHAP_R=…  [CHAP_I=…  CHAP_C=…]     ──▶
//!                                  ◀──  [CHAP_N=…  CHAP_R=…], judged by check_proof()
//! ```
//!
//! With mutual CHAP a target that proves nothing is never logged in to: `AuthMethod=None` is then not
//! offered, and a transit without the proof ends the login.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use subtle::ConstantTimeEq;

use super::login::value;
use crate::iscsi::chap::{self, Algorithm, ChapError};
use crate::iscsi::settings::Entropy;
use crate::iscsi::text::{Outgoing, number};
use crate::load::plan::Credentials;

/// The digests that are offered, the strongest first.
pub(super) const ALGORITHMS: &str = "7,8,6,5";

/// What the target has to prove, and the challenge that it was sent for it.
#[derive(Debug)]
struct Demand {
    target: Credentials,
    sent: Option<Challenge>,
}

#[derive(Debug)]
struct Challenge {
    algorithm: Algorithm,
    identifier: u8,
    bytes: Vec<u8>,
}

/// The initiator's side of one exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    own: Credentials,
    demand: Option<Demand>,
    entropy: Entropy,
    has_responded: bool,
}

impl Exchange {
    /// An exchange that proves `own`, and has the target prove `mutual` if there is one.
    pub(super) fn new(own: Credentials, mutual: Option<Credentials>, entropy: Entropy) -> Self {
        Self {
            own,
            demand: mutual.map(|target| Demand { target, sent: None }),
            entropy,
            has_responded: false,
        }
    }

    /// Whether the target still owes its proof.
    pub(super) const fn is_owed_proof(&self) -> bool {
        self.demand.is_some()
    }

    /// Whether [`respond`](Self::respond) is for this step: the first one, or another challenge.
    pub(super) fn takes(&self, pairs: &[(&str, &str)]) -> bool {
        !self.has_responded || value(pairs, "CHAP_C").is_some()
    }

    /// Answers the target's challenge with CHAP_N and CHAP_R, and challenges the target if it has to
    /// prove itself.
    pub(super) fn respond(
        &mut self,
        pairs: &[(&str, &str)],
        keys: &mut Outgoing,
    ) -> Result<(), ChapError> {
        // A target that might challenge again could have its own challenge answered (section 9.2.1).
        if std::mem::replace(&mut self.has_responded, true) {
            return Err(ChapError::OutOfTurn("CHAP_C"));
        }
        let algorithm = byte(pairs, "CHAP_A")?;
        let algorithm = Algorithm::from_number(algorithm).ok_or(ChapError::NoCommonAlgorithm)?;
        let identifier = byte(pairs, "CHAP_I")?;
        let theirs = binary(pairs, "CHAP_C")?;
        let response = algorithm.response(identifier, &self.own.secret, &theirs);
        keys.push("CHAP_N", &self.own.user);
        keys.push("CHAP_R", &chap::encode(&response));
        if let Some(demand) = &mut self.demand {
            let ours = Challenge::make(algorithm, self.entropy)?;
            keys.push("CHAP_I", &ours.identifier.to_string());
            keys.push("CHAP_C", &chap::encode(&ours.bytes));
            demand.sent = Some(ours);
        }
        Ok(())
    }

    /// Judges the target's CHAP_N and CHAP_R. The challenge is spent whatever comes of it.
    pub(super) fn check_proof(&mut self, pairs: &[(&str, &str)]) -> Result<(), ChapError> {
        let Some(demand) = &mut self.demand else {
            return Ok(());
        };
        let ours = demand.sent.take().ok_or(ChapError::Missing("CHAP_C"))?;
        let name = need(pairs, "CHAP_N")?;
        let response = binary(pairs, "CHAP_R")?;
        let target = &demand.target;
        let expected = ours
            .algorithm
            .response(ours.identifier, &target.secret, &ours.bytes);
        if name != target.user || !bool::from(expected.ct_eq(&response)) {
            return Err(ChapError::Denied);
        }
        self.demand = None;
        Ok(())
    }
}

impl Challenge {
    fn make(algorithm: Algorithm, entropy: Entropy) -> Result<Self, ChapError> {
        let mut random = [0; 33];
        entropy(&mut random)?;
        let [identifier, bytes @ ..] = random;
        let bytes = bytes.iter().take(algorithm.digest_bytes());
        Ok(Self {
            algorithm,
            identifier,
            bytes: bytes.copied().collect(),
        })
    }
}

fn need<'a>(pairs: &[(&'a str, &'a str)], key: &'static str) -> Result<&'a str, ChapError> {
    value(pairs, key).ok_or(ChapError::Missing(key))
}

fn byte(pairs: &[(&str, &str)], key: &'static str) -> Result<u8, ChapError> {
    number(need(pairs, key)?)
        .and_then(|number| u8::try_from(number).ok())
        .ok_or(ChapError::Malformed(key))
}

fn binary(pairs: &[(&str, &str)], key: &'static str) -> Result<Vec<u8>, ChapError> {
    chap::decode(need(pairs, key)?).ok_or(ChapError::Malformed(key))
}

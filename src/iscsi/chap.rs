//! CHAP, one-way and mutual (RFC 7143 section 12.1.3; RFC 1994).
//!
//! ```text
//! initiator                                  target
//! CHAP_A=7,5                      ──▶
//!                                 ◀──  CHAP_A=7  CHAP_I=…  CHAP_C=…
//! CHAP_N=…  CHAP_R=…  [CHAP_I  CHAP_C]  ──▶
//!                                 ◀──  [CHAP_N=…  CHAP_R=…]
//! ```
//!
//! A response is the digest of identifier, secret and challenge. A challenge takes one response.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::answer::ChapPolicy;
use super::settings::{Entropy, EntropyError};
use super::text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use sha3::Sha3_256;
use std::fmt::Write as _;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Bytes of the longest challenge or response that is taken (RFC 7143 section 12.1.3).
const BINARY_BYTES_MAX: usize = 1024;

/// CHAP failed. What exactly was wrong with a name or a response is not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChapError {
    /// No algorithm in common.
    #[error("no CHAP algorithm in common")]
    NoCommonAlgorithm,
    /// A key that has to come did not.
    #[error("no {0}")]
    Missing(&'static str),
    /// A key that came before its turn or twice.
    #[error("{0} out of turn")]
    OutOfTurn(&'static str),
    /// Not hexadecimal or base64, or longer than is taken.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// Name or response is wrong.
    #[error("CHAP name or response is wrong")]
    Denied,
    /// The initiator sent the target's own challenge back.
    #[error("the target's own challenge came back")]
    Reflected,
    /// The initiator wants proof that the target was not given the means for.
    #[error("mutual CHAP is not configured")]
    NoMutualAccount,
    /// No challenge can be made: the target's fault.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// A digest algorithm, by its CHAP_A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// 5.
    Md5,
    /// 6.
    Sha1,
    /// 7.
    Sha256,
    /// 8.
    Sha3_256,
}

impl Algorithm {
    /// By CHAP_A number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            5 => Some(Self::Md5),
            6 => Some(Self::Sha1),
            7 => Some(Self::Sha256),
            8 => Some(Self::Sha3_256),
            _ => None,
        }
    }

    /// CHAP_A number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3_256 => 8,
        }
    }

    /// Bytes of a digest, and of the challenges made here.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }

    /// The response to a challenge.
    #[must_use]
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        fn digest<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
            let digest = D::new_with_prefix([identifier]);
            digest
                .chain_update(secret)
                .chain_update(challenge)
                .finalize()
                .to_vec()
        }
        match self {
            Self::Md5 => digest::<Md5>(identifier, secret, challenge),
            Self::Sha1 => digest::<Sha1>(identifier, secret, challenge),
            Self::Sha256 => digest::<Sha256>(identifier, secret, challenge),
            Self::Sha3_256 => digest::<Sha3_256>(identifier, secret, challenge),
        }
    }
}

/// Reads a binary value: `0x` and hexadecimal, or `0b` and base64 (RFC 7143 section 6.1).
#[must_use]
pub fn decode(value: &str) -> Option<Vec<u8>> {
    let bytes = match value.split_at_checked(2)? {
        ("0x" | "0X", digits) if digits.len() <= BINARY_BYTES_MAX.saturating_mul(2) => {
            decode_hex(digits)?
        }
        ("0b" | "0B", digits) if digits.len() <= BINARY_BYTES_MAX.saturating_mul(2) => {
            STANDARD.decode(digits).ok()?
        }
        _ => return None,
    };
    (!bytes.is_empty() && bytes.len() <= BINARY_BYTES_MAX).then_some(bytes)
}

/// An odd number of digits has a leading zero left out.
fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let digits = digits.as_bytes();
    let (first, pairs) = digits.split_at_checked(digits.len() & 1)?;
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    if let [digit] = first {
        bytes.push(nibble(digit)?);
    }
    for pair in pairs.chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(nibble(high)?.wrapping_shl(4) | nibble(low)?);
    }
    Some(bytes)
}

/// Writes a binary value in hexadecimal.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::from("0x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// A challenge that waits for its response.
#[derive(Debug)]
struct Challenge {
    algorithm: Algorithm,
    identifier: u8,
    bytes: Vec<u8>,
}

/// The keys of the initiator's second step.
#[derive(Debug, Default, Clone, Copy)]
pub struct Proof<'a> {
    /// CHAP_N.
    pub name: Option<&'a str>,
    /// CHAP_R.
    pub response: Option<&'a str>,
    /// CHAP_I, for mutual authentication.
    pub identifier: Option<&'a str>,
    /// CHAP_C, for mutual authentication.
    pub challenge: Option<&'a str>,
}

/// What a proof came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// The account's CHAP_N.
    pub name: String,
    /// Which of the policies have that account.
    pub policies: Vec<Arc<ChapPolicy>>,
    /// CHAP_N and CHAP_R of the target, if the initiator asked for them.
    pub mutual: Option<(String, String)>,
}

/// The target's side of one exchange.
#[derive(Debug)]
pub struct Authenticator {
    policies: Vec<Arc<ChapPolicy>>,
    challenge: Option<Challenge>,
    challenged: bool,
}

impl Authenticator {
    /// An exchange in which the accounts of any of `policies` let the initiator in.
    #[must_use]
    pub const fn new(policies: Vec<Arc<ChapPolicy>>) -> Self {
        Self {
            policies,
            challenge: None,
            challenged: false,
        }
    }

    /// Takes CHAP_A and answers with CHAP_A, CHAP_I and CHAP_C: the first algorithm of the
    /// initiator's list that a policy allows.
    ///
    /// # Errors
    /// [`ChapError`]; the login is to be refused.
    pub fn challenge(
        &mut self,
        algorithms: &str,
        entropy: Entropy,
    ) -> Result<[(&'static str, String); 3], ChapError> {
        if std::mem::replace(&mut self.challenged, true) {
            return Err(ChapError::OutOfTurn("CHAP_A"));
        }
        let allowed = |number: &u8| {
            let mut policies = self.policies.iter();
            policies.any(|policy| policy.algorithms.contains(number))
        };
        let algorithm = text::list(algorithms)
            .filter_map(|item| item.parse().ok())
            .filter(allowed)
            .find_map(Algorithm::from_number)
            .ok_or(ChapError::NoCommonAlgorithm)?;
        let mut random = [0; 33];
        entropy(&mut random)?;
        let [identifier, bytes @ ..] = random;
        let bytes = bytes
            .iter()
            .take(algorithm.digest_bytes())
            .copied()
            .collect();
        let challenge = Challenge {
            algorithm,
            identifier,
            bytes,
        };
        let keys = [
            ("CHAP_A", algorithm.number().to_string()),
            ("CHAP_I", identifier.to_string()),
            ("CHAP_C", encode(&challenge.bytes)),
        ];
        self.challenge = Some(challenge);
        Ok(keys)
    }

    /// Whether a challenge waits for its response.
    #[must_use]
    pub const fn awaits_proof(&self) -> bool {
        self.challenge.is_some()
    }

    /// Judges the response. The challenge is spent whatever comes of it.
    ///
    /// # Errors
    /// [`ChapError`]; the login is to be refused.
    pub fn verify(&mut self, proof: Proof<'_>) -> Result<Verified, ChapError> {
        let challenge = self
            .challenge
            .take()
            .ok_or(ChapError::OutOfTurn("CHAP_R"))?;
        let name = proof.name.ok_or(ChapError::Missing("CHAP_N"))?;
        let response = proof.response.ok_or(ChapError::Missing("CHAP_R"))?;
        let response = decode(response).ok_or(ChapError::Malformed("CHAP_R"))?;
        let policies = judge(&self.policies, &challenge, name, &response)?;
        let mutual = match (proof.identifier, proof.challenge) {
            (None, None) => None,
            (Some(identifier), Some(theirs)) => {
                Some(prove(&policies, &challenge, identifier, theirs)?)
            }
            (None, Some(_)) => return Err(ChapError::Missing("CHAP_I")),
            (Some(_), None) => return Err(ChapError::Missing("CHAP_C")),
        };
        Ok(Verified {
            name: name.to_owned(),
            policies,
            mutual,
        })
    }
}

/// The target's own answer to the initiator's challenge.
fn prove(
    policies: &[Arc<ChapPolicy>],
    ours: &Challenge,
    identifier: &str,
    challenge: &str,
) -> Result<(String, String), ChapError> {
    let account = policies
        .iter()
        .find_map(|policy| policy.mutual.as_ref())
        .ok_or(ChapError::NoMutualAccount)?;
    let identifier = text::number(identifier)
        .and_then(|number| u8::try_from(number).ok())
        .ok_or(ChapError::Malformed("CHAP_I"))?;
    let theirs = decode(challenge).ok_or(ChapError::Malformed("CHAP_C"))?;
    // An initiator that had the target answer its own challenge could log in elsewhere with
    // the answer (RFC 7143 section 9.2.1).
    if theirs == ours.bytes {
        return Err(ChapError::Reflected);
    }
    let response = ours
        .algorithm
        .response(identifier, account.secret.expose(), &theirs);
    Ok((account.name.clone(), encode(&response)))
}

/// The policies with an account that `name` and `response` belong to, at least one. Every account is
/// computed and compared in constant time, so that the time taken does not tell which names exist.
fn judge(
    policies: &[Arc<ChapPolicy>],
    challenge: &Challenge,
    name: &str,
    response: &[u8],
) -> Result<Vec<Arc<ChapPolicy>>, ChapError> {
    let mut satisfied = Vec::new();
    for policy in policies {
        let mut found = false;
        for account in &policy.accounts {
            let expected = challenge.algorithm.response(
                challenge.identifier,
                account.secret.expose(),
                &challenge.bytes,
            );
            let same = account.name.as_bytes().ct_eq(name.as_bytes()) & expected.ct_eq(response);
            found |= bool::from(same);
        }
        if found {
            satisfied.push(Arc::clone(policy));
        }
    }
    if satisfied.is_empty() {
        return Err(ChapError::Denied);
    }
    Ok(satisfied)
}

#[cfg(test)]
mod tests {
    use super::super::answer::{ChapAccount, Secret};
    use super::*;
    use proptest::prelude::*;

    fn account(name: &str, secret: &str) -> ChapAccount {
        ChapAccount {
            name: name.into(),
            secret: Secret::new(secret),
        }
    }

    fn policy() -> ChapPolicy {
        ChapPolicy {
            accounts: vec![
                account("alice", "alice's secret"),
                account("bob", "bob's secret"),
            ],
            mutual: Some(account("target", "target's secret")),
            algorithms: vec![5, 6, 7, 8],
        }
    }

    fn known(bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes
            .iter_mut()
            .zip(1u8..)
            .for_each(|(byte, value)| *byte = value);
        Ok(())
    }

    /// Identifier and challenge as the initiator reads them.
    fn challenged(authenticator: &mut Authenticator, algorithms: &str) -> (u8, Vec<u8>) {
        let [_, (_, identifier), (_, challenge)] =
            authenticator.challenge(algorithms, known).unwrap();
        (identifier.parse().unwrap(), decode(&challenge).unwrap())
    }

    #[test]
    fn every_algorithm_lets_the_right_secret_in_and_no_other() {
        for number in [5, 6, 7, 8] {
            let algorithm = Algorithm::from_number(number).unwrap();
            for (secret, good) in [("bob's secret", true), ("alice's secret", false)] {
                let mut authenticator = Authenticator::new(vec![Arc::new(policy())]);
                let (id, challenge) = challenged(&mut authenticator, &format!("99,{number}"));
                assert_eq!(challenge.len(), algorithm.digest_bytes());
                let response = encode(&algorithm.response(id, secret.as_bytes(), &challenge));
                let proof = Proof {
                    name: Some("bob"),
                    response: Some(&response),
                    ..Proof::default()
                };
                assert_eq!(authenticator.verify(proof).is_ok(), good);
                assert_eq!(
                    authenticator.verify(proof),
                    Err(ChapError::OutOfTurn("CHAP_R"))
                );
            }
        }
    }

    #[test]
    fn the_target_proves_itself_when_asked_and_never_to_its_own_challenge() {
        for reflect in [false, true] {
            let mut authenticator = Authenticator::new(vec![Arc::new(policy())]);
            let (id, challenge) = challenged(&mut authenticator, "7");
            let response = Algorithm::Sha256.response(id, b"alice's secret", &challenge);
            let (response, theirs) = (encode(&response), [9; 24]);
            let challenge = encode(if reflect { &challenge } else { &theirs });
            let proof = Proof {
                name: Some("alice"),
                response: Some(&response),
                identifier: Some("200"),
                challenge: Some(&challenge),
            };
            let expected = encode(&Algorithm::Sha256.response(200, b"target's secret", &theirs));
            match authenticator.verify(proof) {
                Ok(verified) => assert_eq!(verified.mutual, Some(("target".into(), expected))),
                Err(error) => assert_eq!((error, reflect), (ChapError::Reflected, true)),
            }
        }
    }

    #[test]
    fn of_several_policies_those_that_have_the_account_are_satisfied() {
        let with = |accounts: &[(&str, &str)], mutual: Option<&str>| {
            Arc::new(ChapPolicy {
                accounts: accounts.iter().map(|(n, s)| account(n, s)).collect(),
                mutual: mutual.map(|name| account(name, "target's secret")),
                algorithms: vec![7],
            })
        };
        // The same name with another secret is another account.
        let policies = vec![
            with(&[("alice", "another secret")], Some("first")),
            with(
                &[("bob", "bob's secret"), ("alice", "alice's secret")],
                None,
            ),
            with(&[("alice", "alice's secret")], Some("third")),
        ];
        let mut authenticator = Authenticator::new(policies.clone());
        let (id, challenge) = challenged(&mut authenticator, "5,7");
        let response = encode(&Algorithm::Sha256.response(id, b"alice's secret", &challenge));
        let theirs = encode(&[9; 24]);
        let proof = Proof {
            name: Some("alice"),
            response: Some(&response),
            identifier: Some("200"),
            challenge: Some(&theirs),
        };
        let verified = authenticator.verify(proof).unwrap();
        assert_eq!(verified.policies, policies[1..]);
        let (name, _) = verified.mutual.unwrap();
        assert_eq!(
            name, "third",
            "a policy that was not satisfied proves nothing"
        );
    }

    #[test]
    fn the_md5_vector_of_a_known_implementation() {
        let response = Algorithm::Md5.response(1, b"secret", b"challenge");
        assert_eq!(response, Md5::digest(b"\x01secretchallenge").to_vec());
    }

    #[test]
    fn a_name_is_compared_whole() {
        let mut authenticator = Authenticator::new(vec![Arc::new(policy())]);
        let (id, challenge) = challenged(&mut authenticator, "5");
        let response = encode(&Algorithm::Md5.response(id, b"bob's secret", &challenge));
        let proof = Proof {
            name: Some("bo"),
            response: Some(&response),
            ..Proof::default()
        };
        assert_eq!(authenticator.verify(proof), Err(ChapError::Denied));
    }

    #[test]
    fn binary_values_are_hexadecimal_or_base64_and_bounded() {
        assert_eq!(decode("0xABcd"), Some(vec![0xab, 0xcd]));
        assert_eq!(decode("0x123"), Some(vec![1, 0x23]));
        assert_eq!(decode("0bAQID"), Some(vec![1, 2, 3]));
        for bad in ["", "0", "0x", "0xzz", "0b***", "1234", "é", "0x+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert!(decode(&format!("0x{}", "00".repeat(1024))).is_some());
        assert!(decode(&format!("0x{}", "00".repeat(1025))).is_none());
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!format!("{:?}", Authenticator::new(vec![Arc::new(policy())])).contains("alice's"));
    }

    proptest! {
        #[test]
        fn any_value_decodes_or_is_refused(value in "(0[xXbB])?\\PC{0,40}") {
            if let Some(bytes) = decode(&value) {
                prop_assert!(bytes.len() <= BINARY_BYTES_MAX);
            }
        }
    }
}

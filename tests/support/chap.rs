//! CHAP as the initiator's side of it (RFC 1994, RFC 7143 section 12.1.3).

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;
use sha3::digest::Digest;

/// The algorithms by their CHAP_A number.
pub const ALGORITHMS: [u8; 4] = [5, 6, 7, 8];

/// What the initiator knows and how it answers.
#[derive(Clone, Debug)]
pub struct Chap {
    /// Offered as CHAP_A, in this order.
    pub algorithms: Vec<u8>,
    pub name: String,
    pub secret: String,
    /// For mutual CHAP: the name and secret that the target must prove.
    pub target: Option<(String, String)>,
    /// Sends the target's own challenge back, which the target must refuse.
    pub reflect_challenge: bool,
}

impl Chap {
    pub fn one_way(name: &str, secret: &str) -> Self {
        Self {
            algorithms: vec![5],
            name: name.to_owned(),
            secret: secret.to_owned(),
            target: None,
            reflect_challenge: false,
        }
    }

    pub fn with_algorithms(mut self, algorithms: &[u8]) -> Self {
        self.algorithms = algorithms.to_vec();
        self
    }

    pub fn mutual(mut self, name: &str, secret: &str) -> Self {
        self.target = Some((name.to_owned(), secret.to_owned()));
        self
    }

    pub fn reflecting(mut self) -> Self {
        self.reflect_challenge = true;
        self
    }
}

/// H(identifier || secret || challenge).
pub fn response(algorithm: u8, identifier: u8, secret: &str, challenge: &[u8]) -> Vec<u8> {
    let input = [&[identifier], secret.as_bytes(), challenge].concat();
    match algorithm {
        5 => Md5::digest(&input).to_vec(),
        6 => Sha1::digest(&input).to_vec(),
        7 => Sha256::digest(&input).to_vec(),
        8 => Sha3_256::digest(&input).to_vec(),
        other => panic!("the target chose CHAP_A={other}, which was not offered"),
    }
}

/// `0x` and lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A binary value in either of the two encodings of RFC 7143 section 6.1.
pub fn from_text(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    if let Some(encoded) = text.strip_prefix("0b").or_else(|| text.strip_prefix("0B")) {
        return base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .expect("base64");
    }
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .expect("0x or 0b");
    assert!(digits.len().is_multiple_of(2), "whole bytes: {text}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}
